//! The control side's end: what workers have passed on is put together, into order and into words.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use genkan_control::api::{FollowEnd, FollowLine, FollowedPacket};
use genkan_control::server::Peer;
use genkan_control::snapshot::Snapshot;
use genkan_engine::trail::Step;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::follower::{Part, Record, Records};
use super::rulebook::Rulebook;
use crate::output;
use crate::trace::{Real, Scene};
use crate::words::{Language, Words};

/// How often the rings are looked into.
const LOOK: Duration = Duration::from_millis(10);
/// How long half a packet waits for its other half, which another worker has at the same time.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is told that packets are lost.
const LOSSES: Duration = Duration::from_secs(1);

/// One who follows packets, on a thread of its own: words are made at leisure.
pub(crate) struct Telling {
    /// From each worker.
    pub(crate) records: Vec<Records>,
    pub(crate) rulebook: Arc<Rulebook>,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) language: Language,
    /// To whoever asked; never more than a few lines ahead of it.
    pub(crate) lines: mpsc::Sender<FollowLine>,
    /// Packets still wanted.
    pub(crate) left: u64,
    pub(crate) peer: Peer,
    /// Given up last: when nothing of this one is left at the workers.
    pub(crate) _seat: OwnedSemaphorePermit,
}

/// Nobody listens any more.
struct Gone;

impl Telling {
    /// Tells until there is nothing more to tell, or nobody to tell it to.
    pub(crate) fn run(mut self) {
        let mut halves = Halves::default();
        let wanted = self.left;
        let told = self.tell_all(&mut halves);
        let lost = self.lost(&halves);
        let packets = wanted - self.left;
        tracing::info!(
            uid = self.peer.uid,
            pid = self.peer.pid,
            packets,
            lost,
            "packets are followed no more"
        );
        if let Ok(by) = told {
            let _ = self.lines.blocking_send(FollowLine::End { by });
        }
    }

    fn tell_all(&mut self, halves: &mut Halves) -> Result<FollowEnd, Gone> {
        let words = Words::new(self.language);
        let (mut lost_told, mut told_at) = (0, None::<Instant>);
        self.say(FollowLine::Following)?;
        loop {
            // Before the last look: what comes between is not missed.
            let end = self.end();
            let records = self.take(halves);
            let are_told = self.tell(&records, halves, &words);
            let end = if self.left == 0 { Some(FollowEnd::Count) } else { end };
            let lost = self.lost(halves);
            let is_time = told_at.is_none_or(|at| at.elapsed() >= LOSSES);
            if lost > lost_told && (end.is_some() || is_time) {
                self.say(FollowLine::Lost { packets: lost - lost_told })?;
                (lost_told, told_at) = (lost, Some(Instant::now()));
            }
            are_told?;
            if let Some(end) = end {
                return Ok(end);
            }
            if self.lines.is_closed() {
                return Err(Gone);
            }
            std::thread::sleep(LOOK);
        }
    }

    fn say(&self, line: FollowLine) -> Result<(), Gone> {
        self.lines.blocking_send(line).map_err(|_| Gone)
    }

    fn lost(&self, halves: &Halves) -> u64 {
        self.records.iter().map(Records::lost).sum::<u64>() + halves.lost
    }

    fn end(&self) -> Option<FollowEnd> {
        let is_over = self.snapshot.events.is_closed() || self.records.iter().all(Records::is_over);
        let by = || match self.snapshot.is_handed_over() {
            true => FollowEnd::HandedOver,
            false => FollowEnd::RouterEnds,
        };
        is_over.then(by)
    }

    /// What has come, in the order of time as far as it has.
    fn take(&mut self, halves: &mut Halves) -> Vec<Record> {
        let all = self.records.iter_mut().flat_map(|ring| std::iter::from_fn(|| ring.pop()));
        let mut records: Vec<Record> = all.filter_map(|record| halves.join(record)).collect();
        halves.give_up();
        records.sort_by_key(|record| record.time);
        records
    }

    fn tell(&mut self, records: &[Record], halves: &mut Halves, words: &Words) -> Result<(), Gone> {
        for judged in records.chunk_by(|one, next| Arc::ptr_eq(&one.plan, &next.plan)) {
            let Some(rules) = self.rulebook.of(&judged[0].plan) else {
                halves.lost += judged.len() as u64;
                continue;
            };
            let scene = Scene::running(&rules.loaded, rules.judgement.clone(), rules.wall);
            for record in judged {
                if self.left == 0 {
                    return Ok(());
                }
                self.left -= 1;
                self.say(FollowLine::Packet(Box::new(told(&scene, record, words))))?;
            }
        }
        Ok(())
    }
}

fn told(scene: &Scene<'_>, record: &Record, words: &Words) -> FollowedPacket {
    let left = record.after.as_ref().map(|(port, glimpse)| (*port, glimpse.packet, glimpse.head()));
    let real = Real {
        port: record.port,
        packet: record.before.packet,
        head: record.before.head(),
        steps: &record.steps,
        verdict: record.verdict,
        left,
    };
    let time = format!("{:.6}", output::timestamp(record.time));
    FollowedPacket { time, told: scene.tell_real(&real, words) }
}

/// Hairpins that two workers have each seen half of, by the mark of what they looked like between.
#[derive(Default)]
pub(super) struct Halves {
    first: HashMap<u64, VecDeque<(Instant, Record)>>,
    second: HashMap<u64, VecDeque<(Instant, Record)>>,
    /// Packets that were wanted and cannot be told of.
    lost: u64,
}

impl Halves {
    /// The whole packet, if this is one or makes one.
    pub(super) fn join(&mut self, record: Record) -> Option<Record> {
        let (mark, mine, others) = match record.part {
            Part::Whole => return Some(record),
            Part::First(mark) => (mark, &mut self.first, &mut self.second),
            Part::Second(mark) => (mark, &mut self.second, &mut self.first),
        };
        let Some((_, other)) = others.get_mut(&mark).and_then(VecDeque::pop_front) else {
            mine.entry(mark).or_default().push_back((Instant::now(), record));
            return None;
        };
        let (first, second) =
            if matches!(record.part, Part::First(_)) { (record, other) } else { (other, record) };
        let whole = Record {
            part: Part::Whole,
            is_wanted: first.is_wanted || second.is_wanted,
            verdict: second.verdict,
            after: second.after,
            steps: first.steps.into_iter().chain(second.steps).collect::<Vec<Step>>(),
            ..first
        };
        whole.is_wanted.then_some(whole)
    }

    /// Waits no longer for what should have come.
    fn give_up(&mut self) {
        let is_over = |(since, _): &(Instant, Record)| since.elapsed() >= PATIENCE;
        for (halves, counts) in [(&mut self.first, true), (&mut self.second, false)] {
            for waiting in halves.values_mut() {
                while let Some((_, half)) = waiting.pop_front_if(|half| is_over(half)) {
                    self.lost += u64::from(counts && half.is_wanted);
                }
            }
            halves.retain(|_, waiting| !waiting.is_empty());
        }
    }
}
