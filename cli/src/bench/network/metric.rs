//! What is measured: names, units and expectations.

use clap::ValueEnum;

use super::contender::{Backend, Contender};
use crate::bench::report::{Better, CpuSituation, Goal, Measure, Metric, Unit};

/// One kind of measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Test {
    /// TCP, 1 stream
    Tcp1,
    /// TCP, 4 streams
    Tcp4,
    /// TCP, 1 stream, no segmentation offloads at the hosts
    Tcp1off,
    /// 64-byte packets of 1,000 flows in turn, one sender
    Pps1k,
    /// The same, with a sender on every CPU
    #[value(name = "pps1k_loaded")]
    Pps1kLoaded,
    /// 64-byte packets in bursts of 32 per flow
    Ppsb,
}

/// One value that a test yields.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value {
    /// Its name for programs.
    pub(crate) key: &'static str,
    title: &'static str,
    unit: Unit,
    better: Better,
    cpu: CpuSituation,
}

impl Test {
    /// Its name on the command line.
    pub(crate) fn key(self) -> &'static str {
        self.values()[0].key
    }

    /// What it yields, in this order.
    pub(crate) fn values(self) -> Vec<Value> {
        let higher = |key, title, unit, cpu| Value { key, title, unit, better: Better::Higher, cpu };
        let bits = |key, title| higher(key, title, Unit::BitsPerSecond, CpuSituation::CoreFree);
        let packets = |key, title, cpu| higher(key, title, Unit::PacketsPerSecond, cpu);
        let work =
            |key, title, cpu| Value { key, title, unit: Unit::Nanoseconds, better: Better::Lower, cpu };
        let (free, loaded) = (CpuSituation::CoreFree, CpuSituation::AllLoaded);
        match self {
            Test::Tcp1 => vec![bits("tcp1", "TCP, 1 stream")],
            Test::Tcp4 => vec![bits("tcp4", "TCP, 4 streams")],
            Test::Tcp1off => vec![bits("tcp1off", "TCP, 1 stream, hosts without offloads")],
            Test::Pps1k => vec![
                packets("pps1k", "64-byte UDP, 1,000 flows, one sender", free),
                work("pps1k_cpu", "CPU time of the machine per packet of pps1k, sender included", free),
            ],
            Test::Pps1kLoaded => vec![packets(
                "pps1k_loaded",
                "64-byte UDP, 1,000 flows per CPU, a sender on each CPU",
                loaded,
            )],
            Test::Ppsb => vec![packets("ppsb", "64-byte UDP in bursts of 32 per flow, one sender", free)],
        }
    }

    /// Whether each measurement needs a router that has just been started.
    pub(crate) fn wants_fresh_tables(self) -> bool {
        false
    }
}

/// What issue and documentation promise for AF_PACKET on veth: key, bounds of the ratio to the kernel.
const AF_PACKET: [(&str, f64, f64); 6] = [
    ("tcp1", 0.95, 1.05),
    ("tcp4", 0.45, 0.6),
    ("tcp1off", 2.5, 3.5),
    ("pps1k", 1.7, 2.2),
    ("pps1k_loaded", 0.6, 1.0),
    ("ppsb", 2.5, 4.0),
];

impl Value {
    /// As the report has it, without values.
    pub(crate) fn metric(&self) -> Metric {
        Metric {
            key: self.key,
            title: self.title.to_owned(),
            unit: self.unit,
            better: self.better,
            cpu: self.cpu,
            series: Vec::new(),
        }
    }

    /// A value with its unit, in a few characters.
    pub(crate) fn spoken(&self, value: f64) -> String {
        match self.unit {
            Unit::BitsPerSecond => format!("{:.2} Gbit/s", value / 1e9),
            Unit::PacketsPerSecond => format!("{:.3} Mpps", value / 1e6),
            Unit::SessionsPerSecond => format!("{:.3} M/s", value / 1e6),
            Unit::Microseconds => format!("{value:.1} us"),
            Unit::Nanoseconds => format!("{value:.0} ns"),
        }
    }

    /// What is expected of a contender.
    pub(crate) fn goals(&self, contender: Contender) -> Vec<Goal> {
        let bounds: &[_] = match contender {
            Contender::Genkan(Backend::AfPacket) => &AF_PACKET,
            Contender::Kernel | Contender::KernelTuned => &[],
        };
        let to_kernel = bounds.iter().filter(|(key, ..)| *key == self.key).map(|&(_, must, stretch)| Goal {
            of: Measure::RatioToKernel,
            must,
            stretch: Some(stretch),
        });
        let mut goals: Vec<Goal> = to_kernel.collect();
        if self.key == "tcp1off" && !goals.is_empty() {
            goals.push(Goal { of: Measure::RatioToTunedKernel, must: 0.95, stretch: None });
        }
        goals
    }
}
