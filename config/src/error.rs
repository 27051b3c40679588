//! What is wrong with a file, said so that a person can mend it.
//!
//! Every mistake is one [`Diagnostic`]: it points at the text that causes it, names the key and the value,
//! says what is accepted, and where possible shows a line that would work. All mistakes of a file are
//! collected before anything is reported.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};

use crate::secrets;

/// Octets of the source, counted from its start.
pub type Span = Range<usize>;

/// The text of a configuration and the name it is shown under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    name: String,
    text: String,
    /// What messages show, if passwords are in the text.
    shown: Option<String>,
    /// Where each line starts; never empty.
    lines: Vec<usize>,
}

/// A place in a file, for people: both numbers count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The character in the line (Unicode scalar values, not octets).
    pub column: usize,
}

impl SourceFile {
    /// A file shown as `name`.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> SourceFile {
        let text = text.into();
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let shown = match secrets::hidden(&text) {
            Cow::Borrowed(_) => None,
            Cow::Owned(shown) => Some(shown),
        };
        SourceFile { name: name.into(), text, shown, lines }
    }

    /// The name it is shown under, usually the path as typed.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole text, passwords included.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The whole text with [`secrets::hidden`]: every octet has its place, so spans fit both.
    pub fn shown(&self) -> &str {
        self.shown.as_deref().unwrap_or(&self.text)
    }

    /// Line and column of an octet. Places beyond the end are the end.
    pub fn position(&self, at: usize) -> Position {
        let at = self.boundary(at);
        let line = self.lines.partition_point(|start| *start <= at) - 1;
        Position { line: line + 1, column: self.text[self.lines[line]..at].chars().count() + 1 }
    }

    /// The text of a line (from 1) without its end and without passwords, empty when there is no such line.
    pub fn line(&self, line: usize) -> &str {
        let Some(start) = line.checked_sub(1).and_then(|index| self.lines.get(index)) else { return "" };
        let end = self.lines.get(line).copied().unwrap_or(self.text.len());
        self.shown()[*start..end].trim_end_matches(['\n', '\r'])
    }

    /// Where the line that holds an octet begins.
    pub(crate) fn line_start(&self, at: usize) -> usize {
        let at = self.boundary(at);
        self.lines[self.lines.partition_point(|start| *start <= at) - 1]
    }

    /// Where the text of the line that holds an octet ends, before its line end.
    pub(crate) fn line_end(&self, at: usize) -> usize {
        let at = self.boundary(at);
        match self.lines.get(self.lines.partition_point(|start| *start <= at)) {
            // Never before `at`: a place between the two characters of a line end is its own end.
            Some(next) if self.text[..*next].ends_with("\r\n") => at.max(next - 2),
            Some(next) => next - 1,
            None => self.text.len(),
        }
    }

    /// The nearest place at or before `at` that lies inside the text and not inside a character.
    pub(crate) fn boundary(&self, at: usize) -> usize {
        let mut at = at.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        at
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file works, but probably not as meant, or with a risk worth knowing.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        })
    }
}

/// The kind of a mistake: a short, stable word for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The file cannot be read.
    Unreadable,
    /// Not TOML.
    Syntax,
    /// A key that does not exist.
    UnknownKey,
    /// A key of a function that this version does not have yet.
    NotYet,
    /// A key that has to be there is not.
    MissingKey,
    /// A value of the wrong TOML type.
    WrongType,
    /// A value that its key does not take.
    BadValue,
    /// Two parts of the file contradict each other.
    Conflict,
    /// A name or address that should be defined elsewhere in the file is not.
    NotFound,
    /// Lint: everything that nobody else takes goes to one inside host.
    DmzOpen,
    /// Lint: a service that gets attacked is open to everybody.
    OpenService,
    /// Lint: a target that no lan and no route leads to.
    TargetOutside,
    /// Lint: a target whose address DHCP may give to any machine.
    TargetInPool,
    /// Lint: a rule that an earlier one always beats, or that says the same.
    Shadowed,
    /// Lint: hardly any dynamic ports are left.
    FewPorts,
    /// Lint: a timeout below the floor that an RFC sets.
    ShortTimeout,
    /// Lint: a lease that machines can hardly keep.
    ShortLease,
    /// Lint: a password that others can read, or a file of one that is not there.
    SecretFile,
    /// Lint: a file that the DNS service is to read, and that is none.
    DnsFile,
    /// Lint: a name that the DNS service does not give, or that hides the names of others.
    DnsName,
    /// Lint: machines are told to ask a resolver that is none.
    NoResolver,
}

impl Code {
    /// The word itself, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Code::Unreadable => "unreadable",
            Code::Syntax => "syntax",
            Code::UnknownKey => "unknown-key",
            Code::NotYet => "not-yet",
            Code::MissingKey => "missing-key",
            Code::WrongType => "wrong-type",
            Code::BadValue => "bad-value",
            Code::Conflict => "conflict",
            Code::NotFound => "not-found",
            Code::DmzOpen => "dmz-open",
            Code::OpenService => "open-service",
            Code::TargetOutside => "target-outside",
            Code::TargetInPool => "target-in-pool",
            Code::Shadowed => "shadowed",
            Code::FewPorts => "few-ports",
            Code::ShortTimeout => "short-timeout",
            Code::ShortLease => "short-lease",
            Code::SecretFile => "secret-file",
            Code::DnsFile => "dns-file",
            Code::DnsName => "dns-name",
            Code::NoResolver => "no-resolver",
        }
    }
}

/// A stretch of the file and what to say beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// What is underlined.
    pub span: Span,
    /// The words beside the underline; may be empty.
    pub text: String,
}

/// One mistake or warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// Its kind.
    pub code: Code,
    /// One sentence: the key, the value, what is wrong.
    pub message: String,
    /// The file it is about.
    pub file: Arc<SourceFile>,
    /// The text that causes it; `None` only when the file could not be read.
    pub primary: Option<Label>,
    /// Other places of the file that take part.
    pub related: Vec<Label>,
    /// Background, one line each.
    pub notes: Vec<String>,
    /// What to write instead, one line each.
    pub help: Vec<String>,
}

impl Diagnostic {
    /// Where the underlined text begins.
    pub fn position(&self) -> Option<Position> {
        self.primary.as_ref().map(|label| self.file.position(label.span.start))
    }
}

/// Words are added to a diagnostic after it was reported.
impl Diagnostic {
    /// The words beside the underline.
    pub(crate) fn label(&mut self, text: impl Into<String>) -> &mut Diagnostic {
        if let Some(primary) = &mut self.primary {
            primary.text = text.into();
        }
        self
    }

    /// Another place that takes part.
    pub(crate) fn related(&mut self, span: &Span, text: impl Into<String>) -> &mut Diagnostic {
        self.related.push(Label { span: span.clone(), text: text.into() });
        self
    }

    /// A line of background.
    pub(crate) fn note(&mut self, text: impl Into<String>) -> &mut Diagnostic {
        self.notes.push(text.into());
        self
    }

    /// A line that says what to write instead.
    pub(crate) fn help(&mut self, text: impl Into<String>) -> &mut Diagnostic {
        self.help.push(text.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    /// One line: `home.toml:3:11: error: ...`, without the source text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.name())?;
        if let Some(Position { line, column }) = self.position() {
            write!(f, "{line}:{column}:")?;
        }
        write!(f, " {}: {}", self.severity, self.message)
    }
}

impl Serialize for Label {
    /// Positions need the file, so this is only the text; [`Diagnostic`] writes the rest.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.text.serialize(serializer)
    }
}

/// A label with its place spelled out.
#[derive(Serialize)]
struct PlacedLabel<'a> {
    start: Position,
    end: Position,
    text: &'a str,
}

impl<'a> PlacedLabel<'a> {
    fn new(file: &SourceFile, label: &'a Label) -> PlacedLabel<'a> {
        PlacedLabel {
            start: file.position(label.span.start),
            end: file.position(label.span.end),
            text: &label.text,
        }
    }
}

impl Serialize for Diagnostic {
    /// `severity`, `code`, `message`, `file`, `line` and `column` (null when the file could not be read),
    /// `primary`, `related`, `notes`, `help`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let position = self.position();
        let mut object = serializer.serialize_struct("Diagnostic", 10)?;
        object.serialize_field("severity", &self.severity)?;
        object.serialize_field("code", self.code.as_str())?;
        object.serialize_field("message", &self.message)?;
        object.serialize_field("file", self.file.name())?;
        object.serialize_field("line", &position.map(|position| position.line))?;
        object.serialize_field("column", &position.map(|position| position.column))?;
        let primary = self.primary.as_ref().map(|label| PlacedLabel::new(&self.file, label));
        object.serialize_field("primary", &primary)?;
        let related: Vec<_> = self.related.iter().map(|label| PlacedLabel::new(&self.file, label)).collect();
        object.serialize_field("related", &related)?;
        object.serialize_field("notes", &self.notes)?;
        object.serialize_field("help", &self.help)?;
        object.end()
    }
}

/// Collects the diagnostics of one file.
#[derive(Debug)]
pub(crate) struct Report {
    file: Arc<SourceFile>,
    diagnostics: Vec<Diagnostic>,
}

impl Report {
    /// Nothing wrong yet.
    pub(crate) fn new(file: Arc<SourceFile>) -> Report {
        Report { file, diagnostics: Vec::new() }
    }

    /// The file.
    pub(crate) fn file(&self) -> &Arc<SourceFile> {
        &self.file
    }

    /// The text of a span without passwords, empty when it lies outside the file.
    pub(crate) fn text(&self, span: &Span) -> &str {
        self.file.shown().get(span.clone()).unwrap_or_default()
    }

    /// Reports a mistake.
    pub(crate) fn error(&mut self, code: Code, span: &Span, message: impl Into<String>) -> &mut Diagnostic {
        self.push(Severity::Error, code, Some(span), message.into())
    }

    /// Reports lint.
    pub(crate) fn warning(&mut self, code: Code, span: &Span, message: impl Into<String>) -> &mut Diagnostic {
        self.push(Severity::Warning, code, Some(span), message.into())
    }

    /// Reports a mistake of the file as a whole.
    pub(crate) fn whole_file(&mut self, code: Code, message: impl Into<String>) -> &mut Diagnostic {
        self.push(Severity::Error, code, None, message.into())
    }

    fn push(
        &mut self,
        severity: Severity,
        code: Code,
        span: Option<&Span>,
        message: String,
    ) -> &mut Diagnostic {
        self.diagnostics.push(Diagnostic {
            severity,
            code,
            message,
            file: Arc::clone(&self.file),
            primary: span.map(|span| Label { span: span.clone(), text: String::new() }),
            related: Vec::new(),
            notes: Vec::new(),
            help: Vec::new(),
        });
        let last = self.diagnostics.len() - 1;
        &mut self.diagnostics[last]
    }

    /// Adds a line of background to what was reported last.
    pub(crate) fn note_last(&mut self, text: &str) {
        if let Some(last) = self.diagnostics.last_mut() {
            last.note(text);
        }
    }

    /// How much was reported.
    pub(crate) fn count(&self) -> usize {
        self.diagnostics.len()
    }

    /// Whether a mistake was reported.
    pub(crate) fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// Forgets what `keep` does not want.
    pub(crate) fn retain(&mut self, keep: impl FnMut(&Diagnostic) -> bool) {
        self.diagnostics.retain(keep);
    }

    /// Everything of one severity, in file order; what is about the whole file goes last.
    pub(crate) fn into_sorted(self, severity: Severity) -> Vec<Diagnostic> {
        let mut diagnostics = self.diagnostics;
        diagnostics.retain(|diagnostic| diagnostic.severity == severity);
        diagnostics.sort_by_key(|diagnostic| {
            diagnostic.primary.as_ref().map_or(usize::MAX, |label| label.span.start)
        });
        diagnostics
    }
}
