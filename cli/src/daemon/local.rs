//! The ways of datagrams between the packet workers and the UDP services of the router's own, in batches.
//!
//! Every worker gives what it took for a service to that service's [`Door`]; what a service says goes to the first
//! worker, which sends it. Neither waits for the other: where a service falls behind, its datagrams stay in the engine,
//! which counts those that it has no room for.

use std::sync::Arc;
use std::time::Duration;

use genkan_engine::Timestamp;
use genkan_engine::local_datagram::{LocalDatagram, LocalSend, Service};
use tokio::sync::mpsc;

use super::forwarder::Forwarder;
use super::poller::Waker;
use super::services::dns::Desk;

/// Batches that may wait for a service, from all workers.
const INCOMING: usize = 16;
/// Batches that may wait for the worker, from all services.
const OUTGOING: usize = 64;
/// Batches that the worker sends between two rounds, so that no service can stall packets.
const BATCHES_PER_ROUND: usize = 4;

/// How soon a worker looks whether a service has room again.
const ROOM: Duration = Duration::from_millis(1);

/// Queries of one round that a worker answers itself, some microseconds each: more would hold packets up.
const FEW: usize = 8;

/// Most datagrams of one batch for [`Speaker::say`].
pub(crate) const BATCH: usize = 64;

/// A service's end.
#[derive(Debug)]
pub(crate) struct Door {
    /// What came in, in order per worker. It ends with the workers.
    pub(crate) incoming: mpsc::Receiver<Vec<LocalDatagram>>,
    /// Where to answer.
    pub(crate) speaker: Speaker,
}

/// A door for each service.
#[derive(Debug)]
pub(crate) struct Doors {
    pub(crate) dhcp_client: Door,
    pub(crate) dhcp_server: Door,
    pub(crate) dns: Door,
    /// What workers may answer in the name of the DNS service.
    pub(crate) desk: Arc<Desk>,
}

/// What services send by.
#[derive(Clone, Debug)]
pub(crate) struct Speaker {
    batches: mpsc::Sender<Vec<LocalSend>>,
    waker: Waker,
}

impl Speaker {
    /// Has datagrams sent, at most [`BATCH`] of them, once there is room. What cannot be sent is counted by the engine.
    pub(crate) async fn say(&self, batch: Vec<LocalSend>) {
        debug_assert!(batch.len() <= BATCH);
        // Workers that have ended send nothing, as the whole router does not.
        if self.batches.send(batch).await.is_ok() {
            self.waker.wake_sleeper();
        }
    }
}

/// A worker's end.
#[derive(Debug)]
pub(crate) struct WorkerEnd {
    doors: [(Service, mpsc::Sender<Vec<LocalDatagram>>); Service::COUNT],
    desk: Arc<Desk>,
    /// At the worker that sends.
    said: Option<mpsc::Receiver<Vec<LocalSend>>>,
    /// Some service had no room.
    waits: bool,
}

/// The ends of each of the workers that these wakers wake, and the doors.
///
/// # Panics
/// Without a worker.
pub(crate) fn ways(wakers: &[Waker]) -> (Vec<WorkerEnd>, Doors) {
    let (batches, said) = mpsc::channel(OUTGOING);
    let speaker = Speaker { batches, waker: wakers[0].clone() };
    let door = || {
        let (sender, incoming) = mpsc::channel(INCOMING);
        (sender, Door { incoming, speaker: speaker.clone() })
    };
    let (to_dhcp_client, dhcp_client) = door();
    let (to_dhcp_server, dhcp_server) = door();
    let (to_dns, dns) = door();
    let doors = [
        (Service::DhcpClient, to_dhcp_client),
        (Service::DhcpServer, to_dhcp_server),
        (Service::Dns, to_dns),
    ];
    let (mut said, desk) = (Some(said), Arc::new(Desk::new()));
    let end = |_| WorkerEnd { doors: doors.clone(), desk: desk.clone(), said: said.take(), waits: false };
    (wakers.iter().map(end).collect(), Doors { dhcp_client, dhcp_server, dns, desk: desk.clone() })
}

impl WorkerEnd {
    /// Passes on what the router has taken for services, to those that have room.
    pub(crate) fn pass_on(&mut self, forwarder: &mut Forwarder, now: Timestamp) {
        self.waits = false;
        let mut has_sent = false;
        let router = forwarder.router_mut();
        for (service, door) in &self.doors {
            if router.local_datagrams(*service) == 0 {
                continue;
            }
            let Ok(permit) = door.try_reserve() else {
                self.waits = true;
                continue;
            };
            let is_few = router.local_datagrams(*service) <= FEW;
            let mut batch: Vec<_> = std::iter::from_fn(|| router.poll_local_datagram(*service)).collect();
            if *service == Service::Dns && is_few {
                batch.retain(|query| match self.desk.answer(query) {
                    Some(reply) => {
                        // The engine has counted why not.
                        let _ = router.send_local_datagram(now, &reply);
                        has_sent = true;
                        false
                    }
                    None => true,
                });
            }
            if !batch.is_empty() {
                permit.send(batch);
            }
        }
        if has_sent {
            forwarder.send_made(now);
        }
    }

    /// How long to sleep at most: nobody tells when a service that was behind has room again.
    pub(crate) fn longest_sleep(&self) -> Option<Duration> {
        self.waits.then_some(ROOM)
    }

    /// Sends what services have said; whether there was something.
    pub(crate) fn send(&mut self, forwarder: &mut Forwarder, now: Timestamp) -> bool {
        let Some(said) = &mut self.said else { return false };
        let mut has_sent = false;
        for _ in 0..BATCHES_PER_ROUND {
            let Ok(batch) = said.try_recv() else { break };
            has_sent = true;
            for datagram in &batch {
                // The engine has counted why.
                let _ = forwarder.router_mut().send_local_datagram(now, datagram);
            }
            forwarder.send_made(now);
        }
        has_sent
    }

    /// Whether nothing waits to be sent.
    pub(crate) fn is_empty(&self) -> bool {
        self.said.as_ref().is_none_or(mpsc::Receiver::is_empty)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4};

    use genkan_engine::PortId;

    use super::*;

    fn datagram() -> LocalSend {
        LocalSend {
            service: Service::Dns,
            port: PortId::lan(0),
            source: Ipv4Addr::new(192, 168, 0, 1),
            destination: SocketAddrV4::new(Ipv4Addr::new(192, 168, 0, 20), 4_000),
            to: None,
            payload: vec![1],
        }
    }

    #[tokio::test]
    async fn only_the_first_worker_sends_and_there_is_room_for_so_much() {
        let wakers = [Waker::new().expect("an eventfd"), Waker::new().expect("an eventfd")];
        let (ends, doors) = ways(&wakers);
        assert_eq!(ends.iter().filter(|end| end.said.is_some()).count(), 1);
        assert!(ends.iter().all(WorkerEnd::is_empty));
        for _ in 0..OUTGOING {
            doors.dns.speaker.say(vec![datagram()]).await;
        }
        assert!(!ends[0].is_empty() && ends[1].is_empty());
        assert!(
            doors.dhcp_server.speaker.batches.try_send(vec![datagram()]).is_err(),
            "all of them share the room"
        );
    }
}
