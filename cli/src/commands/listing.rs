//! `genkan sessions`, `mappings`, `neighbors`: tables of the running router, page by page.

use std::net::Ipv4Addr;

use genkan_control::api::{
    MappingQuery, MappingRow, MappingSort, NeighborRow, Page, SessionQuery, SessionRow, SessionSort,
};
use genkan_control::client::{Client, ClientError};
use genkan_engine::wire::ipv4::Protocol;
use serde::Serialize;

use super::{Target, ask, block_on};
use crate::output::{self, Exit, Failure, Format, Listing};

/// Rows of a table unless `--limit` says otherwise: a terminal is no place for a million.
const TABLE_LIMIT: u64 = 1_000;

/// Rows of one request.
pub(super) const PAGE: u64 = 1_000;

/// Rows of one request for what is sorted, which has no further page.
pub(super) const SORTED_PAGE: u64 = 10_000;

/// States of a session: of a TCP connection, and of anything else.
const STATES: [&str; 10] = [
    "outbound-syn",
    "inbound-syn",
    "established",
    "outbound-fin",
    "inbound-fin",
    "both-fin",
    "reset",
    "refused",
    "unanswered",
    "answered",
];

const SESSIONS_HELP: &str = "\
A session is a mapping and its remote endpoint. For ICMP the port is the identifier; protocols without ports show none.

Examples:
  genkan sessions
  genkan sessions --protocol tcp --address 192.168.0.10
  genkan sessions --host nas --port 443 --state established
  genkan sessions --forward web --sort expires-last --limit 20
  genkan sessions --format json | jq -r '.[] | select(.origin == \"forward\").remote'";

const MAPPINGS_HELP: &str = "\
A mapping is an internal endpoint and the external endpoint that stands for it.

Examples:
  genkan mappings
  genkan mappings --address 192.168.0.10 --format json";

const NEIGHBORS_HELP: &str = "\
Examples:
  genkan neighbors
  genkan neighbors --format json | jq -r '.[] | [.address, .mac] | @tsv'";

/// List sessions: who talks to whom, through which external endpoint
#[derive(Debug, clap::Args)]
#[command(after_help = SESSIONS_HELP)]
pub(crate) struct SessionArguments {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    filter: Filter,
    /// Only with this far address
    #[arg(long, value_name = "ADDRESS")]
    remote: Option<Ipv4Addr>,
    /// Only in this state, such as established or unanswered
    #[arg(long, value_name = "STATE", ignore_case = true, value_parser = STATES)]
    state: Option<String>,
    /// Only those that this forward has admitted
    #[arg(long, value_name = "NAME")]
    forward: Option<String>,
    /// The first rows of the whole table in this order
    #[arg(long, value_name = "ORDER")]
    sort: Option<SessionOrder>,
}

/// Orders of `genkan sessions`.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum SessionOrder {
    /// Those that end first, unless something comes
    ExpiresFirst,
    /// Those that end last
    ExpiresLast,
}

/// List mappings: which external endpoints belong to which internal ones
#[derive(Debug, clap::Args)]
#[command(after_help = MAPPINGS_HELP)]
pub(crate) struct MappingArguments {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    filter: Filter,
    /// The first rows of the whole table in this order
    #[arg(long, value_name = "ORDER")]
    sort: Option<MappingOrder>,
}

/// Orders of `genkan mappings`.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum MappingOrder {
    /// Those that most sessions use
    SessionsMost,
}

/// List neighbours: the router's ARP cache
#[derive(Debug, clap::Args)]
#[command(after_help = NEIGHBORS_HELP)]
pub(crate) struct NeighborArguments {
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Args)]
struct Filter {
    /// Only this protocol, by name or number
    #[arg(long, value_name = "PROTOCOL", value_parser = protocol)]
    protocol: Option<String>,
    /// Only rows with this address at any end
    #[arg(long, value_name = "ADDRESS")]
    address: Option<Ipv4Addr>,
    /// Only of this inside host, by address or name
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Only rows with this port at any end
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Most rows to list, 0 for all [default: 1000 in tables, all as JSON]
    #[arg(long, value_name = "ROWS")]
    limit: Option<u64>,
}

/// A protocol by name or number, in the router's word for it.
fn protocol(text: &str) -> Result<String, String> {
    let (number, name) = (text.parse(), text.to_ascii_lowercase());
    let known = |protocol: &Protocol| number == Ok(protocol.0) || protocol.to_string() == name;
    let found = (0..=u8::MAX).map(Protocol).find(known).map(|protocol| protocol.to_string());
    found.ok_or_else(|| "a name such as tcp, udp, icmp or gre, or a number up to 255 is accepted".to_owned())
}

/// Does `genkan sessions`.
pub(crate) fn sessions(arguments: &SessionArguments) -> Result<Exit, Failure> {
    let heads = ["proto", "internal", "external", "remote", "origin", "state", "expires"];
    let row = |row: &SessionRow| {
        let origin = match &row.forward {
            Some(forward) => format!("{} {forward}", row.origin),
            None => row.origin.clone(),
        };
        let internal = named(endpoint(&row.protocol, &row.internal), row.host.as_deref());
        vec![
            row.protocol.clone(),
            internal,
            endpoint(&row.protocol, &row.external),
            endpoint(&row.protocol, &row.remote),
            origin,
            row.state.clone(),
            output::duration(row.expires_in_seconds),
        ]
    };
    let listing = Listing::new(&heads).shrinks(&[("internal", 18), ("origin", 10)]);
    let listing = listing.drops(&["expires", "origin", "external", "state"]);
    let sort = arguments.sort.map(|order| match order {
        SessionOrder::ExpiresFirst => SessionSort::ExpiresFirst,
        SessionOrder::ExpiresLast => SessionSort::ExpiresLast,
    });
    let filter = &arguments.filter;
    let page = async |client: &Client, cursor, limit| {
        let query = SessionQuery {
            cursor,
            limit: Some(limit),
            protocol: filter.protocol.clone(),
            address: filter.address,
            host: filter.host.clone(),
            remote: arguments.remote,
            port: filter.port,
            state: arguments.state.clone(),
            forward: arguments.forward.clone(),
            sort,
        };
        client.sessions(&query).await
    };
    let most = if sort.is_some() { SORTED_PAGE } else { PAGE };
    list(&arguments.target, (filter.limit, most), page, listing, row)
}

/// Does `genkan mappings`.
pub(crate) fn mappings(arguments: &MappingArguments) -> Result<Exit, Failure> {
    let heads = ["proto", "internal", "external", "kind", "sessions"];
    let row = |row: &MappingRow| {
        let internal = named(endpoint(&row.protocol, &row.internal), row.host.as_deref());
        let external = endpoint(&row.protocol, &row.external);
        vec![row.protocol.clone(), internal, external, row.kind.clone(), row.sessions.to_string()]
    };
    let listing =
        Listing::new(&heads).numbers(&[4]).shrinks(&[("internal", 18)]).drops(&["kind", "sessions"]);
    let sort = arguments.sort.map(|MappingOrder::SessionsMost| MappingSort::SessionsMost);
    let filter = &arguments.filter;
    let page = async |client: &Client, cursor, limit| {
        let query = MappingQuery {
            cursor,
            limit: Some(limit),
            protocol: filter.protocol.clone(),
            address: filter.address,
            host: filter.host.clone(),
            port: filter.port,
            sort,
        };
        client.mappings(&query).await
    };
    let most = if sort.is_some() { SORTED_PAGE } else { PAGE };
    list(&arguments.target, (filter.limit, most), page, listing, row)
}

/// Does `genkan neighbors`.
pub(crate) fn neighbors(arguments: &NeighborArguments) -> Result<Exit, Failure> {
    let rows = ask(&arguments.target.socket, async |client| client.neighbors().await)?;
    if arguments.target.format == Format::Json {
        output::print_json(&rows)?;
        return Ok(Exit::Done);
    }
    let mut listing = Listing::new(&["port", "address", "mac", "state", "seen for"])
        .shrinks(&[("port", 8), ("address", 15)])
        .drops(&["seen for", "port"]);
    for row in &rows {
        listing.row(neighbor_row(row));
    }
    print_listing(&listing, "no neighbours")?;
    Ok(Exit::Done)
}

fn neighbor_row(row: &NeighborRow) -> [String; 5] {
    [
        row.port.clone(),
        named(row.address.to_string(), row.host.as_deref()),
        row.mac.clone().unwrap_or_else(|| "-".to_owned()),
        row.state.clone(),
        output::duration(row.seen_for_seconds),
    ]
}

/// Ports mean nothing for protocols that have none; ICMP's is its query identifier.
fn endpoint(protocol: &str, endpoint: &std::net::SocketAddrV4) -> String {
    match (protocol, endpoint.port()) {
        ("tcp" | "udp", _) => endpoint.to_string(),
        (_, 0) => endpoint.ip().to_string(),
        (_, identifier) => format!("{} id {identifier}", endpoint.ip()),
    }
}

fn named(text: String, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("{text} ({name})"),
        None => text,
    }
}

pub(super) fn print_listing(listing: &Listing, nothing: &str) -> Result<(), Failure> {
    if listing.is_empty() {
        output::remark(nothing);
        return Ok(());
    }
    output::print(&listing.text())
}

/// Fetches page after page, each of `most` rows at most, and shows them: JSON goes out as it comes, the listing is filled
/// and laid out at the end. `page` gets the cursor and how many rows to ask for.
pub(super) fn list<T: Serialize>(
    target: &Target,
    (wanted, most): (Option<u64>, u64),
    page: impl AsyncFn(&Client, Option<u32>, u32) -> Result<Page<T>, ClientError>,
    listing: Listing,
    row: impl Fn(&T) -> Vec<String>,
) -> Result<Exit, Failure> {
    let limit = match (wanted, target.format) {
        (Some(0), _) | (None, Format::Json) => u64::MAX,
        (Some(limit), _) => limit,
        (None, Format::Table) => TABLE_LIMIT,
    };
    let client = Client::new(&target.socket);
    let mut cursor = None;
    let mut sink = match target.format {
        Format::Json => Sink::Json { first: true },
        Format::Table => Sink::Table(Box::new(listing)),
    };
    let mut left = limit;
    let more = block_on(async {
        loop {
            let limit = u32::try_from(left.min(most)).unwrap_or(u32::MAX);
            let found = page(&client, cursor, limit).await?;
            left -= (found.rows.len() as u64).min(left);
            sink.take(&found.rows, &row)?;
            cursor = found.next;
            if found.next.is_none() || left == 0 {
                return Ok::<bool, Failure>(found.next.is_some());
            }
        }
    })??;
    sink.finish()?;
    if more && wanted.is_none() {
        output::remark(&format!("the first {limit} rows; --limit 0 lists all"));
    }
    Ok(Exit::Done)
}

enum Sink {
    Json { first: bool },
    Table(Box<Listing>),
}

impl Sink {
    fn take<T: Serialize>(&mut self, rows: &[T], cells: impl Fn(&T) -> Vec<String>) -> Result<(), Failure> {
        match self {
            Sink::Table(listing) => rows.iter().for_each(|row| listing.row(cells(row))),
            Sink::Json { first } => {
                let mut text = String::new();
                for row in rows {
                    text.push_str(if *first { "[\n  " } else { ",\n  " });
                    text.push_str(&serde_json::to_string(row)?);
                    *first = false;
                }
                output::print(&text)?;
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<(), Failure> {
        match self {
            Sink::Json { first: true } => output::print("[]\n"),
            Sink::Json { first: false } => output::print("\n]\n"),
            Sink::Table(listing) => print_listing(&listing, "none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_show_what_their_protocol_has() {
        let at = |port| std::net::SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), port);
        assert_eq!(endpoint("tcp", &at(80)), "192.0.2.1:80");
        assert_eq!(endpoint("udp", &at(0)), "192.0.2.1:0");
        assert_eq!(endpoint("icmp", &at(7)), "192.0.2.1 id 7");
        assert_eq!(endpoint("esp", &at(0)), "192.0.2.1");
        assert_eq!(named("192.0.2.1".to_owned(), Some("nas")), "192.0.2.1 (nas)");
    }
}
