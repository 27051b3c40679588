//! Whether this machine is quiet enough to measure on.
//!
//! Four things are looked at: CPU time of processes that are not ours, before and while it is measured; CPU time that
//! the hypervisor kept; how evenly every CPU does a fixed piece of work; and how far the rounds of one contender lie
//! apart. Each has a limit, above which a ratio would say more about the disturbance than about the contenders.

mod cpu_time;
mod spin;

use std::io;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

use super::report::{Metric, NoiseVerdict};
use super::statistics::Summary;
use cpu_time::{Sample, Usage};
use spin::Spin;

/// How long the machine is watched before anything of ours runs. A hundred clock ticks for each CPU: the limit of
/// [`OTHERS_BEFORE`] is ten of them.
const LOOK: Duration = Duration::from_secs(1);
/// CPUs that other processes may keep busy while nothing of ours runs.
const OTHERS_BEFORE: f64 = 0.10;
/// The same while it is measured, where the accounts are less exact.
const OTHERS_DURING: f64 = 0.25;
/// Part of the CPU time that a hypervisor may keep.
const STEAL: f64 = 0.02;
/// How far the times of equal pieces of work lie apart, the longest and the shortest tenth left out. A CPU that has
/// another clock rate or another tenant for a part of the time shows here; a single stop of a millisecond does not,
/// which spoils no median either.
const SPIN: f64 = 0.08;
/// How many times the resolution of a unit the usual distance of a round to the median may be.
const ROUNDS: f64 = 2.0;

/// Why the machine could not be looked at.
#[derive(Debug, thiserror::Error)]
#[error("cannot look at the CPUs' load")]
pub(crate) struct NoiseError(#[from] io::Error);

/// Looks at the machine, from before a measurement to its end.
#[derive(Debug)]
pub(crate) struct Watch {
    cpus: usize,
    before: Usage,
    spins: Vec<Spin>,
    start: Sample,
}

impl Watch {
    /// Looks for somewhat more than a second; nothing of ours should run meanwhile. The thread is moved from CPU to
    /// CPU, and back.
    ///
    /// # Errors
    /// When the kernel does not tell its accounts or the thread cannot be moved.
    pub(crate) fn start() -> Result<Watch, NoiseError> {
        let cpus = online()?;
        let first = Sample::take()?;
        std::thread::sleep(LOOK);
        let before = first.until(&Sample::take()?, cpus);
        let spins = spin::all_cpus()?;
        Ok(Watch { cpus, before, spins, start: Sample::take()? })
    }

    /// Whether it is quiet enough to begin.
    pub(crate) fn before(&self) -> NoiseVerdict {
        judge(&self.before, None, &self.spins)
    }

    /// Whether it was quiet enough from the start until now, and `metrics` are as steady as they have to be.
    /// `forced` is whether to compare nevertheless.
    ///
    /// # Errors
    /// When the kernel does not tell its accounts.
    pub(crate) fn finish(&self, metrics: &[Metric], forced: bool) -> Result<NoiseVerdict, NoiseError> {
        let during = self.start.until(&Sample::take()?, self.cpus);
        let verdict = judge(&self.before, Some(&during), &self.spins);
        let unsteady = metrics.iter().filter(|metric| !is_steady(metric)).map(|metric| metric.key).collect();
        Ok(NoiseVerdict { unsteady, forced, ..verdict })
    }
}

/// CPUs of the machine, also those that this process may not use: the kernel's accounts are of all of them.
fn online() -> io::Result<usize> {
    let known = sysconf(SysconfVar::_NPROCESSORS_ONLN)?;
    Ok(known.and_then(|count| usize::try_from(count).ok()).unwrap_or(1))
}

/// Whether the rounds of every contender lie close enough together.
fn is_steady(metric: &Metric) -> bool {
    let limit = ROUNDS * metric.unit.resolution();
    metric.series.iter().all(|series| {
        Summary::of(&series.rounds).is_some_and(|summary| summary.relative_deviation() <= limit)
    })
}

fn judge(before: &Usage, during: Option<&Usage>, spins: &[Spin]) -> NoiseVerdict {
    let mut verdict = NoiseVerdict::default();
    let mut others = false;
    if before.others > OTHERS_BEFORE {
        others = true;
        verdict.findings.push(format!(
            "Before anything was measured, other programs kept {:.2} CPUs busy (limit {OTHERS_BEFORE:.2}).",
            before.others
        ));
    }
    if let Some(during) = during.filter(|during| during.others > OTHERS_DURING) {
        others = true;
        verdict.findings.push(format!(
            "While it was measured, other programs kept at least {:.2} CPUs busy (limit {OTHERS_DURING:.2}).",
            during.others
        ));
    }
    let steal = during.map_or(before.steal, |during| during.steal.max(before.steal));
    if steal > STEAL {
        verdict.findings.push(format!(
            "The hypervisor kept {:.1} % of the CPU time for other machines (limit {:.0} %).",
            steal * 100.0,
            STEAL * 100.0
        ));
    }
    let uneven: Vec<&Spin> = spins.iter().filter(|spin| spin.spread > SPIN).collect();
    if let Some(worst) = uneven.iter().max_by(|one, other| one.spread.total_cmp(&other.spread)) {
        let names: Vec<String> = uneven.iter().map(|spin| spin.cpu.to_string()).collect();
        verdict.findings.push(format!(
            "The same piece of work took differently long on CPU {}: four fifths of its times lie up to {:.0} % apart \
             (limit {:.0} %).",
            names.join(", "),
            worst.spread * 100.0,
            SPIN * 100.0
        ));
    }
    if others {
        verdict.advice.push("Stop what else runs (`top` shows it), or wait until it is done.".to_owned());
    }
    if steal > STEAL {
        verdict.advice.push("Measure on a machine whose CPUs are its own, or at another hour.".to_owned());
    }
    if !uneven.is_empty() && !others && steal <= STEAL {
        verdict
            .advice
            .push("Fix the CPUs' clock rate (governor `performance`), and let nothing else run.".to_owned());
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::super::report::{Better, CpuSituation, Series, Unit};
    use super::*;

    const QUIET: Usage = Usage { others: 0.01, steal: 0.001 };
    const EVEN: [Spin; 2] = [Spin { cpu: 0, spread: 0.01 }, Spin { cpu: 1, spread: 0.02 }];

    #[test]
    fn a_quiet_machine_gets_no_finding() {
        assert_eq!(judge(&QUIET, Some(&QUIET), &EVEN), NoiseVerdict::default());
        assert!(judge(&QUIET, None, &EVEN).is_quiet());
    }

    #[test]
    fn each_disturbance_is_named_with_what_helps() {
        let busy = Usage { others: 0.8, ..QUIET };
        let stolen = Usage { steal: 0.05, ..QUIET };
        let uneven = [EVEN[0], Spin { cpu: 1, spread: 0.4 }];
        for (verdict, found, helps) in [
            (judge(&busy, None, &EVEN), "other programs kept 0.80 CPUs busy", "Stop what else runs"),
            (judge(&QUIET, Some(&busy), &EVEN), "other programs kept at least 0.80", "Stop what else runs"),
            (judge(&stolen, None, &EVEN), "hypervisor kept 5.0 %", "another hour"),
            (judge(&QUIET, Some(&stolen), &EVEN), "hypervisor kept 5.0 %", "another hour"),
            (
                judge(&QUIET, None, &uneven),
                "on CPU 1: four fifths of its times lie up to 40 % apart",
                "clock rate",
            ),
        ] {
            assert!(!verdict.is_quiet());
            assert_eq!((verdict.findings.len(), verdict.advice.len()), (1, 1), "{verdict:?}");
            assert!(verdict.findings[0].contains(found), "{verdict:?}");
            assert!(verdict.advice[0].contains(helps), "{verdict:?}");
        }
        // Busy neighbours explain uneven work: one piece of advice is enough.
        let both = judge(&busy, Some(&busy), &uneven);
        assert_eq!((both.findings.len(), both.advice.len()), (3, 1), "{both:?}");
    }

    #[test]
    fn limits_belong_to_what_is_allowed() {
        let at = Usage { others: OTHERS_BEFORE, steal: STEAL };
        assert!(judge(&at, Some(&at), &[Spin { cpu: 0, spread: SPIN }]).is_quiet());
    }

    #[test]
    fn rounds_far_apart_are_not_steady() {
        let metric = |unit, rounds: &[f64]| Metric {
            key: "tcp1",
            title: "TCP, 1 stream".to_owned(),
            unit,
            better: Better::Higher,
            cpu: CpuSituation::CoreFree,
            series: vec![Series {
                contender: "genkan".to_owned(),
                goals: Vec::new(),
                rounds: rounds.to_vec(),
            }],
        };
        // A usual distance of 15 %: too much for packets, not for TCP. One wild round does no harm.
        let rounds = [85.0, 100.0, 115.0, 100.0, 85.0, 115.0];
        assert!(is_steady(&metric(Unit::BitsPerSecond, &rounds)));
        assert!(!is_steady(&metric(Unit::PacketsPerSecond, &rounds)));
        assert!(is_steady(&metric(Unit::PacketsPerSecond, &[100.0, 101.0, 10.0, 99.0, 100.0])));
        assert!(!is_steady(&metric(Unit::PacketsPerSecond, &[])));
    }
}
