//! `genkan top`: what the router does, as it happens.
//!
//! [`sample`] reads the control API, [`rates`] compares two readings ([`services`]: those of the services), [`sheet`] makes rows of them, [`state`] knows
//! what is shown and what the keys change, [`screen`] draws it, [`terminal`] takes the terminal and gives it back.
//! This file waits for keys, answers and signals.

#[cfg(test)]
mod fixture;
mod rates;
mod sample;
mod screen;
mod services;
mod sheet;
mod state;
mod terminal;

use std::io;
use std::time::{Duration, Instant};

use genkan_control::client::{Client, ClientError};
use ratatui::crossterm::event::{self, Event};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use self::rates::Snapshot;
use self::sample::Sample;
use self::state::{Pace, State, View, Wish};
use self::terminal::Screen;
use crate::output::{Exit, Failure, chain};

/// Between two pictures at most, so that the age of the last answer is right.
const CLOCK: Duration = Duration::from_secs(1);

/// A reading takes at most this part of the time, however often it is asked for: the control side has other work.
const SHARE: u32 = 5;

/// Compares two readings, `interval` apart.
pub(crate) async fn snapshot(client: &Client, interval: Duration) -> Result<Snapshot, ClientError> {
    let (before, after) = two(client, interval).await?;
    Ok(Snapshot::new(Some(&before), &after))
}

/// The same as text, with so many rows of each kind.
pub(crate) async fn text(client: &Client, interval: Duration, rows: usize) -> Result<String, ClientError> {
    let (before, after) = two(client, interval).await?;
    let mut state = State::new(interval, before);
    state.take(Ok(after));
    let sheets = [View::Overview, View::Drops, View::Forwards, View::Hosts].map(|view| state.sheet(view));
    Ok(screen::text(&state.snapshot, sheets, rows))
}

async fn two(client: &Client, interval: Duration) -> Result<(Sample, Sample), ClientError> {
    let before = Sample::take(client).await?;
    tokio::time::sleep(interval).await;
    Ok((before, Sample::take(client).await?))
}

/// Shows the router until somebody ends it.
pub(crate) async fn watch(client: Client, interval: Duration) -> Result<Exit, Failure> {
    // A router that was never there is an error; one that goes away is news.
    let mut state = State::new(interval, Sample::take(&client).await?);
    let mut ends = Ends::new().map_err(|error| Failure::new("cannot wait for signals", &error))?;
    let (pace, paces) = watch::channel(state.pace);
    let (answers_in, mut answers) = mpsc::channel(1);
    let mut reader = tokio::spawn(read(client, paces, answers_in));
    let mut screen = Screen::enter().map_err(|error| Failure::new("cannot use the terminal", &error))?;
    let mut keys = keys();
    let mut clock = tokio::time::interval(CLOCK);
    loop {
        let drawn = screen.terminal.draw(|frame| screen::draw(frame, &state, Instant::now()));
        drawn.map_err(|error| Failure::new("cannot draw", &error))?;
        tokio::select! {
            event = keys.recv() => match event {
                Some(Event::Key(key)) => match state.press(key) {
                    Wish::Redraw => {}
                    Wish::Pace => {
                        pace.send_replace(state.pace);
                    }
                    Wish::Quit => return Ok(Exit::Done),
                },
                // Another size: the next picture has it.
                Some(_) => {}
                // The terminal has gone.
                None => return Ok(Exit::Done),
            },
            Some(answer) = answers.recv() => state.take(answer),
            _ = clock.tick() => {}
            () = ends.next() => return Ok(Exit::Done),
            outcome = &mut reader => {
                // It ends by itself only by a panic.
                let why = outcome.err().map(|error| error.to_string()).unwrap_or_default();
                return Err(Failure::message(format!("reading the router failed: {why}")));
            }
        }
    }
}

/// Reads the router at the pace that is asked for, until nobody listens.
async fn read(
    client: Client,
    mut paces: watch::Receiver<Pace>,
    answers: mpsc::Sender<Result<Sample, String>>,
) {
    let mut began = Instant::now();
    let mut took = Duration::ZERO;
    loop {
        let Pace { interval, paused } = *paces.borrow_and_update();
        let next = began + interval.max(took * SHARE);
        let is_due = async {
            match paused {
                true => std::future::pending().await,
                false => tokio::time::sleep_until(next.into()).await,
            }
        };
        tokio::select! {
            () = is_due => {}
            changed = paces.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        }
        began = Instant::now();
        let answer = Sample::take(&client).await;
        took = began.elapsed();
        if answers.send(answer.map_err(|error| chain(&error))).await.is_err() {
            return;
        }
    }
}

/// What is typed, from a thread of its own that waits for it and ends with the process.
fn keys() -> mpsc::UnboundedReceiver<Event> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if sender.send(event).is_err() {
                return;
            }
        }
    });
    receiver
}

/// The signals that end it.
#[derive(Debug)]
struct Ends {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Ends {
    fn new() -> io::Result<Ends> {
        Ok(Ends {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
