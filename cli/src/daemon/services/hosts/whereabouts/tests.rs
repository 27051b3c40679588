use super::*;

const NAS: MacAddr = MacAddr([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
const TV: MacAddr = MacAddr([0x52, 0x54, 0, 0x12, 0x34, 0x57]);
const STRANGER: MacAddr = MacAddr([0x52, 0x54, 0, 0x12, 0x34, 0x99]);

fn loaded(hosts: &str) -> Loaded {
    let text = format!(
        "[wan]\ndevice = \"eth0\"\naddress = \"203.0.113.1/24\"\n[[lan]]\ndevice = \"eth1\"\n\
         address = \"192.168.0.1/24\"\n{hosts}\n[[forward]]\nname = \"web\"\nprotocol = \"tcp\"\nport = 80\n\
         to = \"nas:8080\"\n"
    );
    genkan_config::parse(&text, "test.toml").expect("a good file")
}

const ROAMING: &str = "[[host]]\nname = \"nas\"\nmac = \"52:54:00:12:34:56\"\n";
const RESERVED: &str = "[[host]]\nname = \"nas\"\nmac = \"52:54:00:12:34:56\"\naddress = \"192.168.0.10\"\n";
const BY_NAME: &str = "[[host]]\nname = \"nas\"\nclient_id = \"00:6e\"\n";

fn at(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 0, last)
}

fn following(hosts: &str) -> Whereabouts {
    let mut whereabouts = Whereabouts::default();
    whereabouts.follow(&loaded(hosts).config.hosts, &[]);
    whereabouts
}

fn place(whereabouts: &Whereabouts) -> Option<Ipv4Addr> {
    whereabouts.places().get("nas").copied()
}

#[test]
fn one_that_is_nowhere_is_where_it_shows_itself() {
    let mut whereabouts = following(ROAMING);
    assert_eq!((place(&whereabouts), whereabouts.question("nas")), (None, None));
    assert_eq!(whereabouts.sighted(STRANGER, at(9), 1), None);
    assert_eq!(whereabouts.sighted(NAS, at(20), 2), None, "there is nothing to ask");
    assert_eq!(place(&whereabouts), Some(at(20)));
    assert_eq!(whereabouts.watched(), [Watched { mac: NAS, address: Some(at(20)) }]);
    let moved = Moved { host: "nas".to_owned(), from: None, to: Some(at(20)) };
    assert_eq!((whereabouts.take_moved(), whereabouts.take_moved()), (vec![moved], vec![]));
    let told = &whereabouts.told()["nas"];
    assert_eq!(
        (told.state, told.last_seen, told.last_address),
        (DeviceState::Present, Some(2), Some(at(20)))
    );
}

#[test]
fn one_that_answers_at_its_place_stays_there() {
    let mut whereabouts = following(ROAMING);
    whereabouts.sighted(NAS, at(20), 1);
    assert_eq!(whereabouts.sighted(NAS, at(21), 2).as_deref(), Some("nas"));
    assert_eq!(whereabouts.question("nas"), Some(at(20)));
    assert!(!whereabouts.answered("nas", at(20), &[NAS, STRANGER], 3));
    assert_eq!(place(&whereabouts), Some(at(20)), "it has two addresses");
    // Later it answers there no more: the other one is not forgotten.
    whereabouts.answered("nas", at(20), &[], 4);
    assert_eq!(place(&whereabouts), Some(at(21)));
}

#[test]
fn one_that_has_left_is_where_it_was_told_of() {
    for macs in [&[][..], &[STRANGER][..]] {
        let mut whereabouts = following(RESERVED);
        assert_eq!(place(&whereabouts), Some(at(10)));
        assert!(whereabouts.sighted(NAS, at(21), 2).is_some());
        whereabouts.answered("nas", at(10), macs, 3);
        assert_eq!(place(&whereabouts), Some(at(21)));
        let problems = whereabouts.problems(&loaded(RESERVED));
        let text = "nas is at 192.168.0.21, not at 192.168.0.10 as its [[host]] says";
        assert_eq!(problems, [("nas".to_owned(), Some(text.to_owned()))]);
    }
}

#[test]
fn a_stranger_at_its_place_gets_nothing() {
    for (hosts, absent) in [(RESERVED, Some(ABSENT)), (ROAMING, None)] {
        let mut whereabouts = following(hosts);
        whereabouts.sighted(NAS, at(10), 1);
        assert_eq!(whereabouts.sighted(STRANGER, at(10), 2).as_deref(), Some("nas"));
        whereabouts.answered("nas", at(10), &[STRANGER], 3);
        assert_eq!(place(&whereabouts), absent);
        assert_eq!(whereabouts.told()["nas"].state, DeviceState::Absent);
        let [(_, Some(problem))] = &whereabouts.problems(&loaded(hosts))[..] else { panic!("a problem") };
        let expected =
            "nas is absent since 1970-01-01T00:00:01Z, last at 192.168.0.10: closed is forward web";
        assert_eq!(problem, expected);
        // It comes back.
        whereabouts.sighted(NAS, at(10), 4);
        assert_eq!(place(&whereabouts), Some(at(10)));
        assert_eq!(whereabouts.problems(&loaded(hosts)), [("nas".to_owned(), None)]);
    }
}

#[test]
fn one_that_is_asleep_keeps_its_place() {
    let mut whereabouts = following(RESERVED);
    assert!(whereabouts.answered("nas", at(10), &[], 1), "once is nothing");
    assert_eq!(whereabouts.told()["nas"].state, DeviceState::Present);
    assert!(!whereabouts.answered("nas", at(10), &[], 2));
    assert_eq!((whereabouts.told()["nas"].state, place(&whereabouts)), (DeviceState::Silent, Some(at(10))));
    assert!(whereabouts.problems(&loaded(RESERVED))[0].1.is_some());
    whereabouts.answered("nas", at(10), &[NAS], 3);
    assert_eq!(whereabouts.told()["nas"].state, DeviceState::Present);
}

#[test]
fn leases_are_believed_when_nobody_says_otherwise() {
    let mut whereabouts = following(ROAMING);
    assert_eq!(whereabouts.leased(TV, None, at(100), true, 1), None);
    assert_eq!(whereabouts.leased(NAS, None, at(100), true, 1).as_deref(), Some("nas"));
    assert_eq!((place(&whereabouts), whereabouts.question("nas")), (None, Some(at(100))));
    whereabouts.answered("nas", at(100), &[], 1);
    assert_eq!((place(&whereabouts), whereabouts.is_open("nas", at(100))), (Some(at(100)), false));
    // Renewed, then another one.
    assert_eq!(whereabouts.leased(NAS, None, at(100), true, 2), None);
    assert!(whereabouts.leased(NAS, None, at(101), true, 3).is_some());
    whereabouts.answered("nas", at(100), &[], 4);
    assert_eq!(place(&whereabouts), Some(at(101)));
    // That of the old place ends: no concern of ours.
    assert_eq!(whereabouts.leased(NAS, None, at(100), false, 5), None);
    assert!(whereabouts.leased(NAS, None, at(101), false, 6).is_some());
    let mut stays = whereabouts.clone();
    assert!(stays.answered("nas", at(101), &[NAS], 7), "it is asked for again soon");
    assert_eq!(place(&stays), Some(at(101)), "it uses the address all the same");
    whereabouts.answered("nas", at(101), &[], 7);
    assert_eq!(place(&whereabouts), None);
}

#[test]
fn another_lease_after_the_last_one_is_where_it_is() {
    // In either order, and without a question: no 400 ms.
    for ended_first in [true, false] {
        let mut whereabouts = following(ROAMING);
        whereabouts.leased(NAS, None, at(100), true, 1);
        whereabouts.answered("nas", at(100), &[NAS], 1);
        let ended = |whereabouts: &mut Whereabouts| whereabouts.leased(NAS, None, at(100), false, 2);
        let leased = |whereabouts: &mut Whereabouts| whereabouts.leased(NAS, None, at(101), true, 2);
        let said = match ended_first {
            true => [ended(&mut whereabouts), leased(&mut whereabouts)],
            false => [leased(&mut whereabouts), ended(&mut whereabouts)],
        };
        assert_eq!(said, [Some("nas".to_owned()), None], "asked for while it was only half known");
        assert_eq!(place(&whereabouts), Some(at(101)));
        // What is answered to that makes no difference; nor need one wait who left while it was asked.
        assert!(whereabouts.leased(NAS, None, at(101), false, 3).is_some());
        whereabouts.leased(NAS, None, at(101), true, 3);
        whereabouts.answered("nas", at(100), &[NAS], 3);
        assert_eq!((place(&whereabouts), whereabouts.is_open("nas", at(100))), (Some(at(101)), true));
        whereabouts.answered("nas", at(101), &[], 4);
        assert_eq!(place(&whereabouts), Some(at(101)), "it has a lease");
    }
}

#[test]
fn a_lease_of_an_address_that_a_stranger_has_is_nowhere() {
    let mut whereabouts = following(ROAMING);
    assert!(whereabouts.leased(NAS, None, at(100), true, 1).is_some());
    whereabouts.answered("nas", at(100), &[STRANGER], 2);
    assert_eq!((place(&whereabouts), whereabouts.is_open("nas", at(100))), (None, false));
    // It declines it, and gets another one while somebody is still being asked.
    assert_eq!(whereabouts.leased(NAS, None, at(100), false, 3), None);
    assert!(whereabouts.leased(NAS, None, at(101), true, 4).is_some());
    whereabouts.answered("nas", at(100), &[STRANGER], 5);
    assert!(whereabouts.is_open("nas", at(100)));
    assert_eq!(whereabouts.question("nas"), Some(at(101)));
    whereabouts.answered("nas", at(101), &[NAS], 6);
    assert_eq!(place(&whereabouts), Some(at(101)));
    // A lease that was given up elsewhere is not where it goes next.
    assert!(whereabouts.leased(NAS, None, at(102), true, 7).is_some());
    whereabouts.answered("nas", at(101), &[NAS], 8);
    assert_eq!(whereabouts.leased(NAS, None, at(102), false, 9), None);
    whereabouts.answered("nas", at(101), &[], 10);
    assert_eq!(place(&whereabouts), Some(at(101)));
}

#[test]
fn a_reservation_outlives_its_lease() {
    let mut whereabouts = following(RESERVED);
    assert!(whereabouts.leased(NAS, None, at(10), false, 1).is_some());
    whereabouts.answered("nas", at(10), &[], 2);
    assert_eq!(place(&whereabouts), Some(at(10)));
}

#[test]
fn who_is_known_by_a_client_identifier_shows_its_link_address_by_a_lease() {
    let mut whereabouts = following(BY_NAME);
    assert_eq!(whereabouts.leased(NAS, Some(&[0, 0x70]), at(100), true, 1), None);
    assert_eq!((place(&whereabouts), whereabouts.watched()), (None, vec![]));
    whereabouts.leased(NAS, Some(&[0, 0x6e]), at(101), true, 2);
    whereabouts.answered("nas", at(101), &[NAS], 2);
    assert_eq!(place(&whereabouts), Some(at(101)));
    assert!(whereabouts.sighted(NAS, at(102), 3).is_some());
}

#[test]
fn a_restart_knows_what_was_known() {
    let mut whereabouts = following(RESERVED);
    whereabouts.sighted(NAS, at(21), 7);
    whereabouts.answered("nas", at(10), &[], 8);
    let remembered = whereabouts.remembered();
    let mut next = Whereabouts::default();
    next.follow(&loaded(RESERVED).config.hosts, &remembered);
    assert_eq!((place(&next), next.told()), (Some(at(21)), whereabouts.told()));
    // Another device has its name now.
    let other = RESERVED.replace("34:56", "34:57");
    let mut next = Whereabouts::default();
    next.follow(&loaded(&other).config.hosts, &remembered);
    assert_eq!(place(&next), Some(at(10)));
    // A reload that changes nothing of it changes nothing; another address in the file counts.
    whereabouts.follow(&loaded(RESERVED).config.hosts, &[]);
    assert_eq!(place(&whereabouts), Some(at(21)));
    let other = RESERVED.replace("0.10", "0.30");
    whereabouts.follow(&loaded(&other).config.hosts, &[]);
    assert_eq!(place(&whereabouts), Some(at(30)));
}

#[test]
fn one_that_is_written_anew_is_there_when_it_has_left_its_place() {
    let other = loaded(&RESERVED.replace("0.10", "0.30"));
    let rewritten = |mut whereabouts: Whereabouts| {
        let remembered = whereabouts.remembered();
        whereabouts.follow(&other.config.hosts, &remembered);
        whereabouts
    };
    // Nobody has seen it at the place of before.
    assert_eq!(place(&rewritten(following(RESERVED))), Some(at(30)));
    let mut seen = following(RESERVED);
    seen.answered("nas", at(10), &[NAS], 7);
    for macs in [&[][..], &[STRANGER]] {
        let mut whereabouts = rewritten(seen.clone());
        assert_eq!((place(&whereabouts), whereabouts.rewritten()), (Some(at(10)), vec!["nas".to_owned()]));
        whereabouts.answered("nas", at(10), macs, 8);
        assert_eq!((place(&whereabouts), whereabouts.rewritten()), (Some(at(30)), vec![]));
        assert_eq!(whereabouts.told()["nas"].last_seen, Some(7), "nobody has seen it there");
    }
    // It answers: then it stays, also when it is asleep later.
    let mut whereabouts = rewritten(seen.clone());
    whereabouts.answered("nas", at(10), &[NAS], 8);
    whereabouts.answered("nas", at(10), &[], 9);
    assert_eq!(place(&whereabouts), Some(at(10)));
    // A restart before anybody was asked, and a change of the file while the router was off.
    for remembered in [rewritten(seen.clone()).remembered(), seen.remembered()] {
        let mut next = Whereabouts::default();
        next.follow(&other.config.hosts, &remembered);
        assert_eq!((place(&next), next.rewritten()), (Some(at(10)), vec!["nas".to_owned()]));
    }
    // One that keeps another place than the written one over a restart.
    let mut next = Whereabouts::default();
    next.follow(&other.config.hosts, &whereabouts.remembered());
    assert_eq!((place(&next), next.rewritten()), (Some(at(10)), vec![]));
}

#[test]
fn known_devices_are_suspected_and_asked_for() {
    let mut whereabouts = following(ROAMING);
    assert_eq!(whereabouts.suspect(NAS, at(40)).as_deref(), Some("nas"));
    assert_eq!((place(&whereabouts), whereabouts.question("nas")), (None, Some(at(40))));
    let mut found = whereabouts.clone();
    found.answered("nas", at(40), &[NAS], 1);
    assert_eq!(place(&found), Some(at(40)));
    whereabouts.answered("nas", at(40), &[STRANGER], 1);
    assert_eq!((place(&whereabouts), whereabouts.question("nas")), (None, None));
}
