//! The report as one page that needs nothing beside it: sentences, charts, the table, and with what it was taken.

use std::fmt::Write as _;

use super::judgement::{Comparison, Judged, judge, notes, times};
use super::xml::escape;
use super::{Report, sentence, svg};

const STYLE: &str = "\
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1f2328;background:#fff}
h1{font-size:1.6rem;margin-bottom:0}
h2{font-size:1.2rem;margin-top:2rem}
svg{width:100%;max-width:760px;height:auto;display:block}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.25rem .75rem .25rem 0;border-bottom:1px solid #d1d9e0}
.number{text-align:right;white-space:nowrap}
.warning{border-left:.3rem solid #bf8700;padding:.1rem 1rem}
@media (prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}th,td{border-color:#3d444d}}
";

/// The whole page.
pub(super) fn page(report: &Report) -> String {
    let judged = judge(report);
    let about = &report.about;
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>genkan bench, {date}</title>\n<style>\n{STYLE}{}</style>\n</head>\n<body>\n\
         <h1>genkan bench</h1>\n<p>{date}</p>\n",
        svg::STYLE,
        date = escape(&about.date)
    );
    noise(&mut page, report);
    page.push_str("<h2>In words</h2>\n<ul>\n");
    for metric in &judged {
        let said = sentence::sentences(metric).join(" ");
        let _ = writeln!(page, "<li><b>{}</b>: {}</li>", escape(&metric.metric.title), escape(&said));
    }
    page.push_str("</ul>\n<h2>Charts</h2>\n<p>Bars are medians; whiskers go from the least to the greatest round.</p>\n");
    judged.iter().for_each(|metric| page.push_str(&svg::figure(metric)));
    page.push_str("<h2>Numbers</h2>\n");
    table(&mut page, &judged);
    page.push_str("<h2>Taken with</h2>\n<table>\n");
    let cpus = about.cpus.to_string();
    let facts = [
        ("genkan", &about.genkan),
        ("Linux", &about.kernel),
        ("processor", &about.cpu),
        ("CPUs", &cpus),
        ("place", &about.place),
    ];
    let settings = report.settings.iter().map(|(name, value)| (name.as_str(), value));
    for (name, value) in facts.into_iter().chain(settings) {
        let _ = writeln!(page, "<tr><th>{}</th><td>{}</td></tr>", escape(name), escape(value));
    }
    page.push_str("</table>\n");
    let notes = notes(report);
    if !notes.is_empty() {
        page.push_str("<h2>Notes</h2>\n");
        list(&mut page, &notes);
    }
    page.push_str("</body>\n</html>\n");
    page
}

fn noise(page: &mut String, report: &Report) {
    let noise = &report.noise;
    if noise.is_quiet() {
        return;
    }
    let nevertheless = if noise.forced { "; it was asked to do so nevertheless" } else { "" };
    let _ =
        writeln!(page, "<div class=\"warning\">\n<p>This machine is too noisy to compare{nevertheless}:</p>");
    list(page, &noise.findings);
    if !noise.advice.is_empty() {
        page.push_str("<p>What would help:</p>\n");
        list(page, &noise.advice);
    }
    page.push_str("</div>\n");
}

fn list(page: &mut String, items: &[String]) {
    page.push_str("<ul>\n");
    for item in items {
        let _ = writeln!(page, "<li>{}</li>", escape(item));
    }
    page.push_str("</ul>\n");
}

fn table(page: &mut String, judged: &[Judged<'_>]) {
    page.push_str(
        "<div class=\"scroll\">\n<table>\n<tr><th>metric</th><th>contender</th><th class=\"number\">median</th>\
         <th class=\"number\">range</th><th>unit</th><th class=\"number\">to kernel</th>\
         <th class=\"number\">to tuned kernel</th><th>goal</th></tr>\n",
    );
    let ratio = |comparison: Option<Comparison>| {
        comparison.map_or_else(String::new, |comparison| times(comparison.ratio.value))
    };
    for metric in judged {
        for row in &metric.rows {
            let _ = writeln!(
                page,
                "<tr><td>{}</td><td>{}</td><td class=\"number\">{}</td><td class=\"number\">{} to {}</td><td>{}</td>\
                 <td class=\"number\">{}</td><td class=\"number\">{}</td><td>{}</td></tr>",
                escape(&metric.metric.title),
                escape(&row.series.contender),
                metric.number(row.summary.median),
                metric.number(row.summary.min),
                metric.number(row.summary.max),
                escape(metric.unit),
                ratio(row.kernel),
                ratio(row.tuned),
                escape(&sentence::goals(metric, row).join(", "))
            );
        }
    }
    page.push_str("</table>\n</div>\n");
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn golden() {
        for (name, report) in fixture::named() {
            // Charts and their style have files of their own.
            let mut text = page(&report).replace(svg::STYLE, "(the charts' style)\n");
            for metric in judge(&report) {
                let figure = svg::figure(&metric);
                assert_eq!(text.matches(&figure).count(), 1, "{name}: {}", metric.metric.key);
                text = text.replace(&figure, &format!("(the chart of {})\n", metric.metric.key));
            }
            fixture::check(&format!("{name}.html"), &text);
        }
    }

    #[test]
    fn everything_is_text_and_nothing_is_fetched() {
        for report in fixture::all() {
            let page = page(&report);
            for foreign in ["<script", "http://", "https://", "url(", "@import", "<img"] {
                assert!(!page.contains(foreign), "{foreign}:\n{page}");
            }
        }
    }
}
