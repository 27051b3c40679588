//! `genkan events`: what happened lately, and what happens now.

use genkan_control::api::{EventKind, EventQuery, EventRow};
use genkan_control::client::Client;

use super::{Target, ask, block_on};
use crate::output::{self, Exit, Failure, Format, Listing};

const KEPT: &str = "\
The router keeps the last 10,000 events in memory, and those of the last runs in events.jsonl in its state folder.
";

const EXAMPLES: &str = "\
Examples:
  genkan events
  genkan events --kind source-refused --kind first-hit
  genkan events --follow --format json | jq -r 'select(.kind == \"link\").message'
  genkan events --since 4711 --follow       go on after event 4711";

/// Show what happened: forwards opened and closed, first hits, refused sources, conflicts, limits, links
#[derive(Debug, clap::Args)]
#[command(after_help = after_help())]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: Target,
    /// Go on with each event as it comes (JSON: one line each)
    #[arg(long)]
    follow: bool,
    /// Only events after this id
    #[arg(long, value_name = "ID")]
    since: Option<u64>,
    /// Only events of this kind; may be given several times
    #[arg(long, value_name = "KIND", value_parser = kind)]
    kind: Vec<EventKind>,
    /// The last so many events, 0 for all that are kept [default: 100, with --since all]
    #[arg(long, value_name = "EVENTS")]
    limit: Option<usize>,
}

fn after_help() -> String {
    let kinds: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.name()).collect();
    format!("{KEPT}Kinds: {}.\n\n{EXAMPLES}", kinds.join(", "))
}

/// A kind by its name.
fn kind(text: &str) -> Result<EventKind, String> {
    // The refusal names all kinds.
    serde_json::from_value(text.into()).map_err(|error| error.to_string())
}

/// Does it.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let (mut rows, next) = ask(&arguments.target.socket, async |client| {
        let mut query = EventQuery { since: arguments.since, limit: Some(10_000) };
        let mut rows = Vec::new();
        loop {
            let page = client.events(&query).await?;
            rows.extend(page.rows.into_iter().filter(|row| arguments.wants(row)));
            query.since = Some(page.next);
            if !page.more {
                return Ok((rows, page.next));
            }
        }
    })?;
    rows.drain(..rows.len().saturating_sub(arguments.most()));
    if !arguments.follow {
        match arguments.target.format {
            Format::Json => output::print_json(&rows)?,
            Format::Table if rows.is_empty() => output::remark("no events"),
            Format::Table => output::print(&table(&rows))?,
        }
        return Ok(Exit::Done);
    }
    for row in &rows {
        output::print(&arguments.line(row)?)?;
    }
    let mut printed = Ok(());
    let query = EventQuery { since: Some(next), limit: None };
    let client = Client::new(&arguments.target.socket);
    block_on(client.follow_events(&query, |row| {
        if arguments.wants(&row) {
            printed = arguments.line(&row).and_then(|line| output::print(&line));
        }
        printed.is_ok()
    }))??;
    printed?;
    output::remark("the router has ended");
    Ok(Exit::No)
}

impl Arguments {
    /// How many events of those that are kept are shown. Who goes on after one that he has seen is to miss none.
    fn most(&self) -> usize {
        let unless_said = if self.since.is_some() { 0 } else { 100 };
        match self.limit.unwrap_or(unless_said) {
            0 => usize::MAX,
            most => most,
        }
    }

    fn wants(&self, row: &EventRow) -> bool {
        self.kind.is_empty() || self.kind.contains(&row.kind)
    }

    fn line(&self, row: &EventRow) -> Result<String, Failure> {
        Ok(match self.target.format {
            Format::Json => serde_json::to_string(row)? + "\n",
            Format::Table => format!("{}  {}  {}\n", row.time, row.kind.name(), words(row)),
        })
    }
}

fn words(row: &EventRow) -> String {
    match row.suppressed {
        0 => row.message.clone(),
        suppressed => format!("{} (and {suppressed} like it before)", row.message),
    }
}

fn table(rows: &[EventRow]) -> String {
    let mut listing = Listing::new(&["id", "time", "kind", "what"])
        .numbers(&[0])
        .shrinks(&[("what", 30)])
        .drops(&["id", "kind", "time"]);
    for row in rows {
        listing.row([row.id.to_string(), row.time.clone(), row.kind.name().to_owned(), words(row)]);
    }
    listing.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_that_there_is_not_is_refused() {
        assert_eq!(kind("first-hit"), Ok(EventKind::FirstHit));
        let error = kind("first-hits").expect_err("no such kind");
        assert!(error.contains("first-hits") && error.contains("source-refused"), "{error}");
    }

    #[test]
    fn the_help_names_every_kind() {
        let help = after_help();
        let words: Vec<&str> = help.split([' ', ',', '.', '\n']).collect();
        let is_missing = |kind: &&EventKind| !words.contains(&kind.name());
        assert_eq!(EventKind::ALL.iter().find(is_missing), None, "{help}");
    }

    #[test]
    fn a_limit_holds_with_since_too() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            events: Arguments,
        }
        let most = |line: &str| {
            let words = std::iter::once("events").chain(line.split_whitespace());
            <Line as clap::Parser>::try_parse_from(words)
                .map(|line| line.events.most())
                .map_err(|error| error.kind())
        };
        assert_eq!([most(""), most("--limit 2"), most("--limit 0")], [Ok(100), Ok(2), Ok(usize::MAX)]);
        assert_eq!([most("--since 4"), most("--since 4 --limit 2")], [Ok(usize::MAX), Ok(2)]);
    }

    #[test]
    fn what_was_left_out_is_said() {
        let row = EventRow {
            id: 7,
            time: "2026-01-01T00:00:00.000Z".to_owned(),
            kind: EventKind::SourceRefused,
            forward: Some("web".to_owned()),
            port: None,
            address: None,
            message: "forward web: 198.51.100.7 is refused".to_owned(),
            suppressed: 3,
        };
        assert_eq!(words(&row), "forward web: 198.51.100.7 is refused (and 3 like it before)");
        let text = table(std::slice::from_ref(&row));
        assert!(text.contains("source-refused") && text.starts_with("ID"), "{text}");
    }
}
