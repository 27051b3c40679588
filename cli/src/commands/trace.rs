//! `genkan trace`: what would happen to a packet, and why.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::SystemTime;

use clap::ValueEnum;
use genkan_engine::UnixTime;
use genkan_engine::wire::ipv4::Protocol;
use jiff::Timestamp;

use super::configuration;
use crate::output::{self, Exit, Failure, Format};
use crate::simulation::Packet;
use crate::trace::{Answer, Fate, Line, Scene};
use crate::words::{Language, Words};

const AFTER_HELP: &str = "\
The packet goes through the router's own engine, with the rules of the file and no connections: nothing on this machine
is touched, no privileges are needed, and neighbours answer ARP. It is the first of something new: a SYN, a datagram, an
echo request. What its receiver would answer is followed as well.

Speaks Japanese where LC_ALL, LC_MESSAGES or LANG ask for it.
Exit status: 0 when the packet passes (or the router answers it), 1 when it is dropped, 2 for misuse.

Examples:
  genkan trace --config home.toml --in wan --protocol tcp --from 198.51.100.7:40000 --to 203.0.113.1:80
  genkan trace --config home.toml --in home --protocol udp --from 192.168.0.20:5000 --to 198.51.100.7:53
  genkan trace --config home.toml --in wan --protocol icmp --from 198.51.100.7 --to 203.0.113.1
  genkan trace --config home.toml --at 2026-12-24T23:00:00+09:00 --in wan --protocol tcp --from 198.51.100.7:40000 \\
    --to 203.0.113.1:80 --format json";

/// Follow one made-up packet through the rules of a file, and say which of them decide
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// The configuration to follow
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Where it comes in: `wan`, the name of a lan, or `host` (the box itself)
    #[arg(long = "in", value_name = "PORT")]
    port: String,
    /// What it is
    #[arg(long, value_name = "PROTOCOL", value_enum)]
    protocol: Kind,
    /// Where it comes from: ADDRESS:PORT, or an address alone for protocols without ports
    #[arg(long, value_name = "ENDPOINT")]
    from: Endpoint,
    /// Where it goes to
    #[arg(long, value_name = "ENDPOINT")]
    to: Endpoint,
    /// When, for schedules and `expires` (RFC 3339; now, if left out)
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// Shape of the answer
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// A SYN
    Tcp,
    /// A datagram
    Udp,
    /// An echo request (ping)
    Icmp,
    /// IPsec's payload
    Esp,
    /// PPTP's, among others
    Gre,
}

impl Kind {
    fn protocol(self) -> Protocol {
        match self {
            Kind::Tcp => Protocol::TCP,
            Kind::Udp => Protocol::UDP,
            Kind::Icmp => Protocol::ICMP,
            Kind::Esp => Protocol::ESP,
            Kind::Gre => Protocol::GRE,
        }
    }
}

/// An address, with or without a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Endpoint(Ipv4Addr, Option<u16>);

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Endpoint, String> {
        let (address, port) = match text.split_once(':') {
            Some((address, port)) => (address, Some(port)),
            None => (text, None),
        };
        let wrong = || "accepted: an IPv4 address with a port, as 198.51.100.7:40000, or without".to_owned();
        let address = address.parse().map_err(|_| wrong())?;
        let port = port.map(|port| port.parse().map_err(|_| wrong())).transpose()?;
        Ok(Endpoint(address, port))
    }
}

/// Does it.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let loaded = configuration(&arguments.config)?;
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let wall = arguments.at.map_or_else(|| now() as i64, Timestamp::as_second);
    let scene = Scene::new(&loaded, UnixTime(wall));
    let Some(port) = scene.port(&arguments.port) else {
        let known: Vec<&str> = scene.ports().map(|port| scene.port_name(port)).collect();
        let text = format!("error: --in {}: no such port; accepted: {}", arguments.port, known.join(", "));
        return Err(Failure::report(Exit::Misuse, text));
    };
    let (from, to) = (arguments.from, arguments.to);
    let packet = Packet::first(arguments.protocol.protocol(), (from.0, from.1), (to.0, to.1))
        .map_err(|error| Failure::report(Exit::Misuse, format!("error: {error}")))?;
    let words = Words::new(Language::of_environment());
    let answer = scene.trace(port, packet, &words);
    match arguments.format {
        Format::Json => output::print_json(&answer)?,
        Format::Table => output::print(&text(&answer, &words))?,
    }
    Ok(if answer.fate == Fate::Dropped { Exit::No } else { Exit::Done })
}

/// The answer as people read it.
fn text(answer: &Answer, words: &Words) -> String {
    let arguments = [("packet", answer.packet.to_string()), ("port", answer.port.clone())];
    let mut text = words.say("trace-comes-in", &arguments) + "\n";
    for (step, number) in answer.steps.iter().zip(1..) {
        text.push_str(&format!("{number:3}  {}\n", line(step)));
    }
    let fate = match (&answer.reason, answer.fate) {
        (Some(reason), _) => {
            words.say("trace-dropped", &[("counter", reason.id.clone()), ("reason", reason.text.clone())])
        }
        (None, Fate::Answered) => words.say("trace-answered", &[]),
        (None, Fate::Forwarded | Fate::Dropped) => words.say("trace-forwarded", &[]),
    };
    text.push_str(&format!("  => {fate}\n"));
    for left in &answer.left {
        let arguments = [("packet", left.packet.to_string()), ("port", left.port.clone())];
        text.push_str(&format!("     {}\n", words.say("trace-leaves", &arguments)));
    }
    if !answer.remedies.is_empty() {
        text.push_str(&format!("\n{}\n", words.say("trace-remedies", &[])));
        for remedy in &answer.remedies {
            text.push_str(&format!("  - {}\n", line(remedy)));
        }
    }
    if let Some(back) = &answer.answer {
        text.push_str(&format!("\n{}\n", words.say("trace-answer", &[])));
        text.push_str(&self::text(back, words));
    }
    text
}

/// A sentence, and in brackets where the file says so.
fn line(line: &Line) -> String {
    match &line.place {
        Some(place) => format!("{}  ({place})", line.text),
        None => line.text.clone(),
    }
}
