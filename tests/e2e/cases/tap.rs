//! TAP devices as the hosts' network cards: the router makes them, then they move into the hosts' namespaces.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddrV4, UdpSocket};

use genkan_lab::Options;
use genkan_lab::topology::Role::{Isp, Nas, Remote, Router};
use nix::sys::socket::{setsockopt, sockopt};

use crate::cases;
use crate::fixture::{Lab, PATIENCE, SILENCE, wait_for};
use crate::outcome::{Outcome, Skip};
use crate::programs::{need, need_tun, run};
use crate::servers::{Server, connect, connect_within, exchange, greeting, receive, udp};
use crate::setup;
use crate::stream;

cases![
    ;
    only_genkan:
    taps_serve_the_namespaces_that_they_moved_to,
    a_tap_that_is_deleted_far_away_is_made_anew,
    an_upgrade_keeps_taps_that_have_moved,
];

const RULES: &str = r#"backend = "tap"

[[lan]]
name = "home"
device = "lan0"
backend = "tap"
address = "192.168.0.1/24"

[[forward]]
name = "stream"
protocol = "tcp"
port = 9000
to = "192.168.0.10"
"#;

/// A lab whose router makes its own devices.
fn lab() -> Result<Lab, Skip> {
    need_tun()?;
    let lab = Lab::without_router(&Options { hosts: 1, ..Options::default() });
    for device in ["wan0", "lan0"] {
        // The other ends go with them.
        run(&lab.host(Router), "ip", &["link", "delete", device]).expect_ok();
    }
    lab.start_router(RULES).unwrap_or_else(|error| panic!("{error}"));
    Ok(lab)
}

/// Makes the router's `wan0` the provider's network card.
fn move_wan(lab: &Lab) {
    let isp = lab.host(Isp);
    run(&lab.host(Router), "ip", &["link", "set", "wan0", "netns", isp.name()]).expect_ok();
    for arguments in [
        &["link", "set", "wan0", "name", "eth0"][..],
        &["address", "add", "203.0.113.2/24", "dev", "eth0"],
        &["link", "set", "eth0", "up"],
    ] {
        run(&isp, "ip", arguments).expect_ok();
    }
}

/// Makes the router's `lan0` the network card of the host inside.
fn move_lan(lab: &Lab) {
    let nas = lab.host(Nas);
    run(&lab.host(Router), "ip", &["link", "set", "lan0", "netns", nas.name()]).expect_ok();
    for arguments in [
        &["link", "set", "lan0", "name", "eth0"][..],
        &["address", "add", "192.168.0.10/24", "dev", "eth0"],
        &["link", "set", "eth0", "up"],
        &["route", "add", "default", "via", "192.168.0.1"],
    ] {
        run(&nas, "ip", arguments).expect_ok();
    }
}

/// Frames that left by this port within another's super-frame.
fn merged(lab: &Lab, port: &str) -> u64 {
    let said = lab.genkan(&["counters", "--format", "json"]).expect_ok();
    let report: serde_json::Value = serde_json::from_str(&said.stdout).expect("it is JSON");
    let ports = report["ports"].as_array().expect("there are ports");
    let row = ports.iter().find(|row| row["port"] == port).expect("it is there");
    row["tx_merged"].as_u64().expect("a number")
}

/// Sends a stream to a server that sends another one back once it got all of it, each compared octet by octet.
fn transfer(lab: &Lab, octets: u64) {
    let remote = SocketAddrV4::new(lab.address.remote, 9000);
    let exchange = move |stream: &mut std::net::TcpStream, _| {
        stream::compare(&mut &*stream, 1, octets)?;
        stream::send(stream, 2, octets)
    };
    let _servers = [
        Server::tcp_with(&lab.host(Remote), 9000, exchange),
        Server::tcp_with(&lab.host(Nas), 9000, exchange),
    ];
    for (host, to) in [(lab.host(Nas), remote), (lab.host(Remote), lab.wan(9000))] {
        let mut stream = connect(&host, to).expect("the way is open");
        let mut sender = stream.try_clone().expect("a second descriptor");
        let sending = std::thread::spawn(move || {
            stream::send(&mut sender, 1, octets)?;
            sender.shutdown(Shutdown::Write)
        });
        stream::compare(&mut stream, 2, octets).expect("both streams arrive whole");
        sending.join().expect("no panic").expect("all was sent");
    }
}

fn taps_serve_the_namespaces_that_they_moved_to() -> Outcome {
    need("ethtool")?;
    let lab = lab()?;
    move_lan(&lab);
    move_wan(&lab);
    assert!(lab.genkan(&["status"]).ok);

    // Super-frames that the host's kernel makes, and some that nobody makes but the router.
    let octets = if setup::is_slow() { 4 << 20 } else { 64 << 20 };
    transfer(&lab, octets);
    for host in [Nas, Isp] {
        let off = ["-K", "eth0", "tso", "off", "gso", "off"];
        run(&lab.host(host), "ethtool", &off).expect_ok();
    }
    let before = merged(&lab, "wan");
    transfer(&lab, octets);
    assert!(merged(&lab, "wan") > before, "nothing was merged");

    // Datagrams in one call, by the kernel's own segmentation; then a burst of single ones.
    let server = lab.host(Isp).run(|| UdpSocket::bind("0.0.0.0:9000")).expect("the port is free");
    let client = udp(&lab.host(Nas), 0);
    let target = SocketAddrV4::new(lab.address.isp, 9000);
    let expect = |sizes: &[usize]| {
        for (number, size) in sizes.iter().enumerate() {
            let length = receive(&server, PATIENCE, |datagram, _| Some(datagram.len()));
            assert_eq!(length, Some(*size), "datagram {number} of {}", sizes.len());
        }
    };
    setsockopt(&client, sockopt::UdpGsoSegment, &1000).expect("every kernel since 4.18 can");
    client.send_to(&[7; 9500], target).expect("it is sent");
    expect(&[&[1000; 9][..], &[500]].concat());
    setsockopt(&client, sockopt::UdpGsoSegment, &0).expect("every kernel since 4.18 can");
    for size in [18, 18, 18, 18, 5, 18, 18, 0, 18] {
        client.send_to(&vec![7; size], target).expect("it is sent");
    }
    expect(&[18, 18, 18, 18, 5, 18, 18, 0, 18]);

    let log = lab.router(|router| router.log());
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
    assert!(lab.genkan(&["status"]).ok);
    assert_eq!(lab.stop_router(), Some(0));
    Ok(())
}

fn a_tap_that_is_deleted_far_away_is_made_anew() -> Outcome {
    let lab = lab()?;
    move_lan(&lab);
    move_wan(&lab);
    let _server = Server::tcp_with(&lab.host(Remote), 7, |stream, _| stream.write_all(b"hello"));
    let remote = SocketAddrV4::new(lab.address.remote, 7);
    let hello = || {
        let mut text = String::new();
        let mut stream = connect_within(&lab.host(Nas), remote, SILENCE).ok()?;
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    };
    wait_for("packets flow", || hello().as_deref() == Some("hello"));
    run(&lab.host(Isp), "ip", &["link", "delete", "eth0"]).expect_ok();
    let router = lab.host(Router);
    wait_for("the device is there again", || run(&router, "ip", &["link", "show", "wan0"]).ok);
    move_wan(&lab);
    wait_for("packets flow again", || hello().as_deref() == Some("hello"));
    Ok(())
}

/// They have another name and another namespace by then, and go on with their carrier.
fn an_upgrade_keeps_taps_that_have_moved() -> Outcome {
    let lab = lab()?;
    move_wan(&lab);
    move_lan(&lab);
    wait_for("both ends are there", || lab.genkan(&["status"]).ok);
    let _server = Server::tcp(&lab.host(Remote), 7);
    let to = SocketAddrV4::new(lab.address.remote, 7);
    let mut call = connect(&lab.host(Nas), to).expect("the way is open");
    greeting(&mut call);
    for _ in 0..2 {
        lab.genkan(&["upgrade"]).expect_ok();
        exchange(&mut call, b"still here");
    }
    Ok(())
}
