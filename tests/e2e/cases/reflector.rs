//! The reflector, and what is learned from it behind real routers.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use genkan_lab::Namespace;
use genkan_lab::topology::Role::{Isp, Laptop, Nas, Remote, Router};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::fixture::{Lab, PATIENCE, SILENCE, wait_for};
use crate::outcome::Outcome;
use crate::programs::{Said, need, need_tun};
use crate::servers::{Server, connect, receive, udp};
use crate::{cases, setup};

cases![;
    only_genkan: who_asks_gets_no_more_than_he_sent,
    a_token_is_worth_nothing_elsewhere,
    a_flood_stays_bounded,
    it_answers_from_the_address_that_was_asked,
    it_ends_when_it_is_told_to,
    every_kind_of_nat_is_named,
    one_address_says_less_and_says_so,
    the_kernel_s_nat_is_named,
    ports_are_open_closed_or_filtered_as_seen_from_outside,
    the_router_s_forwards_are_tried,
    what_a_provider_does_is_seen,
    a_share_of_an_address_is_recognised,
    packets_too_large_for_the_way_are_told,
];

const BINDING: u16 = 0x0001;
const PROBE: u16 = 0x02C5;
const NONCE: u16 = 0x0015;
const PADDING: u16 = 0x0026;
const PROBE_TARGET: u16 = 0x7E01;
const STALE_NONCE: [u8; 4] = [0, 0, 4, 38];

/// `genkan reflector` at a host; dropping it kills it.
struct Reflector(Child);

impl Reflector {
    fn start(host: &Namespace, endpoint: SocketAddrV4, more: &[&str]) -> Reflector {
        let mut command = Command::new(setup::binary());
        command.args(["reflector", "--lab", "--listen", &endpoint.to_string()]).args(more);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = host.start(&mut command).expect("the program is there");
        // It listens over TCP once it does over UDP.
        wait_for("the reflector listens", || connect(host, endpoint).is_ok());
        Reflector(child)
    }

    /// Resident memory in KiB.
    fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("the kernel counts");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("it is a number")
    }
}

impl Drop for Reflector {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut octets = [kind.to_be_bytes(), (value.len() as u16).to_be_bytes()].concat();
    octets.extend(value);
    octets.resize(octets.len().next_multiple_of(4), 0);
    octets
}

/// A message of STUN. `kind`: the first two octets.
fn message(kind: u16, attributes: &[Vec<u8>]) -> Vec<u8> {
    let attributes = attributes.concat();
    let mut octets = [kind.to_be_bytes(), (attributes.len() as u16).to_be_bytes()].concat();
    octets.extend(0x2112_A442_u32.to_be_bytes());
    octets.extend([9; 12]);
    octets.extend(attributes);
    octets
}

fn padded() -> Vec<u8> {
    message(BINDING, &[attribute(PADDING, &[0; 60])])
}

/// The attributes of a message.
fn read(octets: &[u8]) -> BTreeMap<u16, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut rest = &octets[20..];
    while let [k, l, a, b, more @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*a, *b]));
        all.insert(u16::from_be_bytes([*k, *l]), more[..length].to_vec());
        rest = &more[length.next_multiple_of(4)..];
    }
    all
}

fn ask_within(limit: Duration, socket: &UdpSocket, to: SocketAddrV4, octets: &[u8]) -> Option<Vec<u8>> {
    socket.send_to(octets, to).expect("there is a route");
    receive(socket, limit, |answer, _| Some(answer.to_vec()))
}

#[track_caller]
fn ask(socket: &UdpSocket, to: SocketAddrV4, octets: &[u8]) -> Vec<u8> {
    ask_within(PATIENCE, socket, to, octets).expect("an answer comes")
}

fn token(socket: &UdpSocket, to: SocketAddrV4) -> Vec<u8> {
    let answer = ask(socket, to, &padded());
    let attributes = read(&answer);
    assert_eq!(attributes[&9], STALE_NONCE);
    assert_eq!(attributes.keys().copied().collect::<Vec<_>>(), [9, NONCE], "nothing but the token");
    attributes[&NONCE].clone()
}

fn at(address: Ipv4Addr) -> SocketAddrV4 {
    SocketAddrV4::new(address, 3478)
}

fn who_asks_gets_no_more_than_he_sent() -> Outcome {
    let lab = Lab::without_router(&Default::default());
    let to = at(lab.address.remote);
    let _reflector = Reflector::start(&lab.host(Remote), to, &[]);
    let socket = udp(&lab.host(Isp), 0);
    // Too little for any answer, or no question at all.
    let short = [0, 20, 36].map(|length| message(BINDING, &[attribute(PADDING, &vec![0; length])]));
    let bare = message(BINDING, &[]);
    for octets in short.iter().map(Vec::as_slice).chain([&bare[..], b"GET / HTTP/1.1\r\n\r\n", &[0; 1400]]) {
        socket.send_to(octets, to).expect("there is a route");
    }
    assert_eq!(receive(&socket, SILENCE, |answer, _| Some(answer.to_vec())), None);
    for length in [40, 44, 400] {
        let octets = message(BINDING, &[attribute(PADDING, &vec![0; length])]);
        let answer = ask(&socket, to, &octets);
        assert!(answer.len() == 64 && octets.len() >= 64, "{answer:?}");
    }
    let question = message(BINDING, &[attribute(NONCE, &token(&socket, to))]);
    let answer = ask(&socket, to, &question);
    assert!(answer.len() <= question.len());
    let local = socket.local_addr().expect("it is bound").port();
    let mapped = &read(&answer)[&0x0020];
    assert_eq!(u16::from_be_bytes([mapped[2], mapped[3]]) ^ 0x2112, local);
    // The same over TCP, where a connection says whose the address is, and a token all the same.
    let mut stream = connect(&lab.host(Isp), to).expect("it listens");
    stream.write_all(&padded()).expect("it is open");
    let mut answer = [0; 64];
    stream.read_exact(&mut answer).expect("a token comes");
    assert_eq!(read(&answer)[&9], STALE_NONCE);
    Ok(())
}

fn a_token_is_worth_nothing_elsewhere() -> Outcome {
    let lab = Lab::without_router(&Default::default());
    let to = at(lab.address.remote);
    let _reflector = Reflector::start(&lab.host(Remote), to, &[]);
    let server = Server::tcp(&lab.host(Isp), 80);
    let victim = Ipv4Addr::new(198, 51, 100, 66);
    lab.run(Isp, "ip", &["address", "add", &format!("{victim}/32"), "dev", "eth1"]).expect_ok();
    let host = lab.host(Isp);
    let own = udp(&host, 0);
    let target = attribute(PROBE_TARGET, &[6, 0, 0, 80]);
    let question = message(PROBE, &[attribute(NONCE, &token(&own, to)), target.clone()]);
    // In the victim's name: what comes is the victim's token, and nobody is tried.
    let forged = host.run(|| UdpSocket::bind((victim, 0))).expect("it is an address of this host");
    let padded = message(PROBE, &[question[20..].to_vec(), attribute(PADDING, &[0; 20])]);
    let answer = ask(&forged, to, &padded);
    assert_eq!(read(&answer)[&9], STALE_NONCE);
    assert!(answer.len() <= padded.len());
    assert_eq!(ask_within(SILENCE, &forged, to, &message(PROBE, &[target])), None);
    assert_eq!(server.seen(), [], "somebody was tried");
    // In the own name it is, and the token was good.
    let answer = ask(&own, to, &question);
    assert_eq!(read(&answer)[&0xFE01][0], 1, "open");
    wait_for("the port was tried", || server.seen().len() == 1);
    assert_eq!(*server.seen()[0].ip(), lab.address.remote);
    Ok(())
}

fn a_flood_stays_bounded() -> Outcome {
    let lab = Lab::without_router(&Default::default());
    let to = at(lab.address.remote);
    let reflector = Reflector::start(&lab.host(Remote), to, &[]);
    let host = lab.host(Isp);
    let flooder = udp(&host, 0);
    let own = token(&flooder, to);
    let probe = |number: u16| {
        let [p, q] = number.to_be_bytes();
        message(PROBE, &[attribute(NONCE, &own), attribute(PROBE_TARGET, &[17, 0, p, q])])
    };
    let before = reflector.memory();
    flooder.set_nonblocking(true).expect("a socket can be non-blocking");
    let (mut octets_out, mut octets_in, mut tokens) = (0, 0, 0);
    let mut count = |flooder: &UdpSocket| {
        let mut room = [0; 2048];
        while let Ok((length, _)) = flooder.recv_from(&mut room) {
            octets_in += length;
            tokens += usize::from(read(&room[..length]).contains_key(&NONCE));
        }
    };
    let begun = Instant::now();
    for number in 1..=20_000_u16 {
        let octets = match number % 3 {
            0 => padded(),
            1 => probe(number),
            _ => vec![number as u8; 500],
        };
        // What the kernel cannot take is no flood.
        if flooder.send_to(&octets, to).is_ok() {
            octets_out += octets.len();
        }
        count(&flooder);
    }
    // Somebody else is served, once what the flood left in the kernel's queue has been read.
    let other = host.run(|| UdpSocket::bind((lab.address.isp, 0))).expect("it is an address of this host");
    wait_for("another asker is answered", || {
        ask_within(SILENCE, &other, to, &padded()).is_some_and(|answer| read(&answer).contains_key(&NONCE))
    });
    let took = begun.elapsed().as_secs_f64();
    count(&flooder);
    assert!(octets_in <= octets_out, "{octets_in} octets for {octets_out}");
    // 20 at once and 10 a second.
    assert!(tokens as f64 <= 21.0 + 10.0 * took, "{tokens} tokens in {took} s");
    let grown = reflector.memory().saturating_sub(before);
    assert!(grown < 4096, "it grew by {grown} KiB");
    Ok(())
}

/// It listens at all addresses of its host, and NATs admit nobody but whom one has asked.
fn it_answers_from_the_address_that_was_asked() -> Outcome {
    let lab = Lab::start("[nat]\nfiltering = \"address-dependent\"\n");
    let to = at(Ipv4Addr::UNSPECIFIED);
    let _reflector = Reflector::start(&lab.host(Remote), to, &[]);
    for address in [lab.address.remote, lab.address.remote_second] {
        let (_, outside) = doctor(&lab.host(Laptop), at(address), &[]);
        assert_eq!(outside["udp"], true, "{address}: {outside:#}");
    }
    // The router's box has no way there.
    let asked = ["doctor", "--reflector", &at(lab.address.remote).to_string()];
    let said = lab.genkan(&asked);
    assert!(said.code == Some(1) && said.stderr.contains("no route leads there"), "{said:?}");
    Ok(())
}

fn it_ends_when_it_is_told_to() -> Outcome {
    let lab = Lab::without_router(&Default::default());
    let to = at(lab.address.remote);
    let host = lab.host(Remote);
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut reflector = Reflector::start(&host, to, &[]);
        kill(Pid::from_raw(reflector.0.id() as i32), signal).expect("it runs");
        wait_for("it ends", || reflector.0.try_wait().is_ok_and(|status| status.is_some()));
        let status = reflector.0.wait().expect("it is our child");
        let mut log = String::new();
        let mut stderr = reflector.0.stderr.take().expect("it is a pipe");
        stderr.read_to_string(&mut log).expect("it is text");
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(log.contains("no capabilities") && log.contains("ended by a signal"), "{log}");
    }
    // What cannot be is misuse.
    let mut command = Command::new(setup::binary());
    command.args(["reflector", "--second-address", "198.51.100.8"]);
    let said = Said::from(host.output(&mut command).expect("the program is there"));
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stderr.contains("--listen"), "{said:?}");
    Ok(())
}

/// `genkan doctor --reflector HOST` at a host.
#[track_caller]
fn doctor(host: &Namespace, reflector: SocketAddrV4, more: &[&str]) -> (Said, Value) {
    let mut command = Command::new(setup::binary());
    command.args(["doctor", "--format", "json", "--reflector", &reflector.to_string()]).args(more);
    command.env("LC_ALL", "C").stdin(Stdio::null());
    let said = Said::from(host.output(&mut command).expect("the program is there"));
    let value: Value =
        serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:#?}"));
    let outside = value["outside"].clone();
    (said, outside)
}

/// Mapping, filtering, and the words of consoles.
fn kinds(outside: &Value) -> [String; 5] {
    let list = |value: &Value| {
        let words = value.as_array().expect("a list").iter().map(|word| word.as_str().expect("a word"));
        words.collect::<Vec<_>>().join("/")
    };
    let (behavior, consoles) = (&outside["behavior"], &outside["consoles"]);
    [
        list(&behavior["mapping"]),
        list(&behavior["filtering"]),
        list(&consoles["playstation"]),
        list(&consoles["switch"]),
        list(&consoles["xbox"]),
    ]
}

fn two_addresses(lab: &Lab) -> (Reflector, SocketAddrV4) {
    let to = at(lab.address.remote);
    let second = lab.address.remote_second.to_string();
    (Reflector::start(&lab.host(Remote), to, &["--second-address", &second]), to)
}

fn every_kind_of_nat_is_named() -> Outcome {
    let lab = Lab::start("");
    let (_reflector, to) = two_addresses(&lab);
    let (all, address, port) = ("endpoint-independent", "address-dependent", "address-and-port-dependent");
    for (mapping, filtering, playstation, switch, xbox) in [
        (all, all, "2", "A", "open"),
        (all, address, "2", "A", "moderate"),
        (all, port, "2", "B", "moderate"),
        (address, all, "3", "D", "strict"),
        (address, address, "3", "D", "strict"),
        (address, port, "3", "D", "strict"),
        (port, all, "3", "D", "strict"),
        (port, address, "3", "D", "strict"),
        (port, port, "3", "D", "strict"),
    ] {
        lab.reload(&format!("[nat]\nmapping = \"{mapping}\"\nfiltering = \"{filtering}\"\n"));
        let (said, outside) = doctor(&lab.host(Laptop), to, &[]);
        assert_eq!(said.code, Some(0), "{said:#?}");
        assert_eq!(kinds(&outside), [mapping, filtering, playstation, switch, xbox], "{outside:#}");
        assert_eq!(outside["seen"], lab.address.wan.to_string());
        let hairpin = if mapping == all { Value::Bool(true) } else { Value::Null };
        assert_eq!(outside["behavior"]["hairpin"], hairpin, "{mapping} {filtering}");
    }
    lab.reload("[nat]\nhairpin = false\n");
    let (_, outside) = doctor(&lab.host(Laptop), to, &[]);
    assert_eq!(outside["behavior"]["hairpin"], false);
    // Without a NAT on the way.
    let (_, outside) = doctor(&lab.host(Isp), to, &[]);
    assert_eq!((&outside["behavior"]["translated"], kinds(&outside)[2].as_str()), (&Value::Bool(false), "1"));
    Ok(())
}

fn one_address_says_less_and_says_so() -> Outcome {
    let lab = Lab::start("[nat]\nfiltering = \"address-and-port-dependent\"\n");
    let to = at(lab.address.remote);
    let _reflector = Reflector::start(&lab.host(Remote), to, &[]);
    let (_, outside) = doctor(&lab.host(Laptop), to, &[]);
    let expected = [
        "endpoint-independent/address-dependent",
        "address-and-port-dependent",
        "2/3",
        "B/D",
        "moderate/strict",
    ];
    assert_eq!(kinds(&outside), expected);
    let remedies: Vec<&str> = outside["remedies"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|line| line["id"].as_str())
        .collect();
    assert!(remedies.contains(&"outside-remedy-one-address"), "{remedies:?}");
    Ok(())
}

fn the_kernel_s_nat_is_named() -> Outcome {
    need("nft")?;
    let lab = Lab::without_router(&Default::default());
    let script = setup::root().join("netns-scripts/kernel-nat.sh");
    let status =
        Command::new(script).args(["up", lab.topology.prefix()]).status().expect("the script is there");
    assert!(status.success(), "the kernel's NAT cannot be set up");
    let (_reflector, to) = two_addresses(&lab);
    let (_, outside) = doctor(&lab.host(Laptop), to, &[]);
    let expected = ["endpoint-independent", "address-and-port-dependent", "2", "B", "moderate"];
    assert_eq!(kinds(&outside), expected, "{outside:#}");
    assert_eq!(outside["behavior"]["hairpin"], false);
    assert_eq!(outside["behavior"]["port_preserved"], true);
    Ok(())
}

/// What became of each port, as `tcp 80 open`.
fn ports(outside: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let rows = outside["ports"].as_array().expect("a list");
    let told = |row: &Value| ["protocol", "port", "outcome"].map(|key| text(&row[key])).join(" ");
    rows.iter().map(told).collect()
}

const FORWARDS: &str = r#"
[[forward]]
name = "web"
protocol = ["tcp", "udp"]
port = 80
to = "192.168.0.10:8080"

[[forward]]
name = "nothing"
protocol = ["tcp", "udp"]
port = 81
to = "192.168.0.10:8081"
"#;

fn ports_are_open_closed_or_filtered_as_seen_from_outside() -> Outcome {
    let lab = Lab::start(FORWARDS);
    let (_reflector, to) = two_addresses(&lab);
    let _servers = (Server::tcp(&lab.host(Nas), 8080), Server::udp(&lab.host(Nas), 8080));
    let asked = ["tcp:80", "udp:80", "tcp:81", "udp:81", "tcp:82", "udp:82"];
    let asked: Vec<&str> = asked.iter().flat_map(|port| ["--port", port]).collect();
    let (said, outside) = doctor(&lab.host(Laptop), to, &asked);
    let expected = [
        "tcp 80 open",
        "udp 80 open",
        "tcp 81 closed",
        "udp 81 closed",
        "tcp 82 filtered",
        "udp 82 filtered",
    ];
    assert_eq!(ports(&outside), expected);
    assert_eq!(said.code, Some(1), "{said:#?}");
    // By words for people.
    let mut command = Command::new(setup::binary());
    command.args(["doctor", "--reflector", &to.to_string(), "--port", "tcp:80"]).env("LC_ALL", "ja_JP.UTF-8");
    let said = Said::from(lab.host(Laptop).output(&mut command).expect("the program is there"));
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert!(said.stdout.contains("✓ tcp 80: 開いている"), "{}", said.stdout);
    Ok(())
}

fn the_router_s_forwards_are_tried() -> Outcome {
    need_tun()?;
    let closed = r#"
[[forward]]
name = "friends"
protocol = "tcp"
port = 83
to = "192.168.0.10:8080"
from = ["192.0.2.0/24"]

[[forward]]
name = "off"
protocol = "tcp"
port = 84
to = "192.168.0.10:8080"
enabled = false

[router]
tun = "genkan0"
"#;
    let lab = Lab::start(&format!("{FORWARDS}{closed}"));
    let (_reflector, to) = two_addresses(&lab);
    let _servers = (Server::tcp(&lab.host(Nas), 8080), Server::udp(&lab.host(Nas), 8080));
    let said = lab.genkan(&["doctor", "--reflector", &to.to_string(), "--format", "json"]);
    let value: Value =
        serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:#?}"));
    let outside = &value["outside"];
    let expected = [
        "tcp 80 open",
        "udp 80 open",
        "tcp 81 closed",
        "udp 81 closed",
        "tcp 83 filtered",
        "tcp 84 filtered",
    ];
    assert_eq!(ports(outside), expected);
    // A closed target is what does not work; that friends are admitted alone is as it should be.
    assert_eq!(
        (said.code, &outside["works"], &outside["nat_in_front"]),
        (Some(1), &false.into(), &false.into())
    );
    // From inside it is found to be refused as well, and the open one to be in order.
    let found = |name: &str| {
        let findings = value["findings"].as_array().expect("a list").iter();
        findings.filter(|finding| finding["forward"] == name && finding["certain"] == true).count()
    };
    assert_eq!(found("web"), 0, "{value:#}");
    let rows = outside["ports"].as_array().expect("a list");
    let expected: Vec<&str> = rows.iter().filter_map(|row| row["expected"].as_str()).collect();
    assert_eq!(expected, ["open", "open", "open", "open", "filtered", "filtered"]);
    Ok(())
}

fn packets_too_large_for_the_way_are_told() -> Outcome {
    need_tun()?;
    need("nft")?;
    let lab = Lab::start("[router]\ntun = \"genkan0\"\n");
    let (_reflector, to) = two_addresses(&lab);
    // What gets through, whether larger ones vanish, and what is said about that.
    let look = || {
        lab.run(Router, "ip", &["route", "flush", "cache"]).expect_ok();
        let said = lab.genkan(&["doctor", "--reflector", &to.to_string(), "--format", "json"]);
        let value: Value =
            serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:#?}"));
        let outside = &value["outside"];
        let ids =
            outside["remedies"].as_array().expect("a list").iter().filter_map(|line| line["id"].as_str());
        let ids: Vec<String> =
            ids.filter(|id| id.starts_with("outside-remedy-path")).map(str::to_owned).collect();
        (outside["path"]["mtu"].as_u64(), outside["path"]["is_silent"].as_bool(), ids)
    };
    let told = |mtu, silent, remedies: &[&str]| {
        (Some(mtu), Some(silent), remedies.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(look(), told(1_500, false, &[]));
    lab.run(Isp, "ip", &["link", "set", "eth1", "mtu", "1454"]).expect_ok();
    assert_eq!(look(), told(1_454, false, &["outside-remedy-path"]));
    // What tells of it is lost.
    let lost = "table ip lost { chain out { type filter hook output priority 0; icmp type destination-unreachable drop; }; }";
    lab.run(Isp, "nft", &[lost]).expect_ok();
    assert_eq!(look(), told(1_452, true, &["outside-remedy-path-silent"]));
    // The remedy: the router says it itself.
    lab.reload("mtu = 1454\n\n[router]\ntun = \"genkan0\"\n");
    assert_eq!(look(), told(1_454, false, &[]));
    Ok(())
}

/// A provider that gives this line 16 of every 4,096 ports of its address.
fn a_share_of_an_address_is_recognised() -> Outcome {
    need_tun()?;
    need("nft")?;
    let lab = Lab::start(&format!("{FORWARDS}[router]\ntun = \"genkan0\"\n"));
    let (_reflector, to) = two_addresses(&lab);
    let look = || {
        let said = lab.genkan(&["doctor", "web", "--reflector", &to.to_string(), "--format", "json"]);
        let value: Value =
            serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:#?}"));
        value["outside"].clone()
    };
    let remedy = |outside: &Value| {
        let mut remedies = outside["remedies"].as_array().expect("a list").iter();
        remedies.find(|line| line["id"] == "outside-remedy-share").map(|line| line["text"].to_string())
    };
    // One after the other, a block for each: PSID 0x34 of 8 bits at offset 4.
    let blocks: Vec<u16> = (1..=8).map(|block| block << 12 | 0x34 << 4).collect();
    let mut rules = "table ip provider {\n".to_owned();
    let mut map = Vec::new();
    for (number, first) in blocks.iter().enumerate() {
        let last = first + 15;
        rules += &format!("chain block{number} {{ udp dport 1-65535 masquerade to :{first}-{last}; }}\n");
        map.push(format!("{number} : jump block{number}"));
    }
    rules += &format!(
        "chain out {{ type nat hook postrouting priority srcnat; oifname eth1 meta l4proto udp numgen inc mod 8 vmap {{ {} }}\noifname eth1 masquerade\n}}\n}}",
        map.join(", ")
    );
    lab.run(Isp, "nft", &[&rules]).expect_ok();
    let outside = look();
    let share = &outside["share"];
    // Ports of a block may have a bit in common by chance.
    let more = share["psid_length"].as_u64().expect("it is recognised") - 8;
    assert_eq!(share["psid_offset"], 4, "{outside:#}");
    assert_eq!(share["psid"].as_u64().map(|psid| psid >> more), Some(0x34), "{outside:#}");
    let text = remedy(&outside).expect("it is said");
    assert!(text.contains("looked at: 80)"), "{text}");
    // Ports by chance are those of an address that nobody shares.
    lab.run(Isp, "nft", &["flush ruleset"]).expect_ok();
    let by_chance = "table ip provider { chain out { type nat hook postrouting priority srcnat; oifname eth1 masquerade fully-random; }; }";
    lab.run(Isp, "nft", &[by_chance]).expect_ok();
    let outside = look();
    assert_eq!((&outside["nat_in_front"], &outside["share"]), (&true.into(), &Value::Null), "{outside:#}");
    assert_eq!(remedy(&outside), None);
    Ok(())
}

fn what_a_provider_does_is_seen() -> Outcome {
    need_tun()?;
    need("nft")?;
    let lab = Lab::start(&format!("{FORWARDS}[router]\ntun = \"genkan0\"\n"));
    let (_reflector, to) = two_addresses(&lab);
    let ids = |outside: &Value| -> Vec<String> {
        let remedies = outside["remedies"].as_array().expect("a list").iter();
        remedies.filter_map(|line| line["id"].as_str().map(str::to_owned)).collect()
    };
    // It translates as well.
    let rules = "table ip provider { chain out { type nat hook postrouting priority srcnat; oifname eth1 masquerade; }; }";
    lab.run(Isp, "nft", &[rules]).expect_ok();
    let said = lab.genkan(&["doctor", "web", "--reflector", &to.to_string(), "--format", "json"]);
    let value: Value =
        serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:#?}"));
    let outside = &value["outside"];
    assert_eq!((said.code, &outside["nat_in_front"]), (Some(1), &true.into()), "{outside:#}");
    assert_eq!(outside["seen"], "198.51.100.1");
    assert_eq!(ids(outside)[0], "outside-remedy-nat-in-front");
    assert!(!ids(outside).contains(&"outside-remedy-closed".to_owned()), "{outside:#}");
    // It lets no datagrams out: then TCP tells what it can.
    lab.run(Isp, "nft", &["add chain ip provider pass { type filter hook forward priority filter; }"])
        .expect_ok();
    lab.run(Isp, "nft", &["add rule ip provider pass meta l4proto udp drop"]).expect_ok();
    let (_, outside) = doctor(&lab.host(Laptop), to, &["--port", "tcp:1"]);
    assert_eq!((&outside["udp"], &outside["behavior"]), (&false.into(), &Value::Null), "{outside:#}");
    assert_eq!(outside["consoles"]["switch"], serde_json::json!(["F"]));
    assert_eq!(
        (ports(&outside), ids(&outside)[0].as_str()),
        (vec!["tcp 1 closed".to_owned()], "outside-remedy-udp")
    );
    Ok(())
}
