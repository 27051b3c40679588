//! From inside to outside, and nobody the other way.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use genkan_lab::topology::Role::{Isp, Laptop, Nas, Remote};

use crate::fixture::{Lab, PATIENCE, SILENCE, wait_for};
use crate::outcome::Outcome;
use crate::servers::{Server, ask, connect, connect_within, exchange, greeting, udp};
use crate::{cases, setup, stream};

cases![
    tcp_leaves_from_the_wan_address,
    udp_keeps_its_port_and_gets_answers,
    nobody_comes_in_unasked,
    two_hosts_with_one_port_both_get_answers,
    refusals_from_outside_reach_the_asker,
    large_datagrams_go_as_fragments,
    download_arrives_octet_by_octet,
    upload_arrives_octet_by_octet;
    only_genkan: one_mapping_for_all_remotes, inside_hosts_are_listed_with_what_they_use
];

fn tcp_leaves_from_the_wan_address() -> Outcome {
    let lab = Lab::start("");
    let server = Server::tcp(&lab.host(Remote), 7);
    let mut stream =
        connect(&lab.host(Laptop), SocketAddrV4::new(lab.address.remote, 7)).expect("the way out is open");
    let seen = greeting(&mut stream);
    assert_eq!(*seen.ip(), lab.address.wan);
    assert_eq!(server.seen(), [seen]);
    exchange(&mut stream, b"hello");
    exchange(&mut stream, &vec![b'x'; 300_000]);
    Ok(())
}

fn udp_keeps_its_port_and_gets_answers() -> Outcome {
    let lab = Lab::start("");
    let _server = Server::udp(&lab.host(Remote), 7);
    let socket = udp(&lab.host(Laptop), 40_007);
    let remote = SocketAddrV4::new(lab.address.remote, 7);
    assert_eq!(ask(&socket, remote, b"one", PATIENCE), Some(lab.wan(40_007)));
    assert_eq!(ask(&socket, remote, b"", PATIENCE), Some(lab.wan(40_007)), "an empty datagram is one, too");
    assert_eq!(ask(&socket, remote, &vec![7; 1472], PATIENCE), Some(lab.wan(40_007)));
    Ok(())
}

fn nobody_comes_in_unasked() -> Outcome {
    let lab = Lab::start("");
    let servers = [Server::tcp(&lab.host(Nas), 80), Server::udp(&lab.host(Nas), 80)];
    let remote = lab.host(Remote);
    for port in [22, 80, 443, 8080] {
        let error = connect_within(&remote, lab.wan(port), SILENCE).expect_err("the port is closed");
        assert_eq!(error.kind(), ErrorKind::TimedOut, "port {port} answered: {error}");
    }
    assert_eq!(ask(&udp(&remote, 0), lab.wan(80), b"knock", SILENCE), None);
    // Neither does a neighbour on the link who knows the addresses inside.
    lab.run(Isp, "ip", &["route", "add", "192.168.0.0/24", "via", "203.0.113.1"]).expect_ok();
    let inside = SocketAddrV4::new(lab.address.nas, 80);
    assert!(connect_within(&lab.host(Isp), inside, SILENCE).is_err());
    assert_eq!(ask(&udp(&lab.host(Isp), 0), inside, b"knock", SILENCE), None);
    for server in servers {
        assert_eq!(server.seen(), [], "somebody got in");
    }
    Ok(())
}

fn two_hosts_with_one_port_both_get_answers() -> Outcome {
    let lab = Lab::start("");
    let _server = Server::udp(&lab.host(Remote), 7);
    let remote = SocketAddrV4::new(lab.address.remote, 7);
    let (one, two) = (udp(&lab.host(Nas), 5000), udp(&lab.host(Laptop), 5000));
    let first = ask(&one, remote, b"one", PATIENCE).expect("the first host gets its answer");
    let second = ask(&two, remote, b"two", PATIENCE).expect("the second host gets its answer");
    assert_ne!(first, second, "two hosts must not share an external endpoint");
    assert_eq!(ask(&one, remote, b"one", PATIENCE), Some(first));
    assert_eq!(ask(&two, remote, b"two", PATIENCE), Some(second));
    Ok(())
}

/// A reset, and an ICMP error about a datagram (RFC 5508 REQ-4): the asker need not wait for a timeout.
fn refusals_from_outside_reach_the_asker() -> Outcome {
    let lab = Lab::start("");
    let closed = SocketAddrV4::new(lab.address.remote, 9);
    let laptop = lab.host(Laptop);
    let error = connect(&laptop, closed).expect_err("nobody listens there");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
    let socket = udp(&laptop, 0);
    socket.connect(closed).expect("there is a route");
    socket.send(b"hello?").expect("there is a route");
    socket.set_read_timeout(Some(PATIENCE)).expect("not zero");
    let error = socket.recv(&mut [0; 8]).expect_err("nobody listens there");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
    Ok(())
}

fn large_datagrams_go_as_fragments() -> Outcome {
    let lab = Lab::start("");
    let _server = Server::udp(&lab.host(Remote), 7);
    let socket = udp(&lab.host(Laptop), 40_007);
    let remote = SocketAddrV4::new(lab.address.remote, 7);
    for length in [1473, 3000, 20_000, 65_000] {
        let text = vec![b'x'; length];
        assert_eq!(ask(&socket, remote, &text, PATIENCE), Some(lab.wan(40_007)), "{length} octets");
    }
    Ok(())
}

/// RFC 4787 REQ-1: endpoint-independent mapping.
fn one_mapping_for_all_remotes() -> Outcome {
    let lab = Lab::start("");
    let remotes = [(lab.address.remote, 7), (lab.address.remote, 8), (lab.address.remote_second, 7)];
    let remotes = remotes.map(|(address, port)| SocketAddrV4::new(address, port));
    let _servers = remotes.map(|remote| Server::udp_at(&lab.host(Remote), remote));
    let socket = udp(&lab.host(Laptop), 0);
    let seen = remotes.map(|remote| ask(&socket, remote, b"who am I", PATIENCE).expect("an answer"));
    assert!(seen.iter().all(|endpoint| *endpoint == seen[0]), "different mappings: {seen:?}");
    Ok(())
}

fn inside_hosts_are_listed_with_what_they_use() -> Outcome {
    let lab = Lab::start("[[host]]\nname = \"nas\"\naddress = \"192.168.0.10\"\n");
    let _server = Server::udp(&lab.host(Remote), 7);
    let remote = SocketAddrV4::new(lab.address.remote, 7);
    let sockets = [5001, 5002].map(|port| udp(&lab.host(Laptop), port));
    let began = Instant::now();
    for _ in 0..50 {
        for socket in &sockets {
            ask(socket, remote, b"hello", PATIENCE).expect("an answer");
        }
    }
    let said = lab.genkan(&["hosts", "--format", "json"]).expect_ok();
    let took = began.elapsed();
    let rows: serde_json::Value = serde_json::from_str(&said.stdout).expect("it is JSON");
    let of = |address: Ipv4Addr| {
        let found = rows.as_array().expect("a list").iter().find(|row| row["address"] == address.to_string());
        found.cloned().unwrap_or_else(|| panic!("{address} is not among {rows}"))
    };
    let laptop = of(lab.address.laptop);
    assert_eq!((&laptop["sessions"], &laptop["external_ports"]), (&2.into(), &2.into()), "{laptop}");
    assert_eq!((&laptop["port"], &laptop["state"]), (&"home".into(), &"reachable".into()), "{laptop}");
    assert_eq!(laptop["external"], lab.address.wan.to_string());
    let nas = of(lab.address.nas);
    assert_eq!((&nas["name"], &nas["sessions"]), (&"nas".into(), &0.into()), "{nas}");
    // Who uses the line: a hundred datagrams each way, by an average that forgets all but 1/e in five seconds. In a
    // hundred batches few are of several frames, of which one is drawn to stand for all.
    let question = 14 + 20 + 8 + "hello".len();
    let answer = question + lab.wan(5001).to_string().len() + "\n".len();
    for (way, octets) in [("octets_per_second_in", answer), ("octets_per_second_out", question)] {
        let rate = |row: &serde_json::Value| row[way].as_f64().expect("a number");
        let most = 100.0 * octets as f64 / 5.0;
        let least = most * (-took.as_secs_f64() / 5.0).exp();
        assert!((0.8 * least..1.2 * most).contains(&rate(&laptop)), "{took:?}, {least} to {most}: {laptop}");
        assert_eq!(rate(&nas), 0.0);
    }
    let said = lab.genkan(&["hosts", "--sort", "traffic", "--limit", "1", "--format", "json"]).expect_ok();
    let busiest: serde_json::Value = serde_json::from_str(&said.stdout).expect("it is JSON");
    assert_eq!((busiest.as_array().map(Vec::len), &busiest[0]["address"]), (Some(1), &laptop["address"]));
    Ok(())
}

/// Octets of a long transfer: 1 GiB, less where the router is not optimised or the machine is small.
fn long_transfer() -> u64 {
    match (setup::is_slow(), setup::is_ci()) {
        (true, _) => 64 << 20,
        (false, true) => 256 << 20,
        (false, false) => 1 << 30,
    }
}

fn transfer(download: bool) {
    const SEED: u64 = 0x67_65_6e_6b;
    let total = long_transfer();
    let lab = Lab::start("");
    let result = Arc::new(Mutex::new(None));
    let arrived = Arc::clone(&result);
    let _server = Server::tcp_with(&lab.host(Remote), 7, move |stream, _| {
        let outcome = match download {
            true => stream::send(stream, SEED, total),
            false => stream::compare(stream, SEED, total),
        };
        *arrived.lock().expect("nobody panics") = Some(outcome);
        Ok(())
    });
    let mut client: TcpStream =
        connect(&lab.host(Laptop), SocketAddrV4::new(lab.address.remote, 7)).expect("the way out is open");
    if download {
        stream::compare(&mut client, SEED, total).expect("the download is whole");
    } else {
        stream::send(&mut client, SEED, total).expect("the upload goes on");
        drop(client);
    }
    wait_for("the server is done", || result.lock().expect("nobody panics").is_some());
    let outcome = result.lock().expect("nobody panics").take().expect("it is done");
    outcome.expect("the transfer is whole");
}

fn download_arrives_octet_by_octet() -> Outcome {
    transfer(true);
    Ok(())
}

fn upload_arrives_octet_by_octet() -> Outcome {
    transfer(false);
    Ok(())
}
