//! The worker's end of a capture.

use std::time::Duration;

use genkan_engine::frame::{Offload, PortId, Slot};
use genkan_engine::packet::parsed::{Parsed, parse_ipv4};
use genkan_engine::team::Stage;
use genkan_engine::verdict::Verdict;
use genkan_engine::{Router, Timestamp};

use super::ring::{Cut, Drain, Fate, Label, Sender, ring};
use super::{Filter, MAX_SNAPLEN, MIN_SNAPLEN};

/// Most frames of a batch; those beyond are not captured. Every back end's batches are smaller.
const MAX_BATCH: usize = 256;

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Which packets.
    pub filter: Filter,
    /// As seen at this port; without it at any.
    pub port: Option<PortId>,
    /// Octets kept of each frame.
    pub snaplen: u32,
}

/// Sees the frames of one worker before and after its router has judged them, and passes on those that are wanted.
///
/// All memory is there from the beginning.
#[derive(Debug)]
pub struct Tap {
    wanted: Wanted,
    sender: Sender,
    /// Wall time of [`Timestamp::ZERO`], since 1970-01-01T00:00:00Z.
    epoch: Duration,
    /// What is known of each frame of the batch at hand.
    notes: Vec<Note>,
    /// The beginnings of those frames.
    memory: Vec<u8>,
    stage: Option<Stage>,
}

/// A frame as it came.
#[derive(Clone, Copy, Debug)]
struct Note {
    start: usize,
    cut: Cut,
    parsed: Option<Parsed>,
    is_wanted: bool,
}

impl Tap {
    /// A tap and the end where its packets come out.
    pub fn new(mut wanted: Wanted) -> (Tap, Drain) {
        wanted.snaplen = wanted.snaplen.clamp(MIN_SNAPLEN, MAX_SNAPLEN);
        let (sender, drain) = ring();
        let memory = vec![0; wanted.snaplen as usize * MAX_BATCH];
        let notes = Vec::with_capacity(MAX_BATCH);
        (Tap { wanted, sender, epoch: Duration::ZERO, notes, memory, stage: None }, drain)
    }

    /// Tells the wall time of [`Timestamp::ZERO`], since 1970-01-01T00:00:00Z.
    pub fn set_epoch(&mut self, epoch: Duration) {
        self.epoch = epoch;
    }

    /// Whether nobody listens any more.
    pub fn is_over(&self) -> bool {
        self.sender.is_abandoned()
    }

    /// Looks at a batch that the router is about to judge. `stage` says how far another worker has come with it, if it
    /// comes from there.
    pub fn before(&mut self, port: PortId, stage: Option<Stage>, memory: &[u8], slots: &[Slot]) {
        self.notes.clear();
        self.stage = stage;
        if stage == Some(Stage::Overheard) {
            // Was captured where it arrived.
            return;
        }
        let mut start = 0;
        for slot in slots.iter().take(MAX_BATCH) {
            let frame = octets(memory, slot);
            let kept = self.kept(frame);
            self.memory[start..start + kept.len()].copy_from_slice(kept);
            self.notes.push(Note {
                start,
                cut: cut(kept, frame, slot.offload),
                parsed: parse_ipv4(frame).ok(),
                is_wanted: self.is_wanted(port, frame),
            });
            start += kept.len();
        }
    }

    /// Passes on what is wanted of the batch, now that it is judged.
    pub fn after(&mut self, now: Timestamp, port: PortId, router: &Router, memory: &[u8], slots: &[Slot]) {
        for (index, slot) in slots.iter().enumerate().take(self.notes.len()) {
            let note = self.notes[index];
            let sent = match slot.verdict {
                Verdict::Transmit(out) => Some((out, octets(memory, slot))),
                // The other worker captures it, as it comes here.
                Verdict::HandOver(_, Stage::Arrived | Stage::Assigned) => continue,
                _ => None,
            };
            if !note.is_wanted && !sent.is_some_and(|(out, frame)| self.is_wanted(out, frame)) {
                continue;
            }
            let frame = sent.map_or(&[][..], |(_, frame)| frame);
            let decision = note.parsed.and_then(|parsed| router.decision(now, port, &parsed));
            let kept = self.kept(frame);
            let label = Label {
                time: self.epoch + now.saturating_since(Timestamp::ZERO),
                port,
                fate: match self.stage {
                    None | Some(Stage::Arrived | Stage::Assigned) => Fate::Judged(slot.verdict),
                    Some(stage) => Fate::GoneOn(stage, slot.verdict),
                },
                before: note.cut,
                after: cut(kept, frame, slot.offload),
                origin: decision.map(|decision| decision.origin),
                is_answer: decision.is_some_and(|decision| decision.is_answer),
                forward: 0,
                lost: 0,
            };
            let before = &self.memory[note.start..note.start + note.cut.kept as usize];
            let forward = decision.and_then(|decision| decision.forward).unwrap_or_default();
            self.sender.push(label, before, kept, forward);
        }
    }

    /// Passes on a frame that the router made or held, if it is wanted.
    pub fn made(&mut self, now: Timestamp, port: PortId, frame: &[u8], offload: Offload) {
        if !self.is_wanted(port, frame) {
            return;
        }
        let kept = self.kept(frame);
        let label = Label {
            time: self.epoch + now.saturating_since(Timestamp::ZERO),
            port,
            fate: Fate::Made(port),
            before: Cut::default(),
            after: cut(kept, frame, offload),
            origin: None,
            is_answer: false,
            forward: 0,
            lost: 0,
        };
        self.sender.push(label, &[], kept, "");
    }

    fn is_wanted(&self, port: PortId, frame: &[u8]) -> bool {
        self.wanted.port.is_none_or(|wanted| wanted == port)
            && self.wanted.filter.admits(&super::filter::Facts::of(frame))
    }

    fn kept<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        &frame[..frame.len().min(self.wanted.snaplen as usize)]
    }
}

fn cut(kept: &[u8], frame: &[u8], offload: Offload) -> Cut {
    Cut { kept: kept.len() as u32, len: frame.len() as u32, offload }
}

fn octets<'a>(memory: &'a [u8], slot: &Slot) -> &'a [u8] {
    memory.get(slot.offset..slot.offset + slot.len).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use genkan_engine::frame::FrameBatch;
    use genkan_engine::router::LinkState;
    use genkan_engine::wire::arp;
    use genkan_engine::wire::ethernet::{self, EtherType, MacAddr};
    use genkan_engine::{RouterConfig, UnixTime};

    use super::super::ring::Packet;
    use super::*;
    use crate::snapshot::tests::plan;

    const LAN: PortId = PortId::lan(0);
    const NOW: Timestamp = Timestamp::from_secs(5);
    /// The router's address on the lan.
    const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 1);

    /// An ARP request for the router's own address, which it answers.
    fn request() -> Vec<u8> {
        let laptop = MacAddr([2, 0, 0, 0, 0, 3]);
        let mut frame = vec![0; 60];
        ethernet::Repr { destination: MacAddr::BROADCAST, source: laptop, ethertype: EtherType::ARP }
            .emit(&mut frame);
        arp::Repr {
            operation: arp::Operation::Request,
            sender_mac: laptop,
            sender_ip: Ipv4Addr::new(192, 168, 0, 20),
            target_mac: MacAddr::ZERO,
            target_ip: ROUTER,
        }
        .emit(&mut frame[ethernet::HEADER_LEN..]);
        frame
    }

    /// What a tap for `wanted` passes on of a request that comes in by the lan.
    fn captured(filter: &str, port: Option<PortId>) -> Vec<Packet> {
        let config = RouterConfig::alone(Arc::new(plan()), [1, 2]);
        let mut router = Router::new(config, Timestamp::ZERO, UnixTime(0));
        router.set_link(NOW, LAN, LinkState { mac: MacAddr([2, 0, 0, 0, 0, 1]), mtu: 1500, up: true });
        while router.poll_transmit().is_some() {}
        let filter = filter.parse().expect("a filter");
        let (mut tap, mut drain) = Tap::new(Wanted { filter, port, snaplen: 54 });
        tap.set_epoch(Duration::from_secs(1_000));
        let mut memory = request();
        let len = memory.len();
        let mut slots = [Slot { offset: 0, len, offload: Offload::default(), verdict: Verdict::Consumed }];
        tap.before(LAN, None, &memory, &slots);
        router.handle_batch(NOW, LAN, FrameBatch { memory: &mut memory, slots: &mut slots });
        tap.after(NOW, LAN, &router, &memory, &slots);
        tap.made(NOW, PortId::WAN, &request(), Offload::default());
        assert!(!tap.is_over());
        let packets = std::iter::from_fn(|| drain.pop()).collect();
        drop(drain);
        assert!(tap.is_over());
        packets
    }

    #[test]
    fn a_frame_before_and_after_and_one_of_the_router_s_own() {
        let packets = captured("arp", None);
        assert_eq!(packets.len(), 2);
        let (asked, made) = (&packets[0], &packets[1]);
        // The router makes its answer in place.
        assert_eq!((asked.label.port, asked.label.time), (LAN, Duration::from_secs(1_005)));
        assert_eq!(asked.label.fate, Fate::Judged(Verdict::Transmit(LAN)));
        assert_eq!(asked.before, request()[..54]);
        assert_eq!((asked.label.before.len, asked.label.sent_by()), (60, Some(LAN)));
        let [before, after] = [&asked.before, &asked.after]
            .map(|frame| arp::Repr::parse(&frame[ethernet::HEADER_LEN..]).expect("whole").operation);
        assert_eq!((before, after), (arp::Operation::Request, arp::Operation::Reply));
        assert_eq!((made.label.fate, made.before.len()), (Fate::Made(PortId::WAN), 0));
        assert_eq!(made.after, request()[..54]);
    }

    #[test]
    fn only_what_is_wanted_is_passed_on() {
        let count = |filter, port| captured(filter, port).len();
        assert_eq!(
            (count("", Some(LAN)), count("", Some(PortId::WAN)), count("", Some(PortId::HOST))),
            (1, 1, 0)
        );
        assert_eq!(count("udp", None), 0);
        // Either side of the packet will do.
        assert_eq!(count("src host 192.168.0.20", Some(LAN)), 1);
        assert_eq!(count("src host 192.168.0.1", Some(LAN)), 1);
        assert_eq!(count("src host 192.168.0.2", Some(LAN)), 0);
    }
}
