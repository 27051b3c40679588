//! Golden texts: what a person is told about a file, word for word.
//!
//! `tests/golden/*.txt` hold cases: a line `=== title`, the file, a line `---`, the messages. A line `@base` of a
//! file stands for the shortest configuration without mistakes. `GENKAN_BLESS=1 cargo test -p genkan-config`
//! writes what the code says now; read the difference before it is committed.

use std::path::Path;

use genkan_config::Code;

const BASE: &str = r#"[wan]
device = "eth0"
address = "203.0.113.1/24"
[[lan]]
name = "home"
device = "eth1"
address = "192.168.0.1/24"
"#;

struct Case {
    title: String,
    file: String,
    expected: String,
}

fn split(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut in_file = false;
    for line in text.split_inclusive('\n') {
        if let Some(title) = line.strip_prefix("=== ") {
            cases.push(Case { title: title.trim().to_owned(), file: String::new(), expected: String::new() });
            in_file = true;
        } else if line == "---\n" {
            in_file = false;
        } else if let Some(case) = cases.last_mut() {
            if in_file { &mut case.file } else { &mut case.expected }.push_str(line);
        }
    }
    cases
}

fn messages(file: &str) -> String {
    let source = file.replace("@base\n", BASE);
    match genkan_config::parse(&source, "genkan.toml") {
        Ok(loaded) if loaded.warnings.is_empty() => "no complaints\n".to_owned(),
        Ok(loaded) => genkan_config::render(&loaded.warnings, false),
        Err(errors) => genkan_config::render(&errors, false),
    }
}

fn test_messages(file: &str) -> String {
    let load = &mut |path: &Path| {
        let host = "[[host]]\nname = \"nas\"\naddress = \"192.168.0.10\"\n\
                    [[host]]\nname = \"phone\"\nmac = \"02:00:00:00:00:09\"\n";
        let timed = "[[forward]]\nname = \"web\"\nprotocol = \"tcp\"\nport = 80\nto = \"nas\"\n\
                     schedule = \"Mon-Fri 18:00-23:00\"\n";
        let forward = if path == Path::new("timed.toml") { timed } else { "" };
        genkan_config::parse(&format!("{BASE}{host}{forward}"), &path.display().to_string())
    };
    match genkan_config::expectations::parse_tests(file, "home.test.toml", load) {
        Ok(_) => "no complaints\n".to_owned(),
        Err(errors) => genkan_config::render(&errors, false),
    }
}

#[track_caller]
fn check(name: &str) {
    check_with(name, messages);
}

#[track_caller]
fn check_with(name: &str, messages: fn(&str) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let text = std::fs::read_to_string(&path).expect("the golden file is in the tree");
    let cases = split(&text);
    assert!(!cases.is_empty(), "{name} holds no case");
    let mut blessed = text[..text.find("=== ").unwrap_or(0)].to_owned();
    let mut failed = Vec::new();
    for case in &cases {
        let messages = messages(&case.file);
        // One blank line before the next title.
        let messages = format!("{}\n\n", messages.trim_end());
        blessed.push_str(&format!("=== {}\n{}---\n{messages}", case.title, case.file));
        if messages.trim_end() != case.expected.trim_end() {
            failed.push(format!(
                "{}: {}\nexpected:\n{}\nbut was:\n{messages}",
                name, case.title, case.expected
            ));
        }
    }
    if std::env::var_os("GENKAN_BLESS").is_some() {
        std::fs::write(&path, blessed.trim_end().to_owned() + "\n").expect("the tree can be written");
    } else {
        assert!(failed.is_empty(), "{}", failed.join("\n"));
    }
}

#[test]
fn syntax() {
    check("syntax.txt");
}

#[test]
fn keys() {
    check("keys.txt");
}

#[test]
fn values() {
    check("values.txt");
}

#[test]
fn conflicts() {
    check("conflicts.txt");
}

#[test]
fn forwards() {
    check("forwards.txt");
}

#[test]
fn later_versions() {
    check("later.txt");
}

#[test]
fn schedules() {
    check("schedules.txt");
}

#[test]
fn wan_dhcp() {
    check("wan_dhcp.txt");
}

#[test]
fn dhcp() {
    check("dhcp.txt");
}

#[test]
fn dns() {
    check("dns.txt");
}

#[test]
fn ddns() {
    check("ddns.txt");
}

#[test]
fn lint() {
    check("lint.txt");
}

#[test]
fn many_mistakes() {
    check("many.txt");
}

/// Whoever does what "write ..." says is rid of that mistake.
#[test]
fn advice_works() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut tried = 0;
    for entry in std::fs::read_dir(directory).expect("the golden files are in the tree") {
        let text = std::fs::read_to_string(entry.expect("an entry").path()).expect("a text");
        for case in split(&text) {
            let source = case.file.replace("@base\n", BASE);
            let Err(errors) = genkan_config::parse(&source, "genkan.toml") else { continue };
            for error in &errors {
                let Some(label) = &error.primary else { continue };
                let line = error.file.position(label.span.start).line;
                let advice =
                    error.help.iter().find_map(|help| help.strip_prefix("write `")?.strip_suffix('`'));
                let Some(advice) = advice else { continue };
                let better = match advice.split_once(" = ") {
                    // A whole line.
                    Some((key, _)) if error.file.line(line).trim_start().starts_with(key) => source
                        .lines()
                        .enumerate()
                        .map(|(index, old)| format!("{}\n", if index + 1 == line { advice } else { old }))
                        .collect(),
                    // A value in braces.
                    Some((key, value))
                        if source[..label.span.start].trim_end_matches([' ', '=']).ends_with(key) =>
                    {
                        format!("{}{value}{}", &source[..label.span.start], &source[label.span.end..])
                    }
                    // A header, or an element of a list.
                    None => format!("{}{advice}{}", &source[..label.span.start], &source[label.span.end..]),
                    Some(_) => continue,
                };
                let left = genkan_config::parse(&better, "genkan.toml").err().unwrap_or_default();
                // Another mistake may be hidden on the same line, but not this one, nor may the advice itself be refused.
                let refused = [Code::BadValue, Code::WrongType, Code::Syntax];
                let same = left.iter().any(|other| {
                    other.message == error.message && other.position().map(|at| at.line) == Some(line)
                        || other.position() == error.position() && refused.contains(&other.code)
                });
                assert!(!same, "{}: `{advice}` does not help with\n{error}\nin\n{better}", case.title);
                tried += 1;
            }
        }
    }
    assert!(tried > 60, "only {tried} pieces of advice were tried");
}

#[test]
fn tests() {
    check_with("tests.txt", test_messages);
}
