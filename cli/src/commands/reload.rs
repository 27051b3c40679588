//! `genkan reload`: has the running router read its file again.

use super::change::Options;
use crate::output::{Exit, Failure};

const AFTER_HELP: &str = "\
All or nothing: a file with errors, or one that changes what needs a restart (devices, back ends, the TUN, the number
of workers), is refused as a whole; the old rules stay in force and the exit status is 1. Sessions that the change does
not concern go on. SIGHUP does the same and reports in the log.

Examples:
  genkan reload
  genkan reload --dry-run
  genkan reload --confirm 60s && genkan confirm
  genkan reload --format json | jq '.changes'";

/// Have the running router read its configuration again
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    options: Options,
}

/// Does it.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    arguments.options.change(async |client, query| client.reload(query).await)
}
