//! `genkan reload`: has the running router read its file again.

use genkan_control::api::ErrorCode;
use genkan_control::client::ClientError;

use super::{Target, block_on};
use crate::output::{self, Exit, Failure, Format};

const AFTER_HELP: &str = "\
All or nothing: a file with errors, or one that changes what needs a restart (devices, back ends, the TUN, the number
of workers), is refused as a whole; the old rules stay in force and the exit status is 1. Sessions that the change does
not concern go on. SIGHUP does the same and reports in the log.

Examples:
  genkan reload
  genkan reload --format json | jq '.changes'";

/// Have the running router read its configuration again
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: Target,
}

/// Does it.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let client = genkan_control::client::Client::new(&arguments.target.socket);
    let report = match block_on(client.reload())? {
        Ok(report) => report,
        Err(ClientError::Refused(body)) if body.code == ErrorCode::ReloadRefused => {
            let text =
                format!("{}\nreload refused, the old configuration stays in force", body.message.trim_end());
            return Err(Failure::report(Exit::No, text));
        }
        Err(error) => return Err(error.into()),
    };
    if arguments.target.format == Format::Json {
        output::print_json(&report)?;
        return Ok(Exit::Done);
    }
    if !report.warnings.is_empty() {
        output::remark(&report.warnings);
    }
    let mut text = format!("{}: in force", report.config);
    if report.changes.is_empty() {
        text.push_str(", nothing changed");
    }
    text.push('\n');
    for change in &report.changes {
        text.push_str(&format!("  {change}\n"));
    }
    output::print(&text)?;
    Ok(Exit::Done)
}
