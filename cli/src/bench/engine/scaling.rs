//! Several workers: measured where there is a CPU for each, by a model for more.
//!
//! The model adds up CPU time: a packet that the kernel gives to its owner costs `own`, another one `given` where it
//! arrived and `taken` at its owner. Steering is right for what comes from inside (a program computes the host's
//! worker) and a guess for what comes from outside, right once in N. So N workers forward N / cost packets per second,
//! where half of them are inbound at the cost of `own / N + (given + taken) * (N - 1) / N`.

use genkan_traffic::workers::{handed_over, own};
use genkan_traffic::{Flows, Transport};

use super::{Measured, Rounds, metric, series};
use crate::bench::pinning::Pinned;
use crate::bench::report::{Metric, Unit};
use crate::bench::statistics::median;

/// Sessions of all workers: few enough for the caches, so that what is shared between CPUs shows least. The model is
/// about the workers, not about memory.
const SESSIONS: u32 = 1_000;

/// Costs of one round, in nanoseconds of CPU time for a packet.
#[derive(Clone, Copy, Debug)]
struct Costs {
    own: f64,
    given: f64,
    taken: f64,
}

impl Costs {
    /// Packets per second of `workers`, with every packet at its owner.
    fn steered(self, workers: u8) -> f64 {
        f64::from(workers) * 1e9 / self.own.max(1e-3)
    }

    /// The same when half of the packets are inbound, at a worker drawn by lot.
    fn guessed(self, workers: u8) -> f64 {
        let right = 1.0 / f64::from(workers);
        let inbound = right * self.own + (1.0 - right) * (self.given + self.taken);
        f64::from(workers) * 1e9 / ((self.own + inbound) / 2.0).max(1e-3)
    }
}

/// One count of workers.
struct Row {
    workers: u8,
    is_measured: bool,
    /// Packets per second by round, measured or by the model.
    steered: Vec<f64>,
    guessed: Vec<f64>,
}

/// Adds what several workers bring to what was measured of one.
pub(super) fn measure(workers: &[u8], cpus: &[usize], rounds: Rounds, measured: &mut Measured) {
    // The first worker on the last CPU, as in the router.
    let pin = |worker: u8| {
        let cpu = cpus.iter().rev().nth(usize::from(worker));
        // The thread ends with its work: nothing to go back to.
        std::mem::forget(cpu.map(|&cpu| Pinned::to(cpu)));
    };
    let has_cpus = |workers: u8| usize::from(workers) <= cpus.len();
    let mut rows: Vec<Row> = workers
        .iter()
        .map(|&workers| Row { workers, is_measured: has_cpus(workers), steered: vec![], guessed: vec![] })
        .collect();
    let flows = Flows::new(Transport::Udp, SESSIONS);
    let mut costs = Vec::new();
    for _ in 0..rounds.count {
        let mut mean = f64::NAN;
        for row in rows.iter_mut().filter(|row| row.is_measured) {
            let each = own(flows, row.workers, rounds.length, pin);
            row.steered.push(each.iter().map(|ns| 1e9 / ns.max(1e-3)).sum());
            // The largest count that there are CPUs for comes nearest to what more would find.
            mean = each.iter().sum::<f64>() / each.len() as f64;
        }
        if !has_cpus(2) {
            continue;
        }
        if mean.is_nan() {
            let each = own(flows, 2, rounds.length, pin);
            mean = (each[0] + each[1]) / 2.0;
        }
        let [given, taken] = handed_over(flows, rounds.length, pin);
        let of_round = Costs { own: mean, given, taken };
        for row in &mut rows {
            row.guessed.push(of_round.guessed(row.workers));
            if !row.is_measured {
                row.steered.push(of_round.steered(row.workers));
            }
        }
        costs.push(of_round);
    }
    measured.metrics.extend(metrics(rows, &costs));
    measured.notes.extend(notes(&costs));
}

fn metrics(rows: Vec<Row>, costs: &[Costs]) -> Vec<Metric> {
    let title = "Packets of established sessions per second, all workers together, every packet at its owner";
    let mut steered = metric("workers", title, Unit::PacketsPerSecond);
    let title = "The same by the model, half of the packets inbound and steered by lot";
    let mut guessed = metric("workers_guessed", title, Unit::PacketsPerSecond);
    let mut apiece = metric("hand_over", "Packet that another worker has, CPU time", Unit::Nanoseconds);
    for row in rows.into_iter().filter(|row| !row.steered.is_empty()) {
        let name = if row.workers == 1 { "1 worker".to_owned() } else { format!("{} workers", row.workers) };
        let by_model = format!("{name}, model");
        steered.series.push(series(if row.is_measured { &name } else { &by_model }, None, row.steered));
        if !row.guessed.is_empty() {
            guessed.series.push(series(&by_model, None, row.guessed));
        }
    }
    if !costs.is_empty() {
        apiece.series = vec![
            series("at its owner from the start", None, costs.iter().map(|costs| costs.own).collect()),
            series("where it arrives", None, costs.iter().map(|costs| costs.given).collect()),
            series("then at its owner", None, costs.iter().map(|costs| costs.taken).collect()),
        ];
    }
    [steered, guessed, apiece].into_iter().filter(|metric| !metric.series.is_empty()).collect()
}

fn notes(costs: &[Costs]) -> Vec<String> {
    let of = |part: fn(&Costs) -> f64| median(&costs.iter().map(part).collect::<Vec<_>>());
    let (Some(own), Some(given), Some(taken)) =
        (of(|costs| costs.own), of(|costs| costs.given), of(|costs| costs.taken))
    else {
        return vec!["A model for more workers needs two CPUs.".to_owned()];
    };
    vec![format!(
        "Workers: \"model\" means computed, not measured. A packet costs {own:.0} ns at its owner, and {given:.0} + \
         {taken:.0} ns when another worker gets it first. From inside all are steered rightly, from outside one in N. \
         Assumed: a CPU for each worker, hosts and traffic spread evenly, and no loss by sharing caches and memory \
         beyond what the measured workers had ({SESSIONS} sessions in all); receiving and sending are left out."
    )]
}

/// Reads a count of workers.
pub(super) fn count(text: &str) -> Result<u8, String> {
    let most = genkan_engine::WorkerId::MAX;
    let count = text.parse().ok().filter(|count| (1..=most).contains(count));
    count.ok_or_else(|| format!("a number from 1 to {most} is needed"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bench::pinning::allowed_cpus;

    const SHORT: Rounds = Rounds { count: 2, length: Duration::from_millis(2) };

    #[test]
    fn the_model_adds_up() {
        let costs = Costs { own: 50.0, given: 250.0, taken: 200.0 };
        assert_eq!((costs.steered(1), costs.guessed(1)), (20e6, 20e6));
        assert_eq!(costs.steered(4), 80e6);
        // Half at 50 ns, half at 50/4 + 450 * 3/4 = 350 ns.
        assert_eq!(costs.guessed(4), 20e6);
        assert!((2..64).all(|workers| costs.guessed(workers) < costs.guessed(workers + 1)));
    }

    #[test]
    fn counts_are_read() {
        assert_eq!((count("1"), count("64")), (Ok(1), Ok(64)));
        assert!(["0", "65", "two", ""].into_iter().all(|wrong| count(wrong).is_err()));
    }

    #[test]
    fn what_has_cpus_is_measured_and_the_rest_computed() {
        let cpus = allowed_cpus().expect("there is at least one");
        let mut measured = Measured { metrics: vec![], notes: vec![], settings: vec![] };
        measure(&[1, 2, 64], &cpus[..cpus.len().min(2)], SHORT, &mut measured);
        let names: Vec<&str> =
            measured.metrics[0].series.iter().map(|series| series.contender.as_str()).collect();
        if cpus.len() >= 2 {
            assert_eq!(names, ["1 worker", "2 workers", "64 workers, model"]);
            assert_eq!(measured.metrics.len(), 3);
        } else {
            assert_eq!(names, ["1 worker"]);
        }
        let all = measured.metrics.iter().flat_map(|metric| &metric.series).flat_map(|series| &series.rounds);
        assert!(all.into_iter().all(|value| value.is_finite() && *value > 0.0));
        assert_eq!(measured.notes.len(), 1);
    }
}
