//! `genkan replay`: pushes captures through the engine and writes what comes out.

use std::path::PathBuf;
use std::sync::Arc;

use genkan_control::api::CountersReport;
use genkan_engine::PortId;
use serde::Serialize;

use super::{configuration, counters};
use crate::events::Describe;
use crate::output::{self, Exit, Failure, Format, Listing};
use crate::replay::{Input, InputReport, Outcome, OutputReport, replay};

const AFTER_HELP: &str = "\
Time is the captures' own: frames of all files are merged by their timestamps, and timers run in between, so hours of
traffic take seconds. Nothing on this machine is touched and no privileges are needed.

A file of `genkan capture` has the frames of all ports, and says which ones the router had received: only those are
replayed. Any other pcapng file with interfaces of the ports' names can be given with --capture as well.

A capture taken at a router shows both directions. What that router sent itself is skipped; its MAC addresses are found
by looking. Neighbours answer the engine's ARP requests at once, with the MAC address that the capture shows for them,
else with 02:00 followed by the four octets of their IP address. Frames that the capture cut are filled up with zeros;
packets longer than the MTU are taken for what a kernel merged (GRO, TSO), and are not cut up again.

Each port gets a file of its own in DIR: wan.pcap, NAME.pcap for each lan, host.pcap for the box itself.

Examples:
  genkan replay --config home.toml --wan wan.pcap --lan lan.pcap --out replayed
  genkan replay --config home.toml --capture out.pcapng --out replayed
  genkan replay --config home.toml --lan home=a.pcap --lan guests=b.pcap --out replayed --format json";

/// Push captures through the engine; write what came out of each port and print the counters
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// The configuration to follow
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Capture of the wan (pcap or pcapng, Ethernet)
    #[arg(long, value_name = "FILE")]
    wan: Option<PathBuf>,
    /// Capture of a lan, by name or in the order of the configuration; may be repeated
    #[arg(long, value_name = "[NAME=]FILE")]
    lan: Vec<String>,
    /// File of `genkan capture`: all ports, each an interface of the same name
    #[arg(long, value_name = "FILE")]
    capture: Vec<PathBuf>,
    /// Directory for what comes out; made if needed, files in it are replaced
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Shape of the report
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    format: Format,
    /// Also counters that never counted anything
    #[arg(long)]
    all: bool,
}

#[derive(Serialize)]
struct Report {
    inputs: Vec<InputReport>,
    outputs: Vec<OutputReport>,
    events: Vec<EventRow>,
    sessions: u32,
    counters: CountersReport,
}

#[derive(Serialize)]
struct EventRow {
    seconds: f64,
    text: String,
}

/// Does it.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let loaded = configuration(&arguments.config)?.supposed();
    let plan = Arc::new(loaded.plan);
    let mut ports = vec![(PortId::WAN, "wan".to_owned())];
    if plan.host_port {
        ports.push((PortId::HOST, "host".to_owned()));
    }
    ports.extend(plan.lans.iter().enumerate().map(|(index, lan)| (PortId::lan(index), lan.name.clone())));

    let mut inputs: Vec<Input> = arguments.wan.iter().map(|path| Input::new(PortId::WAN, path)).collect();
    let lans: Vec<&str> = plan.lans.iter().map(|lan| lan.name.as_str()).collect();
    inputs.extend(lan_inputs(&arguments.lan, &lans).map_err(|text| Failure::report(Exit::Misuse, text))?);
    for path in &arguments.capture {
        // One file for all ports, each an interface of the same name in it.
        inputs.extend(
            ports
                .iter()
                .map(|(port, name)| Input { interface: Some(name.clone()), ..Input::new(*port, path) }),
        );
    }
    if inputs.is_empty() {
        return Err(Failure::report(Exit::Misuse, "error: no captures: give --wan, --lan, or --capture"));
    }
    let outcome = replay(plan, &ports, &inputs, &arguments.out)?;
    print(arguments, &ports, outcome)
}

fn lan_inputs(texts: &[String], lans: &[&str]) -> Result<Vec<Input>, String> {
    let mut inputs: Vec<Input> = Vec::new();
    for text in texts {
        let named = text.split_once('=').and_then(|(name, path)| {
            lans.iter().position(|lan| *lan == name).map(|index| (index, PathBuf::from(path)))
        });
        let (index, path) = match named {
            Some(named) => named,
            None => {
                let taken = |index: &usize| inputs.iter().any(|input| input.port == PortId::lan(*index));
                let free = (0..lans.len()).find(|index| !taken(index));
                let Some(free) = free else {
                    let known = lans.join(", ");
                    return Err(format!("error: --lan {text}: there are only {} lans: {known}", lans.len()));
                };
                (free, PathBuf::from(text))
            }
        };
        inputs.push(Input::new(PortId::lan(index), path));
    }
    Ok(inputs)
}

fn print(arguments: &Arguments, ports: &[(PortId, String)], outcome: Outcome) -> Result<Exit, Failure> {
    let counters = CountersReport::new(&outcome.router.counters(), &[], ports);
    let counters = if arguments.all { counters } else { counters.without_zeros() };
    let event = |(at, event): &(std::time::Duration, genkan_engine::Event)| EventRow {
        seconds: at.as_secs_f64(),
        text: Describe { event, ports }.to_string(),
    };
    let report = Report {
        events: outcome.events.iter().map(event).collect(),
        inputs: outcome.inputs,
        outputs: outcome.outputs,
        sessions: outcome.router.session_count(),
        counters,
    };
    match arguments.format {
        Format::Json => output::print_json(&report)?,
        Format::Table => output::print(&text(&report))?,
    }
    Ok(Exit::Done)
}

fn text(report: &Report) -> String {
    let mut inputs = Listing::new(&["in", "frames", "skipped (router's own)", "cut", "file"])
        .numbers(&[1, 2, 3])
        .shrinks(&[("file", 12), ("skipped (router's own)", 9)])
        .drops(&["file"]);
    for row in &report.inputs {
        let [frames, skipped, cut] = [row.frames, row.from_router, row.cut].map(output::grouped);
        inputs.row([row.port.clone(), frames, skipped, cut, row.file.clone()]);
    }
    let mut outputs =
        Listing::new(&["out", "frames", "file"]).numbers(&[1]).shrinks(&[("file", 12)]).drops(&["file"]);
    for row in &report.outputs {
        outputs.row([row.port.clone(), output::grouped(row.frames), row.file.clone()]);
    }
    let mut text = format!("{}\n{}\n", inputs.text(), outputs.text());
    for event in &report.events {
        text.push_str(&format!("{:>12.6} s  {}\n", event.seconds, event.text));
    }
    if !report.events.is_empty() {
        text.push('\n');
    }
    text.push_str(&counters::text(&report.counters));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lans_by_name_or_in_order() {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let ports = |list: &[&str]| {
            lan_inputs(&texts(list), &["home", "guests"])
                .map(|inputs| inputs.iter().map(|input| input.port).collect::<Vec<_>>())
        };
        assert_eq!(ports(&["a.pcap", "b.pcap"]), Ok(vec![PortId::lan(0), PortId::lan(1)]));
        assert_eq!(ports(&["guests=b.pcap", "a.pcap"]), Ok(vec![PortId::lan(1), PortId::lan(0)]));
        // An equals sign in a file's name is no lan's name.
        assert_eq!(ports(&["x=y.pcap"]), Ok(vec![PortId::lan(0)]));
        assert!(ports(&["a", "b", "c"]).is_err());
    }
}
