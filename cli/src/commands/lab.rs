//! `genkan lab`: an internet host, a router and lan hosts as namespaces.

use crate::output::{Exit, Failure};

/// Try the router in network namespaces
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {}

/// Does it.
pub(crate) fn run(_arguments: &Arguments) -> Result<Exit, Failure> {
    Err(Failure::message("this build has no lab"))
}
