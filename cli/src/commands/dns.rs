//! `genkan dns`: resolvers, cache, queries.

use genkan_control::api::{DnsQueries, DnsReport};

use super::{Target, answer, ask};
use crate::output::{self, Exit, Failure, Format, Listing};

const AFTER_HELP: &str = "\
Exit status: 0 when the DNS service is on and a resolver answers.

Examples:
  genkan dns
  genkan dns --format json | jq .cache
  genkan dns --format json | jq -r '.clients[] | [.address, .queries] | @tsv'";

/// Look at the DNS service: resolvers, cache, what was asked
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: Target,
}

/// Does it.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let report = ask(&arguments.target.socket, async |client| client.dns().await)?;
    match arguments.target.format {
        Format::Json => output::print_json(&report)?,
        Format::Table => output::print(&text(&report))?,
    }
    Ok(answer(report.upstreams.iter().any(|upstream| upstream.up)))
}

fn text(report: &DnsReport) -> String {
    if !report.enabled {
        return "the DNS service is off: there is no [dns] in the configuration\n".to_owned();
    }
    let mut text = format!(
        "names of the lans under {}; {} answers in the cache, {} of {} KiB\n",
        report.domain,
        output::grouped(report.cache.answers),
        output::grouped(report.cache.octets / 1024),
        output::grouped(report.cache.limit / 1024)
    );
    if report.blocked_names > 0 {
        text.push_str(&format!("names blocked: {}\n", output::grouped(report.blocked_names)));
    }
    for name in &report.public_names {
        text.push_str(&format!("inside: {name}\n"));
    }
    for problem in &report.problems {
        text.push_str(&format!("problem: {}\n", problem.text));
    }
    text.push_str(&format!("\n{}\n{}", upstreams(report).text(), queries(report).text()));
    let odd = [
        (report.waiting, "questions that wait for a resolver"),
        (report.rebinding, "answers withheld, as they pointed inside"),
        (report.malformed, "messages of clients that were no queries"),
        (report.ignored_answers, "messages of resolvers that answered no question"),
    ];
    for (number, what) in odd.into_iter().filter(|(number, _)| *number > 0) {
        text.push_str(&format!("{what}: {}\n", output::grouped(number)));
    }
    text
}

fn upstreams(report: &DnsReport) -> Listing {
    let mut listing = Listing::new(&["resolver", "state", "asked", "answered", "failed", "ms"])
        .numbers(&[2, 3, 4, 5])
        .drops(&["answered", "asked", "failed", "ms", "state"]);
    for row in &report.upstreams {
        listing.row([
            row.resolver.clone(),
            if row.up { "up" } else { "down" }.to_owned(),
            output::grouped(row.asked),
            output::grouped(row.answered),
            output::grouped(row.failed),
            row.round_trip_ms.map_or_else(|| "-".to_owned(), |time| format!("{time:.1}")),
        ]);
    }
    listing
}

fn queries(report: &DnsReport) -> Listing {
    let mut listing = Listing::new(&[
        "client",
        "queries",
        "local",
        "blocked",
        "cached",
        "stale",
        "forwarded",
        "failed",
        "refused",
    ])
    .numbers(&[1, 2, 3, 4, 5, 6, 7, 8])
    .drops(&["stale", "refused", "blocked", "local", "cached", "forwarded", "failed", "queries"]);
    listing.row(cells("all", &report.queries));
    for row in &report.clients {
        listing.row(cells(&row.address, &row.queries));
    }
    listing
}

fn cells(who: &str, queries: &DnsQueries) -> [String; 9] {
    let DnsQueries { queries, local, blocked, cached, stale, forwarded, failed, refused, repeated: _ } =
        *queries;
    let [a, b, c, d, e, f, g, h] =
        [queries, local, blocked, cached, stale, forwarded, failed, refused].map(output::grouped);
    [who.to_owned(), a, b, c, d, e, f, g, h]
}

#[cfg(test)]
mod tests {
    use genkan_control::api::{DnsCache, DnsClientRow, DnsFault, DnsProblem, DnsUpstreamRow};

    use super::*;

    #[test]
    fn resolvers_and_queries_are_shown() {
        assert!(text(&DnsReport::default()).contains("is off"));
        let upstream = DnsUpstreamRow {
            resolver: "192.0.2.53:53".to_owned(),
            up: false,
            asked: 1_234,
            answered: 1_200,
            failed: 34,
            round_trip_ms: Some(12.34),
            ..DnsUpstreamRow::default()
        };
        let report = DnsReport {
            enabled: true,
            domain: "home.arpa".to_owned(),
            upstreams: vec![upstream],
            cache: DnsCache { answers: 5, octets: 2048, limit: 4 << 20 },
            queries: DnsQueries { queries: 77, cached: 70, ..DnsQueries::default() },
            rebinding: 2,
            problems: vec![DnsProblem { fault: DnsFault::Silent, text: "no resolver answers".to_owned() }],
            ..DnsReport::default()
        };
        let shown = text(&report);
        assert!(shown.contains("under home.arpa; 5 answers in the cache, 2 of 4,096 KiB"), "{shown}");
        assert!(shown.contains("\nproblem: no resolver answers\n"), "{shown}");
        assert!(shown.contains("192.0.2.53:53  down   1,234"), "{shown}");
        assert!(
            shown.contains("answers withheld, as they pointed inside: 2\n") && !shown.contains("wait for"),
            "{shown}"
        );
    }

    #[test]
    fn who_asked_whom_can_be_told_on_any_terminal() {
        let client = |address: &str| DnsClientRow {
            address: address.to_owned(),
            queries: DnsQueries { queries: 12_345, ..DnsQueries::default() },
        };
        let upstream = |resolver: &str| DnsUpstreamRow {
            resolver: resolver.to_owned(),
            up: true,
            asked: 12_345,
            answered: 12_345,
            failed: 0,
            round_trip_ms: Some(12.34),
            ..DnsUpstreamRow::default()
        };
        let report = DnsReport {
            clients: ["192.168.100.201", "192.168.100.202"].map(client).into(),
            upstreams: ["tls://9.9.9.9:853#dns.quad9.net", "192.0.2.53:53"].map(upstream).into(),
            ..DnsReport::default()
        };
        for width in [32, 40, 60, 70] {
            let [clients, resolvers] =
                [queries(&report), upstreams(&report)].map(|it| it.layout(Some(width)).rows);
            for (row, client) in clients[1..].iter().zip(&report.clients) {
                assert!(row.starts_with(&client.address), "{width}: {clients:?}");
            }
            for (row, upstream) in resolvers.iter().zip(&report.upstreams) {
                assert!(row.starts_with(&upstream.resolver), "{width}: {resolvers:?}");
            }
        }
        let head = queries(&report).layout(Some(60)).head;
        assert!(head.starts_with("CLIENT           QUERIES") && head.contains("FAILED"), "{head}");
    }
}
