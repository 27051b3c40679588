//! The log: how much is written, in which form, and where to. All of it may change while the router runs.

use std::io;
use std::os::fd::AsFd;

use genkan_config::{Log as Config, LogFormat, LogLevel};
use genkan_control::api::{EventKind, LogLevelReport, LogLevelSource};
use genkan_control::events::NewEvent;
use nix::sys::stat::fstat;
use tracing::field::display;
use tracing::{info, warn};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{fmt, reload};

use crate::output;

/// Says how much is logged, before the configuration.
const VARIABLE: &str = "GENKAN_LOG";

/// Writes what passes the filter.
type Writer = Box<dyn Layer<Registry> + Send + Sync>;
type Filtered = tracing_subscriber::layer::Layered<reload::Layer<Writer, Registry>, Registry>;

/// The log of this process.
pub(super) struct Log {
    writer: reload::Handle<Writer, Registry>,
    filter: reload::Handle<Targets, Filtered>,
    /// What the variable says.
    environment: Option<LogLevel>,
    config: Config,
    /// What somebody has set over the control socket.
    set: Option<LogLevel>,
}

/// Starts the log of a program that has no configuration: as [`VARIABLE`] says, in the form that suits standard error.
pub(crate) fn start_plainly() {
    let (level, format) = (LogLevel::default(), LogFormat::Auto);
    drop(Log::start(&Config { level, format, nat_events: None, nat_destinations: false }));
}

impl Log {
    /// Starts it. What is in the way of its form is told by [`Log::follow`], once there is somebody to tell.
    pub(super) fn start(config: &Config) -> Log {
        let (writer, writer_handle) = reload::Layer::new(writer(config.format).0);
        let (filter, filter_handle) = reload::Layer::new(targets(&config.level));
        // It fails only when a log is there already.
        let _ = tracing_subscriber::registry().with(writer).with(filter).try_init();
        let environment = std::env::var(VARIABLE).ok().and_then(|text| {
            let parsed = LogLevel::parse(&text);
            parsed.inspect_err(|error| warn!("{VARIABLE}={text} is left out of account: {error}")).ok()
        });
        let log = Log {
            writer: writer_handle,
            filter: filter_handle,
            environment,
            config: config.clone(),
            set: None,
        };
        log.apply();
        log
    }

    /// Does what the configuration says, whatever was set meanwhile. Returns what is in the way of that.
    pub(super) fn follow(&mut self, config: &Config) -> Option<String> {
        self.set = None;
        let (writer, problem) = writer(config.format);
        // Both fail only when nobody logs any more.
        let _ = self.writer.reload(writer);
        self.config = config.clone();
        self.apply();
        problem
    }

    /// Writes so much until [`Log::follow`].
    pub(super) fn set(&mut self, level: LogLevel) {
        self.set = Some(level);
        self.apply();
    }

    /// How much is written, and why.
    pub(super) fn level(&self) -> LogLevelReport {
        let otherwise = self.environment.as_ref().unwrap_or(&self.config.level);
        let set_by = match (&self.set, &self.environment) {
            (Some(_), _) => LogLevelSource::Request,
            (None, Some(_)) => LogLevelSource::Environment,
            (None, None) => LogLevelSource::Configuration,
        };
        LogLevelReport {
            level: self.set.as_ref().unwrap_or(otherwise).to_string(),
            set_by,
            otherwise: otherwise.to_string(),
        }
    }

    fn apply(&self) {
        let level = self.set.as_ref().or(self.environment.as_ref()).unwrap_or(&self.config.level);
        let _ = self.filter.reload(targets(level));
    }
}

/// The filter of a level. Its text is one that `tracing` takes.
fn targets(level: &LogLevel) -> Targets {
    level.to_string().parse().unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO))
}

/// What writes in this form; another one, and why, where that cannot be had.
fn writer(format: LogFormat) -> (Writer, Option<String>) {
    let named = std::env::var("JOURNAL_STREAM");
    let to_journal = named.is_ok_and(|named| leads_to_journal(&io::stderr(), &named));
    let format = match format {
        LogFormat::Auto if to_journal => LogFormat::Journald,
        LogFormat::Auto => LogFormat::Text,
        format => format,
    };
    let text = || {
        let text =
            fmt::layer().with_target(false).with_writer(io::stderr).with_ansi(output::color(&io::stderr()));
        // The journal has its own clock.
        if to_journal { text.without_time().boxed() } else { text.boxed() }
    };
    match format {
        LogFormat::Journald => match tracing_journald::layer() {
            // Otherwise what is of interest at `info` would be told as `notice`, and so on.
            Ok(layer) => (
                layer
                    .with_field_prefix(Some("GENKAN".to_owned()))
                    .with_priority_mappings(priorities())
                    .boxed(),
                None,
            ),
            Err(error) => (
                text(),
                Some(format!("the journal cannot be reached ({error}): the log goes to standard error")),
            ),
        },
        LogFormat::Json => (fmt::layer().json().flatten_event(true).with_writer(io::stderr).boxed(), None),
        LogFormat::Auto | LogFormat::Text => (text(), None),
    }
}

/// Those of syslog(3) that are called alike; `trace` has none of its own.
fn priorities() -> PriorityMappings {
    PriorityMappings {
        error: Priority::Error,
        warn: Priority::Warning,
        info: Priority::Informational,
        debug: Priority::Debug,
        trace: Priority::Debug,
    }
}

/// Whether this is the stream that `JOURNAL_STREAM` names (systemd.exec(5)): a program that a service has started may
/// have another one, and the service's variable all the same.
fn leads_to_journal(stream: &impl AsFd, named: &str) -> bool {
    fstat(stream).is_ok_and(|it| named == format!("{}:{}", it.st_dev, it.st_ino))
}

/// Tells an event, and how many like it went untold before.
pub(super) fn tell_event(event: &NewEvent, suppressed: u64) {
    let kind = event.kind.name();
    let (forward, port) = (event.forward.as_deref(), event.port.as_deref());
    let address = event.address.map(display);
    let suppressed = Some(suppressed).filter(|suppressed| *suppressed > 0);
    let message = &event.message;
    match event.kind {
        EventKind::ForwardHit
        | EventKind::ForwardOpened
        | EventKind::ForwardClosed
        | EventKind::ForwardExpired
        | EventKind::Lease => info!(kind, forward, port, address, suppressed, "{message}"),
        _ => warn!(kind, forward, port, address, suppressed, "{message}"),
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn the_journal_is_told_from_a_stream_of_ones_own() {
        let (one, other) = (io::pipe().expect("a pipe"), io::pipe().expect("a pipe"));
        let named = |stream: &io::PipeWriter| {
            let it = fstat(stream).expect("it is open");
            format!("{}:{}", it.st_dev, it.st_ino)
        };
        assert!(leads_to_journal(&one.1, &named(&one.1)));
        assert!(!leads_to_journal(&one.1, &named(&other.1)));
        assert!(!leads_to_journal(&one.1, ""));
    }

    #[test]
    fn every_level_is_a_filter() {
        for text in
            ["off", "error", "warn", "info", "debug", "trace", "genkan_io=off", "info,genkan::daemon=debug"]
        {
            let level = LogLevel::parse(text).expect("a level");
            assert_eq!(Ok(targets(&level)), text.parse().map_err(|_| ()), "{text}");
        }
        let parts = targets(&LogLevel::parse("warn,genkan::daemon=debug,genkan_io=off").expect("levels"));
        assert!(parts.would_enable("genkan::daemon::changes", &Level::DEBUG));
        assert!(parts.would_enable("genkan_control", &Level::WARN));
        assert!(!parts.would_enable("genkan_control", &Level::INFO));
        assert!(!parts.would_enable("genkan_io", &Level::ERROR));
    }
}
