//! Whether somebody else has an address on the wan (RFC 5227 section 2.1.1).

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use genkan_control::request::{WorkerError, WorkerHandle, WorkerRequest};
use genkan_engine::frame::PortId;
use genkan_engine::probe::{Probe, ProbeAnswer, ProbeKind};
use genkan_engine::wire::ethernet::MacAddr;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// PROBE_NUM.
const PROBES: usize = 3;

/// The wait after each. RFC 5227 section 1.1 has 3 to 7 s for all of them; machines on an Ethernet answer within
/// milliseconds, and all that time a house would be without its network.
const WAIT: Duration = Duration::from_millis(150);

/// Answers that may wait.
const ANSWERS: usize = 16;

/// Asks for an address in the name of nobody, and tells whether somebody has it. A worker that does not answer has seen
/// nobody.
pub(super) async fn is_taken(worker: &WorkerHandle, address: Ipv4Addr) -> bool {
    let probe = Probe {
        // Not to be guessed by who might answer in the place of another.
        id: RandomState::new().build_hasher().finish(),
        port: PortId::WAN,
        kind: ProbeKind::Arp,
        source: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0),
        target: SocketAddrV4::new(address, 0),
        to: MacAddr::BROADCAST,
    };
    let (sender, mut answers) = mpsc::channel(ANSWERS);
    for _ in 0..PROBES {
        if send(worker, probe, &sender).await.is_err() {
            return false;
        }
        let deadline = Instant::now() + WAIT;
        while let Ok(Some(answer)) = timeout_at(deadline, answers.recv()).await {
            if let ProbeAnswer::Arp(_) = answer {
                return true;
            }
        }
    }
    false
}

/// Has all workers watch, then the first one send.
async fn send(
    worker: &WorkerHandle,
    probe: Probe,
    answers: &mpsc::Sender<ProbeAnswer>,
) -> Result<(), WorkerError> {
    let request = |send| move |reply| WorkerRequest::Probe { probe, send, answers: answers.clone(), reply };
    if worker.count() > 1 {
        worker.ask_all(request(false)).await?;
    }
    worker.ask_first(request(true)).await.map(drop)
}
