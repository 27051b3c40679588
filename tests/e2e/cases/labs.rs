//! Labs of any shape, from their description: `genkan lab` and what it is made of.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddrV4;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use genkan_io::pcap_file::PcapFileReceiver;
use genkan_lab::description::{Description, KernelForward, Kind, Node};
use genkan_lab::{Lab, LabError, Namespace};

use crate::cases;
use crate::cases::lab::runs;
use crate::fixture::{PATIENCE, SILENCE, wait_for};
use crate::outcome::Outcome;
use crate::programs::{Said, need, run};
use crate::servers::{self, Server, connect, connect_within, greeting};
use crate::setup;

cases![;
    only_genkan:
    computers_reach_each_other_over_cables_switches_and_kernel_routers,
    eight_labs_at_once_keep_apart,
    a_name_that_is_taken_is_refused_and_the_first_lab_stays,
    a_lab_that_stays_is_listed_used_and_leaves_nothing,
    a_router_that_is_started_by_hand_stays_within_its_lab,
    a_forward_leads_through_two_nats,
    a_carrier_shares_its_addresses_and_hides_its_customers,
    each_of_two_consoles_is_reached_at_a_port_of_its_own,
    an_office_keeps_its_networks_apart,
    private_labs_run_side_by_side_and_pass_on_the_status,
    nothing_of_a_private_lab_survives_a_kill,
    a_file_with_mistakes_builds_nothing,
    a_link_delays_loses_doubles_and_slows_down_live,
    a_change_of_a_link_counts_from_the_next_frame_on,
    the_emulator_ends_with_its_lab,
    a_capture_holds_what_passes,
];

/// A host far away, a router that forwards, the kernel's NAT, and two hosts behind it.
fn described() -> Description {
    let mut lab = Description::default();
    lab.network("far").network("wan").network("home");
    lab.node(Node::host("remote").port("eth0", "far", &["198.51.100.7/24"]).gateway("198.51.100.1"));
    let isp = Node::forwarding("isp");
    lab.node(isp.port("eth1", "far", &["198.51.100.1/24"]).port("eth0", "wan", &["203.0.113.2/24"]));
    let mut nat = Node::kernel_nat("nat", "wan0").gateway("203.0.113.2");
    nat = nat.port("wan0", "wan", &["203.0.113.1/24"]).port("lan0", "home", &["192.168.0.1/24"]);
    let Kind::KernelNat { forwards, .. } = &mut nat.kind else { unreachable!("it is a NAT") };
    let to = "192.168.0.10".parse().expect("an address");
    forwards.push(KernelForward { protocol: "tcp".into(), port: 80, to, to_port: 8080 });
    lab.node(nat);
    lab.node(Node::host("nas").port("eth0", "home", &["192.168.0.10/24"]).gateway("192.168.0.1"));
    lab.node(Node::host("laptop").port("eth0", "home", &["192.168.0.20/24"]).gateway("192.168.0.1"));
    lab
}

/// Names under /run/netns that belong to this prefix.
fn names(prefix: &str) -> Vec<String> {
    let entries = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(&format!("{prefix}-"))).collect()
}

fn computers_reach_each_other_over_cables_switches_and_kernel_routers() -> Outcome {
    need("nft")?;
    need("ping")?;
    let lab = Lab::up("labs-any", &described()).expect("it can be built");
    assert_eq!(names("labs-any").len(), 6);
    let at = |name: &str| lab.namespace(name).expect("it is there");
    for (from, to) in [("laptop", "198.51.100.7"), ("laptop", "192.168.0.10"), ("remote", "203.0.113.1")] {
        run(&at(from), "ping", &["-c1", "-W3", to]).expect_ok();
    }
    let said = run(&at("laptop"), "ping", &["-c1", "-W1", "10.9.9.9"]);
    assert!(!said.ok, "nobody has this address: {said:?}");
    drop(lab);
    assert_eq!(names("labs-any"), [""; 0]);
    Ok(())
}

fn eight_labs_at_once_keep_apart() -> Outcome {
    need("ping")?;
    thread::scope(|scope| {
        for number in 0..8 {
            scope.spawn(move || {
                let mut description = described();
                description.adjustable = number % 2 == 0;
                description.nodes.retain(|node| !matches!(node.kind, Kind::KernelNat { .. }));
                let lab = Lab::up(&format!("labs-{number}"), &description).expect("it can be built");
                let laptop = lab.namespace("laptop").expect("it is there");
                run(&laptop, "ping", &["-c1", "-W3", "192.168.0.10"]).expect_ok();
            });
        }
    });
    assert_eq!((0..8).flat_map(|number| names(&format!("labs-{number}"))).count(), 0);
    Ok(())
}

fn a_name_that_is_taken_is_refused_and_the_first_lab_stays() -> Outcome {
    let first = Lab::up("labs-twice", &described()).expect("the first one");
    let error = Lab::up("labs-twice", &described()).expect_err("the name is taken");
    assert!(matches!(error, LabError::Taken(_)), "{error}");
    let found = Lab::find("labs-twice", &described()).expect("the first one still stands");
    drop(found);
    assert_eq!(names("labs-twice").len(), 6);
    drop(first.keep());
    Lab::down("labs-twice", &described()).expect("it can be taken down by others");
    assert_eq!(names("labs-twice"), [""; 0]);
    Lab::find("labs-twice", &described()).expect_err("it is gone");
    Ok(())
}

/// `genkan lab ARGUMENTS`; what is written to its input.
fn genkan_lab(arguments: &[&str], input: &str) -> Said {
    let mut command = Command::new(setup::binary());
    command.arg("lab").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program is there");
    // Whoever does not read it has ended already.
    let _ = child.stdin.take().expect("it is a pipe").write_all(input.as_bytes());
    Said::from(child.wait_with_output().expect("it is our child"))
}

/// A lab of a topology with its routers running; dropping it takes it down.
struct Standing(&'static str);

impl Standing {
    fn up(name: &'static str, topology: &str) -> Standing {
        genkan_lab(&["up", name, "--topology", topology, "--start"], "").expect_ok();
        Standing(name)
    }

    fn at(&self, computer: &str) -> Namespace {
        Namespace::open(&format!("{}-{computer}", self.0)).expect("it is there")
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        genkan_lab(&["down", self.0], "").expect_ok();
        assert_eq!(names(self.0), [""; 0]);
    }
}

fn endpoint(text: &str) -> SocketAddrV4 {
    text.parse().expect("an endpoint")
}

fn a_lab_that_stays_is_listed_used_and_leaves_nothing() -> Outcome {
    let lab = Standing::up("labs-stay", "home");
    let listed = genkan_lab(&["list", "--format", "json"], "").expect_ok();
    let listed: serde_json::Value = serde_json::from_str(&listed.stdout).expect("it is JSON");
    let rows = listed.as_array().expect("it is a list");
    let row = rows.iter().find(|row| row["name"] == "labs-stay").expect("it is listed");
    assert_eq!((row["source"].as_str(), row["processes"].as_array().map(Vec::len)), (Some("home"), Some(1)));
    let table = genkan_lab(&["list"], "").expect_ok().stdout;
    // How wide its columns are depends on what other tests have up.
    let words = |line: &str| line.split_whitespace().take(2).eq(["labs-stay", "home"]);
    assert!(table.lines().any(words), "{table}");

    let exec = |arguments: &[&str], input: &str| {
        genkan_lab(&[&["exec", "--name", "labs-stay"], arguments].concat(), input)
    };
    let copied = exec(&["nas", "--", "cat"], "as it is\n").expect_ok();
    assert_eq!(copied.stdout, "as it is\n");
    assert_eq!(exec(&["nas", "--", "sh", "-c", "exit 7"], "").code, Some(7));
    let seen = exec(&["nas", "--", "ip", "-4", "-br", "address"], "").expect_ok();
    assert!(seen.stdout.contains("192.168.0.10/24"), "{seen:?}");
    // What programs read of its devices is its own as well.
    let own = exec(&["nas", "--", "cat", "/sys/class/net/eth0/address"], "").expect_ok().stdout;
    let link = exec(&["nas", "--", "ip", "-o", "link", "show", "eth0"], "").expect_ok().stdout;
    assert!(link.contains(&format!("link/ether {} ", own.trim())), "{own:?} {link}");
    // At the router the router is asked, without being told where it is.
    exec(&["router", "--", "genkan", "status"], "").expect_ok();
    let nobody = exec(&["nasty", "--", "true"], "");
    assert!(
        nobody.code == Some(1) && nobody.stderr.contains("there are isp, router, remote, nas"),
        "{nobody:?}"
    );

    let second = genkan_lab(&["up", "labs-stay"], "");
    assert!(second.code == Some(1) && second.stderr.contains("is up already"), "{second:?}");
    let _server = Server::tcp(&lab.at("nas"), 8080);
    connect(&lab.at("remote"), endpoint("203.0.113.1:80")).expect("the first one still works");

    drop(lab);
    assert!(!runs("/run/genkan-lab/labs-stay/router/genkan.toml"), "the router outlived the lab");
    assert!(!fs::exists("/run/genkan-lab/labs-stay").expect("it can be looked at"));
    assert_eq!(genkan_lab(&["down", "labs-stay"], "").code, Some(1));
    Ok(())
}

/// As `lab up` says it, for two routers side by side.
fn a_router_that_is_started_by_hand_stays_within_its_lab() -> Outcome {
    let said = genkan_lab(&["up", "labs-hand", "--topology", "double-nat"], "").expect_ok();
    let lab = Standing("labs-hand");
    let commands: Vec<&str> = said.stdout.lines().filter(|line| line.contains(" genkan run ")).collect();
    assert_eq!(commands.len(), 2, "{said:?}");
    let start = |command: &&str| {
        let mut router = Command::new(setup::binary());
        router.args(command.split(' ').skip(1)).stdin(Stdio::null()).stderr(Stdio::null());
        router.spawn().expect("the program is there")
    };
    let routers: Vec<_> = commands.iter().map(start).collect();
    for router in ["box", "router"] {
        let status = ["exec", "--name", "labs-hand", router, "--", "genkan", "status"];
        wait_for("it runs", || genkan_lab(&status, "").ok);
        let history = format!("/run/genkan-lab/labs-hand/{router}/state/history");
        assert!(fs::exists(&history).expect("it can be looked at"), "{history}");
    }
    drop(lab);
    for mut router in routers {
        assert!(router.wait().expect("it is our child").success(), "the end of the lab ends it properly");
    }
    Ok(())
}

fn a_forward_leads_through_two_nats() -> Outcome {
    let lab = Standing::up("labs-double", "double-nat");
    let _server = Server::tcp(&lab.at("nas"), 8080);
    let visitor =
        connect(&lab.at("remote"), endpoint("203.0.113.1:80")).map(|mut stream| greeting(&mut stream));
    assert_eq!(visitor.expect("both forward").ip().to_string(), "198.51.100.7");
    let echo = Server::tcp(&lab.at("remote"), 7);
    let mut out = connect(&lab.at("laptop"), endpoint("198.51.100.7:7")).expect("both translate");
    assert_eq!(greeting(&mut out).ip().to_string(), "203.0.113.1");
    drop(echo);
    Ok(())
}

fn a_carrier_shares_its_addresses_and_hides_its_customers() -> Outcome {
    let lab = Standing::up("labs-carrier", "cgnat");
    let _echo = Server::tcp(&lab.at("remote"), 7);
    for customer in ["alice", "carol", "customer3"] {
        let mut out = connect(&lab.at(customer), endpoint("198.51.100.7:7")).expect(customer);
        let seen = greeting(&mut out).ip().to_string();
        assert!(["203.0.113.1", "203.0.113.5"].contains(&seen.as_str()), "{customer} is seen as {seen}");
    }
    let _servers = ["alice", "bob"].map(|home| Server::tcp(&lab.at(home), 8080));
    connect(&lab.at("remote"), endpoint("203.0.113.1:20080")).expect("the carrier forwards this port");
    connect_within(&lab.at("remote"), endpoint("203.0.113.1:80"), SILENCE)
        .expect_err("nobody forwards that one");
    connect(&lab.at("alice"), endpoint("100.64.0.12:80"))
        .expect("neighbours at the carrier reach each other");
    Ok(())
}

fn each_of_two_consoles_is_reached_at_a_port_of_its_own() -> Outcome {
    let lab = Standing::up("labs-consoles", "two-consoles");
    let peer = Server::udp(&lab.at("remote"), 3074);
    for (console, port) in [("console1", 3074), ("console2", 3075)] {
        let socket = servers::udp(&lab.at(console), 3074);
        let seen = servers::ask(&socket, endpoint("198.51.100.7:3074"), b"hello", PATIENCE);
        assert_eq!(seen, Some(SocketAddrV4::new([203, 0, 113, 1].into(), port)), "{console}");
        let visitor = servers::udp(&lab.at("remote"), 0);
        visitor.send_to(b"unasked", endpoint(&format!("203.0.113.1:{port}"))).expect("there is a route");
        let came = servers::receive(&socket, PATIENCE, |text, _| (text == b"unasked").then_some(()));
        came.unwrap_or_else(|| panic!("{console} is not reached"));
    }
    drop(peer);
    Ok(())
}

fn an_office_keeps_its_networks_apart() -> Outcome {
    let lab = Standing::up("labs-office", "office");
    let _servers = [("web", 8080), ("mail", 25)].map(|(host, port)| Server::tcp(&lab.at(host), port));
    let mail = endpoint("10.30.0.25:25");
    connect(&lab.at("desk1"), mail).expect("staff reach the servers");
    connect_within(&lab.at("visitor"), mail, SILENCE).expect_err("guests do not");
    connect(&lab.at("remote"), endpoint("203.0.113.6:25"))
        .expect("the mail server has this address to itself");
    connect(&lab.at("remote"), endpoint("203.0.113.5:80")).expect("the web server has a forward");
    let _echo = Server::tcp(&lab.at("remote"), 7);
    for (from, seen) in [("mail", "203.0.113.6"), ("visitor", "203.0.113.1")] {
        let mut out = connect(&lab.at(from), endpoint("198.51.100.7:7")).expect(from);
        let address = greeting(&mut out).ip().to_string();
        assert!(address == seen || (from == "visitor" && address == "203.0.113.5"), "{from}: {address}");
    }
    Ok(())
}

fn private_labs_run_side_by_side_and_pass_on_the_status() -> Outcome {
    need("ping")?;
    thread::scope(|scope| {
        for number in 0..8 {
            scope.spawn(move || {
                let script = format!("ping -c1 -W5 198.51.100.7 && exit {number}");
                let said = genkan_lab(&["run", "--at", "laptop", "--", "sh", "-c", &script], "");
                assert_eq!(said.code, Some(number), "{said:?}");
            });
        }
    });
    let script = "genkan lab exec remote -- cat && genkan lab list";
    let said = genkan_lab(&["run", "--", "sh", "-c", script], "over there\n").expect_ok();
    assert!(said.stdout.starts_with("over there\n") && said.stdout.contains("lab   home"), "{said:?}");
    Ok(())
}

fn nothing_of_a_private_lab_survives_a_kill() -> Outcome {
    const SECONDS: &str = "86397";
    let mut command = Command::new(setup::binary());
    let script = format!("genkan lab link internet --delay 1ms && sleep {SECONDS}");
    command.args(["lab", "run", "--topology", "double-nat", "--", "sh", "-c", &script]);
    let mut outer = command.stdin(Stdio::null()).spawn().expect("the program is there");
    let routers = ["box", "router"].map(|name| format!("/run/genkan-lab/lab/{name}/genkan.toml"));
    let emulates = || emulator_runs("lab");
    wait_for("the command runs", || runs(SECONDS) && routers.iter().all(|router| runs(router)) && emulates());
    outer.kill().expect("it runs");
    outer.wait().expect("it is our child");
    let routes = || routers.iter().any(|router| runs(router));
    wait_for("everything is gone", || !runs(SECONDS) && !routes() && !emulates());
    Ok(())
}

fn a_file_with_mistakes_builds_nothing() -> Outcome {
    let file = "/run/genkan-e2e/labs-mistake.toml";
    fs::create_dir_all("/run/genkan-e2e").expect("/run is ours in here");
    fs::write(file, "[[network]]\nname = \"home\"\n[[hots]]\nname = \"nas\"\n").expect("it can be written");
    let said = genkan_lab(&["up", "labs-mistake", "--file", file], "");
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stderr.contains("labs-mistake.toml:3:1") && said.stderr.contains("`[[host]]`"), "{said:?}");
    assert_eq!(names("labs-mistake"), [""; 0]);
    Ok(())
}

/// Whether the links of a lab of this name are emulated.
fn emulator_runs(name: &str) -> bool {
    let processes = fs::read_dir("/proc").expect("/proc is mounted").flatten();
    let end = format!("\0lab\0wires\0{name}\0");
    processes
        .filter_map(|process| fs::read(process.path().join("cmdline")).ok())
        .any(|line| line.ends_with(end.as_bytes()))
}

/// Two hosts on a cable whose way from `left` to `right` is slow from the start.
const CABLE: &str = r#"
[[network]]
name = "cable"

[[host]]
name    = "left"
network = "cable"
address = "192.0.2.1/24"

[[host]]
name    = "right"
network = "cable"
address = "192.0.2.2/24"

[[link]]
name  = "cable"
from  = "left"
delay = "30ms"
"#;

fn cable(name: &'static str) -> Standing {
    let file = format!("/run/genkan-e2e/{name}.toml");
    fs::create_dir_all("/run/genkan-e2e").expect("/run is ours in here");
    fs::write(&file, CABLE).expect("it can be written");
    genkan_lab(&["up", name, "--file", &file], "").expect_ok();
    Standing(name)
}

fn a_link_delays_loses_doubles_and_slows_down_live() -> Outcome {
    const COUNT: usize = 30;
    const LENGTH: usize = 1250;
    let lab = cable("labs-link");
    let link = |arguments: &[&str]| {
        genkan_lab(&[&["link", "cable", "--name", "labs-link"], arguments].concat(), "").expect_ok()
    };
    let (left, right) = (servers::udp(&lab.at("left"), 0), servers::udp(&lab.at("right"), 9));
    // Sends numbered datagrams at once, of which so many are to come; which of them come, and how long after the first
    // was sent.
    let pass = |expected: usize| -> Vec<(usize, Duration)> {
        let start = Instant::now();
        for number in 0..COUNT {
            let datagram = vec![number as u8; LENGTH];
            left.send_to(&datagram, endpoint("192.0.2.2:9")).expect("there is a route");
        }
        let mut came = Vec::new();
        let limit = |came: usize| if came < expected { PATIENCE } else { SILENCE };
        while let Some(number) =
            servers::receive(&right, limit(came.len()), |text, _| Some(usize::from(text[0])))
        {
            came.push((number, start.elapsed()));
        }
        came
    };
    let numbers = |came: &[(usize, Duration)]| came.iter().map(|(number, _)| *number).collect::<Vec<_>>();
    let all: Vec<_> = (0..COUNT).collect();

    let delayed = pass(COUNT);
    assert_eq!(numbers(&delayed), all);
    assert!(delayed[0].1 >= Duration::from_millis(30), "{delayed:?}");

    // 30 frames of 1292 octets at 1 Mbit/s.
    link(&["--from", "left", "--delay", "0ms", "--rate", "1mbit"]);
    let slow = pass(COUNT);
    assert_eq!(numbers(&slow), all);
    assert!(slow[COUNT - 1].1 >= Duration::from_millis(300), "{slow:?}");

    link(&["--clear"]);
    link(&["--duplicate", "100%"]);
    let doubled = pass(2 * COUNT);
    assert_eq!(numbers(&doubled), all.iter().flat_map(|number| [*number; 2]).collect::<Vec<_>>());

    link(&["--duplicate", "0%", "--reorder", "100%"]);
    let mut swapped = numbers(&pass(COUNT));
    assert!(!swapped.is_sorted(), "{swapped:?}");
    swapped.sort_unstable();
    assert_eq!(swapped, all);

    link(&["--reorder", "0%", "--from", "left", "--loss", "100%"]);
    assert_eq!(pass(0), []);
    let told = genkan_lab(&["link", "cable", "--name", "labs-link", "--format", "json"], "").expect_ok();
    let told: serde_json::Value = serde_json::from_str(&told.stdout).expect("it is JSON");
    assert!(told[0]["lost"].as_u64() >= Some(COUNT as u64) && told[0]["from"] == "left", "{told}");

    link(&["--clear"]);
    assert_eq!(numbers(&pass(COUNT)), all);
    link(&["--mtu", "1000"]);
    let said = run(&lab.at("left"), "ip", &["link", "show", "eth0"]).expect_ok();
    assert!(said.stdout.contains("mtu 1000"), "{said:?}");
    let wrong = genkan_lab(&["link", "cabel", "--name", "labs-link", "--loss", "1%"], "");
    assert!(wrong.code == Some(1) && wrong.stderr.contains("cable.left, cable.right"), "{wrong:?}");
    assert_eq!(genkan_lab(&["link", "cable", "--loss", "1"], "").code, Some(2));
    Ok(())
}

fn a_change_of_a_link_counts_from_the_next_frame_on() -> Outcome {
    let lab = cable("labs-change");
    let link = |share| {
        genkan_lab(&["link", "cable", "--name", "labs-change", "--delay", "0ms", "--duplicate", share], "")
            .expect_ok();
    };
    let (left, right) = (servers::udp(&lab.at("left"), 0), servers::udp(&lab.at("right"), 9));
    for number in 0..20_u8 {
        link("0%");
        link("100%");
        left.send_to(&[number], endpoint("192.0.2.2:9")).expect("there is a route");
        for _ in 0..2 {
            assert_eq!(servers::receive(&right, PATIENCE, |text, _| Some(text[0])), Some(number));
        }
    }
    Ok(())
}

fn the_emulator_ends_with_its_lab() -> Outcome {
    let lab = cable("labs-emulated");
    assert!(emulator_runs("labs-emulated"));
    drop(lab);
    assert!(!emulator_runs("labs-emulated"), "it outlived the lab");

    // Also when somebody else takes the namespaces away.
    let lab = cable("labs-emulated");
    for name in names("labs-emulated") {
        run(&Namespace::open(&name).expect("it is there"), "ip", &["netns", "delete", &name]).expect_ok();
    }
    wait_for("the emulator ends", || !emulator_runs("labs-emulated"));
    drop(lab);
    Ok(())
}

fn a_capture_holds_what_passes() -> Outcome {
    need("ping")?;
    let lab = cable("labs-capture");
    let file = "/run/genkan-e2e/labs-capture.pcap";
    for place in ["right", "cable.right"] {
        let mut command = Command::new(setup::binary());
        command.args(["lab", "capture", "--name", "labs-capture", place, "-w", file, "--count", "40"]);
        let mut capture = command.stderr(Stdio::piped()).spawn().expect("the program is there");
        let mut said = BufReader::new(capture.stderr.take().expect("it is a pipe"));
        let mut line = String::new();
        said.read_line(&mut line).expect("it speaks");
        assert_eq!(line, "capturing at right eth0; Ctrl-C ends it\n");
        run(&lab.at("left"), "ping", &["-c20", "-i0.01", "-W3", "192.0.2.2"]).expect_ok();
        assert!(capture.wait().expect("it is our child").success());
        let mut reader = PcapFileReceiver::open(Path::new(file)).expect("it is a capture");
        let mut frames = Vec::new();
        while let Some(frame) = reader.next_frame().expect("it is whole") {
            frames.push(frame.bytes);
        }
        assert_eq!(frames.len(), 40);
        let icmp = |kind: u8| frames.iter().filter(|frame| frame[23] == 1 && frame[34] == kind).count();
        assert!(icmp(8) >= 15 && icmp(0) >= 15, "{} requests, {} replies", icmp(8), icmp(0));
    }
    let nowhere = "/run/genkan-e2e/absent/labs.pcap";
    let said = genkan_lab(&["capture", "--name", "labs-capture", "right", "-w", nowhere], "");
    assert!(said.code == Some(1) && said.stderr.contains(nowhere), "{said:?}");
    let several = genkan_lab(&["capture", "--name", "labs-capture", "nobody"], "");
    assert!(several.code == Some(1) && several.stderr.contains("there are cable.left"), "{several:?}");
    Ok(())
}
