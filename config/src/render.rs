//! Diagnostics as text, in the look of rustc.

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use crate::error::{Code, Diagnostic, Label, Severity, SourceFile, Span};

/// All diagnostics as text for a terminal, one blank line between them and a closing line that counts them.
/// Empty when there is none. `color` adds ANSI escapes.
pub fn render(diagnostics: &[Diagnostic], color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.decor_style(DecorStyle::Ascii);
    let mut out = String::new();
    for diagnostic in diagnostics {
        out.push_str(&render_one(diagnostic, &renderer));
        out.push_str("\n\n");
    }
    if let Some(count) = count(diagnostics) {
        out.push_str(&count);
        out.push('\n');
    }
    out
}

/// `2 errors, 1 warning`; `None` for nothing.
pub fn count(diagnostics: &[Diagnostic]) -> Option<String> {
    let errors = diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count();
    let warnings = diagnostics.len() - errors;
    let part = |count: usize, word: &str| match count {
        0 => None,
        1 => Some(format!("1 {word}")),
        _ => Some(format!("{count} {word}s")),
    };
    match (part(errors, "error"), part(warnings, "warning")) {
        (Some(errors), Some(warnings)) => Some(format!("{errors}, {warnings}")),
        (one, other) => one.or(other),
    }
}

/// All diagnostics as a JSON array; positions count lines and characters from 1.
pub fn json(diagnostics: &[Diagnostic]) -> serde_json::Value {
    serde_json::Value::Array(
        diagnostics
            .iter()
            .map(|diagnostic| serde_json::to_value(diagnostic).unwrap_or(serde_json::Value::Null))
            .collect(),
    )
}

fn render_one(diagnostic: &Diagnostic, renderer: &Renderer) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(diagnostic.message.as_str()).id(diagnostic.code.as_str());
    let mut group = Group::with_title(title);
    let file = &diagnostic.file;
    if let Some(primary) = &diagnostic.primary {
        // Only the lines that matter are handed over: a file with thousands of rules stays fast.
        let labels = || std::iter::once(primary).chain(&diagnostic.related);
        let first = labels().map(|label| file.line_start(label.span.start)).min().unwrap_or(0);
        let last = labels().map(|label| file.line_end(label.span.end)).max().unwrap_or(0);
        let last = last.max(first);
        let annotation = |kind: AnnotationKind, label: &Label| {
            let span = cut(file, &label.span);
            kind.span(span.start - first..span.end - first).label(label.text.clone())
        };
        let snippet = Snippet::source(&file.shown()[first..last])
            .line_start(file.position(first).line)
            .path(file.name())
            .annotation(annotation(AnnotationKind::Primary, primary))
            .annotations(diagnostic.related.iter().map(|label| annotation(AnnotationKind::Context, label)));
        group = group.element(snippet);
    } else if diagnostic.code != Code::Unreadable {
        group = group.element(Origin::path(file.name()));
    }
    for note in &diagnostic.notes {
        group = group.element(Level::NOTE.message(note.as_str()));
    }
    for help in &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    renderer.render(&[group])
}

/// A span that lies inside the text, on character boundaries, and does not underline beyond its first line
/// (a table's span would underline half the file).
fn cut(file: &SourceFile, span: &Span) -> Span {
    let start = file.boundary(span.start);
    let line_end = file.line_end(start);
    let end = file.boundary(span.end).clamp(start, line_end.max(start));
    start..end
}
