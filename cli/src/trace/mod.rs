//! One hypothetical packet through the engine, and why it goes where it goes.
//!
//! The engine notes its steps while it judges ([`genkan_engine::trail`]); here they get words and the places in the file
//! that decided them. Nothing is judged here.

mod remedies;
mod telling;

use genkan_config::Loaded;
use genkan_config::openings::{Openings, State};
use genkan_engine::plan::ForwardRule;
use genkan_engine::trail::Step;
use genkan_engine::{DropReason, PortId, UnixTime, Verdict};
use serde::Serialize;

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
#[derive(Debug, Serialize)]
pub(crate) struct Answer {
    /// The packet.
    pub(crate) packet: Packet,
    /// Where it comes in.
    pub(crate) port: String,
    /// What was asked on its way.
    pub(crate) steps: Vec<Line>,
    /// What became of it.
    pub(crate) fate: Fate,
    /// Why it was dropped: the name of the counter, and what that means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<Line>,
    /// What left the router because of it.
    pub(crate) left: Vec<Left>,
    /// What would have to be otherwise for it to pass.
    pub(crate) remedies: Vec<Line>,
    /// The same for what its receiver would answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) answer: Option<Box<Answer>>,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Fate {
    /// It leaves.
    Forwarded,
    /// The router answers it itself.
    Answered,
    /// It does not leave.
    Dropped,
}

/// A sentence, and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Line {
    /// Which message of the catalogue.
    pub(crate) id: String,
    /// The sentence.
    pub(crate) text: String,
    /// `FILE:LINE:COLUMN` of what decided it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) place: Option<String>,
}

/// A packet that left.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Left {
    /// Out of which port.
    pub(crate) port: String,
    /// What it looks like now.
    pub(crate) packet: Packet,
}

impl<'a> Scene<'a> {
    /// What holds at `wall`.
    pub(crate) fn new(loaded: &'a Loaded, wall: UnixTime) -> Scene<'a> {
        let judgement = Openings::new(None, []).judge(loaded, wall);
        let genkan_config::openings::Judgement { plan, states, opens, .. } = judgement;
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
        let outcome = router.send(port, &packet);
        let mut answer = self.tell(port, packet, &outcome, words);
        if answer.fate == Fate::Forwarded
            && let Some((out, sent)) = outcome.left.last()
            && let Some(back) = sent.answer()
        {
            let outcome = router.send(*out, &back);
            answer.answer = Some(Box::new(self.tell(*out, back, &outcome, words)));
        }
        answer
    }

    fn tell(&self, port: PortId, packet: Packet, outcome: &Outcome, words: &Words) -> Answer {
        let name = |port: PortId| self.port_name(port).to_owned();
        let dropped = match outcome.verdict {
            Verdict::Drop(reason) => Some(reason),
            _ => None,
        };
        // Whatever is passed on has a session; its sender may be its receiver as well, by a hairpin.
        let has_session = |step: &Step| matches!(step, Step::Known { .. } | Step::Opened { .. });
        let fate = match dropped {
            Some(_) => Fate::Dropped,
            None if outcome.steps.iter().any(has_session) => Fate::Forwarded,
            None => Fate::Answered,
        };
        let remedies = dropped.map(|reason| self.remedies(reason, port, &packet, &outcome.steps, words));
        Answer {
            port: name(port),
            packet,
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

/// A reason, as it is said.
fn drop_line(reason: DropReason, words: &Words) -> Line {
    let id = format!("drop-{}", reason.name());
    Line { text: words.say(&id, &[]), id: reason.name().to_owned(), place: None }
}

#[cfg(test)]
mod tests;
