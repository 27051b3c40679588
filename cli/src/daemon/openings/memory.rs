//! What is remembered about the clock: `clock` in the state folder, a line of JSON.

use std::io;
use std::path::{Path, PathBuf};

use genkan_config::openings::{Expired, Openings};
use genkan_control::atomic_file;
use genkan_engine::UnixTime;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::output;

/// More than 10,000 forwards need.
const MOST_OCTETS: u64 = 4 << 20;

/// The file's content.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Remembered {
    /// What the clock showed last, in seconds since 1970.
    seen: i64,
    /// Forwards that were once past their `expires`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    expired: Vec<ExpiredForward>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ExpiredForward {
    forward: String,
    expires: i64,
}

/// Where the file is.
#[derive(Debug)]
pub(super) struct Memory(PathBuf);

impl Memory {
    pub(super) fn of(state: &Path) -> Memory {
        Memory(state.join("clock"))
    }

    /// Begins with what the file says. One that cannot be read is told of, and is as good as none.
    pub(super) fn recall(&self) -> Openings {
        let remembered = match self.read() {
            Ok(remembered) => remembered,
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                warn!(file = %self.0.display(), error = output::chain(&error), "the last time seen cannot be read");
                None
            }
        };
        let seen = remembered.as_ref().map(|remembered| UnixTime(remembered.seen));
        let expired = remembered.into_iter().flat_map(|remembered| remembered.expired);
        Openings::new(seen, expired.map(|expired| (expired.forward, UnixTime(expired.expires))))
    }

    fn read(&self) -> io::Result<Option<Remembered>> {
        if std::fs::metadata(&self.0)?.len() > MOST_OCTETS {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long"));
        }
        Ok(Some(serde_json::from_slice(&std::fs::read(&self.0)?)?))
    }

    /// Puts it on the disk.
    pub(super) fn keep(&self, seen: UnixTime, expired: &[Expired]) -> io::Result<()> {
        let expired = expired
            .iter()
            .map(|(forward, expires)| ExpiredForward { forward: forward.clone(), expires: expires.0 })
            .collect();
        let mut line = serde_json::to_vec(&Remembered { seen: seen.0, expired })?;
        line.push(b'\n');
        if let Some(folder) = self.0.parent() {
            std::fs::create_dir_all(folder)?;
        }
        atomic_file::write(&self.0, &line, 0o600)
    }
}
