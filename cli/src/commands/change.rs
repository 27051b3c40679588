//! What all commands have in common that change the running configuration.

use std::time::Duration;

use genkan_control::api::{ChangeQuery, ChangeReport, ErrorBody, ErrorCode};
use genkan_control::client::{Client, ClientError};

use super::{Target, block_on};
use crate::output::{self, Exit, Failure, Format};

/// How to change.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Only say what would change
    #[arg(long)]
    dry_run: bool,
    /// Go back by itself after this time unless `genkan confirm` comes, such as 60s
    #[arg(long, value_name = "TIME", value_parser = confirm_time)]
    confirm: Option<Duration>,
    /// Refuse if another revision is in force than this one
    #[arg(long, value_name = "NUMBER")]
    revision: Option<u64>,
}

fn confirm_time(text: &str) -> Result<Duration, String> {
    let time = genkan_config::duration(text)?;
    let longest = genkan_control::api::MAX_CONFIRM_SECONDS;
    if time.as_secs() > longest.into() { Err("it is longer than a day".to_owned()) } else { Ok(time) }
}

impl Options {
    /// Asks for the change and tells what came of it.
    pub(crate) fn change(
        &self,
        ask: impl AsyncFnOnce(&Client, &ChangeQuery) -> Result<ChangeReport, ClientError>,
    ) -> Result<Exit, Failure> {
        let query = ChangeQuery {
            dry_run: self.dry_run,
            // At most a day.
            confirm_seconds: self.confirm.map(|time| time.as_secs() as u32),
            revision: self.revision,
        };
        let client = Client::new(&self.target.socket);
        let report = block_on(ask(&client, &query))?.map_err(failure)?;
        if self.target.format == Format::Json {
            output::print_json(&report)?;
            return Ok(Exit::Done);
        }
        if !report.warnings.is_empty() {
            output::remark(&report.warnings);
        }
        output::print(&text(&report))?;
        Ok(Exit::Done)
    }
}

/// Why it was not done. What the router refuses as a configuration is shown as `check` does.
pub(crate) fn failure(error: ClientError) -> Failure {
    let ClientError::Refused(ErrorBody { code, message }) = error else { return error.into() };
    match code {
        ErrorCode::ReloadRefused => {
            let text =
                format!("{}\nreload refused, the old configuration stays in force", message.trim_end());
            Failure::report(Exit::No, text)
        }
        ErrorCode::ChangeRefused => {
            Failure::report(Exit::No, format!("{}\nrefused, nothing was changed", message.trim_end()))
        }
        _ => Failure::message(message),
    }
}

fn text(report: &ChangeReport) -> String {
    let mut text = match (report.dry_run, report.changes.is_empty()) {
        (true, true) => format!("{}: nothing would change\n", report.config),
        (true, false) => format!("{}: would change:\n", report.config),
        (false, true) => {
            format!("{}: revision {} in force, nothing changed\n", report.config, report.revision)
        }
        (false, false) => format!("{}: revision {} in force\n", report.config, report.revision),
    };
    for change in &report.changes {
        text.push_str(&format!("  {change}\n"));
    }
    if let Some(seconds) = report.confirm_seconds {
        text.push_str(&format!(
            "goes back by itself in {} unless confirmed: genkan confirm\n",
            output::duration(seconds.into())
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_say_what_is_in_force() {
        let mut report = ChangeReport {
            config: "home.toml".to_owned(),
            revision: 7,
            changes: vec!["forward web: removed".to_owned()],
            confirm_seconds: Some(90),
            ..ChangeReport::default()
        };
        let expected = "home.toml: revision 7 in force\n  forward web: removed\n\
            goes back by itself in 1m30s unless confirmed: genkan confirm\n";
        assert_eq!(text(&report), expected);
        report.confirm_seconds = None;
        report.dry_run = true;
        assert_eq!(text(&report), "home.toml: would change:\n  forward web: removed\n");
        report.changes.clear();
        assert_eq!(text(&report), "home.toml: nothing would change\n");
    }

    #[test]
    fn a_confirmation_comes_within_a_day() {
        assert_eq!(confirm_time("60s"), Ok(Duration::from_secs(60)));
        assert!(confirm_time("60").is_err() && confirm_time("2d").is_err());
    }
}
