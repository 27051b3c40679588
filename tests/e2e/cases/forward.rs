//! From outside to inside where a rule lets it, and hairpin.

use std::fs;
use std::net::SocketAddrV4;
use std::time::SystemTime;

use genkan_lab::topology::Role::{Console, Laptop, Nas, Remote};

use crate::cases;
use crate::fixture::{Lab, PATIENCE, SILENCE, WEB, wait_for};
use crate::outcome::Outcome;
use crate::programs::need;
use crate::servers::{Server, ask, connect, connect_within, exchange, greeting, receive, udp};

cases![
    tcp_forward_shows_the_client,
    udp_forward_answers_from_the_external_port,
    hairpin_reaches_the_forward,
    hairpin_reaches_the_host_itself,
    dmz_takes_the_rest;
    only_genkan:
    ranges_map_one_to_one,
    from_admits_only_its_sources,
    closed_forward_does_not_fall_to_the_dmz,
    forward_of_one_address_only,
    new_session_of_a_forward_target_leaves_from_its_port,
    one_to_one_external_address,
    pings_of_a_one_to_one_address_reach_its_host,
    hairpin_of_udp_mappings,
    hairpin_through_the_dmz,
    max_sessions_refuses_one_more_until_one_is_closed,
    the_brake_refuses_and_admits_later,
    the_listing_says_why_a_forward_is_closed,
];

fn tcp_forward_shows_the_client() -> Outcome {
    let lab = Lab::start(WEB);
    let _server = Server::tcp(&lab.host(Nas), 8080);
    let mut stream = connect(&lab.host(Remote), lab.wan(80)).expect("the forward is open");
    let seen = greeting(&mut stream);
    assert_eq!(*seen.ip(), lab.address.remote, "the server sees the real client");
    exchange(&mut stream, &vec![b'x'; 300_000]);
    // The neighbouring ports and the internal port number stay closed.
    for port in [79, 81, 8080] {
        assert!(connect_within(&lab.host(Remote), lab.wan(port), SILENCE).is_err(), "port {port} is open");
    }
    Ok(())
}

fn udp_forward_answers_from_the_external_port() -> Outcome {
    let lab = Lab::start(
        r#"
[[forward]]
name = "game"
protocol = "udp"
port = 27015
to = "192.168.0.10:5000"
"#,
    );
    let _server = Server::udp(&lab.host(Nas), 5000);
    let socket = udp(&lab.host(Remote), 40_000);
    // `ask` insists on the answer coming from where the question went. The long ones go as fragments.
    for length in [4, 1472, 1473, 20_000] {
        let seen = ask(&socket, lab.wan(27015), &vec![b'x'; length], PATIENCE);
        assert_eq!(seen, Some(SocketAddrV4::new(lab.address.remote, 40_000)), "{length} octets");
    }
    Ok(())
}

/// RFC 4787 REQ-9a: the server sees the external endpoint of the inside client.
fn hairpin_reaches_the_forward() -> Outcome {
    let lab = Lab::start(WEB);
    let _server = Server::tcp(&lab.host(Nas), 8080);
    let mut stream = connect(&lab.host(Laptop), lab.wan(80)).expect("hairpin works");
    assert_eq!(*greeting(&mut stream).ip(), lab.address.wan);
    exchange(&mut stream, &vec![b'x'; 300_000]);
    Ok(())
}

fn hairpin_reaches_the_host_itself() -> Outcome {
    let lab = Lab::start(WEB);
    let _server = Server::tcp(&lab.host(Nas), 8080);
    let mut stream = connect(&lab.host(Nas), lab.wan(80)).expect("hairpin to oneself works");
    assert_eq!(*greeting(&mut stream).ip(), lab.address.wan);
    exchange(&mut stream, b"myself");
    Ok(())
}

fn dmz_takes_the_rest() -> Outcome {
    let lab = Lab::start(&format!("{WEB}\n[dmz]\nto = \"192.168.0.50\"\n"));
    let (web, rest) = (Server::tcp(&lab.host(Nas), 8080), Server::tcp(&lab.host(Console), 4000));
    let rest_udp = Server::udp(&lab.host(Console), 4000);
    let mut stream = connect(&lab.host(Remote), lab.wan(80)).expect("the forward is open");
    greeting(&mut stream);
    let mut stream = connect(&lab.host(Remote), lab.wan(4000)).expect("the DMZ host answers");
    assert_eq!(*greeting(&mut stream).ip(), lab.address.remote);
    assert!(ask(&udp(&lab.host(Remote), 0), lab.wan(4000), b"dgram", PATIENCE).is_some());
    assert_eq!((web.seen().len(), rest.seen().len(), rest_udp.seen().len()), (1, 1, 1));
    Ok(())
}

fn ranges_map_one_to_one() -> Outcome {
    let lab = Lab::start(
        r#"
[[forward]]
name = "range"
protocol = ["tcp", "udp"]
port = "10000-10010"
to = "192.168.0.10"

[[forward]]
name = "shifted"
protocol = "tcp"
port = "20000-20002"
to = "192.168.0.10:10000-10002"

[[forward]]
name = "list"
protocol = "udp"
port = [300, "400-401"]
to = "192.168.0.20"
"#,
    );
    let (nas, laptop, remote) = (lab.host(Nas), lab.host(Laptop), lab.host(Remote));
    let _tcp = [10000, 10001, 10002, 10010].map(|port| Server::tcp(&nas, port));
    let servers = [Server::udp(&nas, 10010), Server::udp(&laptop, 300), Server::udp(&laptop, 401)];
    let seen = |server: &Server| server.seen().len();
    for port in [10000, 10010, 20000, 20002] {
        let mut stream =
            connect(&remote, lab.wan(port)).unwrap_or_else(|error| panic!("port {port}: {error}"));
        assert_eq!(*greeting(&mut stream).ip(), lab.address.remote);
    }
    for port in [9999, 10011, 19999, 20003] {
        assert!(connect_within(&remote, lab.wan(port), SILENCE).is_err(), "port {port} is open");
    }
    let socket = udp(&remote, 0);
    for (port, server) in [10010, 300, 401].into_iter().zip(&servers) {
        assert!(ask(&socket, lab.wan(port), b"?", PATIENCE).is_some(), "port {port} is closed");
        assert_eq!(seen(server), 1, "port {port} went astray");
    }
    assert_eq!(ask(&socket, lab.wan(402), b"?", SILENCE), None);
    Ok(())
}

fn from_admits_only_its_sources() -> Outcome {
    let lab = Lab::start(
        r#"
[[forward]]
name = "ssh"
protocol = "tcp"
port = 22
to = "192.168.0.10"
from = ["198.51.100.8/32"]
"#,
    );
    let server = Server::tcp(&lab.host(Nas), 22);
    assert!(connect_within(&lab.host(Remote), lab.wan(22), SILENCE).is_err(), "a stranger got in");
    assert_eq!(lab.dropped("forward_source"), 1);
    need("nc")?;
    let script = "nc -q 1 -w 3 -s 198.51.100.8 203.0.113.1 22 </dev/null";
    let said = lab.run(Remote, "sh", &["-c", script]).expect_ok();
    assert!(said.stdout.starts_with("198.51.100.8:"), "{said:?}");
    // Inside hosts pass every `from`.
    greeting(&mut connect(&lab.host(Laptop), lab.wan(22)).expect("hairpin passes"));
    assert_eq!(server.seen().len(), 2);
    Ok(())
}

fn closed_forward_does_not_fall_to_the_dmz() -> Outcome {
    let lab = Lab::start(
        r#"
[[forward]]
name = "off"
protocol = "tcp"
port = 8080
to = "192.168.0.10"
enabled = false

[dmz]
to = "192.168.0.50"
"#,
    );
    let _server = Server::tcp(&lab.host(Nas), 8080);
    let dmz = Server::tcp(&lab.host(Console), 8080);
    assert!(connect_within(&lab.host(Remote), lab.wan(8080), SILENCE).is_err());
    assert_eq!(dmz.seen(), [], "the DMZ host got what a closed forward owns");
    assert_eq!(lab.dropped("forward_closed"), 1);
    Ok(())
}

fn forward_of_one_address_only() -> Outcome {
    let lab = Lab::start(
        r#"addresses = ["203.0.113.5"]

[[forward]]
name = "second"
protocol = "tcp"
port = 80
to = "192.168.0.10"
address = "203.0.113.5"
"#,
    );
    let _server = Server::tcp(&lab.host(Nas), 80);
    assert!(connect_within(&lab.host(Remote), lab.wan(80), SILENCE).is_err());
    let mut stream =
        connect(&lab.host(Remote), SocketAddrV4::new(lab.address.wan_spare, 80)).expect("it is open");
    assert_eq!(*greeting(&mut stream).ip(), lab.address.remote);
    Ok(())
}

/// Peers see one endpoint, whoever speaks first.
fn new_session_of_a_forward_target_leaves_from_its_port() -> Outcome {
    let lab = Lab::start(
        r#"
[[forward]]
name = "game"
protocol = "udp"
port = 3074
to = "192.168.0.50:5000"
"#,
    );
    let _server = Server::udp(&lab.host(Remote), 7);
    let socket = udp(&lab.host(Console), 5000);
    let seen = ask(&socket, SocketAddrV4::new(lab.address.remote, 7), b"?", PATIENCE);
    assert_eq!(seen, Some(lab.wan(3074)));
    Ok(())
}

/// The nas has an external address for itself.
const ONE_TO_ONE: &str = r#"addresses = ["203.0.113.5"]

[[host]]
name = "nas"
address = "192.168.0.10"
external = "203.0.113.5"
"#;

fn one_to_one_external_address() -> Outcome {
    let lab = Lab::start(ONE_TO_ONE);
    let spare = lab.address.wan_spare;
    let _far = Server::udp(&lab.host(Remote), 7);
    let remote = SocketAddrV4::new(lab.address.remote, 7);
    assert_eq!(
        ask(&udp(&lab.host(Nas), 999), remote, b"?", PATIENCE),
        Some(SocketAddrV4::new(spare, 999)),
        "a 1:1 host keeps all its ports, low ones too"
    );
    let seen = ask(&udp(&lab.host(Laptop), 0), remote, b"?", PATIENCE).expect("an answer");
    assert_eq!(*seen.ip(), lab.address.wan, "others do not use that address");
    // All ports come in there, and nothing at the other address.
    let _near = Server::tcp(&lab.host(Nas), 4321);
    let mut stream = connect(&lab.host(Remote), SocketAddrV4::new(spare, 4321)).expect("all ports come in");
    assert_eq!(*greeting(&mut stream).ip(), lab.address.remote);
    assert!(connect_within(&lab.host(Remote), lab.wan(4321), SILENCE).is_err());
    Ok(())
}

/// RFC 5508 REQ-7, from outside and by hairpin.
fn pings_of_a_one_to_one_address_reach_its_host() -> Outcome {
    need("ping")?;
    let lab = Lab::start(ONE_TO_ONE);
    let spare = lab.address.wan_spare.to_string();
    let nas = lab.host(Nas);
    let asked = || {
        let text = nas.run(|| fs::read_to_string("/proc/thread-self/net/snmp")).expect("/proc is there");
        let mut rows = text.lines().filter_map(|line| line.strip_prefix("Icmp: "));
        let mut columns =
            rows.next().expect("names").split(' ').zip(rows.next().expect("numbers").split(' '));
        let (_, count) = columns.find(|(name, _)| *name == "InEchos").expect("a count of echo requests");
        count.parse::<u32>().expect("a number")
    };
    for asker in [Remote, Laptop, Nas] {
        for size in ["56", "3000"] {
            let before = asked();
            let said = lab.run(asker, "ping", &["-c", "3", "-i", "0.05", "-W", "5", "-s", size, &spare]);
            assert!(
                said.ok && said.stdout.contains(&format!("bytes from {spare}: ")),
                "{asker:?}: {said:#?}"
            );
            assert_eq!(asked() - before, 3, "asked by {asker:?}: {said:#?}");
        }
    }
    // A host that does not answer is not answered for.
    nas.run(|| fs::write("/proc/sys/net/ipv4/icmp_echo_ignore_all", "1")).expect("its own setting");
    for asker in [Remote, Laptop] {
        let said = lab.run(asker, "ping", &["-c", "2", "-i", "0.05", "-W", "0.3", &spare]);
        assert_eq!(said.code, Some(1), "{said:#?}");
        lab.run(asker, "ping", &["-c", "1", "-W", "5", &lab.address.wan.to_string()]).expect_ok();
    }
    Ok(())
}

/// RFC 4787 REQ-9: two inside hosts that know each other by their external endpoints only, as games do.
fn hairpin_of_udp_mappings() -> Outcome {
    let lab = Lab::start("[nat]\nfiltering = \"endpoint-independent\"\n");
    let _server = Server::udp(&lab.host(Remote), 7);
    let remote = SocketAddrV4::new(lab.address.remote, 7);
    let (one, two) = (udp(&lab.host(Nas), 0), udp(&lab.host(Laptop), 0));
    let first = ask(&one, remote, b"?", PATIENCE).expect("a mapping");
    let second = ask(&two, remote, b"?", PATIENCE).expect("a mapping");
    one.send_to(b"hello", second).expect("there is a route");
    let from = receive(&two, PATIENCE, |text, from| (text == b"hello").then_some(from));
    assert_eq!(from, Some(first), "the source is the external endpoint");
    two.send_to(b"hello back", first).expect("there is a route");
    let from = receive(&one, PATIENCE, |text, from| (text == b"hello back").then_some(from));
    assert_eq!(from, Some(second));
    Ok(())
}

fn hairpin_through_the_dmz() -> Outcome {
    let lab = Lab::start("[dmz]\nto = \"192.168.0.50\"\n");
    let _server = Server::tcp(&lab.host(Console), 5555);
    let mut stream = connect(&lab.host(Laptop), lab.wan(5555)).expect("the DMZ host answers");
    assert_eq!(*greeting(&mut stream).ip(), lab.address.wan);
    Ok(())
}

fn max_sessions_refuses_one_more_until_one_is_closed() -> Outcome {
    let lab = Lab::start(&format!("{WEB}max_sessions = 2\n"));
    let _server = Server::tcp(&lab.host(Nas), 8080);
    let mut open =
        [Remote, Laptop].map(|client| connect(&lab.host(client), lab.wan(80)).expect("there is place"));
    for stream in &mut open {
        greeting(stream);
    }
    assert!(connect_within(&lab.host(Remote), lab.wan(80), SILENCE).is_err(), "one too many");
    assert!(lab.dropped("forward_session_limit") >= 1);
    let said = lab.genkan(&["forwards"]).expect_ok();
    assert!(said.stdout.contains(" 2/2 "), "{said:#?}");
    exchange(&mut open[0], b"still here");
    // Another limit ends nothing.
    lab.reload(&format!("{WEB}max_sessions = 1\n"));
    assert!(connect_within(&lab.host(Remote), lab.wan(80), SILENCE).is_err());
    open.iter_mut().for_each(|stream| exchange(stream, b"still here"));
    drop(open);
    wait_for("closed connections make place", || {
        connect_within(&lab.host(Remote), lab.wan(80), SILENCE)
            .is_ok_and(|mut stream| greeting(&mut stream).port() > 0)
    });
    Ok(())
}

fn the_brake_refuses_and_admits_later() -> Outcome {
    let lab = Lab::start(&format!("{WEB}max_new_per_source = \"10/h\"\n"));
    let server = Server::tcp(&lab.host(Nas), 8080);
    for _ in 0..10 {
        greeting(&mut connect(&lab.host(Remote), lab.wan(80)).expect("ten an hour"));
    }
    // The next one in six minutes.
    assert!(connect_within(&lab.host(Remote), lab.wan(80), SILENCE).is_err());
    wait_for("it is counted", || lab.dropped("forward_source_rate") >= 1);
    // Inside hosts are not braked.
    greeting(&mut connect(&lab.host(Laptop), lab.wan(80)).expect("not braked"));
    assert_eq!(server.seen().len(), 11);
    // After a while the source gets through again, be it that its kernel asks again.
    lab.reload(&format!("{WEB}max_new_per_source = \"1/s\"\n"));
    for _ in 0..3 {
        greeting(&mut connect(&lab.host(Remote), lab.wan(80)).expect("the brake lets go"));
    }
    wait_for("it is told", || lab.genkan(&["events"]).expect_ok().stdout.contains("opens sessions too fast"));
    Ok(())
}

fn the_listing_says_why_a_forward_is_closed() -> Outcome {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is later");
    let hour = since_1970.as_secs() / 3_600;
    let (begins, ends) = ((hour + 6) % 24, (hour + 7) % 24);
    let forward = |name: &str, port: u16, keys: &str| {
        let head = format!("[[forward]]\nname = \"{name}\"\nprotocol = \"tcp\"\nport = {port}\n");
        format!("{head}to = \"192.168.0.10\"\n{keys}\n")
    };
    let rules = [
        "\n[router]\ntimezone = \"UTC\"\n".to_owned(),
        forward("open", 80, ""),
        forward("off", 81, "enabled = false"),
        forward("over", 82, "expires = 2026-01-01T00:00:00Z"),
        forward("hours", 83, &format!("schedule = \"{begins:02}:00-{ends:02}:00\"")),
    ];
    let lab = Lab::start(&rules.concat());
    let said = lab.genkan(&["forwards", "--format", "json"]).expect_ok();
    let rows: serde_json::Value = serde_json::from_str(&said.stdout).expect("it is JSON");
    let state = |at: usize| {
        let row = &rows[at];
        (row["open"] == true, row["closed_by"].as_str(), row["opens"].as_u64())
    };
    assert_eq!(state(0), (true, None, None));
    assert_eq!(state(1), (false, Some("disabled"), None));
    assert_eq!(state(2), (false, Some("expired"), None));
    assert_eq!(state(3), (false, Some("schedule"), Some((hour + 6) * 3_600)));
    let table = lab.genkan(&["forwards"]).expect_ok().stdout;
    for words in [" open ", " disabled ", " expired 2026-01-01T00:00:00Z ", &format!("T{begins:02}:00:00Z ")]
    {
        assert!(table.contains(words), "{words} is not in\n{table}");
    }
    Ok(())
}
