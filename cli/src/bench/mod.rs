//! `genkan bench`: how fast the router is, beside the kernel's own NAT.

mod engine;
#[allow(dead_code, reason = "metrics to come use the rest of it")]
mod network;
mod noise;
mod pinning;
mod report;
mod statistics;

use std::time::Duration;

use clap::ValueEnum;
use genkan_lab::{Sandbox, sandbox};

use self::network::contender::{Backend, Contender};
use self::network::metric::Test;
use self::network::run::{self, Plan};
use self::noise::Watch;
use self::report::{About, Delivery, Report};
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
    /// What to measure [default: everything]
    #[arg(long, value_name = "LIST", value_enum, value_delimiter = ',')]
    metrics: Vec<Test>,
    /// Turns of each contender
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Length of each measurement [default: 3; 0.25 with --engine]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: Option<u64>,
    /// Two rounds of one second
    #[arg(long, conflicts_with_all = ["rounds", "seconds"])]
    quick: bool,
    /// Leave out the kernel with GRO on its ports
    #[arg(long)]
    no_tuned: bool,
    #[command(flatten)]
    delivery: Delivery,
    #[command(flatten)]
    engine: engine::EngineArguments,
}

/// Does it.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    if arguments.engine.engine {
        let length = arguments.seconds.map_or(engine::Rounds::default().length, Duration::from_secs);
        let count = if arguments.quick { 2 } else { arguments.rounds };
        let rounds = engine::Rounds { count, length };
        return engine::run(&arguments.engine, rounds, &arguments.delivery);
    }
    match Sandbox::enter()? {
        Sandbox::Inside => inside(arguments),
        Sandbox::Ended(status) => std::process::exit(sandbox::exit_code(status).into()),
    }
}

fn inside(arguments: &Arguments) -> Result<Exit, Failure> {
    let plan = plan(arguments);
    let about = About::here("private network namespaces");
    let watch = Watch::start()?;
    arguments.delivery.admit(&watch.before())?;
    let metrics = run::run(&plan)?;
    let noise = watch.finish(&metrics, arguments.delivery.force)?;
    let settings = vec![
        ("rounds".to_owned(), plan.rounds.to_string()),
        ("seconds".to_owned(), plan.length.as_secs().to_string()),
    ];
    arguments.delivery.deliver(&Report { about, settings, metrics, notes: Vec::new(), noise })
}

fn plan(arguments: &Arguments) -> Plan {
    let tests = match arguments.metrics.as_slice() {
        [] => Test::value_variants(),
        some => some,
    };
    let mut contenders = vec![Contender::Genkan(Backend::AfPacket), Contender::Kernel];
    if !arguments.no_tuned {
        contenders.push(Contender::KernelTuned);
    }
    let (rounds, seconds) =
        if arguments.quick { (2, 1) } else { (arguments.rounds, arguments.seconds.unwrap_or(3)) };
    Plan { tests: tests.to_vec(), contenders, rounds, length: Duration::from_secs(seconds) }
}
