//! `genkan audit`: what is open, since when, by whom, and whether it should be.

use std::path::PathBuf;
use std::time::SystemTime;

use genkan_config::openings::Openings;
use genkan_control::api::{AuditKind, AuditOpening, AuditQuery, AuditReport, AuditRisk, ClosedBy};
use genkan_engine::UnixTime;

use super::{ask, configuration, history};
use crate::audit::Facts;
use crate::output::{self, Exit, Failure};
use crate::words::{Language, Words};

const AFTER_HELP: &str = "\
Everything that lets somebody in from outside: forwards, the DMZ, hosts with an external address of their own; the riskiest
first, each with its reasons and the commands that close it. The running router also knows since when something is open,
who opened it, and who uses it; counts begin when the router starts.

Speaks Japanese where LC_ALL, LC_MESSAGES or LANG ask for it.
Exit status: 0 when nothing is of medium or high risk, 1 when something is, 2 for misuse.

Examples:
  genkan audit
  genkan audit --config home.toml
  genkan audit --format md > openings.md
  genkan audit --format json | jq -r '.openings[] | select(.risk == \"high\").commands[0] // empty'";

/// Names of the sources that a line has room for.
const SOURCES: usize = 3;

/// List what is open to the outside, the riskiest first, and how to close it
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// Look at this file only; without it the running router is asked
    #[arg(long, value_name = "FILE", conflicts_with = "socket")]
    config: Option<PathBuf>,
    /// Control socket of the router to ask
    #[arg(long, value_name = "PATH", default_value = genkan_control::DEFAULT_SOCKET)]
    socket: PathBuf,
    /// Shape of the answer
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    format: Shape,
}

#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Shape {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
    /// A table in Markdown
    Md,
}

/// Does it.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let language = Language::of_environment();
    let words = Words::new(language);
    let report = match &arguments.config {
        None => {
            let query = AuditQuery { language: Some(language.code().to_owned()) };
            ask(&arguments.socket, async |client| client.audit(&query).await)?
        }
        Some(file) => {
            let loaded = configuration(file)?;
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let now = now.as_secs() as i64;
            let states = Openings::new(None, []).judge(&loaded, UnixTime(now)).states;
            Facts { loaded: &loaded, states: &states, running: None, now }.audit(&words)
        }
    };
    match arguments.format {
        Shape::Json => output::print_json(&report)?,
        Shape::Table => output::print(&text(&report, &words))?,
        Shape::Md => output::print(&markdown(&report, &words))?,
    }
    let is_risky = report.openings.iter().any(|opening| opening.risk >= AuditRisk::Medium);
    Ok(if is_risky { Exit::No } else { Exit::Done })
}

fn risk(risk: AuditRisk, words: &Words) -> String {
    let id = match risk {
        AuditRisk::High => "audit-risk-high",
        AuditRisk::Medium => "audit-risk-medium",
        AuditRisk::Low => "audit-risk-low",
        AuditRisk::None => "audit-risk-none",
    };
    words.say(id, &[])
}

fn what(opening: &AuditOpening, words: &Words) -> String {
    let what = format!("{} {}", opening.protocols.join("+"), opening.ports.join(","));
    let (name, to) = (opening.name.clone(), opening.to.clone());
    match opening.kind {
        AuditKind::Forward => words.say("audit-forward", &[("name", name), ("what", what), ("to", to)]),
        AuditKind::Dmz => words.say("audit-whole-dmz", &[("to", to)]),
        AuditKind::OneToOne => words.say("audit-whole-one-to-one", &[("name", name), ("to", to)]),
    }
}

fn from(opening: &AuditOpening, words: &Words) -> String {
    match opening.from.is_empty() {
        true => words.say("audit-from-all", &[]),
        false => words.say("audit-from", &[("from", opening.from.join(", "))]),
    }
}

/// Since when, how long, and who uses it.
fn uses(opening: &AuditOpening, now: i64, words: &Words) -> Vec<String> {
    let time = |at: i64| genkan_config::rfc3339(UnixTime(at));
    let mut said = Vec::new();
    let schedule = opening.schedule.clone().unwrap_or_default();
    match opening.closed_by {
        Some(ClosedBy::Disabled) => said.push(words.say("audit-closed-disabled", &[])),
        Some(ClosedBy::Expired) => said.push(words.say("audit-closed-expired", &[])),
        Some(ClosedBy::Schedule) => said.push(words.say("audit-closed-schedule", &[("schedule", schedule)])),
        Some(ClosedBy::Clock) => said.push(words.say("audit-closed-clock", &[])),
        Some(ClosedBy::Absent) => said.push(words.say("audit-closed-absent", &[])),
        None if !schedule.is_empty() => said.push(words.say("audit-hours", &[("schedule", schedule)])),
        None => {}
    }
    if let Some(opened) = opening.opened {
        let arguments = [("time", time(opened.since)), ("revision", opened.revision.to_string())];
        said.push(match opened.uid {
            None => words.say("audit-open-since", &arguments),
            Some(uid) => {
                let [time, revision] = arguments;
                words.say("audit-open-since-user", &[time, revision, ("user", history::user(Some(uid)))])
            }
        });
    }
    if opening.kind == AuditKind::Forward {
        said.push(match opening.expires {
            Some(expires) => words.say("audit-expires", &[("time", time(expires))]),
            None => words.say("audit-expires-not", &[]),
        });
    }
    match (opening.hits, opening.last_hit) {
        (Some(hits), Some(last)) if hits > 0 => {
            let ago = output::duration(u64::try_from(now - last).unwrap_or(0));
            said.push(words.say("audit-hits", &[("hits", output::grouped(hits)), ("ago", ago)]));
        }
        (Some(_), _) => said.push(words.say("audit-hits-none", &[])),
        (None, _) => {}
    }
    if !opening.sources.is_empty() {
        let source =
            |source: &genkan_control::api::SourceHits| format!("{} ({})", source.source, source.hits);
        let sources: Vec<String> = opening.sources.iter().take(SOURCES).map(source).collect();
        said.push(words.say("audit-sources", &[("sources", sources.join(", "))]));
    }
    said
}

fn text(report: &AuditReport, words: &Words) -> String {
    let mut text = String::new();
    if report.openings.is_empty() {
        text.push_str(&format!("{}\n", words.say("audit-nothing", &[])));
    }
    for opening in &report.openings {
        text.push_str(&format!("[{}] {}\n", risk(opening.risk, words), what(opening, words)));
        let mut about = vec![from(opening, words)];
        about.extend(uses(opening, report.at, words));
        text.push_str(&format!("    {}\n", about.join("; ")));
        for finding in &opening.findings {
            text.push_str(&format!("    - [{}] {}\n", risk(finding.risk, words), finding.text));
        }
        for command in opening.commands.iter().cloned() {
            text.push_str(&format!("    {}\n", words.say("audit-close", &[("command", command)])));
        }
        if let Some(place) = &opening.place {
            let id = match opening.kind {
                AuditKind::OneToOne => "audit-close-in-file",
                AuditKind::Forward | AuditKind::Dmz => "audit-place",
            };
            text.push_str(&format!("    {}\n", words.say(id, &[("place", place.clone())])));
        }
        text.push('\n');
    }
    for unknown in &report.unknown {
        text.push_str(&format!("{}\n", unknown.text));
    }
    text
}

fn markdown(report: &AuditReport, words: &Words) -> String {
    let heads = [
        "audit-head-risk",
        "audit-head-what",
        "audit-head-from",
        "audit-head-use",
        "audit-head-why",
        "audit-head-close",
    ];
    let heads = heads.map(|id| words.say(id, &[]));
    let row = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let mut text = row(&heads) + "| --- | --- | --- | --- | --- | --- |\n";
    for opening in &report.openings {
        let findings: Vec<String> = opening.findings.iter().map(|finding| finding.text.clone()).collect();
        let commands: Vec<String> = opening.commands.iter().map(|command| format!("`{command}`")).collect();
        text.push_str(&row(&[
            risk(opening.risk, words),
            what(opening, words),
            from(opening, words),
            uses(opening, report.at, words).join("; "),
            findings.join("<br>"),
            commands.join("<br>"),
        ]));
    }
    for unknown in &report.unknown {
        text.push_str(&format!("\n{}\n", unknown.text));
    }
    text
}
