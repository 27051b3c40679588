//! The engine over capture files: time is the captures' own, links and neighbours are made up where they have to be.
//!
//! A capture taken at a router's port shows both directions. Only what the router received goes in; what it sent
//! itself shows which MAC address was its own, and is skipped. Neighbours that the engine asks for by ARP answer at
//! once: with the MAC address that the capture shows for them, else with one made from their IP address.

mod captures;
mod neighbors;
mod observe;

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use genkan_engine::frame::{FrameBatch, GsoKind, Offload, PortId, Slot};
use genkan_engine::packet::parsed::{Kind, parse_ipv4};
use genkan_engine::router::LinkState;
use genkan_engine::verdict::Verdict;
use genkan_engine::wire::ethernet::{self, EtherType};
use genkan_engine::{Event, Plan, Router, RouterConfig, Timestamp, UnixTime};
use genkan_io::IoError;
use genkan_io::pcap_file::{PcapFileReceiver, PcapFileTransmitter};
use serde::Serialize;

pub(crate) use neighbors::Neighbors;
pub(crate) use observe::Observed;

use captures::Captures;

/// Calls to `handle_timeout` for one instant; a router that wants more of them is stuck.
const MAX_STEPS: u32 = 1_000_000;

/// Fixed: two runs over the same files give the same result.
const SEED: [u64; 2] = [0x6765_6e6b_616e_0001, 0x7265_706c_6179_0002];

/// One capture file and the port that it was taken at.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    /// Where it was taken.
    pub(crate) port: PortId,
    /// The file.
    pub(crate) path: PathBuf,
    /// Only frames of this interface in it, and of those only what was received there if the file says so.
    pub(crate) interface: Option<String>,
}

impl Input {
    /// All frames of a file.
    pub(crate) fn new(port: PortId, path: impl Into<PathBuf>) -> Input {
        Input { port, path: path.into(), interface: None }
    }

    fn open(&self) -> Result<PcapFileReceiver, ReplayError> {
        let file = PcapFileReceiver::open(&self.path);
        let mut file = file.map_err(|source| ReplayError::Read { path: self.path.clone(), source })?;
        if let Some(interface) = &self.interface {
            file.only(interface);
        }
        Ok(file)
    }
}

/// Why a replay failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplayError {
    /// A capture cannot be read.
    #[error("{}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: IoError,
    },
    /// A result cannot be written.
    #[error("{}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: IoError,
    },
    /// The directory for the results cannot be made.
    #[error("{}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A result would replace one of the captures.
    #[error("{}: is an input, and would be replaced by a result; choose another --out", .0.display())]
    SameFile(PathBuf),
}

/// What one capture file held.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct InputReport {
    /// Port that it was taken at.
    pub(crate) port: String,
    /// The file.
    pub(crate) file: String,
    /// Frames that went into the engine.
    pub(crate) frames: u64,
    /// Frames that the captured router had sent itself, skipped.
    pub(crate) from_router: u64,
    /// Frames that the capture cut, filled up with zeros.
    pub(crate) cut: u64,
}

/// What came out of one port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct OutputReport {
    /// The port.
    pub(crate) port: String,
    /// The file.
    pub(crate) file: String,
    /// Frames in it.
    pub(crate) frames: u64,
}

/// A finished replay.
pub(crate) struct Outcome {
    /// In the order of the ports.
    pub(crate) inputs: Vec<InputReport>,
    /// In the order of the ports.
    pub(crate) outputs: Vec<OutputReport>,
    /// What the engine had to say, with the time since the first frame.
    pub(crate) events: Vec<(Duration, Event)>,
    /// The router as it was left.
    pub(crate) router: Router,
}

struct Output {
    path: PathBuf,
    writer: PcapFileTransmitter,
    frames: u64,
}

struct Player {
    router: Router,
    links: BTreeMap<PortId, LinkState>,
    outputs: BTreeMap<PortId, Output>,
    neighbors: Neighbors,
    /// Answers of neighbours, on their way to the router.
    answers: VecDeque<(PortId, Vec<u8>)>,
    events: Vec<(Duration, Event)>,
    now: Timestamp,
    /// Wall time of [`Timestamp::ZERO`].
    start: Duration,
}

/// Replays `inputs` through a router that follows `plan`, and writes `NAME.pcap` per port to `out`. `ports` names every
/// port of the plan.
///
/// # Errors
/// [`ReplayError`] when a file cannot be read or written.
pub(crate) fn replay(
    plan: Arc<Plan>,
    ports: &[(PortId, String)],
    inputs: &[Input],
    out: &Path,
) -> Result<Outcome, ReplayError> {
    fs::create_dir_all(out).map_err(|source| ReplayError::Directory { path: out.to_owned(), source })?;
    let mut observed = Observed::new(&plan);
    let mut start = None;
    for input in inputs {
        let first = observed.read(input)?;
        start = [start, first].into_iter().flatten().min();
    }
    let start = start.unwrap_or_default();
    let player = Player::new(plan, ports, inputs, out, observed, start)?;
    player.play(ports, inputs)
}

impl Player {
    fn new(
        plan: Arc<Plan>,
        ports: &[(PortId, String)],
        inputs: &[Input],
        out: &Path,
        observed: Observed,
        start: Duration,
    ) -> Result<Player, ReplayError> {
        let wall = UnixTime(i64::try_from(start.as_secs()).unwrap_or(i64::MAX));
        let mut player = Player {
            router: Router::new(RouterConfig::alone(plan.clone(), SEED), Timestamp::ZERO, wall),
            links: BTreeMap::new(),
            outputs: BTreeMap::new(),
            neighbors: observed.neighbors(),
            answers: VecDeque::new(),
            events: Vec::new(),
            now: Timestamp::ZERO,
            start,
        };
        for (port, name) in ports {
            let path = out.join(format!("{name}.pcap"));
            let same = |input: &Input| match (fs::canonicalize(&path), fs::canonicalize(&input.path)) {
                (Ok(result), Ok(input)) => result == input,
                _ => false,
            };
            if inputs.iter().any(same) {
                return Err(ReplayError::SameFile(path));
            }
            let writer = PcapFileTransmitter::create(&path);
            let writer = writer.map_err(|source| ReplayError::Write { path: path.clone(), source })?;
            player.outputs.insert(*port, Output { path, writer, frames: 0 });
            let mtu = match port.lan_index() {
                Some(index) => plan.lans.get(index).map_or(plan.wan.mtu, |lan| lan.mtu),
                None => plan.wan.mtu,
            };
            let link = LinkState { mac: observed.router_mac(*port), mtu, up: true };
            player.links.insert(*port, link);
        }
        Ok(player)
    }

    fn play(mut self, ports: &[(PortId, String)], inputs: &[Input]) -> Result<Outcome, ReplayError> {
        let macs = self.links.iter().map(|(port, link)| (*port, link.mac)).collect();
        for (port, link) in self.links.clone() {
            self.router.set_link(Timestamp::ZERO, port, link);
        }
        self.settle()?;
        let mut captures = Captures::open(inputs, macs)?;
        while let Some((port, timestamp, mut bytes)) = captures.next_frame()? {
            let since = timestamp.saturating_sub(self.start);
            // Captures may be out of order by a little; time never goes back.
            self.advance(self.now.max(Timestamp::ZERO + since))?;
            self.feed(port, &mut bytes)?;
            self.settle()?;
        }
        self.finish(ports, captures.reports(ports))
    }

    /// Lets the time pass that lies between two frames, each timer at its own instant.
    fn advance(&mut self, until: Timestamp) -> Result<(), ReplayError> {
        let mut steps = 0;
        while let Some(due) = self.router.poll_timeout().filter(|due| *due <= until && steps < MAX_STEPS) {
            self.now = self.now.max(due);
            self.router.handle_timeout(self.now);
            self.settle()?;
            steps += 1;
        }
        self.now = until;
        Ok(())
    }

    /// Gives one frame to the router, and writes what leaves because of it.
    fn feed(&mut self, port: PortId, frame: &mut [u8]) -> Result<(), ReplayError> {
        let offload = super_frame(frame, self.links.get(&port).map_or(u16::MAX, |link| link.mtu));
        let mut slots = [Slot { offset: 0, len: frame.len(), offload, verdict: Verdict::Consumed }];
        let batch = FrameBatch { memory: &mut *frame, slots: &mut slots };
        self.router.handle_batch(self.now, port, batch);
        self.send_made()?;
        if let Verdict::Transmit(out) = slots[0].verdict {
            self.write(out, &frame[slots[0].offset..slots[0].offset + slots[0].len])?;
        }
        Ok(())
    }

    /// Until nobody has anything more to say at this instant.
    fn settle(&mut self) -> Result<(), ReplayError> {
        self.send_made()?;
        while let Some((port, mut answer)) = self.answers.pop_front() {
            self.feed(port, &mut answer)?;
        }
        while let Some(event) = self.router.poll_event() {
            self.events.push((self.now.saturating_since(Timestamp::ZERO), event));
        }
        Ok(())
    }

    fn send_made(&mut self) -> Result<(), ReplayError> {
        while let Some(made) = self.router.poll_transmit() {
            self.write(made.port, &made.bytes)?;
            if let Some(answer) = self.neighbors.answer(made.port, &made.bytes) {
                self.answers.push_back((made.port, answer));
            }
        }
        Ok(())
    }

    fn write(&mut self, port: PortId, frame: &[u8]) -> Result<(), ReplayError> {
        let Some(output) = self.outputs.get_mut(&port) else { return Ok(()) };
        let timestamp = self.start + self.now.saturating_since(Timestamp::ZERO);
        output.frames += 1;
        let written = output.writer.write_frame(timestamp, frame);
        written.map_err(|source| ReplayError::Write { path: output.path.clone(), source })
    }

    fn finish(self, ports: &[(PortId, String)], inputs: Vec<InputReport>) -> Result<Outcome, ReplayError> {
        let mut outputs = Vec::new();
        for (port, output) in self.outputs {
            let name = ports.iter().find(|(id, _)| *id == port).map(|(_, name)| name.clone());
            outputs.push(OutputReport {
                port: name.unwrap_or_default(),
                file: output.path.display().to_string(),
                frames: output.frames,
            });
            output.writer.finish().map_err(|source| ReplayError::Write { path: output.path, source })?;
        }
        Ok(Outcome { inputs, outputs, events: self.events, router: self.router })
    }
}

/// A packet longer than its link's MTU was merged by the kernel that captured it (GRO, TSO): many segments behind one
/// header. The capture does not say how long they were; full ones are the likeliest.
pub(crate) fn super_frame(frame: &[u8], mtu: u16) -> Offload {
    if frame.len() <= ethernet::HEADER_LEN + usize::from(mtu)
        || frame[12..14] != EtherType::IPV4.0.to_be_bytes()
    {
        return Offload::default();
    }
    let Ok(packet) = parse_ipv4(frame) else { return Offload::default() };
    let transport = usize::from(packet.l4);
    let (gso, header) = match packet.kind {
        // The data offset counts words of 4 octets.
        Kind::Tcp => (GsoKind::TcpV4, usize::from(frame[transport + 12] >> 4) * 4),
        Kind::Udp => (GsoKind::UdpL4, 8),
        _ => return Offload::default(),
    };
    let headers = transport - ethernet::HEADER_LEN + header;
    let gso_size = u16::try_from(usize::from(mtu).saturating_sub(headers)).unwrap_or(u16::MAX);
    if packet.fragment.is_some() || gso_size == 0 {
        return Offload::default();
    }
    Offload { gso, gso_size, ..Offload::default() }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::Ipv4Addr;

    use genkan_engine::plan::{Lan, Nat, Wan};
    use genkan_engine::wire::arp;
    use genkan_engine::wire::ethernet::MacAddr;

    use super::*;

    pub(crate) fn plan() -> Plan {
        Plan {
            wan: Wan {
                address: "203.0.113.1/24".parse().expect("a prefix"),
                gateway: Some(Ipv4Addr::new(203, 0, 113, 2)),
                routes: Vec::new(),
                addresses: Vec::new(),
                mtu: 1500,
                ping: true,
            },
            lans: vec![Lan {
                name: "home".to_owned(),
                address: "192.168.0.1/24".parse().expect("a prefix"),
                mtu: 1500,
                reaches: Vec::new(),
            }],
            routes: Vec::new(),
            host_port: false,
            nat: Nat {
                max_sessions: 1000,
                max_sessions_per_host: 1000,
                max_ports_per_host: 1000,
                ..Nat::default()
            },
            hosts: Vec::new(),
            forwards: Vec::new(),
            dmz: None,
            services: Vec::new(),
        }
    }

    /// An IPv4 header of protocol 253 (RFC 3692 experiments) without payload, behind an Ethernet header.
    pub(crate) fn ipv4_frame(from: MacAddr, to: MacAddr, source: &str, destination: &str) -> Vec<u8> {
        let mut frame = vec![0; ethernet::HEADER_LEN + 20];
        ethernet::Repr { destination: to, source: from, ethertype: EtherType::IPV4 }.emit(&mut frame);
        let packet = &mut frame[ethernet::HEADER_LEN..];
        packet[..10].copy_from_slice(&[0x45, 0, 0, 20, 0, 1, 0, 0, 64, 253]);
        let octets = |text: &str| text.parse::<Ipv4Addr>().expect("an address").octets();
        packet[12..16].copy_from_slice(&octets(source));
        packet[16..20].copy_from_slice(&octets(destination));
        frame
    }

    pub(crate) fn arp_frame(from: MacAddr, source: &str, to: MacAddr, destination: &str) -> Vec<u8> {
        let mut frame = vec![0; ethernet::HEADER_LEN + arp::LEN];
        ethernet::Repr { destination: to, source: from, ethertype: EtherType::ARP }.emit(&mut frame);
        let reply = arp::Repr {
            operation: arp::Operation::Reply,
            sender_mac: from,
            sender_ip: source.parse().expect("an address"),
            target_mac: to,
            target_ip: destination.parse().expect("an address"),
        };
        reply.emit(&mut frame[ethernet::HEADER_LEN..]);
        frame
    }

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("genkan-replay-{}-{name}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).expect("made");
        path
    }

    fn capture(path: &Path, frames: &[(u64, Vec<u8>)]) {
        let mut writer = PcapFileTransmitter::create(path).expect("created");
        for (millis, frame) in frames {
            writer.write_frame(Duration::from_millis(*millis), frame).expect("written");
        }
        writer.finish().expect("finished");
    }

    const ROUTER: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 1]);
    const LAPTOP: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 3]);

    #[test]
    fn files_are_merged_by_time_without_what_the_router_sent() {
        let directory = directory("merge");
        let (wan, lan) = (directory.join("w.pcap"), directory.join("l.pcap"));
        let inward = ipv4_frame(LAPTOP, ROUTER, "198.51.100.7", "203.0.113.1");
        let outward = ipv4_frame(ROUTER, LAPTOP, "203.0.113.1", "198.51.100.7");
        capture(&wan, &[(1_000, inward.clone()), (1_002, outward), (1_004, inward)]);
        let inside = ipv4_frame(LAPTOP, ROUTER, "192.168.0.20", "198.51.100.7");
        capture(&lan, &[(1_001, inside.clone()), (1_005, inside)]);
        let inputs = [Input::new(PortId::WAN, wan), Input::new(PortId::lan(0), lan)];
        let macs = BTreeMap::from([(PortId::WAN, ROUTER), (PortId::lan(0), ROUTER)]);
        let mut captures = Captures::open(&inputs, macs).expect("readable");
        let mut seen = Vec::new();
        while let Some((port, time, _)) = captures.next_frame().expect("well formed") {
            seen.push((port, time.as_millis()));
        }
        let lan = PortId::lan(0);
        assert_eq!(seen, [(PortId::WAN, 1_000), (lan, 1_001), (PortId::WAN, 1_004), (lan, 1_005)]);
        let reports = captures.reports(&[(PortId::WAN, "wan".to_owned()), (lan, "home".to_owned())]);
        assert_eq!((reports[0].frames, reports[0].from_router, reports[1].frames), (2, 1, 2));
        fs::remove_dir_all(directory).expect("cleaned");
    }

    #[test]
    fn only_what_no_link_carries_is_a_super_frame() {
        let frame = |payload: usize| {
            let builder = etherparse::PacketBuilder::ethernet2(LAPTOP.0, ROUTER.0)
                .ipv4([192, 168, 0, 20], [198, 51, 100, 7], 64)
                .tcp(4000, 80, 1, 65_535)
                .ack(1);
            let mut bytes = Vec::new();
            builder.write(&mut bytes, &vec![0; payload]).expect("memory takes all");
            bytes
        };
        assert_eq!(super_frame(&frame(1460), 1500), Offload::default());
        let merged = Offload { gso: GsoKind::TcpV4, gso_size: 1460, ..Offload::default() };
        assert_eq!(super_frame(&frame(1461), 1500), merged);
        assert_eq!(super_frame(&frame(40_000), 1500), merged);
        assert_eq!(
            super_frame(&arp_frame(LAPTOP, "192.168.0.20", ROUTER, "192.168.0.1"), 20),
            Offload::default()
        );
    }

    #[test]
    fn a_result_never_replaces_an_input() {
        let directory = directory("same");
        let wan = directory.join("wan.pcap");
        capture(&wan, &[(0, ipv4_frame(LAPTOP, ROUTER, "198.51.100.7", "203.0.113.1"))]);
        let before = fs::read(&wan).expect("readable");
        let inputs = [Input::new(PortId::WAN, wan.clone())];
        let ports = [(PortId::WAN, "wan".to_owned()), (PortId::lan(0), "home".to_owned())];
        let outcome = replay(Arc::new(plan()), &ports, &inputs, &directory);
        assert!(matches!(outcome, Err(ReplayError::SameFile(path)) if path == wan));
        assert_eq!(fs::read(&wan).expect("readable"), before);
        fs::remove_dir_all(directory).expect("cleaned");
    }
}
