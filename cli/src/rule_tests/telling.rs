//! Words for what was expected and for what was seen.

use std::net::SocketAddrV4;

use genkan_config::expectations::{Endpoint, Expect, Reached, Refusal, Step};
use genkan_config::openings::State;
use genkan_engine::plan::{FilteringBehavior, MappingBehavior};

use super::judge::Wrong;
use crate::words::Words;

/// The part of an expectation that does not hold.
pub(super) fn expected(step: &Step, wrong: &Wrong, words: &Words) -> String {
    match (step.expect, wrong) {
        (Expect::Reaches(Reached { source: Some(source), .. }), Wrong::Source(_)) => {
            words.say("test-expect-source", &[("source", endpoint(source))])
        }
        (Expect::Reaches(Reached { reply_from: Some(from), .. }), Wrong::ReplyFrom(_)) => {
            words.say("test-expect-reply", &[("source", endpoint(from))])
        }
        (Expect::Reaches(Reached { target, hairpin, .. }), _) => {
            let id = match (target, hairpin) {
                (None, _) => "test-expect-reaches-any",
                (Some(_), false) => "test-expect-reaches",
                (Some(_), true) => "test-expect-hairpin",
            };
            words.say(id, &[("target", target.map(endpoint).unwrap_or_default())])
        }
        (Expect::Refused(refusal), _) => expected_refusal(refusal, words),
        (Expect::Answered, _) => words.say("test-expect-answered", &[]),
        (Expect::Open, _) => words.say("test-expect-open", &[]),
        (Expect::Ended, _) => words.say("test-expect-ended", &[]),
        (Expect::Behaves { filtering: Some(filtering), .. }, Wrong::Filtering(_)) => {
            words.say("test-expect-filtering", &[("behavior", filtering_name(filtering).to_owned())])
        }
        (Expect::Behaves { mapping: Some(mapping), .. }, Wrong::Mapping(_)) => {
            words.say("test-expect-mapping", &[("behavior", mapping_name(mapping).to_owned())])
        }
        (Expect::Behaves { .. }, _) => words.say("test-expect-reaches-any", &[]),
        (Expect::Passes(count, _), Wrong::Passed(_)) => words.say(
            "test-expect-passes",
            &[("count", count.to_string()), ("all", (step.sources * step.connections).to_string())],
        ),
        (Expect::Passes(_, refusal), _) => expected_refusal(refusal, words),
    }
}

fn expected_refusal(refusal: Refusal, words: &Words) -> String {
    match (refusal.closed, refusal.reason) {
        (Some(state), _) => words.say("test-expect-closed", &[("state", state_words(Some(state), words))]),
        (None, Some(reason)) => words.say("test-expect-refused", &[("reason", reason.name().to_owned())]),
        (None, None) => words.say("test-expect-refused-any", &[]),
    }
}

/// What was seen instead.
pub(super) fn seen(step: &Step, wrong: &Wrong, words: &Words) -> String {
    let place = |endpoint: &SocketAddrV4| match endpoint.port() {
        0 => endpoint.ip().to_string(),
        _ => endpoint.to_string(),
    };
    match wrong {
        Wrong::Refused(None) => words.say("test-seen-silence", &[]),
        Wrong::Refused(Some(reason)) | Wrong::Reason(reason) => {
            let text = words.say(&format!("drop-{}", reason.name()), &[]);
            words.say("test-seen-dropped", &[("counter", reason.name().to_owned()), ("reason", text)])
        }
        Wrong::Arrived(arrival) => words.say(
            "test-seen-arrived",
            &[("target", place(&arrival.target)), ("source", place(&arrival.source))],
        ),
        Wrong::Answered => words.say("test-seen-answered", &[]),
        Wrong::NoHairpin(arrival) => words.say("test-seen-no-hairpin", &[("target", place(&arrival.target))]),
        Wrong::NoReply(arrival) => words.say("test-seen-no-reply", &[("target", place(&arrival.target))]),
        Wrong::Target(target) => words.say("test-seen-target", &[("target", place(target))]),
        Wrong::Source(source) => words.say("test-seen-source", &[("source", place(source))]),
        Wrong::ReplyFrom(source) => words.say("test-seen-reply", &[("source", place(source))]),
        Wrong::Closed(state) => words.say("test-seen-closed", &[("state", state_words(*state, words))]),
        Wrong::Mapping(mapping) => {
            words.say("test-seen-mapping", &[("behavior", mapping_name(*mapping).to_owned())])
        }
        Wrong::Filtering(filtering) => {
            words.say("test-seen-filtering", &[("behavior", filtering_name(*filtering).to_owned())])
        }
        Wrong::Passed(count) => words.say(
            "test-seen-passed",
            &[("count", count.to_string()), ("all", (step.sources * step.connections).to_string())],
        ),
    }
}

fn state_words(state: Option<State>, words: &Words) -> String {
    let id = match state {
        Some(State::Open) | None => "test-state-open",
        Some(State::Disabled) => "test-state-disabled",
        Some(State::Expired) => "test-state-expired",
        Some(State::OutOfHours) => "test-state-out-of-hours",
        Some(State::ClockUnknown) => "test-state-clock-unknown",
        Some(State::Absent) => "test-state-absent",
    };
    words.say(id, &[])
}

fn endpoint(endpoint: Endpoint) -> String {
    match endpoint.port {
        Some(port) => format!("{}:{port}", endpoint.address),
        None => endpoint.address.to_string(),
    }
}

fn mapping_name(mapping: MappingBehavior) -> &'static str {
    match mapping {
        MappingBehavior::EndpointIndependent => "endpoint-independent",
        MappingBehavior::AddressDependent => "address-dependent",
        MappingBehavior::AddressAndPortDependent => "address-and-port-dependent",
    }
}

fn filtering_name(filtering: FilteringBehavior) -> &'static str {
    match filtering {
        FilteringBehavior::EndpointIndependent => "endpoint-independent",
        FilteringBehavior::AddressDependent => "address-dependent",
        FilteringBehavior::AddressAndPortDependent => "address-and-port-dependent",
    }
}
