//! `genkan conformance`: the requirements of the RFCs, tried live.

use std::collections::BTreeMap;
use std::thread;

use clap::ValueEnum;
use genkan_lab::{Sandbox, sandbox};

use crate::conformance::device::Device;
use crate::conformance::report::Report;
use crate::conformance::{Selection, examine};
use crate::output::{self, Exit, Failure};
use crate::words::{Language, Words};

const AFTER_HELP: &str = "\
Builds labs of network namespaces, puts the router into them and sends packets from hosts on both sides; needs no root
where user namespaces are allowed, and leaves nothing behind. What takes minutes by the RFC is tried with timeouts of
seconds. The kernel's NAT is set up with nft.

Verdicts are in Japanese where LC_ALL, LC_MESSAGES or LANG ask for it.
Exit status: 0 when every MUST of the selection is met (with both devices: by Genkan), else 1.

Examples:
  genkan conformance                              everything, on Genkan
  genkan conformance --device both                beside the kernel's NAT
  genkan conformance --rfc 4787 --req REQ-9a      one requirement
  genkan conformance --format json | jq '.requirements[] | select(.devices.genkan.verdict != \"met\")'
  genkan conformance --device both --format md >docs/rfc-compliance.md";

/// Try the requirements of the RFCs on NAT on a running router
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// What to examine
    #[arg(long, value_name = "DEVICE", value_enum, default_value_t)]
    device: Devices,
    /// Only requirements of this RFC (may be repeated)
    #[arg(long, value_name = "NUMBER")]
    rfc: Vec<u16>,
    /// Only requirements with this number, as REQ-9a or 9a (may be repeated)
    #[arg(long, value_name = "REQ")]
    req: Vec<String>,
    /// Shape of the answer
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    format: Shape,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Devices {
    /// This program, as `genkan run` runs it
    #[default]
    Genkan,
    /// The kernel's own NAT (nftables)
    Kernel,
    /// One beside the other
    Both,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Shape {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
    /// The document docs/rfc-compliance.md
    Md,
}

/// Does it.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let selection = Selection { rfcs: arguments.rfc.clone(), requirements: arguments.req.clone() };
    if selection.is_empty() {
        return Err(Failure::report(Exit::Misuse, "error: no requirement is selected"));
    }
    match Sandbox::enter()? {
        Sandbox::Inside => inside(arguments, selection),
        Sandbox::Ended(status) => std::process::exit(sandbox::exit_code(status).into()),
    }
}

fn inside(arguments: &Arguments, selection: Selection) -> Result<Exit, Failure> {
    let devices: &[Device] = match arguments.device {
        Devices::Genkan => &[Device::Genkan],
        Devices::Kernel => &[Device::Kernel],
        Devices::Both => &[Device::Genkan, Device::Kernel],
    };
    let selected = &selection;
    let findings = thread::scope(|scope| {
        let running: Vec<_> =
            devices.iter().map(|device| (*device, scope.spawn(move || examine(*device, selected)))).collect();
        let mut findings = BTreeMap::new();
        for (device, examination) in running {
            let found = examination.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            findings.insert(device, found?);
        }
        Ok::<_, Failure>(findings)
    })?;
    let report = Report { selection, findings };
    match arguments.format {
        Shape::Table => output::print(&report.table(&Words::new(Language::of_environment())))?,
        Shape::Json => output::print_json(&report.json())?,
        Shape::Md => output::print(&report.document())?,
    }
    Ok(super::answer(report.every_must_is_met()))
}
