//! Any text as a configuration, and the example with edits; a configuration without errors makes a router.

use arbitrary::{Arbitrary, Unstructured};

/// What edits start from.
const EXAMPLE: &str = include_str!("../../config/examples/home.toml");
/// Longer texts only take longer.
const MAX_LEN: usize = 16 << 10;

/// One change of the example's lines.
#[derive(Arbitrary, Debug)]
enum Edit<'a> {
    Remove {
        line: u8,
    },
    Double {
        line: u8,
    },
    Swap {
        line: u8,
        with: u8,
    },
    /// What is commented out counts, and the other way round.
    Comment {
        line: u8,
    },
    Value {
        line: u8,
        value: &'a str,
    },
    /// A value of another line.
    Take {
        line: u8,
        from: u8,
    },
    Octet {
        line: u8,
        at: u8,
        octet: u8,
    },
    Insert {
        line: u8,
        text: &'a str,
    },
    Cut {
        line: u8,
    },
}

/// Parses, renders what is wrong, and makes a router of what is right. Behind a first octet of 0xff, which no
/// text has, stand edits of the example.
///
/// # Panics
/// On a bug.
pub fn check(octets: &[u8]) {
    match octets {
        [0xff, edits @ ..] => check_text(&edited(&mut Unstructured::new(edits))),
        text => {
            if let Ok(text) = std::str::from_utf8(text) {
                check_text(text);
            }
        }
    }
}

fn edited(input: &mut Unstructured<'_>) -> String {
    let mut lines: Vec<String> = EXAMPLE.lines().map(str::to_owned).collect();
    while !input.is_empty() {
        let Ok(edit) = Edit::arbitrary(input) else { break };
        let count = lines.len();
        let index = |line: u8| usize::from(line) % count.max(1);
        if count == 0 {
            break;
        }
        match edit {
            Edit::Remove { line } => drop(lines.remove(index(line))),
            Edit::Double { line } => lines.insert(index(line), lines[index(line)].clone()),
            Edit::Swap { line, with } => lines.swap(index(line), index(with)),
            Edit::Comment { line } => {
                let line = &mut lines[index(line)];
                *line = match line.trim_start().strip_prefix('#') {
                    Some(rest) => rest.trim_start().to_owned(),
                    None => format!("# {line}"),
                };
            }
            Edit::Value { line, value } => set_value(&mut lines[index(line)], value),
            Edit::Take { line, from } => {
                let taken = lines[index(from)].split_once('=').map(|(_, value)| value.to_owned());
                set_value(&mut lines[index(line)], taken.as_deref().unwrap_or(" []"));
            }
            Edit::Octet { line, at, octet } => {
                let line = &mut lines[index(line)];
                let mut characters: Vec<char> = line.chars().collect();
                let count = characters.len().max(1);
                if let Some(character) = characters.get_mut(usize::from(at) % count) {
                    *character = char::from(octet);
                }
                *line = characters.into_iter().collect();
            }
            Edit::Insert { line, text } => lines.insert(index(line), text.to_owned()),
            Edit::Cut { line } => lines.truncate(index(line)),
        }
    }
    lines.join("\n")
}

fn set_value(line: &mut String, value: &str) {
    if let Some((key, _)) = line.split_once('=') {
        *line = format!("{key}={value}");
    }
}

fn check_text(text: &str) {
    if text.len() > MAX_LEN {
        return;
    }
    match genkan_config::parse(text, "fuzz.toml") {
        Ok(loaded) => {
            show(&loaded.warnings);
            let diff = genkan_config::diff(&loaded, &loaded);
            assert!(diff.is_empty(), "a configuration does not differ from itself");
            let mut plan = loaded.plan;
            // Tables are sized at the start: not a million entries for every input.
            plan.nat.max_sessions = plan.nat.max_sessions.min(64);
            genkan_tests::lab::Lab::new(plan).advance(std::time::Duration::from_secs(60));
        }
        Err(errors) => {
            assert!(!errors.is_empty(), "a refusal has a reason");
            show(&errors);
        }
    }
}

fn show(diagnostics: &[genkan_config::Diagnostic]) {
    for color in [false, true] {
        let text = genkan_config::render(diagnostics, color);
        assert_eq!(text.is_empty(), diagnostics.is_empty());
    }
    let _ = genkan_config::json(diagnostics).to_string();
    let _ = genkan_config::count(diagnostics);
}
