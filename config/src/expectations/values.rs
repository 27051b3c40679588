//! What only files of expectations say.

use std::path::PathBuf;

use genkan_engine::DropReason;
use genkan_engine::wire::ipv4::Protocol;

use super::Refusal;
use crate::openings::State;
use crate::suggest::closest;
use crate::value::ports::PortSpan;
use crate::value::target::Machine;
use crate::value::word::Words;
use crate::value::{Bad, Text, quoted};

/// A path, absolute or relative to the file that it stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FilePath(pub(super) PathBuf);

impl Text for FilePath {
    const TAKES: &'static str = "the path of a configuration";
    const MANY: &'static str = "paths of configurations";

    fn parse(text: &str) -> Result<FilePath, Bad> {
        if text.is_empty() || text.contains('\0') {
            return Err(Bad::new("it is no path", "a path such as \"home.toml\", relative to this file"));
        }
        Ok(FilePath(PathBuf::from(text)))
    }
}

/// What a test is called: a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TestName(pub(super) String);

/// Longest name in characters.
const NAME_MAX: usize = 120;

impl Text for TestName {
    const TAKES: &'static str = "the name of a test";
    const MANY: &'static str = "names of tests";

    fn parse(text: &str) -> Result<TestName, Bad> {
        let accepted = "one line of at most 120 characters is accepted";
        if text.trim().is_empty() {
            return Err(Bad::new("it is empty", accepted));
        }
        if text.trim() != text {
            return Err(Bad::new("it begins or ends with a blank", accepted).fix(quoted(text.trim())));
        }
        if text.chars().any(char::is_control) || text.chars().count() > NAME_MAX {
            return Err(Bad::new("it does not fit on one line", accepted));
        }
        Ok(TestName(text.to_owned()))
    }
}

/// A machine, with a port or without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Party {
    pub(super) machine: Machine,
    pub(super) port: Option<u16>,
}

const PARTY: &str = "an address, the name of a [[host]], or \"wan\" is accepted, with or without :PORT";

impl Text for Party {
    const TAKES: &'static str = "an address or host name, with or without a port";
    const MANY: &'static str = "addresses or host names";

    fn parse(text: &str) -> Result<Party, Bad> {
        let (machine, port) = match text.split_once(':') {
            None => (text, None),
            Some((machine, port)) => {
                let span = PortSpan::parse(port).map_err(|bad| Bad {
                    fix: None,
                    label: "one port from 1 to 65535 is accepted behind the `:`".into(),
                    ..bad
                })?;
                if span.first != span.last {
                    let first = quoted(&format!("{machine}:{}", span.first));
                    return Err(Bad::new("a packet has one port", PARTY).fix(first));
                }
                (machine, Some(span.first))
            }
        };
        Ok(Party { machine: Machine::parse(machine, PARTY)?, port })
    }
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent(pub(super) Protocol);

impl Words for Sent {
    const TAKES: &'static str = "a protocol";
    const MANY: &'static str = "protocols";
    const WORDS: &'static [(&'static str, Sent)] = &[
        ("tcp", Sent(Protocol::TCP)),
        ("udp", Sent(Protocol::UDP)),
        ("icmp", Sent(Protocol::ICMP)),
        ("esp", Sent(Protocol::ESP)),
        ("ah", Sent(Protocol::AH)),
        ("gre", Sent(Protocol::GRE)),
        ("sctp", Sent(Protocol::SCTP)),
    ];
    const ALIASES: &'static [(&'static str, &'static str)] =
        &[("ping", "icmp"), ("echo", "icmp"), ("ipsec", "esp"), ("6", "tcp"), ("17", "udp"), ("1", "icmp")];
}

/// An expectation that one word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Simple {
    Reaches,
    Refused,
    Answered,
    Open,
    Ended,
}

impl Words for Simple {
    const TAKES: &'static str = "an expectation";
    const MANY: &'static str = "expectations";
    const WORDS: &'static [(&'static str, Simple)] = &[
        ("reaches", Simple::Reaches),
        ("refused", Simple::Refused),
        ("answered", Simple::Answered),
        ("open", Simple::Open),
        ("ended", Simple::Ended),
    ];
    const ALIASES: &'static [(&'static str, &'static str)] = &[
        ("passes", "reaches"),
        ("ok", "reaches"),
        ("accepted", "reaches"),
        ("allowed", "reaches"),
        ("dropped", "refused"),
        ("blocked", "refused"),
        ("closed", "refused"),
        ("denied", "refused"),
        ("still open", "open"),
        ("alive", "open"),
        ("gone", "ended"),
    ];
}

/// A reason for a drop by the name of its counter, or the key of a forward that refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reason(pub(super) Refusal);

/// Keys of a forward that refuse, and what that is.
const CHECKS: [(&str, DropReason, Option<State>); 6] = [
    ("from", DropReason::ForwardSource, None),
    ("enabled", DropReason::ForwardClosed, Some(State::Disabled)),
    ("expires", DropReason::ForwardClosed, Some(State::Expired)),
    ("schedule", DropReason::ForwardClosed, Some(State::OutOfHours)),
    ("max_sessions", DropReason::ForwardSessionLimit, None),
    ("max_new_per_source", DropReason::ForwardSourceRate, None),
];

impl Text for Reason {
    const TAKES: &'static str = "a reason for a drop";
    const MANY: &'static str = "reasons for drops";

    fn parse(text: &str) -> Result<Reason, Bad> {
        if let Some((_, reason, closed)) = CHECKS.iter().find(|(check, ..)| *check == text) {
            return Ok(Reason(Refusal { reason: Some(*reason), closed: *closed }));
        }
        if let Some(reason) = DropReason::ALL.iter().find(|reason| reason.name() == text) {
            return Ok(Reason(Refusal { reason: Some(*reason), closed: None }));
        }
        let names = DropReason::ALL.iter().map(|reason| reason.name());
        let known = names.chain(CHECKS.iter().map(|(check, ..)| *check));
        let bad = Bad::new(
            "there is no such reason",
            "the name of a counter of `genkan counters` is accepted",
        )
        .note("a key of the forward that refuses is accepted too: from, enabled, expires, schedule, ...");
        Err(match closest(text, known) {
            Some(meant) => bad.fix(quoted(meant)),
            None => bad.help("docs/counters.md has them all; `expect = \"refused\"` takes any"),
        })
    }
}
