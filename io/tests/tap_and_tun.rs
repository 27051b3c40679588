//! TAP and TUN devices with the real kernel behind them.

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::{
    Frame, Namespace, add_address, add_neighbor, delete_link, link, no_ipv6, receive_until, receive_waiting,
    set_down, set_up, until, wait,
};
use genkan_engine::frame::{GsoKind, Offload, Slot};
use genkan_engine::verdict::Verdict;
use genkan_engine::wire::checksum;
use genkan_io::host_network::{HostNetwork, HostNetworkConfig};
use genkan_io::{FrameIo, FrameTransmitter, IoError, host_tun, tap};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{setsockopt, sockopt};

const A: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const B: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// A MAC address that is nobody's.
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// A TAP device in a host's namespace, up and with an address.
fn host_tap(host: &Namespace, device: &str, address: Ipv4Addr) -> FrameIo {
    host.run(|| {
        let io = tap::open(device).expect("we are privileged here");
        no_ipv6(device);
        set_up(device);
        add_address(device, address, 24);
        until("carrier", || link(device).carrier.then_some(()));
        io
    })
}

fn is_udp_to(frame: &Frame, port: u16) -> bool {
    frame.bytes[12..14] == [8, 0] && frame.bytes[23] == 17 && frame.bytes[36..38] == port.to_be_bytes()
}

/// Swaps MAC addresses, IP addresses and ports: no checksum changes by that.
fn turn_round(frame: &mut [u8]) {
    for (start, length) in [(0, 6), (26, 4), (34, 2)] {
        let (first, second) = frame[start..start + 2 * length].split_at_mut(length);
        first.swap_with_slice(second);
    }
}

/// Tests that make devices, where that is possible.
macro_rules! device_tests {
    ($($(#[$attribute:meta])* fn $name:ident() $body:block)+) => {
        $($(#[$attribute])* #[test] fn $name() {
            if let Err(error) = File::options().read(true).write(true).open("/dev/net/tun") {
                println!("SKIPPED {}: /dev/net/tun: {error}", stringify!($name));
                return;
            }
            common::in_namespace(stringify!($name), false, || $body);
        })+
    };
}

device_tests! {
    /// The kernel leaves checksums to us, marked; what we send marked it takes.
    fn tap_both_ways() {
        let host = Namespace::new();
        let mut port = host_tap(&host, "h0", A);
        host.run(|| add_neighbor("h0", B, OTHER));
        let socket = host.run(|| UdpSocket::bind((A, 5001)).expect("the address is ours"));
        socket.set_read_timeout(Some(common::PATIENCE)).expect("a time");
        socket.send_to(b"there", (B, 7)).expect("there is a route");
        let frames = receive_until(&mut port.receiver, "the datagram", |frames| {
            frames.iter().any(|frame| is_udp_to(frame, 7))
        });
        let mut frame = frames.into_iter().find(|frame| is_udp_to(frame, 7)).expect("just seen");
        assert!(frame.offload.partial_checksum);
        assert_eq!(frame.bytes[..6], OTHER);
        turn_round(&mut frame.bytes);
        assert!(port.transmitter.transmit_frame(&frame.bytes, frame.offload).expect("h0 is there"));
        let mut octets = [0; 100];
        let (length, from) = socket.recv_from(&mut octets).expect("a good checksum");
        assert_eq!((&octets[..length], from), (&b"there"[..], (B, 7).into()));
        assert_eq!(port.receiver.lost_frames(), 0);
        assert_ne!(tap::router_mac(host.run(|| link("h0")).mac).0, host.run(|| link("h0")).mac.0);
    }

    /// Frames that lie behind their header and frames that do not leave in their order.
    fn tap_keeps_the_order_of_a_batch() {
        const FRAMES: u8 = 70;
        let host = Namespace::new();
        let mut port = host_tap(&host, "h0", A);
        host.run(|| add_neighbor("h0", B, OTHER));
        let socket = host.run(|| UdpSocket::bind((A, 5001)).expect("the address is ours"));
        socket.set_read_timeout(Some(common::PATIENCE)).expect("a time");
        socket.send_to(b"there", (B, 7)).expect("there is a route");
        let frames = receive_until(&mut port.receiver, "the datagram", |frames| {
            frames.iter().any(|frame| is_udp_to(frame, 7))
        });
        let mut frame = frames.into_iter().find(|frame| is_udp_to(frame, 7)).expect("just seen");
        turn_round(&mut frame.bytes);
        // Needs a checksum, from octet 34, stored 6 octets from there.
        let [start, offset] = [34u16, 6].map(u16::to_ne_bytes);
        let header = [&[1, 0, 0, 0, 0, 0], &start[..], &offset[..]].concat();
        let (mut memory, mut slots) = (Vec::new(), Vec::new());
        for number in 0..FRAMES {
            memory.extend_from_slice(if number % 7 == 3 { &[0xff; 10] } else { &header });
            // The partial checksum is that of the pseudo header alone.
            frame.bytes[42] = number;
            let (offset, len) = (memory.len(), frame.bytes.len());
            slots.push(Slot { offset, len, offload: frame.offload, verdict: Verdict::Consumed });
            memory.extend_from_slice(&frame.bytes);
        }
        let indices: Vec<u16> = (0..u16::from(FRAMES)).collect();
        let taken = port.transmitter.transmit(&memory, &slots, &indices).expect("h0 is there");
        assert_eq!(taken, usize::from(FRAMES));
        let mut octets = [0; 100];
        for number in 0..FRAMES {
            let length = socket.recv(&mut octets).expect("a good checksum");
            assert_eq!((length, octets[0]), (5, number));
        }
    }

    /// A real TCP connection between two TAP devices that this process joins like a switch.
    fn tap_super_frames_cross_unharmed() {
        const OCTETS: usize = 24 << 20;
        let (a, b) = (Namespace::new(), Namespace::new());
        let mut left = host_tap(&a, "a0", A);
        let mut right = host_tap(&b, "b0", B);
        let done = AtomicBool::new(false);
        let mut longest = (0, Offload::default());
        thread::scope(|scope| {
            let hosts = scope.spawn(|| {
                let listener = b.run(|| TcpListener::bind((B, 5000)).expect("the address is ours"));
                let mut sender = a.run(|| TcpStream::connect((B, 5000)).expect("the switch works"));
                let (mut receiver, _) = listener.accept().expect("a connection waits");
                let writer = thread::spawn(move || {
                    let octets: Vec<u8> = (0..OCTETS).map(|index| (index / 7) as u8).collect();
                    sender.write_all(&octets).expect("the other end reads");
                });
                let mut octets = Vec::new();
                receiver.read_to_end(&mut octets).expect("the other end closes");
                assert_eq!(octets.len(), OCTETS);
                assert_eq!(octets.iter().enumerate().position(|(i, octet)| *octet != (i / 7) as u8), None);
                writer.join().expect("it wrote all");
                done.store(true, Ordering::Relaxed);
            });
            while !done.load(Ordering::Relaxed) && !hosts.is_finished() {
                let mut look = |frame: &[u8], offload: &Offload| {
                    if frame.len() > longest.0 {
                        longest = (frame.len(), *offload);
                    }
                };
                let moved = common::pump(&mut left, &mut right, &mut look).expect("both are there")
                    + common::pump(&mut right, &mut left, &mut look).expect("both are there");
                if moved == 0 {
                    wait(&left.receiver, Duration::from_millis(1));
                }
            }
            if let Err(panic) = hosts.join() {
                std::panic::resume_unwind(panic);
            }
        });
        let (length, offload) = longest;
        assert!(length > 60_000, "{length}");
        assert_eq!((offload.gso, offload.partial_checksum), (GsoKind::TcpV4, true));
        assert_eq!((left.receiver.lost_frames(), right.receiver.lost_frames()), (0, 0));
    }

    /// Datagrams that a host hands over in one piece stay in one piece, there and back.
    fn tap_datagrams_in_one_piece_cross_unharmed() {
        const DATAGRAM: usize = 1400;
        let sizes = [&[DATAGRAM; 40][..], &[77]].concat();
        let (a, b) = (Namespace::new(), Namespace::new());
        let mut left = host_tap(&a, "a0", A);
        let mut right = host_tap(&b, "b0", B);
        let (a_mac, b_mac) = (a.run(|| link("a0")).mac, b.run(|| link("b0")).mac);
        a.run(|| add_neighbor("a0", B, b_mac.0));
        b.run(|| add_neighbor("b0", A, a_mac.0));
        let socket = |host: &Namespace, address| {
            let socket = host.run(|| UdpSocket::bind((address, 5000)).expect("the address is ours"));
            socket.set_read_timeout(Some(common::PATIENCE)).expect("a time");
            setsockopt(&socket, sockopt::UdpGsoSegment, &(DATAGRAM as i32)).expect("every kernel can");
            socket
        };
        let (mut from, mut to) = ((socket(&a, A), B), (socket(&b, B), A));
        for _ in 0..2 {
            let octets: Vec<u8> = (0..sizes.iter().sum()).map(|index: usize| (index / 7) as u8).collect();
            assert_eq!(from.0.send_to(&octets, (from.1, 5000)).expect("there is a route"), octets.len());
            let mut seen = Vec::new();
            until("the super-frame", || {
                let mut look = |frame: &[u8], offload: &Offload| {
                    seen.push((frame.len(), offload.gso, usize::from(offload.gso_size), offload.partial_checksum));
                };
                common::pump(&mut left, &mut right, &mut look).expect("both are there");
                common::pump(&mut right, &mut left, &mut look).expect("both are there");
                seen.contains(&(42 + octets.len(), GsoKind::UdpL4, DATAGRAM, true)).then_some(())
            });
            let mut rest = &octets[..];
            for size in &sizes {
                let mut datagram = [0; 2000];
                let length = to.0.recv(&mut datagram).expect("all of them arrive");
                assert_eq!(length, *size);
                assert_eq!(datagram[..length], rest[..length]);
                rest = &rest[length..];
            }
            std::mem::swap(&mut from, &mut to);
        }
    }

    /// A device that somebody made for us is used as it is, or refused with the reason.
    fn taps_that_are_there_already() {
        let ip = |arguments: &str| {
            let output = Command::new("ip").args(arguments.split(' ')).output().expect("iproute2 is installed");
            assert!(output.status.success(), "ip {arguments}: {output:?}");
        };
        let refusal = |result: Result<FrameIo, IoError>| match result {
            Err(error) => error.to_string(),
            Ok(_) => panic!("it was opened"),
        };
        ip("tuntap add dev one mode tap");
        ip("tuntap add dev many mode tap multi_queue");
        ip("tuntap add dev tun0 mode tun");
        for device in ["one", "many"] {
            set_up(device);
            let mut port = tap::open(device).expect("nobody else has it");
            assert!(port.transmitter.transmit_frame(&[0xff; 60], Offload::default()).expect("it is up"));
        }
        let one = tap::open("one").expect("it was closed");
        assert!(refusal(tap::open("one")).contains("another program has it open"));
        let queues = tap::open_queues("many", 3).expect("three of many");
        assert_eq!(queues.len(), 3);
        drop(one);
        assert_eq!(tap::open_queues("one", 1).expect("one is what it has").len(), 1);
        let too_many = tap::open_queues("one", 2).map(|mut queues| queues.remove(0));
        assert!(refusal(too_many).contains("single queue"));
        assert!(refusal(tap::open("tun0")).contains("no TAP device"));
        assert!(refusal(tap::open("lo")).contains("no TAP device"));
        // All of these outlive us; what we made does not, and holds more frames than the kernel's default.
        drop(tap::open("ours").expect("there is none of that name"));
        assert!(if_nametoindex("ours").is_err() && if_nametoindex("one").is_ok());
        let _ours = tap::open("ours").expect("there is none of that name");
        let shown = Command::new("ip").args(["link", "show", "ours"]).output().expect("iproute2 is installed");
        assert!(String::from_utf8_lossy(&shown.stdout).contains("qlen 4096"), "{shown:?}");
    }

    /// Several queues of one device: all of them send, and the kernel spreads flows over them.
    fn tap_with_two_queues() {
        let host = Namespace::new();
        let mut queues = host.run(|| tap::open_queues("h0", 2).expect("we are privileged here"));
        host.run(|| {
            no_ipv6("h0");
            set_up("h0");
            add_address("h0", A, 24);
            add_neighbor("h0", B, OTHER);
        });
        let socket = host.run(|| UdpSocket::bind((A, 5001)).expect("the address is ours"));
        socket.set_read_timeout(Some(common::PATIENCE)).expect("a time");
        for port in 7000..7064 {
            socket.send_to(b"there", (B, port)).expect("there is a route");
        }
        let mut counts = [0, 0];
        until("all datagrams", || {
            for (queue, count) in queues.iter_mut().zip(&mut counts) {
                for mut frame in receive_waiting(&mut queue.receiver) {
                    if (7000..7064).any(|port| is_udp_to(&frame, port)) {
                        *count += 1;
                        turn_round(&mut frame.bytes);
                        let taken = queue.transmitter.transmit_frame(&frame.bytes, frame.offload);
                        assert!(taken.expect("h0 is there"));
                    }
                }
            }
            (counts[0] + counts[1] == 64).then_some(())
        });
        assert!(counts[0] > 0 && counts[1] > 0, "{counts:?}");
        for _ in 0..64 {
            socket.recv_from(&mut [0; 100]).expect("a good checksum");
        }
        // One queue more fits; one without them does not.
        assert!(host.run(|| tap::open("h0")).is_ok());
    }

    fn a_tap_in_use_is_refused() {
        let _first = tap::open("h0").expect("we are privileged here");
        assert!(matches!(tap::open("h0"), Err(IoError::Open { .. })));
    }

    /// Down takes nothing and has nothing; deleted is gone.
    fn a_tap_may_go_down_and_away() {
        let mut port = tap::open("h0").expect("we are privileged here");
        no_ipv6("h0");
        let frame = [0xff; 60];
        assert!(!port.transmitter.transmit_frame(&frame, Offload::default()).expect("down is no error"));
        set_up("h0");
        assert!(port.transmitter.transmit_frame(&frame, Offload::default()).expect("it is up"));
        set_down("h0");
        assert_eq!(receive_waiting(&mut port.receiver).len(), 0);
        delete_link("h0");
        assert!(wait(&port.receiver, Duration::from_secs(1)), "poll tells");
        assert!(matches!(port.receiver.receive(), Err(IoError::DeviceGone)));
        assert!(matches!(
            port.transmitter.transmit_frame(&frame, Offload::default()),
            Err(IoError::DeviceGone)
        ));
        // And the name is free again.
        tap::open("h0").expect("we are privileged here");
    }

    /// The box speaks from its lan address, and hears what is sent to it.
    fn tun_both_ways() {
        let mut port = host_tun::open("genkan0").expect("we are privileged here");
        let config = HostNetworkConfig {
            lans: vec!["192.0.2.1/24".parse().expect("a prefix")],
            routes: vec![],
            mtu: 1500,
        };
        let _network = HostNetwork::configure("genkan0", &config).expect("we are privileged here");
        let socket = UdpSocket::bind(("0.0.0.0", 5001)).expect("the port is free");
        socket.set_read_timeout(Some(common::PATIENCE)).expect("a time");
        socket.send_to(b"there", (B, 7)).expect("there is a route");
        let frames = receive_until(&mut port.receiver, "the datagram", |frames| {
            frames.iter().any(|frame| is_udp_to(frame, 7))
        });
        let mut frame = frames.into_iter().find(|frame| is_udp_to(frame, 7)).expect("just seen");
        assert_eq!(frame.offload, Offload::default());
        assert_eq!(frame.bytes[..6], host_tun::ROUTER_MAC.0);
        assert_eq!(frame.bytes[6..12], host_tun::HOST_MAC.0);
        // The lan's address as source, and a finished checksum.
        assert_eq!(frame.bytes[26..30], A.octets());
        let pseudo = [&frame.bytes[26..34], &[0, 17, 0, 13]].concat();
        assert_eq!(checksum::finish(checksum::sum(&pseudo) + checksum::sum(&frame.bytes[34..47])), 0);

        turn_round(&mut frame.bytes);
        assert!(port.transmitter.transmit_frame(&frame.bytes, Offload::default()).expect("it is there"));
        // ARP goes nowhere.
        let mut arp = frame.bytes.clone();
        arp[12..14].copy_from_slice(&[8, 6]);
        assert!(!port.transmitter.transmit_frame(&arp, Offload::default()).expect("it is there"));
        let mut octets = [0; 100];
        let (length, from) = socket.recv_from(&mut octets).expect("a good checksum");
        assert_eq!((&octets[..length], from), (&b"there"[..], (B, 7).into()));
    }

    /// A large TCP write comes in packets of the MTU, finished: a plain TUN has no super-frames.
    fn tun_has_no_super_frames() {
        let mut port = host_tun::open("genkan0").expect("we are privileged here");
        let config = HostNetworkConfig {
            lans: vec!["192.0.2.1/24".parse().expect("a prefix")],
            routes: vec![],
            mtu: 1400,
        };
        let _network = HostNetwork::configure("genkan0", &config).expect("we are privileged here");
        let socket = UdpSocket::bind(("0.0.0.0", 5001)).expect("the port is free");
        socket.send_to(&[7; 5000], (B, 7)).expect("there is a route");
        let frames = receive_until(&mut port.receiver, "four fragments", |frames| {
            frames.iter().filter(|frame| frame.bytes[12..14] == [8, 0]).count() == 4
        });
        assert!(frames.iter().all(|frame| frame.bytes.len() <= 14 + 1400));
    }

    /// Addresses, routes and the default route come, change and go.
    fn host_network_follows_its_configuration() {
        let route = |to: &str| {
            // The kernel's own choice of a source address tells which route it took.
            let probe = UdpSocket::bind("0.0.0.0:0").expect("a port is free");
            probe.connect((to, 9)).ok()?;
            Some(probe.local_addr().expect("it is connected").ip().to_string())
        };
        let config = |lans: &[&str], routes: &[(&str, &str)]| HostNetworkConfig {
            lans: lans.iter().map(|lan| lan.parse().expect("a prefix")).collect(),
            routes: routes
                .iter()
                .map(|(to, source)| (to.parse().expect("a prefix"), source.parse().expect("an address")))
                .collect(),
            mtu: 1400,
        };
        let _port = host_tun::open("genkan0").expect("we are privileged here");
        assert_eq!(route("192.168.0.7"), None);
        let mut network = HostNetwork::configure(
            "genkan0",
            &config(&["192.168.0.1/24", "192.168.1.1/24"], &[("10.20.0.0/16", "192.168.1.1")]),
        )
        .expect("we are privileged here");
        assert_eq!(link("genkan0").mtu, 1400);
        assert_eq!(route("192.168.0.7").as_deref(), Some("192.168.0.1"));
        assert_eq!(route("192.168.1.7").as_deref(), Some("192.168.1.1"));
        assert_eq!(route("10.20.3.4").as_deref(), Some("192.168.1.1"));
        // No other default route: ours leads out.
        assert!(network.has_default_route());
        assert_eq!(route("198.51.100.7").as_deref(), Some("192.168.0.1"));
        assert_eq!(route("192.168.0.1").as_deref(), Some("192.168.0.1"));

        network.update(&config(&["192.168.1.1/24"], &[])).expect("we are privileged here");
        assert_eq!(route("192.168.1.7").as_deref(), Some("192.168.1.1"));
        assert_eq!(route("192.168.0.7").as_deref(), Some("192.168.1.1"), "by the default route");
        drop(network);
        assert_eq!(route("192.168.1.7"), None);
        assert_eq!(route("198.51.100.7"), None);
    }

    /// A box that has a way out keeps it.
    fn an_existing_default_route_stays() {
        let host = Namespace::new();
        common::wire("eth0", &host, "h0");
        add_address("eth0", A, 24);
        common::add_default_route("eth0", B);
        let _port = host_tun::open("genkan0").expect("we are privileged here");
        let config =
            HostNetworkConfig { lans: vec!["192.168.0.1/24".parse().expect("a prefix")], routes: vec![], mtu: 1500 };
        let network = HostNetwork::configure("genkan0", &config).expect("we are privileged here");
        assert!(!network.has_default_route());
        let probe = UdpSocket::bind("0.0.0.0:0").expect("a port is free");
        probe.connect(("198.51.100.7", 9)).expect("there is a route");
        assert_eq!(probe.local_addr().expect("it is connected").ip(), A);
    }
}
