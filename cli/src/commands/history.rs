//! `genkan history`, `diff`, `rollback`, `confirm`: the configurations that were in force.

use genkan_control::api::{DiffQuery, History, HistoryDiff};
use genkan_engine::UnixTime;
use nix::unistd::{Uid, User};

use super::change::{self, Options};
use super::{Target, ask, block_on};
use crate::output::{self, Exit, Failure, Format, Listing};

const HISTORY_HELP: &str = "\
Every change gets a number, its revision, that only ever goes up; the last 50 are kept, over restarts.

Examples:
  genkan history
  genkan diff 12            what changed since revision 12
  genkan rollback 12        have it back";

/// List the last changes of the running router's configuration
#[derive(Debug, clap::Args)]
#[command(after_help = HISTORY_HELP)]
pub(crate) struct HistoryArguments {
    #[command(flatten)]
    target: Target,
}

const DIFF_HELP: &str = "\
Exit status: 0 there is a difference, 1 there is none.

Examples:
  genkan diff 12            what is different now
  genkan diff 12 14         what changed between them";

/// Show what is different between two revisions of the configuration
#[derive(Debug, clap::Args)]
#[command(after_help = DIFF_HELP)]
pub(crate) struct DiffArguments {
    /// A revision
    from: u64,
    /// Another one [default: the one in force]
    to: Option<u64>,
    #[command(flatten)]
    target: Target,
}

const ROLLBACK_HELP: &str = "\
The old text gets a new number; what was in force until now stays in the history. Sessions that the difference does not
concern go on.

Examples:
  genkan rollback 12 --dry-run
  genkan rollback 12 --confirm 60s";

/// Put an earlier revision of the configuration in force again
#[derive(Debug, clap::Args)]
#[command(after_help = ROLLBACK_HELP)]
pub(crate) struct RollbackArguments {
    /// The revision to go back to
    #[arg(value_name = "REVISION")]
    to: u64,
    #[command(flatten)]
    options: Options,
}

const CONFIRM_HELP: &str = "\
A change made with --confirm goes back by itself when this command does not come in time, also when the router was
killed meanwhile.

Examples:
  genkan dmz set 192.168.0.50 --confirm 60s && ping -c 3 example.com && genkan confirm";

/// Keep a change that was made with --confirm
#[derive(Debug, clap::Args)]
#[command(after_help = CONFIRM_HELP)]
pub(crate) struct ConfirmArguments {
    #[command(flatten)]
    target: Target,
}

/// `genkan confirm`.
pub(crate) fn confirm(arguments: &ConfirmArguments) -> Result<Exit, Failure> {
    let client = genkan_control::client::Client::new(&arguments.target.socket);
    let report = block_on(client.confirm())?.map_err(change::failure)?;
    match arguments.target.format {
        Format::Json => output::print_json(&report)?,
        Format::Table => {
            output::print(&format!("{}: revision {} stays in force\n", report.config, report.revision))?;
        }
    }
    Ok(Exit::Done)
}

/// `genkan rollback`.
pub(crate) fn rollback(arguments: &RollbackArguments) -> Result<Exit, Failure> {
    arguments.options.change(async |client, query| client.rollback(arguments.to, query).await)
}

/// `genkan diff`.
pub(crate) fn diff(arguments: &DiffArguments) -> Result<Exit, Failure> {
    let query = DiffQuery { from: arguments.from, to: arguments.to };
    let diff = ask(&arguments.target.socket, async |client| client.history_diff(query).await)?;
    match arguments.target.format {
        Format::Json => output::print_json(&diff)?,
        Format::Table => output::print(&diff_text(&diff))?,
    }
    Ok(super::answer(!diff.text.is_empty()))
}

fn diff_text(diff: &HistoryDiff) -> String {
    let mut text = String::new();
    for change in &diff.changes {
        text.push_str(&format!("{change}\n"));
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text + &diff.text
}

/// `genkan history`.
pub(crate) fn history(arguments: &HistoryArguments) -> Result<Exit, Failure> {
    let history = ask(&arguments.target.socket, async |client| client.history().await)?;
    match arguments.target.format {
        Format::Json => output::print_json(&history)?,
        Format::Table => output::print(&history_text(&history))?,
    }
    Ok(Exit::Done)
}

fn history_text(history: &History) -> String {
    let mut listing = Listing::new(&["revision", "time", "by", "what"])
        .numbers(&[0])
        .shrinks(&[("what", 30), ("by", 8)])
        .drops(&["by", "time"]);
    for row in &history.entries {
        let time = genkan_config::rfc3339(UnixTime(row.time));
        listing.row([row.revision.to_string(), time, user(row.uid), row.what.clone()]);
    }
    let mut text = listing.text();
    if let Some(waiting) = &history.unconfirmed {
        text.push_str(&format!(
            "\nrevision {} goes back to {} in {} unless confirmed: genkan confirm\n",
            waiting.revision,
            waiting.back_to,
            output::duration(waiting.seconds_left)
        ));
    }
    if history.edited {
        text.push_str("\nthe file was edited by hand since; genkan reload takes it over\n");
    }
    text
}

/// Who asked for a change; nobody did what the router does by itself.
pub(super) fn user(uid: Option<u32>) -> String {
    let Some(uid) = uid else { return "genkan".to_owned() };
    let name = User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name);
    name.unwrap_or_else(|| format!("uid {uid}"))
}

#[cfg(test)]
mod tests {
    use genkan_control::api::{HistoryRow, Unconfirmed};

    use super::*;

    #[test]
    fn the_history_says_who_and_what() {
        let row = |revision, uid| HistoryRow {
            revision,
            time: 1_798_729_199,
            uid,
            pid: Some(7),
            what: "forward remove web: forward web: removed".to_owned(),
        };
        let mut history = History {
            revision: 12,
            unconfirmed: None,
            edited: false,
            entries: vec![row(12, Some(0)), row(11, None)],
        };
        let text = history_text(&history);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].contains("12  2026-12-31T14:59:59Z  root"), "{text}");
        assert!(lines[2].contains("genkan") && lines.len() == 3, "{text}");
        history.unconfirmed = Some(Unconfirmed { revision: 12, back_to: 11, seconds_left: 61 });
        history.edited = true;
        let text = history_text(&history);
        assert!(
            text.contains("revision 12 goes back to 11 in 1m1s") && text.contains("edited by hand"),
            "{text}"
        );
    }
}
