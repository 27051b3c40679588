//! One thing at a time ails a router whose services are all well.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use genkan_control::api::{DdnsFamily, DdnsRow, DnsProblem};

use super::*;
use crate::doctor::facts::Resolver;
use crate::doctor::judgement::Severity;

const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));

fn name() -> Name {
    let row = DdnsRow {
        name: "home.example.net".to_owned(),
        family: DdnsFamily::V4,
        provider: "rfc2136".to_owned(),
        state: DdnsState::Good,
        address: Some(OURS),
        wanted: Some(OURS),
        since: Some(1_000),
        next_attempt: None,
        fault: None,
        reason: None,
        updates: 1,
        failures: 0,
    };
    Name { row, entry: Some(0), resolved: vec![OURS], age: Some(2 * CACHED) }
}

fn services() -> Services {
    let resolvers = ["192.0.2.53:53", "192.0.2.54:53"].map(|name| Resolver {
        name: name.to_owned(),
        answers: Some(true),
        after: Some(Duration::from_millis(12)),
    });
    let home = DhcpRow {
        lan: "home".to_owned(),
        pool: 100,
        free: 88,
        leases: 12,
        exhausted: Vec::new(),
        conflicts: 0,
        other_server: None,
        fault: None,
        reason: None,
    };
    Services {
        is_of_one: false,
        missing: Vec::new(),
        names: vec![name()],
        dns: Some(Dns { resolvers: resolvers.into(), problems: Vec::new(), no_lease: false }),
        dhcp: vec![(Some(0), home)],
    }
}

/// What is found after a change, those that are uncertain with a question mark.
fn found(change: impl FnOnce(&mut Services)) -> Vec<String> {
    let mut services = services();
    change(&mut services);
    let mark = |found: &Found| match found.severity {
        Severity::Broken => found.cause.id().to_owned(),
        Severity::Doubt => format!("{}?", found.cause.id()),
    };
    of_services(&services).iter().map(mark).collect()
}

fn of_dns(change: impl FnOnce(&mut Dns)) -> Vec<String> {
    found(|services| change(services.dns.as_mut().expect("it is on")))
}

#[test]
fn nothing_is_found_where_all_is_well() {
    assert!(found(|_| ()).is_empty());
    assert_eq!(there(&services()), [(Step::Ddns, true), (Step::Dns, true), (Step::Dhcp, true)]);
    assert!(there(&Services::default()).is_empty());
}

#[test]
fn of_resolvers_that_could_not_be_asked_nothing_is_known() {
    let mut services = services();
    let resolvers = &mut services.dns.as_mut().expect("it is on").resolvers;
    resolvers.iter_mut().for_each(|resolver| resolver.answers = None);
    assert_eq!(there(&services)[1], (Step::Dns, false));
    assert!(of_services(&services).is_empty(), "nothing is wrong either");
}

#[test]
fn each_fault_of_a_name_has_its_cause() {
    for fault in DdnsFault::ALL {
        let cause = format!("ddns-{}", fault.name());
        let with = |state| {
            found(|services| {
                let row = &mut services.names[0].row;
                (row.state, row.fault) = (state, Some(fault));
                // The one that was told last is not known to be wrong.
                services.names[0].resolved.clear();
            })
        };
        assert_eq!(with(DdnsState::Failed), [cause.as_str()]);
        assert_eq!(with(DdnsState::Stopped), [cause.as_str()]);
        assert_eq!(with(DdnsState::Good), [format!("{cause}?")], "it has the address of before");
    }
    let waits = |services: &mut Services| services.names[0].row.state = DdnsState::Waiting;
    assert!(found(waits).is_empty(), "nothing is wrong yet");
}

#[test]
fn what_is_not_tried_again_by_itself_has_a_command() {
    let commands = |state| {
        let mut services = services();
        let row = &mut services.names[0].row;
        (row.state, row.fault) = (state, Some(DdnsFault::Credentials));
        of_services(&services)[0].commands.clone()
    };
    assert_eq!(commands(DdnsState::Stopped), ["genkan ddns update home.example.net"]);
    assert!(commands(DdnsState::Failed).is_empty());
}

#[test]
fn a_name_that_leads_elsewhere() {
    let other = IpAddr::from([198, 51, 100, 9]);
    let leads = |resolved: &[IpAddr], change: fn(&mut Name)| {
        found(|services| {
            services.names[0].resolved = resolved.to_vec();
            change(&mut services.names[0]);
        })
    };
    assert_eq!(leads(&[other], |_| ()), ["ddns-elsewhere"]);
    assert!(leads(&[other, OURS], |_| ()).is_empty(), "one of several");
    assert!(leads(&[], |_| ()).is_empty(), "nobody could tell");
    // A resolver may have the old one for a while; a proxy has its own.
    assert_eq!(leads(&[other], |name| name.age = Some(CACHED - 1)), ["ddns-elsewhere?"]);
    assert_eq!(leads(&[other], |name| name.age = Some(CACHED)), ["ddns-elsewhere"]);
    assert_eq!(leads(&[other], |name| name.age = None), ["ddns-elsewhere?"]);
    assert_eq!(leads(&[other], |name| name.row.provider = "cloudflare".to_owned()), ["ddns-elsewhere?"]);
    let fails = |name: &mut Name| {
        (name.row.state, name.row.fault) = (DdnsState::Failed, Some(DdnsFault::Service));
    };
    assert_eq!(leads(&[other], fails), ["ddns-service"], "that it leads elsewhere follows from it");
}

#[test]
fn resolvers_and_lists() {
    for (fault, cause) in [
        (DnsFault::NoResolver, "dns-no-resolver"),
        (DnsFault::Silent, "dns-silent"),
        (DnsFault::Settings, "dns-settings"),
        (DnsFault::Tls, "dns-tls"),
        (DnsFault::Tcp, "dns-tcp?"),
        (DnsFault::BlockList, "dns-block-list?"),
    ] {
        assert_eq!(of_dns(|dns| dns.problems = vec![DnsProblem { fault, text: "so".to_owned() }]), [cause]);
    }
    let of_the_wan = |dns: &mut Dns| {
        dns.no_lease = true;
        dns.problems = vec![DnsProblem { fault: DnsFault::NoResolver, text: "so".to_owned() }];
    };
    assert_eq!(of_dns(of_the_wan), ["dns-no-resolver?"], "the wan has a cause of its own");
    assert_eq!(of_dns(|dns| dns.resolvers[1].answers = Some(false)), ["dns-resolver-down?"]);
    let all_down = |dns: &mut Dns| dns.resolvers.iter_mut().for_each(|it| it.answers = Some(false));
    assert_eq!(of_dns(all_down), ["dns-silent"]);
    let known = |dns: &mut Dns| {
        all_down(dns);
        dns.problems = vec![DnsProblem { fault: DnsFault::Silent, text: "so".to_owned() }];
    };
    assert_eq!(of_dns(known), ["dns-silent"], "the service has found that out, too");
}

#[test]
fn pools_and_other_servers() {
    let of_lan = |change: fn(&mut DhcpRow)| found(|services| change(&mut services.dhcp[0].1));
    assert_eq!(of_lan(|row| row.exhausted.push("192.168.0.0/24".to_owned())), ["dhcp-exhausted"]);
    assert!(of_lan(|row| row.free = 0).is_empty(), "nobody has gone without");
    assert_eq!(of_lan(|row| row.fault = Some(DhcpFault::Disk)), ["dhcp-disk"]);
    assert_eq!(of_lan(|row| row.fault = Some(DhcpFault::NotServed)), ["dhcp-not-served"]);
    assert_eq!(of_lan(|row| row.other_server = Some(Ipv4Addr::new(192, 168, 0, 9))), ["dhcp-other-server"]);
}

#[test]
fn a_file_that_is_not_in_force_and_one_forward() {
    let missing = |services: &mut Services| services.missing.push(("dns", 0, "[dns]".to_owned()));
    assert_eq!(found(missing), ["service-not-loaded?"]);
    // Who uses the address and not the name gets to a forward all the same.
    let of_one = |services: &mut Services| {
        services.is_of_one = true;
        let row = &mut services.names[0].row;
        (row.state, row.fault) = (DdnsState::Stopped, Some(DdnsFault::Blocked));
    };
    assert_eq!(found(of_one), ["ddns-blocked?"]);
}
