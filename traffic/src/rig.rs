//! A router with its links up, its neighbors known and its sessions open.

use std::net::Ipv4Addr;
use std::sync::Arc;

use genkan_engine::packet::build;
use genkan_engine::plan::Plan;
use genkan_engine::router::LinkState;
use genkan_engine::wire::arp;
use genkan_engine::wire::ethernet::{self, MacAddr};
use genkan_engine::wire::tcp::TcpFlags;
use genkan_engine::{Offload, PortId, Router, RouterConfig, Team, Timestamp, UnixTime, Verdict, WorkerId};

use crate::flows::Flows;
use crate::frames::{Batch, Template, source_port};
use crate::network::{
    self, EXTERNAL, GATEWAY, HAIRPIN_FORWARDS, INSIDE, LAN, LAN_MAC, OUTSIDE, WAN_MAC, mac_of, plan,
};
use crate::{BATCH, Transport};

/// Room in the session table, the default of the configuration, however few sessions there are: half empty
/// tables are spread over as many pages as full ones.
pub const DEFAULT_MAX_SESSIONS: u32 = 1_000_000;
/// Any will do, as nobody attacks.
const SEED: [u64; 2] = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];
/// The size of frames where it does not matter.
const SMALL: usize = 64;

/// A router and the sessions that it has.
#[derive(Debug)]
pub struct Rig {
    /// The router.
    pub router: Router,
    /// What time it is for the router.
    pub now: Timestamp,
    /// The sessions.
    pub flows: Flows,
}

impl Rig {
    /// A router that knows its neighbors but has no sessions yet; `flows` are those to come.
    pub fn idle(flows: Flows) -> Rig {
        Rig::with_plan(flows, plan(DEFAULT_MAX_SESSIONS.max(flows.count())))
    }

    /// As [`Rig::idle`], with a plan of its own.
    pub fn with_plan(flows: Flows, plan: Plan) -> Rig {
        Rig::with_config(flows, RouterConfig::alone(Arc::new(plan), SEED))
    }

    /// As [`Rig::idle`], one worker of several.
    pub fn in_team(flows: Flows, team: Arc<Team>, worker: WorkerId) -> Rig {
        let plan = Arc::new(plan(DEFAULT_MAX_SESSIONS.max(flows.count())));
        Rig::with_config(flows, RouterConfig { plan, seed: SEED, team, worker })
    }

    fn with_config(flows: Flows, config: RouterConfig) -> Rig {
        let now = Timestamp::from_secs(1);
        let mut router = Router::new(config, now, UnixTime(1_800_000_000));
        router.set_link(now, OUTSIDE, LinkState { mac: WAN_MAC, mtu: 1500, up: true });
        router.set_link(now, INSIDE, LinkState { mac: LAN_MAC, mtu: 1500, up: true });
        let mut rig = Rig { router, now, flows };
        rig.meet_neighbors();
        rig
    }

    /// A router with all of `flows` open, both directions' next hops known.
    ///
    /// # Panics
    /// When a session does not open as expected.
    pub fn new(flows: Flows) -> Rig {
        let mut rig = Rig::idle(flows);
        rig.open(0..flows.count());
        assert_eq!(rig.router.session_count(), flows.count());
        rig
    }

    /// Tells the router all neighbors' addresses.
    pub fn meet_neighbors(&mut self) {
        self.arp(OUTSIDE, GATEWAY, EXTERNAL);
        for host in self.flows.hosts() {
            self.arp(INSIDE, host, LAN);
        }
        self.answer_arp();
    }

    fn arp(&mut self, port: PortId, sender: Ipv4Addr, target: Ipv4Addr) {
        let packet = arp::Repr {
            operation: arp::Operation::Request,
            sender_mac: mac_of(sender),
            sender_ip: sender,
            target_mac: MacAddr::ZERO,
            target_ip: target,
        };
        let mut frame = build::arp_frame(&packet, MacAddr([0xff; 6]));
        self.router.handle_frame(self.now, port, &mut &mut frame[..], Offload::default());
    }

    /// Answers the router's ARP requests, and throws away what else it wants to send.
    pub fn answer_arp(&mut self) {
        while let Some(sent) = self.router.poll_transmit() {
            let Some(packet) = sent.bytes.get(ethernet::HEADER_LEN..) else { continue };
            let is_arp = sent.bytes[12..14] == [0x08, 0x06];
            let Some(request) = arp::Repr::parse(packet).ok().filter(|_| is_arp) else { continue };
            if request.operation == arp::Operation::Request && request.target_ip != request.sender_ip {
                let reply = arp::Repr {
                    operation: arp::Operation::Reply,
                    sender_mac: mac_of(request.target_ip),
                    sender_ip: request.target_ip,
                    target_mac: request.sender_mac,
                    target_ip: request.sender_ip,
                };
                let mut frame = build::arp_frame(&reply, request.sender_mac);
                self.router.handle_frame(self.now, sent.port, &mut &mut frame[..], Offload::default());
            }
        }
    }

    /// Opens the sessions of these numbers: one packet out and one in; a third for TCP.
    ///
    /// # Panics
    /// When one of the packets is not forwarded, or an external port is not the internal one.
    pub fn open(&mut self, numbers: impl IntoIterator<Item = u32>) {
        let first = self.flows.template(INSIDE, SMALL, TcpFlags::SYN);
        let answer = self.flows.template(OUTSIDE, SMALL, TcpFlags::SYN | TcpFlags::ACK);
        let third = self.flows.template(INSIDE, SMALL, TcpFlags::ACK);
        let mut batch = Batch::new(&first);
        let mut numbers = numbers.into_iter();
        let mut some = Vec::with_capacity(BATCH);
        loop {
            some.clear();
            some.extend(numbers.by_ref().take(BATCH));
            if some.is_empty() {
                return;
            }
            self.pass(&mut batch, &first, INSIDE, &some);
            self.pass(&mut batch, &answer, OUTSIDE, &some);
            if self.flows.transport() == Transport::Tcp {
                self.pass(&mut batch, &third, INSIDE, &some);
            }
        }
    }

    fn pass(&mut self, batch: &mut Batch, template: &Template, port: PortId, numbers: &[u32]) {
        // A short last batch is filled up by its last session.
        let Some(&last) = numbers.last() else { return };
        let mut number = numbers.iter().copied();
        let mut next = || number.next().unwrap_or(last);
        let flows = self.flows;
        batch.fill(|frame| flows.write(template, port, next(), frame));
        batch.handle(&mut self.router, self.now, port);
        for (verdict, frame) in batch.verdicts().zip(batch.frames()) {
            assert!(matches!(verdict, Verdict::Transmit(_)), "{verdict:?}");
            if port == INSIDE {
                assert!((2_048..=63_487).contains(&source_port(frame)));
            }
        }
        // The first packet to a neighbor that only asked so far makes the router ask back.
        self.answer_arp();
    }

    /// A router with [`HAIRPIN_FORWARDS`] forwards, and `flows` open to them instead of the remotes.
    ///
    /// # Panics
    /// When one of the packets is not forwarded.
    pub fn hairpin(flows: Flows) -> Rig {
        let hosts = flows.hosts().count() as u16;
        let forwards = network::forwards(HAIRPIN_FORWARDS, hosts);
        let mut rig = Rig::with_plan(flows, Plan { forwards, ..plan(DEFAULT_MAX_SESSIONS) });
        let template = flows.template(INSIDE, SMALL, TcpFlags::SYN);
        let mut batch = Batch::with_frames(&template, flows.count() as usize);
        let mut number = 0..;
        batch.fill(|frame| flows.write_hairpin(&template, number.next().unwrap_or_default(), frame));
        batch.handle(&mut rig.router, rig.now, INSIDE);
        assert!(batch.verdicts().all(|verdict| matches!(verdict, Verdict::Transmit(_))));
        rig.answer_arp();
        rig
    }

    /// Lets time pass until every session has ended, and tells the neighbors anew.
    pub fn expire_all(&mut self) {
        self.now += std::time::Duration::from_secs(3 * 3_600);
        while self.router.poll_timeout().is_some_and(|at| at <= self.now) {
            self.router.handle_timeout(self.now);
        }
        self.answer_arp();
        self.meet_neighbors();
    }
}
