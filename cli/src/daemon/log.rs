//! The log: where it goes, and how events are told in it.

use std::io::{self, IsTerminal};

use genkan_engine::Event;
use genkan_engine::frame::PortId;
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

use crate::events::Describe;
use crate::output;

/// Starts it. `GENKAN_LOG` says how much is logged.
pub(super) fn start() {
    let filter = EnvFilter::try_from_env("GENKAN_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_writer(io::stderr)
        .with_ansi(output::color(&io::stderr()));
    // The journal has its own clock.
    let to_journal = std::env::var_os("JOURNAL_STREAM").is_some() && !io::stderr().is_terminal();
    // It fails only when a log is there already.
    let _ = if to_journal { log.without_time().try_init() } else { log.try_init() };
}

/// Tells an event, and how many like it went untold before.
pub(super) fn tell_event(event: &Event, ports: &[(PortId, String)], suppressed: u64) {
    let text = Describe { event, ports };
    let more = if suppressed > 0 { format!(" (and {suppressed} like it before)") } else { String::new() };
    match event {
        Event::ForwardHit { .. }
        | Event::ForwardOpened { .. }
        | Event::ForwardClosed { .. }
        | Event::ForwardExpired { .. } => info!("{text}{more}"),
        _ => warn!("{text}{more}"),
    }
}
