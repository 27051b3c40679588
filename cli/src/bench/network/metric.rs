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
    /// TCP, 1 stream, in through a port forward
    Tcp1in,
    /// TCP, 1 stream, no segmentation offloads at the hosts
    Tcp1off,
    /// 64-byte packets of 1,000 flows in turn, one sender
    Pps1k,
    /// The same, with a sender on every CPU
    #[value(name = "pps1k_loaded")]
    Pps1kLoaded,
    /// 64-byte packets in bursts of 32 per flow, each burst handed to the sender's kernel at once
    Ppsb,
    /// The same, handed over packet by packet
    #[value(name = "ppsb_single")]
    PpsbSingle,
    /// The highest rate without loss: less than one packet of a thousand
    Ndr,
    /// Round trip of a datagram on an idle machine
    Echo,
    /// The same beside 100,000 packets a second
    #[value(name = "echo_loaded")]
    EchoLoaded,
    /// Packets that each open a session
    Newflows,
    /// 64-byte packets of a million open sessions in turn
    Sessions1m,
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

    /// What it yields, in this order; of a contender without a process of its own those at the end may be missing.
    pub(crate) fn values(self) -> Vec<Value> {
        let higher = |key, title, unit, cpu| Value { key, title, unit, better: Better::Higher, cpu };
        let bits = |key, title| higher(key, title, Unit::BitsPerSecond, CpuSituation::CoreFree);
        let packets = |key, title, cpu| higher(key, title, Unit::PacketsPerSecond, cpu);
        let work =
            |key, title, cpu| Value { key, title, unit: Unit::Nanoseconds, better: Better::Lower, cpu };
        let latency =
            |key, title, cpu| Value { key, title, unit: Unit::Microseconds, better: Better::Lower, cpu };
        let (free, loaded) = (CpuSituation::CoreFree, CpuSituation::AllLoaded);
        match self {
            Test::Tcp1 => vec![bits("tcp1", "TCP, 1 stream")],
            Test::Tcp4 => vec![bits("tcp4", "TCP, 4 streams")],
            Test::Tcp1in => vec![bits("tcp1in", "TCP, 1 stream, in through a forward")],
            Test::Tcp1off => vec![bits("tcp1off", "TCP, 1 stream, hosts without offloads")],
            Test::Pps1k => vec![
                packets("pps1k", "64-byte UDP, 1,000 flows, one sender", free),
                work("pps1k_cpu", "CPU time of the machine per packet of pps1k, sender included", free),
                work("pps1k_router", "CPU time of the router's process per packet of pps1k", free),
            ],
            Test::Pps1kLoaded => vec![packets(
                "pps1k_loaded",
                "64-byte UDP, 1,000 flows per CPU, a sender on each CPU",
                loaded,
            )],
            Test::Ppsb => {
                vec![packets(
                    "ppsb",
                    "64-byte UDP, bursts of 32 per flow handed over at once, one sender",
                    free,
                )]
            }
            Test::PpsbSingle => vec![packets(
                "ppsb_single",
                "64-byte UDP, bursts of 32 per flow handed over one by one, one sender",
                free,
            )],
            Test::Ndr => vec![packets("ndr", "64-byte UDP without loss (< 0.1 %), 1,000 flows", free)],
            Test::Echo => vec![
                latency("echo", "UDP round trip, idle machine, median", CpuSituation::Idle),
                latency("echo_p99", "UDP round trip, idle machine, 99th percentile", CpuSituation::Idle),
            ],
            Test::EchoLoaded => vec![
                latency("echo_loaded", "UDP round trip beside 100,000 packets/s, median", free),
                latency("echo_loaded_p99", "UDP round trip beside 100,000 packets/s, 99th percentile", free),
            ],
            Test::Newflows => {
                vec![higher("newflows", "new UDP sessions, one packet each", Unit::SessionsPerSecond, free)]
            }
            Test::Sessions1m => {
                vec![packets("sessions1m", "64-byte UDP of all open sessions in turn, one sender", free)]
            }
        }
    }

    /// Open sessions, where the measurement needs a router that has just been started and has room for them.
    /// `usable` is how many connections the kernel may track.
    pub(crate) fn sessions(self, usable: u64) -> Option<u64> {
        match self {
            Test::Newflows | Test::Sessions1m => Some(usable.min(MANY)),
            _ => None,
        }
    }
}

/// Sessions of the tests with many of them.
const MANY: u64 = 1_000_000;

/// Key, the bound that must be kept and the one to be proud of; of ratios to the kernel.
type Bounds = (&'static str, f64, f64);

/// What is expected of packet sockets on veth devices.
const AF_PACKET: [Bounds; 11] = [
    ("tcp1", 0.95, 1.05),
    ("tcp4", 0.45, 0.6),
    ("tcp1off", 2.5, 3.5),
    ("pps1k", 1.7, 2.2),
    ("pps1k_loaded", 0.6, 1.0),
    ("ppsb", 2.5, 4.0),
    ("ndr", 1.5, 2.0),
    ("echo", 1.1, 0.8),
    ("echo_loaded", 2.0, 1.5),
    ("newflows", 2.0, 2.5),
    ("sessions1m", 1.6, 2.0),
];

/// What is expected where the hosts' devices are TAPs.
const TAP: [Bounds; 11] = [
    ("tcp1", 1.0, 1.15),
    ("tcp4", 0.45, 0.6),
    ("tcp1off", 2.0, 2.5),
    ("pps1k", 2.0, 2.5),
    ("pps1k_loaded", 0.6, 1.0),
    ("ppsb", 3.0, 4.0),
    ("ndr", 1.8, 2.0),
    ("echo", 1.0, 0.8),
    ("echo_loaded", 1.6, 1.5),
    ("newflows", 2.0, 3.0),
    ("sessions1m", 1.8, 2.2),
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
            Contender::Genkan(Backend::Tap) => &TAP,
            Contender::Genkan(Backend::AfXdp) | Contender::Kernel | Contender::KernelTuned => &[],
        };
        let to_kernel = bounds.iter().filter(|(key, ..)| *key == self.key).map(|&(_, must, stretch)| Goal {
            of: Measure::RatioToKernel,
            must,
            stretch: Some(stretch),
        });
        let mut goals: Vec<Goal> = to_kernel.collect();
        if self.key == "tcp1off" && contender == Contender::Genkan(Backend::AfPacket) {
            goals.push(Goal { of: Measure::RatioToTunedKernel, must: 0.95, stretch: None });
        }
        goals
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn keys_are_unique_and_what_is_typed() {
        let keys: Vec<&str> =
            Test::value_variants().iter().flat_map(|test| test.values()).map(|value| value.key).collect();
        assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len());
        for test in Test::value_variants() {
            let typed = test.to_possible_value().expect("no test is hidden");
            assert_eq!(typed.get_name(), test.key());
        }
    }

    #[test]
    fn expectations_are_of_what_is_measured() {
        let keys: HashSet<&str> =
            Test::value_variants().iter().flat_map(|test| test.values()).map(|value| value.key).collect();
        for (key, must, stretch) in AF_PACKET.iter().chain(&TAP) {
            assert!(keys.contains(key), "{key}");
            let lower_is_better = key.starts_with("echo");
            assert_eq!(stretch < must, lower_is_better, "{key}");
        }
    }
}
