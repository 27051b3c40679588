//! RFC 4787 §12: unicast UDP.

use std::collections::HashSet;

use genkan_engine::DropReason;
use genkan_engine::nat::policy::{FilteringBehavior, MappingBehavior};
use genkan_engine::wire::ipv4::Protocol;
use genkan_tests::lab::craft::{icmp_error, udp};
use genkan_tests::lab::nat_probe::probe;
use genkan_tests::lab::plan::{EXTERNAL, EXTERNAL_2, forward, host_entry};

use crate::common::{LATE, MOMENT, external, home, ip, scene, secs};

#[test]
fn req_1_endpoint_independent_mapping() {
    let (mut lab, pc, _) = home();
    let behavior = probe(&mut lab, pc, 5000);
    assert_eq!(behavior.mapping, MappingBehavior::EndpointIndependent);
}

#[test]
fn req_2_a_host_stays_with_its_paired_address() {
    let (mut lab, _, web) = scene(|plan| plan.wan.addresses.push(EXTERNAL_2));
    let other = lab.wan_host("192.0.2.9");
    for last in 10..40 {
        let host = lab.lan_host(&format!("192.168.0.{last}"));
        let mut seen = HashSet::new();
        for port in [5000, 5001, 5002] {
            seen.insert(lab.pass(host, udp(host.at(port), web.at(53)), web).source);
            seen.insert(lab.pass(host, udp(host.at(port), other.at(53)), other).source);
        }
        assert_eq!(seen.len(), 1, "{} has several external addresses: {seen:?}", host.address);
    }
}

#[test]
fn req_3_no_port_overloading() {
    let (mut lab, _, web) = home();
    let mut seen = HashSet::new();
    for last in 10..60 {
        let host = lab.lan_host(&format!("192.168.0.{last}"));
        let external = lab.pass(host, udp(host.at(5000), web.at(53)), web).from();
        assert!(seen.insert(external), "{external} belongs to two hosts");
    }
}

#[test]
fn req_3a_ports_stay_in_the_range_of_the_internal_port() {
    let (mut lab, pc, web) = home();
    let rival = lab.lan_host("192.168.0.101");
    for port in [1024, 5000, 50_000, 65_535] {
        assert_eq!(lab.pass(pc, udp(pc.at(port), web.at(53)), web).source_port(), port);
        assert!(lab.pass(rival, udp(rival.at(port), web.at(53)), web).source_port() >= 1024);
    }
}

#[test]
fn req_4_port_parity_where_asked_for() {
    let (mut lab, _, web) = scene(|plan| plan.nat.port_parity = true);
    for last in 10..60 {
        let host = lab.lan_host(&format!("192.168.0.{last}"));
        for port in [5000, 5001] {
            let external = lab.pass(host, udp(host.at(port), web.at(53)), web).source_port();
            assert_eq!(external % 2, port % 2, "{} port {port} became {external}", host.address);
        }
    }
}

#[test]
fn req_5_udp_mapping_lives_for_its_timeout_and_no_longer() {
    let (mut lab, pc, web) = home();
    let timeout = lab.plan().nat.timeouts.udp;
    let outside = lab.pass(pc, udp(pc.at(5000), web.at(53)), web).from();
    lab.advance(timeout - MOMENT);
    lab.pass(web, udp(web.at(53), outside), pc);
    lab.advance(MOMENT + LATE);
    lab.refuse(web, udp(web.at(53), outside), DropReason::NoMapping);
    assert_eq!((lab.router.session_count(), lab.router.mapping_count()), (0, 0));
}

#[test]
fn req_5a_the_timeout_holds_for_well_known_ports_too() {
    let (mut lab, pc, web) = home();
    let timeout = lab.plan().nat.timeouts.udp;
    let outside = lab.pass(pc, udp(pc.at(123), web.at(123)), web).from();
    lab.advance(timeout - MOMENT);
    lab.pass(web, udp(web.at(123), outside), pc);
}

#[test]
fn req_5b_the_timeout_is_configurable() {
    let (mut lab, pc, web) = scene(|plan| plan.nat.timeouts.udp = secs(120));
    let outside = lab.pass(pc, udp(pc.at(5000), web.at(53)), web).from();
    lab.advance(secs(120) - MOMENT);
    lab.pass(web, udp(web.at(53), outside), pc);
    lab.advance(MOMENT + LATE);
    lab.refuse(web, udp(web.at(53), outside), DropReason::NoMapping);
}

#[test]
fn req_6_outbound_packets_refresh() {
    let (mut lab, pc, web) = home();
    let timeout = lab.plan().nat.timeouts.udp;
    let outside = lab.pass(pc, udp(pc.at(5000), web.at(53)), web).from();
    for _ in 0..5 {
        lab.advance(timeout - MOMENT);
        assert_eq!(lab.pass(pc, udp(pc.at(5000), web.at(53)), web).from(), outside);
    }
    lab.advance(timeout - MOMENT);
    lab.pass(web, udp(web.at(53), outside), pc);
}

#[test]
fn req_6a_inbound_packets_do_not_refresh() {
    let (mut lab, pc, web) = home();
    let timeout = lab.plan().nat.timeouts.udp;
    let outside = lab.pass(pc, udp(pc.at(5000), web.at(53)), web).from();
    for _ in 0..4 {
        lab.advance(timeout / 5);
        lab.pass(web, udp(web.at(53), outside), pc);
    }
    lab.advance(timeout / 5 + LATE);
    lab.refuse(web, udp(web.at(53), outside), DropReason::NoMapping);
}

#[test]
fn req_6b_inbound_packets_refresh_where_asked_for() {
    let (mut lab, pc, web) = scene(|plan| plan.nat.inbound_refresh = true);
    let timeout = lab.plan().nat.timeouts.udp;
    let outside = lab.pass(pc, udp(pc.at(5000), web.at(53)), web).from();
    for _ in 0..5 {
        lab.advance(timeout - MOMENT);
        lab.pass(web, udp(web.at(53), outside), pc);
    }
}

#[test]
fn req_8_address_dependent_filtering_by_default() {
    let (mut lab, pc, _) = home();
    assert_eq!(probe(&mut lab, pc, 5000).filtering, FilteringBehavior::AddressDependent);
}

#[test]
fn req_8a_filtering_is_configurable_also_per_host() {
    let (mut lab, pc, _) = scene(|plan| {
        plan.nat.filtering = FilteringBehavior::AddressAndPortDependent;
        let mut console = host_entry("console", "192.168.0.20");
        console.filtering = Some(FilteringBehavior::EndpointIndependent);
        plan.hosts.push(console);
    });
    let console = lab.lan_host("192.168.0.20");
    assert_eq!(probe(&mut lab, pc, 5000).filtering, FilteringBehavior::AddressAndPortDependent);
    assert_eq!(probe(&mut lab, console, 6000).filtering, FilteringBehavior::EndpointIndependent);
}

#[test]
fn req_9_hairpinning() {
    let (mut lab, pc, web) = scene(|plan| plan.nat.filtering = FilteringBehavior::EndpointIndependent);
    let friend = lab.lan_host("192.168.0.101");
    let outside = lab.pass(pc, udp(pc.at(5000), web.at(53)), web).from();
    let seen = lab.pass(friend, udp(friend.at(6000), outside), pc);
    assert_eq!(seen.to(), pc.at(5000));
    lab.pass(pc, udp(pc.at(5000), seen.from()), friend);
    assert!(lab.stage("hairpin") >= 2);
}

#[test]
fn req_9a_hairpinned_packets_come_from_the_external_endpoint() {
    let (mut lab, pc, web) = scene(|plan| plan.nat.filtering = FilteringBehavior::EndpointIndependent);
    let friend = lab.lan_host("192.168.0.101");
    let outside = lab.pass(pc, udp(pc.at(5000), web.at(53)), web).from();
    let friends = lab.pass(friend, udp(friend.at(6000), web.at(53)), web).from();
    let seen = lab.pass(friend, udp(friend.at(6000), outside), pc);
    assert_eq!(seen.from(), friends, "the same external endpoint as toward everybody else");
    let answer = lab.pass(pc, udp(pc.at(5000), friends), friend);
    assert_eq!((answer.from(), answer.to()), (outside, friend.at(6000)));
}

#[test]
fn req_10_payloads_pass_untouched() {
    let (mut lab, pc, web) = home();
    // What an ALG would look for: the sender's own address, as text and in binary, on ports of SIP and FTP.
    let payload = [b"Contact: <sip:me@192.168.0.100:5060>\r\n".as_slice(), &pc.address.octets()].concat();
    for port in [21, 69, 5060] {
        let seen = lab.pass(pc, udp(pc.at(5060), web.at(port)).data(&payload), web);
        assert_eq!(seen.payload_data(), payload);
    }
}

#[test]
fn req_11_behaviour_does_not_change_when_ports_collide() {
    let (mut lab, pc, web) = home();
    let rival = lab.lan_host("192.168.0.101");
    // The second host cannot keep ports 5000 and 5001; it must meet the same mapping and filtering all the same.
    for port in [5000, 5001] {
        lab.pass(rival, udp(rival.at(port), web.at(53)), web);
    }
    let (first, second) = (probe(&mut lab, rival, 7000), probe(&mut lab, pc, 5000));
    assert!(first.port_preserved && !second.port_preserved);
    assert_eq!((first.mapping, first.filtering), (second.mapping, second.filtering));
}

#[test]
fn req_12_icmp_does_not_end_a_mapping() {
    let (mut lab, pc, web) = home();
    let sent = lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    for (kind, code) in [(3, 0), (3, 1), (3, 2), (3, 3), (3, 4), (3, 13), (11, 0), (12, 0)] {
        lab.pass(web, icmp_error(web.address, EXTERNAL, kind, code, &sent.to_ip()), pc);
        lab.pass(web, udp(web.at(53), sent.from()), pc);
    }
}

#[test]
fn req_12a_icmp_errors_come_from_any_address() {
    let (mut lab, pc, web) = home();
    let hop = lab.wan_host("192.0.2.77");
    let sent = lab.pass(pc, udp(pc.at(5000), web.at(53)), web);
    let error = lab.pass(hop, icmp_error(hop.address, EXTERNAL, 11, 0, &sent.to_ip()), pc);
    assert_eq!((error.source, error.destination), (hop.address, pc.address));
}

#[test]
fn req_12b_destination_unreachable_is_translated() {
    let (mut lab, pc, web) = home();
    let original = udp(pc.at(5000), web.at(53));
    let sent = lab.pass(pc, original.clone(), web);
    let error = lab.pass(web, icmp_error(web.address, EXTERNAL, 3, 3, &sent.to_ip()), pc);
    assert_eq!(error.icmp_kind(), Some((3, 3)));
    assert_eq!(error.payload_data(), original.ttl(sent.ttl).to_ip());
}

#[test]
fn req_13_fragmentation_needed_is_told() {
    let (mut lab, pc, web) = scene(|plan| plan.wan.mtu = 1280);
    let big = udp(pc.at(5000), web.at(53)).data(&[1; 1400]).dont_fragment();
    lab.drop_at(pc, big.clone(), DropReason::FragmentationNeeded);
    let told = lab.receive(pc);
    assert_eq!(told.icmp_kind(), Some((3, 4)));
    assert_eq!(told.source, ip("192.168.0.1"));
    assert_eq!(
        told.payload_data()[12..28],
        big.to_ip()[12..28],
        "quotes addresses and ports as the host sent them"
    );
    lab.quiet();
}

#[test]
fn req_13a_packets_without_df_are_cut_in_order() {
    let (mut lab, pc, web) = scene(|plan| plan.wan.mtu = 1280);
    let data: Vec<u8> = (0..1400u32).map(|index| index as u8).collect();
    lab.send(pc, udp(pc.at(5000), web.at(53)).id(99).data(&data));
    let parts = lab.received(web);
    assert_eq!(parts.iter().map(|part| part.fragment_offset).collect::<Vec<_>>(), [0, 1256]);
    assert_eq!(parts.iter().map(|part| part.more_fragments).collect::<Vec<_>>(), [true, false]);
    let joined: Vec<u8> = parts.iter().flat_map(|part| part.payload_data().to_vec()).collect();
    assert_eq!(&joined[8..], data);
    lab.quiet();
}

#[test]
fn req_14_fragments_pass_in_any_order() {
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for (id, order) in orders.into_iter().enumerate() {
        let (mut lab, pc, web) = home();
        let whole = udp(pc.at(5000), web.at(53)).id(id as u16 + 1).data(&[9; 40]);
        let parts = whole.fragments(16);
        for index in order {
            lab.send(pc, parts[index].clone());
        }
        let mut seen = lab.received(web);
        seen.sort_by_key(|part| part.fragment_offset);
        assert_eq!(
            seen.iter().map(|part| part.fragment_offset).collect::<Vec<_>>(),
            [0, 16, 32],
            "{order:?}"
        );
        assert!(seen.iter().all(|part| part.source == EXTERNAL), "{order:?}");
        lab.quiet();
    }
}

#[test]
fn req_14a_floods_of_fragments_do_no_harm() {
    let (mut lab, pc, web) = home();
    let outside = lab.pass(pc, udp(pc.at(5000), web.at(53)), web).from();
    // Later fragments whose first never comes, from many sources and ids.
    for number in 0..5_000u32 {
        let source = lab.wan_host(&format!("198.51.100.{}", 10 + number % 200));
        let part = udp(source.at(1), external(5000))
            .id((number / 200) as u16)
            .data(&[0; 40])
            .fragments(16)
            .remove(1);
        lab.send(source, part);
    }
    lab.pass(web, udp(web.at(53), outside), pc);
    lab.advance(secs(60));
    let drops = lab.take_drops();
    let &[(DropReason::FragmentUnmatched, waited), (DropReason::FragmentLimit, refused)] = &drops[..] else {
        panic!("{drops:?}");
    };
    // At each worker.
    let room = 1024 * lab.router.workers();
    assert!(waited <= room && refused >= 4_950 - room, "{drops:?}");
    let parts = udp(web.at(53), outside).id(7).data(&[5; 40]).fragments(16);
    for part in parts.iter().rev() {
        lab.send(web, part.clone());
    }
    assert_eq!(lab.received(pc).len(), 3, "after the flood fragments pass again");
}

#[test]
fn req_3_forwarded_ports_are_never_handed_out() {
    let (mut lab, pc, web) = scene(|plan| {
        plan.nat.ports = 5000..=5009;
        plan.forwards.push(forward("game", "udp", "5000-5004", "192.168.0.10"));
    });
    let mut seen = HashSet::new();
    for port in 5000..5005 {
        seen.insert(lab.pass(pc, udp(pc.at(port), web.at(53)), web).source_port());
    }
    assert_eq!(seen, HashSet::from([5005, 5006, 5007, 5008, 5009]));
    assert!(lab.sessions().iter().all(|session| session.protocol == Protocol::UDP));
}

/// Without inbound refresh, nobody outside may keep a mapping open: not by new sessions either.
#[test]
fn req_6a_strangers_cannot_keep_a_mapping_open_by_ever_new_sessions() {
    for filtering in [FilteringBehavior::EndpointIndependent, FilteringBehavior::AddressDependent] {
        let (mut lab, pc, web) = scene(|plan| plan.nat.filtering = filtering);
        let outside = lab.pass(pc, udp(pc.at(5000), web.at(53)), web).from();
        for minute in 0..30 {
            lab.advance(secs(60));
            lab.send(web, udp(web.at(6000 + minute), outside));
        }
        lab.received(pc);
        lab.take_drops();
        assert_eq!(lab.router.mapping_count(), 0, "{filtering:?}");
        lab.refuse(web, udp(web.at(7000), outside), DropReason::NoMapping);
    }
}
