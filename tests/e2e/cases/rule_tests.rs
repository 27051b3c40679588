//! `genkan test --live`: the same tests with the real router and real sockets.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
use pcap_file::pcapng::{Block, PcapNgReader};

use crate::cases;
use crate::outcome::Outcome;
use crate::programs::Said;
use crate::setup;

cases![
    ; only_genkan:
    shipped_tests_have_the_same_verdicts_live_and_offline,
    what_is_seen_is_the_same_live_and_offline,
    a_failing_test_leaves_what_really_passed,
];

fn library() -> PathBuf {
    setup::root().join("config/examples/tests")
}

fn test(folder: &Path, more: &[&str], code: i32) -> BTreeMap<String, serde_json::Value> {
    let mut command = Command::new(setup::binary());
    command.arg("test").arg(folder).args(["--format", "json", "--artifacts"]).arg(folder.join("artifacts"));
    command.args(more).env("LC_ALL", "C").stdin(Stdio::null());
    let said = Said::from(command.output().expect("the program is there"));
    assert_eq!(said.code, Some(code), "{said:?}");
    let files: serde_json::Value = serde_json::from_str(&said.stdout).expect("it is JSON");
    let files = files.as_array().expect("there is a list of files").iter();
    let tests = files.flat_map(|file| {
        let name = file["file"].as_str().expect("it has a name");
        let tests = file["tests"].as_array().expect("it has tests");
        tests.iter().map(move |test| {
            let test_name = test["name"].as_str().expect("it has a name");
            (format!("{name}: {test_name}"), test.clone())
        })
    });
    tests.collect()
}

/// What can be done live, and how much cannot.
fn live(folder: &Path, code: i32) -> (BTreeMap<String, serde_json::Value>, usize) {
    let mut tests = test(folder, &["--live"], code);
    let all = tests.len();
    tests.retain(|_, test| test["outcome"] != "offline_only");
    let offline_only = all - tests.len();
    (tests, offline_only)
}

fn shipped_tests_have_the_same_verdicts_live_and_offline() -> Outcome {
    let offline = test(&library(), &[], 0);
    let (live, offline_only) = live(&library(), 0);
    // Dates, hours of silence, and one whose two ends would be on one side.
    assert_eq!((live.len(), offline_only), (offline.len() - 12, 12));
    for (name, test) in &live {
        assert_eq!(test["outcome"], offline[name]["outcome"], "{name}");
    }
    Ok(())
}

/// With an expectation that nothing fulfils, every test tells what it saw: which target, which source, which reason.
fn what_is_seen_is_the_same_live_and_offline() -> Outcome {
    let folder = std::env::temp_dir().join(format!("genkan-e2e-rules-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("the temporary folder can be written");
    for name in ["dmz", "nas", "two-consoles"] {
        let file = format!("{name}.toml");
        fs::copy(library().join(&file), folder.join(&file)).expect("the library is in the tree");
        let file = format!("{name}.test.toml");
        let text = fs::read_to_string(library().join(&file)).expect("the library is in the tree");
        fs::write(folder.join(&file), expecting_no_answer(&text)).expect("the folder can be written");
    }
    let offline = test(&folder, &[], 1);
    let (live, offline_only) = live(&folder, 1);
    assert_eq!((live.len(), offline_only), (offline.len(), 0));
    assert!(live.len() > 15, "{}", live.len());
    for (name, test) in &live {
        let said = |test: &serde_json::Value| [test["outcome"].clone(), test["seen"].clone()];
        assert_eq!(said(test), said(&offline[name]), "{name}");
    }
    fs::remove_dir_all(&folder).expect("it is ours");
    Ok(())
}

/// The tests of a file that have no steps and are about one packet, each expecting that the router answers itself.
fn expecting_no_answer(text: &str) -> String {
    let mut file: toml::Table = text.parse().expect("it is TOML");
    let tests = file.get_mut("test").and_then(toml::Value::as_array_mut).expect("it has tests");
    tests.retain(|test| {
        let behaves = test.get("expect").is_some_and(|expect| expect.get("mapping").is_some());
        !behaves && ["step", "connections"].iter().all(|key| test.get(*key).is_none())
    });
    for test in tests {
        let test = test.as_table_mut().expect("a test is a table");
        test.insert("expect".to_owned(), toml::Value::String("answered".to_owned()));
    }
    toml::to_string(&file).expect("it was TOML")
}

/// SYNs of a capture, read by another program than the one that wrote it: interface, whether it came in by the router's
/// port, source and destination.
fn syns(file: &Path) -> BTreeSet<(String, bool, SocketAddrV4, SocketAddrV4)> {
    let file = fs::File::open(file).expect("the capture is there");
    let mut reader = PcapNgReader::new(file).expect("it is pcapng");
    let mut found = BTreeSet::new();
    while let Some(block) = reader.next_block() {
        let Block::EnhancedPacket(packet) = block.expect("the blocks are whole").into_owned() else {
            continue;
        };
        let flags = packet.options.iter().find_map(|option| match option {
            EnhancedPacketOption::Flags(flags) => Some(*flags),
            _ => None,
        });
        let options = &reader.interfaces()[packet.interface_id as usize].options;
        let name = options.iter().find_map(|option| match option {
            InterfaceDescriptionOption::IfName(name) => Some(name.to_string()),
            _ => None,
        });
        let parsed = LaxSlicedPacket::from_ethernet(&packet.data).expect("the headers are whole");
        let (Some(LaxNetSlice::Ipv4(ip)), Some(TransportSlice::Tcp(tcp))) = (parsed.net, parsed.transport)
        else {
            continue;
        };
        if tcp.syn() && !tcp.ack() {
            let source = SocketAddrV4::new(ip.header().source_addr(), tcp.source_port());
            let destination = SocketAddrV4::new(ip.header().destination_addr(), tcp.destination_port());
            found.insert((
                name.expect("ports have names"),
                flags.map(|it| it & 3) == Some(1),
                source,
                destination,
            ));
        }
    }
    found
}

/// A wrong expectation: the packet arrives, and was not to. The next test begins anew.
fn a_failing_test_leaves_what_really_passed() -> Outcome {
    let folder = std::env::temp_dir().join(format!("genkan-e2e-live-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("the temporary folder can be written");
    fs::copy(library().join("web-server.toml"), folder.join("web-server.toml")).expect("it is in the tree");
    let text = r#"
config = "web-server.toml"

[[test]]
name     = "nobody gets in"
protocol = "tcp"
from     = "198.51.100.7"
to       = "wan:80"
expect   = "refused"

[[test]]
name     = "nor somebody else"
protocol = "tcp"
from     = "198.51.100.8"
to       = "wan:80"
expect   = "refused"
"#;
    fs::write(folder.join("wrong.test.toml"), text).expect("the folder can be written");
    let (tests, offline_only) = live(&folder, 1);
    assert_eq!((tests.len(), offline_only), (2, 0));
    for (name, source) in [("nobody gets in", "198.51.100.7"), ("nor somebody else", "198.51.100.8")] {
        let (_, test) = tests.iter().find(|(test, _)| test.ends_with(name)).expect("it was run");
        let capture = test["capture"].as_str().expect("a failing test leaves a capture");
        let source = SocketAddrV4::new(source.parse().expect("an address"), 40_000);
        let endpoint = |text: &str| text.parse::<SocketAddrV4>().expect("an endpoint");
        // On each side, before and after; perhaps sent again.
        let expected = [
            ("home".to_owned(), false, source, endpoint("192.168.0.10:8080")),
            ("wan".to_owned(), true, source, endpoint("203.0.113.1:80")),
        ];
        assert_eq!(syns(Path::new(capture)), BTreeSet::from(expected), "{capture}");
        let trace = &test["traces"][0];
        assert!(trace["packet"].as_str().is_some_and(|it| it.contains(&source.to_string())), "{trace:#}");
        assert!(test["traced"].as_str().expect("it is said").contains("simulated"), "{test:#}");
    }
    // As people read it.
    let mut command = Command::new(setup::binary());
    command.args(["test", "--live", "--filter", "nobody", "--artifacts"]).arg(folder.join("artifacts"));
    command.arg(folder.join("wrong.test.toml")).env("LC_ALL", "C").stdin(Stdio::null());
    let said = Said::from(command.output().expect("the program is there"));
    assert_eq!(said.code, Some(1), "{said:?}");
    for part in ["simulated router", "forward \"", "all frames: ", "-nobody-gets-in.pcapng"] {
        assert!(said.stdout.contains(part), "{part}: {}", said.stdout);
    }
    fs::remove_dir_all(&folder).expect("it is ours");
    Ok(())
}
