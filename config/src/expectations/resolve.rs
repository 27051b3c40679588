//! From what is written to what is sent and expected: names become addresses, and what contradicts itself is refused.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use genkan_engine::PortId;
use genkan_engine::time::UnixTime;
use genkan_engine::wire::ipv4::Protocol;

use super::keys::{self, File};
use super::values::{Party, Simple};
use super::{Configurations, Endpoint, Expect, Flow, MOST_CONNECTIONS, Reached, Refusal, Step, Test};
use crate::Loaded;
use crate::error::{Code, Report, Span};
use crate::facts::ABSENT;
use crate::suggest::closest;
use crate::value::Spanned;
use crate::value::target::Machine;

/// The port that nobody cares about, of those who ask.
const ANY_PORT: u16 = 40_000;

/// All tests of a file; `None` after mistakes.
pub(super) fn tests(
    file: &File,
    configurations: &mut Configurations<'_>,
    report: &mut Report,
) -> Option<Vec<Test>> {
    let config = file.config.as_ref()?;
    let Some(base) = configurations.get(&config.value.0) else {
        report
            .error(Code::Conflict, &config.span, "the configuration cannot be used")
            .label("its mistakes are told below");
        return None;
    };
    let mut names: BTreeMap<&str, Span> = BTreeMap::new();
    let mut tests = Vec::with_capacity(file.tests.len());
    for test in &file.tests {
        if let Some(name) = &test.name
            && let Some(first) = names.insert(&name.value.0, name.span.clone())
        {
            report
                .error(Code::Conflict, &name.span, "two tests have this name")
                .label("the second one")
                .related(&first, "the first one")
                .help("say in each what is tested");
        }
        tests.extend(one(file, test, base, configurations, report));
    }
    (tests.len() == file.tests.len()).then_some(tests)
}

fn one(
    file: &File,
    test: &keys::Test,
    base: usize,
    configurations: &mut Configurations<'_>,
    report: &mut Report,
) -> Option<Test> {
    let own = &test.step;
    if !test.steps.is_empty() {
        for (key, span) in [
            ("expect", own.word.as_ref().map(|word| &word.span).or(own.expect.as_ref().map(|e| &e.span))),
            ("after", own.after.as_ref().map(|after| &after.span)),
            ("reload", own.reload.as_ref().map(|reload| &reload.span)),
            ("sources", own.sources.as_ref().map(|count| &count.span)),
            ("connections", own.connections.as_ref().map(|count| &count.span)),
        ] {
            let Some(span) = span else { continue };
            report
                .error(Code::Conflict, span, format!("`{key}` of a test that has steps"))
                .label("this belongs to one of its steps")
                .help("move it below a `[[test.step]]`");
        }
    }
    let written = if test.steps.is_empty() { std::slice::from_ref(own) } else { &test.steps };
    let first = written.first().and_then(|step| step.at.as_ref());
    let begins = own.at.as_ref().or(file.at.as_ref()).or(first).map(|at| at.value.0);
    let mut scene = Scene { configuration: base, now: begins, opened: Vec::new() };
    let mut steps = Vec::with_capacity(written.len());
    for step in written {
        steps.extend(scene.step(own, step, configurations, report));
    }
    let place = report.file().position(own.span.start);
    let complete = steps.len() == written.len();
    let name = test.name.as_ref()?.value.0.clone();
    complete.then_some(Test { name, place, at: begins, steps })
}

/// How far a test has come.
struct Scene {
    configuration: usize,
    /// The time on the wall, where one is said.
    now: Option<UnixTime>,
    /// What was expected to reach something.
    opened: Vec<Flow>,
}

impl Scene {
    fn step(
        &mut self,
        test: &keys::Step,
        step: &keys::Step,
        configurations: &mut Configurations<'_>,
        report: &mut Report,
    ) -> Option<Step> {
        let reload = match &step.reload {
            None => None,
            Some(path) => match configurations.get(&path.value.0) {
                None => {
                    report
                        .error(Code::Conflict, &path.span, "the configuration cannot be used")
                        .label("its mistakes are told below");
                    return None;
                }
                Some(index) => {
                    self.configuration = index;
                    Some(index)
                }
            },
        };
        let after = step.after.as_ref().map(|after| after.value.0);
        // All mistakes of a step are told at once.
        let at = self.time(step, after, report);
        let loaded = configurations.loaded.get(self.configuration)?.clone();
        let clock = self.clock_is_said(&loaded, step, report);
        let flow = flow(&loaded, test, step, report);
        let (at, (), flow) = (at?, clock?, flow?);
        let [sources, connections] =
            [&step.sources, &step.connections].map(|count| count.as_ref().map_or(1, |count| count.value.0));
        if sources.saturating_mul(connections) > MOST_CONNECTIONS {
            let span = step.sources.as_ref().map_or(&step.span, |count| &count.span);
            report
                .error(
                    Code::BadValue,
                    span,
                    format!("{sources} times {connections} connections are too many"),
                )
                .label(format!("at most {MOST_CONNECTIONS} in one step"));
            return None;
        }
        let expect = self.expect(&loaded, step, &flow, sources * connections, report)?;
        if matches!(expect, Expect::Reaches(_)) {
            self.opened.push(flow);
        }
        Some(Step {
            place: report.file().position(step.span.start),
            after,
            at,
            reload,
            configuration: self.configuration,
            flow,
            sources,
            connections,
            expect,
        })
    }

    /// The time on the wall that a step asks for. Outer `None`: it is refused.
    fn time(
        &mut self,
        step: &keys::Step,
        after: Option<Duration>,
        report: &mut Report,
    ) -> Option<Option<UnixTime>> {
        let passed = after.map_or(0, |after| i64::try_from(after.as_secs()).unwrap_or(i64::MAX));
        self.now = self.now.map(|UnixTime(now)| UnixTime(now.saturating_add(passed)));
        let Some(at) = &step.at else { return Some(None) };
        if after.is_some() {
            report
                .error(Code::Conflict, &at.span, "`at` and `after` in one step")
                .label("one of them says when it happens");
            return None;
        }
        match self.now {
            Some(now) if at.value.0 < now => {
                report
                    .error(Code::Conflict, &at.span, "this is before the time that has come already")
                    .label(format!("it is {} by then", crate::rfc3339(now)))
                    .help("time goes forward only: put the steps in their order");
                return None;
            }
            None => {
                report
                    .error(Code::MissingKey, &at.span, "nobody says when this test begins")
                    .label("how long before this do the other steps happen?")
                    .help("add `at` to the test itself as well");
                return None;
            }
            _ => {}
        }
        self.now = Some(at.value.0);
        Some(Some(at.value.0))
    }

    /// What depends on the clock is tested at a time that the file says: else it would pass on some days only.
    fn clock_is_said(&self, loaded: &Loaded, step: &keys::Step, report: &mut Report) -> Option<()> {
        let timed = |index: usize| {
            loaded.plan.forwards[index].expires.is_some() || loaded.config.schedules[index].is_some()
        };
        let Some(index) = (0..loaded.plan.forwards.len()).find(|index| timed(*index)) else {
            return Some(());
        };
        if self.now.is_some() {
            return Some(());
        }
        let name = &loaded.plan.forwards[index].name;
        report
            .error(Code::MissingKey, &step.span, "`at` is missing: the rules depend on the time")
            .label(format!("forward \"{name}\" has a `schedule` or `expires`"))
            .help(
                "add `at = 2036-12-24T19:00:00+09:00` to the test, or for all tests at the top of the file",
            );
        None
    }
}

impl Scene {
    fn expect(
        &self,
        loaded: &Loaded,
        step: &keys::Step,
        flow: &Flow,
        connections: u32,
        report: &mut Report,
    ) -> Option<Expect> {
        let Some(expect) = &step.expect else {
            let Some(word) = &step.word else {
                if !step.expects {
                    report
                        .error(Code::MissingKey, &step.span, "`expect` is missing")
                        .label("nobody knows what is to come of this")
                        .help("add `expect = \"reaches\"`, or `expect = \"refused\"`");
                }
                return None;
            };
            let expect = match word.value.0 {
                Simple::Reaches => Expect::Reaches(Reached::default()),
                Simple::Refused => Expect::Refused(Refusal::default()),
                Simple::Answered => Expect::Answered,
                Simple::Open => Expect::Open,
                Simple::Ended => Expect::Ended,
            };
            if matches!(expect, Expect::Open | Expect::Ended) && !self.opened.contains(flow) {
                report
                    .error(Code::NotFound, &word.span, "no earlier step opens this connection")
                    .label("whether it is still open can be asked behind a step that opens it")
                    .help(
                        "put a `[[test.step]]` with `expect = \"reaches\"` and the same ends before this one",
                    );
                return None;
            }
            return Some(expect);
        };
        expectation(loaded, expect, flow, connections, report)
    }
}

/// `expect = { ... }`: the keys of one kind of expectation, and no others.
fn expectation(
    loaded: &Loaded,
    expect: &keys::Expect,
    flow: &Flow,
    connections: u32,
    report: &mut Report,
) -> Option<Expect> {
    let arrives = [&expect.reaches, &expect.hairpin, &expect.source, &expect.reply_from];
    let arrival = arrives.iter().find_map(|field| field.as_ref().map(|field| field.span.clone()));
    let behaviour = expect.mapping.as_ref().map(|field| field.span.clone());
    let behaviour = behaviour.or(expect.filtering.as_ref().map(|field| field.span.clone()));
    let refusal = expect.refused.as_ref().map(|field| field.span.clone());
    let count = expect.passes.as_ref().map(|field| field.span.clone());
    // A number of those that pass goes with the reason of those that do not.
    let kinds: Vec<Span> =
        [arrival.clone(), behaviour.clone(), count.clone().or(refusal)].into_iter().flatten().collect();
    match &kinds[..] {
        // What is there but wrong was reported in its place.
        [] if !expect.is_empty => return None,
        [] => {
            report
                .error(Code::MissingKey, &expect.span, "nothing is expected here")
                .label("`reaches`, `hairpin`, `refused`, `mapping`, `filtering` or `passes` is needed");
            return None;
        }
        [_] => {}
        [first, second, ..] => {
            report
                .error(Code::Conflict, second, "two kinds of expectation in one step")
                .label("this does not go with the first one")
                .related(first, "the first one")
                .help("make two tests or steps of it");
            return None;
        }
    }
    if arrival.is_some() {
        if let (Some(first), Some(second)) = (&expect.reaches, &expect.hairpin) {
            report
                .error(Code::Conflict, &second.span, "`reaches` and `hairpin` in one expectation")
                .label("this is `reaches`, and says as well that it goes out and comes in again")
                .related(&first.span, "the first one")
                .help("keep one of them");
            return None;
        }
        let [target, source, reply_from] = [
            expect.reaches.as_ref().or(expect.hairpin.as_ref()),
            expect.source.as_ref(),
            expect.reply_from.as_ref(),
        ]
        .map(|party| party.map(|party| endpoint(loaded, flow.protocol, party, report)));
        // One that is wrong was reported.
        let whole = |party: Option<Option<Endpoint>>| match party {
            Some(None) => None,
            Some(found) => Some(found),
            None => Some(None),
        };
        return Some(Expect::Reaches(Reached {
            target: whole(target)?,
            source: whole(source)?,
            reply_from: whole(reply_from)?,
            hairpin: expect.hairpin.is_some(),
        }));
    }
    if let Some(span) = behaviour {
        if !matches!(flow.protocol, Protocol::TCP | Protocol::UDP) || flow.port == PortId::WAN {
            report
                .error(Code::Conflict, &span, "a mapping is of an internal endpoint, of TCP or UDP")
                .label("`from` is to be an inside machine, `to` one outside, `protocol` tcp or udp");
            return None;
        }
        return Some(Expect::Behaves {
            mapping: expect.mapping.as_ref().map(|word| word.value.0),
            filtering: expect.filtering.as_ref().map(|word| word.value.0),
        });
    }
    let refusal = expect.refused.as_ref().map(|reason| reason.value.0).unwrap_or_default();
    let Some(count) = &expect.passes else { return Some(Expect::Refused(refusal)) };
    if count.value.0 > connections {
        report
            .error(Code::BadValue, &count.span, format!("{} of {connections} connections", count.value.0))
            .label(format!("no more than {connections} are opened here"))
            .help("say how many with `sources` and `connections`");
        return None;
    }
    Some(Expect::Passes(count.value.0, refusal))
}

/// The two ends of a step, its own or those of its test.
fn flow(loaded: &Loaded, test: &keys::Step, step: &keys::Step, report: &mut Report) -> Option<Flow> {
    let protocol = step.protocol.as_ref().or(test.protocol.as_ref());
    let (from, to) = (step.from.as_ref().or(test.from.as_ref()), step.to.as_ref().or(test.to.as_ref()));
    let (Some(protocol), Some(from), Some(to)) = (protocol, from, to) else {
        // What is there but wrong was reported in its place.
        let absent: Vec<&str> = step.absent.iter().copied().filter(|key| test.absent.contains(key)).collect();
        if !absent.is_empty() {
            let names: Vec<String> = absent.iter().map(|key| format!("`{key}`")).collect();
            let diagnostic = report.error(
                Code::MissingKey,
                &step.span,
                format!("a packet has `protocol`, `from` and `to`: {} is missing", names.join(", ")),
            );
            diagnostic.label("neither this nor its test says it");
            for key in absent {
                let example = match key {
                    "protocol" => "\"tcp\"",
                    "from" => "\"198.51.100.7\"",
                    _ => "\"203.0.113.1:80\"",
                };
                diagnostic.help(format!("add `{key} = {example}`"));
            }
        }
        return None;
    };
    let protocol = protocol.value.0.0;
    let mut ends = [endpoint(loaded, protocol, from, report)?, endpoint(loaded, protocol, to, report)?];
    if matches!(protocol, Protocol::TCP | Protocol::UDP) {
        if ends[1].port.is_none() {
            report
                .error(Code::BadValue, &to.span, format!("{protocol} goes to a port"))
                .label("the port is missing")
                .help(format!("write `to = \"{}:80\"`", ends[1].address));
            return None;
        }
        ends[0].port.get_or_insert(ANY_PORT);
    }
    let [from, to] = ends;
    let port = match step.port.as_ref().or(test.port.as_ref()) {
        None => port_of(loaded, from.address),
        Some(name) => named_port(loaded, name, report)?,
    };
    Some(Flow { protocol, port, from, to })
}

/// Where a machine of this address is: at a lan, the box itself, or outside.
pub fn port_of(loaded: &Loaded, address: Ipv4Addr) -> PortId {
    let plan = &loaded.plan;
    if plan.host_port && plan.lans.iter().any(|lan| lan.address.addr() == address) {
        return PortId::HOST;
    }
    let behind = plan.routes.iter().filter(|route| route.to.contains(&address));
    let via = behind.max_by_key(|route| route.to.prefix_len()).map_or(address, |route| route.via);
    let lan = plan.lans.iter().position(|lan| lan.address.contains(&via));
    lan.map_or(PortId::WAN, PortId::lan)
}

fn named_port(
    loaded: &Loaded,
    name: &Spanned<crate::value::name::LanPattern>,
    report: &mut Report,
) -> Option<PortId> {
    let plan = &loaded.plan;
    let lans = plan.lans.iter().enumerate().map(|(index, lan)| (lan.name.as_str(), PortId::lan(index)));
    let host = plan.host_port.then_some(("host", PortId::HOST));
    let ports: Vec<(&str, PortId)> = [("wan", PortId::WAN)].into_iter().chain(host).chain(lans).collect();
    let found = ports.iter().find(|(known, _)| *known == name.value.0).map(|(_, port)| *port);
    if found.is_none() {
        let names: Vec<String> = ports.iter().map(|(known, _)| format!("`{known}`")).collect();
        let diagnostic =
            report.error(Code::NotFound, &name.span, format!("there is no port \"{}\"", name.value.0));
        diagnostic.label(format!("known: {}", names.join(", ")));
    }
    found
}

/// An endpoint, with the address of a host that is named.
fn endpoint(
    loaded: &Loaded,
    protocol: Protocol,
    party: &Spanned<Party>,
    report: &mut Report,
) -> Option<Endpoint> {
    let Party { machine, port } = &party.value;
    if port.is_some() && !matches!(protocol, Protocol::TCP | Protocol::UDP) {
        report
            .error(Code::BadValue, &party.span, format!("{protocol} has no ports"))
            .label("an address alone is accepted here");
        return None;
    }
    let address = match machine {
        Machine::Address(address) => *address,
        Machine::Name(name) => {
            let plan = &loaded.plan;
            let host = plan.hosts.iter().find(|host| host.name == *name).map(|host| host.address);
            let host = host.filter(|address| *address != ABSENT);
            let wan = || (name == "wan").then(|| plan.wan.address.addr());
            let Some(address) = host.or_else(wan) else {
                let known = plan.hosts.iter().map(|host| host.name.as_str()).chain(["wan"]);
                let file = loaded.places.file.name();
                if loaded.config.host_at(name).is_some() {
                    report
                        .error(Code::NotFound, &party.span, format!("nobody knows where `{name}` is"))
                        .label(format!(
                            "its [[host]] of {file} has no `address`, and is found in a running router only"
                        ))
                        .help("write an address here, or give the [[host]] one");
                    return None;
                }
                let diagnostic =
                    report.error(Code::NotFound, &party.span, format!("there is no host `{name}`"));
                diagnostic.label(format!("no [[host]] of {file} has this name"));
                match closest(name, known) {
                    Some(meant) => diagnostic.help(format!("did you mean `{meant}`?")),
                    None => diagnostic.help("write its address, or `wan` for the router's external address"),
                };
                return None;
            };
            address
        }
    };
    Some(Endpoint { address, port: *port })
}
