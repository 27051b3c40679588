//! The way from a worker to the control side: two rings, one for labels, one for octets. Bounded, without locks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use genkan_engine::frame::{Offload, PortId};
use genkan_engine::team::Stage;
use genkan_engine::verdict::Verdict;
use rtrb::{Consumer, Producer, RingBuffer};

/// Octets of frames and names that may wait: some ten thousand packets of the default length. Untouched memory costs
/// nothing.
const OCTETS: usize = 4 << 20;
/// Packets that may wait.
const LABELS: usize = 16 << 10;

/// A frame in the ring: how much of it is there, and how much there was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Octets kept.
    pub kept: u32,
    /// Octets that the frame had.
    pub len: u32,
    /// What was left to finish.
    pub offload: Offload,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It came in, and this was the verdict.
    Judged(Verdict),
    /// Another worker had begun with it.
    GoneOn(Stage, Verdict),
    /// The router made or held it; it leaves by this port.
    Made(PortId),
}

/// What goes with a packet. Its octets in the ring: the frame before, the frame after, the forward's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// When, since 1970-01-01T00:00:00Z.
    pub time: Duration,
    /// Where it came in; where it leaves if the router made it.
    pub port: PortId,
    /// What became of it.
    pub fate: Fate,
    /// The frame before; empty if the router made it.
    pub before: Cut,
    /// The frame after; empty if none was sent.
    pub after: Cut,
    /// What opened the session that let it pass.
    pub origin: Option<&'static str>,
    /// It goes against the direction in which the session was opened.
    pub is_answer: bool,
    /// Octets of the forward's name.
    pub forward: u32,
    /// Packets that were lost since the last one that was not.
    pub lost: u32,
}

impl Label {
    /// The port that the frame after was sent out of, if there is one.
    pub fn sent_by(&self) -> Option<PortId> {
        match self.fate {
            Fate::Judged(Verdict::Transmit(port)) | Fate::GoneOn(_, Verdict::Transmit(port)) => Some(port),
            Fate::Made(port) => Some(port),
            _ => None,
        }
    }
}

/// Packets that did not fit, by the port that they came in (or, made by the router, leave) by.
#[derive(Debug)]
pub struct Lost([AtomicU64; PortId::COUNT]);

impl Lost {
    /// Of one port.
    pub fn of(&self, port: PortId) -> u64 {
        self.0.get(port.index()).map_or(0, |lost| lost.load(Ordering::Relaxed))
    }
}

/// The worker's end.
#[derive(Debug)]
pub(super) struct Sender {
    octets: Producer<u8>,
    labels: Producer<Label>,
    lost: Arc<Lost>,
    lost_since: u32,
}

/// The control side's end.
#[derive(Debug)]
pub struct Drain {
    octets: Consumer<u8>,
    labels: Consumer<Label>,
    lost: Arc<Lost>,
}

/// One packet out of the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// What goes with it.
    pub label: Label,
    /// The octets kept of the frame before.
    pub before: Vec<u8>,
    /// The octets kept of the frame after.
    pub after: Vec<u8>,
    /// The forward that admitted its session.
    pub forward: Option<String>,
}

/// Both ends.
pub(super) fn ring() -> (Sender, Drain) {
    let (octets, incoming_octets) = RingBuffer::new(OCTETS);
    let (labels, incoming_labels) = RingBuffer::new(LABELS);
    let lost = Arc::new(Lost([const { AtomicU64::new(0) }; PortId::COUNT]));
    let sender = Sender { octets, labels, lost: lost.clone(), lost_since: 0 };
    (sender, Drain { octets: incoming_octets, labels: incoming_labels, lost })
}

impl Sender {
    /// Whether nobody is at the other end any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.labels.is_abandoned()
    }

    /// Passes a packet on, or counts it as lost. The lengths in `label` are those of the slices.
    pub(super) fn push(&mut self, mut label: Label, before: &[u8], after: &[u8], forward: &str) {
        let octets = before.len() + after.len() + forward.len();
        if self.labels.is_full() || self.octets.slots() < octets {
            if let Some(lost) = self.lost.0.get(label.port.index()) {
                lost.fetch_add(1, Ordering::Relaxed);
            }
            self.lost_since = self.lost_since.saturating_add(1);
            return;
        }
        for part in [before, after, forward.as_bytes()] {
            // There is room for all of them.
            let _ = self.octets.push_entire_slice(part);
        }
        label.forward = forward.len() as u32;
        label.lost = std::mem::take(&mut self.lost_since);
        // The label goes last: once it is seen, its octets are there.
        let _ = self.labels.push(label);
    }
}

impl Drain {
    /// Whether the worker has ended, and all that it captured was taken.
    pub fn is_over(&self) -> bool {
        // In this order: what was pushed before the end is there once the end is seen.
        self.labels.is_abandoned() && self.labels.is_empty()
    }

    /// The next packet.
    pub fn pop(&mut self) -> Option<Packet> {
        let label = self.labels.pop().ok()?;
        let mut take = |len: u32| {
            let mut octets = vec![0; len as usize];
            // Pushed before the label.
            let taken = self.octets.pop_entire_slice(&mut octets).is_ok();
            assert!(taken, "a label without its octets");
            octets
        };
        let (before, after) = (take(label.before.kept), take(label.after.kept));
        let forward = (label.forward > 0).then(|| take(label.forward));
        let forward = forward.map(|name| String::from_utf8_lossy(&name).into_owned());
        Some(Packet { label, before, after, forward })
    }

    /// What did not fit.
    pub fn lost(&self) -> &Lost {
        &self.lost
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn label(before: usize, after: usize) -> Label {
        let cut = |kept| Cut { kept: kept as u32, len: kept as u32, offload: Offload::default() };
        Label {
            time: Duration::from_secs(7),
            port: PortId::WAN,
            fate: Fate::Judged(Verdict::Transmit(PortId::lan(0))),
            before: cut(before),
            after: cut(after),
            origin: Some("forward"),
            is_answer: false,
            forward: 0,
            lost: 0,
        }
    }

    #[test]
    fn packets_come_out_as_they_went_in() {
        let (mut sender, mut drain) = ring();
        assert_eq!(drain.pop(), None);
        sender.push(label(60, 61), &[1; 60], &[2; 61], "web");
        sender.push(label(62, 0), &[3; 62], &[], "");
        let first = drain.pop().expect("two wait");
        assert_eq!((first.before, first.after), (vec![1; 60], vec![2; 61]));
        assert_eq!(first.forward.as_deref(), Some("web"));
        let second = drain.pop().expect("one waits");
        assert_eq!((second.before, second.after, second.forward), (vec![3; 62], vec![], None));
        assert!(drain.pop().is_none() && !drain.is_over());
        sender.push(label(1, 0), &[4], &[], "");
        drop(sender);
        assert!(!drain.is_over());
        drain.pop().expect("was there before the end");
        assert!(drain.is_over());
    }

    #[test]
    fn what_does_not_fit_is_counted_and_told_with_the_next() {
        let (mut sender, mut drain) = ring();
        let frame = vec![0; 64 << 10];
        for _ in 0..OCTETS / frame.len() + 3 {
            sender.push(label(frame.len(), 0), &frame, &[], "");
        }
        assert_eq!((drain.lost().of(PortId::WAN), drain.lost().of(PortId::lan(0))), (3, 0));
        assert_eq!(drain.pop().expect("the first").label.lost, 0);
        sender.push(label(1, 0), &[1], &[], "");
        let last = std::iter::from_fn(|| drain.pop()).last().expect("the last");
        assert_eq!((last.label.lost, last.before.len()), (3, 1));
        drop(drain);
        assert!(sender.is_abandoned());
    }

    #[test]
    fn many_small_ones_end_at_the_labels() {
        let (mut sender, drain) = ring();
        for _ in 0..LABELS + 5 {
            sender.push(label(1, 0), &[1], &[], "");
        }
        assert_eq!(drain.lost().of(PortId::WAN), 5);
    }
}
