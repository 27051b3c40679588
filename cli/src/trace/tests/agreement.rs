//! What a trace says becomes of a packet is what the router does with it, whatever the rules and whatever went before.
//!
//! Random files and random packets. Two routers follow each file: one gets the packets as frames and knows nothing of
//! traces; the traces are made of the file alone for its first packet, and for each later one of what is read out of it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use genkan_engine::router::LinkState;
use genkan_engine::wire::ethernet::MacAddr;
use genkan_engine::wire::tcp::TcpFlags;
use genkan_engine::{Offload, Router, RouterConfig, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::replay::Neighbors;
use crate::simulation::{SEED, Transport};

/// What the rules differ in.
#[derive(Clone, Debug)]
struct Rules {
    filtering: usize,
    hairpin: bool,
    ping: bool,
    reaches: bool,
    dmz: bool,
    tun: bool,
    /// Sessions, sessions of a host, ports of a host.
    limits: (u32, u32, u32),
    /// Protocol, port, target, what else.
    forwards: Vec<(bool, u16, u8, usize)>,
}

fn rules() -> impl Strategy<Value = Rules> {
    let forward = (any::<bool>(), 80u16..84, 10u8..13, 0usize..7);
    let switches = (0usize..3, any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let limits = (2u32..6, 1u32..6, 1u32..6);
    (switches, limits, prop::collection::vec(forward, 0..4)).prop_map(|(switches, limits, forwards)| {
        let (filtering, hairpin, ping, reaches, dmz, tun) = switches;
        Rules { filtering, hairpin, ping, reaches, dmz, tun, limits, forwards }
    })
}

impl Rules {
    fn text(&self) -> String {
        let filtering = ["endpoint-independent", "address-dependent", "address-and-port-dependent"];
        let (sessions, of_host, ports) = self.limits;
        let mut text = format!(
            "[wan]\ndevice = \"a\"\naddress = \"203.0.113.1/24\"\ngateway = \"203.0.113.2\"\nping = {}\n\
             [[lan]]\nname = \"home\"\ndevice = \"b\"\naddress = \"192.168.0.1/24\"\nreaches = [{}]\n\
             [[lan]]\nname = \"guests\"\ndevice = \"c\"\naddress = \"192.168.1.1/24\"\n\
             [nat]\nfiltering = \"{}\"\nhairpin = {}\nmax_sessions = {sessions}\nmax_sessions_per_host = {of_host}\n\
             max_ports_per_host = {ports}\n[router]\n",
            self.ping,
            if self.reaches { "\"guests\"" } else { "" },
            filtering[self.filtering],
            self.hairpin,
        );
        let more = [
            "",
            "from = [\"198.51.100.0/24\"]",
            "enabled = false",
            "expires = 2020-01-01T00:00:00Z",
            "schedule = \"22:00-06:00\"",
            "max_sessions = 1",
            "max_new_per_source = \"1/h\"",
        ];
        // Writing to a String does not fail.
        let _ = writeln!(text, "{}", if self.tun { "tun = \"t\"" } else { "" });
        for (at, (is_tcp, port, host, which)) in self.forwards.iter().enumerate() {
            let protocol = if *is_tcp { "tcp" } else { "udp" };
            let _ = writeln!(
                text,
                "[[forward]]\nname = \"f{at}\"\nprotocol = \"{protocol}\"\nport = {port}\nto = \"192.168.0.{host}\"\n{}",
                more[*which]
            );
        }
        if self.dmz {
            text.push_str("[dmz]\nto = \"192.168.0.12\"\n");
        }
        text
    }
}

/// A packet, and how much time passes before it: port, who sends and to whom, what.
type Sent = (u8, usize, usize, (u16, u16), usize, u64);

fn sent() -> impl Strategy<Value = Sent> {
    let ports = (prop_oneof![Just(5000u16), 80u16..84], prop_oneof![Just(5000u16), 80u16..84]);
    (0u8..4, 0usize..8, 0usize..8, ports, 0usize..10, prop_oneof![4 => Just(0), 1 => 0u64..400])
}

const ADDRESSES: [[u8; 4]; 8] = [
    [192, 168, 0, 10],
    [192, 168, 0, 11],
    [192, 168, 1, 20],
    [203, 0, 113, 1],
    [198, 51, 100, 7],
    [192, 0, 2, 9],
    [192, 168, 0, 1],
    [203, 0, 113, 9],
];

fn packet(&(_, from, to, (source, destination), kind, _): &Sent) -> Packet {
    let transport = match kind {
        0 | 1 => Transport::Tcp(source, destination, TcpFlags::SYN),
        2 => Transport::Tcp(source, destination, TcpFlags::ACK),
        3 => Transport::Tcp(source, destination, TcpFlags::RST),
        4 => Transport::EchoRequest(source),
        5 => Transport::EchoReply(source),
        6 => Transport::Other(Protocol::ESP),
        _ => Transport::Udp(source, destination),
    };
    Packet { source: ADDRESSES[from].into(), destination: ADDRESSES[to].into(), transport }
}

fn mac_of(port: PortId) -> MacAddr {
    MacAddr([2, 0, 0, 0, 7, port.0])
}

/// A router that knows nothing of traces.
struct Real {
    router: Router,
    now: Timestamp,
    neighbors: Neighbors,
}

impl Real {
    fn new(plan: genkan_engine::Plan) -> Real {
        let now = Timestamp::from_secs(1_000);
        let mut router = Router::new(RouterConfig::alone(Arc::new(plan), SEED), now, NOON);
        for port in [PortId::WAN, PortId::HOST, PortId::lan(0), PortId::lan(1)] {
            let up = port != PortId::HOST || router.plan().host_port;
            router.set_link(now, port, LinkState { mac: mac_of(port), mtu: 1500, up });
        }
        let mut real = Real { router, now, neighbors: Neighbors(HashMap::new()) };
        real.settle();
        real
    }

    /// Neighbours answer, and what is due happens.
    fn settle(&mut self) -> Vec<(PortId, Packet)> {
        let mut left = Vec::new();
        loop {
            while let Some(made) = self.router.poll_transmit() {
                left.extend(Packet::from_frame(&made.bytes).map(|packet| (made.port, packet)));
                if let Some(mut answer) = self.neighbors.answer(made.port, &made.bytes) {
                    let frame = &mut answer.as_mut_slice();
                    self.router.handle_frame(self.now, made.port, frame, Offload::default());
                }
            }
            if self.router.poll_timeout().is_none_or(|due| due > self.now) {
                return left;
            }
            self.router.handle_timeout(self.now);
        }
    }

    fn send(&mut self, port: PortId, packet: &Packet) -> (Verdict, Vec<(PortId, Packet)>) {
        let mut bytes = packet.to_frame(mac_of(port));
        let mut frame = bytes.as_mut_slice();
        let verdict = self.router.handle_frame(self.now, port, &mut frame, Offload::default());
        let mut left = Vec::new();
        if let Verdict::Transmit(out) = verdict {
            left.extend(Packet::from_frame(frame).map(|packet| (out, packet)));
        }
        left.extend(self.settle());
        (verdict, left)
    }
}

/// Whether a trace told the truth.
fn agrees(
    answer: &Answer,
    verdict: Verdict,
    left: &[(PortId, Packet)],
    scene: &Scene<'_>,
) -> Result<(), String> {
    let mut told: Vec<String> =
        answer.left.iter().map(|left| format!("{} {}", left.port, left.packet)).collect();
    let mut seen: Vec<String> =
        left.iter().map(|(port, packet)| format!("{} {packet}", scene.port_name(*port))).collect();
    let reason = match verdict {
        Verdict::Drop(reason) => Some(reason.name()),
        _ => None,
    };
    if answer.reason.as_ref().map(|reason| reason.id.as_str()) != reason
        || (answer.fate == Fate::Dropped) != reason.is_some()
    {
        return Err(format!("told {:?} {:?}, in truth {verdict:?}", answer.fate, answer.reason));
    }
    if reason.is_some() && answer.remedies.is_empty() {
        return Err(format!("{reason:?}: nothing is said of what would help"));
    }
    told.sort();
    seen.sort();
    if answer.steps.iter().any(|step| step.id == "step-next-hop-asked") {
        // What was to wait for a neighbour, the packet or what its sender is told, left once that had answered.
        let (is_part, waits) = (told.iter().all(|told| seen.contains(told)), seen.len() > told.len());
        let may_be = is_part && (waits || answer.fate != Fate::Waiting);
        return if may_be { Ok(()) } else { Err(format!("told {told:?}, in truth {seen:?}")) };
    }
    if told == seen { Ok(()) } else { Err(format!("told {told:?}, in truth {seen:?}")) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_trace_tells_what_the_router_does(rules in rules(), packets in prop::collection::vec(sent(), 1..16)) {
        let text = rules.text();
        let loaded = genkan_config::parse(&text, "rules.toml")
            .map_err(|errors| TestCaseError::fail(genkan_config::render(&errors, false)))?;
        let scene = Scene::new(&loaded, NOON);
        let words = Words::new(Language::English);
        let mut real = Real::new(scene.plan.clone());
        for (at, sent) in packets.iter().enumerate() {
            let port = PortId(sent.0);
            if port == PortId::HOST && !rules.tun {
                continue;
            }
            let packet = packet(sent);
            real.now += Duration::from_secs(sent.5);
            real.settle();
            let excerpt = real.router.excerpt(real.now, port, &packet.to_frame(MacAddr::ZERO), &[]);
            let sessions = excerpt.sessions_in_all();
            let router = Router::of_excerpts(real.now, NOON, vec![excerpt]).expect("one plan");
            let mut moment = Moment { router, now: real.now, sessions };
            let answer = scene.trace_running(&mut moment, port, packet, &words);
            let before = real.router.session_count();
            let offline = (at == 0).then(|| scene.trace(port, packet, &words));
            let (verdict, left) = real.send(port, &packet);
            let told = agrees(&answer, verdict, &left, &scene);
            prop_assert!(told.is_ok(), "{packet} by {port:?} with {before} sessions: {told:?}\n{answer:#?}\n{text}");
            if let Some(offline) = offline {
                let told = agrees(&offline, verdict, &left, &scene);
                prop_assert!(told.is_ok(), "offline, {packet} by {port:?}: {told:?}\n{offline:#?}\n{text}");
            }
        }
    }
}
