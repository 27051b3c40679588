//! From facts to findings: a pure function. Each finding rests on its own facts; their order is that of a packet's walk,
//! and of one step what explains the others goes first.

use std::net::Ipv4Addr;

use genkan_config::openings::State;
use genkan_engine::UnixTime;
use ipnet::Ipv4Net;

use super::cause::{Cause, Step};
use super::facts::{Facts, Forward, Loading, Ruling, Running};

mod services;
mod target;

pub(crate) use self::services::there as services_there;

/// How sure it is that packets do not get through because of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    /// They do not.
    Broken,
    /// They may, or it does harm elsewhere.
    Doubt,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// What.
    pub(crate) cause: Cause,
    /// How bad it is.
    pub(crate) severity: Severity,
    /// Of which walk: a position in [`Facts::forwards`]. `None`: of all.
    pub(crate) walk: Option<usize>,
    /// For the words.
    pub(crate) arguments: Vec<(&'static str, String)>,
    /// What in the file decides: table, index, key.
    pub(crate) place: Option<(&'static str, usize, &'static str)>,
    /// What to type.
    pub(crate) commands: Vec<String>,
}

impl Found {
    fn new<const N: usize>(cause: Cause, arguments: [(&'static str, String); N]) -> Found {
        let arguments = arguments.into();
        Found { cause, severity: Severity::Broken, walk: None, arguments, place: None, commands: Vec::new() }
    }

    fn at(self, table: &'static str, index: usize, key: &'static str) -> Found {
        Found { place: Some((table, index, key)), ..self }
    }

    fn doubt_if(self, doubt: bool) -> Found {
        Found { severity: if doubt { Severity::Doubt } else { self.severity }, ..self }
    }

    fn of(self, walk: usize) -> Found {
        Found { walk: Some(walk), ..self }
    }

    fn commands<const N: usize>(self, commands: [String; N]) -> Found {
        Found { commands: commands.into(), ..self }
    }
}

/// The findings, the first cause first.
pub(crate) fn judge(facts: &Facts) -> Vec<Found> {
    let mut all = of_router(facts);
    all.extend(of_devices(facts));
    all.extend(of_lans(facts));
    all.extend(of_wan(facts));
    for (walk, forward) in facts.forwards.iter().enumerate() {
        let of_it = of_rule(forward).into_iter().chain(of_some_ports(forward)).chain(of_limits(forward));
        let of_it = of_it.chain(target::of_target(forward));
        all.extend(of_it.map(|found| found.of(walk)));
    }
    if let Running::Yes { sessions, max_sessions } = facts.router
        && sessions >= max_sessions
    {
        let found = Found::new(Cause::SessionsFull, [("most", max_sessions.to_string())]);
        all.push(found.at("nat", 0, "max_sessions"));
    }
    all.extend(facts.services.iter().flat_map(services::of_services));
    all.sort_by_key(|found| (found.severity, found.cause, found.walk));
    all
}

/// A file with these errors, as they are told.
pub(crate) fn of_invalid(errors: &str, is_running: bool) -> Found {
    // What runs goes on with what it read before.
    Found::new(Cause::ConfigInvalid, [("errors", errors.trim_end().to_owned())]).doubt_if(is_running)
}

fn of_router(facts: &Facts) -> Vec<Found> {
    let mut all = Vec::new();
    if let Running::No { socket } = &facts.router {
        let found = Found::new(Cause::RouterNotRunning, [("socket", socket.clone())]);
        let config = if facts.config.is_empty() { "FILE" } else { &facts.config };
        all.push(found.commands([format!("genkan run --config {config}")]));
    }
    for (walk, forward) in facts.forwards.iter().enumerate().filter(|(_, it)| it.loading != Loading::Same) {
        let found = Found::new(Cause::ForwardNotLoaded, [("forward", forward.name.clone())]);
        let found = found.at("forward", forward.index, "name").commands(["genkan reload".to_owned()]);
        all.push(found.of(walk));
    }
    all
}

fn of_devices(facts: &Facts) -> Vec<Found> {
    let is_running = matches!(facts.router, Running::Yes { .. });
    let mut all = Vec::new();
    for device in facts.devices.iter().filter(|device| !device.is_made) {
        let (table, index) = device.lan.map_or(("wan", 0), |lan| ("lan", lan));
        let named = |cause| {
            let arguments = [("device", device.name.clone()), ("port", device.label.clone())];
            Found::new(cause, arguments).at(table, index, "device")
        };
        let is_elsewhere = device.lan.is_some() && is_of_no_target(facts, &device.label);
        let Some(link) = &device.link else {
            all.push(named(Cause::DeviceAbsent).doubt_if(is_elsewhere && is_running));
            continue;
        };
        if let Some(master) = &link.master {
            let mut found = named(Cause::DeviceEnslaved);
            found.arguments.push(("master", master.clone()));
            all.push(found.commands([format!("ip link set {} nomaster", device.name)]));
        }
        if let Some((process, program)) = link.holders.first() {
            let mut found = named(Cause::DeviceInUse);
            found.arguments.extend([("program", program.clone()), ("process", process.to_string())]);
            all.push(found.doubt_if(is_running));
        }
        if !link.addresses.is_empty() {
            let mut found = named(Cause::KernelAddress);
            found.arguments.push(("addresses", link.addresses.join(", ")));
            found.commands = link
                .addresses
                .iter()
                .map(|address| format!("ip address del {address} dev {}", device.name))
                .collect();
            // A router that runs keeps the kernel off the wire; the next start is refused.
            all.push(found.doubt_if(is_running));
        }
        // The router switches its devices on when it starts.
        if is_running && !(link.up && link.carrier) {
            let cause = if device.lan.is_none() { Cause::WanDown } else { Cause::LanDown };
            let found = named(cause).doubt_if(is_elsewhere);
            let on = (!link.up).then(|| format!("ip link set {} up", device.name));
            all.push(Found { commands: on.into_iter().collect(), ..found });
        }
        if link.mtu < device.wanted_mtu {
            let mut found = named(Cause::MtuSmaller).at(table, index, "mtu");
            found
                .arguments
                .extend([("mtu", link.mtu.to_string()), ("wanted", device.wanted_mtu.to_string())]);
            all.push(found.doubt_if(true).commands([format!("mtu = {}", link.mtu)]));
        }
        if link.large_receive {
            all.push(named(Cause::LargeReceive).commands([format!("ethtool -K {} lro off", device.name)]));
        }
    }
    all
}

/// A lan that no target is on keeps no forward from working.
fn is_of_no_target(facts: &Facts, lan: &str) -> bool {
    let is_on = |forward: &Forward| forward.target_facts.as_ref().is_none_or(|target| target.lan == lan);
    !facts.forwards.iter().any(is_on)
}

/// Other machines at addresses that the router has on its lans.
fn of_lans(facts: &Facts) -> Vec<Found> {
    let mut all = Vec::new();
    for conflict in &facts.conflicts {
        let Some((index, lan)) = &conflict.lan else { continue };
        let (mac, address) = (conflict.mac.clone(), conflict.address.to_string());
        let arguments = [("lan", lan.clone()), ("mac", mac), ("address", address)];
        let found = Found::new(Cause::LanAddressConflict, arguments).at("lan", *index, "address");
        all.push(found.doubt_if(is_of_no_target(facts, lan)));
    }
    all
}

/// Whether the box's address outside is one that the internet leads to; else what it is.
fn kind_of_address(address: Ipv4Addr) -> Option<Cause> {
    if address.is_unspecified() {
        return Some(Cause::WanNoAddress);
    }
    let within = |network: [u8; 4], length| {
        Ipv4Net::new(network.into(), length).is_ok_and(|network| network.contains(&address))
    };
    if within([192, 0, 0, 0], 29) {
        return Some(Cause::WanDsLite);
    }
    if within([100, 64, 0, 0], 10) {
        return Some(Cause::WanCgnat);
    }
    if address.is_link_local() {
        return Some(Cause::WanLinkLocal);
    }
    address.is_private().then_some(Cause::WanPrivate)
}

fn of_wan(facts: &Facts) -> Vec<Found> {
    let wan = &facts.wan;
    let mut all = Vec::new();
    for conflict in facts.conflicts.iter().filter(|conflict| conflict.lan.is_none()) {
        let arguments = [("mac", conflict.mac.clone()), ("address", conflict.address.to_string())];
        all.push(Found::new(Cause::AddressConflict, arguments).at("wan", 0, "address"));
    }
    if let Some(reason) = wan.refused.as_ref().filter(|_| wan.address.is_unspecified()) {
        let found = Found::new(Cause::WanLeaseRefused, [("message", reason.clone())]);
        all.push(found.at("wan", 0, "address"));
    } else if let Some(taken) = wan.taken.filter(|_| wan.address.is_unspecified()) {
        let found = Found::new(Cause::WanAddressTaken, [("address", taken.to_string())]);
        all.push(found.at("wan", 0, "address"));
    } else if let Some(cause) = kind_of_address(wan.address) {
        // Who has come from outside all the same shows that whatever is in front passes packets on.
        let passes = |forward: &Forward| {
            let source = forward.counts.as_ref().and_then(|counts| counts.last_source);
            source.is_some_and(|source| kind_of_address(source).is_none())
        };
        let found = Found::new(cause, [("address", wan.address.to_string())]).at("wan", 0, "address");
        all.push(found.doubt_if(facts.forwards.iter().any(passes)));
    }
    match wan.gateway {
        Some(gateway) if wan.gateway_answers == Some(false) => {
            let found = Found::new(Cause::GatewaySilent, [("gateway", gateway.to_string())]);
            all.push(found.at("wan", 0, "gateway"));
        }
        // A wan of one link only needs none.
        None if !wan.address.is_unspecified()
            && facts.forwards.iter().any(|forward| forward.answer.is_some()) =>
        {
            let found = Found::new(Cause::GatewayMissing, []).at("wan", 0, "gateway");
            all.push(found.commands(["gateway = \"ADDRESS\"".to_owned()]));
        }
        _ => {}
    }
    all
}

fn of_rule(forward: &Forward) -> Option<Found> {
    let (name, at) = (forward.name.clone(), forward.index);
    let named = |cause| Found::new(cause, [("forward", name.clone())]);
    let source = ("source", forward.source.to_string());
    match forward.state {
        State::Disabled => {
            let found = named(Cause::ForwardDisabled).at("forward", at, "enabled");
            return Some(found.commands([format!("genkan forward enable {name}")]));
        }
        State::Expired => {
            let found = named(Cause::ForwardExpired).at("forward", at, "expires");
            return Some(found.commands([format!("genkan forward change {name} --without expires")]));
        }
        State::OutOfHours => {
            let mut found = named(Cause::OutOfHours).at("forward", at, "schedule");
            found.arguments.push(("opens", forward.opens.clone().unwrap_or_else(|| "?".to_owned())));
            return Some(found.commands([format!("genkan forward change {name} --without schedule")]));
        }
        State::ClockUnknown => {
            let found = named(Cause::ClockImplausible).at("forward", at, "schedule");
            return Some(found.commands(["timedatectl set-ntp true".to_owned()]));
        }
        State::Absent => return Some(absent(forward)),
        State::Open => {}
    }
    match &forward.ruling {
        Ruling::Takes => {}
        Ruling::Closed => return Some(named(Cause::ForwardDisabled).at("forward", at, "enabled")),
        Ruling::Other(other, by) => {
            return Some(shadowed(forward, forward.external.port().to_string(), *other, by));
        }
        Ruling::NotFromThere => return Some(not_admitted(forward, forward.source)),
        Ruling::NotOurs(ours) => {
            let asked = ("address", forward.external.ip().to_string());
            let found = Found::new(Cause::AddressNotOurs, [asked, ("ours", ours.clone())]);
            return Some(found.at("wan", 0, "address"));
        }
        Ruling::OtherAddress(only) => {
            let mut found = named(Cause::OtherAddress).at("forward", at, "address");
            let asked = ("address", forward.external.ip().to_string());
            found.arguments.extend([asked, ("only", only.to_string())]);
            return Some(found.commands([format!("genkan forward change {name} --without address")]));
        }
        Ruling::HairpinOff => return Some(hairpin_off()),
        Ruling::NotReaching(lan, lan_name) => {
            let found = Found::new(Cause::LanNotReaching, [source, ("lan", lan_name.clone())]);
            return Some(found.at("lan", *lan, "reaches"));
        }
        Ruling::Outside(inside) => {
            let mut found = named(Cause::TargetOutside).at("forward", at, "to");
            found.arguments.extend([("target", forward.target.ip().to_string()), ("inside", inside.clone())]);
            return Some(found.commands([format!("genkan forward change {name} --to ADDRESS")]));
        }
        // No packet can be made for an address that there is not; that is said of the wan.
        Ruling::Dropped(_) if forward.external.ip().is_unspecified() => {}
        Ruling::Dropped(reason) => {
            let reason = ("reason", format!("drop-{}", reason.name()));
            let found = Found::new(Cause::Dropped, [("forward", name), reason]);
            return Some(found.at("forward", at, "port"));
        }
    }
    let counts = forward.counts.as_ref()?;
    if counts.hits == 0
        && let Some(source) = counts.last_refused
    {
        return Some(not_admitted(forward, source));
    }
    if counts.hairpins_refused > 0 {
        return Some(hairpin_off());
    }
    None
}

/// The device that it leads to is nowhere.
fn absent(forward: &Forward) -> Found {
    let device = forward.device.as_ref();
    let host = device.map(|device| &device.host).or(forward.host.as_ref());
    let host = ("host", host.cloned().unwrap_or_else(|| forward.target.ip().to_string()));
    let forward_name = ("forward", forward.name.clone());
    let seen = device.and_then(|device| device.last_seen.zip(device.last_address));
    let found = match seen {
        Some((seen, address)) => {
            let seen = ("seen", genkan_config::rfc3339(UnixTime(seen)));
            Found::new(Cause::TargetAbsent, [forward_name, host, seen, ("last", address.to_string())])
        }
        None => Found::new(Cause::TargetNeverSeen, [forward_name, host]),
    };
    found.at("forward", forward.index, "to")
}

fn shadowed(forward: &Forward, ports: String, other: usize, by: &str) -> Found {
    let arguments = [("forward", forward.name.clone()), ("port", ports), ("by", by.to_owned())];
    let found = Found::new(Cause::Shadowed, arguments).at("forward", other, "port");
    found.commands([format!("genkan forward remove {by}")])
}

/// Others that take some of a forward's ports, which may be what was wanted.
fn of_some_ports(forward: &Forward) -> Vec<Found> {
    let mut all: Vec<Found> = Vec::new();
    if forward.ruling != Ruling::Takes {
        return all;
    }
    for (_, other, by) in &forward.shadowed {
        let of_it = forward.shadowed.iter().filter(|(_, it, _)| it == other).map(|(port, ..)| *port);
        let found = shadowed(forward, list(of_it), *other, by).doubt_if(true);
        if !all.contains(&found) {
            all.push(found);
        }
    }
    all
}

/// Ports as people read them.
fn list(ports: impl Iterator<Item = u16>) -> String {
    ports.map(|port| port.to_string()).collect::<Vec<_>>().join(", ")
}

fn hairpin_off() -> Found {
    let found = Found::new(Cause::HairpinOff, []).at("nat", 0, "hairpin");
    found.commands(["[nat]".to_owned(), "hairpin = true".to_owned()])
}

fn not_admitted(forward: &Forward, source: Ipv4Addr) -> Found {
    let Forward { name, admits, .. } = forward;
    let arguments = [("forward", name.clone()), ("source", source.to_string()), ("from", admits.clone())];
    let found = Found::new(Cause::SourceNotAdmitted, arguments).at("forward", forward.index, "from");
    let all = admits.replace(", ", " --from ");
    found.commands([format!("genkan forward change {name} --from {all} --from {source}/32")])
}

fn of_limits(forward: &Forward) -> Vec<Found> {
    let Some(counts) = &forward.counts else { return Vec::new() };
    let (name, at) = (&forward.name, forward.index);
    let mut all = Vec::new();
    if let Some(most) = counts.max_sessions.filter(|most| counts.sessions >= u64::from(*most)) {
        let arguments = [("forward", name.clone()), ("most", most.to_string())];
        let found = Found::new(Cause::MaxSessions, arguments).at("forward", at, "max_sessions");
        let more = most.saturating_mul(2);
        all.push(found.commands([format!("genkan forward change {name} --max-sessions {more}")]));
    }
    if let Some(source) = counts.braked {
        let arguments = [("forward", name.clone()), ("source", source.to_string())];
        let found = Found::new(Cause::SourceBraked, arguments).at("forward", at, "max_new_per_source");
        all.push(found.commands([format!("genkan forward change {name} --without max_new_per_source")]));
    }
    all
}

/// The steps of a walk that were looked at, so that they are well where nothing was found.
pub(crate) fn looked_at(facts: &Facts, walk: usize) -> Vec<Step> {
    let Some(forward) = facts.forwards.get(walk) else { return Vec::new() };
    let is_running = matches!(facts.router, Running::Yes { .. });
    let target = forward.target_facts.as_ref();
    let is_box = forward.to_box.is_some();
    let is_answered = forward.evidence.as_ref().is_some_and(|evidence| evidence.answered > 0);
    let is_known = |step: &Step| match step {
        Step::Address => true,
        Step::Rule => !forward.external.ip().is_unspecified(),
        // A device that is nowhere is on no lan either.
        Step::Route => !forward.target.ip().is_unspecified(),
        Step::Devices => !facts.devices.is_empty(),
        Step::Router | Step::Limits => is_running,
        // A wan of one link only needs none.
        Step::Gateway => {
            let is_one_link = facts.wan.gateway.is_none() && !facts.wan.address.is_unspecified();
            facts.wan.gateway_answers.is_some() || is_one_link
        }
        Step::Target => is_box || target.is_some_and(|target| !target.macs.is_empty()),
        Step::Port => is_box || is_answered || target.is_some_and(|it| it.near.came() || it.far.came()),
        Step::WayBack => {
            is_box || is_answered || target.is_some_and(|it| it.far.came() || it.far_echo.came())
        }
        // No steps of a walk.
        Step::Ddns | Step::Dns | Step::Dhcp => false,
    };
    Step::ALL.into_iter().filter(is_known).collect()
}

#[cfg(test)]
mod tests;
