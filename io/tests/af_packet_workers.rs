//! One device, several workers: which of them the kernel gives a frame to.

mod common;

use std::net::Ipv4Addr;

use common::{Namespace, receive_waiting, set_mtu, until, wire};
use genkan_engine::frame::Offload;
use genkan_engine::team::HostSpread;
use genkan_io::FrameIo;
use genkan_io::af_packet::{self, AfPacketOptions, Spread};

const WORKERS: u8 = 3;

/// An Ethernet frame with a UDP datagram in as many octets, whose payload starts with a number.
fn datagram(source: Ipv4Addr, port: u16, octets: usize, number: u32) -> Vec<u8> {
    let mut frame = vec![0; octets];
    frame[..6].fill(0xff);
    frame[6..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 0x08, 0x00]);
    frame[14] = 0x45;
    frame[16..18].copy_from_slice(&((octets - 14) as u16).to_be_bytes());
    frame[22..24].copy_from_slice(&[64, 17]);
    frame[26..30].copy_from_slice(&source.octets());
    frame[36..38].copy_from_slice(&port.to_be_bytes());
    frame[38..40].copy_from_slice(&((octets - 34) as u16).to_be_bytes());
    frame[42..46].copy_from_slice(&number.to_be_bytes());
    frame
}

fn number(frame: &[u8]) -> Option<u32> {
    (frame[12..14] == [0x08, 0x00]).then(|| u32::from_be_bytes([frame[42], frame[43], frame[44], frame[45]]))
}

/// Sends all of `frames` to a device opened for several workers; which worker got each of them.
fn workers_of(spread: Spread, frames: &[Vec<u8>]) -> Vec<usize> {
    let host = Namespace::new();
    wire("r0", &host, "h0");
    // Rings are made for an MTU of 1500: longer frames go to the others.
    let open = af_packet::open_workers("r0", &AfPacketOptions::default(), WORKERS, spread);
    let mut workers = open.expect("the device exists");
    assert_eq!(workers.len(), usize::from(WORKERS));
    set_mtu("r0", 30_000);
    host.run(|| set_mtu("h0", 30_000));
    let mut sender: FrameIo =
        host.run(|| af_packet::open("h0", &AfPacketOptions::default()).expect("the device exists"));
    for frame in frames {
        assert!(sender.transmitter.transmit_frame(frame, Offload::default()).expect("h0 is there"));
    }
    let mut owners = vec![None; frames.len()];
    until("all frames", || {
        for (worker, io) in workers.iter_mut().enumerate() {
            let mut last = None;
            for frame in receive_waiting(&mut io.receiver) {
                let Some(number) = number(&frame.bytes) else { continue };
                assert!(last < Some(number), "{last:?} before {number}: the order has changed");
                last = Some(number);
                assert_eq!(frame.bytes, frames[number as usize]);
                assert_eq!(owners[number as usize].replace(worker), None, "one worker gets a frame");
            }
        }
        owners.iter().copied().collect::<Option<Vec<usize>>>()
    })
}

namespace_tests! {
    /// An inside host's frames go to the worker that the engine would name, whatever their length.
    fn frames_from_inside_go_to_their_hosts_worker() {
        let spread = HostSpread { multiplier: 0x9e37_79b1, addend: 0x1234_5678 };
        let source = |index: u32| Ipv4Addr::from_bits(0xc0a8_0002 + index);
        let frames: Vec<Vec<u8>> = (0..90u32)
            .map(|index| datagram(source(index), 9, [60, 5_000, 20_000][index as usize % 3], index))
            .collect();
        let HostSpread { multiplier, addend } = spread;
        let owners = workers_of(Spread::Source { multiplier, addend }, &frames);
        for (index, owner) in owners.iter().enumerate() {
            assert_eq!(*owner, spread.worker_of(source(index as u32), WORKERS).index());
        }
        assert!((0..usize::from(WORKERS)).all(|worker| owners.contains(&worker)), "{owners:?}");
    }

    fn frames_from_outside_are_spread_by_their_destination_port() {
        let frames: Vec<Vec<u8>> = (0..90u32)
            .map(|index| datagram(Ipv4Addr::new(198, 51, 100, 7), 5_000 + index as u16, 60, index))
            .collect();
        let owners = workers_of(Spread::DestinationPort, &frames);
        for (index, owner) in owners.iter().enumerate() {
            assert_eq!(*owner, (5_000 + index) % usize::from(WORKERS));
        }
    }
}
