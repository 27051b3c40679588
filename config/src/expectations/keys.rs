//! The file as written: each key with its place in the text.

use std::sync::OnceLock;

use genkan_engine::plan::{FilteringBehavior, MappingBehavior};
use toml::de::DeTable;

use super::MOST_CONNECTIONS;
use super::values::{FilePath, Party, Reason, Sent, Simple, TestName};
use crate::error::{Code, Report, Span};
use crate::json_schema::Keys;
use crate::table::{Grammar, Table};
use crate::value::Field;
use crate::value::duration::Humane;
use crate::value::moment::Moment;
use crate::value::name::LanPattern;
use crate::value::number::Number;
use crate::value::word::Word;

pub(super) type Count = Number<1, MOST_CONNECTIONS>;

/// A file of expectations.
static TESTS: Grammar = Grammar {
    what: "a file of tests",
    keys,
    either: &["expect"],
    later: |_, _| None,
    synonyms: &[
        ("", &["configuration", "file", "genkan"], "config"),
        ("", &["tests", "expect", "case"], "test"),
        ("test", &["title", "label", "description"], "name"),
        ("test", &["steps", "then"], "step"),
        ("test", &["proto"], "protocol"),
        ("test", &["source", "src"], "from"),
        ("test", &["destination", "dst", "target"], "to"),
        ("test", &["expects", "expected", "result"], "expect"),
        ("test", &["time", "when", "date"], "at"),
        ("test", &["wait", "later", "sleep"], "after"),
        ("test", &["count", "times"], "connections"),
        ("test.step", &["expects", "expected", "result"], "expect"),
        ("test.step", &["wait", "later", "sleep"], "after"),
        ("test.step", &["time", "when", "date"], "at"),
        ("test.step", &["config", "change"], "reload"),
        ("test.expect", &["to", "target", "destination"], "reaches"),
        ("test.expect", &["from", "seen", "sees", "seen_as"], "source"),
        ("test.expect", &["reply", "answer", "answers_from"], "reply_from"),
        ("test.expect", &["reason", "dropped"], "refused"),
        ("test.step.expect", &["to", "target", "destination"], "reaches"),
        ("test.step.expect", &["from", "seen", "sees", "seen_as"], "source"),
        ("test.step.expect", &["reply", "answer", "answers_from"], "reply_from"),
        ("test.step.expect", &["reason", "dropped"], "refused"),
    ],
};

const EXPECT: [&str; 8] =
    ["reaches", "hairpin", "source", "reply_from", "refused", "mapping", "filtering", "passes"];
const STEP: [&str; 10] =
    ["after", "at", "reload", "from", "to", "protocol", "in", "sources", "connections", "expect"];

fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let owned = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<String>>();
        let mut test = owned(&["name", "step"]);
        test.extend(owned(&STEP));
        Keys::from([
            (String::new(), owned(&["config", "at", "test"])),
            ("test".to_owned(), test),
            ("test.step".to_owned(), owned(&STEP)),
            ("test.expect".to_owned(), owned(&EXPECT)),
            ("test.step.expect".to_owned(), owned(&EXPECT)),
        ])
    })
}

/// The whole file.
pub(super) struct File {
    pub(super) config: Field<FilePath>,
    pub(super) at: Field<Moment>,
    pub(super) tests: Vec<Test>,
}

/// `[[test]]`.
pub(super) struct Test {
    pub(super) name: Field<TestName>,
    /// Its own keys, which the steps begin with; or the only step.
    pub(super) step: Step,
    /// `[[test.step]]`.
    pub(super) steps: Vec<Step>,
}

/// What can be said of a step.
pub(super) struct Step {
    pub(super) span: Span,
    pub(super) after: Field<Humane>,
    pub(super) at: Field<Moment>,
    pub(super) reload: Field<FilePath>,
    pub(super) from: Field<Party>,
    pub(super) to: Field<Party>,
    pub(super) protocol: Field<Word<Sent>>,
    /// Which of the three above are not there at all.
    pub(super) absent: Vec<&'static str>,
    pub(super) port: Field<LanPattern>,
    pub(super) sources: Field<Count>,
    pub(super) connections: Field<Count>,
    /// It is there, though what it says may have been refused.
    pub(super) expects: bool,
    pub(super) word: Field<Word<Simple>>,
    pub(super) expect: Option<Expect>,
}

/// `expect = { ... }`.
pub(super) struct Expect {
    pub(super) span: Span,
    /// Nothing is in the braces.
    pub(super) is_empty: bool,
    pub(super) reaches: Field<Party>,
    pub(super) hairpin: Field<Party>,
    pub(super) source: Field<Party>,
    pub(super) reply_from: Field<Party>,
    pub(super) refused: Field<Reason>,
    pub(super) mapping: Field<Word<MappingBehavior>>,
    pub(super) filtering: Field<Word<FilteringBehavior>>,
    pub(super) passes: Field<Number<0, MOST_CONNECTIONS>>,
}

impl File {
    pub(super) fn read(root: &DeTable<'_>, report: &mut Report) -> File {
        let mut top = Table::top(&TESTS, root, report);
        let file = File {
            config: top.optional("config", "\"home.toml\""),
            at: top.optional("at", "2036-12-24T19:00:00+09:00"),
            tests: top.tables("test", "test", Test::read),
        };
        top.finish();
        if !root.contains_key("config") {
            report
                .whole_file(
                    Code::MissingKey,
                    "`config` is missing: nobody knows which rules are to be tested",
                )
                .help("add `config = \"home.toml\"` before the first `[[test]]`");
        }
        if !root.contains_key("test") {
            report
                .whole_file(Code::MissingKey, "there is no `[[test]]`")
                .help("add `[[test]]`, and below it `name`, `protocol`, `from`, `to` and `expect`");
        }
        file
    }
}

impl Test {
    fn read(mut t: Table<'_, '_>) -> Test {
        let name = t.required("name", "\"visitors reach the web server\"");
        let step = Step::keys(&mut t, "test.expect");
        let steps = t.tables("test.step", "step", |mut t| {
            let step = Step::keys(&mut t, "test.step.expect");
            t.finish();
            step
        });
        t.finish();
        Test { name, step, steps }
    }
}

impl Step {
    fn keys(t: &mut Table<'_, '_>, expect_path: &'static str) -> Step {
        let as_table = t.holds_table("expect");
        Step {
            absent: ["protocol", "from", "to"].into_iter().filter(|key| !t.has(key)).collect(),
            span: t.span(),
            after: t.optional("after", "\"2h5m\""),
            at: t.optional("at", "2036-12-24T19:00:00+09:00"),
            reload: t.optional("reload", "\"other.toml\""),
            from: t.optional("from", "\"198.51.100.7\""),
            to: t.optional("to", "\"203.0.113.1:80\""),
            protocol: t.optional("protocol", "\"tcp\""),
            port: t.optional("in", "\"wan\""),
            sources: t.optional("sources", "20"),
            connections: t.optional("connections", "20"),
            expects: t.has("expect"),
            expect: if as_table { t.table(expect_path, "expect", Expect::read) } else { None },
            word: if as_table { None } else { t.optional("expect", "\"reaches\"") },
        }
    }
}

impl Expect {
    fn read(mut t: Table<'_, '_>) -> Expect {
        let expect = Expect {
            span: t.span(),
            is_empty: t.is_empty(),
            reaches: t.optional("reaches", "\"192.168.0.10:8080\""),
            hairpin: t.optional("hairpin", "\"192.168.0.10:8080\""),
            source: t.optional("source", "\"198.51.100.7\""),
            reply_from: t.optional("reply_from", "\"203.0.113.1:80\""),
            refused: t.optional("refused", "\"no_mapping\""),
            mapping: t.optional("mapping", "\"endpoint-independent\""),
            filtering: t.optional("filtering", "\"address-dependent\""),
            passes: t.optional("passes", "5"),
        };
        t.finish();
        expect
    }
}
