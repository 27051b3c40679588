//! `genkan counters`: what was counted since the start.

use genkan_control::api::{CounterRow, CountersReport, PortCountersRow};

use super::{Target, ask};
use crate::output::{self, Exit, Failure, Format, Listing};

const AFTER_HELP: &str = "\
Counters stand in the order of a packet's walk through the router. A frame that is not forwarded counts at exactly one
drop reason.

Examples:
  genkan counters
  genkan counters --all
  genkan counters --format json | jq '.drops[] | select(.name == \"filtered\").value'";

/// Show counters: frames per port, decisions per stage, drops per reason
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: Target,
    /// Also counters that never counted anything
    #[arg(long)]
    all: bool,
}

/// Does it.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let report = ask(&arguments.target.socket, async |client| client.counters().await)?;
    let report = if arguments.all { report } else { report.without_zeros() };
    match arguments.target.format {
        Format::Json => output::print_json(&report)?,
        Format::Table => output::print(&text(&report))?,
    }
    Ok(Exit::Done)
}

/// A report for people.
pub(crate) fn text(report: &CountersReport) -> String {
    let heads = [
        "port",
        "rx frames",
        "rx octets",
        "tx frames",
        "tx octets",
        "tx merged",
        "rx lost",
        "tx refused",
        "errors",
    ];
    let mut ports = Listing::new(&heads).numbers(&[1, 2, 3, 4, 5, 6, 7, 8]).drops(&[
        "tx merged",
        "errors",
        "tx refused",
        "rx lost",
        "rx frames",
        "tx frames",
    ]);
    for row in &report.ports {
        ports.row(port_row(row));
    }
    let mut text = ports.text();
    section(&mut text, "stage", &report.stages);
    section(&mut text, "drop reason", &report.drops);
    text
}

fn port_row(row: &PortCountersRow) -> [String; 9] {
    let errors = row.rx_errors + row.tx_errors;
    let numbers = [
        row.rx_frames,
        row.rx_octets,
        row.tx_frames,
        row.tx_octets,
        row.tx_merged,
        row.rx_lost,
        row.tx_refused,
        errors,
    ];
    let [a, b, c, d, e, f, g, h] = numbers.map(output::grouped);
    [row.port.clone(), a, b, c, d, e, f, g, h]
}

fn section(text: &mut String, head: &str, rows: &[CounterRow]) {
    if rows.is_empty() {
        return;
    }
    let mut listing = Listing::new(&[head, "count", ""]).numbers(&[1]).shrinks(&[("", 12)]).drops(&[""]);
    for row in rows {
        let description = row.description.clone().unwrap_or_default();
        listing.row([row.name.clone(), output::grouped(row.value), description]);
    }
    text.push('\n');
    text.push_str(&listing.text());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_sections_are_left_out() {
        let row = |name: &str, value| CounterRow { name: name.to_owned(), value, description: None };
        let report = CountersReport {
            ports: vec![PortCountersRow { port: "wan".to_owned(), rx_frames: 12_345, ..Default::default() }],
            stages: vec![row("fast_path", 9)],
            drops: Vec::new(),
        };
        let shown = text(&report);
        assert!(shown.contains("12,345") && shown.contains("fast_path"), "{shown}");
        assert!(!shown.contains("DROP REASON"), "{shown}");
    }
}
