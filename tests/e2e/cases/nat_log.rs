//! The record of translations: who had which external endpoint, and when.

use std::fs;
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use genkan_lab::RouterError;
use genkan_lab::topology::Role::{Laptop, Nas, Remote};
use serde_json::{Value, json};

use crate::cases;
use crate::fixture::{Lab, WEB, wait_for};
use crate::outcome::Outcome;
use crate::programs::need;
use crate::servers::{Server, connect, exchange, greeting};

cases![
    ;
    only_genkan:
    connections_of_every_kind_are_recorded_once,
    the_record_begins_moves_and_ends_with_a_reload,
    a_file_that_cannot_be_written_is_refused,
];

fn file(lab: &Lab, name: &str) -> PathBuf {
    lab.config_file().with_file_name(name)
}

fn log(path: &Path, more: &str) -> String {
    format!("[log]\nnat_events = \"{}\"\n{more}", path.display())
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    // The last line may be under way.
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn milliseconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_millis() as u64
}

fn local(stream: &TcpStream) -> SocketAddrV4 {
    match stream.local_addr() {
        Ok(SocketAddr::V4(address)) => address,
        other => panic!("no address: {other:?}"),
    }
}

fn mapping(event: u8, protocol: u8, internal: SocketAddrV4, external: SocketAddrV4) -> Value {
    json!({
        "natEvent": event,
        "protocolIdentifier": protocol,
        "sourceIPv4Address": internal.ip(),
        "sourceTransportPort": internal.port(),
        "postNATSourceIPv4Address": external.ip(),
        "postNAPTSourceTransportPort": external.port(),
    })
}

fn session(mut mapping: Value, event: u8, remote: SocketAddrV4, realm: u8) -> Value {
    mapping["natEvent"] = event.into();
    mapping["destinationIPv4Address"] = json!(remote.ip());
    mapping["destinationTransportPort"] = remote.port().into();
    mapping["postNATDestinationIPv4Address"] = json!(remote.ip());
    mapping["postNAPTDestinationTransportPort"] = remote.port().into();
    mapping["natOriginatingAddressRealm"] = realm.into();
    mapping
}

/// Sorted, as several workers may tell of one moment, and without times.
fn timeless(lines: &[Value]) -> Vec<String> {
    let mut texts: Vec<String> = lines
        .iter()
        .map(|line| {
            let mut line = line.clone();
            line.as_object_mut().expect("an object").remove("observationTimeMilliseconds");
            line.to_string()
        })
        .collect();
    texts.sort_unstable();
    texts
}

fn connections_of_every_kind_are_recorded_once() -> Outcome {
    need("ping")?;
    let lab = Lab::without_router(&genkan_lab::Options::default());
    let path = file(&lab, "nat.jsonl");
    // Two pings a second apart would be one session; an identifier rests for a while then.
    let rules = format!("{WEB}{}[nat.timeouts]\nicmp = \"1s\"\n", log(&path, "nat_destinations = true\n"));
    lab.start_router(&rules).unwrap_or_else(|error| panic!("{error}"));
    let _servers = [Server::tcp(&lab.host(Remote), 7), Server::tcp(&lab.host(Nas), 8080)];
    let (laptop, remote) = (lab.host(Laptop), lab.host(Remote));
    let far = SocketAddrV4::new(lab.address.remote, 7);
    let nas = SocketAddrV4::new(lab.address.nas, 8080);
    let began = milliseconds();
    let mut expected = Vec::new();
    const TCP: u8 = 6;

    let mut out = connect(&laptop, far).expect("the way out is open");
    let outside = greeting(&mut out);
    let known = mapping(8, TCP, local(&out), outside);
    expected.extend([known.clone(), session(known, 4, far, 1)]);

    let mut forwarded = connect(&remote, lab.wan(80)).expect("it is forwarded");
    let peer = greeting(&mut forwarded);
    expected.push(session(mapping(4, TCP, nas, lab.wan(80)), 4, peer, 2));

    let mut round = connect(&laptop, lab.wan(80)).expect("it is turned round");
    let outside = greeting(&mut round);
    let known = mapping(8, TCP, local(&round), outside);
    expected.extend([known.clone(), session(known, 4, lab.wan(80), 1)]);
    expected.push(session(mapping(4, TCP, nas, lab.wan(80)), 4, outside, 2));

    wait_for("the connections are recorded", || lines(&path).len() >= expected.len());
    let told = lines(&path);
    assert_eq!(timeless(&told), timeless(&expected));
    let ended = milliseconds();
    for line in &told {
        let at = line["observationTimeMilliseconds"].as_u64().expect("a number");
        assert!((began - 1..=ended).contains(&at), "{began} to {ended}: {line}");
    }

    lab.run(Laptop, "ping", &["-c", "1", &lab.address.remote.to_string()]).expect_ok();
    wait_for("the ping is over", || lines(&path).len() >= told.len() + 4);
    let ping = lines(&path).split_off(told.len());
    let port = |name: &str| ping[0][name].as_u64().expect("an identifier") as u16;
    let inside = SocketAddrV4::new(lab.address.laptop, port("sourceTransportPort"));
    let outside = lab.wan(port("postNAPTSourceTransportPort"));
    let known = mapping(8, 1, inside, outside);
    let query = session(known.clone(), 4, SocketAddrV4::new(lab.address.remote, 0), 1);
    let over = [
        session(query.clone(), 5, SocketAddrV4::new(lab.address.remote, 0), 1),
        mapping(9, 1, inside, outside),
    ];
    assert_eq!(timeless(&ping), timeless(&[&[known, query], &over[..]].concat()));

    // What goes on after a restart or an upgrade has begun before it.
    let restart = || {
        assert_eq!(lab.stop_router(), Some(0));
        lab.start_router_again().unwrap_or_else(|error| panic!("{error}"));
    };
    let upgrade = || {
        lab.genkan(&["upgrade"]).expect_ok();
    };
    let mut known = told.len() + 4;
    for go_on in [&restart as &dyn Fn(), &upgrade] {
        go_on();
        for stream in [&mut out, &mut forwarded, &mut round] {
            exchange(stream, b"still here");
        }
        connect(&laptop, far).expect("the way out is open");
        wait_for("a new one is recorded", || lines(&path).len() >= known + 2);
        let all = lines(&path);
        let new: Vec<u64> = all[known..].iter().filter_map(|line| line["natEvent"].as_u64()).collect();
        assert_eq!(new, [8, 4], "only that");
        known = all.len();
    }
    Ok(())
}

fn the_record_begins_moves_and_ends_with_a_reload() -> Outcome {
    let lab = Lab::start(WEB);
    let _server = Server::tcp(&lab.host(Remote), 7);
    let far = SocketAddrV4::new(lab.address.remote, 7);
    let open = || greeting(&mut connect(&lab.host(Laptop), far).expect("the way out is open"));
    let [first, second, moved] = ["first.jsonl", "second.jsonl", "moved.jsonl"].map(|name| file(&lab, name));
    // Each connection gives one line, of its mapping.
    let ports = |path: &Path| -> Vec<u64> {
        lines(path).iter().filter_map(|line| line["postNAPTSourceTransportPort"].as_u64()).collect()
    };
    let recorded = |path: &Path| {
        let port = u64::from(open().port());
        wait_for("the connection is recorded", || ports(path).contains(&port));
        port
    };

    open();
    lab.reload(&format!("{WEB}{}", log(&first, "")));
    let in_first = [recorded(&first), recorded(&first)];
    // As logrotate does it.
    fs::rename(&first, &moved).expect("it is ours");
    let anew = recorded(&first);
    assert_eq!((ports(&moved), ports(&first)), (in_first.to_vec(), vec![anew]));

    lab.reload(&format!("{WEB}{}", log(&second, "")));
    let in_second = recorded(&second);
    assert_eq!(ports(&first), [anew]);

    lab.write_rules(&format!("{WEB}{}", log(Path::new("/proc/genkan/nat.jsonl"), "")));
    let refused = lab.genkan(&["reload"]);
    assert!(!refused.ok, "{refused:?}");
    assert!(refused.stderr.contains("log.nat_events: /proc/genkan/nat.jsonl"), "{}", refused.stderr);
    let as_before = recorded(&second);
    assert_eq!(ports(&second), [in_second, as_before]);

    lab.reload(WEB);
    open();
    // A reload waits until the file is whole.
    lab.reload(WEB);
    assert_eq!(ports(&second), [in_second, as_before]);
    Ok(())
}

fn a_file_that_cannot_be_written_is_refused() -> Outcome {
    let lab = Lab::without_router(&genkan_lab::Options::default());
    match lab.start_router(&log(&file(&lab, ""), "")) {
        Err(RouterError::Ended(status, said)) => {
            assert!(!status.success());
            assert!(said.contains("log.nat_events: "), "it does not say which key: {said}");
        }
        other => panic!("{other:?}"),
    }
    Ok(())
}
