//! Changes beside a thousand connections, a transfer and datagrams that are counted at both ends.

use std::fs;
use std::net::{SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use genkan_lab::topology::Role::{Laptop, Nas, Remote};

use super::changes::{RULES, add};
use crate::counted::{Counted, Flow};
use crate::fixture::{Lab, PATIENCE, wait_for};
use crate::outcome::Outcome;
use crate::programs::{Background, need, run};
use crate::servers::{Server, ask, connect, exchange, greeting, udp};
use crate::steady::octets;
use crate::{cases, setup};

cases![
    ;
    only_genkan:
    a_hundred_changes_concern_nobody_else,
];

/// Connections, half of them out and half of them in.
const SESSIONS: usize = 1_000;

/// Between two datagrams of a [`Counted`] way.
const PAUSE: Duration = Duration::from_micros(500);

fn a_hundred_changes_concern_nobody_else() -> Outcome {
    need("iperf3")?;
    let forward = |name, port| {
        format!("[[forward]]\nname = \"{name}\"\nprotocol = \"udp\"\nport = {port}\nto = \"192.168.0.10\"\n")
    };
    let lab = Lab::start(&[RULES, &forward("log", 514), &forward("guest", 515)].concat());
    let (laptop, nas, remote) = (lab.host(Laptop), lab.host(Nas), lab.host(Remote));
    let _servers = [Server::tcp(&nas, 8080), Server::tcp(&remote, 7), Server::udp(&remote, 9)];
    let out = |port| SocketAddrV4::new(lab.address.remote, port);
    let mut sessions: Vec<TcpStream> = (0..SESSIONS)
        .map(|number| {
            let (from, to) = if number % 2 == 0 { (&laptop, out(7)) } else { (&remote, lab.wan(80)) };
            let mut session = connect(from, to).expect("the way is open");
            greeting(&mut session);
            session
        })
        .collect();

    let _server = Background::start(&remote, "iperf3", &["--server", "--one-off"]);
    wait_for("iperf3 listens", || {
        run(&remote, "sh", &["-c", "grep -qE ':1451 [0-9A-F:]+ 0A' /proc/net/tcp /proc/net/tcp6"]).ok
    });
    // Not all that the way can carry: then datagrams are lost without any change.
    let rate = if setup::is_slow() { "50M" } else { "500M" };
    let address = lab.address.remote.to_string();
    let mut iperf =
        Background::start(&laptop, "iperf3", &["--client", &address, "--time", "120", "--bitrate", rate]);
    let count = |from, to, role, port| {
        let at = lab.host(role);
        let socket = udp(&at, port);
        Counted::start(PAUSE, udp(from, 0), to, at, socket)
    };
    let counted = [count(&laptop, out(514), Remote, 514), count(&remote, lab.wan(514), Nas, 514)];
    let guest = count(&remote, lab.wan(515), Nas, 515);

    let (changing, rounds) = (AtomicBool::new(true), AtomicU64::new(0));
    thread::scope(|scope| {
        let (changing, rounds, sessions) = (&changing, &rounds, &mut sessions);
        let talking = scope.spawn(move || {
            while changing.load(Ordering::Relaxed) {
                sessions.iter_mut().for_each(|session| exchange(session, b"hello"));
                rounds.fetch_add(1, Ordering::Relaxed);
            }
        });
        let (began, before) = (Instant::now(), octets(&remote, "eth0"));
        for number in 0..100 {
            let port = (2000 + number / 2).to_string();
            match number % 2 {
                0 => lab.genkan(&add("more", "tcp", &port, "192.168.0.20")).expect_ok(),
                _ => lab.genkan(&["forward", "remove", "more"]).expect_ok(),
            };
            if number % 5 == 0 {
                let text = fs::read_to_string(lab.config_file()).expect("there is a file");
                fs::write(lab.config_file(), format!("{text}# {number}\n")).expect("written");
                lab.genkan(&["reload"]).expect_ok();
            }
        }
        let took = began.elapsed();
        println!("100 changes and 20 reloads in {took:?}");
        assert!(iperf.is_running(), "iperf3 has ended");
        // What is counted and the sessions bring next to nothing.
        let carried = (octets(&remote, "eth0") - before) as f64 * 8.0;
        println!("iperf3 carried {:.0} Mbit/s", carried / took.as_secs_f64() / 1e6);
        a_removed_forward_ends(&lab, guest);
        a_new_forward_wins(&lab);
        changing.store(false, Ordering::Relaxed);
        talking.join().expect("every session lives");
    });
    println!("{SESSIONS} sessions spoke {} times", rounds.load(Ordering::Relaxed));
    let counts = counted.map(Counted::end);
    println!("datagrams sent and received: {counts:?}");
    assert!(counts.iter().all(Flow::is_whole), "{counts:?}");
    sessions.iter_mut().for_each(|session| exchange(session, b"still here"));
    Ok(())
}

/// What it let in has ended when the answer comes: of what is sent from then on nothing arrives.
fn a_removed_forward_ends(lab: &Lab, guest: Counted) {
    let asked = Instant::now();
    lab.genkan(&["forward", "remove", "guest"]).expect_ok();
    let (sent, answered) = (guest.sent(), asked.elapsed());
    guest.wait_for_more(100);
    let flow = guest.end();
    println!("removal: answered after {answered:?}, {sent} sent by then; {flow:?}");
    assert!(flow.newest < sent, "the session outlived its forward: {flow:?}, {sent}");
}

/// On the port of a dynamic mapping, with the first datagram after it was acknowledged.
fn a_new_forward_wins(lab: &Lab) {
    let _inside = Server::udp(&lab.host(Nas), 5000);
    let (laptop, stranger) = (udp(&lab.host(Laptop), 5000), udp(&lab.host(Remote), 0));
    let remote = SocketAddrV4::new(lab.address.remote, 9);
    assert_eq!(ask(&laptop, remote, b"who am I", PATIENCE), Some(lab.wan(5000)));
    lab.genkan(&add("game", "udp", "5000", "192.168.0.10")).expect_ok();
    assert!(ask(&stranger, lab.wan(5000), b"nas?", PATIENCE).is_some(), "the first datagram went elsewhere");
}
