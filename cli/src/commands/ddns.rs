//! `genkan ddns`: names outside that follow the wan address.

use genkan_control::api::{DdnsFamily, DdnsRow, DdnsState, ErrorCode};
use genkan_control::client::{Client, ClientError};
use genkan_engine::UnixTime;
use genkan_services::ddns::Family;

use super::listing::print_listing;
use super::{Target, answer, block_on};
use crate::output::{self, Exit, Failure, Format, Listing};

const AFTER_HELP: &str = "\
States: good (it has the address), waiting (it is about to get it, or there is none yet), failed (it is tried again at the
time told), stopped (it is not tried again before somebody has changed something, or says `genkan ddns update`).

Exit status: 0 every name is good, 1 one is not.

Examples:
  genkan ddns
  genkan ddns update home.example.net       try again, also what was stopped
  genkan ddns --format json | jq -r '.[] | select(.state != \"good\") | .reason'";

/// List the names outside that follow the wan address, and how they stand
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP, args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Try again to update a name, in both families, with the others of its account
    Update(UpdateArguments),
}

const UPDATE_HELP: &str = "\
Also what was stopped, after a wrong password for example. A name that is good is looked up, and sent if it leads
elsewhere. The service's least interval between updates holds all the same, so this may have to wait.

Examples:
  genkan ddns update home.example.net && genkan ddns";

#[derive(Debug, clap::Args)]
#[command(after_help = UPDATE_HELP)]
struct UpdateArguments {
    /// The name
    name: String,
    #[command(flatten)]
    target: Target,
}

/// Does it.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    match &arguments.action {
        Some(Action::Update(arguments)) => update(arguments),
        None => list(&arguments.target),
    }
}

fn list(target: &Target) -> Result<Exit, Failure> {
    let rows = super::ask(&target.socket, async |client| client.ddns().await)?;
    match target.format {
        Format::Json => output::print_json(&rows)?,
        Format::Table => {
            let mut listing = listing();
            rows.iter().for_each(|row| listing.row(cells(row)));
            print_listing(&listing, "none: there is no [[ddns]]")?;
        }
    }
    Ok(answer(rows.iter().all(|row| row.state == DdnsState::Good)))
}

fn update(arguments: &UpdateArguments) -> Result<Exit, Failure> {
    let client = Client::new(&arguments.target.socket);
    match block_on(client.update_ddns(&arguments.name))? {
        Ok(row) => {
            match arguments.target.format {
                Format::Json => output::print_json(&row)?,
                Format::Table => output::print(&format!("{}: it is tried again\n", row.name))?,
            }
            Ok(Exit::Done)
        }
        Err(ClientError::Refused(body)) if body.code == ErrorCode::NotFound => {
            Err(Failure::message(body.message))
        }
        Err(error) => Err(error.into()),
    }
}

fn listing() -> Listing {
    Listing::new(&["name", "family", "state", "address", "since", "next attempt", "provider", "reason"])
        .shrinks(&[("reason", 24), ("name", 16)])
        .drops(&["provider", "since", "next attempt"])
}

fn cells(row: &DdnsRow) -> Vec<String> {
    let time = |at: Option<i64>| at.map_or_else(dash, |at| genkan_config::rfc3339(UnixTime(at)));
    vec![
        row.name.clone(),
        row.family.name().to_owned(),
        row.state.name().to_owned(),
        row.address.map_or_else(dash, |address| address.to_string()),
        time(row.since),
        time(row.next_attempt),
        row.provider.clone(),
        row.reason.clone().unwrap_or_else(dash),
    ]
}

/// Which of its addresses a listed name is about.
pub(crate) fn family(row: &DdnsRow) -> Family {
    match row.family {
        DdnsFamily::V4 => Family::V4,
        DdnsFamily::V6 => Family::V6,
    }
}

/// What a listed name is called outside of a table.
pub(crate) fn called(row: &DdnsRow) -> String {
    family(row).called(&row.name)
}

fn dash() -> String {
    "-".to_owned()
}
