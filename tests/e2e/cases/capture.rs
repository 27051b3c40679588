//! `genkan capture` on the running router.

use std::fs::File;
use std::io::Read;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use genkan_lab::topology::Role::{Nas, Remote, Router};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
use pcap_file::pcapng::{Block, PcapNgReader};

use crate::cases;
use crate::fixture::{Lab, SILENCE, WEB, wait_for};
use crate::outcome::Outcome;
use crate::programs::need;
use crate::servers::{Server, connect, connect_within, exchange, greeting};
use crate::setup;

cases![;
    only_genkan:
    a_forward_is_seen_before_and_after,
    a_dropped_packet_says_why,
    there_is_one_capture_at_a_time,
    a_capture_ends_with_the_router,
];

/// A frame of TCP in a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Frame {
    interface: String,
    is_inbound: bool,
    packet: u64,
    comment: String,
    source: SocketAddrV4,
    destination: SocketAddrV4,
}

/// What is in the file so far, read by another program than the one that wrote it.
fn frames(file: &PathBuf) -> Vec<Frame> {
    let Ok(file) = File::open(file) else { return Vec::new() };
    let Ok(mut reader) = PcapNgReader::new(file) else { return Vec::new() };
    let mut frames = Vec::new();
    while let Some(block) = reader.next_block() {
        let Block::EnhancedPacket(packet) = block.expect("whole blocks at any moment").into_owned() else {
            continue;
        };
        let (mut flags, mut number, mut comment) = (0, 0, String::new());
        for option in &packet.options {
            match option {
                EnhancedPacketOption::Comment(text) => comment = text.to_string(),
                EnhancedPacketOption::Flags(value) => flags = *value,
                // epb_packetid: in the byte order of the file.
                EnhancedPacketOption::Unknown(option) if option.code == 5 => {
                    number = u64::from_le_bytes(option.value[..].try_into().expect("8 octets"));
                }
                _ => {}
            }
        }
        let name =
            reader.interfaces()[packet.interface_id as usize].options.iter().find_map(
                |option| match option {
                    InterfaceDescriptionOption::IfName(name) => Some(name.to_string()),
                    _ => None,
                },
            );
        let parsed = LaxSlicedPacket::from_ethernet(&packet.data).expect("the headers are whole");
        let (Some(LaxNetSlice::Ipv4(ip)), Some(TransportSlice::Tcp(tcp))) = (parsed.net, parsed.transport)
        else {
            panic!("the filter was for TCP: {packet:?}");
        };
        let header = ip.header();
        frames.push(Frame {
            interface: name.expect("ports have names"),
            is_inbound: flags & 3 == 1,
            packet: number,
            comment,
            source: SocketAddrV4::new(header.source_addr(), tcp.source_port()),
            destination: SocketAddrV4::new(header.destination_addr(), tcp.destination_port()),
        });
    }
    frames
}

/// `genkan capture` beside the test.
struct Capture(Child);

impl Capture {
    fn start(lab: &Lab, arguments: &[&str]) -> Capture {
        let mut command = lab.router(|router| router.command(&[&["capture"], arguments].concat()));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = lab.host(Router).start(&mut command).expect("the program is there");
        let mut said = [0; 9];
        child.stderr.as_mut().expect("a pipe").read_exact(&mut said).expect("it begins");
        assert_eq!(&said, b"capturing");
        Capture(child)
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id() as i32), signal).expect("it runs");
    }

    /// Its exit status, standard output and standard error.
    fn end(mut self) -> (Option<i32>, String, String) {
        let (mut out, mut err) = (String::new(), String::new());
        self.0.stdout.take().expect("a pipe").read_to_string(&mut out).expect("it is text");
        self.0.stderr.take().expect("a pipe").read_to_string(&mut err).expect("it is text");
        (self.0.wait().expect("it is ours").code(), out, err)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn a_forward_is_seen_before_and_after() -> Outcome {
    need("curl")?;
    let lab = Lab::start(WEB);
    let _server = Server::http(&lab.host(Nas), 8080, "a page\n");
    let fetch = || {
        let url = format!("http://{}/", lab.address.wan);
        lab.run(Remote, "curl", &["--silent", "--max-time", "5", &url]).expect_ok();
    };
    // From now on both neighbours are known.
    fetch();
    let file = lab.config_file().with_file_name("web.pcapng");
    let path = file.to_string_lossy();
    let capture = Capture::start(&lab, &["--port", "wan", "--filter", "tcp port 80", "-w", &path]);
    lab.run(Remote, "ping", &["-c", "1", &lab.address.wan.to_string()]).expect_ok();
    fetch();
    let is_end = |frame: &Frame| frame.comment.contains("answer");
    wait_for("answers are in the file", || frames(&file).iter().filter(|frame| is_end(frame)).count() >= 4);
    capture.signal(Signal::SIGINT);
    let (code, _, said) = capture.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(" packets captured\n"), "{said}");

    let frames = frames(&file);
    let (outside, inside) = (lab.wan(80), SocketAddrV4::new(lab.address.nas, 8080));
    let first = &frames[0];
    let client = first.source;
    assert_eq!((first.interface.as_str(), first.is_inbound), ("wan", true), "{frames:#?}");
    assert_eq!((*client.ip(), first.destination), (lab.address.remote, outside));
    assert_eq!(first.comment.split("; checksum").next(), Some("sent out of home; forward web"));
    // The same packet.
    let second = &frames[1];
    assert_eq!((second.interface.as_str(), second.is_inbound), ("home", false), "{frames:#?}");
    assert_eq!((second.source, second.destination, second.packet), (client, inside, first.packet));
    assert!(second.comment.starts_with("came in by wan; forward web"), "{}", second.comment);
    // Every packet is there twice, and looks on either side as it has to.
    for pair in frames.chunks(2) {
        let [before, after] = pair else { panic!("a packet without another side: {pair:?}") };
        assert_eq!((before.packet, before.is_inbound, after.is_inbound), (after.packet, true, false));
        let ends = if before.interface == "wan" {
            [(client, outside), (client, inside)]
        } else {
            assert!(before.comment.contains("sent out of wan; forward web, answer"), "{}", before.comment);
            [(inside, client), (outside, client)]
        };
        assert_eq!([before, after].map(|frame| (frame.source, frame.destination)), ends);
    }
    // The router without its devices does the same again.
    let out = file.with_file_name("replayed");
    let (config, binary) = (lab.config_file(), setup::binary());
    let texts = [&binary, &config, &file, &out].map(|path| path.to_string_lossy());
    let replay =
        ["replay", "--config", &texts[1], "--capture", &texts[2], "--out", &texts[3], "--format", "json"];
    let said = lab.run(Router, &texts[0], &replay).expect_ok();
    let report: serde_json::Value = serde_json::from_str(&said.stdout).expect("it is JSON");
    let count = |list: &str, port: &str| {
        let rows = report[list].as_array().expect("a list");
        rows.iter().find(|row| row["port"] == port).and_then(|row| row["frames"].as_u64())
    };
    for (port, other) in [("wan", "home"), ("home", "wan")] {
        let came = frames.iter().filter(|frame| frame.is_inbound && frame.interface == port).count() as u64;
        assert_eq!(count("inputs", port), Some(came), "{report:#}");
        // And what the router says itself.
        assert!(count("outputs", other) >= Some(came), "{report:#}");
    }
    assert_eq!(report["counters"]["drops"].as_array().map(Vec::len), Some(0), "{report:#}");
    Ok(())
}

fn a_dropped_packet_says_why() -> Outcome {
    let lab = Lab::start(&format!("{WEB}from = [\"192.0.2.0/24\"]\n"));
    let closed = |port: u16, count: &str| {
        let filter = format!("tcp dst port {port}");
        let capture = Capture::start(&lab, &["--filter", &filter, "--count", count, "--format", "json"]);
        assert!(connect_within(&lab.host(Remote), lab.wan(port), SILENCE).is_err(), "port {port} is open");
        let (code, out, said) = capture.end();
        assert_eq!(code, Some(0), "{said}");
        assert!(said.ends_with("1 packet captured\n"), "{said}");
        let row: serde_json::Value = serde_json::from_str(&out).expect("one line of JSON");
        assert_eq!((row["port"].as_str(), row["way"].as_str()), (Some("wan"), Some("in")));
        row["comment"].as_str().expect("a text").to_owned()
    };
    assert!(closed(81, "1").starts_with("dropped, no_mapping: Nothing takes this packet from outside"));
    let refused = closed(80, "1");
    assert!(
        refused.starts_with("dropped, forward_source: ") && refused.contains("; forward web"),
        "{refused}"
    );
    Ok(())
}

fn there_is_one_capture_at_a_time() -> Outcome {
    let lab = Lab::start("");
    let capture = Capture::start(&lab, &[]);
    let refused = lab.genkan(&["capture", "--for", "1s"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("another capture is running"), "{refused:?}");
    // Also when the first one has no time to say good-bye.
    capture.signal(Signal::SIGKILL);
    wait_for("the next one may begin", || lab.genkan(&["capture", "--for", "1s"]).ok);

    let misspelt = lab.genkan(&["capture", "--filter", "tcp prot 80"]);
    assert_eq!(misspelt.code, Some(2), "{misspelt:?}");
    assert!(
        misspelt.stderr.contains("at character 5") && misspelt.stderr.contains("    ^^^^"),
        "{misspelt:?}"
    );
    let elsewhere = lab.genkan(&["capture", "--port", "attic"]);
    assert_eq!(elsewhere.code, Some(1), "{elsewhere:?}");
    assert!(elsewhere.stderr.contains("there are: wan, home"), "{elsewhere:?}");
    // The router says who captured.
    lab.router(|router| assert!(router.log().contains("capture begins"), "{}", router.log()));
    Ok(())
}

fn a_capture_ends_with_the_router() -> Outcome {
    let lab = Lab::start(WEB);
    let _server = Server::tcp(&lab.host(Nas), 8080);
    let capture = Capture::start(&lab, &["--filter", "tcp"]);
    let mut stream = connect(&lab.host(Remote), lab.wan(80)).expect("the forward is open");
    greeting(&mut stream);
    exchange(&mut stream, &[b'x'; 1000]);
    assert_eq!(lab.stop_router(), Some(0));
    let (code, out, said) = capture.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(out.lines().any(|line| line.contains("[came in by wan; forward web")), "{out}");
    Ok(())
}
