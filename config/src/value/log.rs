//! How much is logged: a level, or levels by part of the program.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{Bad, Text, quoted};
use crate::LogFormat;
use crate::suggest::closest;
use crate::value::word::Words;

/// The levels, the fewest words first.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
const ACCEPTED: &str =
    "off, error, warn, info, debug or trace is accepted, also by part: \"info,genkan_control=debug\"";
/// Longest text in octets: enough for a level for each module.
const MOST: usize = 1024;

/// What of the log is written: a level (`info`), or `tracing` directives (`info,genkan_control=debug`): a level for
/// everything, and others for parts of the program. Without the former, what no part names is not logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLevel {
    /// For what no part names.
    everything: Option<&'static str>,
    /// By the path of a module.
    parts: BTreeMap<String, &'static str>,
}

impl LogLevel {
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong, and what is accepted, in a sentence.
    pub fn parse(text: &str) -> Result<LogLevel, String> {
        <LogLevel as Text>::parse(text).map_err(|bad| format!("{}: {}", bad.what, bad.label))
    }
}

impl Default for LogLevel {
    /// `info`.
    fn default() -> LogLevel {
        LogLevel { everything: Some("info"), parts: BTreeMap::new() }
    }
}

impl fmt::Display for LogLevel {
    /// As `tracing` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.parts.iter().map(|(target, level)| format!("{target}={level}"));
        let all: Vec<String> = self.everything.map(str::to_owned).into_iter().chain(parts).collect();
        f.write_str(&all.join(","))
    }
}

impl Text for LogLevel {
    const TAKES: &'static str = "a log level";
    const MANY: &'static str = "log levels";

    fn parse(text: &str) -> Result<LogLevel, Bad> {
        if text.len() > MOST {
            return Err(Bad::new(format!("it is longer than {MOST} octets"), ACCEPTED).fix("\"info\""));
        }
        let mut found = LogLevel { everything: None, parts: BTreeMap::new() };
        let mut start = 0;
        for directive in text.split(',') {
            let blanks = directive.len() - directive.trim_start().len();
            let place = start + blanks..start + blanks + directive.trim().len();
            start += directive.len() + 1;
            let directive = directive.trim();
            let twice = match directive.split_once('=') {
                None => found.everything.replace(level(directive).map_err(|bad| bad.at(place.clone()))?),
                Some((target, word)) => {
                    let target = target.trim();
                    if !is_target(target) {
                        let what = format!("`{target}` is not a part of the program");
                        return Err(Bad::new(
                            what,
                            "the path of a module, such as genkan_control, is accepted",
                        )
                        .at(place));
                    }
                    let level =
                        level(word.trim()).map_err(|bad| Bad { fix: None, ..bad.at(place.clone()) })?;
                    found.parts.insert(target.to_owned(), level)
                }
            };
            if twice.is_some() {
                let what = format!("`{directive}` is the second level for the same");
                return Err(Bad::new(what, "one level for everything, and one for each part").at(place));
            }
        }
        Ok(found)
    }
}

fn level(word: &str) -> Result<&'static str, Bad> {
    let flat = word.to_lowercase();
    if let Some(level) = LEVELS.iter().find(|level| **level == flat) {
        return Ok(level);
    }
    let meant = match flat.as_str() {
        "" => return Err(Bad::new("a level is missing", ACCEPTED).fix("\"info\"")),
        "warning" => Some("warn"),
        "none" | "quiet" => Some("off"),
        "all" | "verbose" => Some("trace"),
        flat => closest(flat, LEVELS),
    };
    let bad = Bad::new(format!("`{word}` is not a level"), ACCEPTED);
    Err(match meant {
        Some(level) => bad.fix(quoted(level)),
        None => bad,
    })
}

/// The path of a module in Rust.
fn is_target(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !text.is_empty() && text.split("::").all(|part| !part.is_empty() && part.chars().all(fits))
}

impl JsonSchema for LogLevel {
    fn schema_name() -> Cow<'static, str> {
        "LogLevel".into()
    }
    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A level (off, error, warn, info, debug, trace), or levels by part of the program.",
            "type": "string",
            "maxLength": MOST,
            "examples": ["info", "warn", "info,genkan_control=debug"],
        })
    }
}

impl Words for LogFormat {
    const TAKES: &'static str = "a form of the log";
    const MANY: &'static str = "forms of the log";
    const WORDS: &'static [(&'static str, LogFormat)] = &[
        ("auto", LogFormat::Auto),
        ("text", LogFormat::Text),
        ("json", LogFormat::Json),
        ("journald", LogFormat::Journald),
    ];
    const ALIASES: &'static [(&'static str, &'static str)] = &[
        ("journal", "journald"),
        ("systemd", "journald"),
        ("default", "auto"),
        ("plain", "text"),
        ("jsonl", "json"),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_levels_and_directives() {
        for (text, canonical) in [
            ("info", "info"),
            (" WARN ", "warn"),
            ("off", "off"),
            ("info, genkan_control = debug", "info,genkan_control=debug"),
            ("genkan::daemon::changes=trace,error", "error,genkan::daemon::changes=trace"),
            ("genkan_io=off", "genkan_io=off"),
        ] {
            assert_eq!(
                LogLevel::parse(text).map(|level| level.to_string()).as_deref(),
                Ok(canonical),
                "{text}"
            );
        }
        assert_eq!(LogLevel::default().to_string(), "info");
    }

    #[test]
    fn refuses_the_rest() {
        for (text, what, fix) in [
            ("", "a level is missing", Some("\"info\"")),
            ("info,", "a level is missing", Some("\"info\"")),
            ("inof", "`inof` is not a level", Some("\"info\"")),
            ("Warning", "`Warning` is not a level", Some("\"warn\"")),
            ("genkan_control", "`genkan_control` is not a level", None),
            ("info,genkan=loud", "`loud` is not a level", None),
            ("info,debug", "`debug` is the second level for the same", None),
            ("a=info,a=debug", "`a=debug` is the second level for the same", None),
            ("=info", "`` is not a part of the program", None),
            ("genkan[span]=info", "`genkan[span]` is not a part of the program", None),
        ] {
            let bad = <LogLevel as Text>::parse(text).expect_err(text);
            assert_eq!((bad.what.as_str(), bad.fix.as_deref()), (what, fix), "{text}");
        }
        assert!(LogLevel::parse(&"info,".repeat(1000)).is_err());
    }
}
