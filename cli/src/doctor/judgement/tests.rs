//! One thing at a time is changed in a set-up in which all is well.

use genkan_control::devices::{DeviceState, TargetDevice};
use genkan_engine::DropReason;

use super::*;
use crate::doctor::Examined;
use crate::doctor::evidence::Evidence;
use crate::doctor::facts::{Answer, Target};
use crate::doctor::facts::{BoxItself, Conflict, Counts, Device, Link, Wan};
use crate::doctor::ports::Port;
use crate::words::{Language, Words};
use genkan_engine::wire::ipv4::Protocol;

fn device(label: &str, lan: Option<usize>) -> Device {
    let link = Link { up: true, carrier: true, mtu: 1500, ..Link::default() };
    Device {
        label: label.to_owned(),
        lan,
        name: format!("eth-{label}"),
        wanted_mtu: 1500,
        link: Some(link),
        is_made: false,
    }
}

fn target() -> Target {
    Target {
        next_hop: Some(Ipv4Addr::new(192, 168, 0, 10)),
        lan: "home".to_owned(),
        gateway: Some(Ipv4Addr::new(192, 168, 0, 1)),
        macs: vec!["52:54:00:00:00:10".to_owned()],
        near: Answer::Open,
        far: Answer::Open,
        near_echo: Answer::Open,
        far_echo: Answer::Open,
        ..Target::default()
    }
}

fn port(external: u16, internal: u16, answer: Answer) -> Port {
    Port { external, internal, answer }
}

fn forward(name: &str) -> Forward {
    Forward {
        index: 0,
        name: name.to_owned(),
        protocol: Protocol::TCP,
        external: "203.0.113.1:80".parse().expect("an endpoint"),
        source: Ipv4Addr::new(192, 0, 2, 77),
        admits: String::new(),
        target: "192.168.0.10:8080".parse().expect("an endpoint"),
        loading: Loading::Same,
        state: State::Open,
        opens: None,
        host: None,
        device: None,
        ruling: Ruling::Takes,
        answer: None,
        to_box: None,
        counts: Some(Counts::default()),
        target_facts: Some(target()),
        ports: vec![port(80, 8080, Answer::Open)],
        shadowed: Vec::new(),
        evidence: Some(Evidence::default()),
    }
}

fn facts() -> Facts {
    Facts {
        router: Running::Yes { sessions: 3, max_sessions: 1_000 },
        config: "home.toml".to_owned(),
        devices: vec![device("wan", None), device("home", Some(0))],
        wan: Wan {
            address: Ipv4Addr::new(203, 0, 113, 1),
            gateway: Some(Ipv4Addr::new(203, 0, 113, 2)),
            gateway_answers: Some(true),
            refused: None,
            taken: None,
        },
        conflicts: Vec::new(),
        forwards: vec![forward("web")],
        services: None,
    }
}

/// What is found after a change: causes in order, those that are uncertain with a question mark.
fn found(change: impl FnOnce(&mut Facts)) -> Vec<String> {
    let mut facts = facts();
    change(&mut facts);
    let mark = |found: &Found| match found.severity {
        Severity::Broken => found.cause.id().to_owned(),
        Severity::Doubt => format!("{}?", found.cause.id()),
    };
    judge(&facts).iter().map(mark).collect()
}

fn of_forward(change: impl FnOnce(&mut Forward)) -> Vec<String> {
    found(|facts| change(&mut facts.forwards[0]))
}

fn of_target(change: impl FnOnce(&mut Target)) -> Vec<String> {
    of_forward(|forward| change(forward.target_facts.as_mut().expect("it was asked")))
}

fn of_link(at: usize, change: impl FnOnce(&mut Link)) -> Vec<String> {
    found(|facts| change(facts.devices[at].link.as_mut().expect("it is there")))
}

#[test]
fn nothing_is_found_where_all_is_well() {
    assert!(found(|_| ()).is_empty());
    let all = facts();
    assert_eq!(looked_at(&all, 0), Step::ALL);
}

#[test]
fn a_router_that_does_not_run_is_named_after_what_keeps_it_from_that() {
    let stopped = |facts: &mut Facts| facts.router = Running::No { socket: "/run/x".to_owned() };
    assert_eq!(found(stopped), ["router-not-running"]);
    let taken = |facts: &mut Facts| {
        stopped(facts);
        facts.devices[0].link.as_mut().expect("it is there").holders = vec![(7, "genkan".to_owned())];
    };
    assert_eq!(found(taken), ["device-in-use", "router-not-running"]);
    let absent = |facts: &mut Facts| {
        stopped(facts);
        facts.devices[1].link = None;
    };
    assert_eq!(found(absent), ["device-absent", "router-not-running"]);
    // Its devices are switched on when it starts.
    let down = |facts: &mut Facts| {
        stopped(facts);
        facts.devices[0].link.as_mut().expect("it is there").up = false;
    };
    assert_eq!(found(down), ["router-not-running"]);
}

#[test]
fn devices() {
    assert_eq!(of_link(0, |link| link.carrier = false), ["wan-down"]);
    assert_eq!(of_link(1, |link| link.up = false), ["lan-down"]);
    assert_eq!(of_link(0, |link| link.mtu = 1280), ["mtu-smaller?"]);
    assert_eq!(of_link(0, |link| link.large_receive = true), ["large-receive-offload"]);
    assert_eq!(of_link(0, |link| link.addresses = vec!["203.0.113.9/24".to_owned()]), ["kernel-address?"]);
    assert_eq!(of_link(1, |link| link.master = Some("br0".to_owned())), ["device-enslaved"]);
    // A lan on which no target is.
    let guests = |facts: &mut Facts| {
        facts.devices.push(device("guests", Some(1)));
        facts.devices[2].link.as_mut().expect("it is there").up = false;
    };
    assert_eq!(found(guests), ["lan-down?"]);
    let tap = |facts: &mut Facts| {
        facts.devices[1].link = None;
        facts.devices[1].is_made = true;
    };
    assert!(found(tap).is_empty());
}

#[test]
fn external_addresses_that_the_internet_does_not_lead_to() {
    for (address, cause) in [
        ("10.0.0.2", "wan-private"),
        ("172.31.255.1", "wan-private"),
        ("192.168.1.2", "wan-private"),
        ("100.64.0.1", "wan-cgnat"),
        ("100.127.255.1", "wan-cgnat"),
        ("192.0.0.2", "wan-ds-lite"),
        ("169.254.3.4", "wan-link-local"),
        ("0.0.0.0", "wan-no-address"),
    ] {
        let address: Ipv4Addr = address.parse().expect("an address");
        assert_eq!(found(|facts| facts.wan.address = address), [cause], "{address}");
        // Somebody has come from outside all the same.
        let passes = |source: Ipv4Addr| {
            found(|facts| {
                facts.wan.address = address;
                facts.forwards[0].counts.as_mut().expect("it runs").last_source = Some(source);
            })
        };
        assert_eq!(passes(Ipv4Addr::new(198, 51, 100, 7)), [format!("{cause}?")], "{address}");
        assert_eq!(passes(Ipv4Addr::new(192, 168, 1, 9)), [cause], "{address}");
    }
    for address in ["100.63.255.255", "100.128.0.1", "172.32.0.1", "192.0.0.8", "203.0.113.1"] {
        let address = address.parse().expect("an address");
        assert!(found(|facts| facts.wan.address = address).is_empty(), "{address}");
    }
}

#[test]
fn a_lease_that_is_not_used_is_not_one_that_is_missing() {
    let refused = |facts: &mut Facts| {
        facts.wan.address = Ipv4Addr::UNSPECIFIED;
        facts.wan.refused = Some("it overlaps lan home".to_owned());
    };
    assert_eq!(found(refused), ["wan-lease-refused"]);
    let taken = |facts: &mut Facts| {
        facts.wan.address = Ipv4Addr::UNSPECIFIED;
        facts.wan.taken = Some(Ipv4Addr::new(203, 0, 113, 7));
    };
    assert_eq!(found(taken), ["wan-address-taken"]);
}

#[test]
fn without_an_address_nothing_is_said_of_packets_for_it() {
    let change = |facts: &mut Facts| {
        (facts.wan.address, facts.wan.gateway, facts.wan.gateway_answers) =
            (Ipv4Addr::UNSPECIFIED, None, None);
        facts.forwards[0].external.set_ip(Ipv4Addr::UNSPECIFIED);
        facts.forwards[0].ruling = Ruling::Dropped(DropReason::DestinationNotUnicast);
    };
    assert_eq!(found(change), ["wan-no-address"]);
    let mut facts = facts();
    change(&mut facts);
    let looked_at = looked_at(&facts, 0);
    assert!(!looked_at.contains(&Step::Rule) && !looked_at.contains(&Step::Gateway), "{looked_at:?}");
}

#[test]
fn the_line_outside() {
    assert_eq!(found(|facts| facts.wan.gateway_answers = Some(false)), ["gateway-silent"]);
    let none = |facts: &mut Facts| {
        facts.wan.gateway = None;
        facts.forwards[0].answer = Some(DropReason::NoRoute);
    };
    assert_eq!(found(none), ["gateway-missing"]);
    assert!(found(|facts| facts.wan.gateway = None).is_empty(), "one link needs none");
}

#[test]
fn other_machines_at_our_addresses() {
    let conflict = |lan: Option<(usize, &str)>| {
        let lan = lan.map(|(index, name)| (index, name.to_owned()));
        let conflict =
            Conflict { lan, address: Ipv4Addr::new(192, 168, 0, 1), mac: "02:00:00:00:00:09".to_owned() };
        move |facts: &mut Facts| facts.conflicts.push(conflict)
    };
    assert_eq!(found(conflict(None)), ["address-conflict"]);
    assert_eq!(found(conflict(Some((0, "home")))), ["lan-address-conflict"]);
    assert_eq!(found(conflict(Some((1, "guest")))), ["lan-address-conflict?"], "no target is there");
    let mut facts = facts();
    conflict(Some((1, "guest")))(&mut facts);
    assert_eq!(judge(&facts)[0].place, Some(("lan", 1, "address")));
    for language in Language::ALL {
        let examined = Examined { facts: Some(&facts), places: None, found: judge(&facts) };
        let text = examined.tell(&Words::new(language)).findings[0].text.clone();
        for part in ["guest", "192.168.0.1", "02:00:00:00:00:09"] {
            assert!(text.contains(part), "{text}");
        }
    }
}

#[test]
fn rules() {
    for (state, cause) in [
        (State::Disabled, "forward-disabled"),
        (State::Expired, "forward-expired"),
        (State::OutOfHours, "out-of-hours"),
        (State::ClockUnknown, "clock-implausible"),
        (State::Absent, "target-never-seen"),
    ] {
        assert_eq!(of_forward(|forward| forward.state = state), [cause]);
    }
    for (ruling, cause) in [
        (Ruling::Other(1, "old".to_owned()), "shadowed"),
        (Ruling::NotFromThere, "source-not-admitted"),
        (Ruling::NotOurs("203.0.113.1".to_owned()), "address-not-ours"),
        (Ruling::OtherAddress(Ipv4Addr::new(203, 0, 113, 5)), "other-address"),
        (Ruling::HairpinOff, "hairpin-off"),
        (Ruling::NotReaching(1, "guests".to_owned()), "lan-not-reaching"),
        (Ruling::Outside("192.168.0.0/24".to_owned()), "target-outside"),
        (Ruling::Dropped(DropReason::PortResting), "dropped"),
    ] {
        assert_eq!(of_forward(|forward| forward.ruling = ruling), [cause]);
    }
    let loading = |loading| of_forward(|forward| forward.loading = loading);
    assert_eq!(loading(Loading::Absent), ["forward-not-loaded"]);
    assert_eq!(loading(Loading::Differs), ["forward-not-loaded"]);
}

#[test]
fn a_device_that_left_was_somewhere_before() {
    let absent = |last_seen: Option<i64>| {
        of_forward(|forward| {
            forward.state = State::Absent;
            forward.device = Some(TargetDevice {
                host: "nas".to_owned(),
                state: DeviceState::Absent,
                last_seen,
                last_address: last_seen.map(|_| Ipv4Addr::new(192, 168, 0, 10)),
            });
        })
    };
    assert_eq!(absent(Some(1_000)), ["target-absent"]);
    assert_eq!(absent(None), ["target-never-seen"]);
}

#[test]
fn a_device_that_is_nowhere_has_a_name_and_no_way_to_it() {
    let mut facts = facts();
    let forward = &mut facts.forwards[0];
    forward.host = Some("nas".to_owned());
    assert_eq!(forward.called(), "192.168.0.10:8080");
    // The router does not know the forward yet.
    (forward.state, forward.target_facts) = (State::Absent, None);
    forward.target.set_ip(Ipv4Addr::UNSPECIFIED);
    assert_eq!(forward.called(), "nas:8080");
    let found = judge(&facts);
    assert!(found[0].arguments.contains(&("host", "nas".to_owned())), "{found:?}");
    assert!(!looked_at(&facts, 0).contains(&Step::Route));
}

#[test]
fn what_was_seen_counts_for_rules_and_limits() {
    let counts =
        |change: fn(&mut Counts)| of_forward(|forward| change(forward.counts.as_mut().expect("it runs")));
    let stranger = |counts: &mut Counts| counts.last_refused = Some(Ipv4Addr::new(198, 51, 100, 7));
    assert_eq!(counts(stranger), ["source-not-admitted"]);
    // Others get in.
    let others = |counts: &mut Counts| {
        counts.last_refused = Some(Ipv4Addr::new(198, 51, 100, 7));
        (counts.hits, counts.answers) = (3, 9);
    };
    assert!(counts(others).is_empty());
    assert_eq!(counts(|counts| counts.hairpins_refused = 1), ["hairpin-off"]);
    assert_eq!(counts(|counts| (counts.sessions, counts.max_sessions) = (5, Some(5))), ["max-sessions"]);
    assert!(counts(|counts| (counts.sessions, counts.max_sessions) = (4, Some(5))).is_empty());
    let braked = |counts: &mut Counts| counts.braked = Some(Ipv4Addr::new(198, 51, 100, 7));
    assert_eq!(counts(braked), ["source-braked"]);
    assert_eq!(
        found(|facts| facts.router = Running::Yes { sessions: 9, max_sessions: 9 }),
        ["sessions-full"]
    );
}

#[test]
fn machines() {
    assert_eq!(of_target(|target| target.macs.clear()), ["target-silent"]);
    let via = |target: &mut Target| {
        target.macs.clear();
        target.next_hop = Some(Ipv4Addr::new(192, 168, 0, 254));
    };
    assert_eq!(of_target(via), ["via-silent"]);
    assert_eq!(of_target(|target| target.macs.push("02:00:00:00:00:01".to_owned())), ["target-duplicate"]);
    let replaced = |target: &mut Target| target.configured = Some((0, "02:00:00:00:00:01".to_owned()));
    assert_eq!(of_target(replaced), ["target-moved?"], "the service is there");
    let moved = |target: &mut Target| {
        target.configured = Some((0, "02:00:00:00:00:01".to_owned()));
        target.near = Answer::Closed;
        target.other = Answer::Closed;
    };
    assert_eq!(of_target(moved), ["target-moved", "port-closed"]);
    let gone = |target: &mut Target| {
        target.macs.clear();
        target.now_at = Some(Ipv4Addr::new(192, 168, 0, 77));
        target.configured = Some((0, "02:00:00:00:00:01".to_owned()));
    };
    assert_eq!(of_target(gone), ["target-moved", "target-silent"]);
}

/// The words of the first finding about the target, in each language.
fn said(change: impl FnOnce(&mut Target)) -> [String; 2] {
    let mut facts = facts();
    change(facts.forwards[0].target_facts.as_mut().expect("it was asked"));
    Language::ALL.map(|language| {
        let examined = Examined { facts: Some(&facts), places: None, found: judge(&facts) };
        examined.tell(&Words::new(language)).findings[0].text.clone()
    })
}

#[test]
fn what_came_and_went_is_no_machine_that_has_moved() {
    let (stranger, nas) = ("02:00:00:00:00:01", "52:54:00:00:00:10");
    // It has its address again, as its `[[host]]` says.
    let back = |target: &mut Target| {
        target.configured = Some((0, nas.to_owned()));
        target.moved = Some(stranger.to_owned());
    };
    assert!(of_target(back).is_empty());
    // Nobody has said which one it ought to be.
    let changed = |now_at: Option<Ipv4Addr>| {
        move |target: &mut Target| (target.moved, target.now_at) = (Some(stranger.to_owned()), now_at)
    };
    assert_eq!(of_target(changed(None)), ["target-moved?"]);
    let [english, japanese] = said(changed(None));
    let expected =
        "192.168.0.10 belongs to another machine by now, 52:54:00:00:00:10; it was 02:00:00:00:00:01";
    assert_eq!(english, expected);
    assert!(japanese.contains(stranger) && japanese.contains(nas), "{japanese}");
    assert!(!japanese.contains("unknown") && !japanese.contains('?'), "{japanese}");
    let [english, japanese] = said(changed(Some(Ipv4Addr::new(192, 168, 0, 77))));
    assert_eq!(english, format!("{expected}, which is now at 192.168.0.77"));
    assert!(japanese.contains("192.168.0.77"), "{japanese}");
    let gone = |target: &mut Target| {
        target.macs.clear();
        target.configured = Some((0, nas.to_owned()));
        target.now_at = Some(Ipv4Addr::new(192, 168, 0, 77));
    };
    let [english, japanese] = said(gone);
    assert_eq!(
        english,
        "nobody has 192.168.0.10 by now: 52:54:00:00:00:10, which had it, is at 192.168.0.77"
    );
    assert!(!japanese.contains("nobody"), "{japanese}");
}

#[test]
fn ports() {
    let closed = |target: &mut Target| (target.near, target.other) = (Answer::Closed, Answer::Closed);
    assert_eq!(of_target(closed), ["port-closed"]);
    let other = |target: &mut Target| (target.near, target.other) = (Answer::Closed, Answer::Silence);
    assert_eq!(of_target(other), ["other-protocol"]);
    for near in [Answer::Silence, Answer::Prohibited] {
        let far = Answer::Silence;
        assert_eq!(of_target(|target| (target.near, target.far) = (near, far)), ["port-filtered"]);
    }
    // UDP that is silent says nothing; that TCP is silent there does not either.
    let udp = |near, other| {
        of_forward(|forward| {
            forward.protocol = Protocol::UDP;
            let target = forward.target_facts.as_mut().expect("it was asked");
            (target.near, target.far, target.other) = (near, Answer::Silence, other);
        })
    };
    assert!(udp(Answer::Silence, Answer::Unasked).is_empty());
    assert_eq!(udp(Answer::Closed, Answer::Silence), ["port-closed"]);
    assert_eq!(udp(Answer::Closed, Answer::Open), ["other-protocol"]);
    let the_box = |listens, answers_by: Option<&str>, is_strict| {
        of_forward(|forward| {
            let (tun, answers_by) = ("genkan0".to_owned(), answers_by.map(str::to_owned));
            forward.to_box = Some(BoxItself { listens, tun, answers_by, is_strict });
            forward.target_facts = None;
        })
    };
    assert!(the_box(true, None, true).is_empty());
    assert_eq!(the_box(false, None, false), ["port-closed"]);
    assert_eq!(the_box(true, Some("eth9"), false), ["reply-elsewhere"]);
    assert_eq!(the_box(true, Some("eth9"), true), ["reverse-path-filter", "reply-elsewhere"]);
}

#[test]
fn ways_back() {
    use Answer::{Closed, Open, Prohibited, Silence};
    let way = |far: Answer, far_echo: Answer, change: fn(&mut Target)| {
        of_target(|target| {
            (target.far, target.far_echo) = (far, far_echo);
            change(target);
        })
    };
    assert_eq!(way(Silence, Silence, |_| ()), ["reply-elsewhere"]);
    assert_eq!(way(Silence, Open, |_| ()), ["target-firewall"], "the echo came back");
    assert_eq!(way(Silence, Silence, |target| target.goes_out = true), ["target-firewall"]);
    let asks = |target: &mut Target| {
        target.goes_out = true;
        target.asked_for = vec![Ipv4Addr::new(192, 168, 0, 254)];
    };
    assert_eq!(way(Silence, Silence, asks), ["reply-elsewhere"], "it looks for another gateway");
    assert_eq!(way(Closed, Silence, |_| ()), ["target-firewall"], "it says no to strangers");
    assert_eq!(way(Prohibited, Silence, |_| ()), ["target-firewall"]);
    assert!(way(Open, Silence, |_| ()).is_empty(), "echoes may be dropped");
    assert_eq!(way(Silence, Silence, |target| target.near_echo = Silence), ["reply-elsewhere"]);
}

#[test]
fn ways_back_of_services_that_answer_nobody() {
    use Answer::{Open, Silence};
    let udp = |near, far_echo, change: fn(&mut Forward)| {
        of_forward(|forward| {
            forward.protocol = Protocol::UDP;
            let target = forward.target_facts.as_mut().expect("it was asked");
            (target.near, target.far, target.far_echo) = (near, Silence, far_echo);
            change(forward);
        })
    };
    assert!(udp(Silence, Open, |_| ()).is_empty());
    assert_eq!(udp(Silence, Silence, |_| ()), ["reply-elsewhere?"]);
    assert_eq!(udp(Open, Silence, |_| ()), ["reply-elsewhere"]);
    assert_eq!(udp(Open, Open, |_| ()), ["target-firewall"]);
    let goes_out: fn(&mut Forward) = |forward| {
        forward.target_facts.as_mut().expect("it was asked").goes_out = true;
    };
    assert!(udp(Silence, Silence, goes_out).is_empty(), "many firewalls drop echoes");
    let unanswered: fn(&mut Forward) = |forward| forward.counts.as_mut().expect("it runs").hits = 4;
    assert_eq!(udp(Silence, Open, unanswered), ["unanswered?"]);
    let answered: fn(&mut Forward) = |forward| {
        let counts = forward.counts.as_mut().expect("it runs");
        (counts.hits, counts.answers) = (4, 4);
    };
    assert!(udp(Silence, Open, answered).is_empty());
}

/// A change of a forward from which sessions have come: so many were answered, so many not.
fn came(answered: u32, unanswered: u32, is_of_one: bool, change: fn(&mut Forward)) -> Vec<String> {
    of_forward(|forward| {
        let silent_to = if unanswered > 0 { vec![Ipv4Addr::new(198, 51, 100, 7)] } else { Vec::new() };
        forward.evidence = Some(Evidence { answered, unanswered, silent_to, is_of_one });
        change(forward);
    })
}

fn of_it(forward: &mut Forward) -> &mut Target {
    forward.target_facts.as_mut().expect("it was asked")
}

#[test]
fn who_came_from_outside_is_evidence() {
    use Answer::{Open, Silence};
    // The router's own questions are answered, those of somebody outside are not.
    assert_eq!(came(0, 2, false, |_| ()), ["source-unanswered?"]);
    assert_eq!(came(0, 2, true, |_| ()), ["source-unanswered"], "the one who was asked about");
    assert_eq!(came(1, 2, false, |_| ()), ["source-unanswered?"]);
    assert!(came(3, 0, false, |_| ()).is_empty());
    // A datagram need not be answered.
    assert_eq!(came(0, 2, true, |forward| forward.protocol = Protocol::UDP), ["source-unanswered?"]);
    // The same with the router's question from an address of nobody.
    let deaf = |forward: &mut Forward| (of_it(forward).far, of_it(forward).far_echo) = (Silence, Silence);
    assert_eq!(came(0, 2, false, deaf), ["reply-elsewhere"]);
    assert_eq!(came(2, 0, false, deaf), ["reply-elsewhere?"], "others are answered");
    let silent = |forward: &mut Forward| of_it(forward).near = Silence;
    assert!(came(0, 0, false, silent).is_empty(), "it keeps out the router alone");
    let dropped = |forward: &mut Forward| (of_it(forward).near, of_it(forward).far) = (Silence, Silence);
    assert_eq!(came(0, 1, false, dropped), ["port-filtered"]);
    assert_eq!(came(1, 0, false, dropped), ["port-filtered?"]);
    // A service that answers only whom it knows.
    fn shy(forward: &mut Forward) {
        forward.protocol = Protocol::UDP;
        let target = of_it(forward);
        (target.near, target.far, target.far_echo) = (Silence, Silence, Silence);
    }
    assert_eq!(came(0, 0, false, shy), ["reply-elsewhere?"]);
    assert!(came(1, 0, false, shy).is_empty(), "the echo says nothing about a port that works");
    let reached = |forward: &mut Forward| {
        shy(forward);
        of_it(forward).far_echo = Open;
        forward.counts.as_mut().expect("it runs").hits = 2;
    };
    assert_eq!(came(0, 2, false, reached), ["unanswered?"]);
    let the_box = |forward: &mut Forward| {
        let tun = "genkan0".to_owned();
        forward.to_box = Some(BoxItself { listens: true, tun, answers_by: None, is_strict: false });
        forward.target_facts = None;
    };
    assert_eq!(came(0, 1, false, the_box), ["port-filtered?"]);
    assert_eq!(came(0, 1, true, the_box), ["port-filtered"]);
    assert_eq!(came(1, 1, false, the_box), ["source-unanswered?"]);
    assert!(came(1, 0, false, the_box).is_empty());
}

#[test]
fn some_ports_of_several() {
    let asked = |protocol, near, answers: [Answer; 3]| {
        of_forward(|forward| {
            forward.protocol = protocol;
            forward.ports =
                (80..).zip(answers).map(|(number, answer)| port(number, number, answer)).collect();
            of_it(forward).near = near;
            of_it(forward).other = Answer::Closed;
        })
    };
    use Answer::{Closed, Open, Silence};
    assert!(asked(Protocol::TCP, Open, [Open, Open, Open]).is_empty());
    assert_eq!(asked(Protocol::TCP, Open, [Closed, Open, Silence]), ["some-ports-closed?"]);
    assert_eq!(asked(Protocol::TCP, Closed, [Closed, Closed, Closed]), ["port-closed"]);
    assert_eq!(asked(Protocol::UDP, Open, [Closed, Open, Silence]), ["some-ports-closed?"]);
    assert!(asked(Protocol::UDP, Open, [Open, Open, Silence]).is_empty());
    let partly = |forward: &mut Forward| forward.shadowed = vec![(81, 1, "old".to_owned())];
    assert_eq!(of_forward(partly), ["shadowed?"]);
}

#[test]
fn the_order_is_that_of_the_walk_and_what_is_certain_goes_first() {
    let everything = found(|facts| {
        facts.devices[0].link.as_mut().expect("it is there").mtu = 1280;
        facts.wan.address = Ipv4Addr::new(100, 64, 0, 1);
        facts.wan.gateway_answers = Some(false);
        facts.forwards.push(Forward { state: State::Disabled, index: 1, ..forward("game") });
        facts.forwards[0].target_facts.as_mut().expect("it was asked").macs.clear();
        facts.forwards[0].loading = Loading::Differs;
    });
    let order = [
        "forward-not-loaded",
        "wan-cgnat",
        "gateway-silent",
        "forward-disabled",
        "target-silent",
        "mtu-smaller?",
    ];
    assert_eq!(everything, order);
}
