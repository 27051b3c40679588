//! AF_XDP sockets on veth pairs: both modes, checksums that a kernel left to its device, memory that ports share,
//! devices that come and go. These want root in the initial user namespace, for bpf(2).

mod common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::{
    Namespace, add_address, add_veth, delete_link, link, no_ipv6, receive_until, receive_waiting, set_down,
    set_mtu, set_up, until, wait, wire,
};
use genkan_engine::frame::{Offload, Slot};
use genkan_engine::verdict::Verdict;
use genkan_io::af_packet::{self, AfPacketOptions};
use genkan_io::af_xdp::{self, ALL_MODES, Advice, AfXdpError, Mode, SharedMemory};
use genkan_io::{FrameIo, IoError};

const A: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const B: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const MODES: [Mode; 2] = [Mode::Native, Mode::Generic];

/// Defines tests that run as root only, once per mode that a veth has.
macro_rules! in_both_modes {
    ($($(#[$attribute:meta])* fn $name:ident($mode:ident: Mode) $body:block)+) => {
        $($(#[$attribute])* #[test] fn $name() {
            if !is_root() {
                assert!(std::env::var_os("CI").is_none(), "in CI nothing is skipped");
                println!("SKIPPED {}: bpf(2) needs root in the initial user namespace", stringify!($name));
                return;
            }
            for mode in MODES {
                common::in_namespace(stringify!($name), false, move || { let $mode = mode; $body });
            }
        })+
    };
}

/// In the initial user namespace, too: what bpf(2) asks for.
fn is_root() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let whole: Vec<&str> = map.split_whitespace().collect();
    nix::unistd::geteuid().is_root()
        && whole == ["0", "0", "4294967295"]
        && std::env::var_os("GENKAN_TEST_UNPRIVILEGED").is_none()
}

fn open_with(device: &str, memory: &mut SharedMemory, mode: Mode) -> FrameIo {
    let opened = af_xdp::open(device, memory, &[mode]).expect("the device can do it");
    assert_eq!(opened.mode, mode);
    assert_eq!(opened.warning.is_some(), mode == Mode::Generic, "super-frames are at stake in one mode only");
    opened.io
}

fn open(device: &str, mode: Mode) -> FrameIo {
    open_with(device, &mut SharedMemory::new(1), mode)
}

fn open_host(device: &str) -> FrameIo {
    af_packet::open(device, &AfPacketOptions::default()).expect("the device exists")
}

/// An Ethernet frame of a protocol for experiments (IEEE 802 local experimental EtherType 1).
fn experimental(octets: usize, mark: u32) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend_from_slice(&[2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
    frame.extend_from_slice(&mark.to_be_bytes());
    frame.resize(octets, mark as u8);
    frame
}

fn mark(frame: &[u8]) -> Option<u32> {
    (frame[12..14] == [0x88, 0xb5]).then(|| u32::from_be_bytes([frame[14], frame[15], frame[16], frame[17]]))
}

fn send(io: &mut FrameIo, frame: &[u8]) -> bool {
    io.transmitter.transmit_frame(frame, Offload::default()).expect("the device is there")
}

/// Waits for frames of ours, and returns their marks.
fn marks_until(io: &mut FrameIo, last: u32) -> Vec<u32> {
    let frames = receive_until(&mut io.receiver, "marked frames", |frames| {
        frames.iter().any(|frame| mark(&frame.bytes) == Some(last))
    });
    let octets_are_right =
        |frame: &&common::Frame| frame.bytes[18..].iter().all(|octet| *octet == frame.bytes[17]);
    let ours: Vec<_> = frames.iter().filter(|frame| mark(&frame.bytes).is_some()).collect();
    assert!(ours.iter().all(octets_are_right));
    ours.iter().filter_map(|frame| mark(&frame.bytes)).collect()
}

/// Two hosts on wires to r0 and r1 in the current namespace, which joins them like a switch while `body` runs.
fn switched(mode: Mode, body: impl FnOnce(&Namespace, &Namespace) + Send) -> u64 {
    let (a, b) = (Namespace::new(), Namespace::new());
    wire("r0", &a, "a0");
    wire("r1", &b, "b0");
    let mut memory = SharedMemory::new(2);
    let (mut left, mut right) = (open_with("r0", &mut memory, mode), open_with("r1", &mut memory, mode));
    a.run(|| add_address("a0", A, 24));
    b.run(|| add_address("b0", B, 24));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let hosts = scope.spawn(|| {
            body(&a, &b);
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) && !hosts.is_finished() {
            let look = |_: &[u8], offload: &Offload| assert_eq!(*offload, Offload::default());
            let moved = common::pump(&mut left, &mut right, look).expect("both are there")
                + common::pump(&mut right, &mut left, look).expect("both are there");
            if moved == 0 {
                let fds = [&left, &right].map(|io| io.receiver.poll_fds().expect("sockets can be polled"));
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
    memory.copied_frames()
}

in_both_modes! {
    /// Frames of any size that fit, both ways.
    fn frames_go_in_and_out(mode: Mode) {
        let host = Namespace::new();
        wire("r0", &host, "h0");
        let mut port = open("r0", mode);
        let mut other = host.run(|| open_host("h0"));
        for (number, octets) in [14 + 46, 61, 590, 1513, 1514].into_iter().enumerate() {
            assert!(send(&mut other, &experimental(octets, number as u32)));
            assert!(send(&mut port, &experimental(octets, number as u32 + 100)));
        }
        assert_eq!(marks_until(&mut port, 4), [0, 1, 2, 3, 4]);
        assert_eq!(marks_until(&mut other, 104), [100, 101, 102, 103, 104]);
        assert_eq!(port.receiver.lost_frames(), 0);
        assert!(!send(&mut port, &experimental(4097, 7)), "no chunk is so long");
    }

    /// A kernel leaves even a short datagram's checksum to the device: the other kernel must get it finished. And what
    /// crosses between ports that share their memory is not copied.
    fn datagrams_of_a_kernel_arrive_right(mode: Mode) {
        let copied = switched(mode, |a, b| {
            let receiver = b.run(|| UdpSocket::bind((B, 5000)).expect("the address is ours"));
            receiver.set_read_timeout(Some(common::PATIENCE)).expect("a time");
            let sender = a.run(|| UdpSocket::bind((A, 5001)).expect("the address is ours"));
            sender.set_read_timeout(Some(common::PATIENCE)).expect("a time");
            for length in [0, 1, 100, 1471, 1472].into_iter().cycle().take(100) {
                sender.send_to(&vec![0xa5; length], (B, 5000)).expect("there is a route");
                let mut octets = [0; 2000];
                let (received, from) = receiver.recv_from(&mut octets).expect("a good checksum");
                assert_eq!(received, length);
                receiver.send_to(&octets[..length], from).expect("there is a way back");
                assert_eq!(sender.recv_from(&mut octets).expect("a good checksum").0, length);
            }
        });
        assert_eq!(copied, 0);
    }

    /// A real TCP connection. In the driver's mode the peer's kernel makes no super-frames while the program is attached;
    /// in the generic one they must be switched off at the peer.
    fn a_tcp_stream_arrives_right(mode: Mode) {
        const OCTETS: usize = 8 << 20;
        let content = |index: usize| (index / 7) as u8;
        let copied = switched(mode, |a, b| {
            if mode == Mode::Generic {
                for (host, device) in [(a, "a0"), (b, "b0")] {
                    let off = host.run(|| {
                        std::process::Command::new("ethtool").args(["-K", device, "tso", "off", "gso", "off"]).status()
                    });
                    match off {
                        Ok(status) => assert!(status.success()),
                        Err(_) => return println!("SKIPPED in the generic mode: there is no ethtool"),
                    }
                }
            }
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
                assert_eq!((0..OCTETS).position(|index| octets[index] != content(index)), None);
            });
        });
        assert_eq!(copied, 0);
    }

    /// A frame that is sent twice out of one batch, and one that lies elsewhere, are copied; all arrive whole, long after
    /// every chunk was in use.
    fn a_frame_may_be_sent_twice(mode: Mode) {
        let (a, b) = (Namespace::new(), Namespace::new());
        wire("r0", &a, "a0");
        wire("r1", &b, "b0");
        let mut memory = SharedMemory::new(2);
        let (mut left, mut right) = (open_with("r0", &mut memory, mode), open_with("r1", &mut memory, mode));
        let (mut from, mut to) = (a.run(|| open_host("a0")), b.run(|| open_host("b0")));
        const ROUNDS: u32 = 20_000;
        let mut doubled = 0;
        for round in 0..ROUNDS {
            assert!(send(&mut from, &experimental(60 + round as usize % 1400, round)));
            until("the frame", || {
                wait(&left.receiver, Duration::from_millis(10));
                let batch = left.receiver.receive().expect("the device is there");
                let ours = |slot: &Slot| mark(&batch.memory[slot.offset..slot.offset + slot.len]) == Some(round);
                let index = batch.slots.iter().position(ours)? as u16;
                let sent = right.transmitter.transmit(batch.memory, batch.slots, &[index, index]);
                assert_eq!(sent.expect("r1 is there"), 2);
                doubled += 1;
                Some(())
            });
            assert_eq!(marks_until(&mut to, round)[0], round);
            // The second may still be on its way.
            let second = receive_waiting(&mut to.receiver);
            assert!(second.iter().all(|frame| mark(&frame.bytes).is_none_or(|it| it == round)));
        }
        assert_eq!(memory.copied_frames(), doubled);
        assert!(send(&mut right, &experimental(60, ROUNDS)));
        marks_until(&mut to, ROUNDS);
        assert_eq!(memory.copied_frames(), doubled + 1);
        // And a port with memory of its own.
        drop(right);
        let mut right = open("r1", mode);
        assert!(send(&mut from, &experimental(60, 1)));
        until("a frame across", || {
            wait(&left.receiver, Duration::from_millis(10));
            (common::pump(&mut left, &mut right, |_, _| {}).expect("both are there") > 0).then_some(())
        });
        marks_until(&mut to, 1);
    }

    /// More frames than the ring holds: the surplus is lost and counted, and the rest is whole.
    fn a_full_ring_counts_what_it_loses(mode: Mode) {
        const FRAMES: u32 = 6000;
        let host = Namespace::new();
        wire("r0", &host, "h0");
        let mut port = open("r0", mode);
        let mut sender = host.run(|| open_host("h0"));
        for number in 0..FRAMES {
            until("room at the sender", || send(&mut sender, &experimental(60, number)).then_some(()));
        }
        let mut kept = Vec::new();
        until("all to be accounted for", || {
            kept.extend(receive_waiting(&mut port.receiver).iter().filter_map(|frame| mark(&frame.bytes)));
            (kept.len() as u64 + port.receiver.lost_frames() >= u64::from(FRAMES)).then_some(())
        });
        assert!(kept.len() >= 4096, "{}", kept.len());
        assert!(kept.is_sorted());
        for number in FRAMES..FRAMES + 10 {
            assert!(send(&mut sender, &experimental(60, number)));
        }
        assert!(marks_until(&mut port, FRAMES + 9).ends_with(&[FRAMES + 8, FRAMES + 9]), "chunks are used again");
    }

    /// Down is not gone: no error, and frames flow again by themselves when it comes up.
    fn a_device_may_go_down_and_up(mode: Mode) {
        let host = Namespace::new();
        wire("r0", &host, "h0");
        let mut port = open("r0", mode);
        let mut other = host.run(|| open_host("h0"));
        set_down("r0");
        assert_eq!(receive_waiting(&mut port.receiver).len(), 0);
        for number in 0..3000 {
            send(&mut port, &experimental(60, number));
        }
        assert!(!send(&mut port, &experimental(60, 3000)), "no more than a few are kept");
        set_up("r0");
        until("carrier", || link("r0").carrier.then_some(()));
        until("a frame out", || {
            send(&mut port, &experimental(60, 4000));
            let frames = receive_waiting(&mut other.receiver);
            frames.iter().any(|frame| mark(&frame.bytes) == Some(4000)).then_some(())
        });
        assert!(send(&mut other, &experimental(60, 3)));
        marks_until(&mut port, 3);
    }

    /// A device may be opened before it is up.
    fn a_device_that_is_down_can_be_opened(mode: Mode) {
        let host = Namespace::new();
        add_veth("r0", &host, "h0");
        no_ipv6("r0");
        host.run(|| no_ipv6("h0"));
        let mut port = open("r0", mode);
        assert_eq!(receive_waiting(&mut port.receiver).len(), 0);
        let mut other = host.run(|| open_host("h0"));
        set_up("r0");
        host.run(|| set_up("h0"));
        until("carrier", || link("r0").carrier.then_some(()));
        assert!(send(&mut other, &experimental(60, 3)));
        marks_until(&mut port, 3);
    }

    /// Deleted and made again under the same name: both halves say so, and a new pair works with the same memory.
    fn a_deleted_device_is_told_and_can_be_opened_anew(mode: Mode) {
        let (host, second) = (Namespace::new(), Namespace::new());
        wire("r0", &host, "h0");
        wire("r1", &second, "s0");
        let mut memory = SharedMemory::new(2);
        let (mut port, mut stays) = (open_with("r0", &mut memory, mode), open_with("r1", &mut memory, mode));
        let mut other = second.run(|| open_host("s0"));
        for _ in 0..3 {
            delete_link("r0");
            until("the end to be told", || match port.receiver.receive() {
                Err(IoError::DeviceGone) => Some(()),
                Err(error) => panic!("{error}"),
                Ok(_) => None,
            });
            let sent = port.transmitter.transmit_frame(&experimental(60, 1), Offload::default());
            assert!(matches!(sent, Err(IoError::DeviceGone)), "{sent:?}");
            drop(port);
            assert!(matches!(af_xdp::open("r0", &mut memory, ALL_MODES), Err(AfXdpError::Io(_))));

            wire("r0", &host, "h0");
            port = open_with("r0", &mut memory, mode);
            let mut host = host.run(|| open_host("h0"));
            let copied = memory.copied_frames();
            assert!(send(&mut other, &experimental(60, 3)));
            until("a frame across", || {
                wait(&stays.receiver, Duration::from_millis(10));
                (common::pump(&mut stays, &mut port, |_, _| {}).expect("both are there") > 0).then_some(())
            });
            marks_until(&mut host, 3);
            assert_eq!(memory.copied_frames(), copied, "the memory is shared again");
        }
    }

    /// Closed and opened at once, again and again: the kernel takes its time, and nothing of the memory is lost.
    fn a_port_can_be_opened_again_at_once(mode: Mode) {
        let host = Namespace::new();
        wire("r0", &host, "h0");
        let mut other = host.run(|| open_host("h0"));
        let mut memory = SharedMemory::new(1);
        for number in 0..5 {
            let mut port = open_with("r0", &mut memory, mode);
            assert!(send(&mut other, &experimental(60, number)));
            marks_until(&mut port, number);
        }
    }

    /// The receive queues of a device each have a socket.
    fn all_queues_are_received_from(mode: Mode) {
        let host = Namespace::new();
        wire("r0", &host, "h0");
        let queues = |device: &str| {
            let command = ["-L", device, "rx", "2", "tx", "2"];
            std::process::Command::new("ethtool").args(command).status().is_ok_and(|status| status.success())
        };
        if !queues("r0") || !host.run(|| queues("h0")) {
            return println!("SKIPPED: no ethtool, or one CPU only");
        }
        let mut port = open("r0", mode);
        host.run(|| add_address("h0", A, 24));
        let mac = link("r0").mac;
        host.run(|| common::add_neighbor("h0", B, mac.0));
        let socket = host.run(|| UdpSocket::bind((A, 0)).expect("the address is ours"));
        // Flows spread over the transmit queues of the host, and with them over ours.
        for flow in 0..64 {
            socket.send_to(&[7; 10], (B, 1000 + flow)).expect("there is a route");
        }
        let is_flow = |frame: &&common::Frame| frame.bytes[12..14] == [8, 0] && frame.bytes[23] == 17;
        let frames = receive_until(&mut port.receiver, "all flows", |frames| frames.iter().filter(is_flow).count() == 64);
        assert!(frames.iter().filter(is_flow).all(|frame| frame.offload == Offload::default()));
        assert_eq!(port.receiver.lost_frames(), 0);
    }

    fn an_mtu_beyond_a_page_is_refused(mode: Mode) {
        let host = Namespace::new();
        wire("r0", &host, "h0");
        set_mtu("r0", 9000);
        host.run(|| set_mtu("h0", 9000));
        let error = af_xdp::open("r0", &mut SharedMemory::new(1), &[mode]).err().expect("too large");
        assert!(error.to_string().contains("up to 3818 octets, and that of r0 is 9000"), "{error}");
        // Larger chunks carry this one.
        set_mtu("r0", 3000);
        host.run(|| set_mtu("h0", 3000));
        let mut port = open("r0", mode);
        let mut other = host.run(|| open_host("h0"));
        assert!(send(&mut other, &experimental(3014, 1)) && send(&mut port, &experimental(3014, 2)));
        marks_until(&mut port, 1);
        marks_until(&mut other, 2);
    }

    /// The kernel's stack sees nothing of what we get, and everything again afterwards.
    fn the_kernel_gets_its_frames_back(mode: Mode) {
        let host = Namespace::new();
        wire("r0", &host, "h0");
        add_address("r0", B, 24);
        host.run(|| add_address("h0", A, 24));
        let ping = || {
            let (to, from) = (UdpSocket::bind((B, 5000)).expect("ours"), host.run(|| UdpSocket::bind((A, 0)).expect("ours")));
            to.set_read_timeout(Some(Duration::from_millis(200))).expect("a time");
            from.send_to(b"x", (B, 5000)).expect("there is a route");
            to.recv_from(&mut [0; 10]).is_ok()
        };
        assert!(ping());
        let port = open("r0", mode);
        assert!(!ping());
        drop(port);
        until("the stack to be reached", || ping().then_some(()));
    }
}

#[test]
fn what_is_not_possible_has_a_reason() {
    let body = || {
        let host = Namespace::new();
        wire("r0", &host, "h0");
        let Advice::AfPacket(reason) = af_xdp::advise("r0").expect("it exists") else {
            panic!("veth copies")
        };
        assert!(reason.contains("zero-copy") || reason.contains("does not tell"), "{reason}");
        match af_xdp::open("r0", &mut SharedMemory::new(1), ALL_MODES) {
            Ok(opened) => {
                assert_eq!(opened.mode, Mode::Native);
                assert!(opened.to_string().starts_with("native mode, copying; not in "), "{opened}");
                assert!(opened.warning.is_none());
            }
            Err(error) => {
                assert!(error.to_string().contains("CAP_BPF"), "{error}");
                assert!(!is_root(), "{error}");
            }
        }
    };
    common::in_namespace("what_is_not_possible_has_a_reason", false, body);
}

/// In a user namespace even its root may not load the program: the reason says so.
#[test]
fn a_user_namespace_is_refused_with_a_reason() {
    common::in_namespace("a_user_namespace_is_refused_with_a_reason", true, || {
        let host = Namespace::new();
        wire("r0", &host, "h0");
        let error =
            af_xdp::open("r0", &mut SharedMemory::new(1), ALL_MODES).err().expect("bpf(2) is not for us");
        let text = error.to_string();
        assert!(text.contains("CAP_BPF") && text.contains("generic mode"), "{text}");
    });
}

/// Slots that no receiver handed out do no harm.
#[test]
fn slots_of_somebody_else_are_copied() {
    if !is_root() {
        return println!("SKIPPED slots_of_somebody_else_are_copied: bpf(2) needs root");
    }
    common::in_namespace("slots_of_somebody_else_are_copied", false, || {
        let host = Namespace::new();
        wire("r0", &host, "h0");
        let mut memory = SharedMemory::new(1);
        let FrameIo { mut receiver, mut transmitter } = open_with("r0", &mut memory, Mode::Native);
        let batch = receiver.receive().expect("the device is there");
        let slot =
            |offset, len| Slot { offset, len, offload: Offload::default(), verdict: Verdict::Consumed };
        // A chunk that the kernel has to receive into, and one across the border of two.
        let slots = [slot(4096, 60), slot(2040, 60), slot(0, 10)];
        assert_eq!(transmitter.transmit(batch.memory, &slots, &[0, 1, 2]).expect("r0 is there"), 2);
        assert_eq!(memory.copied_frames(), 2);
    });
}
