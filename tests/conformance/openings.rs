//! Forwards that open and close with the clock, over a day and a night on which clocks change, on virtual time: the
//! judgement of the config crate, as the daemon asks for it, and the engine that follows.

use genkan_config::openings::Openings;
use genkan_engine::wire::ipv4::Protocol;
use genkan_engine::{DropReason, UnixTime};
use genkan_tests::lab::Flags;
use genkan_tests::lab::craft::tcp;

use crate::common::{LATE, MOMENT, external, ip, scene, secs};

const HOUR: i64 = 3_600;

/// The forwards of the test: name, port, keys.
const FORWARDS: [(&str, u16, &str); 3] = [
    ("night", 81, "schedule = \"22:00-06:00\""),
    ("changing", 82, "schedule = \"02:15-02:45\""),
    ("temporary", 83, ""),
];

/// 24 hours from `start` on, in seconds since 1970. `expected`: when a forward's state changes, in minutes after the
/// start.
fn a_day(zone: &str, start: i64, expected: &[(&str, bool, i64)]) {
    let mut text = format!(
        "[wan]\ndevice = \"eth0\"\naddress = \"203.0.113.1/24\"\n[[lan]]\ndevice = \"eth1\"\n\
         address = \"192.168.0.1/24\"\n[router]\ntimezone = \"{zone}\"\n"
    );
    let expires = genkan_config::rfc3339(UnixTime(start + 20 * HOUR));
    for (name, port, keys) in FORWARDS {
        let keys = if keys.is_empty() { format!("expires = {expires}") } else { keys.to_owned() };
        text.push_str(&format!(
            "[[forward]]\nname = \"{name}\"\nprotocol = \"tcp\"\nport = {port}\nto = \"192.168.0.10\"\n{keys}\n"
        ));
    }
    let loaded = genkan_config::parse(&text, "day.toml").expect("a good file");
    let mut openings = Openings::new(None, []);
    let (mut lab, _, web) = scene(|plan| plan.dmz = Some(ip("192.168.0.11")));
    let server = lab.lan_host("192.168.0.10");
    // The lab has a clock of its own; what matters is how far it goes.
    let shift = lab.clock().wall().0 - start;
    let began = lab.now();
    let mut port = 5_000;
    let mut open = [None; FORWARDS.len()];
    let mut seen = Vec::new();
    loop {
        let wall = UnixTime(lab.clock().wall().0 - shift);
        let judgement = openings.judge(&loaded, wall);
        let mut forwards = judgement.plan.forwards;
        for rule in &mut forwards {
            rule.expires = rule.expires.map(|expires| UnixTime(expires.0 + shift));
        }
        lab.change(|plan| plan.forwards = forwards);
        // Sessions of what has closed are gone when a moment has passed.
        lab.advance(LATE);
        for ((name, forwarded, _), before) in FORWARDS.iter().zip(&mut open) {
            port += 1;
            lab.take_drops();
            lab.send(web, tcp(web.at(port), external(*forwarded), Flags::SYN));
            lab.drive();
            let now = lab.session(Protocol::TCP, server.at(*forwarded), web.at(port)).is_some();
            let drops = lab.take_drops();
            assert_eq!(
                drops,
                if now { vec![] } else { vec![(DropReason::ForwardClosed, 1)] },
                "{name} at {wall:?}"
            );
            if before.is_some_and(|before| before != now) {
                seen.push((*name, now, (wall.0 - start) / 60));
            }
            *before = Some(now);
        }
        let is_open = |session: &str| {
            FORWARDS.iter().zip(open).any(|((name, ..), open)| *name == session && open == Some(true))
        };
        for session in lab.sessions() {
            assert!(session.forward.as_deref().is_some_and(is_open), "{session:?} outlives its forward");
        }
        let Some(next) = judgement.next.filter(|next| next.0 <= start + 24 * HOUR) else { break };
        // To the very second, and not one before.
        lab.advance(secs((next.0 - wall.0) as u64) - MOMENT - LATE);
        lab.advance(MOMENT);
    }
    assert_eq!(seen, expected, "{zone}");
    lab.forget_received();
    // The last of them was never answered.
    lab.advance(secs(24 * 3_600) - lab.now().saturating_since(began) + secs(3_600));
    lab.change(|plan| plan.forwards.clear());
    lab.advance(LATE);
    assert_eq!(
        (lab.router.session_count(), lab.router.mapping_count()),
        (0, 0),
        "something is left of the day"
    );
    assert_eq!(openings.expired().count(), 1, "what is remembered");
}

/// Hours and minutes, in minutes.
const fn after(hours: i64, minutes: i64) -> i64 {
    hours * 60 + minutes
}

#[test]
fn a_day_on_which_the_clocks_of_berlin_go_forward() {
    // From 2027-03-27T12:00:00Z, 13:00 there. 02:15 and 02:45 do not come; 06:00 comes an hour early.
    a_day(
        "Europe/Berlin",
        1_806_148_800,
        &[("night", true, after(9, 0)), ("night", false, after(16, 0)), ("temporary", false, after(20, 0))],
    );
}

#[test]
fn a_day_on_which_the_clocks_of_berlin_go_back() {
    // From 2027-10-30T12:00:00Z, 14:00 there. From the first 02:15 to the second 02:45.
    a_day(
        "Europe/Berlin",
        1_824_897_600,
        &[
            ("night", true, after(8, 0)),
            ("changing", true, after(12, 15)),
            ("changing", false, after(13, 45)),
            ("night", false, after(17, 0)),
            ("temporary", false, after(20, 0)),
        ],
    );
}

#[test]
fn a_day_on_which_the_clocks_of_new_york_go_forward() {
    // From 2027-03-13T17:00:00Z, 12:00 there.
    a_day(
        "America/New_York",
        1_804_957_200,
        &[("night", true, after(10, 0)), ("night", false, after(17, 0)), ("temporary", false, after(20, 0))],
    );
}

#[test]
fn a_day_on_which_the_clocks_of_new_york_go_back() {
    // From 2027-11-06T16:00:00Z, 12:00 there; 01:00-02:00 comes twice, so 02:15 comes an hour late.
    a_day(
        "America/New_York",
        1_825_516_800,
        &[
            ("night", true, after(10, 0)),
            ("changing", true, after(15, 15)),
            ("changing", false, after(15, 45)),
            ("night", false, after(19, 0)),
            ("temporary", false, after(20, 0)),
        ],
    );
}
