//! External endpoints that two rules speak about: each session goes on, and no two have one key. With several workers
//! its owner is not where a single rule would look; the hosts are many, so that some are at the same worker and some
//! are not.

use std::net::SocketAddrV4;

use genkan_engine::DropReason;
use genkan_engine::wire::ipv4::Protocol;
use genkan_tests::lab::craft::{icmp_error, tcp, udp};
use genkan_tests::lab::plan::{EXTERNAL_2, forward, host_entry};
use genkan_tests::lab::{Flags, Host, Lab};

use crate::common::{external, scene, secs};

/// Inside hosts besides 192.168.0.10.
fn others(lab: &mut Lab) -> Vec<Host> {
    (20..28).map(|last| lab.lan_host(&format!("192.168.0.{last}"))).collect()
}

#[test]
fn a_1_to_1_host_gets_answers_at_a_port_that_a_forward_has() {
    for closed in [false, true] {
        for target in 20..28 {
            let (mut lab, _, web) = scene(|plan| {
                let mut own = host_entry("own", "192.168.0.10");
                own.external = Some(EXTERNAL_2);
                plan.hosts.push(own);
                plan.wan.addresses.push(EXTERNAL_2);
                let mut rule = forward("game", "tcp+udp", "4000", &format!("192.168.0.{target}"));
                rule.enabled = !closed;
                plan.forwards.push(rule);
            });
            let own = lab.lan_host("192.168.0.10");
            let target = lab.lan_host(&format!("192.168.0.{target}"));
            let theirs = SocketAddrV4::new(EXTERNAL_2, 4000);
            let sent = lab.pass(own, udp(own.at(4000), web.at(5000)), web);
            assert_eq!(sent.from(), theirs);
            let error = icmp_error(web.address, EXTERNAL_2, 3, 3, &sent.to_ip());
            lab.pass(web, error, own);
            lab.pass(web, udp(web.at(5000), theirs), own);
            for fragment in udp(web.at(5000), theirs).data(&[1; 100]).id(9).fragments(48) {
                lab.pass(web, fragment, own);
            }
            if closed {
                lab.refuse(web, udp(web.at(5001), theirs), DropReason::ForwardClosed);
            } else {
                lab.pass(web, udp(web.at(5001), theirs), target);
                lab.drop_at(own, udp(own.at(4000), web.at(5001)), DropReason::SessionConflict);
            }
        }
    }
}

#[test]
fn a_connection_that_is_closed_is_not_in_the_way_of_another_host_s() {
    for target in 20..28 {
        let (mut lab, _, web) = scene(|plan| {
            let mut own = host_entry("own", "192.168.0.10");
            own.external = Some(EXTERNAL_2);
            plan.hosts.push(own);
            plan.wan.addresses.push(EXTERNAL_2);
            plan.forwards.push(forward("web", "tcp", "4000", &format!("192.168.0.{target}")));
        });
        let own = lab.lan_host("192.168.0.10");
        let target = lab.lan_host(&format!("192.168.0.{target}"));
        let theirs = SocketAddrV4::new(EXTERNAL_2, 4000);
        lab.accept_tcp(web.at(5000), theirs, target, 4000);
        lab.drop_at(own, tcp(own.at(4000), web.at(5000), Flags::SYN), DropReason::SessionConflict);
        lab.forget_received();
        lab.pass(target, tcp(target.at(4000), web.at(5000), Flags::RST), web);
        lab.pass(own, tcp(own.at(4000), web.at(5000), Flags::SYN), web);
        assert!(lab.session(Protocol::TCP, target.at(4000), web.at(5000)).is_none());
        // And the other way about: by the forward again, once the host's own is over.
        lab.pass(web, tcp(web.at(5000), theirs, Flags::RST_ACK), own);
        lab.accept_tcp(web.at(5000), theirs, target, 4000);
        assert!(lab.session(Protocol::TCP, own.at(4000), web.at(5000)).is_none());
    }
}

#[test]
fn whose_mapping_has_a_port_goes_before_the_dmz() {
    let (mut lab, _, web) = scene(|plan| plan.dmz = Some("192.168.0.10".parse().expect("an address")));
    let dmz = lab.lan_host("192.168.0.10");
    let far = lab.wan_host("198.51.100.8");
    for (host, port) in others(&mut lab).into_iter().zip(4000..) {
        lab.pass(web, udp(web.at(5000), external(port)), dmz);
        assert_eq!(lab.pass(host, udp(host.at(port), far.at(53)), far).from(), external(port));
        // Its session was here first, and goes on.
        lab.pass(web, udp(web.at(5000), external(port)), dmz);
        assert_eq!(lab.pass(dmz, udp(dmz.at(port), web.at(5000)), web).from(), external(port));
        // The owner of the port speaks to the same remote: what comes back is to the owner, and only it is heard
        // from there.
        assert_eq!(lab.pass(host, udp(host.at(port), web.at(5000)), web).from(), external(port));
        assert!(lab.session(Protocol::UDP, dmz.at(port), web.at(5000)).is_none());
        lab.pass(web, udp(web.at(5000), external(port)), host);
        assert_ne!(lab.pass(dmz, udp(dmz.at(port), web.at(5000)), web).from(), external(port));
    }
}

#[test]
fn the_second_target_of_a_port_gets_answers_from_wherever_it_speaks_to() {
    for second in 20..28 {
        let (mut lab, _, web) = scene(|plan| {
            let rules =
                [("192.168.0.10", "198.51.100.7/32"), (&format!("192.168.0.{second}"), "198.51.100.8/32")];
            for (target, from) in rules {
                let mut rule = forward("game", "udp", "4000", target);
                rule.from = vec![from.parse().expect("a prefix")];
                plan.forwards.push(rule);
            }
        });
        let (first, second) = (lab.lan_host("192.168.0.10"), lab.lan_host(&format!("192.168.0.{second}")));
        let (far, third) = (lab.wan_host("198.51.100.8"), lab.wan_host("198.51.100.9"));
        for (remote, from) in [(web, 5000), (third, 5000), (far, 5000)] {
            let sent = lab.pass(second, udp(second.at(4000), remote.at(from)), remote);
            assert_eq!(sent.from(), external(4000));
            lab.pass(remote, udp(remote.at(from), external(4000)), second);
        }
        lab.pass(web, udp(web.at(5001), external(4000)), first);
        lab.pass(far, udp(far.at(5001), external(4000)), second);
        // A remote that the first has already keeps its endpoint: the second gets another.
        let sent = lab.pass(second, udp(second.at(4000), web.at(5001)), web);
        assert_ne!(sent.from(), external(4000));
        lab.pass(web, udp(web.at(5001), external(4000)), first);
    }
}

#[test]
fn the_halves_of_a_hairpin_end_together() {
    for last in 20..28 {
        let (mut lab, _, _) = scene(|plan| {
            let mut own = host_entry("own", "192.168.0.10");
            own.external = Some(EXTERNAL_2);
            plan.hosts.push(own);
            plan.wan.addresses.push(EXTERNAL_2);
        });
        let (own, host) = (lab.lan_host("192.168.0.10"), lab.lan_host(&format!("192.168.0.{last}")));
        let theirs = SocketAddrV4::new(EXTERNAL_2, 4001);
        assert_eq!(lab.pass(host, udp(host.at(4000), theirs), own).from(), external(4000));
        assert_eq!(lab.pass(own, udp(own.at(4001), external(4000)), host).from(), theirs);
        lab.change(|plan| plan.nat.timeouts.icmp += secs(1));
        lab.advance(secs(1));
        assert_eq!(lab.sessions().len(), 2, "what is allowed goes on");
        // The opener's port becomes a forward's.
        lab.change(|plan| plan.forwards.push(forward("web", "udp", "4000", "192.168.0.20")));
        lab.advance(secs(1));
        assert_eq!(lab.sessions(), []);
    }
}
