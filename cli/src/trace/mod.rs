//! One packet through the engine, hypothetical or real, and why it goes where it goes.
//!
//! The engine notes its steps while it judges ([`genkan_engine::trail`]); here they get words and the places in the file
//! that decided them. Nothing is judged here.

mod asked;
mod now;
mod real;
mod remedies;
mod running;
mod telling;

use genkan_config::Loaded;
use genkan_config::openings::{Judgement, Openings, State};
use genkan_control::api::{TraceAnswer, TraceLeft};
pub(crate) use genkan_control::api::{TraceFate as Fate, TraceLine as Line};
use genkan_engine::plan::ForwardRule;
use genkan_engine::trail::Step;
use genkan_engine::{DropReason, PortId, UnixTime, Verdict};

pub(crate) use self::asked::{Asked, Endpoint, Flags, Icmp, Kind};
pub(crate) use self::real::Real;
pub(crate) use self::running::Moment;
use crate::simulation::{Outcome, Packet, Simulation};
use crate::words::Words;

/// A configuration at a moment of the clock on the wall.
pub(crate) struct Scene<'a> {
    loaded: &'a Loaded,
    /// Of each forward, in file order.
    states: Vec<State>,
    /// When each forward opens again.
    opens: Vec<Option<UnixTime>>,
    plan: genkan_engine::Plan,
    wall: UnixTime,
}

/// All that there is to say about a packet.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The packet.
    pub(crate) packet: Packet,
    /// Where it comes in.
    pub(crate) port: String,
    /// What a running router has that has a part in it.
    pub(crate) now: Vec<Line>,
    /// What was asked on its way.
    pub(crate) steps: Vec<Line>,
    /// What became of it.
    pub(crate) fate: Fate,
    /// Why it was dropped: the name of the counter, and what that means.
    pub(crate) reason: Option<Line>,
    /// What left the router because of it.
    pub(crate) left: Vec<Left>,
    /// What would have to be otherwise for it to pass.
    pub(crate) remedies: Vec<Line>,
    /// The same for what its receiver would answer.
    pub(crate) answer: Option<Box<Answer>>,
}

/// A packet that left.
#[derive(Clone, Debug)]
pub(crate) struct Left {
    /// Out of which port.
    pub(crate) port: String,
    /// What it looks like now.
    pub(crate) packet: Packet,
}

impl<'a> Scene<'a> {
    /// What holds at `wall`.
    pub(crate) fn new(loaded: &'a Loaded, wall: UnixTime) -> Scene<'a> {
        Scene::running(loaded, Openings::new(None, []).judge(loaded, wall), wall)
    }

    /// What holds at `wall` by this judgement.
    pub(crate) fn running(loaded: &'a Loaded, judgement: Judgement, wall: UnixTime) -> Scene<'a> {
        let Judgement { plan, states, opens, .. } = judgement;
        Scene { loaded, states, opens, plan, wall }
    }

    /// The name of a port in the file.
    pub(crate) fn port_name(&self, port: PortId) -> &str {
        match port.lan_index() {
            Some(index) => self.plan.lans.get(index).map_or("?", |lan| &lan.name),
            None if port == PortId::WAN => "wan",
            None => "host",
        }
    }

    /// The port of this name: `wan`, `host`, or that of a lan.
    pub(crate) fn port(&self, name: &str) -> Option<PortId> {
        self.ports().find(|port| self.port_name(*port) == name)
    }

    /// [`Scene::port`].
    ///
    /// # Errors
    /// In words, when there is none.
    pub(crate) fn known_port(&self, name: &str) -> Result<PortId, String> {
        self.port(name).ok_or_else(|| {
            let known: Vec<&str> = self.ports().map(|port| self.port_name(port)).collect();
            format!("no such port: `{name}`; accepted: {}", known.join(", "))
        })
    }

    /// Every port that there is.
    pub(crate) fn ports(&self) -> impl Iterator<Item = PortId> {
        let lans = (0..self.plan.lans.len()).map(PortId::lan);
        [PortId::WAN].into_iter().chain(self.plan.host_port.then_some(PortId::HOST)).chain(lans)
    }

    fn forward(&self, index: u32) -> Option<&ForwardRule> {
        self.loaded.plan.forwards.get(index as usize)
    }

    /// Follows a packet that comes in by `port`, and what its receiver would answer.
    pub(crate) fn trace(&self, port: PortId, packet: Packet, words: &Words) -> Answer {
        let mut router = Simulation::new(self.plan.clone(), self.wall);
        self.follow(port, packet, |port, packet| router.send(port, packet), words)
    }

    /// The same at a moment of a running router.
    pub(crate) fn trace_running(
        &self,
        moment: &mut Moment,
        port: PortId,
        packet: Packet,
        words: &Words,
    ) -> Answer {
        let now = self.now(moment, port, words);
        let answer = self.follow(port, packet, |port, packet| moment.send(port, packet), words);
        Answer { now, ..answer }
    }

    fn follow(
        &self,
        port: PortId,
        packet: Packet,
        mut send: impl FnMut(PortId, &Packet) -> Outcome,
        words: &Words,
    ) -> Answer {
        let outcome = send(port, &packet);
        let mut answer = self.tell(port, packet, &outcome, words);
        if answer.fate == Fate::Forwarded
            && let Some((out, sent)) = outcome.left.last()
            && let Some(back) = sent.answer()
        {
            let outcome = send(*out, &back);
            answer.answer = Some(Box::new(self.tell(*out, back, &outcome, words)));
        }
        answer
    }

    /// What became of a packet that came in by `port`, in words.
    pub(crate) fn tell(&self, port: PortId, packet: Packet, outcome: &Outcome, words: &Words) -> Answer {
        let name = |port: PortId| self.port_name(port).to_owned();
        let dropped = match outcome.verdict {
            Verdict::Drop(reason) => Some(reason),
            _ => None,
        };
        let fate = fate(outcome.verdict, &outcome.steps, !outcome.left.is_empty());
        let remedies =
            dropped.map(|reason| self.remedies(reason, port, Some(&packet), &outcome.steps, words));
        Answer {
            port: name(port),
            packet,
            now: Vec::new(),
            steps: outcome.steps.iter().filter_map(|step| self.line(step, words)).collect(),
            fate,
            reason: dropped.map(|reason| drop_line(reason, words)),
            left: outcome
                .left
                .iter()
                .map(|(port, packet)| Left { port: name(*port), packet: *packet })
                .collect(),
            remedies: remedies.unwrap_or_default(),
            answer: None,
        }
    }
}

/// What becomes of a packet by this verdict.
fn fate(verdict: Verdict, steps: &[Step], has_left: bool) -> Fate {
    // Whatever is passed on has a session; its sender may be its receiver as well, by a hairpin.
    let is_passed_on = |step: &Step| {
        matches!(
            step,
            Step::Known { .. } | Step::Opened { .. } | Step::ErrorAbout { .. } | Step::FollowsFirst
        )
    };
    match verdict {
        Verdict::Drop(_) => Fate::Dropped,
        _ if waits(steps) && !has_left => Fate::Waiting,
        _ if steps.iter().any(is_passed_on) => Fate::Forwarded,
        Verdict::Transmit(_) => Fate::Answered,
        Verdict::Consumed | Verdict::HandOver(..) => Fate::Kept,
    }
}

/// Whether the next hop has to be asked for first.
fn waits(steps: &[Step]) -> bool {
    matches!(steps.last(), Some(Step::NextHop { mac: None, .. }))
}

impl From<Answer> for TraceAnswer {
    fn from(answer: Answer) -> TraceAnswer {
        let Answer { packet, port, now, steps, fate, reason, left, remedies, answer } = answer;
        let left =
            left.into_iter().map(|Left { port, packet }| TraceLeft { port, packet: packet.to_string() });
        TraceAnswer {
            packet: packet.to_string(),
            port,
            now,
            steps,
            fate,
            reason,
            left: left.collect(),
            remedies,
            answer: answer.map(|answer| Box::new((*answer).into())),
        }
    }
}

/// A reason, as it is said.
fn drop_line(reason: DropReason, words: &Words) -> Line {
    let id = format!("drop-{}", reason.name());
    Line { text: words.say(&id, &[]), id: reason.name().to_owned(), place: None }
}

#[cfg(test)]
mod tests;
