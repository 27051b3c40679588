//! Charts: for every metric a bar per contender, its median, with a whisker from the least to the greatest round.
//!
//! Made by hand, since bars and lines are all there is. No scripts, no fonts of its own, and colours for light and dark.

use std::fmt::Write as _;

use super::judgement::{Judged, Row, judge, times};
use super::xml::escape;
use super::{Better, KERNEL, KERNEL_TUNED, Report};

/// Width of a chart in pixels, as are all lengths here.
const WIDTH: usize = 760;
/// Where bars begin.
const LEFT: usize = 230;
/// Where the longest whisker ends.
const RIGHT: usize = 570;
/// Of a bar with the space around it.
const ROW: usize = 28;
/// Of a bar.
const BAR: usize = 16;
/// Above the first bar.
const HEAD: usize = 54;
/// Below the last bar.
const FOOT: usize = 14;

/// Colours and type of the charts.
pub(super) const STYLE: &str = "\
.chart text{font:13px system-ui,sans-serif;fill:#1f2328}
.chart .title{font-weight:600;font-size:15px}
.chart .faint{fill:#59636e}
.chart .genkan{fill:#0b6e8f}
.chart .kernel{fill:#8c959f}
.chart .tuned{fill:#b8a27a}
.chart .axis,.chart .whisker{stroke:#1f2328;stroke-width:1.5;fill:none}
.chart .level{stroke:#59636e;stroke-dasharray:3 3}
.paper{fill:#fff}
@media (prefers-color-scheme:dark){
.chart text{fill:#e6edf3}
.chart .faint{fill:#9198a1}
.chart .genkan{fill:#3fb4d8}
.chart .kernel{fill:#6e7681}
.chart .tuned{fill:#8a7a55}
.chart .axis,.chart .whisker{stroke:#e6edf3}
.chart .level{stroke:#9198a1}
.paper{fill:#0d1117}
}
";

/// All charts below each other, as a file of their own.
pub(super) fn file(report: &Report) -> String {
    let judged = judge(report);
    let whole: usize = judged.iter().map(height).sum::<usize>() + FOOT;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {whole}\" width=\"{WIDTH}\" \
         height=\"{whole}\" class=\"chart\" role=\"img\">\n<title>genkan bench, {}</title>\n<style>\n{STYLE}</style>\n\
         <rect class=\"paper\" width=\"{WIDTH}\" height=\"{whole}\"/>\n",
        escape(&report.about.date)
    );
    let mut top = 0;
    for metric in &judged {
        let _ = writeln!(svg, "<g transform=\"translate(0 {top})\">");
        body(&mut svg, metric);
        svg.push_str("</g>\n");
        top += height(metric);
    }
    svg.push_str("</svg>\n");
    svg
}

/// The chart of one metric, to stand in a page that has [`STYLE`].
pub(super) fn figure(metric: &Judged<'_>) -> String {
    let height = height(metric);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" class=\"chart\" role=\"img\" aria-label=\"{}\">\n",
        escape(&metric.metric.title)
    );
    body(&mut svg, metric);
    svg.push_str("</svg>\n");
    svg
}

fn height(metric: &Judged<'_>) -> usize {
    HEAD + metric.rows.len() * ROW + FOOT
}

fn body(svg: &mut String, metric: &Judged<'_>) {
    let better = match metric.metric.better {
        Better::Higher => "longer is better",
        Better::Lower => "shorter is better",
    };
    let _ = writeln!(
        svg,
        "<text x=\"16\" y=\"24\" class=\"title\">{}</text>\n<text x=\"16\" y=\"42\" class=\"faint\">{}, {}; {better}</text>",
        escape(&metric.metric.title),
        escape(metric.unit),
        escape(metric.situation())
    );
    let largest = metric.rows.iter().map(|row| row.summary.max).fold(0.0, f64::max);
    // A bar of nothing but zeros has no length.
    let scale = if largest > 0.0 { (RIGHT - LEFT) as f64 / largest } else { 0.0 };
    let bottom = HEAD + metric.rows.len() * ROW;
    let kernel = metric.rows.iter().find(|row| row.series.contender == KERNEL);
    if let Some(kernel) = kernel {
        let x = LEFT as f64 + kernel.summary.median * scale;
        let _ = writeln!(svg, "<path class=\"level\" d=\"M{x:.1} {HEAD}V{bottom}\"/>");
    }
    for (index, row) in metric.rows.iter().enumerate() {
        bar(svg, metric, row, HEAD + index * ROW, scale);
    }
    let _ = writeln!(svg, "<path class=\"axis\" d=\"M{LEFT} {HEAD}V{bottom}\"/>");
}

fn bar(svg: &mut String, metric: &Judged<'_>, row: &Row<'_>, top: usize, scale: f64) {
    let contender = row.series.contender.as_str();
    let class = match contender {
        KERNEL => "kernel",
        KERNEL_TUNED => "tuned",
        _ => "genkan",
    };
    let (upper, middle) = (top + (ROW - BAR) / 2, top + ROW / 2);
    let x = |value: f64| LEFT as f64 + value.max(0.0) * scale;
    let (low, high) = (x(row.summary.min), x(row.summary.max));
    let length = x(row.summary.median) - LEFT as f64;
    let text = middle + 5;
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{text}\" text-anchor=\"end\">{}</text>\n\
         <rect class=\"{class}\" x=\"{LEFT}\" y=\"{upper}\" width=\"{length:.1}\" height=\"{BAR}\"/>\n\
         <path class=\"whisker\" d=\"M{low:.1} {middle}H{high:.1}M{low:.1} {}v8M{high:.1} {}v8\"/>",
        LEFT - 8,
        escape(contender),
        middle - 4,
        middle - 4
    );
    let mut shown = metric.number(row.summary.median);
    if let Some(kernel) = row.kernel {
        let _ = write!(shown, "  ({} the kernel)", times(kernel.ratio.value));
    }
    let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{text}\">{}</text>", high + 10.0, escape(&shown));
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn golden() {
        // A chart does not tell whether it was forced.
        for (name, report) in fixture::named().into_iter().filter(|(name, _)| *name != "forced") {
            fixture::check(&format!("{name}.svg"), &file(&report));
        }
    }

    #[test]
    fn a_chart_draws_what_it_is_given() {
        let metric = fixture::packets(Better::Higher, &[1.0, 2.0, 3.0], &[4.0, 4.0, 4.0]);
        let report = Report { metrics: vec![metric], ..fixture::empty() };
        let svg = file(&report);
        // The greatest value, 4, ends at the right; a median of 2 is half as long.
        assert!(svg.contains(&format!("class=\"kernel\" x=\"{LEFT}\" y=\"88\" width=\"340.0\"")), "{svg}");
        assert!(svg.contains(&format!("class=\"genkan\" x=\"{LEFT}\" y=\"60\" width=\"170.0\"")), "{svg}");
        let (one, three) = (LEFT as f64 + 85.0, LEFT as f64 + 255.0);
        assert!(svg.contains(&format!("M{one:.1} 68H{three:.1}")), "{svg}");
        assert!(svg.contains("(0.50x the kernel)"), "{svg}");
    }

    #[test]
    fn names_are_text_and_zeros_are_drawn() {
        let mut metric = fixture::packets(Better::Higher, &[0.0; 5], &[0.0; 5]);
        metric.title = "<b>&".to_owned();
        metric.series[0].contender = "\"><script>".to_owned();
        let svg = file(&Report { metrics: vec![metric], ..fixture::empty() });
        assert!(svg.contains("&lt;b&gt;&amp;") && !svg.contains("<script>"), "{svg}");
        assert!(svg.contains("width=\"0.0\"") && !svg.contains("NaN"), "{svg}");
    }
}
