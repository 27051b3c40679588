//! Instructions per 64 frames of each path: the same on every run, whatever else the machine does. `gate.sh` compares
//! them with `instructions.txt`.
#![allow(missing_docs, reason = "the macros make public items")]

use genkan_benches::network::{INSIDE, OUTSIDE};
use genkan_benches::{Batch, Flows, Rig, Transport};
use genkan_engine::PortId;
use genkan_engine::packet::parse_ipv4;
use genkan_engine::wire::tcp::TcpFlags;
use gungraun::{library_benchmark, library_benchmark_group, main};
use std::hint::black_box;

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

/// Frames of sessions that are not there yet.
fn opening(sessions: u32) -> Box<Scene> {
    let known = Flows::new(Transport::Udp, sessions);
    let later = Flows::new(Transport::Udp, 2 * sessions);
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

#[library_benchmark(setup = inbound)]
#[bench::of_1_000(1_000)]
#[bench::of_64_000(64_000)]
fn fast_path_inbound(scene: Box<Scene>) -> Box<Scene> {
    black_box(handle(scene))
}

#[library_benchmark(setup = opening)]
#[bench::of_1_000(1_000)]
fn slow_path(scene: Box<Scene>) -> Box<Scene> {
    black_box(handle(scene))
}

#[library_benchmark(setup = frame)]
#[bench::one(1)]
fn parse(frame: Vec<u8>) -> bool {
    black_box(parse_ipv4(black_box(&frame))).is_ok()
}

library_benchmark_group!(
    name = paths,
    benchmarks = [fast_path_outbound, fast_path_inbound, slow_path, parse]
);
main!(library_benchmark_groups = paths);
