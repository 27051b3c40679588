//! What is remembered of the devices of the lans: `devices` in the state folder, JSON.

use std::io;
use std::path::{Path, PathBuf};

use genkan_control::atomic_file;
use genkan_control::devices::Device;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::whereabouts::Remembered;
use crate::output;

/// More than all devices and hosts need.
const MOST_OCTETS: u64 = 8 << 20;

/// The file's content.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Content {
    /// Where the devices of `[[host]]`s are.
    #[serde(default)]
    pub(super) hosts: Vec<Remembered>,
    /// Who was seen on the lans.
    #[serde(default)]
    pub(super) devices: Vec<Device>,
}

/// Where the file is.
#[derive(Clone, Debug)]
pub(super) struct Memory(PathBuf);

impl Memory {
    pub(super) fn of(state: &Path) -> Memory {
        Memory(state.join("devices"))
    }

    /// What the file says. One that cannot be read is told of, and is as good as none.
    pub(super) fn recall(&self) -> Content {
        match self.read() {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Content::default(),
            Err(error) => {
                let file = self.0.display();
                warn!(%file, error = output::chain(&error), "the known devices cannot be read");
                Content::default()
            }
        }
    }

    fn read(&self) -> io::Result<Content> {
        if std::fs::metadata(&self.0)?.len() > MOST_OCTETS {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long"));
        }
        Ok(serde_json::from_slice(&std::fs::read(&self.0)?)?)
    }

    /// Puts it on the disk.
    pub(super) fn keep(&self, content: &Content) -> io::Result<()> {
        let mut octets = serde_json::to_vec(content)?;
        octets.push(b'\n');
        atomic_file::write(&self.0, &octets, 0o600)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back() {
        let folder = std::env::temp_dir().join(format!("genkan-devices-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("made");
        let memory = Memory::of(&folder);
        assert_eq!(memory.recall(), Content::default());
        let host = Remembered {
            host: "nas".to_owned(),
            mac: "02:00:00:00:00:01".to_owned(),
            written: Some([192, 168, 0, 30].into()),
            place: Some([192, 168, 0, 10].into()),
            last_address: None,
            last_seen: Some(7),
        };
        let content = Content { hosts: vec![host], devices: Vec::new() };
        memory.keep(&content).expect("kept");
        assert_eq!(memory.recall(), content);
        std::fs::write(folder.join("devices"), "nonsense").expect("written");
        assert_eq!(memory.recall(), Content::default());
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
