//! The report for programs. `docs/performance.md` describes the fields; [`SCHEMA`] changes when one of them changes its
//! meaning or goes away.

use serde::Serialize;

use super::judgement::{Comparison, Judged, Reached, Row, judge, notes};
use super::{About, Better, CpuSituation, Goal, NoiseVerdict, Objection, Report, Unit, sentence};
use crate::bench::statistics::Summary;

/// Name and version of this shape.
const SCHEMA: &str = "genkan-bench-1";

#[derive(Serialize)]
pub(super) struct Document<'a> {
    schema: &'static str,
    about: &'a About,
    settings: Vec<Setting<'a>>,
    noise: &'a NoiseVerdict,
    metrics: Vec<MetricOut<'a>>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct Setting<'a> {
    name: &'a str,
    value: &'a str,
}

#[derive(Serialize)]
struct MetricOut<'a> {
    key: &'a str,
    title: &'a str,
    unit: Unit,
    better: Better,
    cpu: CpuSituation,
    resolution: f64,
    not_compared: Option<Objection>,
    series: Vec<SeriesOut<'a>>,
    sentences: Vec<String>,
}

#[derive(Serialize)]
struct SeriesOut<'a> {
    contender: &'a str,
    rounds: &'a [f64],
    #[serde(flatten)]
    summary: Summary,
    to_kernel: Option<Comparison>,
    to_tuned_kernel: Option<Comparison>,
    goals: Vec<GoalOut>,
}

#[derive(Serialize)]
struct GoalOut {
    #[serde(flatten)]
    goal: Goal,
    reached: Reached,
}

/// The whole report.
pub(super) fn document(report: &Report) -> Document<'_> {
    Document {
        schema: SCHEMA,
        about: &report.about,
        settings: report.settings.iter().map(|(name, value)| Setting { name, value }).collect(),
        noise: &report.noise,
        metrics: judge(report).iter().map(metric).collect(),
        notes: notes(report),
    }
}

fn metric<'a>(judged: &Judged<'a>) -> MetricOut<'a> {
    let metric = judged.metric;
    MetricOut {
        key: metric.key,
        title: &metric.title,
        unit: metric.unit,
        better: metric.better,
        cpu: metric.cpu,
        resolution: metric.unit.resolution(),
        not_compared: judged.objection,
        series: judged.rows.iter().map(series).collect(),
        sentences: sentence::sentences(judged),
    }
}

fn series<'a>(row: &Row<'a>) -> SeriesOut<'a> {
    SeriesOut {
        contender: &row.series.contender,
        rounds: &row.series.rounds,
        summary: row.summary,
        to_kernel: row.kernel,
        to_tuned_kernel: row.tuned,
        goals: row.goals.iter().map(|&(goal, reached)| GoalOut { goal, reached }).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn golden() {
        for (name, report) in fixture::named() {
            let mut text = serde_json::to_string_pretty(&document(&report)).expect("plain data");
            text.push('\n');
            fixture::check(&format!("{name}.json"), &text);
        }
    }
}
