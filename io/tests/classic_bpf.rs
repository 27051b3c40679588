//! Which frames a packet socket takes.

mod common;

use std::os::fd::{AsFd, AsRawFd};

use common::{Namespace, link, until, wire};
use genkan_engine::frame::Offload;
use genkan_io::af_packet::{self, AfPacketOptions};
use genkan_io::classic_bpf::take_only_frames_for_others;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, socket};

const SOMEBODY: [u8; 6] = [2, 0, 0, 0, 0, 9];
const BROADCAST: [u8; 6] = [0xff; 6];

fn frame(destination: [u8; 6], ethertype: u16, number: u8) -> Vec<u8> {
    let mut frame = [&destination[..], &[2, 0, 0, 0, 0, 1], &ethertype.to_be_bytes()].concat();
    frame.resize(1514, number);
    frame
}

namespace_tests! {
    fn what_the_box_receives_takes_no_room() {
        let host = Namespace::new();
        wire("r0", &host, "h0");
        let own = link("r0").mac.0;
        let family = AddressFamily::Packet;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let listening = socket(family, SockType::Raw, flags, SockProtocol::EthAll).expect("packet sockets");
        take_only_frames_for_others(listening.as_fd()).expect("it is a socket");
        let mut sender = host.run(|| af_packet::open("h0", &AfPacketOptions::default()).expect("the device exists"));
        let mut send = |frame: &[u8]| {
            until("room", || {
                let sent = sender.transmitter.transmit_frame(frame, Offload::default()).expect("h0 is there");
                sent.then_some(())
            });
        };
        // More than a socket's buffer holds as it comes, some 200 KB.
        for number in 0..200 {
            send(&frame(own, 0x0800, number));
            send(&frame(BROADCAST, 0x0800, number));
        }
        let for_others = [frame(SOMEBODY, 0x0800, 201), frame(BROADCAST, 0x0806, 202), frame(SOMEBODY, 0x86dd, 203)];
        for frame in &for_others {
            send(frame);
        }
        let mut buffer = [0; 2048];
        for expected in &for_others {
            let length = until("a frame", || {
                match recv(listening.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                    Err(Errno::EAGAIN) => None,
                    received => Some(received.expect("it is open")),
                }
            });
            assert!(buffer[..length] == expected[..], "a frame with {} came, not {}", buffer[14], expected[14]);
        }
        assert_eq!(recv(listening.as_raw_fd(), &mut buffer, MsgFlags::empty()), Err(Errno::EAGAIN));
    }
}
