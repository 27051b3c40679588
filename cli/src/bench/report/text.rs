//! The report for a terminal: a table, what it means in words, and with what it was taken. Fits [`WIDTH`] columns.

use std::fmt::Write as _;

use super::judgement::{Comparison, Judged, Row, judge, notes, times};
use super::{Better, Report, sentence};

/// Columns of the report.
const WIDTH: usize = 100;

/// The whole report.
pub(super) fn render(report: &Report) -> String {
    let mut text = String::new();
    let about = &report.about;
    let mut line = |indent: usize, content: &str| wrap(&mut text, indent, content);
    line(0, &format!("genkan bench, {}", about.date));
    line(
        0,
        &format!(
            "genkan {}, Linux {}, {}, {} CPUs, {}",
            about.genkan, about.kernel, about.cpu, about.cpus, about.place
        ),
    );
    let settings: Vec<String> =
        report.settings.iter().map(|(name, value)| format!("{name} {value}")).collect();
    if !settings.is_empty() {
        line(0, &settings.join(", "));
    }
    text.push('\n');
    noise(&mut text, report);
    let judged = judge(report);
    table(&mut text, &judged);
    text.push_str("\nIn words\n");
    for metric in &judged {
        wrap(&mut text, 2, &metric.metric.title);
        sentence::sentences(metric).iter().for_each(|said| wrap(&mut text, 4, said));
    }
    let notes = notes(report);
    if !notes.is_empty() {
        text.push_str("\nNotes\n");
        notes.iter().for_each(|note| wrap(&mut text, 2, note));
    }
    text
}

/// What disturbed, or nothing.
pub(super) fn noise(text: &mut String, report: &Report) {
    let noise = &report.noise;
    if noise.is_quiet() {
        return;
    }
    text.push_str(match noise.forced {
        true => "This machine is too noisy to compare; it was asked to do so nevertheless (--force):\n",
        false => "This machine is too noisy to compare:\n",
    });
    noise.findings.iter().for_each(|finding| wrap(text, 2, finding));
    if !noise.advice.is_empty() {
        text.push_str("What would help:\n");
        noise.advice.iter().for_each(|advice| wrap(text, 2, advice));
    }
    text.push('\n');
}

fn table(text: &mut String, judged: &[Judged<'_>]) {
    let rows = || judged.iter().flat_map(|metric| metric.rows.iter().map(move |row| (metric, row)));
    let names = rows().map(|(_, row)| row.series.contender.chars().count()).max().unwrap_or(0).clamp(12, 38);
    let with_kernel = rows().any(|(_, row)| row.kernel.is_some());
    let with_tuned = rows().any(|(_, row)| row.tuned.is_some());
    let mut head = format!("{:width$}  {:>8}  {:<17}", "", "MEDIAN", "RANGE", width = names + 2);
    if with_kernel {
        head.push_str("  KERNEL");
    }
    if with_tuned {
        head.push_str("   TUNED");
    }
    if rows().any(|(_, row)| !row.goals.is_empty()) {
        head.push_str("  GOAL");
    }
    push_line(text, &head);
    for metric in judged {
        let better = match metric.metric.better {
            Better::Higher => "more is better",
            Better::Lower => "less is better",
        };
        let title = format!("{}: {}, {better}, {}", metric.metric.title, metric.unit, metric.situation());
        wrap(text, 0, &title);
        for row in &metric.rows {
            let mut line = numbers(metric, row, names);
            if with_kernel {
                push_ratio(&mut line, row.kernel);
            }
            if with_tuned {
                push_ratio(&mut line, row.tuned);
            }
            let indent = line.chars().count();
            for (index, goal) in sentence::goals(metric, row).into_iter().enumerate() {
                let before = if index == 0 { line.clone() } else { " ".repeat(indent) };
                push_line(text, &format!("{before}  {goal}"));
            }
            if row.goals.is_empty() {
                push_line(text, &line);
            }
        }
    }
}

fn numbers(metric: &Judged<'_>, row: &Row<'_>, names: usize) -> String {
    let range = format!("{} to {}", metric.number(row.summary.min), metric.number(row.summary.max));
    format!("  {:names$}  {:>8}  {range:<17}", row.series.contender, metric.number(row.summary.median))
}

fn push_ratio(line: &mut String, comparison: Option<Comparison>) {
    let shown = comparison.map_or_else(String::new, |comparison| times(comparison.ratio.value));
    // Writing to a String does not fail.
    let _ = write!(line, "  {shown:>6}");
}

fn push_line(text: &mut String, line: &str) {
    text.push_str(line.trim_end());
    text.push('\n');
}

/// Adds `content` in lines of at most [`WIDTH`] columns; all but the first are indented by two more.
fn wrap(text: &mut String, indent: usize, content: &str) {
    let mut line = " ".repeat(indent);
    let mut is_empty = true;
    for word in content.split_whitespace() {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            push_line(text, &line);
            line = " ".repeat(indent + 2);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    push_line(text, &line);
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn every_line_fits() {
        for report in fixture::all() {
            let text = render(&report);
            for line in text.lines() {
                assert!(line.chars().count() <= WIDTH, "{line}");
                assert_eq!(line, line.trim_end());
            }
        }
    }

    #[test]
    fn golden() {
        for (name, report) in fixture::named() {
            fixture::check(&format!("{name}.txt"), &render(&report));
        }
    }

    #[test]
    fn words_longer_than_a_line_stay_whole() {
        let mut text = String::new();
        wrap(&mut text, 2, &format!("a {} b", "x".repeat(120)));
        assert_eq!(text, format!("  a\n    {}\n    b\n", "x".repeat(120)));
    }
}
