use genkan_engine::trail::{ForwardSays, Step};
use genkan_engine::wire::ipv4::Protocol;

use super::*;
use crate::words::Language;

const FILE: &str = r#"[wan]
device  = "eth0"
address = "203.0.113.1/24"
gateway = "203.0.113.2"
ping    = false

[[lan]]
name    = "home"
device  = "eth1"
address = "192.168.0.1/24"

[[forward]]
name     = "web"
protocol = "tcp"
port     = 80
to       = "192.168.0.10:8080"
max_sessions = 5

[[forward]]
name     = "ssh"
protocol = "tcp"
port     = 2222
to       = "192.168.0.10:22"
from     = ["198.51.100.0/24"]

[[forward]]
name     = "night"
protocol = "udp"
port     = 5000
to       = "192.168.0.10"
schedule = "22:00-06:00"

[[forward]]
name     = "closed"
protocol = "udp"
port     = 6000
to       = "192.168.0.10"
enabled  = false

[router]
timezone = "UTC"
"#;

/// 2026-11-22T12:00:00Z.
const NOON: UnixTime = UnixTime(1_795_348_800);

fn trace(port: &str, protocol: Protocol, from: &str, to: &str) -> Answer {
    let loaded = genkan_config::parse(FILE, "home.toml").expect("a good file");
    let scene = Scene::new(&loaded, NOON);
    let endpoint = |text: &str| match text.split_once(':') {
        Some((address, port)) => (address.parse().unwrap(), Some(port.parse().unwrap())),
        None => (text.parse().unwrap(), None),
    };
    let packet = Packet::first(protocol, endpoint(from), endpoint(to)).unwrap();
    scene.trace(scene.port(port).expect("it is in the file"), packet, &Words::new(Language::English))
}

/// The lines as `ID PLACE`.
fn lines(lines: &[Line]) -> Vec<String> {
    let place = |line: &Line| line.place.clone().map_or_else(String::new, |place| format!(" {place}"));
    lines.iter().map(|line| format!("{}{}", line.id, place(line))).collect()
}

fn left(answer: &Answer) -> Vec<String> {
    answer.left.iter().map(|left| format!("{}: {}", left.port, left.packet)).collect()
}

#[test]
fn a_forward_takes_it_and_the_answer_comes_back() {
    let answer = trace("wan", Protocol::TCP, "198.51.100.7:40000", "203.0.113.1:80");
    assert_eq!(answer.fate, Fate::Forwarded);
    let expected = [
        "step-unknown",
        "step-addresses-plausible",
        "step-for-external home.toml:3:11",
        "step-forward-takes home.toml:16:12",
        "step-route-direct",
        "step-forward-has-place home.toml:17:16",
        "step-opened",
        "step-rewritten-destination",
        "step-next-hop-asked",
    ];
    assert_eq!(lines(&answer.steps), expected);
    assert_eq!(left(&answer), ["home: tcp 198.51.100.7:40000 -> 192.168.0.10:8080 [SYN]"]);
    let back = answer.answer.expect("somebody answers");
    assert_eq!(back.packet.to_string(), "tcp 192.168.0.10:8080 -> 198.51.100.7:40000 [SYN|ACK]");
    assert_eq!(left(&back), ["wan: tcp 203.0.113.1:80 -> 198.51.100.7:40000 [SYN|ACK]"]);
    assert!(back.answer.is_none());
}

#[test]
fn what_refuses_is_named_with_its_line_and_what_would_help() {
    for (port, protocol, from, to, reason, remedy) in [
        (
            "wan",
            Protocol::TCP,
            "192.0.2.9:4",
            "203.0.113.1:2222",
            "forward_source",
            "remedy-forward-source home.toml:24:12",
        ),
        (
            "wan",
            Protocol::UDP,
            "192.0.2.9:4",
            "203.0.113.1:5000",
            "forward_closed",
            "remedy-forward-opens home.toml:31:12",
        ),
        (
            "wan",
            Protocol::UDP,
            "192.0.2.9:4",
            "203.0.113.1:6000",
            "forward_closed",
            "remedy-forward-enable home.toml:38:12",
        ),
        ("wan", Protocol::TCP, "192.0.2.9:4", "203.0.113.1:81", "no_mapping", "remedy-forward-add"),
        ("wan", Protocol::ESP, "192.0.2.9", "203.0.113.1", "no_mapping", "remedy-dmz"),
        ("wan", Protocol::ICMP, "192.0.2.9", "203.0.113.1", "ping_off", "remedy-ping home.toml:5:11"),
        ("wan", Protocol::TCP, "192.0.2.9:4", "203.0.113.9:80", "not_ours", "remedy-not-ours home.toml:3:11"),
        (
            "home",
            Protocol::UDP,
            "192.168.7.9:4",
            "192.0.2.9:53",
            "source_not_of_lan",
            "remedy-source-of-lan home.toml:10:11",
        ),
        ("home", Protocol::TCP, "192.168.0.9:4", "192.168.0.1:80", "no_service", "remedy-tun home.toml:40:1"),
    ] {
        let answer = trace(port, protocol, from, to);
        assert_eq!(answer.fate, Fate::Dropped, "{to}");
        assert_eq!(answer.reason.map(|reason| reason.id).as_deref(), Some(reason), "{to}");
        assert_eq!(lines(&answer.remedies), [remedy], "{to}");
    }
}

#[test]
fn a_hairpin_is_followed_out_and_in() {
    let answer = trace("home", Protocol::TCP, "192.168.0.20:40000", "203.0.113.1:80");
    assert_eq!(left(&answer), ["home: tcp 203.0.113.1:40000 -> 192.168.0.10:8080 [SYN]"]);
    let ids: Vec<&str> = answer.steps.iter().map(|line| line.id.as_str()).collect();
    assert_eq!(ids.iter().filter(|id| **id == "step-forward-takes").count(), 1, "{ids:?}");
    assert_eq!(ids.iter().filter(|id| **id == "step-opened").count(), 2, "{ids:?}");
}

#[test]
fn a_host_that_asks_for_its_own_forward_is_not_answered_by_the_router() {
    let answer = trace("home", Protocol::TCP, "192.168.0.10:40000", "203.0.113.1:80");
    assert_eq!(answer.fate, Fate::Forwarded);
    assert_eq!(left(&answer), ["home: tcp 203.0.113.1:40000 -> 192.168.0.10:8080 [SYN]"]);
    assert!(answer.answer.is_some());
}

#[test]
fn the_router_answers_what_is_for_itself() {
    let answer = trace("home", Protocol::ICMP, "192.168.0.20", "192.168.0.1");
    assert_eq!(answer.fate, Fate::Answered);
    assert_eq!(left(&answer), ["home: icmp echo reply 1 192.168.0.1 -> 192.168.0.20"]);
}

#[test]
fn every_reason_has_a_remedy_or_it_is_said_that_there_is_none() {
    let loaded = genkan_config::parse(FILE, "home.toml").expect("a good file");
    let scene = Scene::new(&loaded, NOON);
    let words = Words::new(Language::English);
    let (from, to) = (([192, 0, 2, 9].into(), Some(4)), ([203, 0, 113, 1].into(), Some(80)));
    let packet = Packet::first(Protocol::TCP, from, to).expect("TCP with ports");
    // Where a remedy hangs on what was asked on the way.
    let steps = [
        Step::Forward { rule: genkan_engine::forward::rules::RuleId(1), says: ForwardSays::NotFromThere },
        Step::Mapping {
            internal: std::net::SocketAddrV4::new([192, 168, 0, 10].into(), 5000),
            filtering: genkan_engine::nat::policy::FilteringBehavior::AddressDependent,
            admits: false,
        },
        Step::Route {
            destination: [192, 168, 0, 10].into(),
            to: Some((PortId::lan(0), [192, 168, 0, 10].into())),
        },
        Step::Reaches { from: PortId::lan(0), to: PortId::HOST, may: false },
    ];
    for &reason in DropReason::ALL {
        let remedies = scene.remedies(reason, PortId::lan(0), Some(&packet), &steps, &words);
        assert!(!remedies.is_empty(), "{}", reason.name());
        let design = remedies.iter().filter(|line| line.id.starts_with("design-")).count();
        assert!(design == 0 || remedies.len() == 1, "{}: {remedies:?}", reason.name());
        assert!(remedies.iter().all(|line| line.text != line.id), "{remedies:?}");
    }
}

/// Every message that the code asks for is in the catalogue, and every message of the catalogue is asked for.
#[test]
fn no_message_is_missing_and_none_is_idle() {
    let sources = [
        include_str!("telling.rs"),
        include_str!("remedies.rs"),
        include_str!("now.rs"),
        include_str!("../commands/trace.rs"),
        include_str!("../commands/trace/follow.rs"),
    ];
    let asked: std::collections::BTreeSet<&str> = sources
        .iter()
        .flat_map(|source| source.split('"'))
        .filter(|text| {
            *text != "design-"
                && ["step-", "remedy-", "design-", "trace-", "now-"]
                    .iter()
                    .any(|prefix| text.starts_with(prefix))
        })
        .collect();
    let catalogue: std::collections::BTreeSet<&str> = include_str!("../words/en/trace.ftl")
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .map(|(id, _)| id)
        .filter(|id| !id.starts_with("drop-") && !id.starts_with('#'))
        .collect();
    assert_eq!(asked, catalogue);
}

mod agreement;
