//! Three mapping behaviours and three filtering behaviours, in every combination.

use std::net::SocketAddrV4;

use genkan_engine::DropReason;
use genkan_engine::nat::policy::{FilteringBehavior, MappingBehavior};
use genkan_tests::lab::craft::{tcp, udp};
use genkan_tests::lab::nat_probe::{Behavior, probe};
use genkan_tests::lab::plan::host_entry;
use genkan_tests::lab::{Flags, Host, Lab};

use crate::common::scene;

const MAPPINGS: [MappingBehavior; 3] = [
    MappingBehavior::EndpointIndependent,
    MappingBehavior::AddressDependent,
    MappingBehavior::AddressAndPortDependent,
];
const FILTERINGS: [FilteringBehavior; 3] = [
    FilteringBehavior::EndpointIndependent,
    FilteringBehavior::AddressDependent,
    FilteringBehavior::AddressAndPortDependent,
];

fn lab(mapping: MappingBehavior, filtering: FilteringBehavior) -> (Lab, Host, Host) {
    scene(|plan| {
        plan.nat.mapping = mapping;
        plan.nat.filtering = filtering;
    })
}

#[test]
fn the_prober_finds_what_was_configured() {
    for mapping in MAPPINGS {
        for filtering in FILTERINGS {
            let (mut lab, pc, _) = lab(mapping, filtering);
            assert_eq!(probe(&mut lab, pc, 5000), Behavior { mapping, filtering, port_preserved: true });
        }
    }
}

#[test]
fn a_hosts_own_behaviour_goes_before_that_of_the_plan() {
    for mapping in MAPPINGS {
        for filtering in FILTERINGS {
            let (mut lab, _, _) = scene(|plan| {
                let mut host = host_entry("console", "192.168.0.20");
                host.mapping = Some(mapping);
                host.filtering = Some(filtering);
                plan.hosts.push(host);
            });
            let console = lab.lan_host("192.168.0.20");
            assert_eq!(probe(&mut lab, console, 5000), Behavior { mapping, filtering, port_preserved: true });
        }
    }
}

#[test]
fn tcp_maps_and_filters_like_udp() {
    for mapping in MAPPINGS {
        for filtering in FILTERINGS {
            let (mut lab, pc, web) = lab(mapping, filtering);
            let other = lab.wan_host("192.0.2.9");
            let mut mapped = |server: Host, port: u16| -> SocketAddrV4 {
                lab.pass(pc, tcp(pc.at(40_000), server.at(port), Flags::SYN), server).from()
            };
            let (first, port, address) = (mapped(web, 80), mapped(web, 81), mapped(other, 80));
            let expected = match mapping {
                MappingBehavior::EndpointIndependent => (true, true),
                MappingBehavior::AddressDependent => (true, false),
                MappingBehavior::AddressAndPortDependent => (false, false),
            };
            assert_eq!((first == port, first == address), expected, "{mapping:?}");

            let outside = lab.pass(pc, tcp(pc.at(50_000), web.at(80), Flags::SYN), web).from();
            let mut admits = |host: Host, port: u16| {
                lab.send(host, tcp(host.at(port), outside, Flags::SYN));
                !lab.received(pc).is_empty()
            };
            let expected = match filtering {
                FilteringBehavior::EndpointIndependent => (true, true),
                FilteringBehavior::AddressDependent => (false, true),
                FilteringBehavior::AddressAndPortDependent => (false, false),
            };
            assert_eq!((admits(other, 99), admits(web, 99)), expected, "{mapping:?} {filtering:?}");
        }
    }
}

#[test]
fn different_mappings_of_one_endpoint_do_not_open_each_other() {
    for mapping in [MappingBehavior::AddressDependent, MappingBehavior::AddressAndPortDependent] {
        let (mut lab, pc, web) = lab(mapping, FilteringBehavior::AddressAndPortDependent);
        let other = lab.wan_host("192.0.2.9");
        let first = lab.pass(pc, udp(pc.at(5000), web.at(53)), web).from();
        let second = lab.pass(pc, udp(pc.at(5000), other.at(53)), other).from();
        assert_ne!(first, second);
        lab.pass(web, udp(web.at(53), first), pc);
        lab.refuse(web, udp(web.at(53), second), DropReason::Filtered);
        lab.refuse(other, udp(other.at(53), first), DropReason::Filtered);
    }
}
