//! The counters for Prometheus, at a port of a lan: who gets them, and who does not.

use std::io::{self, Read, Write};
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use genkan_lab::topology::Role::{self, Guest, Isp, Laptop, Remote, Router};
use genkan_lab::{Namespace, Options};

use crate::cases;
use crate::fixture::{Lab, PATIENCE, SILENCE, wait_for};
use crate::outcome::Outcome;
use crate::programs::{need_tun, run};
use crate::servers::{Server, connect_within};

cases![
    ;
    only_genkan:
    metrics_are_for_their_lan,
    a_reload_moves_the_port,
    an_upgrade_keeps_the_port,
];

const HOME: &str = r#"[[lan]]
name = "home"
device = "lan0"
address = "192.168.0.1/24"
reaches = []

[[lan]]
name = "guests"
device = "lan1"
address = "192.168.1.1/24"
reaches = []

[router]
tun = "genkan0"

[metrics]
listen = "192.168.0.1:9090"

[dmz]
to = "192.168.0.1"

[[forward]]
name = "metrics"
protocol = "tcp"
port = 9999
to = "192.168.0.1:9090"
"#;

/// Asks for a path, and hears the whole answer; empty where the other side says nothing.
fn get(host: &Namespace, at: SocketAddrV4, path: &str) -> io::Result<String> {
    get_within(PATIENCE, host, at, path)
}

/// The same, where somebody has to take the connection within `limit`.
fn get_within(limit: Duration, host: &Namespace, at: SocketAddrV4, path: &str) -> io::Result<String> {
    let mut answer = String::new();
    // Whoever is turned away may be so in the middle of his question, or while he still looks whether he is connected.
    let heard = connect_within(host, at, limit).and_then(|mut stream| {
        write!(stream, "GET {path} HTTP/1.1\r\nHost: router\r\n\r\n")?;
        stream.read_to_string(&mut answer)
    });
    match heard {
        Err(error)
            if error.kind() != io::ErrorKind::ConnectionReset
                && error.kind() != io::ErrorKind::BrokenPipe =>
        {
            Err(error)
        }
        _ => Ok(answer),
    }
}

/// The metrics as somebody there gets them.
#[track_caller]
fn metrics(lab: &Lab, role: Role, port: u16) -> String {
    let at = SocketAddrV4::new(lab.address.lan, port);
    let answer = get(&lab.host(role), at, "/metrics").expect("it listens");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    body.to_owned()
}

fn metrics_are_for_their_lan() -> Outcome {
    need_tun()?;
    let lab = Lab::with(&Options { lans: 2, ..Options::default() }, HOME);
    let body = metrics(&lab, Laptop, 9090);
    assert!(body.contains("\ngenkan_port_up{port=\"home\"} 1\n") && body.ends_with("# EOF\n"), "{body}");
    for line in body.lines().filter(|line| !line.starts_with("# ")) {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
        assert!(name.starts_with("genkan_") && value.parse::<f64>().is_ok(), "{line}");
    }
    assert!(metrics(&lab, Router, 9090).contains("genkan_build"), "the box itself may ask");
    let at = SocketAddrV4::new(lab.address.lan, 9090);
    for path in ["/v1/status", "/v1/openapi.json", "/"] {
        let answer = get(&lab.host(Laptop), at, path).expect("it listens");
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
    }

    // The DMZ and the forward lead there, and the connection is taken, but nothing is told.
    let remote = lab.host(Remote);
    for port in [9090, 9999] {
        let answer = get(&remote, lab.wan(port), "/metrics").expect("the DMZ or the forward leads there");
        assert_eq!(answer, "", "port {port}");
        let answer = get_within(SILENCE, &lab.host(Laptop), lab.wan(port), "/metrics").unwrap_or_default();
        assert_eq!(answer, "", "by hairpin, port {port}");
    }
    // Guests reach the box, but not this lan.
    assert_eq!(get_within(SILENCE, &lab.host(Guest), at, "/metrics").unwrap_or_default(), "");
    // Nor does a neighbour on the wan who knows the way.
    let isp = lab.host(Isp);
    run(&isp, "ip", &["route", "add", "192.168.0.0/24", "via", "203.0.113.1"]).expect_ok();
    assert!(get_within(SILENCE, &isp, at, "/metrics").is_err(), "from the wan");
    Ok(())
}

fn rules(listen: &str) -> String {
    let metrics = if listen.is_empty() { String::new() } else { format!("[metrics]\nlisten = {listen}\n") };
    format!("[router]\ntun = \"genkan0\"\n{metrics}")
}

fn a_reload_moves_the_port() -> Outcome {
    need_tun()?;
    let lab = Lab::start(&rules("\"192.168.0.1:9090\""));
    let refuses = |port| {
        let at = SocketAddrV4::new(lab.address.lan, port);
        connect_within(&lab.host(Laptop), at, PATIENCE)
            .is_err_and(|it| it.kind() == io::ErrorKind::ConnectionRefused)
    };
    metrics(&lab, Laptop, 9090);
    lab.reload(&rules("[\"192.168.0.1:9091\", \"192.168.0.1:9092\"]"));
    metrics(&lab, Laptop, 9091);
    metrics(&lab, Laptop, 9092);
    wait_for("the port before is closed", || refuses(9090));

    // What another program has cannot be had, and all stays as it is.
    let _other = Server::tcp(&lab.host(Router), 9093);
    lab.write_rules(&rules("\"192.168.0.1:9093\""));
    let said = lab.genkan(&["reload"]);
    assert_eq!(said.code, Some(1), "{said:#?}");
    assert!(said.stderr.contains("192.168.0.1:9093: another program has this port"), "{said:#?}");
    metrics(&lab, Laptop, 9091);
    lab.reload(&rules(""));
    wait_for("nothing is told", || refuses(9091) && refuses(9092));

    assert_eq!(lab.stop_router(), Some(0));
    let error = lab.start_router(&rules("\"192.168.0.1:9093\"")).expect_err("the port is taken");
    assert!(error.to_string().contains("another program has this port"), "{error}");
    // The same file, once the box is on no lan.
    lab.start_router("").unwrap_or_else(|error| panic!("{error}"));
    lab.write_rules("[metrics]\nlisten = \"192.168.0.1:9090\"\n");
    let said = lab.genkan(&["reload"]);
    assert!(
        said.code == Some(1) && said.stderr.contains("`metrics.listen` without `router.tun`"),
        "{said:#?}"
    );
    Ok(())
}

fn an_upgrade_keeps_the_port() -> Outcome {
    need_tun()?;
    let mut lab = Lab::without_router(&Options::default());
    lab.use_own_program();
    lab.start_router(&rules("\"192.168.0.1:9090\"")).unwrap_or_else(|error| panic!("{error}"));
    metrics(&lab, Laptop, 9090);
    // Somebody listens all the while. Whom the program before has begun to answer when it leaves may hear nothing.
    let (laptop, at) = (lab.host(Laptop), SocketAddrV4::new(lab.address.lan, 9090));
    let over = AtomicBool::new(false);
    let asked = thread::scope(|scope| {
        let asker = scope.spawn(|| {
            let mut asked = 0;
            while !over.load(Ordering::Acquire) {
                get(&laptop, at, "/metrics").unwrap_or_else(|error| panic!("scrape {asked}: {error}"));
                asked += 1;
            }
            asked
        });
        let said = [lab.genkan(&["upgrade"]), lab.genkan(&["upgrade"])];
        over.store(true, Ordering::Release);
        for said in said {
            said.expect_ok();
        }
        asker.join().expect("it was never refused")
    });
    println!("{asked} scrapes meanwhile");
    metrics(&lab, Laptop, 9090);
    Ok(())
}
