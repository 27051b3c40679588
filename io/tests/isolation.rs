//! The kernel behind a port must be as if it were not there.

mod common;

use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{
    Frame, Namespace, add_address, delete_link, in_namespace, link, receive_until, receive_waiting, until,
    wire,
};
use genkan_engine::frame::Offload;
use genkan_engine::wire::checksum;
use genkan_io::af_packet::{self, AfPacketOptions};
use genkan_io::isolation::{Isolation, IsolationError};
use genkan_io::{FrameIo, FrameTransmitter};

const KERNEL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const HOST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const BROADCAST: [u8; 6] = [0xff; 6];

fn open(device: &str) -> FrameIo {
    af_packet::open(device, &AfPacketOptions::default()).expect("the device exists")
}

fn ethernet(destination: [u8; 6], ethertype: u16, tag: Option<u16>, payload: &[u8]) -> Vec<u8> {
    let mut frame = [destination, HOST_MAC].concat();
    if let Some(tag) = tag {
        frame.extend_from_slice(&[0x81, 0x00]);
        frame.extend_from_slice(&tag.to_be_bytes());
    }
    frame.extend_from_slice(&ethertype.to_be_bytes());
    frame.extend_from_slice(payload);
    frame.resize(frame.len().max(60), 0);
    frame
}

/// Who has the kernel's address? Tell the host.
fn arp_request(tag: Option<u16>) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4, 0, 1];
    packet.extend_from_slice(&HOST_MAC);
    packet.extend_from_slice(&HOST.octets());
    packet.extend_from_slice(&[0; 6]);
    packet.extend_from_slice(&KERNEL.octets());
    ethernet(BROADCAST, 0x0806, tag, &packet)
}

/// An echo request to the kernel's address, or the start of a TCP connection to it.
fn ip_packet(destination_mac: [u8; 6], protocol: u8, tag: Option<u16>) -> Vec<u8> {
    let payload: Vec<u8> = match protocol {
        1 => vec![8, 0, 0xf7, 0xfd, 0, 1, 0, 1],
        _ => {
            let mut segment = vec![0x13, 0x88, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0];
            let pseudo = [&HOST.octets()[..], &KERNEL.octets(), &[0, 6, 0, 20]].concat();
            let sum = checksum::sum(&pseudo) + checksum::sum(&segment);
            segment[16..18].copy_from_slice(&checksum::finish(sum).to_be_bytes());
            segment
        }
    };
    let mut header = vec![0x45, 0, 0, (20 + payload.len()) as u8, 0, 0, 0, 0, 64, protocol, 0, 0];
    header.extend_from_slice(&HOST.octets());
    header.extend_from_slice(&KERNEL.octets());
    let sum = checksum::finish(checksum::sum(&header));
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    ethernet(destination_mac, 0x0800, tag, &[header, payload].concat())
}

/// A frame of a protocol that nobody answers: when it has come through, all before it have.
fn marker(number: u8) -> Vec<u8> {
    ethernet(BROADCAST, 0x88b5, None, &[number])
}

fn is_marker(frame: &Frame, number: u8) -> bool {
    frame.bytes[12..15] == [0x88, 0xb5, number]
}

/// A port r0 whose kernel has an address, not on r0 but on lo: a host with weak end system model answers for it even
/// so. At the other end, h0.
struct Lab {
    _host: Namespace,
    host: FrameIo,
    mac: [u8; 6],
}

impl Lab {
    fn new() -> Lab {
        let namespace = Namespace::new();
        wire("r0", &namespace, "h0");
        add_address("lo", KERNEL, 32);
        // So that the kernel has a way to answer by.
        add_address("r0", Ipv4Addr::new(192, 0, 2, 9), 24);
        let host = namespace.run(|| open("h0"));
        Lab { _host: namespace, host, mac: link("r0").mac.0 }
    }

    /// Every kind of frame that a stack would answer, `times` over.
    fn provocations(&self, times: usize) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        // A VLAN tag with VID 0 only carries a priority.
        for tag in [None, Some(0xa000)] {
            frames.push(arp_request(tag));
            for protocol in [1, 6] {
                frames.push(ip_packet(self.mac, protocol, tag));
            }
        }
        frames.iter().cycle().take(frames.len() * times).cloned().collect()
    }

    fn send(&mut self, frames: &[Vec<u8>]) {
        for frame in frames {
            let taken = self.host.transmitter.transmit_frame(frame, Offload::default());
            assert!(taken.expect("h0 is there"));
        }
    }

    /// How many frames the kernel at r0 sent, once it has had the time to answer everything sent so far.
    fn answers(&mut self, number: u8) -> usize {
        // veth hands frames on at once, in order, and answers of the stack come in the same softirq; the marker goes
        // the same way there, and back through a second port.
        let mut there = open("r0");
        self.send(&[marker(number)]);
        receive_until(&mut there.receiver, "the marker", |frames| {
            frames.iter().any(|f| is_marker(f, number))
        });
        assert!(
            there.transmitter.transmit_frame(&marker(number + 1), Offload::default()).expect("r0 is there")
        );
        let frames = receive_until(&mut self.host.receiver, "the marker", |frames| {
            frames.iter().any(|frame| is_marker(frame, number + 1))
        });
        frames.iter().filter(|frame| !is_marker(frame, number + 1)).count()
    }
}

/// The whole test, for root and for a user namespace.
fn the_kernel_answers_nothing() {
    let mut lab = Lab::new();
    // Without isolation it does answer: 3 untagged frames and 3 with a priority tag.
    let frames = lab.provocations(1);
    lab.send(&frames);
    until("the kernel's answers", || (lab.answers(0) > 0).then_some(()));

    let isolation = Isolation::new("r0").expect("we are privileged here");
    lab.answers(10);
    let mut port = open("r0");
    let frames = lab.provocations(50);
    lab.send(&frames);
    assert_eq!(lab.answers(20), 0);
    // Our tap saw every one of them.
    let seen = receive_waiting(&mut port.receiver);
    let provoking = seen.iter().filter(|frame| frame.bytes[12] == 0x08).count();
    assert_eq!(provoking, frames.len());

    // Twice is not once more: the second one is refused, and the first still works.
    assert!(matches!(Isolation::new("r0"), Err(IsolationError::Busy(_))));
    lab.send(&frames);
    assert_eq!(lab.answers(30), 0);

    drop(isolation);
    let frames = lab.provocations(1);
    lab.send(&frames);
    until("the kernel's answers", || (lab.answers(40) > 0).then_some(()));
    // And again.
    let _isolation = Isolation::new("r0").expect("the first is gone");
    lab.answers(50);
    lab.send(&frames);
    assert_eq!(lab.answers(60), 0);
}

#[test]
fn the_kernel_answers_nothing_as_root() {
    in_namespace("the_kernel_answers_nothing_as_root", false, the_kernel_answers_nothing);
}

#[test]
fn the_kernel_answers_nothing_in_a_user_namespace() {
    in_namespace("the_kernel_answers_nothing_in_a_user_namespace", true, the_kernel_answers_nothing);
}

const CHILD: &str = "GENKAN_TEST_ISOLATED_DEVICE";

/// Not a test of its own: the process that another test kills.
#[test]
fn child_process() {
    if let Some(device) = std::env::var_os(CHILD) {
        let _isolation = Isolation::new(device.to_str().expect("r0")).expect("we are privileged here");
        println!("isolated");
        loop {
            std::thread::sleep(Duration::from_secs(60));
        }
    }
}

fn isolating_child(device: &str) -> Child {
    use std::io::{BufRead, BufReader};
    let mut child = Command::new(std::env::current_exe().expect("a running test has a file"))
        .args(["child_process", "--exact", "--nocapture"])
        .env(CHILD, device)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the test runs");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    assert!(lines.any(|line| line.is_ok_and(|line| line.contains("isolated"))), "the child isolates");
    child
}

namespace_tests! {
    /// kill -9: the kernel takes the rules away with the process, and the next start is not hindered.
    fn a_killed_process_leaves_nothing() {
        let mut lab = Lab::new();
        let mut child = isolating_child("r0");
        assert!(matches!(Isolation::new("r0"), Err(IsolationError::Busy(_))));
        let frames = lab.provocations(1);
        lab.send(&frames);
        assert_eq!(lab.answers(0), 0);
        child.kill().expect("it runs");
        child.wait().expect("it is ours");
        let _isolation = until("the dead process's rules to go", || Isolation::new("r0").ok());
        lab.send(&frames);
        assert_eq!(lab.answers(10), 0);
    }

    /// A device may be deleted and made again under the same name.
    fn a_device_made_again_can_be_isolated_again() {
        let host = Namespace::new();
        wire("r0", &host, "h0");
        let isolation = Isolation::new("r0").expect("we are privileged here");
        delete_link("r0");
        drop(isolation);
        assert!(matches!(Isolation::new("r0"), Err(IsolationError::NotFound(_))));
        wire("r0", &host, "h0");
        let _isolation = Isolation::new("r0").expect("it is back");
    }

    /// Several devices, each on its own.
    fn devices_do_not_disturb_each_other() {
        let host = Namespace::new();
        wire("r0", &host, "h0");
        wire("r1", &host, "h1");
        let first = Isolation::new("r0").expect("we are privileged here");
        let _second = Isolation::new("r1").expect("we are privileged here");
        drop(first);
        assert!(matches!(Isolation::new("r1"), Err(IsolationError::Busy(_))));
        assert!(Isolation::new("r0").is_ok());
    }

    /// A firewall script that flushes everything does not open the door.
    fn a_flush_does_not_remove_it() {
        let mut lab = Lab::new();
        let _isolation = Isolation::new("r0").expect("we are privileged here");
        match Command::new("nft").args(["flush", "ruleset"]).status() {
            Ok(status) => println!("nft flush ruleset: {status}"),
            Err(error) => return println!("SKIPPED: no nft to flush with: {error}"),
        }
        let frames = lab.provocations(1);
        lab.send(&frames);
        assert_eq!(lab.answers(0), 0);
    }
}
