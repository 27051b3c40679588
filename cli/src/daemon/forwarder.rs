//! The way of packets through one worker: a batch in, judged in place, out of its ports from the same memory.
//!
//! Nothing here allocates, locks or calls the kernel per packet: queues are made once, and back ends send and
//! receive whole batches.

use std::net::Ipv4Addr;
use std::time::Duration;

use genkan_control::api::IoCounters;
use genkan_control::capture::Tap;
use genkan_engine::frame::{FrameBatch, Offload, PortId, Slot};
use genkan_engine::packet::build;
use genkan_engine::router::LinkState;
use genkan_engine::verdict::Verdict;
use genkan_engine::wire::arp;
use genkan_engine::wire::ethernet::MacAddr;
use genkan_engine::{Router, Stage, Timestamp};
use genkan_io::{FrameReceiver, FrameTransmitter, IoError};
use serde::{Deserialize, Serialize};

use super::exchange::{Exchange, Outbox};
use super::following::Follower;
use super::onlookers::Onlookers;
use super::outlets::Outlets;
use super::poller::Poller;

/// How long a port is left alone after its receiver failed.
const FAULT_PAUSE: Duration = Duration::from_millis(50);

/// Something about a port that the control side has to know.
#[derive(Debug)]
pub(crate) enum PortTrouble {
    /// Its device is no more; the port was closed.
    Gone(PortId),
    /// A call failed; the port goes on. Told once until a call succeeds.
    Fault(PortId, IoError),
}

/// What one worker has of a port.
pub(crate) struct PortHalves {
    /// Absent where another worker takes in all frames.
    pub(crate) receiver: Option<Box<dyn FrameReceiver>>,
    /// Every worker sends its own.
    pub(crate) transmitter: Box<dyn FrameTransmitter>,
}

/// A neighbour on the link of a port, as another router knew it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KnownNeighbor {
    pub(crate) port: u8,
    pub(crate) address: Ipv4Addr,
    pub(crate) mac: [u8; 6],
}

/// A router and the ports of its worker.
pub(crate) struct Forwarder {
    router: Router,
    inlets: Vec<Inlet>,
    outlets: Outlets,
    exchange: Exchange,
    troubles: Vec<PortTrouble>,
    /// Who looks at the packets, if anybody does.
    onlookers: Option<Box<Onlookers>>,
}

struct Inlet {
    port: PortId,
    receiver: Box<dyn FrameReceiver>,
    /// Frames lost by receivers that this port had before.
    lost_before: u64,
    faulty: bool,
}

impl Forwarder {
    /// A worker without ports.
    pub(crate) fn new(router: Router, exchange: Exchange) -> Forwarder {
        let outlets = Outlets::new();
        Forwarder { router, inlets: Vec::new(), outlets, exchange, troubles: Vec::new(), onlookers: None }
    }

    /// The router, for questions.
    pub(crate) fn router(&self) -> &Router {
        &self.router
    }

    /// The router, for changes. What it makes meanwhile goes out with [`Forwarder::send_made`].
    pub(crate) fn router_mut(&mut self) -> &mut Router {
        &mut self.router
    }

    /// Closes all ports and gives back the router.
    pub(crate) fn into_router(self) -> Router {
        self.router
    }

    /// Lets a tap see all packets from now on, until nobody listens to it any more.
    pub(crate) fn set_tap(&mut self, tap: Box<Tap>) {
        self.onlookers.get_or_insert_default().set_tap(tap);
    }

    /// Lets somebody follow packets from now on, until nobody listens to it any more.
    pub(crate) fn add_follower(&mut self, follower: Follower) {
        self.onlookers.get_or_insert_default().add_follower(follower);
    }

    /// Opens a port, in place of what it had before.
    pub(crate) fn attach(&mut self, now: Timestamp, port: PortId, halves: PortHalves, link: LinkState) {
        let lost_before = self.close(port);
        if let Some(receiver) = halves.receiver {
            self.inlets.push(Inlet { port, receiver, lost_before, faulty: false });
            self.inlets.sort_by_key(|inlet| inlet.port);
        }
        self.outlets.ports[port.index()].transmitter = Some(halves.transmitter);
        self.set_link(now, port, link);
    }

    /// Closes a port: its link is down until it is attached again.
    pub(crate) fn detach(&mut self, now: Timestamp, port: PortId, link: LinkState) {
        self.outlets.ports[port.index()].io.rx_lost = self.close(port);
        self.set_link(now, port, LinkState { up: false, ..link });
    }

    /// Tells the router about a link, and sends what it says to that.
    pub(crate) fn set_link(&mut self, now: Timestamp, port: PortId, link: LinkState) {
        self.router.set_link(now, port, link);
        self.send_made(now);
    }

    fn close(&mut self, port: PortId) -> u64 {
        self.outlets.ports[port.index()].close();
        match self.inlets.iter().position(|inlet| inlet.port == port) {
            Some(index) => {
                let mut inlet = self.inlets.remove(index);
                inlet.lost_before + inlet.receiver.lost_frames()
            }
            None => self.outlets.ports[port.index()].io.rx_lost,
        }
    }

    /// Takes one batch from every port through the router; returns how many frames there were.
    pub(crate) fn round(&mut self, clock: impl Fn() -> Timestamp) -> usize {
        let mut frames = 0;
        if self.onlookers.as_mut().is_some_and(|onlookers| !onlookers.tend()) {
            self.onlookers = None;
        }
        for inlet in &mut self.inlets {
            let FrameBatch { memory, slots } = match inlet.receiver.receive() {
                Ok(batch) => batch,
                Err(error) => {
                    let io = &mut self.outlets.ports[inlet.port.index()].io;
                    match error {
                        IoError::DeviceGone | IoError::EndOfInput => {
                            self.troubles.push(PortTrouble::Gone(inlet.port));
                        }
                        error => {
                            io.rx_errors += 1;
                            if !std::mem::replace(&mut inlet.faulty, true) {
                                self.troubles.push(PortTrouble::Fault(inlet.port, error));
                            }
                        }
                    }
                    continue;
                }
            };
            inlet.faulty = false;
            if slots.is_empty() {
                continue;
            }
            frames += slots.len();
            let now = clock();
            let batch = FrameBatch { memory: &mut *memory, slots: &mut *slots };
            match &mut self.onlookers {
                None => self.router.handle_batch(now, inlet.port, batch),
                Some(onlookers) => onlookers.judge(&mut self.router, now, inlet.port, None, batch),
            }
            self.router.count_traffic(now, inlet.port, memory, slots);
            // What the router made or held on account of this batch goes before the batch itself.
            self.outlets.send_made(&mut self.router, &mut self.troubles, now, &mut self.onlookers);
            hand_over_made(&mut self.router, &mut self.exchange.outbox);
            if self.outlets.send_judged(memory, slots, &mut self.troubles) {
                hand_over_judged(inlet.port, memory, slots, &mut self.router, &mut self.exchange.outbox);
            }
        }
        let Exchange { outbox, inbox } = &mut self.exchange;
        for giver in inbox {
            let Some((port, stage, batch)) = giver.receive() else { continue };
            let FrameBatch { memory, slots } = batch;
            frames += slots.len();
            let now = clock();
            let batch = FrameBatch { memory: &mut *memory, slots: &mut *slots };
            match &mut self.onlookers {
                None => self.router.handle_handed_over(now, port, stage, batch),
                Some(onlookers) => onlookers.judge(&mut self.router, now, port, Some(stage), batch),
            }
            // What comes half done has been counted where it began.
            if matches!(stage, Stage::Arrived | Stage::Assigned) {
                self.router.count_traffic(now, port, memory, slots);
            }
            self.outlets.send_made(&mut self.router, &mut self.troubles, now, &mut self.onlookers);
            hand_over_made(&mut self.router, outbox);
            if self.outlets.send_judged(memory, slots, &mut self.troubles) {
                hand_over_judged(port, memory, slots, &mut self.router, outbox);
            }
        }
        self.exchange.outbox.notify();
        frames
    }

    /// Drops frames that wait and arrived at this wall time or before: somebody else has had them.
    pub(crate) fn skip_until(&mut self, wall: Duration) {
        for inlet in &mut self.inlets {
            inlet.receiver.skip_until(wall);
        }
    }

    /// Has neighbours say where they are, as if they had answered: frames need not wait for their answers then. Where
    /// one has gone, its entry is found to be old like any other.
    pub(crate) fn introduce(
        &mut self,
        now: Timestamp,
        links: &[Option<LinkState>; PortId::COUNT],
        neighbors: &[KnownNeighbor],
    ) {
        for neighbor in neighbors {
            let port = PortId(neighbor.port);
            let plan = self.router.plan();
            let address = match port.lan_index() {
                Some(index) => plan.lans.get(index).map(|lan| lan.address.addr()),
                None => plan.wan.external_addresses().next().filter(|_| port == PortId::WAN),
            };
            let mac = links.get(port.index()).copied().flatten().map(|link| link.mac);
            let (Some(address), Some(mac)) = (address, mac) else { continue };
            let reply = arp::Repr {
                operation: arp::Operation::Reply,
                sender_mac: MacAddr(neighbor.mac),
                sender_ip: neighbor.address,
                target_mac: mac,
                target_ip: address,
            };
            let mut memory = build::arp_frame(&reply, mac);
            let len = memory.len();
            let slot = Slot { offset: 0, len, offload: Offload::default(), verdict: Verdict::Consumed };
            let batch = FrameBatch { memory: &mut memory, slots: &mut [slot] };
            self.router.handle_batch(now, port, batch);
        }
        self.send_made(now);
    }

    /// Whether frames of other workers wait.
    pub(crate) fn has_handed_over(&self) -> bool {
        !self.exchange.is_empty()
    }

    /// Lets time pass if the router waits for it.
    pub(crate) fn handle_timeout(&mut self, now: Timestamp) {
        if self.router.poll_timeout().is_some_and(|due| due <= now) {
            self.router.handle_timeout(now);
            self.send_made(now);
        }
    }

    /// Sends what the router made by itself, also to other workers.
    pub(crate) fn send_made(&mut self, now: Timestamp) {
        self.outlets.send_made(&mut self.router, &mut self.troubles, now, &mut self.onlookers);
        hand_over_made(&mut self.router, &mut self.exchange.outbox);
        self.exchange.outbox.notify();
    }

    /// What happened to ports since the last call. Ports that are gone are to be detached by the caller.
    pub(crate) fn take_troubles(&mut self) -> Vec<PortTrouble> {
        std::mem::take(&mut self.troubles)
    }

    /// Counters of the I/O, those of the kernel fetched anew.
    pub(crate) fn io_counters(&mut self) -> [IoCounters; PortId::COUNT] {
        let mut counters = std::array::from_fn(|index| self.outlets.ports[index].io);
        for inlet in &mut self.inlets {
            let counters: &mut IoCounters = &mut counters[inlet.port.index()];
            counters.rx_lost = inlet.lost_before + inlet.receiver.lost_frames();
        }
        for (counters, outlet) in counters.iter_mut().zip(&self.outlets.ports) {
            counters.tx_merged += outlet.transmitter.as_ref().map_or(0, |it| it.merged_frames());
        }
        counters
    }

    /// Sleeps until a frame, the waker, or the end of `timeout`. A port whose receiver fails is looked at now and then:
    /// its descriptor may well stay readable all the time.
    pub(crate) fn wait(&self, poller: &Poller, timeout: Option<Duration>) {
        let faulty = self.inlets.iter().any(|inlet| inlet.faulty);
        let timeout =
            if faulty { Some(timeout.map_or(FAULT_PAUSE, |time| time.min(FAULT_PAUSE))) } else { timeout };
        let healthy = self.inlets.iter().filter(|inlet| !inlet.faulty);
        poller.wait(healthy.map(|inlet| inlet.receiver.poll_fds()), timeout);
    }
}

/// Passes on what the router has made for other workers.
fn hand_over_made(router: &mut Router, outbox: &mut Outbox) {
    while let Some(made) = router.poll_hand_over() {
        if !outbox.push(made.to, made.port, made.stage, made.offload, &made.bytes) {
            router.hand_over_failed();
        }
    }
}

/// Passes on the frames of a judged batch that are other workers'.
fn hand_over_judged(port: PortId, memory: &[u8], slots: &[Slot], router: &mut Router, outbox: &mut Outbox) {
    for slot in slots {
        if let Verdict::HandOver(to, stage) = slot.verdict {
            let frame = &memory[slot.offset..slot.offset + slot.len];
            if !outbox.push(to, port, stage, slot.offload, frame) {
                router.hand_over_failed();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use genkan_engine::wire::arp;
    use genkan_engine::wire::ethernet::{self, EtherType, MacAddr};
    use genkan_engine::{Offload, RouterConfig, UnixTime};
    use genkan_io::{FrameIo, loopback};

    use super::*;
    use crate::replay::tests::plan;

    const ROUTER: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const LAPTOP: MacAddr = MacAddr([2, 0, 0, 0, 0, 3]);
    const LAN: PortId = PortId::lan(0);

    fn link() -> LinkState {
        LinkState { mac: ROUTER, mtu: 1500, up: true }
    }

    fn halves(io: FrameIo) -> PortHalves {
        PortHalves { receiver: Some(io.receiver), transmitter: io.transmitter }
    }

    fn forwarder() -> Forwarder {
        let config = RouterConfig::alone(Arc::new(plan()), [1, 2]);
        Forwarder::new(Router::new(config, Timestamp::ZERO, UnixTime(0)), Exchange::alone())
    }

    fn request(target: Ipv4Addr) -> Vec<u8> {
        let mut frame = vec![0; 60];
        ethernet::Repr { destination: MacAddr::BROADCAST, source: LAPTOP, ethertype: EtherType::ARP }
            .emit(&mut frame);
        arp::Repr {
            operation: arp::Operation::Request,
            sender_mac: LAPTOP,
            sender_ip: Ipv4Addr::new(192, 168, 0, 20),
            target_mac: MacAddr::ZERO,
            target_ip: target,
        }
        .emit(&mut frame[ethernet::HEADER_LEN..]);
        frame
    }

    /// The ARP packets that wait at one end of a loopback.
    fn received(io: &mut FrameIo) -> Vec<arp::Repr> {
        let batch = io.receiver.receive().expect("the other end is there");
        let frames = batch.slots.iter().map(|slot| &batch.memory[slot.offset..slot.offset + slot.len]);
        frames.filter_map(|frame| arp::Repr::parse(&frame[ethernet::HEADER_LEN..]).ok()).collect()
    }

    #[test]
    fn what_the_router_makes_leaves_by_its_port() {
        let mut forwarder = forwarder();
        let (inside, mut laptop) = loopback::pair(64).expect("file descriptors");
        forwarder.attach(Timestamp::ZERO, LAN, halves(inside), link());
        // It announces itself, if at all, only for its own address.
        assert!(received(&mut laptop).iter().all(|arp| arp.sender_ip == Ipv4Addr::new(192, 168, 0, 1)));

        let asked = request(Ipv4Addr::new(192, 168, 0, 1));
        assert!(laptop.transmitter.transmit_frame(&asked, Offload::default()).expect("sent"));
        assert_eq!(forwarder.round(|| Timestamp::from_secs(1)), 1);
        assert_eq!(forwarder.round(|| Timestamp::from_secs(1)), 0);
        let answers = received(&mut laptop);
        assert_eq!(answers.len(), 1);
        assert_eq!((answers[0].sender_mac, answers[0].target_mac), (ROUTER, LAPTOP));
        assert!(forwarder.take_troubles().is_empty());
    }

    #[test]
    fn a_port_that_ends_is_told_and_can_come_back() {
        let mut forwarder = forwarder();
        let (inside, laptop) = loopback::pair(64).expect("file descriptors");
        forwarder.attach(Timestamp::ZERO, LAN, halves(inside), link());
        drop(laptop);
        forwarder.round(|| Timestamp::from_secs(1));
        assert!(matches!(forwarder.take_troubles()[..], [PortTrouble::Gone(LAN), ..]));
        forwarder.detach(Timestamp::from_secs(1), LAN, link());
        forwarder.round(|| Timestamp::from_secs(1));
        assert!(forwarder.take_troubles().is_empty());

        let (inside, mut laptop) = loopback::pair(64).expect("file descriptors");
        forwarder.attach(Timestamp::from_secs(2), LAN, halves(inside), link());
        received(&mut laptop);
        let asked = request(Ipv4Addr::new(192, 168, 0, 1));
        laptop.transmitter.transmit_frame(&asked, Offload::default()).expect("sent");
        forwarder.round(|| Timestamp::from_secs(2));
        assert_eq!(received(&mut laptop).len(), 1);
    }

    #[test]
    fn frames_that_a_full_queue_does_not_take_are_counted() {
        let mut forwarder = forwarder();
        let (inside, mut laptop) = loopback::pair(4).expect("file descriptors");
        forwarder.attach(Timestamp::ZERO, LAN, halves(inside), link());
        let asked = request(Ipv4Addr::new(192, 168, 0, 1));
        for _ in 0..4 {
            for _ in 0..4 {
                laptop.transmitter.transmit_frame(&asked, Offload::default()).expect("sent");
            }
            forwarder.round(|| Timestamp::from_secs(1));
        }
        let left = received(&mut laptop).len() as u64;
        let sent = forwarder.router().counters().stages.arp_replies;
        let refused = forwarder.io_counters()[LAN.index()].tx_refused;
        assert!(left <= 4 && refused >= 12, "{left} arrived, {refused} refused, {sent} answered");
    }
}
