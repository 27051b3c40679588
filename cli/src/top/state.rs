//! What is shown, and what the keys change about it.

use std::time::{Duration, Instant};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::rates::Snapshot;
use super::sample::Sample;
use super::sheet::{self, Columns, Order, Sheet};

/// Steps of `+` and `-`, in milliseconds.
const INTERVALS: [u64; 7] = [500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000];

/// Rows that a page of scrolling moves.
const PAGE: usize = 10;

/// What the body of the screen is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    Overview,
    Hosts,
    Forwards,
    Drops,
}

impl View {
    pub(super) const ALL: [View; 4] = [View::Overview, View::Hosts, View::Forwards, View::Drops];

    pub(super) fn name(self) -> &'static str {
        match self {
            View::Overview => "overview",
            View::Hosts => "hosts",
            View::Forwards => "forwards",
            View::Drops => "drops",
        }
    }

    fn columns(self) -> Option<&'static Columns> {
        match self {
            View::Overview => None,
            View::Hosts => Some(&sheet::HOSTS),
            View::Forwards => Some(&sheet::FORWARDS),
            View::Drops => Some(&sheet::DROPS),
        }
    }

    /// The view so many places further round.
    fn next(self, places: usize) -> View {
        View::ALL[(self as usize + places) % View::ALL.len()]
    }
}

/// How often to read, and whether at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    pub(super) interval: Duration,
    pub(super) paused: bool,
}

/// What a key asks the program for, beyond another picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Nothing more.
    Redraw,
    /// To read at another pace.
    Pace,
    /// To end.
    Quit,
}

/// Everything that a picture depends on.
#[derive(Debug)]
pub(super) struct State {
    pub(super) view: View,
    /// By view; the overview uses those of the others.
    orders: [Order; 4],
    pub(super) filter: String,
    /// The filter is being typed.
    pub(super) typing: bool,
    pub(super) help: bool,
    pub(super) pace: Pace,
    pub(super) scroll: usize,
    sample: Sample,
    pub(super) snapshot: Snapshot,
    /// When the router last answered.
    pub(super) answered: Instant,
    /// Why it did not.
    pub(super) trouble: Option<String>,
}

impl State {
    /// Of a router that has answered once.
    pub(super) fn new(interval: Duration, sample: Sample) -> State {
        // Hosts and forwards by octets to the inside; what is dropped now.
        let orders = [0, 3, 3, 1].map(|column| Order { column, reversed: false });
        State {
            view: View::Overview,
            orders,
            filter: String::new(),
            typing: false,
            help: false,
            pace: Pace { interval, paused: false },
            scroll: 0,
            snapshot: Snapshot::new(None, &sample),
            answered: sample.at,
            sample,
            trouble: None,
        }
    }

    /// Takes over what the router has answered, or why it has not. What was known stays on the screen.
    pub(super) fn take(&mut self, answer: Result<Sample, String>) {
        match answer {
            Ok(sample) => {
                self.snapshot = Snapshot::new(Some(&self.sample), &sample);
                self.answered = sample.at;
                self.sample = sample;
                self.trouble = None;
            }
            Err(why) => self.trouble = Some(why),
        }
    }

    /// By what a view is sorted.
    pub(super) fn order(&self, view: View) -> Order {
        self.orders[view as usize]
    }

    /// The name of the column by which this view is sorted.
    pub(super) fn sorted_by(&self) -> Option<&'static str> {
        let columns = self.view.columns()?;
        columns.heads.get(self.order(self.view).column).copied()
    }

    /// The rows of a view, sorted and filtered.
    pub(super) fn sheet(&self, view: View) -> Sheet {
        let sheet = match view {
            View::Overview => return Sheet::ports(&self.snapshot),
            View::Hosts => Sheet::hosts(&self.snapshot),
            View::Forwards => Sheet::forwards(&self.snapshot),
            View::Drops => Sheet::drops(&self.snapshot),
        };
        sheet.filter(&self.filter).sort(self.order(view))
    }

    /// Does what a key is for.
    pub(super) fn press(&mut self, key: KeyEvent) -> Wish {
        if key.kind == KeyEventKind::Release {
            return Wish::Redraw;
        }
        let with_control = key.modifiers.contains(KeyModifiers::CONTROL);
        if with_control && matches!(key.code, KeyCode::Char('c' | 'd')) {
            return Wish::Quit;
        }
        if self.typing {
            self.type_filter(key.code);
            return Wish::Redraw;
        }
        match key.code {
            KeyCode::Char('q' | 'Q') => return Wish::Quit,
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.help = !self.help,
            KeyCode::Esc if self.help => self.help = false,
            KeyCode::Esc => self.set_filter(String::new()),
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Tab => self.show(self.view.next(1)),
            KeyCode::BackTab => self.show(self.view.next(View::ALL.len() - 1)),
            KeyCode::Char(digit @ '1'..='4') => self.show(View::ALL[digit as usize - '1' as usize]),
            KeyCode::Char('s') => self.sort(1),
            KeyCode::Char('S') => self.sort(usize::MAX),
            KeyCode::Char('r') => self.orders[self.view as usize].reversed ^= true,
            KeyCode::Char('p' | ' ') => {
                self.pace.paused = !self.pace.paused;
                return Wish::Pace;
            }
            KeyCode::Char('+') => return self.slower(),
            KeyCode::Char('-') => return self.faster(),
            KeyCode::Down | KeyCode::Char('j') => self.scroll_by(1, 0),
            KeyCode::Up | KeyCode::Char('k') => self.scroll_by(0, 1),
            KeyCode::PageDown => self.scroll_by(PAGE, 0),
            KeyCode::PageUp => self.scroll_by(0, PAGE),
            KeyCode::Home => self.scroll = 0,
            KeyCode::End => self.scroll_by(usize::MAX, 0),
            _ => {}
        }
        Wish::Redraw
    }

    fn type_filter(&mut self, key: KeyCode) {
        match key {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.typing = false;
                self.set_filter(String::new());
            }
            KeyCode::Backspace => {
                let mut filter = std::mem::take(&mut self.filter);
                filter.pop();
                self.set_filter(filter);
            }
            KeyCode::Char(character) => {
                let filter = format!("{}{character}", self.filter);
                self.set_filter(filter);
            }
            _ => {}
        }
    }

    fn set_filter(&mut self, filter: String) {
        self.filter = filter;
        self.scroll = 0;
    }

    fn show(&mut self, view: View) {
        self.view = view;
        self.help = false;
        self.scroll = 0;
    }

    /// Sorts by the next column, or with `usize::MAX` by the one before.
    fn sort(&mut self, step: usize) {
        let Some(columns) = self.view.columns() else { return };
        let (order, count) = (&mut self.orders[self.view as usize], columns.heads.len());
        let column = if step == usize::MAX { order.column + count - 1 } else { order.column + step };
        *order = Order { column: column % count, reversed: false };
    }

    /// Scrolls within the view's rows; the overview stands still.
    fn scroll_by(&mut self, down: usize, up: usize) {
        let rows = if self.view == View::Overview { 0 } else { self.sheet(self.view).len() };
        let wanted = self.scroll.saturating_add(down).saturating_sub(up);
        self.scroll = wanted.min(rows.saturating_sub(1));
    }

    fn slower(&mut self) -> Wish {
        let now = self.pace.interval.as_millis() as u64;
        self.change_interval(INTERVALS.into_iter().find(|step| *step > now))
    }

    fn faster(&mut self) -> Wish {
        let now = self.pace.interval.as_millis() as u64;
        self.change_interval(INTERVALS.into_iter().rev().find(|step| *step < now))
    }

    fn change_interval(&mut self, milliseconds: Option<u64>) -> Wish {
        let Some(milliseconds) = milliseconds else { return Wish::Redraw };
        self.pace.interval = Duration::from_millis(milliseconds);
        Wish::Pace
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    fn state() -> State {
        let (before, after) = fixture::samples();
        let mut state = State::new(Duration::from_secs(1), before);
        state.take(Ok(after));
        state
    }

    fn press(state: &mut State, keys: &str) -> Wish {
        keys.chars().map(|key| state.press(KeyCode::Char(key).into())).last().expect("a key")
    }

    #[test]
    fn views_go_round() {
        let mut state = state();
        for expected in [View::Hosts, View::Forwards, View::Drops, View::Overview] {
            state.press(KeyCode::Tab.into());
            assert_eq!(state.view, expected);
        }
        state.press(KeyCode::BackTab.into());
        assert_eq!(state.view, View::Drops);
        press(&mut state, "2");
        assert_eq!((state.view, state.sorted_by()), (View::Hosts, Some("in bit/s")));
    }

    #[test]
    fn sorting_goes_through_the_columns_both_ways() {
        let mut state = state();
        press(&mut state, "2s");
        assert_eq!(state.sorted_by(), Some("out bit/s"));
        press(&mut state, "SS");
        assert_eq!(state.sorted_by(), Some("port"));
        press(&mut state, "sssssss");
        assert_eq!(state.sorted_by(), Some("address"), "it goes round");
        let first = |state: &State| state.sheet(View::Hosts).layout(None).rows[0].clone();
        assert!(first(&state).contains("192.168.0.10 "), "{}", first(&state));
        press(&mut state, "r");
        assert!(first(&state).contains("192.168.0.100"), "{}", first(&state));
        press(&mut state, "1sSr");
        assert_eq!(state.sorted_by(), None);
    }

    #[test]
    fn a_filter_is_typed_kept_and_cleared() {
        let mut state = state();
        press(&mut state, "2/nasq");
        assert!(state.typing);
        state.press(KeyCode::Backspace.into());
        state.press(KeyCode::Enter.into());
        assert_eq!((state.filter.as_str(), state.typing), ("nas", false));
        assert_eq!(state.sheet(View::Hosts).len(), 1);
        state.press(KeyCode::Esc.into());
        assert_eq!(state.sheet(View::Hosts).len(), 3);
    }

    #[test]
    fn it_ends_pauses_and_changes_its_pace() {
        let mut state = state();
        assert_eq!(press(&mut state, "p"), Wish::Pace);
        assert!(state.pace.paused);
        assert_eq!(press(&mut state, "+"), Wish::Pace);
        assert_eq!(state.pace.interval, Duration::from_secs(2));
        assert_eq!(press(&mut state, "---"), Wish::Redraw, "it does not get faster than that");
        assert_eq!(state.pace.interval, Duration::from_millis(500));
        assert_eq!(press(&mut state, "q"), Wish::Quit);
        assert_eq!(press(&mut state, "/q"), Wish::Redraw, "a letter of the filter");
        assert_eq!(state.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Wish::Quit);
    }

    #[test]
    fn scrolling_stays_within_the_rows() {
        let mut state = state();
        state.press(KeyCode::End.into());
        assert_eq!(state.scroll, 0, "the overview has nothing to scroll");
        press(&mut state, "2jjjjjj");
        assert_eq!(state.scroll, 2);
        state.press(KeyCode::PageUp.into());
        assert_eq!(state.scroll, 0);
    }

    #[test]
    fn a_router_that_goes_away_keeps_its_picture_and_comes_back() {
        let mut state = state();
        let sessions = state.snapshot.sessions;
        state.take(Err("no router answers".to_owned()));
        assert_eq!(
            (state.snapshot.sessions, state.trouble.as_deref()),
            (sessions, Some("no router answers"))
        );
        let (_, mut again) = fixture::samples();
        again.status.pid += 1;
        again.status.uptime_seconds = 1;
        state.take(Ok(again));
        assert_eq!((state.trouble.as_deref(), state.snapshot.seconds), (None, None));
    }
}
