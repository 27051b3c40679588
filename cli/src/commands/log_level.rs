//! `genkan log-level`: how much the running router logs.

use genkan_config::LogLevel;
use genkan_control::api::{LogLevelReport, LogLevelSource};

use super::{Target, ask};
use crate::output::{self, Exit, Failure, Format};

const AFTER_HELP: &str = "\
A level is off, error, warn, info, debug or trace, or several by part of the program: info,genkan_control=debug. It holds
until `genkan reload`, an upgrade or a restart; the configuration (`[log] level`) stays as it is.

Examples:
  genkan log-level
  genkan log-level debug
  genkan log-level info,genkan::daemon::devices=debug
  genkan reload                    what the file says again";

/// Show or set how much the running router logs
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// So much from now on
    #[arg(value_name = "LEVEL", value_parser = LogLevel::parse)]
    level: Option<LogLevel>,
    #[command(flatten)]
    target: Target,
}

/// Does it.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let report = ask(&arguments.target.socket, async |client| match &arguments.level {
        Some(level) => client.set_log_level(&level.to_string()).await,
        None => client.log_level().await,
    })?;
    match arguments.target.format {
        Format::Json => output::print_json(&report)?,
        Format::Table => output::print(&text(&report))?,
    }
    Ok(Exit::Done)
}

fn text(report: &LogLevelReport) -> String {
    let LogLevelReport { level, set_by, otherwise } = report;
    match set_by {
        LogLevelSource::Configuration => format!("{level} (configuration)\n"),
        LogLevelSource::Environment => format!("{level} (GENKAN_LOG)\n"),
        LogLevelSource::Request => {
            format!("{level} (set while it runs; {otherwise} again with the next reload)\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_who_says_so() {
        let report =
            |set_by| LogLevelReport { level: "debug".to_owned(), set_by, otherwise: "info".to_owned() };
        assert_eq!(text(&report(LogLevelSource::Configuration)), "debug (configuration)\n");
        assert_eq!(text(&report(LogLevelSource::Environment)), "debug (GENKAN_LOG)\n");
        let set = "debug (set while it runs; info again with the next reload)\n";
        assert_eq!(text(&report(LogLevelSource::Request)), set);
    }
}
