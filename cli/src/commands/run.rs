//! `genkan run`: the router, in the foreground.

use std::path::PathBuf;

use super::configuration;
use crate::daemon::{self, Predecessor};
use crate::output::{Exit, Failure};

const AFTER_HELP: &str = "\
Runs in the foreground and logs as [log] of the configuration says (GENKAN_LOG=debug goes before its level). Tells systemd
when it is ready (Type=notify or notify-reload). SIGHUP reads the configuration again, SIGTERM and SIGINT end it and put
every device back as it was.
Wants CAP_NET_ADMIN and CAP_NET_RAW; an ordinary user has them in a namespace of his own.

Exit status: 0 ended by a signal, 1 could not start or go on, 2 the configuration has errors (nothing was changed).

Examples:
  sudo genkan run --config /etc/genkan/home.toml
  GENKAN_LOG=debug genkan run --config test.toml --socket /tmp/test.sock";

/// Be the router
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// The configuration to follow
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Control socket [default: the configuration's]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Go on where the running router stops, which starts this for `genkan upgrade`
    #[arg(long, hide = true)]
    take_over: bool,
}

/// Does it.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let predecessor = arguments.take_over.then(Predecessor::meet).transpose()?;
    let refusal = predecessor.as_ref().map(Predecessor::refusal);
    let outcome = configuration(&arguments.config).and_then(|loaded| {
        let socket = arguments.socket.clone().unwrap_or_else(|| loaded.config.socket.clone());
        daemon::run(&arguments.config, loaded, &socket, predecessor)
    });
    if let (Some(refusal), Err(failure)) = (refusal, &outcome) {
        refusal.send(failure.text());
    }
    outcome
}
