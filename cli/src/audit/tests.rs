use genkan_config::openings::Openings;
use genkan_control::api::{ForwardCounts, Opened};
use genkan_engine::UnixTime;

use super::*;
use crate::words::Language;

const HEAD: &str = "[wan]\ndevice = \"a\"\naddress = \"203.0.113.1/24\"\ngateway = \"203.0.113.2\"\n\
    addresses = [\"203.0.113.5\"]\n[[lan]]\nname = \"home\"\ndevice = \"b\"\naddress = \"192.168.0.1/24\"\n";

/// 2026-11-22T12:00:00Z.
const NOON: i64 = 1_795_348_800;
const DAY: i64 = 86_400;

fn forward(name: &str, protocol: &str, port: &str, more: &str) -> String {
    format!(
        "[[forward]]\nname = \"{name}\"\nprotocol = \"{protocol}\"\nport = {port}\nto = \"192.168.0.10\"\n{more}\n"
    )
}

fn audit_of(rules: &str, rows: Option<(Vec<ForwardRow>, i64)>) -> AuditReport {
    let loaded = genkan_config::parse(&format!("{HEAD}{rules}"), "home.toml").expect("a good file");
    let states = Openings::new(None, []).judge(&loaded, UnixTime(NOON)).states;
    let running = rows.as_ref().map(|(rows, counted)| (rows.as_slice(), *counted));
    let facts = Facts { loaded: &loaded, states: &states, running, now: NOON };
    facts.audit(&Words::new(Language::English))
}

/// The findings of the only opening, the worst first.
fn findings(rules: &str) -> Vec<(String, AuditRisk)> {
    let report = audit_of(rules, None);
    let [only] = report.openings.as_slice() else { panic!("{report:?}") };
    assert_eq!(only.risk, only.findings.first().map_or(AuditRisk::None, |finding| finding.risk));
    only.findings.iter().map(|finding| (finding.id.clone(), finding.risk)).collect()
}

#[test]
fn every_rule_has_its_case() {
    use AuditRisk::{High, Low, Medium};
    let everybody = ("no-from", Low);
    let from = "from = [\"198.51.100.0/24\"]";
    for (rules, expected) in [
        (forward("web", "tcp", "443", ""), vec![everybody]),
        (forward("web", "tcp", "443", from), vec![]),
        (forward("shell", "tcp", "22", ""), vec![("login", Medium), everybody]),
        (forward("shell", "tcp", "22", from), vec![("login", Low)]),
        (forward("old", "tcp", "23", ""), vec![("cleartext", High), everybody]),
        (forward("pc", "tcp", "3389", ""), vec![("desktop", High), everybody]),
        (forward("pc", "tcp", "5900", ""), vec![("desktop", High), everybody]),
        (forward("nas", "tcp", "445", ""), vec![("files", High), everybody]),
        (forward("db", "tcp", "5432", ""), vec![("database", High), everybody]),
        (forward("cam", "tcp", "554", ""), vec![("camera", High), everybody]),
        (forward("cam", "udp", "3702", ""), vec![("camera", High), everybody]),
        (forward("laser", "tcp", "9100", ""), vec![("printer", High), everybody]),
        (forward("dsm", "tcp", "5001", ""), vec![("admin", Medium), everybody]),
        (forward("game", "udp", "\"20000-20200\"", ""), vec![("many-ports", Medium), everybody]),
        (forward("web-test", "tcp", "443", ""), vec![("temporary", Medium), everybody]),
        (forward("contest", "tcp", "443", ""), vec![everybody]),
        (forward("web-test", "tcp", "443", "expires = 2027-01-01T00:00:00Z"), vec![everybody]),
        (forward("old", "tcp", "23", "enabled = false"), vec![("leftover", Low)]),
        (forward("old", "tcp", "23", "expires = 2026-01-01T00:00:00Z"), vec![("leftover", Low)]),
        ("[dmz]\nto = \"192.168.0.50\"\n".to_owned(), vec![("dmz", High)]),
        (
            "[[host]]\nname = \"server\"\naddress = \"192.168.0.60\"\nexternal = \"203.0.113.5\"\n"
                .to_owned(),
            vec![("one-to-one", High)],
        ),
    ] {
        let expected: Vec<_> = expected.into_iter().map(|(id, risk)| (id.to_owned(), risk)).collect();
        assert_eq!(findings(&rules), expected, "{rules}");
    }
}

#[test]
fn the_riskiest_comes_first_with_what_closes_it() {
    let rules = forward("web", "tcp", "443", "")
        + &forward("pc", "tcp", "3389", "")
        + &forward("twin", "tcp", "443", "")
        + "[dmz]\nto = \"192.168.0.50\"\n";
    let report = audit_of(&rules, None);
    let names: Vec<_> = report.openings.iter().map(|opening| (opening.name.as_str(), opening.risk)).collect();
    let (high, low) = (AuditRisk::High, AuditRisk::Low);
    assert_eq!(names, [("pc", high), ("192.168.0.50", high), ("web", low), ("twin", low)]);
    let close = ["genkan forward remove pc", "genkan forward change pc --from ADDRESS/PREFIX"];
    assert_eq!(report.openings[0].commands, close);
    assert_eq!(report.openings[1].commands, ["genkan dmz clear"]);
    assert!(report.openings[3].findings.iter().any(|finding| finding.id == "shadowed"), "{report:?}");
    assert_eq!(report.unknown[0].id, "offline");
}

#[test]
fn unused_is_only_what_was_counted_for_long_enough() {
    let rules = forward("web", "tcp", "443", "");
    let row = |last_hit: Option<i64>, since: i64| {
        let loaded = genkan_config::parse(&format!("{HEAD}{rules}"), "home.toml").expect("a good file");
        let row = ForwardRow::new(&loaded.plan.forwards[0], false, UnixTime(NOON), None);
        let counts = ForwardCounts { last_hit, ..ForwardCounts::default() };
        ForwardRow { counts, opened: Some(Opened { since, revision: 3, uid: Some(0) }), ..row }
    };
    let is_unused = |last_hit, since, counted| {
        let report = audit_of(&rules, Some((vec![row(last_hit, since)], counted)));
        assert!(report.unknown.is_empty());
        report.openings[0].findings.iter().any(|finding| finding.id == "unused")
    };
    let long_ago = NOON - 90 * DAY;
    assert!(is_unused(None, long_ago, 30 * DAY));
    assert!(!is_unused(None, long_ago, 30 * DAY - 1), "the router has not counted for so long");
    assert!(!is_unused(None, NOON - 29 * DAY, 90 * DAY), "it was opened later");
    assert!(is_unused(Some(NOON - 30 * DAY), long_ago, 90 * DAY));
    assert!(!is_unused(Some(NOON - 30 * DAY + 1), long_ago, 90 * DAY));
}

/// Every message that the code asks for is in the catalogue, and every message of the catalogue is asked for.
#[test]
fn no_message_is_missing_and_none_is_idle() {
    let rules = include_str!("rules.rs")
        .split("found(")
        .skip(1)
        .chain(include_str!("mod.rs").split("found(").skip(1));
    let by_rule = rules.filter_map(|rest| rest.strip_prefix('"')?.split('"').next());
    let kinds = genkan_config::services::SERVICES.iter().map(|service| service.kind.name());
    let whole = ["dmz", "one-to-one"];
    let mut asked: std::collections::BTreeSet<String> =
        by_rule.chain(kinds).chain(whole).map(|id| format!("audit-{id}")).collect();
    let command = include_str!("../commands/audit.rs").split('"').filter(|text| text.starts_with("audit-"));
    asked.extend(command.map(str::to_owned));
    let catalogue: std::collections::BTreeSet<String> = include_str!("../words/en/audit.ftl")
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .map(|(id, _)| id.to_owned())
        .collect();
    assert_eq!(asked, catalogue);
}
