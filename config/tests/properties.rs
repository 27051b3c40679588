//! Properties of reading:
//! - no text makes it panic, neither arbitrary ones nor ones that are nearly right;
//! - a text is either loaded or refused with at least one error, and every error lies inside the text;
//! - errors come in file order; everything can be rendered, in colour, plain and as JSON;
//! - what is loaded twice is the same.

use genkan_config::{Diagnostic, Severity};
use proptest::prelude::*;
use proptest::sample::Index;

const HOME: &str = include_str!("../examples/home.toml");

fn check(text: &str) {
    let result = genkan_config::parse(text, "genkan.toml");
    let diagnostics: &[Diagnostic] = match &result {
        Ok(loaded) => {
            assert!(loaded.warnings.iter().all(|warning| warning.severity == Severity::Warning));
            assert_eq!(loaded.plan.lans.len(), loaded.config.lans.len());
            assert!(genkan_config::diff(loaded, loaded).is_empty());
            &loaded.warnings
        }
        Err(errors) => {
            assert!(!errors.is_empty(), "refused without a reason");
            assert!(errors.iter().all(|error| error.severity == Severity::Error));
            errors
        }
    };
    for diagnostic in diagnostics {
        let labels = diagnostic.primary.iter().chain(&diagnostic.related);
        for label in labels {
            assert!(text.get(label.span.clone()).is_some(), "{diagnostic:?}");
        }
        assert!(!diagnostic.message.is_empty());
    }
    let starts: Vec<usize> =
        diagnostics.iter().filter_map(|diagnostic| Some(diagnostic.primary.as_ref()?.span.start)).collect();
    assert!(starts.is_sorted());
    genkan_config::render(diagnostics, true);
    genkan_config::render(diagnostics, false);
    genkan_config::json(diagnostics).to_string();
    assert_eq!(genkan_config::parse(text, "genkan.toml"), result);
}

/// Pieces that TOML and this file give a meaning to, and some that they do not.
const PIECES: &[&str] = &[
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ".",
    ",",
    "\"",
    "'",
    "\"\"\"",
    "'''",
    "\\",
    "#",
    "\n",
    "\r\n",
    "\r",
    "\t",
    " ",
    "0",
    "-",
    "_",
    ":",
    "/",
    "true",
    "nan",
    "inf",
    "0x",
    "1e9",
    "1_",
    "00",
    "-1",
    "65536",
    "99999999999999999999",
    "2026-12-31",
    "2026-12-31T23:59:59Z",
    "12:00",
    "\u{feff}",
    "\u{0}",
    "é",
    "日本",
    "🦀",
    "“",
    "\u{202e}",
    "[wan]",
    "[[wan]]",
    "[lan]",
    "[[lan]]",
    "[[forward]]",
    "[dmz]",
    "[nat.timeouts]",
    "device = ",
    "address = ",
    "to = ",
    "port = ",
    "from = ",
    "\"192.168.0.1/24\"",
    "\"203.0.113.1\"",
    "\"nas\"",
    "\"nas:\"",
    "\"1-65535\"",
    "\"5m\"",
    "\"20/min\"",
    "schedule = 1\n",
    "\"255.255.255.255/32\"",
    "\"0.0.0.0/0\"",
    "[[[[[[[[[[[[[[[[",
    "{a={a={a={a={a=",
];

#[derive(Clone, Debug)]
enum Edit {
    Insert(Index, Index),
    Delete(Index, usize),
    Replace(Index, char),
    SwapLines(Index, Index),
    RepeatLine(Index),
    DropLine(Index),
    ReplaceValue(Index, Index),
    Cut(Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        (any::<Index>(), any::<Index>()).prop_map(|(at, piece)| Edit::Insert(at, piece)),
        (any::<Index>(), 1..20_usize).prop_map(|(at, len)| Edit::Delete(at, len)),
        (any::<Index>(), any::<char>()).prop_map(|(at, with)| Edit::Replace(at, with)),
        (any::<Index>(), any::<Index>()).prop_map(|(a, b)| Edit::SwapLines(a, b)),
        any::<Index>().prop_map(Edit::RepeatLine),
        any::<Index>().prop_map(Edit::DropLine),
        (any::<Index>(), any::<Index>()).prop_map(|(line, piece)| Edit::ReplaceValue(line, piece)),
        any::<Index>().prop_map(Edit::Cut),
    ]
}

fn apply(text: &str, edit: &Edit) -> String {
    let characters: Vec<char> = text.chars().collect();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    if characters.is_empty() {
        return text.to_owned();
    }
    match edit {
        Edit::Insert(at, piece) => {
            let at = at.index(characters.len() + 1);
            let head: String = characters[..at].iter().collect();
            let tail: String = characters[at..].iter().collect();
            format!("{head}{}{tail}", piece.get(PIECES))
        }
        Edit::Delete(at, len) => {
            let at = at.index(characters.len());
            let end = (at + len).min(characters.len());
            characters[..at].iter().chain(&characters[end..]).collect()
        }
        Edit::Replace(at, with) => {
            let mut characters = characters;
            let at = at.index(characters.len());
            characters[at] = *with;
            characters.into_iter().collect()
        }
        Edit::SwapLines(a, b) => {
            let mut lines = lines;
            let (a, b) = (a.index(lines.len()), b.index(lines.len()));
            lines.swap(a, b);
            lines.concat()
        }
        Edit::RepeatLine(at) => {
            let mut lines = lines;
            let at = at.index(lines.len());
            lines.insert(at, lines[at]);
            lines.concat()
        }
        Edit::DropLine(at) => {
            let mut lines = lines;
            lines.remove(at.index(lines.len()));
            lines.concat()
        }
        Edit::ReplaceValue(at, piece) => {
            let at = at.index(lines.len());
            let line = match lines[at].split_once('=') {
                Some((key, _)) => format!("{key}= {}\n", piece.get(PIECES)),
                None => lines[at].to_owned(),
            };
            lines
                .iter()
                .enumerate()
                .map(|(index, old)| if index == at { line.as_str() } else { old })
                .collect()
        }
        Edit::Cut(at) => characters[..at.index(characters.len())].iter().collect(),
    }
}

/// The example without comments, so that most edits hit something.
fn bare_home() -> String {
    HOME.lines()
        .map(|line| line.split(" #").next().unwrap_or(line).trim_end())
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| format!("{line}\n"))
        .collect()
}

/// A value of the right kind for some key, often a wrong one.
fn value() -> impl Strategy<Value = String> {
    let address =
        (0..4_u8, 0..3_u8, prop_oneof![Just(0_u8), Just(1), Just(2), Just(5), Just(254), Just(255)])
            .prop_map(|(net, subnet, host)| match net {
                0 => format!("203.0.113.{host}"),
                1 => format!("10.{subnet}.0.{host}"),
                _ => format!("192.168.{subnet}.{host}"),
            });
    let port = prop_oneof![0..70_u32, Just(443_u32), Just(65_535), Just(65_536)];
    prop_oneof![
        address.clone().prop_map(|address| format!("\"{address}\"")),
        (address.clone(), 0..34_u8).prop_map(|(address, prefix)| format!("\"{address}/{prefix}\"")),
        (address.clone(), address.clone()).prop_map(|(a, b)| format!("[\"{a}\", \"{b}\"]")),
        (address, port.clone(), port.clone()).prop_map(|(address, a, b)| format!("\"{address}:{a}-{b}\"")),
        (port.clone(), port.clone()).prop_map(|(a, b)| format!("\"{a}-{b}\"")),
        (port.clone(), port.clone(), port.clone()).prop_map(|(a, b, c)| format!("[{a}, \"{b}-{c}\"]")),
        port.prop_map(|port| port.to_string()),
        prop::sample::select(vec![
            "\"nas\"",
            "\"nas:80\"",
            "\"eth0\"",
            "\"eth1\"",
            "\"home\"",
            "[\"*\"]",
            "[\"home\"]",
            "[]",
            "true",
            "false",
            "\"tcp\"",
            "[\"tcp\", \"udp\"]",
            "\"5m\"",
            "\"1s\"",
            "\"auto\"",
            "\"tap\"",
            "\"endpoint-independent\"",
            "2030-01-01T00:00:00Z",
            "\"52:54:00:12:34:56\"",
            "\"/run/x\"",
            "\"Mon-Fri 18:00-23:00\"",
            "\"Asia/Tokyo\"",
        ])
        .prop_map(str::to_owned),
    ]
}

/// Files that are well-formed and mostly use known keys.
fn well_formed() -> impl Strategy<Value = String> {
    let tables: Vec<(&'static str, Vec<&'static str>)> = vec![
        ("[wan]", vec!["device", "address", "gateway", "addresses", "backend", "mtu", "ping"]),
        ("[[lan]]", vec!["name", "device", "address", "reaches", "mtu", "backend"]),
        ("[[route]]", vec!["to", "via"]),
        ("[nat]", vec!["ports", "hairpin", "mapping", "filtering", "max_sessions", "timeouts.udp"]),
        ("[[host]]", vec!["name", "address", "mac", "external", "filtering", "mapping"]),
        (
            "[[forward]]",
            vec![
                "name",
                "protocol",
                "port",
                "to",
                "address",
                "from",
                "enabled",
                "expires",
                "temporary",
                "schedule",
                "max_sessions",
                "max_new_per_source",
                "log",
            ],
        ),
        ("[dmz]", vec!["to"]),
        ("[router]", vec!["tun", "workers", "sandbox", "timezone"]),
        ("[services]", vec!["socket", "state", "group", "save_every", "save_budget"]),
        ("[log]", vec!["level", "format", "nat_events", "nat_destinations"]),
    ];
    let table = prop::sample::select(tables).prop_flat_map(|(header, keys)| {
        let count = keys.len();
        (Just(header), prop::sample::subsequence(keys, 0..=count), prop::collection::vec(value(), count))
    });
    prop::collection::vec(table, 0..12).prop_map(|tables| {
        let mut text = String::new();
        for (header, keys, values) in tables {
            text.push_str(header);
            text.push('\n');
            for (key, value) in keys.into_iter().zip(values) {
                text.push_str(&format!("{key} = {value}\n"));
            }
        }
        text
    })
}

/// The example with many forwards of random ports and sources: lint has to cope with any overlap.
fn forwards() -> impl Strategy<Value = String> {
    let forward = (1..300_u16, 0..300_u16, 0..4_u8, 0..3_u8, any::<bool>(), 0..3_u8);
    prop::collection::vec(forward, 0..20).prop_map(|forwards| {
        let mut text = "[wan]\ndevice = \"eth0\"\naddress = \"203.0.113.1/24\"\naddresses = [\"203.0.113.5\"]\n\
                        [[lan]]\ndevice = \"eth1\"\naddress = \"192.168.0.1/24\"\n"
            .to_owned();
        for (index, (first, length, from, address, enabled, protocol)) in forwards.into_iter().enumerate() {
            text.push_str(&format!(
                "[[forward]]\nname = \"{index}\"\nport = \"{first}-{}\"\nto = \"192.168.0.{}\"\nenabled = {enabled}\n",
                first + length,
                2 + index,
            ));
            text.push_str(["protocol = \"tcp\"\n", "protocol = \"udp\"\n", "protocol = [\"udp\", \"tcp\"]\n"][usize::from(protocol)]);
            text.push_str(["", "from = [\"0.0.0.0/0\"]\n", "from = [\"198.51.100.0/24\"]\n", "from = [\"198.51.100.7\"]\n"][usize::from(from)]);
            text.push_str(["", "address = \"203.0.113.1\"\n", "address = \"203.0.113.5\"\n"][usize::from(address)]);
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text(text in ".{0,200}") {
        check(&text);
    }

    #[test]
    fn arbitrary_pieces(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..40)) {
        check(&pieces.concat());
    }

    #[test]
    fn edited_example(edits in prop::collection::vec(edit(), 1..6)) {
        check(&edits.iter().fold(bare_home(), |text, edit| apply(&text, edit)));
    }

    #[test]
    fn edited_example_with_comments(edits in prop::collection::vec(edit(), 1..4)) {
        check(&edits.iter().fold(HOME.to_owned(), |text, edit| apply(&text, edit)));
    }

    #[test]
    fn well_formed_files(text in well_formed()) {
        check(&text);
    }

    #[test]
    fn overlapping_forwards(text in forwards()) {
        prop_assert!(genkan_config::parse(&text, "genkan.toml").is_ok());
        check(&text);
    }
}
