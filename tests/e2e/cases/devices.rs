//! Forwards that follow a device to wherever it is, by ARP and by its lease.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use genkan_lab::topology::Role::{self, Console, Nas, Remote};

use crate::cases;
use crate::fixture::{Lab, PATIENCE, SILENCE, wait_for};
use crate::leases::mac;
use crate::outcome::Outcome;
use crate::programs::{need, run};
use crate::servers::{Server, ask, connect, connect_within, exchange, greeting, udp};

cases![
    ;
    only_genkan:
    a_forward_follows_its_device,
    who_is_never_seen_is_absent_and_who_takes_its_address_gets_nothing,
    an_external_address_is_kept_for_its_device,
    an_address_that_is_written_anew_counts,
    who_talks_to_the_router_alone_was_seen,
];

/// How long one attempt to get through may take.
pub(super) const ATTEMPT: Duration = Duration::from_millis(50);

/// Gives a host this address in place of any other, and has it ask for its router from there.
pub(super) fn move_to(lab: &Lab, role: Role, address: &str) {
    let host = lab.host(role);
    run(&host, "ip", &["address", "flush", "dev", "eth0"]).expect_ok();
    run(&host, "ip", &["address", "add", &format!("{address}/24"), "dev", "eth0"]).expect_ok();
    run(&host, "ip", &["route", "replace", "default", "via", "192.168.0.1"]).expect_ok();
    run(&host, "ip", &["neighbor", "flush", "dev", "eth0"]).expect_ok();
    run(&host, "ping", &["-c", "1", "-W", "5", "192.168.0.1"]).expect_ok();
}

/// Forwards to the nas, which is this host.
pub(super) fn rules(host: &str) -> String {
    format!(
        "{host}[[forward]]\nname = \"web\"\nprotocol = \"tcp\"\nport = 80\nto = \"nas:8080\"\n\
         [[forward]]\nname = \"game\"\nprotocol = \"udp\"\nport = 5000\nto = \"nas\"\n"
    )
}

pub(super) fn listing(lab: &Lab, what: &str) -> serde_json::Value {
    let said = lab.genkan(&[what, "--format", "json"]).expect_ok();
    serde_json::from_str(&said.stdout).expect("it is JSON")
}

pub(super) fn has_event(lab: &Lab, text: &str) -> bool {
    lab.genkan(&["events"]).expect_ok().stdout.contains(text)
}

/// One that was never seen is where the file says now; one that has left its place, too, without a word of its own.
fn an_address_that_is_written_anew_counts() -> Outcome {
    need("ping")?;
    let lab = Lab::start("");
    let nas = lab.host(Nas);
    let ip = |arguments: &[&str]| run(&nas, "ip", arguments).expect_ok();
    let written = |address: &str| {
        rules(&format!("[[host]]\nname = \"nas\"\nmac = \"{}\"\naddress = \"{address}\"\n", mac(&nas)))
    };
    let _game = Server::udp(&nas, 5000);
    let socket = udp(&lab.host(Remote), 0);
    let reaches = |limit| ask(&socket, lab.wan(5000), b"?", limit).is_some();
    // It keeps quiet: nobody hears of it but who asks for it.
    ip(&["link", "set", "eth0", "arp", "off"]);
    lab.reload(&written("192.168.0.77"));
    assert!(!reaches(SILENCE), "nobody is there");
    ip(&["link", "set", "eth0", "arp", "on"]);
    lab.reload(&written("192.168.0.10"));
    wait_for("it is where the file says", || reaches(ATTEMPT));
    wait_for("it is seen there", || !listing(&lab, "forwards")[0]["device"]["last_seen"].is_null());

    ip(&["address", "flush", "dev", "eth0"]);
    ip(&["address", "add", "192.168.0.30/24", "dev", "eth0"]);
    ip(&["route", "replace", "default", "via", "192.168.0.1"]);
    lab.reload(&written("192.168.0.30"));
    wait_for("it is where the file says next", || reaches(ATTEMPT));
    let status = lab.genkan(&["status"]).stdout;
    assert!(!status.contains("not at 192.168.0.30"), "{status}");
    Ok(())
}

/// A device with another address is reached there by who asks outside, its old sessions are over, and a restart knows where
/// it is.
fn a_forward_follows_its_device() -> Outcome {
    need("ping")?;
    let lab = Lab::start("");
    let written = format!("[[host]]\nname = \"nas\"\nmac = \"{}\"\n", mac(&lab.host(Nas)));
    lab.reload(&rules(&written));
    let (_web, _game) = (Server::tcp(&lab.host(Nas), 8080), Server::udp(&lab.host(Nas), 5000));
    let socket = udp(&lab.host(Remote), 0);
    let reaches = |limit| ask(&socket, lab.wan(5000), b"?", limit).is_some();
    move_to(&lab, Nas, "192.168.0.10");
    wait_for("it is found where it shows itself", || reaches(ATTEMPT));
    let mut stream = connect(&lab.host(Remote), lab.wan(80)).expect("the forward is open");
    greeting(&mut stream);
    exchange(&mut stream, b"before");

    // Before it asks for its router, only it knows of its new address.
    let began = Instant::now();
    move_to(&lab, Nas, "192.168.0.66");
    wait_for("the forward has followed", || reaches(ATTEMPT));
    println!("    followed within {} ms, its own change of address included", began.elapsed().as_millis());
    wait_for("that is told", || has_event(&lab, "nas moved from 192.168.0.10 to 192.168.0.66"));
    let mut stream = connect(&lab.host(Remote), lab.wan(80)).expect("the other forward has followed too");
    greeting(&mut stream);
    let sessions = lab.genkan(&["sessions"]).expect_ok().stdout;
    assert!(!sessions.contains("192.168.0.10"), "old sessions have ended: {sessions}");

    // A restart knows, before anything is heard of the device.
    assert_eq!(lab.stop_router(), Some(0));
    lab.start_router(&rules(&written)).expect("it starts");
    assert!(listing(&lab, "forwards")[0]["to"] == "192.168.0.66:8080");
    exchange(&mut stream, b"after");
    assert!(reaches(PATIENCE));
    // Also one that could not say goodbye.
    lab.kill_router();
    lab.start_router(&rules(&written)).expect("it starts");
    assert!(reaches(PATIENCE));
    Ok(())
}

/// A forward to a device that is nowhere is closed and says so; another machine that takes its address is not opened.
fn who_is_never_seen_is_absent_and_who_takes_its_address_gets_nothing() -> Outcome {
    need("ping")?;
    let lab = Lab::start("");
    let address = "192.168.0.77";
    let reserved =
        format!("[[host]]\nname = \"nas\"\nmac = \"{}\"\naddress = \"{address}\"\n", mac(&lab.host(Nas)));
    let other = format!("[[host]]\nname = \"nas\"\nmac = \"02:00:00:00:77:77\"\n{}", rules(""));
    lab.reload(&other);
    let rows = listing(&lab, "forwards");
    assert_eq!(
        (&rows[0]["open"], &rows[0]["closed_by"], &rows[0]["to"]),
        (&false.into(), &"absent".into(), &"nas:8080".into())
    );
    let mut command =
        vec!["trace", "--in", "wan", "--protocol", "tcp", "--from", "198.51.100.7:4000", "--to"];
    let to = lab.wan(80).to_string();
    command.push(&to);
    let traced = lab.genkan(&command).stdout;
    assert!(traced.contains("the device that it leads to is not there"), "{traced}");
    wait_for("the status says so", || {
        lab.genkan(&["status"]).stdout.contains("nas is absent, and was never seen: closed is forward web")
    });

    // Where it is written it is nobody; then another machine has that address.
    lab.reload(&rules(&reserved));
    wait_for("it is told where it is", || listing(&lab, "forwards")[0]["open"] == true);
    let (strange, _own) = (Server::tcp(&lab.host(Console), 8080), Server::tcp(&lab.host(Nas), 8080));
    move_to(&lab, Nas, address);
    let mut stream = connect(&lab.host(Remote), lab.wan(80)).expect("the forward is open");
    greeting(&mut stream);
    run(&lab.host(Nas), "ip", &["address", "flush", "dev", "eth0"]).expect_ok();
    move_to(&lab, Console, address);
    wait_for("a stranger is there", || listing(&lab, "forwards")[0]["closed_by"] == "absent");
    assert!(strange.seen().is_empty(), "nothing was forwarded to the stranger");
    let status = lab.genkan(&["status"]).stdout;
    assert!(status.contains("nas is absent since ") && status.contains("last at 192.168.0.77"), "{status}");
    // It comes back elsewhere.
    move_to(&lab, Nas, "192.168.0.78");
    wait_for("it is found", || listing(&lab, "forwards")[0]["to"] == "192.168.0.78:8080");
    wait_for("it is told that this is not as written", || {
        lab.genkan(&["status"]).stdout.contains("nas is at 192.168.0.78, not at 192.168.0.77")
    });
    let mut stream = connect(&lab.host(Remote), lab.wan(80)).expect("the forward is open");
    greeting(&mut stream);
    assert!(strange.seen().is_empty());
    Ok(())
}

/// What comes for a device that is nowhere gets a reason and goes nowhere, not to the DMZ either; once it is seen, it has all
/// that comes.
fn an_external_address_is_kept_for_its_device() -> Outcome {
    need("ping")?;
    let lab = Lab::start("");
    let rules = |mac: &str| {
        format!(
            "addresses = [\"203.0.113.5\"]\n[[host]]\nname = \"nas\"\nmac = \"{mac}\"\n\
             external = \"203.0.113.5\"\n[dmz]\nto = \"{}\"\n",
            lab.address.console
        )
    };
    let own = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 5), 8080);
    let (nas, console) = (Server::tcp(&lab.host(Nas), 8080), Server::tcp(&lab.host(Console), 8080));
    lab.reload(&rules("02:00:00:00:77:77"));
    connect_within(&lab.host(Remote), own, SILENCE).expect_err("nobody is there");
    assert!(lab.dropped("host_absent") > 0);
    let to = own.to_string();
    let command = ["trace", "--in", "wan", "--protocol", "tcp", "--from", "198.51.100.7:4000", "--to", &to];
    let traced = lab.genkan(&command).stdout;
    assert!(traced.contains("for host \"nas\" (1:1), and that device is not there"), "{traced}");
    wait_for("the status says so", || {
        lab.genkan(&["status"])
            .stdout
            .contains("nas is absent, and was never seen: closed is its external address")
    });
    let audited = lab.genkan(&["audit"]).stdout;
    assert!(audited.contains("host \"nas\" (1:1): all ports of 203.0.113.5\n"), "{audited}");
    for listing in ["hosts", "sessions", "mappings", "audit", "forwards"] {
        let said = lab.genkan(&[listing, "--format", "json"]).stdout;
        assert!(!said.contains("\"0.0.0.0"), "{listing}: {said}");
    }
    lab.reload(&rules(&mac(&lab.host(Nas))));
    move_to(&lab, Nas, "192.168.0.10");
    let mut stream = None;
    wait_for("it is found where it shows itself", || {
        stream = connect_within(&lab.host(Remote), own, ATTEMPT).ok();
        stream.is_some()
    });
    greeting(stream.as_mut().expect("it was reached"));
    assert_eq!((nas.seen().len(), console.seen().len()), (1, 0));
    Ok(())
}

/// The listing of hosts knows who was there, also one that nothing was ever sent to.
fn who_talks_to_the_router_alone_was_seen() -> Outcome {
    need("ping")?;
    let lab = Lab::start("");
    lab.reload(&rules(&format!("[[host]]\nname = \"nas\"\nmac = \"{}\"\n", mac(&lab.host(Nas)))));
    let seen = |address: &str| {
        let rows = listing(&lab, "hosts");
        let row = rows.as_array()?.iter().find(|row| row["address"] == address)?.clone();
        Some((row["first_seen"].as_i64()?, row["last_seen"].as_i64()?))
    };
    move_to(&lab, Console, "192.168.0.50");
    wait_for("the console was seen", || seen("192.168.0.50").is_some());
    let (first, _) = seen("192.168.0.50").expect("it was");
    wait_for("it was seen again", || {
        move_to(&lab, Console, "192.168.0.50");
        seen("192.168.0.50").is_some_and(|(of_old, last)| of_old == first && last > first)
    });
    move_to(&lab, Nas, "192.168.0.66");
    wait_for("the nas was seen", || seen("192.168.0.66").is_some());
    Ok(())
}
