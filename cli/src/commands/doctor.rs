//! `genkan doctor`: what stops a forward from working.

use std::io;
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};
use std::path::PathBuf;

use genkan_config::Loaded;
use genkan_control::client::Client;

use super::{Target, block_on};
use crate::doctor::gather::{Live, MOST_WALKS, Question, gather};
use crate::doctor::judgement::{judge, of_invalid};
use crate::doctor::{Diagnosis, Examined, Finding, StepState, StepTaken, Walk};
use crate::output::{self, Exit, Failure, Format};
use crate::reflector::outside::{self, Inside};
use crate::words::{Language, Words};

const AFTER_HELP: &str = "\
To be run on the router's box, as somebody who may ask the router. It follows a packet from outside to the target and back:
devices, external address, gateway, rules, limits, target, its port, and the way of the answers. What fails first is named
first, with what would help. The services of the running router are looked at as well: names outside (also when one forward is
asked about), DNS and DHCP. The target is asked with a few harmless packets (ARP, a SYN, a datagram, an echo request); no
answer to them leaves by the wan. Without a running router, what the file of --config and the devices say is judged.

With --reflector it asks a machine outside (`genkan reflector`, docs/reflector.md) which of the forwards' ports are open as
seen from there, how the NAT on the way behaves (RFC 5780), and what games consoles would call it. That works from any host
behind any router; forwards are asked for where the control socket is.

Speaks Japanese where LC_ALL, LC_MESSAGES or LANG ask for it. docs/doctor.md lists the causes.
Exit status: 0 when nothing is known that stops packets or keeps a service from working, 1 when something does, 2 for misuse.

Examples:
  genkan doctor                                  all forwards
  genkan doctor web                              one of them
  genkan doctor web --from 198.51.100.7          for somebody who says that it does not work
  genkan doctor web --from 192.168.0.20          for a host at home that uses the public address (hairpin)
  genkan doctor web --to home.example.net        by the name that people use
  genkan doctor --config home.toml               the router does not run
  genkan doctor --reflector vps.example.net      seen from outside as well, by a machine that runs `genkan reflector`
  genkan doctor --reflector vps.example.net --port tcp:80       from any host behind the router
  genkan doctor --format json | jq '.findings[0].cause'";

/// Find what stops a forward or a service from working, and say what would help
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// The forward; all of them, if left out
    forward: Option<String>,
    /// From this address: one outside, or a host of a lan that uses the external address
    #[arg(long, value_name = "ADDRESS")]
    from: Option<Ipv4Addr>,
    /// To this external address, or the name that leads to it
    #[arg(long, value_name = "ADDRESS|NAME")]
    to: Option<String>,
    /// The configuration, instead of that of the running router
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    outside: outside::Options,
    #[command(flatten)]
    target: Target,
}

/// Does it.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let words = Words::new(Language::of_environment());
    let question = Question {
        forward: arguments.forward.clone(),
        from: arguments.from,
        to: arguments.to.as_deref().map(resolve).transpose()?,
    };
    // First from outside: the packets that come in then are evidence inside.
    let outside = match &arguments.outside.reflector {
        Some(reflector) => {
            let client = Client::new(&arguments.target.socket);
            let inside = block_on(Inside::ask(&client, arguments.forward.as_deref()))?;
            Some(outside::look(reflector, &arguments.outside.ports, &inside)?)
        }
        None => None,
    };
    let mut diagnosis = block_on(diagnose(arguments, &question, &words))??;
    if let Some(outside) = outside {
        diagnosis.add_outside(outside, &words);
    }
    match arguments.target.format {
        Format::Json => output::print_json(&diagnosis)?,
        Format::Table => output::print(&text(&diagnosis, &words))?,
    }
    Ok(super::answer(diagnosis.works))
}

async fn diagnose(arguments: &Arguments, question: &Question, words: &Words) -> Result<Diagnosis, Failure> {
    let socket = &arguments.target.socket;
    let live = Live::ask(Client::new(socket)).await?;
    let live = live.as_ref();
    let path = arguments.config.clone().or_else(|| live.map(Live::config));
    let Some(path) = path else {
        // Any host behind a router may look from outside.
        if arguments.outside.reflector.is_some() && arguments.forward.is_none() {
            return Ok(Diagnosis::of_nothing());
        }
        let text = format!(
            "error: no router answers at {}: give its configuration with --config FILE",
            socket.display()
        );
        return Err(Failure::report(Exit::No, text));
    };
    let loaded = match genkan_config::load(&path) {
        Ok(loaded) => loaded,
        Err(errors) if errors.iter().any(|error| error.code == genkan_config::Code::Unreadable) => {
            let color = output::color(&io::stderr());
            return Err(Failure::report(Exit::Misuse, genkan_config::render(&errors, color)));
        }
        Err(errors) => {
            let found = of_invalid(&genkan_config::render(&errors, false), live.is_some());
            return Ok(Examined { facts: None, places: None, found: vec![found] }.tell(words));
        }
    };
    check_name(&loaded, question)?;
    let loaded = match live {
        Some(live) => loaded.with(&live.known()),
        None => loaded.supposed(),
    };
    let facts = gather(&loaded, live, socket.display().to_string(), question).await?;
    if facts.forwards.len() == MOST_WALKS && question.forward.is_none() {
        output::remark(&format!("only the first {MOST_WALKS} walks were taken; name a forward for others"));
    }
    let found = judge(&facts);
    Ok(Examined { facts: Some(&facts), places: Some(&loaded.places), found }.tell(words))
}

fn check_name(loaded: &Loaded, question: &Question) -> Result<(), Failure> {
    let Some(name) = &question.forward else { return Ok(()) };
    let mut names = loaded.plan.forwards.iter().map(|rule| rule.name.as_str());
    if names.clone().any(|known| known == name) {
        return Ok(());
    }
    let known = names.by_ref().collect::<Vec<_>>().join(", ");
    let text = format!("error: there is no forward called `{name}`; there are: {known}");
    Err(Failure::report(Exit::Misuse, text))
}

/// An IPv4 address, or that of a name.
fn resolve(text: &str) -> Result<Ipv4Addr, Failure> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let found = (text, 0)
        .to_socket_addrs()
        .map_err(|error| Failure::report(Exit::Misuse, format!("error: --to {text}: {error}")))?;
    let address = found.map(|it| it.ip()).find_map(|address| match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    address
        .ok_or_else(|| Failure::report(Exit::Misuse, format!("error: --to {text}: it has no IPv4 address")))
}

/// The findings, then the walks and the services.
fn text(diagnosis: &Diagnosis, words: &Words) -> String {
    let mut text = String::new();
    let looked_inside = diagnosis.outside.is_none() || !diagnosis.walks.is_empty();
    if diagnosis.works && looked_inside {
        text.push_str(&format!("✓ {}\n", words.say("doctor-works", &[])));
    }
    for finding in &diagnosis.findings {
        text.push_str(&told(finding, words));
    }
    for walk in &diagnosis.walks {
        text.push_str(&format!("\n{}\n", heading(walk)));
        for remark in &walk.remarks {
            text.push_str(&format!("  - {remark}\n"));
        }
        walk.steps.iter().for_each(|step| text.push_str(&line(step)));
    }
    if !diagnosis.services.is_empty() {
        text.push_str(&format!("\n{}\n", words.say("doctor-services", &[])));
        diagnosis.services.iter().for_each(|service| text.push_str(&line(service)));
    }
    if let Some(outside) = &diagnosis.outside {
        let gap = if text.is_empty() { "" } else { "\n" };
        text.push_str(&format!("{gap}{}", outside.text(words)));
    }
    text
}

fn line(step: &StepTaken) -> String {
    let mark = match step.state {
        StepState::Well => '✓',
        StepState::Broken => '✗',
        StepState::Unknown => '?',
    };
    format!("  {mark} {}\n", step.text)
}

fn heading(walk: &Walk) -> String {
    let Walk { forward, protocol, source, external, target, .. } = walk;
    format!("{forward}: {protocol} {source} -> {external} -> {target}")
}

fn told(finding: &Finding, words: &Words) -> String {
    let mark = if finding.certain { '✗' } else { '?' };
    let forward = finding.forward.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
    let place = finding.place.as_ref().map(|place| format!("  ({place})")).unwrap_or_default();
    let mut text = format!("{mark} {forward}{}{place}\n", finding.text);
    text.push_str(&format!("  {} {}\n", words.say("doctor-remedy", &[]), finding.remedy));
    for command in &finding.commands {
        text.push_str(&format!("      {command}\n"));
    }
    text
}
