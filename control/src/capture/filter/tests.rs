use std::net::Ipv4Addr;

use super::*;

fn filter(text: &str) -> Filter {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn address(text: &str) -> u32 {
    text.parse::<Ipv4Addr>().expect("an address").to_bits()
}

fn packet(protocol: Protocol, from: (&str, u16), to: (&str, u16)) -> Facts {
    Facts {
        ethertype: EtherType::IPV4,
        protocol: Some(protocol),
        addresses: Some((address(from.0), address(to.0))),
        ports: Some((from.1, to.1)),
    }
}

fn web() -> Facts {
    packet(Protocol::TCP, ("198.51.100.7", 40_000), ("203.0.113.1", 80))
}

fn arp() -> Facts {
    Facts {
        ethertype: EtherType::ARP,
        protocol: None,
        addresses: Some((address("192.168.0.20"), address("192.168.0.1"))),
        ports: None,
    }
}

#[test]
fn primitives_mean_what_they_mean_to_libpcap() {
    for (text, wanted) in [
        ("", true),
        ("tcp", true),
        ("udp", false),
        ("ip", true),
        ("arp", false),
        ("tcp port 80", true),
        ("udp port 80", false),
        ("ip port 80", true),
        ("port 80", true),
        ("src port 80", false),
        ("dst port 80", true),
        ("tcp dst port 80", true),
        ("src and dst port 80", false),
        ("src or dst port 80", true),
        ("portrange 79-81", true),
        ("portrange 81-90", false),
        ("host 198.51.100.7", true),
        ("198.51.100.7", true),
        ("dst host 198.51.100.7", false),
        ("src 198.51.100.7", true),
        ("ip src 198.51.100.7", true),
        ("net 198.51.100.0/24", true),
        ("src net 203.0.113.0/24", false),
        ("net 0.0.0.0/0", true),
        ("not tcp", false),
        ("! udp", true),
        ("not not tcp", true),
    ] {
        assert_eq!(filter(text).admits(&web()), wanted, "{text}");
    }
    for (text, wanted) in [
        ("arp", true),
        ("host 192.168.0.20", true),
        ("ip host 192.168.0.20", false),
        ("arp net 192.168.0.0/24", true),
    ] {
        assert_eq!(filter(text).admits(&arp()), wanted, "{text}");
    }
    // ICMP has no ports, whatever lies where they would be.
    assert!(!filter("port 80").admits(&packet(Protocol::ICMP, ("198.51.100.7", 80), ("203.0.113.1", 80))));
}

#[test]
fn and_and_or_go_from_left_to_right() {
    let web = web();
    // (tcp or udp) and arp: in most languages `and` would go first, and this be true.
    assert!(!filter("tcp or udp and arp").admits(&web));
    assert!(filter("tcp or (udp and arp)").admits(&web));
    assert!(filter("not udp and tcp").admits(&web));
    assert!(!filter("not (udp or tcp)").admits(&web));
    assert!(filter("tcp&&(port 81||port 80)&&!arp").admits(&web));
}

#[test]
fn a_value_alone_is_of_the_kind_of_the_one_before() {
    let web = web();
    assert!(filter("tcp port 443 or 80").admits(&web));
    assert!(!filter("udp port 443 or 80").admits(&web));
    assert!(filter("host 192.0.2.1 or 203.0.113.1").admits(&web));
    assert!(filter("not host 192.0.2.1 and 203.0.113.1").admits(&web));
    assert!(filter("tcp and 203.0.113.1").admits(&web));
}

#[test]
fn errors_name_the_character_and_what_is_accepted() {
    for (text, at, len, problem, accepted) in [
        ("tcp prot 80", 5, 4, "`prot` does not follow", "`and`"),
        ("prot 80", 1, 4, "`prot` is not understood", "portrange"),
        ("tcp port", 9, 1, "ends too early", "from 0 to 65535"),
        ("tcp port 65536", 10, 5, "`65536`", "from 0 to 65535"),
        ("port http", 6, 4, "`http`", "from 0 to 65535"),
        ("portrange 90-80", 11, 5, "`90-80`", "6000-6010"),
        ("host 1.2.3", 6, 5, "`1.2.3`", "IPv4 address"),
        ("net 10.0.0.1/8", 5, 10, "`10.0.0.1/8`", "192.168.0.0/24"),
        ("net 10.0.0.0/33", 5, 11, "`10.0.0.0/33`", "192.168.0.0/24"),
        ("(tcp or udp", 12, 1, "`(` of character 1 is not closed", "`)`"),
        ("tcp)", 4, 1, "`)` does not follow", "the end"),
        ("tcp and", 8, 1, "ends too early", "icmp"),
        ("tcp host 10.0.0.1", 5, 4, "nothing about addresses", "`tcp and host"),
        ("icmp port 7", 6, 4, "no ports", "`tcp`"),
        ("src tcp port 80", 5, 3, "`tcp`", "portrange"),
        ("src or port 80", 8, 4, "`port`", "`dst`"),
        ("tcp; reboot", 4, 1, "`;`", "letters"),
        ("port 80 ünd", 9, 3, "`ünd`", "`and`"),
        ("ip6 host 10.0.0.1", 5, 4, "IPv6", "alone"),
    ] {
        let error = text.parse::<Filter>().expect_err(text);
        assert_eq!((error.at, error.len), (at, len), "{text}: {error}");
        assert!(error.problem.contains(problem), "{text}: {error}");
        assert!(error.accepted.contains(accepted), "{text}: {error}");
    }
    let error = "tcp prot 80".parse::<Filter>().expect_err("no word of ours");
    assert_eq!(error.pointed("tcp prot 80"), "tcp prot 80\n    ^^^^");
}

#[test]
fn filters_are_bounded() {
    let long = vec!["tcp"; MAX_PRIMITIVES].join(" or ");
    assert!(filter(&long).admits(&web()));
    assert!((long + " or tcp").parse::<Filter>().is_err());
    let nested = |depth| "(".repeat(depth) + "tcp" + &")".repeat(depth);
    assert!(filter(&nested(MAX_PRIMITIVES)).admits(&web()));
    assert!(nested(MAX_PRIMITIVES + 1).parse::<Filter>().is_err());
    // All results open at once.
    let open = "udp or (".repeat(MAX_PRIMITIVES - 1) + "tcp" + &")".repeat(MAX_PRIMITIVES - 1);
    assert!(filter(&open).admits(&web()));
    assert!(" ".repeat(MAX_LENGTH + 1).parse::<Filter>().is_err());
}

#[test]
fn facts_are_read_from_the_octets() {
    let mut frame = vec![0; 14];
    frame[12..].copy_from_slice(&[0x08, 0x00]);
    #[rustfmt::skip]
    frame.extend_from_slice(&[
        0x46, 0, 0, 32, 0, 1, 0x20, 0, 64, 17, 0, 0,   // options, first fragment, UDP
        198, 51, 100, 7, 203, 0, 113, 1, 1, 1, 1, 1,   // source, destination, three times nothing
        0x9c, 0x40, 0, 53, 0, 8, 0, 0,                 // 40000 > 53
    ]);
    let facts = Facts::of(&frame);
    assert_eq!(facts, packet(Protocol::UDP, ("198.51.100.7", 40_000), ("203.0.113.1", 53)));

    // A tag of VLAN 0 is looked through, another one not.
    let mut tagged = frame[..12].to_vec();
    tagged.extend_from_slice(&[0x81, 0x00, 0xa0, 0x00]);
    tagged.extend_from_slice(&frame[12..]);
    assert_eq!(Facts::of(&tagged), facts);
    tagged[15] = 1;
    assert_eq!(Facts::of(&tagged).ethertype, EtherType::VLAN);

    // A later fragment has no ports; octets that are not there are not read.
    frame[21] = 1;
    assert_eq!(Facts::of(&frame).ports, None);
    for len in 0..frame.len() {
        Facts::of(&frame[..len]);
    }
}
