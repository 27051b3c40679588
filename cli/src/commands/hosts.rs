//! `genkan hosts`: the inside hosts, and what each uses.

use genkan_control::api::HostRow;

use super::{Target, ask};
use crate::output::{self, Exit, Failure, Format, Listing};

const AFTER_HELP: &str = "\
Hosts of the configuration, those that ARP has seen inside, and those that have sessions.

Examples:
  genkan hosts
  genkan hosts --format json | jq -r 'sort_by(-.sessions)[:10][] | [.address, .sessions] | @tsv'";

/// List inside hosts: who they are, where, and how many sessions they have
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: Target,
}

/// Does it.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let rows = ask(&arguments.target.socket, async |client| client.hosts().await)?;
    match arguments.target.format {
        Format::Json => output::print_json(&rows)?,
        Format::Table if rows.is_empty() => output::remark("no hosts"),
        Format::Table => output::print(&table(&rows))?,
    }
    Ok(Exit::Done)
}

fn table(rows: &[HostRow]) -> String {
    let heads = ["address", "name", "mac", "port", "state", "seen for", "sessions", "ports", "external"];
    let mut listing = Listing::new(&heads)
        .numbers(&[6, 7])
        .shrinks(&[("name", 12), ("port", 8)])
        .drops(&["seen for", "external", "mac", "ports", "port", "state"]);
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    for row in rows {
        listing.row([
            row.address.to_string(),
            text(&row.name),
            text(&row.mac),
            text(&row.port),
            text(&row.state),
            text(&row.seen_for_seconds.map(output::duration)),
            output::grouped(row.sessions),
            output::grouped(row.external_ports),
            text(&row.external.map(|address| address.to_string())),
        ]);
    }
    listing.text()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn what_is_not_known_is_a_dash() {
        let row = HostRow {
            address: Ipv4Addr::new(192, 168, 0, 10),
            name: Some("nas".to_owned()),
            mac: None,
            port: None,
            state: None,
            seen_for_seconds: None,
            sessions: 1_234,
            external_ports: 7,
            external: None,
        };
        let text = table(&[row]);
        assert!(text.contains("192.168.0.10  nas") && text.contains("1,234"), "{text}");
        assert_eq!(text.matches(" -").count(), 5, "{text}");
    }
}
