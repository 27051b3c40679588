//! Packet sockets on real devices: partial checksums, super-frames, tags, devices that come and go.

mod common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use common::{
    Frame, Namespace, add_address, add_neighbor, add_veth, delete_link, link, no_ipv6, receive_until,
    receive_waiting, set_down, set_mtu, set_up, until, wait, wire,
};
use genkan_engine::frame::{GsoKind, Offload, Slot};
use genkan_engine::verdict::Verdict;
use genkan_io::af_packet::{self, AfPacketOptions};
use genkan_io::{FrameIo, IoError};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::Pid;

const A: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const B: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

fn open(device: &str) -> FrameIo {
    af_packet::open(device, &AfPacketOptions::default()).expect("the device exists")
}

/// An Ethernet frame of a protocol for experiments (IEEE 802 local experimental EtherType 1).
fn experimental(octets: usize, mark: u32) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend_from_slice(&[2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
    frame.extend_from_slice(&mark.to_be_bytes());
    frame.resize(octets, 0);
    frame
}

/// Makes a datagram go back where it came from: MAC addresses, IP addresses and ports swapped. No sum changes by that.
fn turn_around(frame: &mut [u8]) {
    for (at, length) in [(0, 6), (26, 4), (34, 2)] {
        let (first, second) = frame[at..at + 2 * length].split_at_mut(length);
        first.swap_with_slice(second);
    }
}

fn mark(frame: &[u8]) -> Option<u32> {
    (frame[12..14] == [0x88, 0xb5]).then(|| u32::from_be_bytes([frame[14], frame[15], frame[16], frame[17]]))
}

/// Two hosts on wires to r0 and r1 in the current namespace, which joins them like a switch while `body` runs.
/// Returns all frames' lengths and offload marks.
fn switched(body: impl FnOnce(&Namespace, &Namespace) + Send) -> Vec<(usize, Offload)> {
    let (a, b) = (Namespace::new(), Namespace::new());
    wire("r0", &a, "a0");
    wire("r1", &b, "b0");
    let (mut left, mut right) = (open("r0"), open("r1"));
    a.run(|| add_address("a0", A, 24));
    b.run(|| add_address("b0", B, 24));
    let done = AtomicBool::new(false);
    let mut seen = Vec::new();
    thread::scope(|scope| {
        let hosts = scope.spawn(|| {
            body(&a, &b);
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) && !hosts.is_finished() {
            let mut look = |frame: &[u8], offload: &Offload| seen.push((frame.len(), *offload));
            let moved = common::pump(&mut left, &mut right, &mut look).expect("both are there")
                + common::pump(&mut right, &mut left, &mut look).expect("both are there");
            if moved == 0 {
                let fds =
                    [&left, &right].map(|io| io.receiver.poll_fds().expect("packet sockets can be polled"));
                let flags = nix::poll::PollFlags::POLLIN;
                let fds = fds.iter().flat_map(|fds| fds.iter());
                let mut fds: Vec<_> = fds.map(|fd| nix::poll::PollFd::new(fd, flags)).collect();
                nix::poll::poll(&mut fds, 10u8).expect("poll works");
            }
        }
        if let Err(panic) = hosts.join() {
            std::panic::resume_unwind(panic);
        }
    });
    assert_eq!((left.receiver.lost_frames(), right.receiver.lost_frames()), (0, 0));
    seen
}

namespace_tests! {
    /// A real TCP connection with segmentation offload: its 64 KiB super-frames arrive whole, with their marks, and
    /// leave again so that the other host takes every octet.
    fn tcp_super_frames_cross_unharmed() {
        const OCTETS: usize = 24 << 20;
        let content = |index: usize| (index / 7) as u8;
        let seen = switched(|a, b| {
            let listener = b.run(|| TcpListener::bind((B, 5000)).expect("the address is ours"));
            let mut sender = a.run(|| TcpStream::connect((B, 5000)).expect("the switch works"));
            let (mut receiver, _) = listener.accept().expect("a connection waits");
            thread::scope(|scope| {
                scope.spawn(move || {
                    let octets: Vec<u8> = (0..OCTETS).map(content).collect();
                    sender.write_all(&octets).expect("the other end reads");
                });
                let mut octets = Vec::new();
                receiver.read_to_end(&mut octets).expect("the other end closes");
                assert_eq!(octets.len(), OCTETS);
                let wrong = (0..OCTETS).position(|index| octets[index] != content(index));
                assert_eq!(wrong, None);
            });
        });
        let (longest, offload) = seen.iter().max_by_key(|(length, _)| length).expect("frames came");
        // 45 segments of 1448 octets behind 66 octets of headers are the most that fit an IPv4 packet.
        assert_eq!(*longest, 65_226);
        assert_eq!((offload.gso, offload.gso_size, offload.partial_checksum), (GsoKind::TcpV4, 1448, true));
        assert_eq!(offload.vlan_tci, None);
    }

    /// Local senders leave even a short datagram's checksum to the device. It must arrive marked, and be finished.
    fn partial_checksums_are_marked_and_finished() {
        let seen = switched(|a, b| {
            let receiver = b.run(|| UdpSocket::bind((B, 5000)).expect("the address is ours"));
            receiver.set_read_timeout(Some(common::PATIENCE)).expect("a time");
            let sender = a.run(|| UdpSocket::bind((A, 5001)).expect("the address is ours"));
            for length in [1, 100, 1471, 1472] {
                sender.send_to(&vec![0xa5; length], (B, 5000)).expect("there is a route");
                let mut octets = [0; 2000];
                let (received, _) = receiver.recv_from(&mut octets).expect("a good checksum");
                assert_eq!(received, length);
            }
        });
        let udp: Vec<_> = seen.iter().filter(|(_, offload)| offload.partial_checksum).collect();
        assert_eq!(udp.iter().map(|(length, _)| *length).collect::<Vec<_>>(), [43, 142, 1513, 1514]);
    }

    /// UDP_SEGMENT: one super-frame of many datagrams.
    fn udp_super_frames_cross_unharmed() {
        let seen = switched(|a, b| {
            let receiver = b.run(|| UdpSocket::bind((B, 5000)).expect("the address is ours"));
            receiver.set_read_timeout(Some(common::PATIENCE)).expect("a time");
            let sender = a.run(|| UdpSocket::bind((A, 5001)).expect("the address is ours"));
            setsockopt(&sender.as_fd(), sockopt::UdpGsoSegment, &1000).expect("Linux 4.18");
            // Forty datagrams of 1000 octets and a shorter one.
            sender.send_to(&vec![7; 40_100], (B, 5000)).expect("there is a route");
            for expected in std::iter::repeat_n(1000, 40).chain([100]) {
                let mut octets = [0; 2000];
                let (received, _) = receiver.recv_from(&mut octets).expect("a good checksum");
                assert_eq!((received, octets[0]), (expected, 7));
            }
        });
        let super_frames: Vec<_> = seen.iter().filter(|(_, offload)| offload.gso != GsoKind::None).collect();
        assert_eq!(super_frames.len(), 1);
        let (length, offload) = super_frames[0];
        assert_eq!((*length, offload.gso, offload.gso_size), (14 + 20 + 8 + 40_100, GsoKind::UdpL4, 1000));
    }

    /// Frames of different sizes come through different rings: their order must not change.
    fn frames_of_all_rings_keep_their_order() {
        const FRAMES: u32 = 30_000;
        let host = Namespace::new();
        wire("r0", &host, "h0");
        // Opened for an MTU of 1500, so that longer frames go to the other rings.
        let mut port = open("r0");
        set_mtu("r0", 30_000);
        host.run(|| set_mtu("h0", 30_000));
        let mut sender = host.run(|| open("h0"));
        let progress = Arc::new(AtomicU32::new(0));
        let received = Arc::clone(&progress);
        let sending = thread::spawn(move || {
            // The kernel itself keeps no order between frames that were sent from different CPUs.
            let mut one_cpu = CpuSet::new();
            one_cpu.set(0).expect("every machine has a CPU 0");
            let _ = sched_setaffinity(Pid::from_raw(0), &one_cpu);
            for number in 0..FRAMES {
                let octets = [60, 5000, 60, 60, 20_000, 60, 5000, 20_000, 60, 20_000, 5000][number as usize % 11];
                let frame = experimental(octets, number);
                while !sender.transmitter.transmit_frame(&frame, Offload::default()).expect("h0 is there") {
                    thread::yield_now();
                }
                // No further ahead of the reader than the rings have room: nothing may be lost here.
                while number > received.load(Ordering::Relaxed) + 100 {
                    thread::yield_now();
                }
            }
        });
        let mut next = 0;
        until("all frames", || {
            for frame in receive_waiting(&mut port.receiver) {
                if let Some(number) = mark(&frame.bytes) {
                    assert_eq!(number, next);
                    next += 1;
                    progress.store(next, Ordering::Relaxed);
                }
            }
            (next == FRAMES).then_some(())
        });
        sending.join().expect("all was sent");
        assert_eq!(port.receiver.lost_frames(), 0);
    }

    /// A tag that the kernel took off the frame is told beside it.
    fn vlan_tags_are_told() {
        let host = Namespace::new();
        wire("r0", &host, "h0");
        let mut port = open("r0");
        let mut sender = host.run(|| open("h0"));
        let mut tagged = experimental(100, 1);
        // Priority 5, VID 42.
        tagged.splice(12..12, [0x81, 0x00, 0xa0, 0x2a]);
        let plain = experimental(100, 2);
        for frame in [&tagged, &plain] {
            assert!(sender.transmitter.transmit_frame(frame, Offload::default()).expect("h0 is there"));
        }
        let is_ours = |frame: &Frame| mark(&frame.bytes).is_some();
        let frames = receive_until(&mut port.receiver, "two frames", |frames| {
            frames.iter().filter(|frame| is_ours(frame)).count() == 2
        });
        let frames: Vec<_> = frames.iter().filter(|frame| is_ours(frame)).collect();
        assert_eq!(frames[0].offload.vlan_tci, Some(0xa02a));
        assert_eq!(frames[0].bytes, experimental(100, 1));
        assert_eq!(frames[1].offload.vlan_tci, None);
        assert_eq!(frames[1].bytes, plain);
    }

    /// Our own frames do not come back to us.
    fn outgoing_frames_are_not_received() {
        let host = Namespace::new();
        wire("r0", &host, "h0");
        let (mut port, mut other) = (open("r0"), host.run(|| open("h0")));
        assert!(port.transmitter.transmit_frame(&experimental(60, 1), Offload::default()).expect("r0 is there"));
        receive_until(&mut other.receiver, "the frame", |frames| frames.iter().any(|f| mark(&f.bytes) == Some(1)));
        assert!(other.transmitter.transmit_frame(&experimental(60, 2), Offload::default()).expect("h0 is there"));
        let seen = receive_until(&mut port.receiver, "the answer", |frames| {
            frames.iter().any(|f| mark(&f.bytes) == Some(2))
        });
        assert!(seen.iter().all(|frame| mark(&frame.bytes) != Some(1)));
    }

    /// A refused frame does not take others with it.
    fn a_frame_above_the_mtu_is_lost_alone() {
        let host = Namespace::new();
        wire("r0", &host, "h0");
        let mut port = open("r0");
        let mut other = host.run(|| open("h0"));
        let frames: Vec<u8> = [experimental(60, 1), experimental(3000, 2), experimental(60, 3)].concat();
        let slot = |offset, len| genkan_engine::Slot {
            offset,
            len,
            offload: Offload::default(),
            verdict: genkan_engine::Verdict::default(),
        };
        let slots = [slot(0, 60), slot(60, 3000), slot(3060, 60)];
        assert_eq!(port.transmitter.transmit(&frames, &slots, &[0, 1, 2]).expect("r0 is there"), 2);
        let seen = receive_until(&mut other.receiver, "the others", |frames| {
            frames.iter().any(|frame| mark(&frame.bytes) == Some(3))
        });
        let marks: Vec<_> = seen.iter().filter_map(|frame| mark(&frame.bytes)).collect();
        assert_eq!(marks, [1, 3]);
    }

    /// A large MTU that is set after the device was opened: such frames use the other ring.
    fn a_raised_mtu_cuts_nothing() {
        let host = Namespace::new();
        wire("r0", &host, "h0");
        let mut port = open("r0");
        set_mtu("r0", 9000);
        host.run(|| set_mtu("h0", 9000));
        let mut sender = host.run(|| open("h0"));
        for octets in [1514, 1640, 1660, 1700, 9014] {
            let frame = experimental(octets, octets as u32);
            assert!(sender.transmitter.transmit_frame(&frame, Offload::default()).expect("h0 is there"));
        }
        let seen = receive_until(&mut port.receiver, "all sizes", |frames| {
            frames.iter().any(|frame| mark(&frame.bytes) == Some(9014))
        });
        let sizes: Vec<_> =
            seen.iter().filter_map(|frame| mark(&frame.bytes).map(|mark| (mark, frame.bytes.len()))).collect();
        assert_eq!(sizes, [(1514, 1514), (1640, 1640), (1660, 1660), (1700, 1700), (9014, 9014)]);
        assert_eq!(port.receiver.lost_frames(), 0);
    }

    /// Down is not gone: no error, and frames flow again by themselves when it comes up.
    fn a_device_may_go_down_and_up() {
        let host = Namespace::new();
        wire("r0", &host, "h0");
        let mut port = open("r0");
        let mut other = host.run(|| open("h0"));
        set_down("r0");
        until("the sockets to say so", || wait(&port.receiver, Duration::from_millis(10)).then_some(()));
        until("the error to be taken off", || {
            assert_eq!(receive_waiting(&mut port.receiver).len(), 0);
            (!wait(&port.receiver, Duration::ZERO)).then_some(())
        });
        let sent = port.transmitter.transmit_frame(&experimental(60, 1), Offload::default());
        assert!(!sent.expect("down is no error"));

        set_up("r0");
        until("carrier", || link("r0").carrier.then_some(()));
        assert!(port.transmitter.transmit_frame(&experimental(60, 2), Offload::default()).expect("r0 is back"));
        receive_until(&mut other.receiver, "a frame out", |f| f.iter().any(|f| mark(&f.bytes) == Some(2)));
        assert!(other.transmitter.transmit_frame(&experimental(60, 3), Offload::default()).expect("h0 is there"));
        receive_until(&mut port.receiver, "a frame in", |f| f.iter().any(|f| mark(&f.bytes) == Some(3)));
    }

    /// A device may be opened before it is up.
    fn a_device_that_is_down_can_be_opened() {
        let host = Namespace::new();
        add_veth("r0", &host, "h0");
        no_ipv6("r0");
        host.run(|| no_ipv6("h0"));
        let mut port = open("r0");
        assert_eq!(receive_waiting(&mut port.receiver).len(), 0);
        let mut other = host.run(|| open("h0"));
        set_up("r0");
        host.run(|| set_up("h0"));
        until("carrier", || link("r0").carrier.then_some(()));
        assert!(other.transmitter.transmit_frame(&experimental(60, 3), Offload::default()).expect("h0 is there"));
        receive_until(&mut port.receiver, "a frame in", |f| f.iter().any(|f| mark(&f.bytes) == Some(3)));
    }

    /// Deleted and made again under the same name: both halves say so, and a new pair works.
    fn a_deleted_device_is_told_and_can_be_opened_anew() {
        let host = Namespace::new();
        wire("r0", &host, "h0");
        let mut port = open("r0");
        delete_link("r0");
        until("the end to be told", || {
            wait(&port.receiver, Duration::from_millis(10));
            match port.receiver.receive() {
                Err(IoError::DeviceGone) => Some(()),
                Err(error) => panic!("{error}"),
                Ok(_) => None,
            }
        });
        let sent = port.transmitter.transmit_frame(&experimental(60, 1), Offload::default());
        assert!(matches!(sent, Err(IoError::DeviceGone)), "{sent:?}");
        assert!(af_packet::open("r0", &AfPacketOptions::default()).is_err());

        wire("r0", &host, "h0");
        let mut port = open("r0");
        let mut other = host.run(|| open("h0"));
        assert!(other.transmitter.transmit_frame(&experimental(60, 3), Offload::default()).expect("h0 is there"));
        receive_until(&mut port.receiver, "a frame in", |f| f.iter().any(|f| mark(&f.bytes) == Some(3)));
    }

    /// More frames than the ring holds: the surplus is lost and counted, the rest is whole.
    fn a_full_ring_counts_what_it_loses() {
        let host = Namespace::new();
        wire("r0", &host, "h0");
        let options = AfPacketOptions { small_ring: 64 << 10, ..AfPacketOptions::default() };
        let mut port = af_packet::open("r0", &options).expect("the device exists");
        let mut sender = host.run(|| open("h0"));
        for number in 0..100 {
            let frame = experimental(60, number);
            assert!(sender.transmitter.transmit_frame(&frame, Offload::default()).expect("h0 is there"));
        }
        let frames = receive_waiting(&mut port.receiver);
        let kept = frames.iter().filter(|frame| mark(&frame.bytes).is_some()).count() as u64;
        // 37 slots of 1,728 octets in 64 KiB.
        assert!((30..=37).contains(&kept), "{kept}");
        assert!(port.receiver.lost_frames() >= 100 - 37);
        for number in 100..110 {
            let frame = experimental(60, number);
            assert!(sender.transmitter.transmit_frame(&frame, Offload::default()).expect("h0 is there"));
        }
        assert_eq!(receive_waiting(&mut port.receiver).len(), 10, "released slots are used again");
    }

    /// A kernel neighbour entry and a crafted frame: what arrives is what a stack accepts.
    fn a_stack_accepts_what_we_finish_nothing_of() {
        let host = Namespace::new();
        wire("r0", &host, "h0");
        let mac = link("r0").mac;
        host.run(|| {
            add_address("h0", A, 24);
            add_neighbor("h0", B, mac.0);
        });
        let mut port = open("r0");
        let socket = host.run(|| UdpSocket::bind((A, 5001)).expect("the address is ours"));
        socket.set_read_timeout(Some(common::PATIENCE)).expect("a time");
        socket.send_to(b"there", (B, 7)).expect("there is a route");
        let frames = receive_until(&mut port.receiver, "the datagram", |frames| {
            frames.iter().any(|frame| frame.offload.partial_checksum)
        });
        let mut frame = frames.into_iter().find(|frame| frame.offload.partial_checksum).expect("just seen");
        turn_around(&mut frame.bytes);
        assert!(port.transmitter.transmit_frame(&frame.bytes, frame.offload).expect("r0 is there"));
        let mut octets = [0; 100];
        let (length, from) = socket.recv_from(&mut octets).expect("a good checksum");
        assert_eq!((&octets[..length], from), (&b"there"[..], (B, 7).into()));
    }

    /// Datagrams that left as one super-frame, gathered from where they lie, arrive one by one at a stack.
    fn merged_datagrams_come_apart_again() {
        let host = Namespace::new();
        wire("r0", &host, "h0");
        let mac = link("r0").mac;
        host.run(|| {
            add_address("h0", A, 24);
            add_neighbor("h0", B, mac.0);
        });
        let mut port = open("r0").with_merging();
        let socket = host.run(|| UdpSocket::bind((A, 5001)).expect("the address is ours"));
        socket.set_read_timeout(Some(common::PATIENCE)).expect("a time");
        for number in 0..3 {
            socket.send_to(&[number; 100], (B, 7)).expect("there is a route");
        }
        let is_ours = |frame: &Frame| frame.offload.partial_checksum;
        let mut frames = receive_until(&mut port.receiver, "three datagrams", |frames| {
            frames.iter().filter(|frame| is_ours(frame)).count() == 3
        });
        frames.retain(is_ours);
        let (mut memory, mut slots) = (Vec::new(), Vec::new());
        for Frame { bytes, offload } in &mut frames {
            turn_around(bytes);
            let (offset, len) = (memory.len(), bytes.len());
            slots.push(Slot { offset, len, offload: *offload, verdict: Verdict::Consumed });
            memory.extend_from_slice(bytes);
        }
        assert_eq!(port.transmitter.transmit(&memory, &slots, &[0, 1, 2]).expect("r0 is there"), 3);
        // Kernels before 6.2 take no UDP super-frames.
        let merged = if port.transmitter.capabilities().uso { 2 } else { 0 };
        assert_eq!(port.transmitter.merged_frames(), merged);
        for number in 0..3 {
            let mut octets = [0; 200];
            let (length, from) = socket.recv_from(&mut octets).expect("a good checksum");
            assert_eq!((&octets[..length], from), (&[number; 100][..], (B, 7).into()));
        }
    }
}
