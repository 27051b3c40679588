//! `max_sessions` and `max_new_per_source` of a forward (design §6, Limits): whom they stop, whom they do not, and that a
//! plan change neither frees anybody nor ends anything. With several workers the lab gives each packet to any of them.

use genkan_engine::plan::{ForwardRule, Rate};
use genkan_engine::{DropReason, Plan};
use genkan_tests::lab::craft::{tcp, udp};
use genkan_tests::lab::plan::forward;
use genkan_tests::lab::{Flags, Host, Lab};

use crate::common::{LATE, external, ip, scene, secs};

const FULL: DropReason = DropReason::ForwardSessionLimit;
const FAST: DropReason = DropReason::ForwardSourceRate;

fn with(protocol: &str, change: impl FnOnce(&mut ForwardRule)) -> (Lab, Host, Host) {
    let (mut lab, _, web) = scene(|plan| {
        // Others around it, so that positions matter.
        plan.forwards.push(forward("before", "udp", "6000", "192.168.0.10"));
        let mut rule = forward("ssh", protocol, "22", "192.168.0.10");
        change(&mut rule);
        plan.forwards.push(rule);
        plan.forwards.push(forward("behind", "udp", "6001", "192.168.0.10"));
    });
    let server = lab.lan_host("192.168.0.10");
    (lab, server, web)
}

fn at_most(sessions: u32) -> (Lab, Host, Host) {
    with("tcp", |rule| rule.max_sessions = Some(sessions))
}

/// So many a minute.
fn braked(count: u32) -> (Lab, Host, Host) {
    with("udp", |rule| rule.max_new_per_source = Some(per_minute(count)))
}

fn per_minute(count: u32) -> Rate {
    Rate { count, per: secs(60) }
}

fn ssh(plan: &mut Plan) -> &mut ForwardRule {
    plan.forwards.iter_mut().find(|rule| rule.name == "ssh").expect("it is there")
}

/// Sessions, refusals by number, refusals by rate; of all workers.
fn counts(lab: &Lab) -> (u32, u64, u64) {
    let (mut all, mut cursor) = (Vec::new(), Some(0));
    while let Some(at) = cursor {
        let (views, next) = lab.router.forwards(lab.now(), at, 100);
        all.extend(views);
        cursor = next;
    }
    let of = all.iter().filter(|view| view.name == "ssh");
    of.fold((0, 0, 0), |(sessions, limited, braked), view| {
        (sessions + view.sessions, limited + view.limited, braked + view.braked)
    })
}

#[track_caller]
fn close(lab: &mut Lab, client: Host, port: u16, server: Host) {
    lab.pass(client, tcp(client.at(port), external(22), Flags::FIN_ACK), server);
    lab.pass(server, tcp(server.at(22), client.at(port), Flags::FIN_ACK), client);
    lab.pass(client, tcp(client.at(port), external(22), Flags::ACK), server);
}

#[test]
fn one_more_than_max_sessions_is_refused_whoever_comes() {
    let (mut lab, server, web) = at_most(3);
    for port in 5000..5003 {
        lab.accept_tcp(web.at(port), external(22), server, 22);
    }
    let other = lab.wan_host("192.0.2.9");
    lab.refuse(web, tcp(web.at(5003), external(22), Flags::SYN), FULL);
    lab.refuse(other, tcp(other.at(5000), external(22), Flags::SYN), FULL);
    assert_eq!(counts(&lab), (3, 2, 0));
    // Those that are there go on, and other forwards have nothing to do with it.
    lab.pass(web, tcp(web.at(5001), external(22), Flags::ACK), server);
    lab.pass(web, udp(web.at(5001), external(6000)), server);
    // The target's own sessions leave from the forward's port, but nobody has come in by it.
    lab.pass(server, tcp(server.at(22), other.at(80), Flags::SYN), other);
    lab.refuse(web, tcp(web.at(5003), external(22), Flags::SYN), FULL);
}

#[test]
fn a_connection_that_both_sides_have_closed_makes_place() {
    let (mut lab, server, web) = at_most(2);
    for port in 5000..5002 {
        lab.accept_tcp(web.at(port), external(22), server, 22);
    }
    lab.pass(web, tcp(web.at(5000), external(22), Flags::FIN_ACK), server);
    lab.refuse(web, tcp(web.at(5002), external(22), Flags::SYN), FULL);
    close(&mut lab, web, 5000, server);
    assert_eq!(counts(&lab).0, 1);
    lab.accept_tcp(web.at(5002), external(22), server, 22);
    // It would be one more again, between the same endpoints too.
    lab.refuse(web, tcp(web.at(5000), external(22), Flags::SYN), FULL);
    close(&mut lab, web, 5002, server);
    lab.accept_tcp(web.at(5000), external(22), server, 22);
    lab.refuse(web, tcp(web.at(5002), external(22), Flags::SYN), FULL);
    assert_eq!(counts(&lab), (2, 3, 0));
}

#[test]
fn a_reset_makes_no_place_since_it_may_be_forged_but_keeps_its_own() {
    let (mut lab, server, web) = at_most(1);
    lab.accept_tcp(web.at(5000), external(22), server, 22);
    lab.pass(web, tcp(web.at(5000), external(22), Flags::RST), server);
    lab.refuse(web, tcp(web.at(5001), external(22), Flags::SYN), FULL);
    lab.pass(web, tcp(web.at(5000), external(22), Flags::SYN), server);
    assert_eq!(counts(&lab).0, 1);
}

#[test]
fn sessions_that_end_make_place() {
    let (mut lab, server, web) = with("udp", |rule| rule.max_sessions = Some(2));
    lab.pass(web, udp(web.at(5000), external(22)), server);
    lab.advance(secs(200));
    lab.pass(web, udp(web.at(5001), external(22)), server);
    lab.refuse(web, udp(web.at(5002), external(22)), FULL);
    lab.advance(secs(100) + LATE);
    assert_eq!(counts(&lab).0, 1);
    lab.pass(web, udp(web.at(5002), external(22)), server);
    lab.refuse(web, udp(web.at(5003), external(22)), FULL);
}

#[test]
fn another_limit_keeps_the_sessions_and_counts_them_from_the_first_moment() {
    let (mut lab, server, web) = with("udp", |_| {});
    for port in 5000..5010 {
        lab.pass(web, udp(web.at(port), external(22)), server);
    }
    for most in [3, 10] {
        lab.change(|plan| {
            ssh(plan).max_sessions = Some(most);
            // It moves to another position.
            plan.forwards.rotate_left(1);
        });
        lab.refuse(web, udp(web.at(6000), external(22)), FULL);
        for port in 5000..5010 {
            lab.pass(web, udp(web.at(port), external(22)), server);
        }
        assert_eq!(counts(&lab).0, 10);
    }
    lab.change(|plan| ssh(plan).max_sessions = Some(11));
    lab.pass(web, udp(web.at(6000), external(22)), server);
    lab.refuse(web, udp(web.at(6001), external(22)), FULL);
    lab.change(|plan| ssh(plan).max_sessions = None);
    lab.pass(web, udp(web.at(6001), external(22)), server);
    // To another target: none of them counts there.
    let other = lab.lan_host("192.168.0.11");
    lab.change(|plan| {
        ssh(plan).max_sessions = Some(1);
        ssh(plan).to = ip("192.168.0.11");
    });
    lab.advance(secs(1));
    lab.pass(web, udp(web.at(7000), external(22)), other);
    lab.refuse(web, udp(web.at(7001), external(22)), FULL);
}

#[test]
fn hairpins_take_places_but_are_not_braked() {
    let (mut lab, server, web) = with("udp", |rule| {
        rule.max_sessions = Some(4);
        rule.max_new_per_source = Some(per_minute(1));
    });
    let neighbor = lab.lan_host("192.168.0.20");
    for port in 5000..5003 {
        lab.pass(neighbor, udp(neighbor.at(port), external(22)), server);
    }
    lab.pass(web, udp(web.at(5000), external(22)), server);
    lab.refuse(neighbor, udp(neighbor.at(5003), external(22)), FULL);
    assert_eq!(counts(&lab), (4, 1, 0));
}

#[test]
fn each_source_has_a_bucket_of_its_own_that_refills_evenly() {
    let (mut lab, server, web) = braked(20);
    let other = lab.wan_host("192.0.2.9");
    for port in 5000..5020 {
        lab.pass(web, udp(web.at(port), external(22)), server);
    }
    lab.refuse(web, udp(web.at(5020), external(22)), FAST);
    // Its sessions go on, and so does everybody else.
    lab.pass(web, udp(web.at(5000), external(22)), server);
    lab.pass(other, udp(other.at(5020), external(22)), server);
    lab.pass(web, udp(web.at(5020), external(6000)), server);
    // Whoever is refused loses nothing by it.
    lab.advance(secs(2));
    lab.refuse(web, udp(web.at(5020), external(22)), FAST);
    lab.advance(secs(1));
    lab.pass(web, udp(web.at(5020), external(22)), server);
    lab.refuse(web, udp(web.at(5021), external(22)), FAST);
    lab.advance(secs(30));
    for port in 6000..6010 {
        lab.pass(web, udp(web.at(port), external(22)), server);
    }
    lab.refuse(web, udp(web.at(6010), external(22)), FAST);
    assert_eq!(counts(&lab), (32, 0, 4));
}

#[test]
fn a_connection_opened_anew_between_the_same_endpoints_counts() {
    let (mut lab, server, web) = with("tcp", |rule| rule.max_new_per_source = Some(per_minute(2)));
    for _ in 0..2 {
        lab.accept_tcp(web.at(5000), external(22), server, 22);
        close(&mut lab, web, 5000, server);
    }
    lab.refuse(web, tcp(web.at(5000), external(22), Flags::SYN), FAST);
    lab.advance(secs(30));
    lab.accept_tcp(web.at(5000), external(22), server, 22);
    // A SYN that comes again is no new connection.
    lab.pass(web, tcp(web.at(5000), external(22), Flags::SYN), server);
}

#[test]
fn a_plan_change_frees_nobody_unless_it_changes_the_rate() {
    let (mut lab, server, web) = braked(2);
    for port in 5000..5002 {
        lab.pass(web, udp(web.at(port), external(22)), server);
    }
    lab.change(|plan| plan.forwards.rotate_left(1));
    lab.refuse(web, udp(web.at(5002), external(22)), FAST);
    lab.change(|plan| ssh(plan).max_sessions = Some(100));
    lab.refuse(web, udp(web.at(5002), external(22)), FAST);
    lab.change(|plan| ssh(plan).max_new_per_source = Some(per_minute(3)));
    for port in 5002..5005 {
        lab.pass(web, udp(web.at(port), external(22)), server);
    }
    lab.refuse(web, udp(web.at(5005), external(22)), FAST);
    lab.change(|plan| ssh(plan).max_new_per_source = None);
    for port in 5005..5050 {
        lab.pass(web, udp(web.at(port), external(22)), server);
    }
}

/// A forward that is full takes nothing out of anybody's bucket.
#[test]
fn the_number_is_judged_before_the_rate() {
    let (mut lab, server, web) = with("tcp", |rule| {
        rule.max_sessions = Some(1);
        rule.max_new_per_source = Some(per_minute(2));
    });
    lab.accept_tcp(web.at(5000), external(22), server, 22);
    for port in 5001..5010 {
        lab.refuse(web, tcp(web.at(port), external(22), Flags::SYN), FULL);
    }
    close(&mut lab, web, 5000, server);
    lab.accept_tcp(web.at(5001), external(22), server, 22);
    close(&mut lab, web, 5001, server);
    lab.refuse(web, tcp(web.at(5002), external(22), Flags::SYN), FAST);
    assert_eq!(counts(&lab), (0, 9, 1));
}

/// Several workers are as exact as one: all packets of a forward are judged where its target is.
#[test]
fn many_sources_at_once_get_exactly_what_the_limits_say() {
    let (mut lab, _, _) = with("udp", |rule| {
        rule.max_sessions = Some(100);
        rule.max_new_per_source = Some(per_minute(3));
    });
    let sources: Vec<Host> = (1..=50).map(|at| lab.wan_host(&format!("198.51.100.{at}"))).collect();
    for port in 5000..5006 {
        for source in &sources {
            lab.send(*source, udp(source.at(port), external(22)));
        }
    }
    let mut drops = lab.take_drops();
    drops.sort_unstable();
    // Two rounds fill it, and in the others it is full.
    assert_eq!(drops, [(FULL, 200)]);
    assert_eq!(counts(&lab), (100, 200, 0));
    lab.change(|plan| ssh(plan).max_sessions = None);
    for port in 6000..6006 {
        for source in &sources {
            lab.send(*source, udp(source.at(port), external(22)));
        }
    }
    assert_eq!(lab.take_drops(), [(FAST, 250)]);
    assert_eq!(counts(&lab), (150, 200, 250));
}
