//! What is counted for each forward: sessions, packets and octets both ways, refusals; kept across plan changes.

use std::time::Duration;

use genkan_engine::DropReason;
use genkan_engine::view::ForwardView;
use genkan_tests::lab::craft::{tcp, udp};
use genkan_tests::lab::plan::forward;
use genkan_tests::lab::{Flags, Host, Lab};

use crate::common::{external, ip, scene, secs};

fn counts(lab: &Lab) -> Vec<ForwardView> {
    let (mut all, mut next) = (Vec::new(), Some(0));
    while let Some(first) = next {
        // One at a time, so that going on is shown too.
        let (views, further) = lab.router.forwards(lab.now(), first, 1);
        for view in views {
            match all.iter_mut().find(|known: &&mut ForwardView| known.name == view.name) {
                Some(known) => add(known, view),
                None => all.push(view),
            }
        }
        next = further;
    }
    all
}

/// What another worker has counted.
fn add(known: &mut ForwardView, other: ForwardView) {
    known.sessions += other.sessions;
    known.hits += other.hits;
    known.refused += other.refused;
    known.limited += other.limited;
    known.braked += other.braked;
    known.packets_in += other.packets_in;
    known.octets_in += other.octets_in;
    known.packets_out += other.packets_out;
    known.octets_out += other.octets_out;
    known.first_hit = known.first_hit.max(other.first_hit);
    known.last_hit = known.last_hit.into_iter().chain(other.last_hit).min();
    known.last_source = known.last_source.or(other.last_source);
    known.last_refused = known.last_refused.or(other.last_refused);
    known.last_braked = known.last_braked.or(other.last_braked);
}

fn count(lab: &Lab, name: &str) -> ForwardView {
    counts(lab).into_iter().find(|view| view.name == name).expect("it is in the plan")
}

fn game() -> (Lab, Host, Host) {
    let (mut lab, _, web) = scene(|plan| {
        plan.forwards.push(forward("other", "udp", "6000", "192.168.0.10"));
        plan.forwards.push(forward("game", "udp", "7000", "192.168.0.10"));
    });
    let server = lab.lan_host("192.168.0.10");
    (lab, server, web)
}

#[test]
fn packets_and_octets_count_both_ways_for_the_right_forward() {
    let (mut lab, server, web) = game();
    assert!(counts(&lab).iter().all(|view| view.hits == 0 && view.first_hit.is_none()));
    let sizes = [10, 20, 1_000];
    for size in sizes {
        lab.pass(web, udp(web.at(5000), external(7000)).data(&vec![7; size]), server);
    }
    lab.pass(server, udp(server.at(7000), web.at(5000)).data(&[7; 100]), web);
    // The target's own session leaves from the forward's port, but nobody has come in by it.
    let friend = lab.wan_host("192.0.2.9");
    lab.pass(server, udp(server.at(7000), friend.at(88)), friend);
    let game = count(&lab, "game");
    assert_eq!((game.hits, game.sessions, game.refused), (1, 1, 0));
    assert_eq!((game.packets_in, game.octets_in), (3, 1_030 + 3 * 28));
    assert_eq!((game.packets_out, game.octets_out), (1, 128));
    assert_eq!(game.last_source, Some(web.address));
    assert_eq!(count(&lab, "other").packets_in, 0);
}

#[test]
fn first_and_last_hit_grow_old_and_sessions_end() {
    let (mut lab, server, web) = game();
    lab.pass(web, udp(web.at(5000), external(7000)), server);
    lab.advance(secs(100));
    lab.pass(web, udp(web.at(5001), external(7000)), server);
    lab.advance(secs(10));
    let game = count(&lab, "game");
    let about = |age: Option<Duration>| age.expect("hit").as_secs();
    assert_eq!((about(game.first_hit), about(game.last_hit)), (110, 10));
    assert_eq!((game.hits, game.sessions), (2, 2));
    let timeout = lab.plan().nat.timeouts.udp;
    lab.advance(timeout + secs(2));
    assert_eq!((count(&lab, "game").hits, count(&lab, "game").sessions), (2, 0));
}

#[test]
fn refused_sources_count_for_the_first_forward_of_the_port() {
    let (mut lab, _, web) = scene(|plan| {
        for (name, from) in [("friends", "192.0.2.0/28"), ("family", "192.0.2.16/28")] {
            let mut rule = forward(name, "tcp", "22", "192.168.0.10");
            rule.from = vec![from.parse().expect("a network")];
            plan.forwards.push(rule);
        }
    });
    lab.refuse(web, tcp(web.at(5000), external(22), Flags::SYN), DropReason::ForwardSource);
    lab.refuse(web, tcp(web.at(5001), external(22), Flags::SYN), DropReason::ForwardSource);
    let friends = count(&lab, "friends");
    assert_eq!((friends.refused, friends.last_refused, friends.hits), (2, Some(web.address), 0));
    assert_eq!(count(&lab, "family").refused, 0);
}

#[test]
fn counts_stay_with_the_name_when_the_plan_changes() {
    let (mut lab, server, web) = game();
    lab.pass(web, udp(web.at(5000), external(7000)), server);
    // It is the second no more, and a newcomer stands where it was.
    lab.change(|plan| {
        plan.forwards.remove(0);
        plan.forwards.push(forward("new", "udp", "8000", "192.168.0.10"));
    });
    // The very next packet counts for it.
    lab.pass(web, udp(web.at(5000), external(7000)), server);
    let game = count(&lab, "game");
    assert_eq!((game.hits, game.packets_in, game.sessions), (1, 2, 1));
    assert_eq!(count(&lab, "new").packets_in, 0);
    lab.advance(secs(1));
    lab.change(|plan| plan.forwards[0].to = ip("192.168.0.11"));
    lab.advance(secs(1));
    let game = count(&lab, "game");
    assert_eq!((game.hits, game.sessions), (1, 0), "the session has ended, the count stays");
    lab.change(|plan| plan.forwards.clear());
    lab.change(|plan| plan.forwards.push(forward("game", "udp", "7000", "192.168.0.10")));
    assert_eq!(count(&lab, "game").hits, 0, "another forward of the same name");
}

#[test]
fn forwards_that_come_later_are_counted_too() {
    let (mut lab, _, web) = scene(|_| {});
    let server = lab.lan_host("192.168.0.10");
    assert!(counts(&lab).is_empty());
    lab.change(|plan| plan.forwards.push(forward("web", "tcp", "80", "192.168.0.10")));
    lab.accept_tcp(web.at(5000), external(80), server, 80);
    let web_count = count(&lab, "web");
    assert_eq!((web_count.hits, web_count.sessions), (1, 1));
    assert!(web_count.packets_in >= 2 && web_count.packets_out >= 1, "{web_count:?}");
}

#[test]
fn a_hairpin_counts_like_a_visitor() {
    let (mut lab, _, _) = scene(|plan| plan.forwards.push(forward("game", "udp", "7000", "192.168.0.10")));
    let server = lab.lan_host("192.168.0.10");
    let neighbor = lab.lan_host("192.168.0.20");
    lab.pass(neighbor, udp(neighbor.at(5000), external(7000)), server);
    let game = count(&lab, "game");
    assert_eq!((game.hits, game.packets_in, game.octets_in), (1, 1, 32));
}
