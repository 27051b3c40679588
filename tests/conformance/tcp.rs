//! Design §6, TCP: how sessions start, end and come back.

use genkan_engine::DropReason;
use genkan_engine::nat::policy::FilteringBehavior;
use genkan_engine::wire::ipv4::Protocol;
use genkan_tests::lab::craft::tcp;
use genkan_tests::lab::packet::Payload;
use genkan_tests::lab::plan::forward;
use genkan_tests::lab::{Flags, Host, Lab};

use crate::common::{LATE, MOMENT, external, home, scene, secs};

fn state(lab: &Lab, pc: Host, web: Host) -> Option<&'static str> {
    Some(lab.session(Protocol::TCP, pc.at(40_000), web.at(80))?.state)
}

/// Closes a connection from 40,000 to 80 by both FINs.
fn close(lab: &mut Lab, pc: Host, web: Host) {
    lab.pass(pc, tcp(pc.at(40_000), web.at(80), Flags::FIN_ACK), web);
    lab.pass(web, tcp(web.at(80), external(40_000), Flags::FIN_ACK), pc);
    lab.pass(pc, tcp(pc.at(40_000), web.at(80), Flags::ACK), web);
}

#[test]
fn mid_stream_from_inside_gets_a_reset_that_ends_the_connection() {
    let (mut lab, pc, web) = home();
    // RFC 9293 §3.5.2: with ACK the reset carries that number; without it acknowledges what was sent.
    lab.drop_at(
        pc,
        tcp(pc.at(40_000), web.at(80), Flags::ACK).numbers(100, 900).data(b"abc"),
        DropReason::TcpNoSession,
    );
    let reset = lab.receive(pc);
    assert_eq!((reset.from(), reset.to()), (web.at(80), pc.at(40_000)));
    let Payload::Tcp { seq, flags, .. } = reset.payload else { panic!("no TCP: {reset:?}") };
    assert_eq!((seq, flags), (900, Flags::RST));
    lab.drop_at(
        pc,
        tcp(pc.at(40_000), web.at(80), Flags::FIN).numbers(100, 0).data(b"abc"),
        DropReason::TcpNoSession,
    );
    let Payload::Tcp { seq, ack, flags, .. } = lab.receive(pc).payload else { panic!("no TCP") };
    assert_eq!((seq, ack, flags), (0, 104, Flags::RST_ACK));
    assert_eq!((lab.router.session_count(), lab.stage("resets_sent")), (0, 2));
}

#[test]
fn a_reset_is_never_answered_by_a_reset() {
    let (mut lab, pc, web) = home();
    lab.refuse(pc, tcp(pc.at(40_000), web.at(80), Flags::RST), DropReason::TcpNoSession);
    lab.refuse(pc, tcp(pc.at(40_000), web.at(80), Flags::RST_ACK), DropReason::TcpNoSession);
}

#[test]
fn resets_to_inside_hosts_are_rate_limited() {
    let (mut lab, pc, web) = home();
    for port in 1..=40_000 {
        lab.send(pc, tcp(pc.at(port), web.at(80), Flags::ACK));
    }
    let resets = lab.received(pc).len();
    assert!((1..=10_000).contains(&resets), "{resets} at once");
    assert_eq!(lab.take_drops(), [(DropReason::TcpNoSession, 40_000)]);
    lab.advance(secs(10));
    lab.send(pc, tcp(pc.at(2000), web.at(80), Flags::ACK));
    assert_eq!(lab.received(pc).len(), 1);
}

#[test]
fn mid_stream_from_outside_meets_silence() {
    let (mut lab, pc, web) = scene(|plan| plan.nat.filtering = FilteringBehavior::EndpointIndependent);
    lab.open_tcp(pc, 40_000, web, 80);
    // The mapping admits everybody, but only a SYN opens a session.
    for flags in [Flags::ACK, Flags::SYN_ACK, Flags::RST, Flags::FIN_ACK] {
        lab.refuse(web, tcp(web.at(99), external(40_000), flags), DropReason::TcpNoSession);
    }
}

#[test]
fn states_follow_the_handshake_and_the_close() {
    let (mut lab, pc, web) = home();
    assert_eq!(state(&lab, pc, web), None);
    lab.pass(pc, tcp(pc.at(40_000), web.at(80), Flags::SYN), web);
    let opening = state(&lab, pc, web);
    lab.pass(web, tcp(web.at(80), external(40_000), Flags::SYN_ACK), pc);
    let established = state(&lab, pc, web);
    lab.pass(pc, tcp(pc.at(40_000), web.at(80), Flags::ACK), web);
    assert_eq!(state(&lab, pc, web), established);
    close(&mut lab, pc, web);
    let closed = state(&lab, pc, web);
    let distinct: std::collections::HashSet<_> = [opening, established, closed].into_iter().collect();
    assert_eq!(distinct.len(), 3, "{distinct:?}");
}

#[test]
fn a_syn_from_inside_reopens_a_closing_session() {
    let (mut lab, pc, web) = home();
    lab.open_tcp(pc, 40_000, web, 80);
    close(&mut lab, pc, web);
    assert_eq!(lab.open_tcp(pc, 40_000, web, 80), external(40_000));
    lab.advance(secs(3600));
    lab.pass(web, tcp(web.at(80), external(40_000), Flags::ACK), pc);
}

#[test]
fn a_syn_from_inside_reopens_a_reset_session() {
    let (mut lab, pc, web) = home();
    lab.open_tcp(pc, 40_000, web, 80);
    lab.pass(web, tcp(web.at(80), external(40_000), Flags::RST), pc);
    lab.open_tcp(pc, 40_000, web, 80);
    lab.advance(secs(3600));
    lab.pass(web, tcp(web.at(80), external(40_000), Flags::ACK), pc);
}

#[test]
fn a_syn_from_outside_on_a_closing_session_is_judged_afresh() {
    // The mapping's filtering admits the remote's address: the connection opens from outside.
    let (mut lab, pc, web) = home();
    lab.open_tcp(pc, 40_000, web, 80);
    close(&mut lab, pc, web);
    lab.pass(web, tcp(web.at(80), external(40_000), Flags::SYN), pc);
    // A forward that has closed to this source since: refused, although the session is still there.
    let (mut lab, _, web) = scene(|plan| plan.forwards.push(forward("web", "tcp", "80", "192.168.0.10")));
    let server = lab.lan_host("192.168.0.10");
    lab.accept_tcp(web.at(5000), external(80), server, 80);
    lab.pass(web, tcp(web.at(5000), external(80), Flags::FIN_ACK), server);
    lab.pass(server, tcp(server.at(80), web.at(5000), Flags::FIN_ACK), web);
    lab.pass(web, tcp(web.at(5000), external(80), Flags::SYN), server);
    lab.pass(web, tcp(web.at(5000), external(80), Flags::FIN_ACK), server);
    lab.pass(server, tcp(server.at(80), web.at(5000), Flags::FIN_ACK), web);
    lab.change(|plan| plan.forwards[0].from = vec!["192.0.2.0/24".parse().unwrap()]);
    lab.refuse(web, tcp(web.at(5000), external(80), Flags::SYN), DropReason::ForwardSource);
}

#[test]
fn data_after_both_fins_passes_within_the_closing_time() {
    let (mut lab, pc, web) = home();
    lab.open_tcp(pc, 40_000, web, 80);
    close(&mut lab, pc, web);
    lab.advance(secs(200));
    lab.pass(pc, tcp(pc.at(40_000), web.at(80), Flags::ACK), web);
    lab.pass(web, tcp(web.at(80), external(40_000), Flags::FIN_ACK), pc);
}

#[test]
fn an_unanswered_syn_is_not_kept_alive_by_its_sender_beyond_reason() {
    let (mut lab, pc, web) = home();
    // Retransmissions refresh (they come from inside) but never make it established.
    for _ in 0..5 {
        lab.pass(pc, tcp(pc.at(40_000), web.at(80), Flags::SYN), web);
        lab.advance(secs(60));
    }
    lab.advance(secs(180) + LATE);
    assert_eq!(lab.router.session_count(), 0);
}

#[test]
fn a_lone_ack_from_inside_does_not_establish() {
    let (mut lab, pc, web) = home();
    lab.pass(pc, tcp(pc.at(40_000), web.at(80), Flags::SYN), web);
    lab.pass(pc, tcp(pc.at(40_000), web.at(80), Flags::ACK), web);
    lab.advance(secs(240) + LATE);
    assert_eq!(lab.router.session_count(), 0, "no SYN of the other side was seen");
}

#[test]
fn inbound_syn_floods_on_a_forward_time_out_as_opening() {
    let (mut lab, _, web) = scene(|plan| plan.forwards.push(forward("web", "tcp", "80", "192.168.0.10")));
    let server = lab.lan_host("192.168.0.10");
    for port in 1000..1200 {
        lab.send(web, tcp(web.at(port), external(80), Flags::SYN));
    }
    assert_eq!(lab.received(server).len(), 200);
    lab.advance(secs(240) - MOMENT);
    assert_eq!(lab.router.session_count(), 200);
    lab.advance(MOMENT + LATE);
    assert_eq!(lab.router.session_count(), 0);
}

#[test]
fn ecn_and_urgent_flags_pass() {
    let (mut lab, pc, web) = home();
    // SYN with ECE and CWR (RFC 3168), data with PSH.
    let syn = lab.pass(pc, tcp(pc.at(40_000), web.at(80), Flags(0xc2)), web);
    assert_eq!(syn.flags(), Flags(0xc2));
    lab.pass(web, tcp(web.at(80), external(40_000), Flags(0x52)), pc);
    assert_eq!(
        lab.pass(pc, tcp(pc.at(40_000), web.at(80), Flags(0x98)).data(b"x"), web).flags(),
        Flags(0x98)
    );
}
