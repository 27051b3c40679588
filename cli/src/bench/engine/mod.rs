//! `genkan bench --engine`: what the packet core alone costs, on one CPU, without a network.
//!
//! Frames are written into memory, which is not timed, and handed to the router in batches of 64, which is. What a
//! back end does to receive and send them is left out.

mod capture;
mod scaling;
mod stopwatch;
mod synthetic;

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use super::noise::Watch;
use super::pinning::{Pinned, allowed_cpus};
use super::report::{About, Better, CpuSituation, Delivery, Goal, Measure, Metric, Report, Series, Unit};
use crate::commands::configuration;
use crate::output::{Exit, Failure};

/// Most sessions that can be asked for; each has its own numbers in the synthetic network.
const MAX_SESSIONS: u32 = 50_000_000;

/// What to measure of the engine.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Engine")]
pub(crate) struct EngineArguments {
    /// Measure the packet core alone on one CPU, without a network
    #[arg(long, conflicts_with_all = ["metrics", "no_tuned"])]
    pub(crate) engine: bool,
    /// Sessions in the table, several sizes after commas
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        value_parser = sessions,
        default_values = ["1k", "64k", "1M"],
        requires = "engine"
    )]
    sessions: Vec<u32>,
    /// Octets of a frame without FCS
    #[arg(
        long,
        value_name = "OCTETS",
        default_value_t = 64,
        value_parser = clap::value_parser!(u16).range(60..=1514),
        requires = "engine"
    )]
    size: u16,
    /// Where packets come from
    #[arg(long, value_enum, default_value_t, requires = "engine")]
    direction: Direction,
    /// Part of the sessions that is TCP, in percent; the rest is UDP
    #[arg(
        long,
        value_name = "PERCENT",
        default_value_t = 0,
        value_parser = clap::value_parser!(u8).range(0..=100),
        requires = "engine"
    )]
    tcp: u8,
    /// Part of the outbound packets that open a session, in percent
    #[arg(
        long,
        value_name = "PERCENT",
        default_value_t = 0,
        value_parser = clap::value_parser!(u8).range(0..=100),
        requires = "engine"
    )]
    new: u8,
    /// Port forwards, several numbers after commas: what a session through one of so many costs
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        value_parser = clap::value_parser!(u16).range(1..=60_000),
        default_values = ["1", "10000"],
        requires = "engine"
    )]
    forwards: Vec<u16>,
    /// Workers, several counts after commas: what they forward together, measured while there is a CPU for each, by a
    /// model beyond
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        value_parser = scaling::count,
        requires = "engine",
        conflicts_with = "pcap"
    )]
    workers: Vec<u8>,
    /// Send the frames of this capture (pcap or pcapng) instead of synthetic ones, in a loop
    #[arg(
        long,
        value_name = "FILE",
        requires_all = ["engine", "config"],
        conflicts_with_all = ["sessions", "size", "direction", "tcp", "new", "forwards"]
    )]
    pcap: Option<PathBuf>,
    /// Configuration of the router that gets the capture
    #[arg(long, value_name = "FILE", requires = "pcap")]
    config: Option<PathBuf>,
    /// Port where the capture comes in: `wan` or the name of a lan [default: the first lan]
    #[arg(long, value_name = "NAME", requires = "pcap")]
    port: Option<String>,
}

/// Where packets come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Direction {
    /// From the lan
    Outbound,
    /// From the wan
    Inbound,
    /// Batches from both in turn
    #[default]
    Both,
}

/// What all times here are of.
const SCOPE: &str =
    "Timed is only the engine, in batches of 64 on one CPU; receiving and sending are left out.";

/// Rounds, and how long each of them is for each series.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rounds {
    pub(crate) count: u32,
    pub(crate) length: Duration,
}

impl Default for Rounds {
    fn default() -> Rounds {
        Rounds { count: 5, length: Duration::from_millis(250) }
    }
}

/// Metrics, and what has to be said about them.
struct Measured {
    metrics: Vec<Metric>,
    notes: Vec<String>,
    settings: Vec<(String, String)>,
}

/// Does it.
pub(crate) fn run(arguments: &EngineArguments, rounds: Rounds, delivery: &Delivery) -> Result<Exit, Failure> {
    let about = About::here("one pinned CPU, no network");
    let watch = Watch::start()?;
    delivery.admit(&watch.before())?;
    // The first CPUs get most interrupts.
    let cpus = allowed_cpus()?;
    let cpu = cpus.last().copied().unwrap_or_default();
    let mut measured = {
        let _pinned = Pinned::to(cpu)?;
        match (&arguments.pcap, &arguments.config) {
            (Some(pcap), Some(config)) => {
                let plan = configuration(config)?.supposed().plan;
                capture::measure(pcap, plan, arguments.port.as_deref(), rounds)?
            }
            _ => synthetic::measure(arguments, rounds)?,
        }
    };
    if !arguments.workers.is_empty() {
        scaling::measure(&arguments.workers, &cpus, rounds, &mut measured);
    }
    let mut settings = vec![
        ("rounds".to_owned(), rounds.count.to_string()),
        ("milliseconds of each".to_owned(), rounds.length.as_millis().to_string()),
        ("CPU".to_owned(), cpu.to_string()),
    ];
    settings.extend(measured.settings);
    let noise = watch.finish(&measured.metrics, delivery.force)?;
    let report = Report { about, settings, metrics: measured.metrics, notes: measured.notes, noise };
    delivery.deliver(&report)
}

/// A metric of the engine, to be filled: nanoseconds, or packets per second.
fn metric(key: &'static str, title: &str, unit: Unit) -> Metric {
    let better = if unit == Unit::Nanoseconds { Better::Lower } else { Better::Higher };
    let cpu = CpuSituation::EngineAlone;
    Metric { key, title: title.to_owned(), unit, better, cpu, series: Vec::new() }
}

fn series(name: &str, goal: Option<f64>, rounds: Vec<f64>) -> Series {
    let goals = goal.map(|must| Goal { of: Measure::Median, must, stretch: None }).into_iter().collect();
    Series { contender: name.to_owned(), goals, rounds }
}

/// Reads `1000`, `64k` or `10M`.
fn sessions(text: &str) -> Result<u32, String> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'k') => (&text[..text.len() - 1], 1_000),
        Some(b'M') => (&text[..text.len() - 1], 1_000_000),
        _ => (text, 1),
    };
    let count = digits.parse::<u32>().ok().and_then(|number| number.checked_mul(unit));
    count
        .filter(|count| (1..=MAX_SESSIONS).contains(count))
        .ok_or_else(|| format!("a number from 1 to {}M is needed, such as 64k", MAX_SESSIONS / 1_000_000))
}

/// A number as people say it: the inverse of [`sessions`].
fn spoken(count: u32) -> String {
    match count {
        0 => "0".to_owned(),
        _ if count.is_multiple_of(1_000_000) => format!("{}M", count / 1_000_000),
        _ if count.is_multiple_of(1_000) => format!("{}k", count / 1_000),
        _ => count.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_read_and_said() {
        for (text, count) in [("1", 1), ("1000", 1_000), ("64k", 64_000), ("10M", 10_000_000)] {
            assert_eq!(sessions(text), Ok(count));
        }
        for wrong in ["", "k", "0", "51M", "9999999k", "1.5M", "-1", "1G", "µ"] {
            assert!(sessions(wrong).is_err(), "{wrong}");
        }
        let said = [1, 1_000, 64_000, 1_500_000, 10_000_000].map(spoken);
        assert_eq!(said, ["1", "1k", "64k", "1500k", "10M"]);
    }
}
