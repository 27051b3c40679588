//! Sessions of an earlier process, on their way into the workers of this one.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use genkan_engine::nat::saved::{NotRestored, Restored, SavedSession};
use genkan_engine::plan::Timeouts;
use genkan_engine::{PortId, Router, Timestamp};
use tracing::{info, warn};

use super::age::Moment;
use super::folder;
use super::format::{Blocks, Header, Unreadable, verify};
use crate::output;

/// A port that there is not.
const GONE: PortId = PortId(u8::MAX);

/// Sessions to be put back. Every worker reads the file by itself and takes what is its own.
#[derive(Clone)]
pub(crate) struct Source {
    file: Arc<File>,
    written: Moment,
    /// By the number that a port had: the one that it has.
    ports: Arc<[PortId; 256]>,
}

/// What came of putting sessions back at one worker.
pub(crate) type Outcome = Result<Restored, Unreadable>;

impl Source {
    /// The sessions of a file, if it is whole.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(crate) fn open(file: File, ports: &[(PortId, String)]) -> Result<(Source, Header), Unreadable> {
        let file = Arc::new(file);
        let header = verify(reader(&file))?;
        let mut numbers = [GONE; 256];
        for (number, name) in &header.ports {
            if let Some((port, _)) = ports.iter().find(|(_, known)| known == name) {
                numbers[usize::from(*number)] = *port;
            }
        }
        Ok((Source { file, written: header.written.clone(), ports: Arc::new(numbers) }, header))
    }

    /// What the state folder has, where that may be used. What may not is told of, and a file that cannot be read is set
    /// aside: it never keeps the router from starting.
    pub(crate) fn find(state: &Path, ports: &[(PortId, String)], timeouts: &Timeouts) -> Option<Source> {
        let path = state.join(folder::NAME);
        let opened = match folder::open(state) {
            Ok(file) => Source::open(file?, ports),
            Err(error) => Err(Unreadable::Io(error)),
        };
        let (source, header) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                warn!(path = %path.display(), error = output::chain(&error), "saved sessions cannot be used");
                set_aside(state);
                return None;
            }
        };
        let longest = [timeouts.udp, timeouts.tcp_established, timeouts.tcp_transitory, timeouts.icmp];
        let longest = longest.into_iter().fold(timeouts.other, Duration::max);
        match header.written.until(&Moment::now()) {
            None => info!("saved sessions are left alone: the clock stands before they were saved"),
            Some(age) if age >= longest => {
                info!(age_seconds = age.as_secs(), "saved sessions are left alone: all have expired");
            }
            Some(_) => return Some(source),
        }
        None
    }

    /// Puts back what belongs to this worker.
    ///
    /// # Errors
    /// When the file turns out unreadable half-way; what was put back by then stays.
    pub(crate) fn restore(&self, router: &mut Router, now: Timestamp) -> Outcome {
        let mut outcome = Restored::default();
        self.for_each_block(|elapsed, sessions| outcome += router.restore(now, elapsed, sessions))?;
        Ok(outcome)
    }

    /// Makes a router into which sessions were put back early what the file says.
    ///
    /// # Errors
    /// When the file turns out unreadable half-way.
    pub(crate) fn catch_up(&self, router: &mut Router, now: Timestamp) -> Outcome {
        let mut catch_up = router.begin_catch_up();
        let elapsed =
            self.for_each_block(|elapsed, sessions| router.compare(now, elapsed, sessions, &mut catch_up))?;
        Ok(router.catch_up(now, elapsed, catch_up))
    }

    /// Returns how long ago the file was written.
    fn for_each_block(
        &self,
        mut work: impl FnMut(Duration, &[SavedSession]),
    ) -> Result<Duration, Unreadable> {
        let mut blocks = Blocks::new(reader(&self.file))?;
        let elapsed = self.written.until(&Moment::now()).unwrap_or(Duration::MAX);
        while let Some(mut sessions) = blocks.next()? {
            for session in &mut sessions {
                self.renumber(session);
            }
            work(elapsed, &sessions);
        }
        Ok(elapsed)
    }

    fn renumber(&self, session: &mut SavedSession) {
        let port = |port: PortId| self.ports[port.index()];
        (session.inside, session.outside) = (port(session.inside), port(session.outside));
    }
}

/// Reads a file from its start, whoever else reads it.
fn reader(file: &Arc<File>) -> impl Read + use<> {
    BufReader::with_capacity(64 << 10, FromStart { file: file.clone(), position: 0 })
}

struct FromStart {
    file: Arc<File>,
    position: u64,
}

impl Read for FromStart {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(into, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

/// How many sessions came back, and how many did not.
pub(crate) fn count(outcomes: &[Outcome]) -> (u64, u64) {
    let whole = outcomes.iter().flatten();
    whole.fold((0, 0), |(restored, refused), outcome| {
        let not_restored: u64 = NotRestored::ALL.iter().map(|&reason| outcome.refused(reason)).sum();
        (restored + outcome.restored, refused + not_restored)
    })
}

fn set_aside(state: &Path) {
    match folder::set_aside(state) {
        Ok(aside) => info!(path = %aside.display(), "set aside"),
        Err(error) => warn!(path = %state.join(folder::NAME).display(), %error, "it cannot be set aside"),
    }
}

/// Tells what became of the sessions. A file that no worker can put back is set aside: the next start would fare no
/// better.
pub(crate) fn tell(state: &Path, outcomes: Vec<Outcome>, took: Duration) {
    if let Some(Err(defect @ Unreadable::Defect)) =
        outcomes.iter().find(|outcome| matches!(outcome, Err(Unreadable::Defect)))
    {
        warn!(error = output::chain(defect), "the sessions of the last run are lost");
        return set_aside(state);
    }
    let mut sum = Restored::default();
    for outcome in outcomes {
        match outcome {
            Ok(outcome) => sum += outcome,
            Err(error) => warn!(error = output::chain(&error), "saved sessions cannot be read to their end"),
        }
    }
    let refused = NotRestored::ALL.iter().map(|&reason| (reason.name(), sum.refused(reason)));
    let refused: Vec<String> =
        refused.filter(|(_, count)| *count > 0).map(|(name, count)| format!("{name} {count}")).collect();
    let (milliseconds, not_restored) = (took.as_millis() as u64, refused.join(", "));
    info!(sessions = sum.restored, not_restored, milliseconds, "sessions of the last run are back");
}
