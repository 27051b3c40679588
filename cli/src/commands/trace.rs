//! `genkan trace`: what would happen to a packet, and why.

mod follow;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use genkan_control::api::{ErrorCode, TraceAnswer, TraceQuery};
use genkan_control::client::{Client, ClientError};
use genkan_engine::UnixTime;
use jiff::Timestamp;

use super::{block_on, configuration};
use crate::output::{self, Exit, Failure, Format};
use crate::trace::{Answer, Asked, Endpoint, Fate, Flags, Icmp, Kind, Line, Scene};
use crate::words::{Language, Words};

const AFTER_HELP: &str = "\
With --config the packet goes through the router's own engine with the rules of the file and no connections: nothing on
this machine is touched, no privileges are needed, and neighbours answer ARP. It is the first of something new: a SYN, a
datagram, an echo request. What its receiver would answer is followed as well.

Without it the running router is asked: the packet meets the sessions, mappings, limits and neighbours of this moment.
Nothing of them is changed, and nothing is sent.

With --follow real packets of the running router are explained, each as it is judged and by what judges it, until Ctrl-C
or --count. --match takes what `genkan capture --filter` takes, and --port the port where a packet comes in or leaves; a
packet is wanted when it matches as it came in or as it left. Packets are sent on at once, whoever looks. At most 1,000 of
them in a second and worker are told; further ones are counted, and their number is said. What another worker goes on with
is told once.

Speaks Japanese where LC_ALL, LC_MESSAGES or LANG ask for it.
Exit status: 0 when the packet passes (or the router answers it), 1 when it is dropped, 2 for misuse. With --follow: 0 when
you or --count have ended it, 1 when the router has.

Examples:
  genkan trace --config home.toml --in wan --protocol tcp --from 198.51.100.7:40000 --to 203.0.113.1:80
  genkan trace --config home.toml --in home --protocol udp --from 192.168.0.20:5000 --to 198.51.100.7:53
  genkan trace --config home.toml --in wan --protocol icmp --from 198.51.100.7 --to 203.0.113.1
  genkan trace --config home.toml --at 2026-12-24T23:00:00+09:00 --in wan --protocol tcp --from 198.51.100.7:40000 \\
    --to 203.0.113.1:80 --format json
  genkan trace --in wan --protocol tcp --flags ack --from 198.51.100.7:40000 --to 203.0.113.1:80
  genkan trace --follow --match 'host 192.168.0.10'
  genkan trace --follow --port wan --match 'tcp port 2222' --count 1 --format json";

/// Follow a made-up packet through the rules of a file or the running router, or real ones, and say what decides
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// The configuration to follow, without connections; without it the running router is asked
    #[arg(long, value_name = "FILE", conflicts_with = "socket")]
    config: Option<PathBuf>,
    /// Control socket of the router to ask
    #[arg(long, value_name = "PATH", default_value = genkan_control::DEFAULT_SOCKET)]
    socket: PathBuf,
    /// Real packets of the running router, each as it is judged, instead of one that is made up
    #[arg(long, conflicts_with_all = ["config", "packet", "flags", "icmp", "at"])]
    follow: bool,
    /// Only real packets that this filter wants, as they came in or as they left
    #[arg(long = "match", value_name = "FILTER", requires = "follow")]
    filter: Option<String>,
    /// Only real packets that come in or leave by this port
    #[arg(long = "port", value_name = "NAME", requires = "follow")]
    seen_at: Option<String>,
    /// End after so many real packets
    #[arg(long, value_name = "PACKETS", requires = "follow", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(flatten)]
    made_up: Option<MadeUp>,
    /// TCP flags: of syn, ack, fin, rst, psh, urg, joined by commas; or none [default: syn]
    #[arg(long, value_name = "FLAGS")]
    flags: Option<Flags>,
    /// Which ICMP query [default: echo-request]
    #[arg(long, value_name = "KIND", value_enum)]
    icmp: Option<Icmp>,
    /// When, for schedules and `expires` (RFC 3339; now, if left out)
    #[arg(long, value_name = "TIME", requires = "config")]
    at: Option<Timestamp>,
    /// Shape of the answer
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    format: Format,
}

/// A packet that is made up.
#[derive(Debug, clap::Args)]
#[group(id = "packet")]
struct MadeUp {
    /// Where it comes in: `wan`, the name of a lan, or `host` (the box itself)
    #[arg(long = "in", value_name = "PORT", required = false, required_unless_present = "follow")]
    port: String,
    /// What it is
    #[arg(long, value_name = "PROTOCOL", value_enum, required = false, required_unless_present = "follow")]
    protocol: Kind,
    /// Where it comes from: ADDRESS:PORT, or an address alone for protocols without ports
    #[arg(long, value_name = "ENDPOINT", required = false, required_unless_present = "follow")]
    from: Endpoint,
    /// Where it goes to
    #[arg(long, value_name = "ENDPOINT", required = false, required_unless_present = "follow")]
    to: Endpoint,
}

/// Does it.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let language = Language::of_environment();
    // The other is there: that is what the parser has seen to.
    let Some(made_up) = arguments.made_up.as_ref().filter(|_| !arguments.follow) else {
        return follow::run(arguments, language);
    };
    let &MadeUp { ref port, protocol, from, to } = made_up;
    let Arguments { flags, icmp, .. } = *arguments;
    let asked = Asked { protocol, from, to, flags, icmp };
    let words = Words::new(language);
    let answer = match &arguments.config {
        Some(config) => offline(arguments, config, port, &asked, &words)?.into(),
        None => {
            asked.packet().map_err(misuse)?;
            let query = TraceQuery {
                port: port.clone(),
                protocol: protocol.name().to_owned(),
                from: from.to_string(),
                to: to.to_string(),
                flags: flags.map(|flags| flags.to_string()),
                icmp: icmp.map(|icmp| icmp.name().to_owned()),
                language: Some(language.code().to_owned()),
            };
            match block_on(Client::new(&arguments.socket).trace(&query))? {
                Err(ClientError::Refused(body)) if body.code == ErrorCode::BadRequest => {
                    return Err(misuse(body.message));
                }
                answer => answer?,
            }
        }
    };
    match arguments.format {
        Format::Json => output::print_json(&answer)?,
        Format::Table => output::print(&text(&answer, &words))?,
    }
    Ok(if answer.fate == Fate::Dropped { Exit::No } else { Exit::Done })
}

fn misuse(message: String) -> Failure {
    Failure::report(Exit::Misuse, format!("error: {message}"))
}

fn offline(
    arguments: &Arguments,
    config: &Path,
    port: &str,
    asked: &Asked,
    words: &Words,
) -> Result<Answer, Failure> {
    let loaded = configuration(config)?.supposed();
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let wall = arguments.at.map_or_else(|| now() as i64, Timestamp::as_second);
    let scene = Scene::new(&loaded, UnixTime(wall));
    let port = scene.known_port(port).map_err(misuse)?;
    Ok(scene.trace(port, asked.packet().map_err(misuse)?, words))
}

/// The answer as people read it.
pub(crate) fn text(answer: &TraceAnswer, words: &Words) -> String {
    let arguments = [("packet", answer.packet.clone()), ("port", answer.port.clone())];
    let mut told = words.say("trace-comes-in", &arguments) + "\n";
    if !answer.now.is_empty() {
        told.push_str(&format!("  {}\n", words.say("trace-now", &[])));
        for known in &answer.now {
            told.push_str(&format!("  -  {}\n", line(known)));
        }
    }
    for (step, number) in answer.steps.iter().zip(1..) {
        told.push_str(&format!("{number:3}  {}\n", line(step)));
    }
    let fate = match (&answer.reason, answer.fate) {
        (Some(reason), _) => {
            words.say("trace-dropped", &[("counter", reason.id.clone()), ("reason", reason.text.clone())])
        }
        (None, Fate::Answered) => words.say("trace-answered", &[]),
        (None, Fate::Kept) => words.say("trace-kept", &[]),
        (None, Fate::Waiting) => words.say("trace-waiting", &[]),
        (None, Fate::Forwarded | Fate::Dropped) => words.say("trace-forwarded", &[]),
    };
    told.push_str(&format!("  => {fate}\n"));
    for left in &answer.left {
        let arguments = [("packet", left.packet.clone()), ("port", left.port.clone())];
        told.push_str(&format!("     {}\n", words.say("trace-leaves", &arguments)));
    }
    match answer.remedies.as_slice() {
        [] => {}
        [nothing] if nothing.id.starts_with("design-") => told.push_str(&format!("\n{}\n", nothing.text)),
        remedies => {
            told.push_str(&format!("\n{}\n", words.say("trace-remedies", &[])));
            remedies.iter().for_each(|remedy| told.push_str(&format!("  - {}\n", line(remedy))));
        }
    }
    if let Some(back) = &answer.answer {
        told.push_str(&format!("\n{}\n", words.say("trace-answer", &[])));
        told.push_str(&text(back, words));
    }
    told
}

/// A sentence, and in brackets where the file says so.
fn line(line: &Line) -> String {
    match &line.place {
        Some(place) => format!("{}  ({place})", line.text),
        None => line.text.clone(),
    }
}
