//! `genkan upgrade`: has the program that is installed now take over from the running one.

use std::time::{Duration, Instant};

use genkan_control::api::{ErrorCode, UpgradeReport};
use genkan_control::client::{Client, ClientError};

use super::{Target, block_on};
use crate::output::{self, Exit, Failure, Format};

const AFTER_HELP: &str = "\
Install the new program first, at the path that the running one was started from. It is started beside the running one,
makes everything ready, and then goes on where that stops: sessions go on, and packets that arrive in the moment between
wait for it. Where it does not get ready (another kind of program, a configuration that it refuses, a crash), the running
one goes on, the reason is told, and the exit status is 1.

systemd is told of the new process. Under another supervisor, the process that it has started stays and passes signals on.

Examples:
  sudo apt install ./genkan_0.2.0_amd64.deb && sudo genkan upgrade
  genkan upgrade --format json | jq .pause_micros";

/// How long the new program may take until it answers.
const PATIENCE: Duration = Duration::from_secs(10);

/// Have a newly installed program take over, with all sessions
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: Target,
}

/// Does it.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let client = Client::new(&arguments.target.socket);
    let report = match block_on(client.upgrade())? {
        Ok(report) => report,
        Err(ClientError::Refused(body)) if body.code == ErrorCode::UpgradeRefused => {
            let text = format!("{}\nupgrade refused: the running program goes on", body.message.trim_end());
            return Err(Failure::report(Exit::No, text));
        }
        Err(error) => return Err(error.into()),
    };
    if !block_on(answers(&client, &report))? {
        let text = format!(
            "process {} has taken over but does not answer, or has ended; its log may say why",
            report.pid
        );
        return Err(Failure::report(Exit::No, text));
    }
    if arguments.target.format == Format::Json {
        output::print_json(&report)?;
    } else {
        output::print(&text(&report))?;
    }
    Ok(Exit::Done)
}

/// Waits until the new program answers.
async fn answers(client: &Client, report: &UpgradeReport) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        match client.status().await {
            // It may have a successor already.
            Ok(status) if status.upgrades >= report.upgrades => return true,
            // From one program to the next there is always somebody who listens: it has ended.
            Err(ClientError::NotRunning { .. }) => return false,
            Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
    false
}

fn text(report: &UpgradeReport) -> String {
    let UpgradeReport { program, from, to, pid, sessions, not_taken, pause_micros, .. } = report;
    let lost = if *not_taken == 0 { String::new() } else { format!(", {not_taken} were not (see the log)") };
    let pause = *pause_micros as f64 / 1_000.0;
    format!(
        "{program}: version {from} -> {to}, process {pid}\n{sessions} sessions were taken over{lost}; packets waited \
         for {pause:.1} ms\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_is_said() {
        let mut report = UpgradeReport {
            program: "/usr/lib/genkan/genkan".to_owned(),
            from: "0.1.0".to_owned(),
            to: "0.2.0".to_owned(),
            pid: 77,
            upgrades: 1,
            sessions: 1_000,
            not_taken: 0,
            pause_micros: 4_260,
        };
        assert_eq!(
            text(&report),
            "/usr/lib/genkan/genkan: version 0.1.0 -> 0.2.0, process 77\n1000 sessions were taken over; packets waited \
             for 4.3 ms\n"
        );
        report.not_taken = 2;
        assert!(text(&report).contains("taken over, 2 were not"), "{}", text(&report));
    }
}
