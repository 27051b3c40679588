//! One plain sentence for each contender of a metric: what its numbers mean.

use super::judgement::{Comparison, Difference, Judged, Reached, Row, three_digits, times};
use super::{Better, KERNEL, KERNEL_TUNED, Measure, Objection};

/// The sentences of a metric, one for each contender that is not the kernel.
pub(super) fn sentences(judged: &Judged<'_>) -> Vec<String> {
    let contenders = judged.rows.iter();
    let contenders =
        contenders.filter(|row| ![KERNEL, KERNEL_TUNED].contains(&row.series.contender.as_str()));
    contenders.map(|row| sentence(judged, row)).collect()
}

fn sentence(judged: &Judged<'_>, row: &Row<'_>) -> String {
    let who = &row.series.contender;
    let value = format!("{} {}", judged.number(row.summary.median), judged.unit);
    let mut text = match (row.kernel, row.tuned, judged.objection) {
        (Some(kernel), tuned, _) => {
            let mut text = beside(judged, who, &kernel, "the kernel", judged.situation());
            if let Some(tuned) = tuned {
                text.push_str(&shortly_beside(judged, &tuned));
            }
            text
        }
        (None, Some(tuned), _) => beside(judged, who, &tuned, "the tuned kernel", judged.situation()),
        (None, None, Some(Objection::Noise)) => {
            format!("{who}: {value}; not compared, because the machine was too noisy")
        }
        (None, None, Some(Objection::Unsteady)) => {
            format!("{who}: {value}; not compared, because the rounds lie too far apart")
        }
        (None, None, None) => format!("{who}: {value}"),
    };
    // Goals beside the kernel stand in the table, with the ratios.
    if row.series.goals.iter().any(|goal| goal.of == Measure::Median) {
        for goal in goals(judged, row) {
            text.push_str("; ");
            text.push_str(&goal);
        }
    }
    text.push('.');
    text
}

/// `genkan is 2.10x as fast as the kernel with a core free (2.00x to 2.20x)`.
fn beside(judged: &Judged<'_>, who: &str, comparison: &Comparison, other: &str, when: &str) -> String {
    let ratio = times(comparison.ratio.value);
    let range = format!("{} to {}", times(comparison.ratio.low), times(comparison.ratio.high));
    match (comparison.difference, judged.metric.better) {
        (Difference::NotSeen, _) => {
            format!(
                "{who} and {other}: no difference that this measurement can see {when} ({ratio}, {range})"
            )
        }
        (_, Better::Higher) => format!("{who} is {ratio} as fast as {other} {when} ({range})"),
        (_, Better::Lower) => format!("{who} takes {ratio} the time of {other} {when} ({range})"),
    }
}

/// `; 1.50x as fast as the tuned kernel`.
fn shortly_beside(judged: &Judged<'_>, tuned: &Comparison) -> String {
    let ratio = times(tuned.ratio.value);
    match (tuned.difference, judged.metric.better) {
        (Difference::NotSeen, _) => {
            format!("; no difference to the tuned kernel that this measurement can see ({ratio})")
        }
        (_, Better::Higher) => format!("; {ratio} as fast as the tuned kernel"),
        (_, Better::Lower) => format!("; {ratio} the time of the tuned kernel"),
    }
}

/// What became of each goal: `must 0.95x reached`.
pub(super) fn goals(judged: &Judged<'_>, row: &Row<'_>) -> Vec<String> {
    let goal = |(goal, reached): &(super::Goal, Reached)| {
        let bound = |bound: f64| match goal.of {
            Measure::Median => format!("{} {}", three_digits(bound / judged.scale), judged.unit),
            Measure::RatioToKernel => times(bound),
            Measure::RatioToTunedKernel => format!("{} tuned", times(bound)),
        };
        match (reached, goal.stretch) {
            (Reached::Stretch, Some(stretch)) => format!("stretch {} reached", bound(stretch)),
            (Reached::Must | Reached::Stretch, _) => format!("must {} reached", bound(goal.must)),
            (Reached::Missed, _) => format!("must {} missed", bound(goal.must)),
        }
    };
    row.goals.iter().map(goal).collect()
}

#[cfg(test)]
mod tests {
    use super::super::judgement::judge;
    use super::super::{CpuSituation, Goal, NoiseVerdict, Report, Series, Unit, fixture};
    use super::*;

    fn said(report: &Report) -> Vec<String> {
        judge(report).iter().flat_map(sentences).collect()
    }

    fn one(better: Better, cpu: CpuSituation, genkan: f64, kernel: f64) -> Report {
        let mut metric = fixture::packets(better, &[genkan; 5], &[kernel; 5]);
        metric.cpu = cpu;
        Report { metrics: vec![metric], ..fixture::empty() }
    }

    #[test]
    fn more_less_and_the_same() {
        let more = said(&one(Better::Higher, CpuSituation::CoreFree, 2.1e6, 1e6));
        assert_eq!(more, ["genkan is 2.10x as fast as the kernel with a core free (2.10x to 2.10x)."]);
        let less = said(&one(Better::Higher, CpuSituation::AllLoaded, 0.8e6, 1e6));
        assert_eq!(less, ["genkan is 0.80x as fast as the kernel with all cores loaded (0.80x to 0.80x)."]);
        let same = said(&one(Better::Higher, CpuSituation::CoreFree, 1.02e6, 1e6));
        assert_eq!(
            same,
            ["genkan and the kernel: no difference that this measurement can see with a core free \
              (1.02x, 1.02x to 1.02x)."]
        );
        let slower = said(&one(Better::Lower, CpuSituation::Idle, 90.0, 60.0));
        assert_eq!(
            slower,
            ["genkan takes 1.50x the time of the kernel on an idle machine (1.50x to 1.50x)."]
        );
    }

    #[test]
    fn the_tuned_kernel_comes_second_or_alone() {
        let mut report = one(Better::Higher, CpuSituation::CoreFree, 3e6, 1e6);
        let tuned = |rounds: f64| Series {
            contender: KERNEL_TUNED.to_owned(),
            goals: Vec::new(),
            rounds: vec![rounds; 5],
        };
        report.metrics[0].series.push(tuned(2e6));
        assert_eq!(
            said(&report),
            ["genkan is 3.00x as fast as the kernel with a core free (3.00x to 3.00x); \
              1.50x as fast as the tuned kernel."]
        );
        report.metrics[0].series[2] = tuned(2.98e6);
        assert!(
            said(&report)[0]
                .ends_with("; no difference to the tuned kernel that this measurement can see (1.01x).")
        );
        report.metrics[0].series.remove(1);
        assert!(said(&report)[0].starts_with("genkan and the tuned kernel: no difference"));
        report.metrics[0].better = Better::Lower;
        report.metrics[0].series[1] = tuned(1e6);
        assert_eq!(
            said(&report),
            ["genkan takes 3.00x the time of the tuned kernel with a core free (3.00x to 3.00x)."]
        );
    }

    #[test]
    fn goals_in_short() {
        let mut report = one(Better::Higher, CpuSituation::CoreFree, 2.1e6, 1e6);
        let goal = |must, stretch| Goal { of: Measure::RatioToKernel, must, stretch };
        for (expected, short) in [
            (goal(1.7, Some(2.0)), "stretch 2.00x reached"),
            (goal(1.7, Some(2.2)), "must 1.70x reached"),
            (goal(1.7, None), "must 1.70x reached"),
            (goal(2.5, Some(4.0)), "must 2.50x missed"),
        ] {
            report.metrics[0].series[0].goals = vec![expected];
            let judged = &judge(&report)[0];
            assert_eq!(goals(judged, &judged.rows[0]), [short]);
        }
        // A goal beside a contender that did not take part says nothing.
        report.metrics[0].series[0].goals =
            vec![Goal { of: Measure::RatioToTunedKernel, must: 0.95, stretch: None }];
        let judged = &judge(&report)[0];
        assert!(goals(judged, &judged.rows[0]).is_empty());
    }

    #[test]
    fn without_a_kernel_the_value_itself_is_said() {
        let mut report = one(Better::Lower, CpuSituation::EngineAlone, 38.0, 1.0);
        let metric = &mut report.metrics[0];
        metric.unit = Unit::Nanoseconds;
        metric.series.truncate(1);
        metric.series[0].goals = vec![Goal { of: Measure::Median, must: 40.0, stretch: None }];
        assert_eq!(said(&report), ["genkan: 38.0 ns; must 40.0 ns reached."]);
    }

    #[test]
    fn what_is_not_compared_says_why() {
        let mut report = one(Better::Higher, CpuSituation::CoreFree, 2.1e6, 1e6);
        report.noise = NoiseVerdict { findings: vec!["Loud.".to_owned()], ..NoiseVerdict::default() };
        assert_eq!(said(&report), ["genkan: 2.10 Mpps; not compared, because the machine was too noisy."]);
        report.noise.forced = true;
        assert!(said(&report)[0].starts_with("genkan is 2.10x as fast as the kernel"));
        report.noise = NoiseVerdict { unsteady: vec![report.metrics[0].key], ..NoiseVerdict::default() };
        assert_eq!(said(&report), ["genkan: 2.10 Mpps; not compared, because the rounds lie too far apart."]);
    }
}
