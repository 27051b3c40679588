//! `genkan dmz`: the inside host that gets what nobody else takes.

use clap::Subcommand;

use super::change::Options;
use crate::output::{Exit, Failure};

const AFTER_HELP: &str = "\
The DMZ host gets every packet from outside that no session, forward or mapping takes. It is open to everybody.

Examples:
  genkan dmz set 192.168.0.50 --confirm 60s
  genkan dmz clear";

/// Set or clear the DMZ host of the running router
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Send everything that nobody else takes to this host
    Set {
        /// Its address, or the name of its `[[host]]`
        #[arg(value_name = "HOST")]
        to: String,
        #[command(flatten)]
        options: Options,
    },
    /// Drop what nobody takes; the DMZ host's sessions end
    Clear {
        #[command(flatten)]
        options: Options,
    },
}

/// Does it.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    match &arguments.action {
        Action::Set { to, options } => options.change(async |client, query| client.set_dmz(to, query).await),
        Action::Clear { options } => options.change(async |client, query| client.clear_dmz(query).await),
    }
}
