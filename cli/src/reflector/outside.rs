//! The part of `genkan doctor` that a reflector plays: which ports are open as seen from outside, and how the NAT on the way
//! behaves.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path;
use std::str::FromStr;

use genkan_control::api::{ForwardRow, PortRole};
use genkan_control::client::Client as ControlClient;
use ipnet::Ipv4Net;
use serde::Serialize;

use super::behavior::{Behavior, Kind, discover};
use super::client::{AskError, Client, Question, Tried, find, socket};
use super::consoles::Consoles;
use super::path::{Path, measure};
use super::server::{Outcome, Protocol};
use super::share::{self, Share};
use crate::trace::Line;
use crate::words::Words;

/// Ports of one call: what a reflector tries for one asker at once.
const MOST_PORTS: usize = 32;

/// Blocks of a share's ports that are told.
const BLOCKS_TOLD: usize = 4;

/// What to type for it.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Look from outside, too: a machine that runs `genkan reflector`
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) reflector: Option<String>,
    /// Have the reflector try this external port as well, as tcp:80 (may be repeated)
    #[arg(long = "port", value_name = "PROTOCOL:PORT", requires = "reflector")]
    pub(crate) ports: Vec<Port>,
}

/// A port to be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Port(pub(crate) Protocol, pub(crate) u16);

impl FromStr for Port {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Port, &'static str> {
        let wrong = "accepted: tcp or udp and a port, as tcp:80";
        let (protocol, port) = text.split_once(':').ok_or(wrong)?;
        let protocol = [Protocol::Tcp, Protocol::Udp].into_iter().find(|it| it.name() == protocol);
        let port = port.parse().ok().filter(|port| *port != 0);
        Ok(Port(protocol.ok_or(wrong)?, port.ok_or(wrong)?))
    }
}

/// What the router knows, as far as one may ask it.
#[derive(Debug, Default)]
pub(crate) struct Inside {
    /// Its forwards.
    pub(crate) forwards: Vec<ForwardRow>,
    /// Its external addresses.
    pub(crate) external: Vec<Ipv4Addr>,
    /// The IP MTU of its wan.
    pub(crate) mtu: Option<u16>,
}

impl Inside {
    /// Asks the running router about this forward, or all; nothing is known where none runs or may be asked.
    pub(crate) async fn ask(client: &ControlClient, only: Option<&str>) -> Inside {
        let (Ok(mut forwards), Ok(status)) = (client.forwards().await, client.status().await) else {
            return Inside::default();
        };
        forwards.retain(|row| only.is_none_or(|name| row.name == name));
        let wan = status.ports.iter().filter(|port| port.role == PortRole::Wan);
        // The smaller one of the device's and the file's holds.
        let written = genkan_config::load(path::Path::new(&status.config)).ok().map(|file| file.plan.wan.mtu);
        let mtu = wan.clone().filter_map(|port| port.mtu).chain(written).min();
        let addresses = wan.flat_map(|port| &port.addresses);
        let address = |text: &String| text.split('/').next()?.parse().ok();
        Inside { forwards, external: addresses.filter_map(address).collect(), mtu }
    }
}

/// What is to be expected of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Expected {
    /// A forward is open and admits the reflector.
    Open,
    /// A forward is closed, or does not admit the reflector.
    Filtered,
    /// Nobody has said.
    Unknown,
}

/// A port, as it is and as it should be.
#[derive(Debug, Serialize)]
struct PortSeen {
    #[serde(skip_serializing_if = "Option::is_none")]
    forward: Option<String>,
    #[serde(flatten)]
    tried: Tried,
    expected: Expected,
}

/// What was seen from outside.
#[derive(Debug, Serialize)]
pub(crate) struct Outside {
    /// Every port is as it should be.
    pub(crate) works: bool,
    reflector: SocketAddrV4,
    /// This machine's address, as seen there.
    seen: Ipv4Addr,
    /// Where it tries ports from.
    tries_from: Ipv4Addr,
    /// The router's own external address, as far as that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    external: Option<Ipv4Addr>,
    /// That one is not as seen: somebody else translates as well.
    nat_in_front: bool,
    /// Datagrams get through.
    udp: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    behavior: Option<Behavior>,
    consoles: Consoles,
    /// How large packets get out.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<Path>,
    /// The IP MTU of the router's wan.
    #[serde(skip_serializing_if = "Option::is_none")]
    wan_mtu: Option<u16>,
    /// The ports that the NAT in front has, where it has a share of them only.
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<Share>,
    ports: Vec<PortSeen>,
    /// Forwards that were left out: of another external address, or too many.
    not_tried: Vec<String>,
    /// What would help, and what to know.
    remedies: Vec<Line>,
}

/// Looks from outside.
///
/// # Errors
/// When the reflector does not answer.
pub(crate) fn look(host: &str, ports: &[Port], inside: &Inside) -> Result<Outside, AskError> {
    let mut client = Client::meet(find(host)?)?;
    let behavior = if client.udp { Some(discover(&mut client)?) } else { None };
    let seen = *client.first.mapped.ip();
    let nat_in_front = !inside.external.is_empty() && !inside.external.contains(&seen);
    // Where the router's own address is seen, its ports are of its own choice.
    let is_others = inside.external.is_empty() || nat_in_front;
    let is_translated = |behavior: &Behavior| behavior.translated && !behavior.port_preserved;
    let share = match behavior.as_ref().is_some_and(is_translated) && is_others {
        true => Share::of(&external_ports(&mut client)?),
        false => None,
    };
    // It tries ports from its other address, if it has one.
    let source = client.first.other.map_or(*client.server.ip(), |other| *other.ip());
    let path = if client.udp { measure(&mut client)? } else { None };
    let wanted = wanted(ports, inside, seen, source);
    let tried: Vec<(Protocol, u16)> = wanted.ports.iter().map(|it| (it.1, it.2)).collect();
    let tried = if tried.is_empty() { Vec::new() } else { client.try_ports(&tried)? };
    let seen_ports = wanted.ports.into_iter().zip(tried);
    let mut outside = Outside {
        works: true,
        reflector: client.server,
        seen,
        tries_from: source,
        external: inside.external.first().copied(),
        nat_in_front,
        udp: client.udp,
        consoles: Consoles::of(behavior.as_ref()),
        behavior,
        path,
        wan_mtu: inside.mtu,
        share,
        ports: seen_ports
            .map(|((forward, _, _, expected), tried)| PortSeen { forward, tried, expected })
            .collect(),
        not_tried: wanted.not_tried,
        remedies: Vec::new(),
    };
    outside.works = outside.ports.iter().all(PortSeen::is_well);
    Ok(outside)
}

/// The external ports of a few sockets; none where one has no answer.
fn external_ports(client: &mut Client) -> Result<Vec<u16>, AskError> {
    let mut ports = Vec::new();
    let mut sockets = Vec::new();
    for _ in 0..share::SAMPLE {
        let socket = socket()?;
        let Some(reply) = client.ask(&socket, &[Question::who_am_i(client.server)])?[0] else {
            return Ok(Vec::new());
        };
        ports.push(reply.mapped.port());
        // Kept, so that no two have one port.
        sockets.push(socket);
    }
    Ok(ports)
}

/// Forward, protocol, external port, and what is expected of it.
type Wanted = (Option<String>, Protocol, u16, Expected);

struct Ports {
    ports: Vec<Wanted>,
    not_tried: Vec<String>,
}

/// The first port of each forward, for each of its protocols, and the ports that were asked for.
fn wanted(asked: &[Port], inside: &Inside, seen: Ipv4Addr, source: Ipv4Addr) -> Ports {
    let mut ports: Vec<Wanted> =
        asked.iter().map(|Port(protocol, port)| (None, *protocol, *port, Expected::Unknown)).collect();
    let mut not_tried = Vec::new();
    for row in &inside.forwards {
        let admits = |net: &String| match net.parse::<Ipv4Net>() {
            Ok(net) => net.contains(&source),
            Err(_) => net.parse() == Ok(source),
        };
        let admitted = row.from.is_empty() || row.from.iter().any(admits);
        let expected = if row.open && admitted { Expected::Open } else { Expected::Filtered };
        let protocols = [Protocol::Tcp, Protocol::Udp]
            .into_iter()
            .filter(|it| row.protocols.iter().any(|name| name == it.name()));
        let first = row.ports.first().and_then(|run| run.split('-').next()?.parse().ok());
        let of_another = row.address.is_some_and(|address| address != seen);
        for (protocol, port) in protocols.filter_map(|protocol| Some((protocol, first?))) {
            if of_another || ports.len() >= MOST_PORTS {
                not_tried.push(row.name.clone());
            } else {
                ports.push((Some(row.name.clone()), protocol, port, expected));
            }
        }
    }
    not_tried.dedup();
    Ports { ports, not_tried }
}

impl PortSeen {
    /// Silence of UDP and what the reflector did not say prove nothing.
    fn is_well(&self) -> bool {
        match (self.expected, self.tried.outcome) {
            (_, None) => true,
            (Expected::Filtered, Some(outcome)) => outcome == Outcome::Filtered,
            (_, Some(Outcome::Open)) => true,
            (_, Some(Outcome::Filtered)) => self.tried.protocol == Protocol::Udp,
            (_, Some(Outcome::Closed)) => false,
        }
    }
}

impl Outside {
    /// Says what would help. `broken`: the forwards that packets do not get through, as seen from inside; "" for all.
    pub(crate) fn conclude(&mut self, broken: &[String], words: &Words) {
        self.remedies = self.remedies(broken, words);
    }

    fn remedies(&self, broken: &[String], words: &Words) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut say = |id: &str, arguments: &[(&str, String)]| {
            lines.push(Line { id: id.to_owned(), text: words.say(id, arguments), place: None });
        };
        if self.nat_in_front {
            let external = self.external.map(|address| address.to_string()).unwrap_or_default();
            say("outside-remedy-nat-in-front", &[("external", external), ("seen", self.seen.to_string())]);
        }
        if let Some(share) = &self.share {
            let blocks = share.blocks().take(BLOCKS_TOLD).map(|(first, last)| format!("{first}-{last}"));
            let forwards = self.ports.iter().filter(|port| !share.contains(port.tried.port));
            let mut outside: Vec<String> = forwards.map(|port| port.tried.port.to_string()).collect();
            outside.dedup();
            let outside = if outside.is_empty() { "-".to_owned() } else { outside.join(", ") };
            let blocks = blocks.collect::<Vec<_>>().join(", ");
            let arguments = [("seen", self.seen.to_string()), ("blocks", blocks), ("outside", outside)];
            say("outside-remedy-share", &arguments);
        }
        match (self.path, self.wan_mtu) {
            (Some(Path { mtu, is_silent: true }), _) => {
                say("outside-remedy-path-silent", &[("mtu", mtu.to_string())]);
            }
            (Some(Path { mtu, .. }), Some(wan)) if mtu < wan => {
                say("outside-remedy-path", &[("mtu", mtu.to_string()), ("wan", wan.to_string())]);
            }
            _ => {}
        }
        if !self.udp {
            say("outside-remedy-udp", &[]);
        }
        for port in &self.ports {
            let name = port.forward.clone().unwrap_or_default();
            let protocol = port.tried.protocol.name().to_owned();
            let number = port.tried.port.to_string();
            let broken = port.forward.is_some() && broken.iter().any(|it| it.is_empty() || *it == name);
            let id = match (port.is_well(), port.expected, port.tried.outcome) {
                (true, Expected::Open, Some(Outcome::Open)) if broken => "outside-remedy-open-after-all",
                (true, ..) => continue,
                (false, Expected::Filtered, _) => "outside-remedy-somebody-else",
                // What happens behind the other NAT says nothing about the forward.
                (false, Expected::Open, _) if self.nat_in_front => continue,
                (false, _, Some(Outcome::Closed)) => "outside-remedy-closed",
                (false, Expected::Unknown, _) => "outside-remedy-not-forwarded",
                (false, Expected::Open, _) if broken => "outside-remedy-inside",
                (false, Expected::Open, _) => "outside-remedy-before",
            };
            let arguments = [
                ("forward", name),
                ("protocol", protocol),
                ("port", number),
                ("source", self.tries_from.to_string()),
                ("seen", self.seen.to_string()),
            ];
            say(id, &arguments);
        }
        let Some(behavior) = self.behavior.as_ref() else { return lines };
        if !behavior.mapping.contains(&Kind::EndpointIndependent) {
            say("outside-remedy-mapping", &[]);
        }
        if !behavior.filtering.contains(&Kind::EndpointIndependent) {
            say("outside-remedy-filtering", &[]);
        }
        if behavior.hairpin == Some(false) {
            say("outside-remedy-hairpin", &[]);
        }
        if !behavior.two_addresses {
            say("outside-remedy-one-address", &[]);
        }
        lines
    }

    /// As people read it.
    pub(crate) fn text(&self, words: &Words) -> String {
        let reflector = ("reflector", self.reflector.to_string());
        let mut text = format!("{}\n", words.say("outside-from", &[reflector]));
        let mut line = |sentence: String| text.push_str(&format!("  {sentence}\n"));
        match &self.behavior {
            Some(behavior) => {
                let ends = [
                    ("internal", behavior.internal.to_string()),
                    ("external", behavior.external.to_string()),
                ];
                let id = if behavior.translated { "outside-translated" } else { "outside-not-translated" };
                line(words.say(id, &ends));
                let kinds = |what: &str, kinds: &[Kind]| {
                    let name = |kind: &Kind| {
                        let text = words.say(&format!("outside-{what}-{}", kind.name()), &[]);
                        format!("{} ({text})", kind.name())
                    };
                    kinds.iter().map(name).collect::<Vec<_>>().join(&words.say("outside-or", &[]))
                };
                let (mapping, filtering) =
                    (kinds("mapping", &behavior.mapping), kinds("filtering", &behavior.filtering));
                line(words.say("outside-mapping", &[("kinds", mapping)]));
                line(words.say("outside-filtering", &[("kinds", filtering)]));
                let ports = match (behavior.port_preserved, behavior.port_step) {
                    (true, _) => words.say("outside-ports-kept", &[]),
                    (false, Some(step)) => words.say("outside-ports-step", &[("step", step.to_string())]),
                    (false, None) => words.say("outside-ports-other", &[]),
                };
                line(ports);
                match behavior.hairpin {
                    Some(true) => line(words.say("outside-hairpin-yes", &[])),
                    Some(false) => line(words.say("outside-hairpin-no", &[])),
                    None => {}
                }
            }
            None => line(words.say("outside-no-udp", &[("seen", self.seen.to_string())])),
        }
        if let Some(path) = &self.path {
            line(words.say("outside-path", &[("mtu", path.mtu.to_string())]));
        }
        let consoles = [
            ("playstation", self.consoles.playstation.join("/")),
            ("switch", self.consoles.switch.join("/")),
            ("xbox", self.consoles.xbox.join("/")),
        ];
        line(words.say("outside-consoles", &consoles));
        for port in &self.ports {
            let id = match (port.tried.outcome, port.tried.protocol) {
                (None, _) => "outside-unsaid",
                (Some(Outcome::Open), _) => "outside-open",
                (Some(Outcome::Closed), _) => "outside-closed",
                (Some(Outcome::Filtered), Protocol::Tcp) => "outside-filtered-tcp",
                (Some(Outcome::Filtered), Protocol::Udp) => "outside-filtered-udp",
            };
            let mark = match (port.is_well(), port.tried.outcome) {
                (false, _) => '✗',
                (true, None) => '?',
                (true, Some(Outcome::Filtered)) if port.expected != Expected::Filtered => '?',
                (true, _) => '✓',
            };
            let forward = port.forward.as_ref().map(|name| format!("  ({name})")).unwrap_or_default();
            let took = port.tried.round_trip.map(|took| format!(", {}.{} ms", took / 1000, took / 100 % 10));
            let (protocol, number) = (port.tried.protocol.name(), port.tried.port);
            line(format!(
                "{mark} {protocol} {number}: {}{}{forward}",
                words.say(id, &[]),
                took.unwrap_or_default()
            ));
        }
        if !self.not_tried.is_empty() {
            line(words.say("outside-not-tried", &[("forwards", self.not_tried.join(", "))]));
        }
        for remedy in &self.remedies {
            text.push_str(&format!("  - {}\n", remedy.text));
        }
        text
    }
}

#[cfg(test)]
mod tests;
