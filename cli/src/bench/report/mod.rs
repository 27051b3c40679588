//! What a run of `genkan bench` found out, and how it is told: as text, JSON, charts and a page.

mod about;
mod delivery;
#[cfg(test)]
mod fixture;
mod html;
mod json;
mod judgement;
mod sentence;
mod svg;
mod text;
mod xml;

use serde::Serialize;

pub(crate) use delivery::Delivery;

/// Name of the contender that ratios are to: the kernel's own NAT, as it is by default.
pub(crate) const KERNEL: &str = "kernel";
/// Name of the second one: the kernel's own NAT with GRO on its ports.
pub(crate) const KERNEL_TUNED: &str = "kernel tuned";

/// Everything that a run found out.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// When, where and with what.
    pub(crate) about: About,
    /// What was chosen for this run, in words: `("rounds", "5")`.
    pub(crate) settings: Vec<(String, String)>,
    /// In the order in which they are shown.
    pub(crate) metrics: Vec<Metric>,
    /// Whatever else a reader has to know, one sentence each.
    pub(crate) notes: Vec<String>,
    /// Whether the machine was quiet enough to compare.
    pub(crate) noise: NoiseVerdict,
}

/// When, where and with what a report was made.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct About {
    /// When it was begun, RFC 3339, UTC.
    pub(crate) date: String,
    /// Version of this program.
    pub(crate) genkan: String,
    /// Release of the kernel.
    pub(crate) kernel: String,
    /// As the processor calls itself.
    pub(crate) cpu: String,
    /// Logical CPUs that this process may use.
    pub(crate) cpus: usize,
    /// Where it ran: `private namespaces, without root`.
    pub(crate) place: String,
}

/// One thing that was measured, of all contenders in turn.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Metric {
    /// Its name for programs: `tcp1`.
    pub(crate) key: &'static str,
    /// Its name for people: `TCP, 1 stream`.
    pub(crate) title: String,
    /// Of all values.
    pub(crate) unit: Unit,
    /// Which of two values is the better one.
    pub(crate) better: Better,
    /// What the CPUs had to do beside it.
    pub(crate) cpu: CpuSituation,
    /// One for each contender.
    pub(crate) series: Vec<Series>,
}

/// The values of one contender.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Series {
    /// Who: `genkan`, `genkan tap`, [`KERNEL`], [`KERNEL_TUNED`].
    pub(crate) contender: String,
    /// What is expected of it; empty for the kernel.
    pub(crate) goals: Vec<Goal>,
    /// One finite value for each round; all contenders' n-th values belong to the same round.
    pub(crate) rounds: Vec<f64>,
}

/// What is expected of a contender.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Goal {
    /// What the two bounds are bounds of.
    pub(crate) of: Measure,
    /// The bound to keep: at least this where higher is better, else at most.
    pub(crate) must: f64,
    /// The bound to be proud of.
    pub(crate) stretch: Option<f64>,
}

/// What a [`Goal`] bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Measure {
    /// The median itself, in the metric's unit.
    Median,
    /// The ratio to [`KERNEL`].
    RatioToKernel,
    /// The ratio to [`KERNEL_TUNED`].
    RatioToTunedKernel,
}

/// The unit of a metric's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Unit {
    /// Of payload.
    BitsPerSecond,
    /// Packets as the receiving host would count them one by one.
    PacketsPerSecond,
    /// Sessions opened.
    SessionsPerSecond,
    /// Of latency.
    Microseconds,
    /// Of work for one packet.
    Nanoseconds,
}

impl Unit {
    /// The least difference between two contenders that means something on a small machine, as a part of the smaller
    /// one: what two runs of one and the same router differ by there.
    pub(crate) fn resolution(self) -> f64 {
        match self {
            Unit::BitsPerSecond => 0.10,
            Unit::PacketsPerSecond | Unit::SessionsPerSecond | Unit::Nanoseconds => 0.05,
            Unit::Microseconds => 0.25,
        }
    }

    /// What values are divided by to be shown, and the name of that unit; `largest` is the largest of them.
    fn scale(self, largest: f64) -> (f64, &'static str) {
        let pick = |names: [&'static str; 4]| match largest {
            _ if largest >= 1e9 => (1e9, names[3]),
            _ if largest >= 1e6 => (1e6, names[2]),
            _ if largest >= 1e3 => (1e3, names[1]),
            _ => (1.0, names[0]),
        };
        match self {
            Unit::BitsPerSecond => pick(["bit/s", "kbit/s", "Mbit/s", "Gbit/s"]),
            Unit::PacketsPerSecond => pick(["packets/s", "kpps", "Mpps", "Gpps"]),
            Unit::SessionsPerSecond => pick(["sessions/s", "k sessions/s", "M sessions/s", "G sessions/s"]),
            Unit::Microseconds => (1.0, "µs"),
            Unit::Nanoseconds => (1.0, "ns"),
        }
    }
}

/// Which of two values is the better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Better {
    /// As with speed.
    Higher,
    /// As with latency.
    Lower,
}

/// What the CPUs had to do beside the router: the kernel routes on the sender's CPU, a program on one of its own, so
/// that its ratio depends on whether one is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CpuSituation {
    /// A CPU is left for the router.
    CoreFree,
    /// Senders keep all of them busy.
    AllLoaded,
    /// Hardly any of them is busy.
    Idle,
    /// The engine alone on one CPU; no network takes part.
    EngineAlone,
}

/// Whether the machine was quiet enough to compare.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct NoiseVerdict {
    /// What disturbs, one sentence each; empty on a quiet machine.
    pub(crate) findings: Vec<String>,
    /// What would help, one sentence each.
    pub(crate) advice: Vec<String>,
    /// Keys of the metrics whose rounds lie too far apart.
    pub(crate) unsteady: Vec<&'static str>,
    /// Whether to compare nevertheless.
    pub(crate) forced: bool,
}

impl NoiseVerdict {
    /// Whether nothing disturbs the machine.
    pub(crate) fn is_quiet(&self) -> bool {
        self.findings.is_empty()
    }

    /// Why the contenders of this metric are not to be compared; `None` when they are.
    pub(crate) fn objection(&self, key: &str) -> Option<Objection> {
        match () {
            () if self.forced => None,
            () if !self.is_quiet() => Some(Objection::Noise),
            () if self.unsteady.contains(&key) => Some(Objection::Unsteady),
            () => None,
        }
    }
}

/// Why contenders are not compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Objection {
    /// The machine is too noisy.
    Noise,
    /// The rounds lie too far apart.
    Unsteady,
}
