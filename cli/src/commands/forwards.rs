//! `genkan forwards`: which forwards are used, by whom, how much.

use genkan_control::api::{ForwardCounts, ForwardRow};

use super::forward::state;
use super::{Target, ask};
use crate::output::{self, Exit, Failure, Format, Listing};

const AFTER_HELP: &str = "\
Counted since the router started, or since the forward was added; a reload keeps the counts. Hits are sessions that the
forward has admitted. Refused are packets that were to open one: of sources that no forward of the port admits, or that open
them faster than max_new_per_source allows, or beyond max_sessions, which stands behind the sessions at once; --format json
has them apart. The state says why a forward is closed: disabled, expired and when, out of its hours and when it opens, or
that it has hours and the clock of the box is not set (yet). Octets count from the IP header on.
How forwards are changed: genkan forward --help.

Examples:
  genkan forwards
  genkan forwards --used
  genkan forwards --format json | jq -r '.[] | select(.hits == 0).name'";

/// Show the forwards and what has passed through them
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: Target,
    /// Only forwards that somebody has used or was refused by
    #[arg(long)]
    used: bool,
}

/// Does it.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let mut rows = ask(&arguments.target.socket, async |client| client.forwards().await)?;
    if arguments.used {
        rows.retain(|row| row.counts.hits > 0 || refused(&row.counts) > 0);
    }
    match arguments.target.format {
        Format::Json => output::print_json(&rows)?,
        Format::Table if rows.is_empty() => output::remark("no forwards"),
        Format::Table => output::print(&table(&rows, now()))?,
    }
    Ok(Exit::Done)
}

/// Whatever the reason.
fn refused(counts: &ForwardCounts) -> u64 {
    counts.refused + counts.limited + counts.braked
}

/// Seconds since 1970.
fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() as i64)
}

fn table(rows: &[ForwardRow], now: i64) -> String {
    let heads =
        ["name", "port", "to", "state", "sessions", "hits", "refused", "octets in", "octets out", "last hit"];
    let mut listing = Listing::new(&heads)
        .numbers(&[4, 5, 6, 7, 8])
        .shrinks(&[("name", 12), ("port", 12), ("last hit", 12)])
        .drops(&["refused", "octets in", "last hit", "sessions", "octets out", "to"]);
    for row in rows {
        let counts = &row.counts;
        let ago = counts.last_hit.map(|at| output::duration(u64::try_from(now - at).unwrap_or(0)));
        let last = match (ago, counts.last_source) {
            (Some(ago), Some(source)) => format!("{ago} ago, {source}"),
            (Some(ago), None) => format!("{ago} ago"),
            (None, _) => "-".to_owned(),
        };
        let sessions = output::grouped(counts.sessions);
        let sessions = match row.max_sessions {
            Some(most) => format!("{sessions}/{}", output::grouped(most.into())),
            None => sessions,
        };
        listing.row([
            row.name.clone(),
            format!("{} {}", row.protocols.join("+"), row.ports.join(",")),
            row.to.clone(),
            state(row),
            sessions,
            output::grouped(counts.hits),
            output::grouped(refused(counts)),
            output::grouped(counts.octets_in),
            output::grouped(counts.octets_out),
            last,
        ]);
    }
    listing.text()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn the_table_says_who_came_last_and_when() {
        let counts = ForwardCounts {
            hits: 1_234,
            octets_in: 5_000_000,
            last_hit: Some(1_000),
            last_source: Some(Ipv4Addr::new(198, 51, 100, 7)),
            ..ForwardCounts::default()
        };
        let row = ForwardRow {
            name: "web".to_owned(),
            protocols: vec!["tcp".to_owned()],
            ports: vec!["80".to_owned()],
            to: "192.168.0.10:8080".to_owned(),
            address: None,
            from: Vec::new(),
            enabled: true,
            open: true,
            closed_by: None,
            opens: None,
            opened: None,
            expires: None,
            ad_hoc: false,
            schedule: None,
            max_sessions: None,
            max_new_per_source: None,
            log: false,
            device: None,
            counts,
        };
        let limited = ForwardRow {
            name: "limited".to_owned(),
            max_sessions: Some(50),
            counts: ForwardCounts { sessions: 7, refused: 1, limited: 20, braked: 300, ..Default::default() },
            ..row.clone()
        };
        let text = table(&[limited], 0);
        assert!(text.contains(" 7/50 ") && text.contains(" 321 "), "{text}");
        let unused = ForwardRow { name: "ssh".to_owned(), counts: ForwardCounts::default(), ..row.clone() };
        let text = table(&[row, unused], 1_090);
        assert!(text.contains("1,234") && text.contains("5,000,000"), "{text}");
        assert!(text.contains("1m30s ago, 198.51.100.7") && text.contains("-"), "{text}");
    }
}
