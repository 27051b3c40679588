//! `genkan hosts`: the inside hosts, and what each uses.

use genkan_control::api::{HostQuery, HostRow, HostSort};
use genkan_control::client::Client;

use super::Target;
use super::listing::{PAGE, SORTED_PAGE, list};
use crate::output::{self, Exit, Failure, Listing};

const AFTER_HELP: &str = "\
Hosts of the configuration, those that ARP has seen inside, and those that have sessions; `lease` says whether the address
is one of this router's DHCP service. What each sends and gets by the
wan is an estimate, averaged over some five seconds.

Examples:
  genkan hosts
  genkan hosts --sort traffic --limit 10
  genkan hosts --sort sessions --limit 10 --format json | jq -r '.[] | [.address, .sessions] | @tsv'";

/// List inside hosts: who they are, where, how many sessions they have and how much of the line they use
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: Target,
    /// The first hosts of all in this order, instead of all by address
    #[arg(long, value_name = "ORDER")]
    sort: Option<Order>,
    /// Most rows to list, 0 for all [default: 1000 in tables, all as JSON]
    #[arg(long, value_name = "ROWS")]
    limit: Option<u64>,
}

/// Orders of `genkan hosts`.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Order {
    /// Those that use most of the line now
    Traffic,
    /// Those that have most sessions
    Sessions,
}

/// Does it.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let sort = arguments.sort.map(|order| match order {
        Order::Traffic => HostSort::TrafficMost,
        Order::Sessions => HostSort::SessionsMost,
    });
    let page = async |client: &Client, cursor, limit| {
        client.hosts(&HostQuery { cursor, limit: Some(limit), sort }).await
    };
    let most = if sort.is_some() { SORTED_PAGE } else { PAGE };
    list(&arguments.target, (arguments.limit, most), page, listing(), cells)
}

fn listing() -> Listing {
    let heads = [
        "address",
        "name",
        "mac",
        "vendor",
        "port",
        "state",
        "lease",
        "first seen",
        "last seen",
        "sessions",
        "ports",
        "in bit/s",
        "out bit/s",
        "external",
    ];
    Listing::new(&heads)
        .numbers(&[9, 10, 11, 12])
        .shrinks(&[("name", 12), ("port", 8), ("vendor", 8)])
        .drops(&["first seen", "external", "vendor", "last seen", "mac", "ports", "lease", "port", "state"])
}

fn cells(row: &HostRow) -> Vec<String> {
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let time = |seconds| genkan_config::rfc3339(genkan_engine::UnixTime(seconds));
    let bits = |octets: u64| output::scaled(octets as f64 * 8.0);
    vec![
        row.address.to_string(),
        text(&row.name),
        text(&row.mac),
        text(&row.vendor),
        text(&row.port),
        text(&row.state),
        text(&row.leased.then(|| "dhcp".to_owned())),
        text(&row.first_seen.map(time)),
        text(&row.last_seen.map(time)),
        output::grouped(row.sessions),
        output::grouped(row.external_ports),
        bits(row.octets_per_second_in),
        bits(row.octets_per_second_out),
        text(&row.external.map(|address| address.to_string())),
    ]
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn row() -> HostRow {
        HostRow {
            address: Ipv4Addr::new(192, 168, 0, 10),
            name: Some("nas".to_owned()),
            mac: None,
            vendor: None,
            first_seen: Some(0),
            last_seen: None,
            leased: false,
            port: None,
            state: None,
            seen_for_seconds: None,
            sessions: 1_234,
            external_ports: 7,
            external: None,
            octets_per_second_in: 1_250_000,
            octets_per_second_out: 0,
        }
    }

    #[test]
    fn what_is_not_known_is_a_dash() {
        let mut listing = listing();
        listing.row(cells(&row()));
        let text = listing.text();
        assert!(
            text.contains("192.168.0.10  nas") && text.contains("1,234") && text.contains("10.0M"),
            "{text}"
        );
        assert!(text.contains("1970-01-01T00:00:00Z"), "{text}");
        assert_eq!(text.matches(" -").count(), 7, "{text}");
    }

    #[test]
    fn an_address_by_dhcp_is_marked() {
        let mark = |leased| {
            let mut listing = listing();
            listing.row(cells(&HostRow { leased, ..row() }));
            let layout = listing.layout(None);
            let at = layout.head.find("LEASE").expect("a column");
            layout.rows[0][at..].split_whitespace().next().unwrap_or_default().to_owned()
        };
        assert_eq!((mark(true).as_str(), mark(false).as_str()), ("dhcp", "-"));
    }
}
