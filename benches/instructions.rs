//! Instructions per 64 frames of each path: the same on every run, whatever else the machine does. `gate.sh` compares
//! them with `instructions.txt`.
#![allow(missing_docs, reason = "the macros make public items")]

use std::hint::black_box;
use std::net::SocketAddrV4;

use genkan_benches::network::{EXTERNAL, INSIDE, OUTSIDE, REMOTES, forwards, plan};
use genkan_benches::{BATCH, Batch, Flows, Rig, Transport};
use genkan_engine::PortId;
use genkan_engine::packet::merge::{Kinds, Merger};
use genkan_engine::packet::parse_ipv4;
use genkan_engine::plan::Plan;
use genkan_engine::wire::tcp::TcpFlags;
use gungraun::{library_benchmark, library_benchmark_group, main};

/// A router and a batch for it.
struct Scene {
    rig: Rig,
    batch: Batch,
    port: PortId,
}

/// Frames of established sessions, scattered over the table.
fn established(sessions: u32, port: PortId) -> Box<Scene> {
    let flows = Flows::new(Transport::Udp, sessions);
    let mut rig = Rig::new(flows);
    let template = flows.template(port, 64, TcpFlags::NONE);
    let mut batch = Batch::new(&template);
    let mut number = 0;
    let mut fill = |batch: &mut Batch| {
        batch.fill(|frame| {
            flows.write(&template, port, number % sessions, frame);
            number += 7919;
        });
    };
    fill(&mut batch);
    batch.handle(&mut rig.router, rig.now, port);
    fill(&mut batch);
    Box::new(Scene { rig, batch, port })
}

fn outbound(sessions: u32) -> Box<Scene> {
    established(sessions, INSIDE)
}

fn inbound(sessions: u32) -> Box<Scene> {
    established(sessions, OUTSIDE)
}

/// First packets from inside: of internal endpoints without a mapping, or to further remotes.
fn opening(sessions: u32, known_mappings: bool) -> Box<Scene> {
    let known = Flows::new(Transport::Udp, sessions);
    let later = if known_mappings { known } else { Flows::new(Transport::Udp, 2 * sessions) };
    let rig = Rig::new(known);
    let template = later.template(INSIDE, 64, TcpFlags::NONE);
    let mut batch = Batch::new(&template);
    let mut number = sessions;
    batch.fill(|frame| {
        later.write(&template, INSIDE, number, frame);
        number += 1;
    });
    Box::new(Scene { rig, batch, port: INSIDE })
}

fn opening_with_new_mapping(sessions: u32) -> Box<Scene> {
    opening(sessions, false)
}

fn opening_with_known_mapping(sessions: u32) -> Box<Scene> {
    opening(sessions, true)
}

/// Frames from outside to ports that `to` names, at a router with so many forwards and 1,000 sessions.
fn inbound_with_forwards(count: u16, to: fn(u16, u16) -> u16) -> Box<Scene> {
    let flows = Flows::new(Transport::Udp, 1_000);
    let hosts = flows.hosts().count() as u16;
    let mut rig = Rig::with_plan(flows, Plan { forwards: forwards(count, hosts), ..plan(1_000_000) });
    let template = flows.template(OUTSIDE, 64, TcpFlags::NONE);
    let mut batch = Batch::new(&template);
    let mut number = 0;
    let mut fill = |batch: &mut Batch| {
        batch.fill(|frame| {
            let remote = SocketAddrV4::new(REMOTES, 1_024 + number);
            template.write(frame, remote, SocketAddrV4::new(EXTERNAL, to(count, number)));
            number += 1;
        });
    };
    for _ in 0..16 {
        fill(&mut batch);
        batch.handle(&mut rig.router, rig.now, OUTSIDE);
        rig.answer_arp();
    }
    fill(&mut batch);
    Box::new(Scene { rig, batch, port: OUTSIDE })
}

/// First packets that a forward takes.
fn opening_by_forward(count: u16) -> Box<Scene> {
    inbound_with_forwards(count, |count, number| 1 + (u32::from(number) * 7_919 % u32::from(count)) as u16)
}

/// Packets that nobody takes.
fn refused(count: u16) -> Box<Scene> {
    inbound_with_forwards(count, |_, number| 50_000 + number)
}

/// Packets of sessions that forwards have taken.
fn forwarded(count: u16) -> Box<Scene> {
    let mut scene = opening_by_forward(count);
    let again = scene.batch.clone();
    let Scene { rig, batch, port } = &mut *scene;
    batch.handle(&mut rig.router, rig.now, *port);
    scene.batch = again;
    scene
}

fn frame(_: u32) -> Vec<u8> {
    let flows = Flows::new(Transport::Tcp, 1);
    let template = flows.template(INSIDE, 64, TcpFlags::ACK);
    let mut frame = vec![0; template.len()];
    flows.write(&template, INSIDE, 0, &mut frame);
    frame
}

fn handle(mut scene: Box<Scene>) -> Box<Scene> {
    let Scene { rig, batch, port } = &mut *scene;
    batch.handle(&mut rig.router, rig.now, *port);
    scene
}

#[library_benchmark(setup = outbound)]
#[bench::of_1_000(1_000)]
#[bench::of_64_000(64_000)]
fn fast_path_outbound(scene: Box<Scene>) -> Box<Scene> {
    black_box(handle(scene))
}

/// A batch that was just judged.
fn judged(sessions: u32) -> Box<Scene> {
    handle(established(sessions, INSIDE))
}

#[library_benchmark(setup = judged)]
#[bench::of_64_frames(1_000)]
fn count_traffic(mut scene: Box<Scene>) -> Box<Scene> {
    let Scene { rig, batch, port } = &mut *scene;
    let (memory, slots) = batch.parts();
    rig.router.count_traffic(rig.now, *port, memory, slots);
    black_box(scene)
}

#[library_benchmark(setup = inbound)]
#[bench::of_1_000(1_000)]
#[bench::of_64_000(64_000)]
fn fast_path_inbound(scene: Box<Scene>) -> Box<Scene> {
    black_box(handle(scene))
}

#[library_benchmark(setup = opening_with_new_mapping)]
#[bench::of_1_000(1_000)]
#[bench::of_10_000(10_000)]
fn new_session_new_mapping(scene: Box<Scene>) -> Box<Scene> {
    black_box(handle(scene))
}

#[library_benchmark(setup = opening_with_known_mapping)]
#[bench::of_1_000(1_000)]
#[bench::of_100_000(100_000)]
fn new_session_known_mapping(scene: Box<Scene>) -> Box<Scene> {
    black_box(handle(scene))
}

#[library_benchmark(setup = opening_by_forward)]
#[bench::of_1(1)]
#[bench::of_10_000(10_000)]
fn new_session_by_forward(scene: Box<Scene>) -> Box<Scene> {
    black_box(handle(scene))
}

#[library_benchmark(setup = forwarded)]
#[bench::of_1(1)]
#[bench::of_10_000(10_000)]
fn fast_path_by_forward(scene: Box<Scene>) -> Box<Scene> {
    black_box(handle(scene))
}

#[library_benchmark(setup = refused)]
#[bench::of_1(1)]
#[bench::of_10_000(10_000)]
fn refusal_with_forwards(scene: Box<Scene>) -> Box<Scene> {
    black_box(handle(scene))
}

#[library_benchmark(setup = frame)]
#[bench::one(1)]
fn parse(frame: Vec<u8>) -> bool {
    black_box(parse_ipv4(black_box(&frame))).is_ok()
}

/// A batch of so many flows, each in turn.
fn interleaved(flows: u32) -> Box<(Merger, Batch, Vec<u16>)> {
    let all = Flows::new(Transport::Udp, flows);
    let template = all.template(OUTSIDE, 64, TcpFlags::NONE);
    let mut batch = Batch::new(&template);
    let mut number = 0;
    batch.fill(|frame| {
        all.write(&template, OUTSIDE, number % flows, frame);
        number += 1;
    });
    Box::new((Merger::new(), batch, (0..BATCH as u16).collect()))
}

#[library_benchmark(setup = interleaved)]
#[bench::nothing_of_64_flows(64)]
#[bench::all_of_2_flows(2)]
fn merge(mut scene: Box<(Merger, Batch, Vec<u16>)>) -> (usize, Box<(Merger, Batch, Vec<u16>)>) {
    let (merger, batch, indices) = &mut *scene;
    let (memory, slots) = batch.parts();
    let merged = merger.merge(memory, slots, black_box(indices), Kinds { tcp: true, udp: true });
    let frames = merged.map_or(0, |merged| merged.frames().len());
    (black_box(frames), scene)
}

library_benchmark_group!(
    name = paths,
    benchmarks = [
        fast_path_outbound,
        count_traffic,
        fast_path_inbound,
        fast_path_by_forward,
        new_session_new_mapping,
        new_session_known_mapping,
        new_session_by_forward,
        refusal_with_forwards,
        parse,
        merge
    ]
);
main!(library_benchmark_groups = paths);
