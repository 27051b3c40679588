//! What a client of names outside keeps over restarts: `ddns/NAME` in the state folder, a line of JSON.

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use genkan_control::atomic_file;
use genkan_services::ddns::State;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::output;

/// Longer files are not ours.
const MOST_OCTETS: u64 = 64 << 10;

/// The file's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Saved {
    /// The client's own.
    pub(super) client: State,
    /// What a source other than the wan told last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) told: Option<Told>,
    /// Why it did not answer the last question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) trouble: Option<Trouble>,
}

/// What a source told of the address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    /// The source, as the configuration has it.
    pub(super) source: String,
    /// The wan's own address at that time.
    pub(super) wan: Ipv4Addr,
    /// The answer.
    pub(super) address: IpAddr,
    /// When, in seconds since 1970.
    pub(super) at: i64,
}

/// A source that does not answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Trouble {
    /// The source, as the configuration has it.
    pub(super) source: String,
    /// The wan's own address at that time.
    pub(super) wan: Ipv4Addr,
    /// Questions in a row without an answer.
    pub(super) failures: u32,
    /// In words.
    pub(super) problem: String,
    /// When it is asked again, in seconds since 1970.
    pub(super) again: i64,
}

/// Where the file is.
#[derive(Debug)]
pub(super) struct Store(PathBuf);

impl Store {
    /// Of an entry by its [id](genkan_config::ddns::Ddns::id), which holds no `/` and does not begin with a dot.
    pub(super) fn of(state: &Path, id: &str) -> Store {
        Store(state.join("ddns").join(id))
    }

    /// What was kept. A file that cannot be read is told of, and is as good as none.
    pub(super) fn recall(&self) -> Option<Saved> {
        match self.read() {
            Ok(saved) => Some(saved),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                let error = output::chain(&error);
                warn!(file = %self.0.display(), error, "what was kept of a name outside cannot be read");
                None
            }
        }
    }

    fn read(&self) -> io::Result<Saved> {
        let mut octets = Vec::new();
        std::fs::File::open(&self.0)?.take(MOST_OCTETS).read_to_end(&mut octets)?;
        Ok(serde_json::from_slice(&octets)?)
    }

    /// Puts it on the disk.
    pub(super) fn keep(&self, saved: &Saved) -> io::Result<()> {
        let mut line = serde_json::to_vec(saved)?;
        line.push(b'\n');
        if let Some(folder) = self.0.parent() {
            std::fs::create_dir_all(folder)?;
        }
        atomic_file::write(&self.0, &line, 0o600)
    }
}
