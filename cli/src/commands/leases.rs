//! `genkan leases`: who has which address of the DHCP service.

use genkan_control::api::{LeaseQuery, LeaseRow};
use genkan_control::client::Client;

use super::Target;
use super::listing::{PAGE, list};
use crate::output::{self, Exit, Failure, Listing};

const AFTER_HELP: &str = "\
Leases of the DHCP service of every lan. An address in state `resting` was found in use by a machine that did not get it
from here: no client gets it for a while.

Examples:
  genkan leases
  genkan leases --format json | jq -r '.[] | select(.reserved | not) | [.mac, .name, .address] | @tsv'";

/// List leases: which machine has which address from the DHCP service, and until when
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: Target,
    /// Most rows to list, 0 for all [default: 1000 in tables, all as JSON]
    #[arg(long, value_name = "ROWS")]
    limit: Option<u64>,
}

/// Does it.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let page = async |client: &Client, cursor, limit| {
        client.leases(&LeaseQuery { cursor, limit: Some(limit) }).await
    };
    list(&arguments.target, (arguments.limit, PAGE), page, listing(), cells)
}

fn listing() -> Listing {
    let heads = ["address", "name", "mac", "lan", "state", "ends in", "reserved", "client id"];
    Listing::new(&heads).shrinks(&[("client id", 12), ("name", 12), ("lan", 8)]).drops(&[
        "client id",
        "reserved",
        "lan",
        "state",
    ])
}

fn cells(row: &LeaseRow) -> Vec<String> {
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    vec![
        row.address.to_string(),
        text(&row.name),
        text(&row.mac),
        row.lan.clone(),
        row.state.name().to_owned(),
        output::duration(row.ends_in_seconds),
        if row.reserved { "yes" } else { "no" }.to_owned(),
        text(&row.client_id),
    ]
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use genkan_control::api::LeaseState;

    use super::*;

    #[test]
    fn what_is_not_known_is_a_dash() {
        let row = LeaseRow {
            address: Ipv4Addr::new(192, 168, 0, 100),
            lan: "home".to_owned(),
            name: None,
            mac: Some("02:00:00:00:00:09".to_owned()),
            client_id: None,
            reserved: false,
            state: LeaseState::Leased,
            ends: "2030-01-01T00:00:00Z".to_owned(),
            ends_in_seconds: 60,
        };
        let mut listing = listing();
        listing.row(cells(&row));
        let text = listing.text();
        assert!(text.contains("192.168.0.100  -") && text.contains("leased"), "{text}");
        assert_eq!(text.matches(" -").count(), 2, "{text}");
    }
}
