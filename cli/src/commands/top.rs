//! `genkan top`: what the router does, as it happens.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::time::Duration;

use genkan_control::client::Client;

use super::{Target, block_on};
use crate::output::{self, Exit, Failure, Format};
use crate::top;

const AFTER_HELP: &str = "\
Keys: Tab or 1-4 overview, hosts, forwards, drops; s, S sort by another column, r the other way round; / filter; p pause;
+, - read less or more often; arrows scroll; ? help; q quit.

Without a terminal, on one that knows no cursor (TERM=dumb), and with --format json, it reads twice, an interval apart, and prints once. Frames are counted as the
devices give them: a super-frame counts once. Octets are counted by port and by forward; what hosts send and get by the wan
is an estimate from a part of the packets.

Examples:
  genkan top
  genkan top --interval 5
  genkan top --format json | jq '.ports[] | [.port, .rx_bits_per_second]'";

/// Watch the router: throughput, packets, sessions, drops, busiest hosts and forwards
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: Target,
    /// Seconds between two readings, 0.1 to 3600
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    interval: Duration,
    /// Rows of each kind when there is no terminal
    #[arg(long, value_name = "ROWS", default_value_t = 20)]
    rows: usize,
}

fn interval(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds is accepted".to_owned())?;
    match (0.1..=3_600.0).contains(&seconds) {
        true => Ok(Duration::from_secs_f64(seconds)),
        false => Err("0.1 to 3600 seconds are accepted".to_owned()),
    }
}

/// Does it.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let client = Client::new(&arguments.target.socket);
    let interval = arguments.interval;
    if arguments.target.format == Format::Json {
        output::print_json(&block_on(top::snapshot(&client, interval))??)?;
    } else if io::stdout().is_terminal() && !is_dumb(std::env::var_os("TERM")) {
        return block_on(top::watch(client, interval))?;
    } else {
        output::print(&block_on(top::text(&client, interval, arguments.rows))??)?;
    }
    Ok(Exit::Done)
}

/// A terminal that knows no cursor gets what a pipe gets.
fn is_dumb(term: Option<OsString>) -> bool {
    term.is_none_or(|term| term.is_empty() || term == "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_have_bounds() {
        assert_eq!(interval("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["0", "-1", "inf", "NaN", "1e9", "fast", "3601"] {
            assert!(interval(wrong).is_err(), "{wrong}");
        }
    }
}
