use std::collections::BTreeSet;

use super::*;
use crate::words::Language;

const SEEN: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const SOURCE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 8);

fn row(name: &str, protocols: &[&str], ports: &str) -> ForwardRow {
    serde_json::from_value(serde_json::json!({
        "name": name, "protocols": protocols, "ports": [ports], "to": "192.168.0.10", "address": null, "from": [],
        "enabled": true, "open": true, "expires": null, "ad_hoc": false,
    }))
    .expect("a row")
}

fn inside(forwards: Vec<ForwardRow>) -> Inside {
    Inside { forwards, external: vec![SEEN], mtu: Some(1_500) }
}

fn told(ports: &Ports) -> Vec<String> {
    let told = |(name, protocol, port, expected): &Wanted| {
        format!("{} {} {port} {expected:?}", name.as_deref().unwrap_or("-"), protocol.name())
    };
    ports.ports.iter().map(told).collect()
}

#[test]
fn what_is_expected_of_a_forward_s_port() {
    let game = row("game", &["tcp", "udp"], "10000-10010");
    let closed = ForwardRow { open: false, ..row("closed", &["tcp"], "81") };
    let friends = ForwardRow { from: vec!["198.51.100.0/29".into()], ..row("friends", &["tcp"], "82") };
    let strangers = ForwardRow {
        from: vec!["192.0.2.0/24".into(), "198.51.100.8/32".into()],
        ..row("strangers", &["tcp"], "83")
    };
    let elsewhere =
        ForwardRow { address: Some(Ipv4Addr::new(203, 0, 113, 5)), ..row("elsewhere", &["tcp"], "84") };
    let here = ForwardRow { address: Some(SEEN), ..row("here", &["tcp"], "85") };
    let inside = inside(vec![game, closed, friends, strangers, elsewhere, here]);
    let ports = wanted(&[Port(Protocol::Udp, 9)], &inside, SEEN, SOURCE);
    let expected = [
        "- udp 9 Unknown",
        "game tcp 10000 Open",
        "game udp 10000 Open",
        "closed tcp 81 Filtered",
        "friends tcp 82 Filtered",
        "strangers tcp 83 Open",
        "here tcp 85 Open",
    ];
    assert_eq!(told(&ports), expected);
    assert_eq!(ports.not_tried, ["elsewhere"]);
}

#[test]
fn no_more_ports_are_asked_for_than_a_reflector_tries() {
    let many =
        (0..40).map(|number| row(&format!("f{number}"), &["tcp"], &(1000 + number).to_string())).collect();
    let ports = wanted(&[], &inside(many), SEEN, SOURCE);
    assert_eq!((ports.ports.len(), ports.not_tried.len()), (MOST_PORTS, 8));
}

fn outside(ports: &[(Expected, Protocol, Option<Outcome>)], broken: &[String], seen: Ipv4Addr) -> Outside {
    let port = |(expected, protocol, outcome): &(Expected, Protocol, Option<Outcome>)| PortSeen {
        forward: Some("web".into()),
        tried: Tried { protocol: *protocol, port: 80, outcome: *outcome, round_trip: None },
        expected: *expected,
    };
    let mut outside = Outside {
        works: true,
        reflector: SocketAddrV4::new(SOURCE, 3478),
        seen,
        tries_from: SOURCE,
        external: Some(SEEN),
        nat_in_front: seen != SEEN,
        udp: true,
        behavior: None,
        consoles: Consoles::of(None),
        ports: ports.iter().map(port).collect(),
        path: None,
        wan_mtu: Some(1_500),
        share: None,
        not_tried: Vec::new(),
        remedies: Vec::new(),
    };
    outside.works = outside.ports.iter().all(PortSeen::is_well);
    outside.conclude(broken, &Words::new(Language::English));
    outside
}

#[test]
fn each_port_that_is_not_as_it_should_be_has_its_remedy() {
    let plain: &[String] = &["another".to_owned()];
    let broken: &[String] = &["web".to_owned()];
    let behind = Ipv4Addr::new(192, 0, 2, 1);
    let (tcp, udp) = (Protocol::Tcp, Protocol::Udp);
    for (expected, protocol, outcome, broken, seen, remedy) in [
        (Expected::Open, tcp, Some(Outcome::Open), plain, SEEN, ""),
        (Expected::Open, tcp, Some(Outcome::Open), broken, SEEN, "outside-remedy-open-after-all"),
        (Expected::Open, tcp, Some(Outcome::Closed), plain, behind, "outside-remedy-nat-in-front"),
        (Expected::Open, tcp, Some(Outcome::Closed), plain, SEEN, "outside-remedy-closed"),
        (Expected::Open, tcp, Some(Outcome::Filtered), plain, SEEN, "outside-remedy-before"),
        (Expected::Open, tcp, Some(Outcome::Filtered), broken, SEEN, "outside-remedy-inside"),
        (Expected::Open, tcp, Some(Outcome::Filtered), plain, behind, "outside-remedy-nat-in-front"),
        (Expected::Open, udp, Some(Outcome::Filtered), plain, SEEN, ""),
        (Expected::Open, udp, Some(Outcome::Closed), plain, SEEN, "outside-remedy-closed"),
        (Expected::Open, tcp, None, plain, SEEN, ""),
        (Expected::Filtered, tcp, Some(Outcome::Filtered), plain, SEEN, ""),
        (Expected::Filtered, tcp, Some(Outcome::Open), plain, SEEN, "outside-remedy-somebody-else"),
        (Expected::Unknown, tcp, Some(Outcome::Filtered), plain, SEEN, "outside-remedy-not-forwarded"),
    ] {
        let outside = outside(&[(expected, protocol, outcome)], broken, seen);
        let ids: Vec<&str> = outside.remedies.iter().map(|line| line.id.as_str()).collect();
        let wanted: Vec<&str> = [remedy].into_iter().filter(|id| !id.is_empty()).collect();
        assert_eq!(ids, wanted, "{expected:?} {protocol:?} {outcome:?} {seen}");
        assert_eq!(
            outside.works,
            remedy.is_empty() || outcome == Some(Outcome::Open) && expected == Expected::Open
        );
    }
}

#[test]
fn packets_that_are_too_large_for_the_way_are_told() {
    let remedies = |mtu, is_silent, wan_mtu| {
        let mut outside = outside(&[], &[], SEEN);
        (outside.path, outside.wan_mtu) = (Some(Path { mtu, is_silent }), wan_mtu);
        outside.conclude(&[], &Words::new(Language::English));
        outside.remedies.into_iter().map(|line| line.id).collect::<Vec<_>>()
    };
    assert_eq!(remedies(1_454, false, Some(1_500)), ["outside-remedy-path"]);
    assert!(remedies(1_454, false, Some(1_454)).is_empty());
    // Somebody on the way says so: nothing is wrong.
    assert!(remedies(1_454, false, None).is_empty());
    assert_eq!(remedies(1_454, true, Some(1_500)), ["outside-remedy-path-silent"]);
    assert_eq!(remedies(1_454, true, None), ["outside-remedy-path-silent"]);
}

#[test]
fn ports_are_typed_with_their_protocol() {
    assert_eq!("tcp:80".parse(), Ok(Port(Protocol::Tcp, 80)));
    assert_eq!("udp:5000".parse(), Ok(Port(Protocol::Udp, 5000)));
    for wrong in ["80", "tcp", "tcp:", "tcp:0", "tcp:65536", "sctp:80", "tcp:80:80"] {
        assert!(wrong.parse::<Port>().is_err(), "{wrong}");
    }
}

/// Every message that the code asks for is in the catalogue, and every message of the catalogue is asked for.
#[test]
fn no_message_is_missing_and_none_is_idle() {
    let kinds = [Kind::EndpointIndependent, Kind::AddressDependent, Kind::AddressAndPortDependent];
    let mut asked: BTreeSet<String> = include_str!("../outside.rs")
        .split('"')
        .filter(|text| text.starts_with("outside-") && !text.ends_with("{}"))
        .map(str::to_owned)
        .collect();
    for what in ["mapping", "filtering"] {
        asked.extend(kinds.map(|kind| format!("outside-{what}-{}", kind.name())));
    }
    let catalogue: BTreeSet<String> = include_str!("../../words/en/outside.ftl")
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .map(|(id, _)| id.to_owned())
        .collect();
    assert_eq!(asked, catalogue);
}
