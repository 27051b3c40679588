//! The target: its address, its port, and the way of its answers.

use std::net::{Ipv4Addr, SocketAddrV4};

use genkan_engine::wire::ipv4::Protocol;

use super::{Found, list};
use crate::doctor::cause::Cause;
use crate::doctor::facts::{Answer, BoxItself, Forward, Target};
use crate::doctor::ports::Port;

pub(super) fn of_target(forward: &Forward) -> Vec<Found> {
    if let Some(it) = &forward.to_box {
        return of_box(forward, it);
    }
    let Some(target) = &forward.target_facts else { return Vec::new() };
    let Some(next_hop) = target.next_hop else { return Vec::new() };
    let (at, to) = (forward.index, forward.target);
    let is_via = next_hop != *to.ip();
    if target.macs.is_empty() {
        let cause = if is_via { Cause::ViaSilent } else { Cause::TargetSilent };
        let arguments = [("target", next_hop.to_string()), ("lan", target.lan.clone())];
        let silent = Found::new(cause, arguments).at("forward", at, "to");
        let Some(now_at) = target.now_at else { return vec![silent] };
        return vec![moved(forward, target, Some(now_at)), silent];
    }
    let mut all = Vec::new();
    if let [first, second, ..] = &target.macs[..] {
        let arguments =
            [("target", next_hop.to_string()), ("first", first.clone()), ("second", second.clone())];
        all.push(Found::new(Cause::TargetDuplicate, arguments).at("forward", at, "to"));
    }
    let has_moved = target.expected().is_some_and(|mac| !target.macs.iter().any(|known| known == mac));
    let port = of_port(forward, target);
    let way_back = of_way_back(forward, target);
    if has_moved {
        // The machine that has the address now may well be the right one.
        all.push(moved(forward, target, target.now_at).doubt_if(port.is_none() && way_back.is_none()));
    }
    all.extend(port.or(way_back));
    all.extend(some_closed(forward));
    all
}

fn of_box(forward: &Forward, it: &BoxItself) -> Vec<Found> {
    let target = ("target", targets(forward));
    let protocol = ("protocol", forward.protocol.to_string());
    let mut all = Vec::new();
    if !it.listens {
        let found = Found::new(Cause::PortClosed, [target.clone(), protocol.clone()]);
        all.push(found.at("forward", forward.index, "to"));
    }
    if let Some(other) = &it.answers_by {
        if it.is_strict {
            let found = Found::new(Cause::ReversePathFilter, [target.clone()]);
            all.push(found.commands([format!("sysctl -w net.ipv4.conf.{}.rp_filter=2", it.tun)]));
        }
        let arguments = [target, ("gateway", it.tun.clone()), ("other", other.clone())];
        let found = Found::new(Cause::ReplyElsewhere, arguments).at("router", 0, "tun");
        all.push(found.commands([format!("ip route replace default dev {}", it.tun)]));
        return all;
    }
    if it.listens {
        all.extend(some_closed(forward));
        // It listens, and answers would take the right way.
        if forward.protocol == Protocol::TCP && unanswered(forward) > 0 && answered(forward) == 0 {
            let found = Found::new(Cause::PortFiltered, [target, protocol]);
            let found = found.at("forward", forward.index, "to");
            // Whoever knocks everywhere may be kept out while others are not.
            all.push(found.doubt_if(!forward.evidence.as_ref().is_some_and(|evidence| evidence.is_of_one)));
        } else {
            all.extend(source_unanswered(forward));
        }
    }
    all
}

fn answered(forward: &Forward) -> u32 {
    forward.evidence.as_ref().map_or(0, |evidence| evidence.answered)
}

fn unanswered(forward: &Forward) -> u32 {
    forward.evidence.as_ref().map_or(0, |evidence| evidence.unanswered)
}

/// The target, with all of its ports that were asked.
fn targets(forward: &Forward) -> String {
    match &forward.ports[..] {
        [] | [_] => forward.target.to_string(),
        ports => format!("{}:{}", forward.target.ip(), list(ports.iter().map(|port| port.internal))),
    }
}

/// Whether nobody listens at a port, or nobody is let in.
fn is_closed(forward: &Forward, port: &Port) -> bool {
    match port.answer {
        Answer::Closed | Answer::Prohibited => true,
        Answer::Silence => forward.protocol == Protocol::TCP,
        Answer::Open | Answer::Unasked => false,
    }
}

/// Some ports of a forward are open and some are not, which may be as it should be.
fn some_closed(forward: &Forward) -> Option<Found> {
    let (closed, open): (Vec<&Port>, Vec<&Port>) =
        forward.ports.iter().partition(|port| is_closed(forward, port));
    if closed.is_empty() || open.is_empty() {
        return None;
    }
    let ports = |ports: Vec<&Port>| list(ports.into_iter().map(|port| port.internal));
    let arguments = [
        ("target", forward.target.ip().to_string()),
        ("protocol", forward.protocol.to_string()),
        ("open", ports(open)),
        ("closed", ports(closed)),
    ];
    Some(Found::new(Cause::SomePortsClosed, arguments).at("forward", forward.index, "port").doubt_if(true))
}

/// The target answers, but not everybody.
fn source_unanswered(forward: &Forward) -> Option<Found> {
    let evidence = forward.evidence.as_ref()?;
    let sources: Vec<String> = evidence.silent_to.iter().map(ToString::to_string).collect();
    if sources.is_empty() {
        return None;
    }
    let arguments = [("target", forward.target.to_string()), ("sources", sources.join(", "))];
    let found = Found::new(Cause::SourceUnanswered, arguments).at("forward", forward.index, "to");
    // Those who knock everywhere are kept out by many a machine, and a datagram need not be answered.
    let is_sure = evidence.is_of_one && forward.protocol == Protocol::TCP;
    Some(found.doubt_if(!is_sure))
}

fn moved(forward: &Forward, target: &Target, now_at: Option<Ipv4Addr>) -> Found {
    let mac = target.macs.first().cloned().unwrap_or_else(|| "nobody".to_owned());
    let known = target.expected().unwrap_or("?").to_owned();
    let address = now_at.map_or_else(|| "unknown".to_owned(), |address| address.to_string());
    let arguments =
        [("target", forward.target.ip().to_string()), ("mac", mac), ("known", known), ("now-at", address)];
    let found = Found::new(Cause::TargetMoved, arguments);
    let found = match &target.configured {
        Some((host, _)) => found.at("host", *host, "mac"),
        None => found.at("forward", forward.index, "to"),
    };
    match now_at {
        Some(address) => {
            let to = SocketAddrV4::new(address, forward.target.port());
            found.commands([format!("genkan forward change {} --to {to}", forward.name)])
        }
        None => found,
    }
}

fn of_port(forward: &Forward, target: &Target) -> Option<Found> {
    let at = forward.index;
    let arguments = || [("target", targets(forward)), ("protocol", forward.protocol.to_string())];
    let found = |cause| Found::new(cause, arguments()).at("forward", at, "to");
    match target.near {
        // A service that does not answer what it does not understand is silent as well.
        Answer::Silence if forward.protocol == Protocol::UDP => None,
        // It keeps out the router, which nobody else is.
        Answer::Silence | Answer::Prohibited if target.far == Answer::Open => None,
        Answer::Silence | Answer::Prohibited => {
            Some(found(Cause::PortFiltered).doubt_if(answered(forward) > 0))
        }
        Answer::Closed => {
            let other = if forward.protocol == Protocol::TCP { Protocol::UDP } else { Protocol::TCP };
            let listens = match other {
                Protocol::UDP => matches!(target.other, Answer::Open | Answer::Silence),
                _ => target.other == Answer::Open,
            };
            // UDP that is silent may be a firewall: only a host that says no elsewhere says yes by that.
            if listens {
                let mut found = found(Cause::OtherProtocol).at("forward", at, "protocol");
                found.arguments.push(("other", other.to_string()));
                let command = format!("genkan forward change {} --protocol {other}", forward.name);
                return Some(found.commands([command]));
            }
            Some(found(Cause::PortClosed))
        }
        Answer::Open | Answer::Unasked => None,
    }
}

/// Which way the answers go, by what the router has asked and by those who have come from outside.
fn of_way_back(forward: &Forward, target: &Target) -> Option<Found> {
    match by_probes(forward, target) {
        // Strangers are answered, though not the one that the router seemed to be.
        Some(found) if answered(forward) > 0 && unanswered(forward) == 0 => {
            // What a machine makes of echoes says nothing about a port that works.
            (target.near.came() || !target.asked_for.is_empty()).then(|| found.doubt_if(true))
        }
        Some(found) => Some(found),
        None => {
            let answers_strangers = target.far.came() || answered(forward) > 0;
            let by_source = answers_strangers.then(|| source_unanswered(forward)).flatten();
            by_source.or_else(|| by_counts(forward, target))
        }
    }
}

fn by_probes(forward: &Forward, target: &Target) -> Option<Found> {
    let to = forward.target;
    let gateway = target.gateway.map_or_else(|| "?".to_owned(), |address| address.to_string());
    let arguments =
        |other: String| [("target", to.to_string()), ("gateway", gateway.clone()), ("other", other)];
    let at = |found: Found| found.at("forward", forward.index, "to");
    let firewall = || at(Found::new(Cause::TargetFirewall, arguments(String::new())));
    // What says how the target treats strangers: its port, and for UDP, which may be silent to anybody, an echo.
    let asked = [(target.near, target.far), (target.near_echo, target.far_echo)];
    let refused = asked.iter().any(|(near, far)| near.came() && *far == Answer::Silence);
    let prohibited = target.near == Answer::Open && matches!(target.far, Answer::Closed | Answer::Prohibited);
    if prohibited {
        return Some(firewall());
    }
    // A service that answers nobody: only the echo speaks, which firewalls treat as they like.
    let is_sure = target.near.came() && target.far == Answer::Silence;
    if refused && (is_sure || !target.far.came()) {
        let elsewhere = |other: String| Some(at(Found::new(Cause::ReplyElsewhere, arguments(other))));
        // ARP for somebody else, just when an answer has to go outside, names the wrong gateway.
        if let Some(other) = target.asked_for.first() {
            return elsewhere(other.to_string());
        }
        if target.far_echo.came() || target.goes_out {
            return is_sure.then(firewall);
        }
        return elsewhere("?".to_owned()).map(|found| found.doubt_if(!is_sure));
    }
    None
}

/// Nobody was ever answered, and the probes do not say why.
fn by_counts(forward: &Forward, target: &Target) -> Option<Found> {
    let counts = forward.counts.as_ref()?;
    if counts.hits > 0 && counts.answers == 0 && !(target.near == Answer::Open && target.far == Answer::Open)
    {
        let arguments = [("target", forward.target.to_string()), ("hits", counts.hits.to_string())];
        let found = Found::new(Cause::Unanswered, arguments).at("forward", forward.index, "to");
        // Some services are silent to strangers by intent, and strangers knock everywhere.
        return Some(found.doubt_if(true));
    }
    None
}
