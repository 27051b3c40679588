//! Sessions on their way out of the workers: into a file while they run, or from their routers when they have ended.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use genkan_control::request::{CHUNK, WorkerError, WorkerHandle, WorkerRequest};
use genkan_engine::{PortId, Router, Timestamp};

use super::age::Moment;
use super::folder::Fresh;
use super::format::{Header, Writer};

/// Between two pieces that the workers are asked for. A piece costs a worker some ten microseconds, so this leaves it more
/// than 95 % of its time; a million sessions take some seconds.
const PAUSE: Duration = Duration::from_millis(1);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Why sessions were not saved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SaveError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Worker(#[from] WorkerError),
    #[error("the task that wrote them has ended")]
    Ended,
}

/// What was saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Saved {
    pub(crate) sessions: u64,
    pub(crate) octets: u64,
}

/// The header of a file that is begun now.
pub(crate) fn header(ports: &[(PortId, String)]) -> Header {
    Header {
        software: env!("CARGO_PKG_VERSION").to_owned(),
        written: Moment::now(),
        ports: ports.iter().map(|(port, name)| (port.0, name.clone())).collect(),
    }
}

/// Saves the sessions of workers that go on running.
///
/// # Errors
/// When a worker does not answer, or the file cannot be written; the old one is still there then.
pub(crate) async fn save(state: PathBuf, header: Header, workers: WorkerHandle) -> Result<Saved, SaveError> {
    let mut fresh = Fresh::begin(&state, &header)?;
    let mut next = Some(0);
    while let Some(cursor) = next {
        let piece = |cursor, reply| WorkerRequest::Save { cursor, limit: CHUNK, reply };
        let (sessions, following) = workers.ask_piece(cursor, piece).await?;
        fresh.writer.add(&Moment::now(), &sessions)?;
        next = following;
        tokio::time::sleep(PAUSE).await;
    }
    // A slow disk is not to hold up anything else.
    let placed = tokio::task::spawn_blocking(move || fresh.put_in_place()).await;
    let (sessions, octets) = placed.map_err(|_| SaveError::Ended)??;
    Ok(Saved { sessions, octets })
}

/// Saves the sessions of workers that have ended, whose clock stands at `now`.
///
/// # Errors
/// When the file cannot be written; the old one is still there then.
pub(crate) fn save_all(
    state: &Path,
    header: &Header,
    routers: &[Router],
    now: Timestamp,
) -> io::Result<Saved> {
    let mut fresh = Fresh::begin(state, header)?;
    write_all(&mut fresh.writer, &header.written, routers, now)?;
    let (sessions, octets) = fresh.put_in_place()?;
    Ok(Saved { sessions, octets })
}

/// Writes the sessions of workers that have ended.
///
/// # Errors
/// When writing fails.
pub(crate) fn write_all<'a, W: Write>(
    writer: &mut Writer<W>,
    moment: &Moment,
    routers: impl IntoIterator<Item = &'a Router>,
    now: Timestamp,
) -> io::Result<()> {
    for router in routers {
        let mut next = Some(0);
        while let Some(cursor) = next {
            let (sessions, following) = router.save(now, cursor, CHUNK);
            writer.add(moment, &sessions)?;
            next = following;
        }
    }
    Ok(())
}

/// How long to wait after a file of so many octets was written: `every`, or longer where that would write more than
/// `budget` octets a day.
pub(crate) fn pause(every: Duration, budget: u64, octets: u64) -> Duration {
    let share = octets as f64 / budget.max(1) as f64;
    every.max(DAY.mul_f64(share.min(365.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_in_a_day_stays_within_the_budget() {
        let (every, budget) = (Duration::from_secs(300), 256 << 20);
        assert_eq!(pause(every, budget, 100 << 10), every);
        for octets in [1 << 20, 31 << 20, 1 << 30, u64::MAX >> 20] {
            let pause = pause(every, budget, octets);
            let a_day = octets as f64 * DAY.as_secs_f64() / pause.as_secs_f64();
            assert!(a_day <= 1.001 * budget as f64 || pause >= DAY, "{octets}: {a_day}");
        }
        // A million sessions, thirty octets each: every three hours.
        assert_eq!(pause(every, budget, 30_000_000).as_secs() / 60, 160);
        assert!(pause(every, 0, u64::MAX) <= 366 * DAY);
    }
}
