//! An attacker outside, an attacker inside, and everybody else.

use std::fs;
use std::net::{SocketAddrV4, TcpStream, UdpSocket};

use genkan_lab::topology::Role::{Isp, Laptop, Nas, Remote, Router};

use crate::fixture::{Lab, SILENCE, wait_for};
use crate::flood::{Flood, mac};
use crate::outcome::Outcome;
use crate::servers::{Server, ask, connect, exchange, greeting, udp};
use crate::{cases, setup};

cases![
    ;
    only_genkan:
    a_flood_hurts_nobody_else,
];

/// Small tables, so that the flood fills them many times over.
const RULES: &str = r#"
[nat]
max_sessions = 100_000
max_sessions_per_host = 20_000
max_ports_per_host = 10_000

[dmz]
to = "192.168.0.50"
"#;

/// Live sessions of each protocol before the flood, and new ones during it.
const SESSIONS: usize = 50;

/// How far the router's memory may grow while tables that are full already are flooded again, KiB.
const GROWTH: u64 = 4 * 1024;

fn a_flood_hurts_nobody_else() -> Outcome {
    let (packets, rate) = if setup::is_slow() { (50_000, 10_000) } else { (1_000_000, 100_000) };
    let lab = Lab::start(RULES);
    let _servers = [Server::tcp(&lab.host(Remote), 7), Server::udp(&lab.host(Remote), 7)];
    let nas = lab.host(Nas);
    let remote = SocketAddrV4::new(lab.address.remote, 7);
    let open = || {
        // A SYN lost in the crush is sent again after one second.
        let mut stream = connect(&nas, remote).expect("a new session");
        greeting(&mut stream);
        stream
    };
    let mut streams: Vec<TcpStream> = (0..SESSIONS).map(|_| open()).collect();
    let sockets: Vec<UdpSocket> = (0..SESSIONS).map(|_| udp(&nas, 0)).collect();
    let answers = |sockets: &[UdpSocket]| -> Vec<SocketAddrV4> {
        sockets.iter().map(|socket| ask_patiently(socket, remote)).collect()
    };
    let mappings = answers(&sockets);

    let router = lab.host(Router);
    let (wan, lan) =
        (router.run(|| mac("wan0")).expect("it is there"), router.run(|| mac("lan0")).expect("it is there"));
    let flood = |packets| {
        let outside =
            Flood { next_hop: wan, source: None, destination: Some(lab.address.wan), packets, rate };
        let inside =
            Flood { next_hop: lan, source: Some(lab.address.laptop), destination: None, packets, rate };
        [outside.start(&lab.host(Isp), "eth0"), inside.start(&lab.host(Laptop), "eth0")]
    };
    let finish = |floods: [std::thread::JoinHandle<std::io::Result<u32>>; 2]| {
        for flood in floods {
            let sent = flood.join().expect("the sender does not panic").expect("frames can be sent");
            assert!(sent > packets / 4, "only {sent} packets were sent");
        }
    };
    finish(flood(packets / 2));
    let before = resident(&lab);

    let floods = flood(packets / 2);
    for stream in &mut streams {
        exchange(stream, b"in the middle of the flood");
    }
    let mut new: Vec<TcpStream> = (0..SESSIONS).map(|_| open()).collect();
    let new_sockets: Vec<UdpSocket> = (0..SESSIONS).map(|_| udp(&nas, 0)).collect();
    answers(&new_sockets);
    finish(floods);

    let after = resident(&lab);
    assert!(after <= before + GROWTH, "the router grew from {before} to {after} KiB");
    for stream in streams.iter_mut().chain(&mut new) {
        exchange(stream, b"after the flood");
    }
    assert_eq!(answers(&sockets), mappings, "live mappings changed");
    assert!(lab.genkan(&["status"]).ok);
    eprintln!(
        "2 x {packets} packets at 2 x {rate}/s; the router holds {after} KiB, {before} KiB in the middle"
    );
    Ok(())
}

/// Datagrams may be lost in the crush; each is repeated, as applications do.
fn ask_patiently(socket: &UdpSocket, server: SocketAddrV4) -> SocketAddrV4 {
    let mut answer = None;
    wait_for("an answer", || {
        answer = ask(socket, server, b"still there?", SILENCE);
        answer.is_some()
    });
    answer.expect("it came")
}

/// Resident memory of the router, KiB.
fn resident(lab: &Lab) -> u64 {
    let pid = lab.router(|router| router.pid());
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the router runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    line.trim().trim_end_matches(" kB").parse().expect("the kernel writes a number")
}
