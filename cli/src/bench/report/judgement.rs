//! Medians, ratios and goals of every metric: what the text, the charts and the JSON show alike.

use serde::Serialize;

use super::{Better, Goal, KERNEL, KERNEL_TUNED, Measure, Metric, Objection, Report, Series};
use crate::bench::statistics::{Ratio, Summary};

/// Rounds from which on the range of ratios holds the true one with some certainty (94 %).
const ENOUGH: usize = 5;

/// A metric with what follows from its rounds.
#[derive(Debug)]
pub(super) struct Judged<'a> {
    pub(super) metric: &'a Metric,
    /// Why its contenders are not compared.
    pub(super) objection: Option<Objection>,
    /// One for each series that has rounds.
    pub(super) rows: Vec<Row<'a>>,
    /// Values are divided by this to be shown in `unit`.
    pub(super) scale: f64,
    pub(super) unit: &'static str,
}

/// One contender.
#[derive(Debug)]
pub(super) struct Row<'a> {
    pub(super) series: &'a Series,
    pub(super) summary: Summary,
    /// Beside [`KERNEL`].
    pub(super) kernel: Option<Comparison>,
    /// Beside [`KERNEL_TUNED`].
    pub(super) tuned: Option<Comparison>,
    /// Its goals, as far as they can be judged.
    pub(super) goals: Vec<(Goal, Reached)>,
}

/// One contender beside another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Comparison {
    #[serde(flatten)]
    pub(super) ratio: Ratio,
    pub(super) difference: Difference,
}

/// Whether one contender differs from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Difference {
    Better,
    Worse,
    /// Smaller than the unit's resolution, or the rounds do not agree on which one is ahead.
    NotSeen,
}

/// How far a contender came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Reached {
    Missed,
    Must,
    Stretch,
}

/// All metrics of a report that have rounds.
pub(super) fn judge(report: &Report) -> Vec<Judged<'_>> {
    let judged = report.metrics.iter().map(|metric| judge_metric(metric, report.noise.objection(metric.key)));
    judged.filter(|metric| !metric.rows.is_empty()).collect()
}

/// The report's notes, and a caution when there are too few rounds to rely on.
pub(super) fn notes(report: &Report) -> Vec<String> {
    let series = report.metrics.iter().flat_map(|metric| &metric.series);
    let fewest = series.map(|series| series.rounds.len()).filter(|count| *count > 0).min();
    let caution = fewest.filter(|count| *count < ENOUGH).map(|count| {
        let rounds = if count == 1 { "One round is".to_owned() } else { format!("{count} rounds are") };
        format!("{rounds} a first impression: the ranges say little. Take {ENOUGH} or more to rely on them.")
    });
    report.notes.iter().cloned().chain(caution).collect()
}

fn judge_metric(metric: &Metric, objection: Option<Objection>) -> Judged<'_> {
    let baseline = |name: &str| metric.series.iter().find(|series| series.contender == name);
    let mut rows = Vec::new();
    for series in &metric.series {
        let Some(summary) = Summary::of(&series.rounds) else { continue };
        let is_kernel = [KERNEL, KERNEL_TUNED].contains(&series.contender.as_str());
        let compare = |name: &str| {
            let other = baseline(name).filter(|other| other.contender != series.contender)?;
            compare(metric, series, other)
        };
        let kernel = compare(KERNEL).filter(|_| objection.is_none());
        let tuned = compare(KERNEL_TUNED).filter(|_| objection.is_none() && !is_kernel);
        let goals = series.goals.iter().filter_map(|goal| {
            let value = match goal.of {
                Measure::Median => Some(summary.median).filter(|_| objection.is_none()),
                Measure::RatioToKernel => kernel.map(|comparison| comparison.ratio.value),
                Measure::RatioToTunedKernel => tuned.map(|comparison| comparison.ratio.value),
            };
            Some((*goal, reached(goal, value?, metric.better)))
        });
        rows.push(Row { series, summary, kernel, tuned, goals: goals.collect() });
    }
    let largest = rows.iter().map(|row| row.summary.median).fold(0.0, f64::max);
    let (scale, unit) = metric.unit.scale(largest);
    Judged { metric, objection, rows, scale, unit }
}

fn compare(metric: &Metric, series: &Series, other: &Series) -> Option<Comparison> {
    let ratio = Ratio::paired(&series.rounds, &other.rounds)?;
    let apart = ratio.value.max(1.0 / ratio.value) - 1.0;
    let agreed = ratio.low > 1.0 || ratio.high < 1.0;
    let difference = match metric.better {
        _ if apart < metric.unit.resolution() || !agreed => Difference::NotSeen,
        Better::Higher if ratio.value > 1.0 => Difference::Better,
        Better::Lower if ratio.value < 1.0 => Difference::Better,
        _ => Difference::Worse,
    };
    Some(Comparison { ratio, difference })
}

fn reached(goal: &Goal, value: f64, better: Better) -> Reached {
    let keeps = |bound: f64| match better {
        Better::Higher => value >= bound,
        Better::Lower => value <= bound,
    };
    match goal.stretch {
        _ if !keeps(goal.must) => Reached::Missed,
        Some(stretch) if keeps(stretch) => Reached::Stretch,
        _ => Reached::Must,
    }
}

impl Judged<'_> {
    /// A value of this metric in its unit, three digits that count.
    pub(super) fn number(&self, value: f64) -> String {
        three_digits(value / self.scale)
    }

    /// The name of the CPUs' state, to follow a value: `with a core free`.
    pub(super) fn situation(&self) -> &'static str {
        use super::CpuSituation;
        match self.metric.cpu {
            CpuSituation::CoreFree => "with a core free",
            CpuSituation::AllLoaded => "with all cores loaded",
            CpuSituation::Idle => "on an idle machine",
            CpuSituation::EngineAlone => "the engine alone",
        }
    }
}

/// Three digits that count, as far as they lie behind the point: `1234`, `12.3`, `0.123`.
pub(super) fn three_digits(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.9995 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

/// A ratio as people read it: `2.1x`, and below one `0.85x`.
pub(super) fn times(ratio: f64) -> String {
    if ratio >= 9.95 { format!("{ratio:.0}x") } else { format!("{ratio:.2}x") }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn small_or_disputed_differences_are_not_seen() {
        let kernel = [100.0; 5];
        let difference = |better, contender: [f64; 5]| {
            let metric = fixture::packets(better, &contender, &kernel);
            judge_metric(&metric, None).rows[0].kernel.expect("comparable").difference
        };
        assert_eq!(difference(Better::Higher, [104.0; 5]), Difference::NotSeen);
        assert_eq!(difference(Better::Higher, [106.0; 5]), Difference::Better);
        assert_eq!(difference(Better::Lower, [106.0; 5]), Difference::Worse);
        assert_eq!(difference(Better::Higher, [94.0; 5]), Difference::Worse);
        assert_eq!(difference(Better::Lower, [94.0; 5]), Difference::Better);
        // Far enough by the median, but one round says the contrary.
        assert_eq!(difference(Better::Higher, [110.0, 112.0, 99.0, 108.0, 111.0]), Difference::NotSeen);
    }

    #[test]
    fn few_rounds_are_called_so() {
        let with = |count: usize| {
            let metric = fixture::packets(Better::Higher, &vec![2.0; count], &vec![1.0; count]);
            notes(&Report { metrics: vec![metric], ..fixture::empty() })
        };
        assert!(with(1)[0].starts_with("One round is a first impression"));
        assert!(with(4)[0].starts_with("4 rounds are a first impression"));
        assert!(with(5).is_empty() && with(0).is_empty());
    }

    #[test]
    fn goals_of_both_kinds() {
        let goal = Goal { of: Measure::RatioToKernel, must: 1.5, stretch: Some(2.0) };
        let higher = [1.4, 1.5, 1.99, 2.0].map(|value| reached(&goal, value, Better::Higher));
        assert_eq!(higher, [Reached::Missed, Reached::Must, Reached::Must, Reached::Stretch]);
        let goal = Goal { of: Measure::RatioToKernel, must: 1.1, stretch: Some(0.8) };
        let lower = [1.2, 1.1, 0.81, 0.8].map(|value| reached(&goal, value, Better::Lower));
        assert_eq!(lower, [Reached::Missed, Reached::Must, Reached::Must, Reached::Stretch]);
        let goal = Goal { of: Measure::Median, must: 40.0, stretch: None };
        assert_eq!(reached(&goal, 12.0, Better::Lower), Reached::Must);
    }

    #[test]
    fn nothing_is_compared_against_an_objection() {
        let metric = fixture::packets(Better::Higher, &[200.0; 5], &[100.0; 5]);
        let judged = judge_metric(&metric, Some(Objection::Noise));
        assert!(judged.rows.iter().all(|row| row.kernel.is_none() && row.goals.is_empty()));
        assert_eq!(judged.rows[0].summary.median, 200.0);
    }

    #[test]
    fn numbers_have_three_digits() {
        let shown = [0.0, 0.1234, 0.9999, 9.99, 9.999, 12.345, 99.99, 1_234.5].map(three_digits);
        assert_eq!(shown, ["0.000", "0.123", "1.00", "9.99", "10.0", "12.3", "100", "1234"]);
        assert_eq!([0.5, 2.104, 12.7].map(times), ["0.50x", "2.10x", "13x"]);
    }
}
