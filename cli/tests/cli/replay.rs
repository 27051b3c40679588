//! `genkan replay`: captures in, captures and counters out.

use std::path::Path;
use std::time::Duration;

use crate::support::{HOME, Scratch, genkan};
use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use genkan_io::pcap_file::{PcapFileReceiver, PcapFileTransmitter};

const ROUTER: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];
const GATEWAY: [u8; 6] = [0x52, 0x54, 0, 0, 0, 2];
const LAPTOP_MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 3];
const LAPTOP: [u8; 4] = [192, 168, 0, 20];
const REMOTE: [u8; 4] = [198, 51, 100, 7];
const EXTERNAL: [u8; 4] = [203, 0, 113, 1];

fn udp(macs: ([u8; 6], [u8; 6]), from: ([u8; 4], u16), to: ([u8; 4], u16), payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(macs.0, macs.1).ipv4(from.0, to.0, 64).udp(from.1, to.1);
    let mut frame = Vec::with_capacity(builder.size(payload.len()));
    builder.write(&mut frame, payload).expect("memory takes all");
    frame
}

fn capture(path: &Path, frames: &[(u64, Vec<u8>)]) {
    let mut writer = PcapFileTransmitter::create(path).expect("created");
    for (millis, frame) in frames {
        writer.write_frame(Duration::from_millis(1_700_000_000_000 + millis), frame).expect("written");
    }
    writer.finish().expect("finished");
}

/// Time in milliseconds, source and destination endpoint of each UDP datagram of a capture.
fn datagrams(path: &Path) -> Vec<(u64, String, String)> {
    let mut reader = PcapFileReceiver::open(path).expect("there");
    let mut all = Vec::new();
    while let Some(frame) = reader.next_frame().expect("well formed") {
        let packet = SlicedPacket::from_ethernet(&frame.bytes).expect("well formed");
        let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Udp(udp))) = (packet.net, packet.transport)
        else {
            continue;
        };
        let endpoint = |address: std::net::Ipv4Addr, port| format!("{address}:{port}");
        let header = ip.header();
        all.push((
            frame.timestamp.as_millis() as u64 - 1_700_000_000_000,
            endpoint(header.source_addr(), udp.source_port()),
            endpoint(header.destination_addr(), udp.destination_port()),
        ));
    }
    all
}

#[test]
fn a_question_goes_out_and_its_answer_comes_in() {
    let scratch = Scratch::new("replay");
    let config = scratch.file("home.toml", HOME);
    let (wan, lan, out) = (scratch.path("w.pcap"), scratch.path("l.pcap"), scratch.path("out"));
    capture(
        &lan,
        &[
            (0, udp((LAPTOP_MAC, ROUTER), (LAPTOP, 4000), (REMOTE, 53), b"question")),
            // Ten minutes later the mapping is gone; the inside host is asked nothing.
            (600_020, udp((LAPTOP_MAC, ROUTER), (LAPTOP, 4001), (REMOTE, 53), b"late")),
        ],
    );
    capture(
        &wan,
        &[
            // What the captured router had sent itself: shows its MAC address, and is left out.
            (1, udp((ROUTER, GATEWAY), (EXTERNAL, 4000), (REMOTE, 53), b"question")),
            (20, udp((GATEWAY, ROUTER), (REMOTE, 53), (EXTERNAL, 4000), b"answer")),
            (600_000, udp((GATEWAY, ROUTER), (REMOTE, 53), (EXTERNAL, 4000), b"too late")),
        ],
    );
    let path = |path: &Path| path.display().to_string();
    let arguments = [
        "replay",
        "--config",
        &path(&config),
        "--wan",
        &path(&wan),
        "--lan",
        &path(&lan),
        "--out",
        &path(&out),
    ]
    .map(str::to_owned);
    let said = genkan(&arguments);
    assert_eq!(said.code, Some(0), "{said:?}");
    let sent = datagrams(&out.join("wan.pcap"));
    let expected = [
        (0, "203.0.113.1:4000".to_owned(), "198.51.100.7:53".to_owned()),
        (600_020, "203.0.113.1:4001".to_owned(), "198.51.100.7:53".to_owned()),
    ];
    assert_eq!(sent, expected);
    let came = datagrams(&out.join("home.pcap"));
    assert_eq!(came, [(20, "198.51.100.7:53".to_owned(), "192.168.0.20:4000".to_owned())]);
    assert!(said.stdout.contains("no_mapping"), "the late answer is counted:\n{}", said.stdout);

    let mut arguments = arguments.to_vec();
    arguments.extend(["--format".to_owned(), "json".to_owned()]);
    let said = genkan(&arguments);
    let report: serde_json::Value = serde_json::from_str(&said.stdout).expect("JSON");
    assert_eq!((&report["inputs"][0]["frames"], &report["inputs"][0]["from_router"]), (&2.into(), &1.into()));
    assert_eq!(report["sessions"], 1);
}

#[test]
fn a_file_that_is_no_capture_is_named() {
    let scratch = Scratch::new("replay-wrong");
    let config = scratch.file("home.toml", HOME);
    let wrong = scratch.file("notes.txt", "no capture");
    let out = scratch.path("out");
    let arguments: [&std::ffi::OsStr; 7] = [
        "replay".as_ref(),
        "--config".as_ref(),
        config.as_os_str(),
        "--wan".as_ref(),
        wrong.as_os_str(),
        "--out".as_ref(),
        out.as_os_str(),
    ];
    let said = genkan(arguments);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("notes.txt"), "{said:?}");
    assert_eq!(genkan(&arguments[..3]).code, Some(2), "no --out");
}
