//! What stops forwards from working: facts are gathered, findings concluded from them, and said in words.

mod asked;
mod boxed;
pub(crate) mod cause;
pub(crate) mod evidence;
pub(crate) mod facts;
pub(crate) mod gather;
pub(crate) mod judgement;
mod names;
pub(crate) mod ports;
mod rules;
mod services;

use genkan_config::Places;
use serde::Serialize;

use self::cause::{Cause, Step};
use self::evidence::Evidence;
use self::facts::{Facts, Forward, Resolver};
use self::judgement::{Found, Severity};
use self::ports::Port;
use crate::reflector::outside::Outside;
use crate::words::Words;

/// All that there is to say.
#[derive(Debug, Serialize)]
pub(crate) struct Diagnosis {
    /// Nothing is known that stops packets.
    pub(crate) works: bool,
    /// What is not as it should be, the first cause first.
    pub(crate) findings: Vec<Finding>,
    /// Each protocol of each forward, step by step.
    pub(crate) walks: Vec<Walk>,
    /// The services that the running router has.
    pub(crate) services: Vec<StepTaken>,
    /// What a reflector sees, where one was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) outside: Option<Outside>,
}

impl Diagnosis {
    /// Of a machine that is no router: nothing was looked at.
    pub(crate) fn of_nothing() -> Diagnosis {
        Diagnosis {
            works: true,
            findings: Vec::new(),
            walks: Vec::new(),
            services: Vec::new(),
            outside: None,
        }
    }

    /// Adds what a reflector sees.
    pub(crate) fn add_outside(&mut self, mut outside: Outside, words: &Words) {
        let broken = self.findings.iter().filter(|finding| finding.certain);
        let broken: Vec<String> = broken.map(|finding| finding.forward.clone().unwrap_or_default()).collect();
        outside.conclude(&broken, words);
        self.works &= outside.works;
        self.outside = Some(outside);
    }
}

/// One thing that is not as it should be, in words.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    /// Its name, which stays.
    pub(crate) cause: Cause,
    /// The step that fails.
    pub(crate) step: Step,
    /// Packets do not get through because of it, as opposed to: they may not.
    pub(crate) certain: bool,
    /// Which forward it is about; absent when it is about all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) forward: Option<String>,
    /// What is wrong.
    pub(crate) text: String,
    /// What would help.
    pub(crate) remedy: String,
    /// Commands, or lines of the configuration, to type.
    pub(crate) commands: Vec<String>,
    /// `FILE:LINE:COLUMN` of what decides it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) place: Option<String>,
}

/// The walk of a packet.
#[derive(Debug, Serialize)]
pub(crate) struct Walk {
    /// The forward.
    pub(crate) forward: String,
    /// `tcp` or `udp`.
    pub(crate) protocol: String,
    /// From this address.
    pub(crate) source: String,
    /// To this external endpoint.
    pub(crate) external: String,
    /// Which leads there.
    pub(crate) target: String,
    /// The ports that were looked at, where the forward has several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) ports: Vec<Port>,
    /// Sessions from outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sessions: Option<Evidence>,
    /// What is to be said about these.
    #[serde(skip)]
    pub(crate) remarks: Vec<String>,
    /// The steps, in order.
    pub(crate) steps: Vec<StepTaken>,
}

/// One step.
#[derive(Debug, Serialize)]
pub(crate) struct StepTaken {
    /// Which.
    pub(crate) step: Step,
    /// How it went.
    pub(crate) state: StepState,
    /// In words.
    pub(crate) text: String,
}

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StepState {
    /// Well.
    Well,
    /// Packets get no further.
    Broken,
    /// Nobody knows, or perhaps.
    Unknown,
}

/// What was found, and on what.
pub(crate) struct Examined<'a> {
    /// The facts; absent where there is no usable file.
    pub(crate) facts: Option<&'a Facts>,
    /// Where things are written.
    pub(crate) places: Option<&'a Places>,
    /// What was concluded.
    pub(crate) found: Vec<Found>,
}

impl Examined<'_> {
    /// Puts it into words.
    pub(crate) fn tell(&self, words: &Words) -> Diagnosis {
        let forwards = self.facts.map_or(&[][..], |facts| &facts.forwards);
        let finding = |found: &Found| Finding {
            cause: found.cause,
            step: found.cause.step(),
            certain: found.severity == Severity::Broken,
            forward: found.walk.and_then(|walk| forwards.get(walk)).map(|forward| forward.name.clone()),
            text: what(found, words),
            remedy: say(&format!("doctor-remedy-{}", found.cause.id()), found, words),
            commands: found.commands.clone(),
            place: found.place.zip(self.places).and_then(|(place, places)| written_at(places, place)),
        };
        let walk = |(walk, forward): (usize, &Forward)| Walk {
            forward: forward.name.clone(),
            protocol: forward.protocol.to_string(),
            source: forward.source.to_string(),
            external: forward.external.to_string(),
            target: forward.called(),
            ports: if forward.ports.len() > 1 { forward.ports.clone() } else { Vec::new() },
            sessions: forward.evidence.clone(),
            remarks: remarks(forward, words),
            steps: Step::ALL.into_iter().map(|step| self.step(step, walk, words)).collect(),
        };
        Diagnosis {
            works: self.found.iter().all(|found| found.severity != Severity::Broken),
            findings: self.found.iter().map(finding).collect(),
            walks: forwards.iter().enumerate().map(walk).collect(),
            services: self.services(words),
            outside: None,
        }
    }

    fn step(&self, step: Step, walk: usize, words: &Words) -> StepTaken {
        let here = |found: &&Found| found.cause.step() == step && found.walk.is_none_or(|of| of == walk);
        let is_seen = self.facts.is_some_and(|facts| judgement::looked_at(facts, walk).contains(&step));
        self.taken(step, here, is_seen, words)
    }

    /// Those that there are, each as one step.
    fn services(&self, words: &Words) -> Vec<StepTaken> {
        let there = self.facts.and_then(|facts| facts.services.as_ref()).map(judgement::services_there);
        let service =
            |(step, is_seen)| self.taken(step, |found: &&Found| found.cause.step() == step, is_seen, words);
        there.unwrap_or_default().into_iter().map(service).collect()
    }

    /// How long each resolver took.
    fn resolvers(&self) -> String {
        let dns = self.facts.and_then(|facts| facts.services.as_ref()?.dns.as_ref());
        let took = |resolver: &Resolver| {
            let after = resolver.after?.as_secs_f64() * 1000.0;
            Some(format!("{} {after:.1} ms", resolver.name))
        };
        let all: Vec<String> = dns.iter().flat_map(|dns| dns.resolvers.iter().filter_map(took)).collect();
        all.join(", ")
    }

    fn taken(
        &self,
        step: Step,
        is_about_it: impl Fn(&&Found) -> bool,
        is_seen: bool,
        words: &Words,
    ) -> StepTaken {
        let (state, text) = match self.found.iter().find(is_about_it) {
            Some(found) if found.severity == Severity::Broken => (StepState::Broken, what(found, words)),
            Some(found) => (StepState::Unknown, what(found, words)),
            None if is_seen && step == Step::Dns => {
                let resolvers = self.resolvers();
                (StepState::Well, words.say("doctor-step-dns", &[("resolvers", resolvers)]))
            }
            None if is_seen => (StepState::Well, words.say(&format!("doctor-step-{}", step.id()), &[])),
            None => (StepState::Unknown, words.say(&format!("doctor-unknown-{}", step.id()), &[])),
        };
        StepTaken { step, state, text }
    }
}

/// What was looked at beside the steps: the ports of several, and who has come from outside.
fn remarks(forward: &Forward, words: &Words) -> Vec<String> {
    let mut remarks = Vec::new();
    let port = |port: &Port| {
        format!("{} {}", port.external, words.say(&format!("doctor-port-{}", port.answer.id()), &[]))
    };
    if forward.ports.len() > 1 {
        let ports = forward.ports.iter().map(port).collect::<Vec<_>>().join(", ");
        remarks.push(words.say("doctor-ports", &[("ports", ports)]));
    }
    if let Some(evidence) = forward.evidence.as_ref().filter(|it| it.answered + it.unanswered > 0) {
        let (answered, unanswered) = (evidence.answered.to_string(), evidence.unanswered.to_string());
        remarks.push(words.say("doctor-sessions", &[("answered", answered), ("unanswered", unanswered)]));
    }
    remarks
}

fn what(found: &Found, words: &Words) -> String {
    say(&format!("doctor-cause-{}", found.cause.id()), found, words)
}

fn say(id: &str, found: &Found, words: &Words) -> String {
    let arguments: Vec<(&str, String)> = found
        .arguments
        .iter()
        .map(|(name, value)| match *name {
            // Has its own words.
            "reason" => ("reason", words.say(value, &[])),
            name => (name, value.clone()),
        })
        .collect();
    words.say(id, &arguments)
}

fn written_at(places: &Places, (table, index, key): (&str, usize, &str)) -> Option<String> {
    let position = places.position(&places.key(table, index, key)?);
    Some(format!("{}:{}:{}", places.file.name(), position.line, position.column))
}

#[cfg(test)]
mod tests;
