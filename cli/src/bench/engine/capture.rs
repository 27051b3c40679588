//! The frames of a capture through the engine, in a loop.
//!
//! The router is made as `genkan replay` makes it: its MAC addresses and its neighbours' are those that the capture
//! shows, and neighbours answer its ARP requests. The first time through is not timed; it opens the sessions.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use genkan_engine::plan::Plan;
use genkan_engine::router::LinkState;
use genkan_engine::wire::ethernet;
use genkan_engine::{FrameBatch, Offload, PortId, Router, RouterConfig, Slot, Timestamp, UnixTime, Verdict};
use genkan_io::frame_arena::MAX_FRAME;
use genkan_io::pcap_file::PcapFileReceiver;
use genkan_traffic::BATCH;

use super::stopwatch::{Lap, Stopwatch};
use super::{Measured, Rounds, metric, series};
use crate::bench::report::Unit;
use crate::output::{Failure, grouped};
use crate::replay::{Input, Neighbors, Observed, ReplayError, super_frame};

/// Octets of a capture that are kept in memory.
const MAX_OCTETS: usize = 1 << 30;
/// Fixed: two runs over the same file do the same.
const SEED: [u64; 2] = [0x6765_6e6b_616e_0003, 0x6265_6e63_6800_0004];

/// Measures the frames of `path` as they come in by the port of that name; by the first lan without one.
pub(super) fn measure(
    path: &Path,
    plan: Plan,
    port: Option<&str>,
    rounds: Rounds,
) -> Result<Measured, Failure> {
    let (port, name) = port_of(&plan, port)?;
    let mut player = Player::new(Input::new(port, path), plan)?;
    let watch = Stopwatch::new();
    player.pass(&mut Lap::default(), &watch);
    player.fates.clear();
    let mut laps = Vec::new();
    for _ in 0..rounds.count {
        let (mut lap, start) = (Lap::default(), Instant::now());
        while start.elapsed() < rounds.length {
            player.pass(&mut lap, &watch);
        }
        laps.push(lap);
    }
    let times: Vec<f64> = laps.iter().map(Lap::cpu).collect();
    let mut rate = metric("rate", "Packets of the capture, per second and core", Unit::PacketsPerSecond);
    rate.series.push(series("capture", None, times.iter().map(|time| 1e9 / time.max(1e-3)).collect()));
    let mut each = metric("capture", "Packets of the capture, CPU time for each", Unit::Nanoseconds);
    each.series.push(series("capture", None, times));
    let mut wall = metric("capture_wall", "Packets of the capture, wall time for each", Unit::Nanoseconds);
    wall.series.push(series("capture", None, laps.iter().map(Lap::wall).collect()));
    let mut notes = vec![super::SCOPE.to_owned(), player.fates()];
    if player.from_router > 0 {
        notes.push(format!(
            "{} frames of the capture were sent by the router that was captured, and are left out.",
            grouped(player.from_router)
        ));
    }
    let settings = vec![
        ("capture".to_owned(), path.display().to_string()),
        ("port".to_owned(), name),
        ("frames".to_owned(), grouped(player.frames.len() as u64)),
    ];
    Ok(Measured { metrics: vec![rate, each, wall], notes, settings })
}

fn port_of(plan: &Plan, name: Option<&str>) -> Result<(PortId, String), Failure> {
    let lans = || plan.lans.iter().map(|lan| lan.name.as_str());
    let Some(name) = name.or_else(|| lans().next()) else { return Ok((PortId::WAN, "wan".to_owned())) };
    if name == "wan" {
        return Ok((PortId::WAN, name.to_owned()));
    }
    let index = lans().position(|lan| lan == name);
    let index = index.ok_or_else(|| {
        let known: Vec<&str> = lans().collect();
        Failure::message(format!("--port {name}: there is no such port; known: wan, {}", known.join(", ")))
    })?;
    Ok((PortId::lan(index), name.to_owned()))
}

/// A frame of the capture, and what a device would say of it.
type Played = (Vec<u8>, Offload);

struct Player {
    router: Router,
    neighbors: Neighbors,
    port: PortId,
    frames: Vec<Played>,
    /// Frames of the capture that are not played.
    from_router: u64,
    memory: Vec<u8>,
    slots: Vec<Slot>,
    /// What became of the frames, by name.
    fates: BTreeMap<&'static str, u64>,
}

impl Player {
    fn new(input: Input, plan: Plan) -> Result<Player, Failure> {
        let mut observed = Observed::new(&plan);
        observed.read(&input)?;
        let mtu = |port: PortId| match port.lan_index() {
            Some(index) => plan.lans.get(index).map_or(plan.wan.mtu, |lan| lan.mtu),
            None => plan.wan.mtu,
        };
        let (frames, from_router) = read(&input, observed.router_mac(input.port), mtu(input.port))?;
        if frames.is_empty() {
            return Err(Failure::message(format!(
                "{} holds no frame that comes in by this port",
                input.path.display()
            )));
        }
        let ports: Vec<(PortId, LinkState)> = [PortId::WAN]
            .into_iter()
            .chain((0..plan.lans.len()).map(PortId::lan))
            .map(|port| (port, LinkState { mac: observed.router_mac(port), mtu: mtu(port), up: true }))
            .collect();
        let config = RouterConfig::alone(Arc::new(plan), SEED);
        let mut router = Router::new(config, Timestamp::ZERO, UnixTime(0));
        for (port, link) in ports {
            router.set_link(Timestamp::ZERO, port, link);
        }
        let mut player = Player {
            router,
            neighbors: observed.neighbors(),
            port: input.port,
            frames,
            from_router,
            memory: Vec::new(),
            slots: Vec::new(),
            fates: BTreeMap::new(),
        };
        player.settle();
        Ok(player)
    }

    /// Hands all frames over once.
    fn pass(&mut self, lap: &mut Lap, watch: &Stopwatch) {
        let frames = std::mem::take(&mut self.frames);
        for batch in frames.chunks(BATCH) {
            self.memory.clear();
            self.slots.clear();
            for (frame, offload) in batch {
                let slot = Slot {
                    offset: self.memory.len(),
                    len: frame.len(),
                    offload: *offload,
                    verdict: Verdict::Consumed,
                };
                self.slots.push(slot);
                self.memory.extend_from_slice(frame);
            }
            let handed = FrameBatch { memory: &mut self.memory, slots: &mut self.slots };
            let took = watch.time(|| self.router.handle_batch(Timestamp::ZERO, self.port, handed));
            lap.add(batch.len(), took);
            for slot in &self.slots {
                *self.fates.entry(fate(slot.verdict)).or_default() += 1;
            }
            self.settle();
        }
        self.frames = frames;
    }

    /// Answers the router's ARP requests; throws away what else it makes or says.
    fn settle(&mut self) {
        while let Some(made) = self.router.poll_transmit() {
            if let Some(mut answer) = self.neighbors.answer(made.port, &made.bytes) {
                self.router.handle_frame(
                    Timestamp::ZERO,
                    made.port,
                    &mut &mut answer[..],
                    Offload::default(),
                );
            }
        }
        while self.router.poll_event().is_some() {}
    }

    /// What became of the frames, in a sentence.
    fn fates(&self) -> String {
        let all: u64 = self.fates.values().sum();
        let mut fates: Vec<(&str, u64)> = self.fates.iter().map(|(name, count)| (*name, *count)).collect();
        fates.sort_by_key(|&(name, count)| (std::cmp::Reverse(count), name));
        let part = |(name, count): &(&str, u64)| {
            format!("{name} {:.1} %", *count as f64 * 100.0 / all.max(1) as f64)
        };
        format!("Of the packets: {}.", fates.iter().map(part).collect::<Vec<_>>().join(", "))
    }
}

fn fate(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Transmit(_) => "forwarded",
        Verdict::Drop(reason) => reason.name(),
        // Answered or kept by the router itself.
        _ => "taken by the router",
    }
}

/// The frames that the router receives, and how many it had sent itself.
fn read(input: &Input, router: ethernet::MacAddr, mtu: u16) -> Result<(Vec<Played>, u64), Failure> {
    let wrong = |source| ReplayError::Read { path: input.path.clone(), source };
    let mut file = PcapFileReceiver::open(&input.path).map_err(wrong)?;
    let (mut frames, mut octets, mut from_router) = (Vec::new(), 0, 0);
    while let Some(mut frame) = file.next_frame().map_err(wrong)? {
        if ethernet::View::new_checked(&frame.bytes).is_ok_and(|link| link.source() == router) {
            from_router += 1;
            continue;
        }
        // What the capture cut is filled up with zeros: the engine looks at headers, and at lengths.
        frame.bytes.resize((frame.original_len as usize).min(MAX_FRAME), 0);
        octets += frame.bytes.len();
        if octets > MAX_OCTETS {
            return Err(Failure::message(format!(
                "{} holds more than {} MiB of frames",
                input.path.display(),
                MAX_OCTETS >> 20
            )));
        }
        let offload = super_frame(&frame.bytes, mtu);
        frames.push((frame.bytes, offload));
    }
    Ok((frames, from_router))
}
