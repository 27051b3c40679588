//! The worker's end: explains frames in place of judging them plainly, and passes on those that are wanted.

use std::hash::Hasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use genkan_control::capture::Filter;
use genkan_control::capture::filter::Facts;
use genkan_engine::frame::{FrameBatch, PortId, Slot};
use genkan_engine::rate_limit::TokenBucket;
use genkan_engine::trail::Step;
use genkan_engine::{Plan, Router, Stage, Timestamp, Verdict};
use rtrb::{Consumer, Producer, RingBuffer};
use siphasher::sip::SipHasher13;

use crate::simulation::Packet;

/// Packets that a follower is told of by one worker in a second: more than anybody reads.
pub(crate) const PER_SECOND: u32 = 1_000;
/// Packets that may wait at one worker for a follower.
const WAITING: usize = 1_024;
/// Octets kept of a frame: for what is no IPv4 packet, and to know one again.
const HEAD: usize = 128;
/// Steps that there is room for at once; few packets have more.
const STEPS: usize = 24;

/// Which packets are wanted.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) filter: Filter,
    /// As seen at this port; without it at any.
    pub(crate) port: Option<PortId>,
}

impl Wanted {
    fn admits(&self, port: PortId, facts: &Facts) -> bool {
        self.port.is_none_or(|wanted| wanted == port) && self.filter.admits(facts)
    }
}

/// A frame, as far as anything is said of it.
#[derive(Clone, Debug)]
pub(crate) struct Glimpse {
    /// `None` for what is no IPv4 packet, or none that could be decoded.
    pub(crate) packet: Option<Packet>,
    head: [u8; HEAD],
    kept: usize,
}

impl Glimpse {
    pub(super) fn of(frame: &[u8]) -> Glimpse {
        let kept = frame.len().min(HEAD);
        let mut head = [0; HEAD];
        head[..kept].copy_from_slice(&frame[..kept]);
        Glimpse { packet: Packet::from_frame(frame), head, kept }
    }

    /// Its beginning.
    pub(crate) fn head(&self) -> &[u8] {
        &self.head[..self.kept]
    }

    /// The same for the same frame at another worker.
    fn mark(&self) -> u64 {
        let mut hasher = SipHasher13::new();
        hasher.write(self.head());
        hasher.finish()
    }
}

/// Which part of a packet's way a worker has seen. A hairpin can be two workers' work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Whole,
    /// Until it turned round; the mark of what it looked like then.
    First(u64),
    /// From there on.
    Second(u64),
}

/// A packet that was judged, and why it went where it went.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// Since 1970-01-01T00:00:00Z.
    pub(crate) time: Duration,
    /// Where it came in.
    pub(crate) port: PortId,
    pub(crate) part: Part,
    /// The filter wants it; of half a packet, as it came in or as it left.
    pub(crate) is_wanted: bool,
    pub(crate) verdict: Verdict,
    pub(crate) before: Glimpse,
    /// What it leaves as, and by which port.
    pub(crate) after: Option<(PortId, Glimpse)>,
    pub(crate) steps: Vec<Step>,
    /// What it was judged by.
    pub(crate) plan: Arc<Plan>,
}

/// One who follows packets, at one worker.
#[derive(Debug)]
pub(crate) struct Follower {
    wanted: Wanted,
    records: Producer<Record>,
    lost: Arc<AtomicU64>,
    /// Wall time of [`Timestamp::ZERO`], since 1970-01-01T00:00:00Z.
    epoch: Duration,
    limit: TokenBucket,
    /// A token of `limit` that has been taken and not been used.
    has_token: bool,
}

/// Where a worker's records come out.
#[derive(Debug)]
pub(crate) struct Records {
    ring: Consumer<Record>,
    lost: Arc<AtomicU64>,
}

impl Records {
    /// The next one.
    pub(crate) fn pop(&mut self) -> Option<Record> {
        self.ring.pop().ok()
    }

    /// Packets that were wanted and are not among the records.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Whether no more will come.
    pub(crate) fn is_over(&self) -> bool {
        self.ring.is_abandoned() && self.ring.is_empty()
    }
}

impl Follower {
    /// One for what is `wanted`, and the end where its records come out.
    pub(crate) fn new(wanted: Wanted) -> (Follower, Records) {
        let (records, ring) = RingBuffer::new(WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let follower = Follower {
            wanted,
            records,
            lost: lost.clone(),
            epoch: Duration::ZERO,
            limit: TokenBucket::per_second(PER_SECOND),
            has_token: false,
        };
        (follower, Records { ring, lost })
    }

    /// Tells the wall time of [`Timestamp::ZERO`], since 1970-01-01T00:00:00Z.
    pub(crate) fn set_epoch(&mut self, epoch: Duration) {
        self.epoch = epoch;
    }

    /// Whether it can be told of a packet now.
    fn is_ready(&mut self, now: Timestamp) -> bool {
        self.has_token = self.has_token || self.limit.take(now);
        self.has_token && !self.records.is_full()
    }

    fn lose(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }
}

/// All who follow packets, at one worker.
#[derive(Debug, Default)]
pub(crate) struct Followers {
    all: Vec<Follower>,
    steps: Vec<Step>,
    /// Of each frame that is not explained: who wants it as it came in, a bit each.
    wanted: Vec<u32>,
}

impl Followers {
    /// One more. There is a bit for each of a few ([`Followers::wanted`]): those who have gone make room first.
    pub(crate) fn add(&mut self, follower: Follower) {
        self.tend();
        self.all.push(follower);
    }

    /// Forgets those whom nobody listens to any more. Whether some are left.
    pub(crate) fn tend(&mut self) -> bool {
        self.all.retain(|follower| !follower.records.is_abandoned());
        !self.all.is_empty()
    }

    /// [`Router::handle_batch`], or with a stage [`Router::handle_handed_over`]: every frame is explained as it is judged,
    /// as long as somebody may be told of it. The rest is judged as ever, and what of it is wanted is counted.
    pub(crate) fn judge(
        &mut self,
        router: &mut Router,
        now: Timestamp,
        port: PortId,
        stage: Option<Stage>,
        batch: FrameBatch<'_>,
    ) {
        let FrameBatch { memory, slots } = batch;
        // What the router says itself, and what has been judged elsewhere.
        if matches!(stage, Some(Stage::Own | Stage::Overheard)) {
            return judge_plainly(router, now, port, stage, FrameBatch { memory, slots });
        }
        let mut explained = 0;
        while explained < slots.len() && self.all.iter_mut().any(|follower| follower.is_ready(now)) {
            self.explain(router, now, port, stage, memory, &mut slots[explained]);
            explained += 1;
        }
        let rest = &mut slots[explained..];
        if rest.is_empty() {
            return;
        }
        self.wanted.clear();
        for slot in &*rest {
            self.wanted.push(self.who_wants(port, &Facts::of(octets(memory, slot))));
        }
        judge_plainly(router, now, port, stage, FrameBatch { memory: &mut *memory, slots: &mut *rest });
        for (slot, before) in rest.iter().zip(&self.wanted) {
            let after = match slot.verdict {
                Verdict::HandOver(_, Stage::Arrived | Stage::Assigned) => continue,
                Verdict::Transmit(out) => self.who_wants(out, &Facts::of(octets(memory, slot))),
                _ => 0,
            };
            // Half a packet counts where it came in.
            let wanted = if stage == Some(Stage::TurnedRound) { 0 } else { before | after };
            for (at, follower) in self.all.iter().enumerate() {
                if wanted & 1 << at != 0 {
                    follower.lose();
                }
            }
        }
    }

    fn who_wants(&self, port: PortId, facts: &Facts) -> u32 {
        let wanted = self.all.iter().enumerate().filter(|(_, one)| one.wanted.admits(port, facts));
        wanted.fold(0, |all, (at, _)| all | 1 << at)
    }

    fn explain(
        &mut self,
        router: &mut Router,
        now: Timestamp,
        port: PortId,
        stage: Option<Stage>,
        memory: &mut [u8],
        slot: &mut Slot,
    ) {
        let mut wanted = self.who_wants(port, &Facts::of(octets(memory, slot)));
        let before = Glimpse::of(octets(memory, slot));
        self.steps.reserve(STEPS);
        router.explain_slot(now, port, stage, memory, slot, &mut self.steps);
        let handed_over = self.steps.iter().find_map(|step| match step {
            Step::HandedOver { verdict } => Some(*verdict),
            _ => None,
        });
        let verdict = handed_over.unwrap_or(slot.verdict);
        let frame = octets(memory, slot);
        let out = match (verdict, self.steps.last()) {
            (Verdict::Transmit(out), _) => Some(out),
            // In pieces, or before those that follow it.
            (Verdict::Consumed, Some(Step::NextHop { port, mac: Some(_) })) => Some(*port),
            _ => None,
        };
        let part = match (stage, verdict) {
            // The other worker explains it, from its beginning.
            (_, Verdict::HandOver(_, Stage::Arrived | Stage::Assigned)) => return,
            (Some(Stage::TurnedRound), _) => {
                wanted = 0;
                Part::Second(before.mark())
            }
            (_, Verdict::HandOver(..)) => Part::First(Glimpse::of(frame).mark()),
            _ => Part::Whole,
        };
        if let Some(out) = out {
            wanted |= self.who_wants(out, &Facts::of(frame));
        }
        if part == Part::Whole && wanted == 0 {
            return;
        }
        let mut record = Record {
            time: Duration::ZERO,
            port,
            part,
            is_wanted: false,
            verdict,
            before,
            after: out.map(|out| (out, Glimpse::of(frame))),
            steps: Vec::new(),
            plan: router.plan().clone(),
        };
        for (at, follower) in self.all.iter_mut().enumerate() {
            let is_wanted = wanted & 1 << at != 0;
            if part == Part::Whole && !is_wanted {
                continue;
            }
            if !follower.is_ready(now) {
                if is_wanted && !matches!(part, Part::Second(_)) {
                    follower.lose();
                }
                continue;
            }
            follower.has_token = false;
            record.time = follower.epoch + now.saturating_since(Timestamp::ZERO);
            record.is_wanted = is_wanted;
            record.steps.clone_from(&self.steps);
            // There is room: it is ready.
            let _ = follower.records.push(record.clone());
        }
    }
}

/// [`Router::handle_batch`], or with a stage [`Router::handle_handed_over`].
pub(crate) fn judge_plainly(
    router: &mut Router,
    now: Timestamp,
    port: PortId,
    stage: Option<Stage>,
    batch: FrameBatch<'_>,
) {
    match stage {
        None => router.handle_batch(now, port, batch),
        Some(stage) => router.handle_handed_over(now, port, stage, batch),
    }
}

fn octets<'a>(memory: &'a [u8], slot: &Slot) -> &'a [u8] {
    memory.get(slot.offset..slot.offset + slot.len).unwrap_or_default()
}
