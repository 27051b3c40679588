//! One subcommand each: its arguments with their help, and what it does.

pub(crate) mod audit;
pub(crate) mod capture;
pub(crate) mod change;
pub(crate) mod check;
pub(crate) mod conformance;
pub(crate) mod counters;
pub(crate) mod ddns;
pub(crate) mod dmz;
pub(crate) mod dns;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod forward;
pub(crate) mod forwards;
pub(crate) mod help_files;
pub(crate) mod history;
pub(crate) mod hosts;
pub(crate) mod lab;
pub(crate) mod leases;
pub(crate) mod listing;
pub(crate) mod log_level;
pub(crate) mod reflector;
pub(crate) mod reload;
pub(crate) mod replay;
pub(crate) mod run;
pub(crate) mod status;
pub(crate) mod test;
pub(crate) mod top;
pub(crate) mod trace;
pub(crate) mod upgrade;

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};

use genkan_config::Loaded;
use genkan_control::client::{Client, ClientError};
use tokio::signal::unix::{SignalKind, signal};

use crate::output::{self, Exit, Failure, Format};

/// Which router to ask, and how to answer.
#[derive(Debug, clap::Args)]
pub(crate) struct Target {
    /// Control socket of the router to ask
    #[arg(long, value_name = "PATH", default_value = genkan_control::DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
    /// Shape of the answer
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// Reads a configuration that has to be right. Its warnings go to standard error, its errors are the failure.
pub(crate) fn configuration(path: &Path) -> Result<Loaded, Failure> {
    let color = output::color(&io::stderr());
    match genkan_config::load(path) {
        Ok(loaded) => {
            let warnings = genkan_config::render(&loaded.warnings, color);
            if !warnings.is_empty() {
                output::remark(&warnings);
            }
            Ok(loaded)
        }
        Err(errors) => Err(Failure::report(Exit::Misuse, genkan_config::render(&errors, color))),
    }
}

/// Runs a question to a router to its end, on this thread.
fn ask<T>(
    socket: &PathBuf,
    question: impl AsyncFnOnce(Client) -> Result<T, ClientError>,
) -> Result<T, Failure> {
    Ok(block_on(question(Client::new(socket)))??)
}

fn block_on<F: Future>(future: F) -> Result<F::Output, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new("cannot start the event loop", &error))?;
    Ok(runtime.block_on(future))
}

/// Somebody wants an end: by Ctrl-C, by `kill`, by closing the terminal.
async fn interrupted() {
    let heard = |kind| async move {
        match signal(kind) {
            Ok(mut signal) => signal.recv().await,
            // Then it ends the process, as signals do.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = heard(SignalKind::interrupt()) => {}
        _ = heard(SignalKind::terminate()) => {}
        _ = heard(SignalKind::hangup()) => {}
    }
}

/// The answer to a yes-no question.
fn answer(yes: bool) -> Exit {
    if yes { Exit::Done } else { Exit::No }
}
