//! `genkan bench`: how fast the router is, beside the kernel's own NAT.

mod engine;
mod network;
mod noise;
mod pinning;
mod report;
mod statistics;

use std::time::Duration;

pub(crate) use self::network::contender::kernel_nat;
use self::report::Delivery;
use crate::output::{Exit, Failure};

const AFTER_HELP: &str = "\
Builds namespaces of its own, needs no root where user namespaces are allowed, and leaves nothing behind. The
contenders take turns, and ratios are of medians. On veth the kernel's NAT works on the sender's CPU, Genkan on one of
its own: a ratio depends on whether that one is free, so it is said beside each.

Examples:
  genkan bench                               everything, some ten minutes
  genkan bench --quick                       a first impression, a minute or two
  genkan bench --metrics pps1k,tcp1          only these
  genkan bench --json >bench.json            the numbers of every round
  genkan bench --html bench.html             a page with charts
  genkan bench --engine --sessions 1k,1M     the packet core alone
  genkan bench --engine --pcap lan.pcap --config home.toml";

/// Measure the router beside the kernel's own NAT
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    options: network::options::Options,
    #[command(flatten)]
    turns: Turns,
    #[command(flatten)]
    delivery: Delivery,
    #[command(flatten)]
    engine: engine::EngineArguments,
}

/// How often, how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Turns {
    /// Turns of each contender [default: 5, or 2 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Length of each measurement [default: 3, or 1 with --quick; 0.25 with --engine]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: Option<u64>,
    /// A first impression
    #[arg(long)]
    quick: bool,
}

impl Turns {
    fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 2 } else { 5 })
    }

    /// The length that was asked for.
    fn length(&self) -> Option<Duration> {
        self.seconds.map(Duration::from_secs)
    }

    /// The length of a measurement on networks.
    fn length_on_networks(&self) -> Duration {
        self.length().unwrap_or(Duration::from_secs(if self.quick { 1 } else { 3 }))
    }
}

/// Does it.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    if arguments.engine.engine {
        let length = arguments.turns.length().unwrap_or(engine::Rounds::default().length);
        let rounds = engine::Rounds { count: arguments.turns.rounds(), length };
        return engine::run(&arguments.engine, rounds, &arguments.delivery);
    }
    network::run(&arguments.options, &arguments.turns, &arguments.delivery)
}
