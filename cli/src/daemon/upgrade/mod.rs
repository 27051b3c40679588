//! Another program in the place of the running one, while packets flow (`genkan upgrade`).
//!
//! ```text
//!  running program                                    new program (its child, `run --take-over`)
//!    starts it; offers socket, lock and devices ──────> reads the configuration, opens what it needs beside
//!                                                       the running one, makes tables and threads, puts back
//!                                                       the sessions that the running one saved just now
//!    packets flow <───────────────────────────── ready  (or refused, or gone: nothing has happened)
//!    begin ───────────────────────────────────────────> frames pile up in its rings, too
//!    stops, deals with what waits <────────── gathering                             <- no packet moves from here ...
//!    sessions and neighbours in memory, go ───────────> catches up, skips frames that the other one has had
//!    leaves the devices as they are <────────── running                             <- ... to here
//!    ends, or stays to pass signals on ───────── left > takes over the records of the devices
//! ```
//! Until it has heard `running` the running program can go on at any moment, with the workers as they were, and does so
//! when the new one ends or says nothing. The new one goes on alone when it hears nothing more from the other.
//!
//! - [`successor`]: the running program's part; [`guardian`]: what is left of it afterwards where no service manager
//!   can be told of another process id;
//! - [`predecessor`]: the new program's part.
//!
//! Messages are JSON: what a later version adds, an earlier one passes over.

use std::collections::HashMap;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use genkan_control::api::Sandbox;
use genkan_io::passage::Passage;
use serde::{Deserialize, Serialize};

mod guardian;
mod predecessor;
mod successor;

pub(crate) use self::guardian::{Call, Calls, Lifeline};
pub(crate) use self::predecessor::Predecessor;
pub(crate) use self::successor::{HandedOver, afterwards, own_program};

/// The steps above. Another number: other steps.
const STEPS: u32 = 1;

/// What one process tells the other.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Message {
    /// With the control socket's listener and lock, the history's lock, and a lifeline if there is one.
    Offer(Offer),
    /// With the descriptors of a port.
    Port(PortOffer),
    Ready {
        version: String,
    },
    Refused {
        text: String,
    },
    Begin,
    Gathering,
    /// With a file of sessions, and one of neighbours.
    Go {
        /// Frames that arrived until then have been dealt with; wall time since 1970.
        until: Duration,
    },
    Running {
        sessions: u64,
        not_taken: u64,
    },
    Left,
}

/// What is to be taken over.
#[derive(Debug, Serialize, Deserialize)]
struct Offer {
    /// [`STEPS`].
    steps: u32,
    /// Format of the file of sessions.
    sessions: u8,
    /// Version of the running program.
    version: String,
    workers: u8,
    /// Messages about ports that follow.
    ports: usize,
    /// What `upgrades` of the new one's status is to say.
    upgrades: u32,
    /// What the process has given up, and its children with it.
    sandbox: Option<Sandbox>,
}

/// A port of the running program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PortOffer {
    pub(crate) device: String,
    /// How frames get in and out.
    pub(crate) backend: String,
    pub(crate) reason: Option<String>,
    /// Why it is not what was asked for.
    pub(crate) shortfall: Option<String>,
    /// Our MAC address there.
    pub(crate) mac: [u8; 6],
    /// IP MTU in octets.
    pub(crate) mtu: u16,
}

/// A port that another process offers, with the descriptors that came along.
#[derive(Debug)]
pub(crate) struct InheritedPort {
    pub(crate) offer: PortOffer,
    pub(crate) descriptors: Vec<OwnedFd>,
}

/// Ports that another process offers, by device.
#[derive(Debug, Default)]
pub(crate) struct Inheritance(HashMap<String, InheritedPort>);

impl Inheritance {
    pub(crate) fn put(&mut self, port: InheritedPort) {
        self.0.insert(port.offer.device.clone(), port);
    }

    pub(crate) fn take(&mut self, device: &str) -> Option<InheritedPort> {
        self.0.remove(device)
    }
}

fn send(passage: &Passage, message: &Message, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    passage.send(&serde_json::to_vec(message)?, descriptors)
}

/// `None`: the other process has ended.
fn receive(passage: &Passage, patience: Duration) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
    let Some((text, descriptors)) = passage.receive(patience)? else { return Ok(None) };
    Ok(Some((serde_json::from_slice(&text)?, descriptors)))
}

/// A file in memory.
fn memory_file(name: &str) -> io::Result<std::fs::File> {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    Ok(memfd_create(name, MFdFlags::MFD_CLOEXEC)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_and_later_versions_may_add_to_them() {
        let (here, there) = Passage::pair().expect("sockets");
        let until = Duration::new(1_790_000_000, 7);
        send(&here, &Message::Go { until }, &[]).expect("sent");
        let (message, _) = receive(&there, Duration::from_secs(5)).expect("it came").expect("open");
        assert!(matches!(message, Message::Go { until: came } if came == until), "{message:?}");
        here.send(br#"{"ready":{"version":"9.9.9","mood":"good"}}"#, &[]).expect("sent");
        let (message, _) = receive(&there, Duration::from_secs(5)).expect("it came").expect("open");
        assert!(matches!(&message, Message::Ready { version } if version == "9.9.9"), "{message:?}");
        here.send(b"hello", &[]).expect("sent");
        assert!(receive(&there, Duration::from_secs(5)).is_err(), "that is no message of ours");
    }
}
