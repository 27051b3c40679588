//! Forwards that follow a device by nothing but its lease of the router's DHCP server.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant, SystemTime};

use genkan_lab::Options;
use genkan_lab::topology::Role::{Console, Nas, Remote};

use super::devices::{ATTEMPT, has_event, listing, rules};
use super::dns::{asked, needed, short};
use crate::cases;
use crate::fixture::{Lab, SILENCE, wait_for};
use crate::leaseholder::Leaseholder;
use crate::leases::{forget_address, leases, mac, served};
use crate::outcome::Outcome;
use crate::programs::{need, run};
use crate::servers::{Server, ask, connect, exchange, greeting, udp};

cases![
    ;
    only_genkan:
    a_forward_follows_the_lease_of_its_device,
    who_declines_an_address_is_not_taken_for_who_has_it,
];

/// From the acknowledgement of a lease to an answer through the forward.
const PROMISED: Duration = Duration::from_secs(1);

/// From a release to the end of its forwards: the next look is 3 s later, the one after an answer 30.
const NOTICED: Duration = Duration::from_secs(15);

/// The host that the forwards lead to is known by its MAC address alone; addresses come from this pool.
fn following(lab: &Lab, pool: &str, more: &str) -> String {
    let host = format!("{more}[[host]]\nname = \"nas\"\nmac = \"{}\"\n", mac(&lab.host(Nas)));
    served("", &rules(&host)).replace("192.168.0.100-192.168.0.119", pool)
}

fn a_forward_follows_the_lease_of_its_device() -> Outcome {
    need("udhcpc")?;
    let lab = Lab::without_router(&Options::default());
    let nas = lab.host(Nas);
    forget_address(&nas);
    let tens = [10, 11, 12, 13, 14];
    let with_pool = |ten: &u8| following(&lab, &format!("192.168.0.{ten}0-192.168.0.{ten}9"), "");
    lab.start_router(&with_pool(&tens[0])).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(listing(&lab, "forwards")[0]["closed_by"], "absent");
    let (_web, _game) = (Server::tcp(&nas, 8080), Server::udp(&nas, 5000));
    // With a socket of its own each time: what was asked before may be answered late.
    let reaches = |limit| ask(&udp(&lab.host(Remote), 0), lab.wan(5000), b"?", limit).is_some();

    // It is switched off and on again, and gets another address each time.
    let mut took = Vec::new();
    let mut before: Option<Ipv4Addr> = None;
    let mut client: Option<Leaseholder> = None;
    for ten in &tens {
        drop(client.take());
        lab.reload(&with_pool(ten));
        let now = client.insert(Leaseholder::start(&lab, Nas, &[]));
        let told = now.wait_for_address(|address| address.octets()[3] / 10 == *ten);
        wait_for("the forward leads there", || reaches(ATTEMPT));
        took.push(SystemTime::now().duration_since(told.at).expect("time goes on"));
        let address = told.address;
        let what = match before {
            None => format!("nas is at {address}: forward web, forward game to it"),
            Some(before) => format!("nas moved from {before} to {address}: forward web, forward game to it"),
        };
        wait_for("that is told", || has_event(&lab, &what));
        let mut stream = connect(&lab.host(Remote), lab.wan(80)).expect("the other forward leads there, too");
        greeting(&mut stream);
        exchange(&mut stream, b"hello");
        if let Some(before) = before.replace(address) {
            let sessions = lab.genkan(&["sessions"]).expect_ok().stdout;
            assert!(!sessions.contains(&format!("{before}:")), "old sessions have ended: {sessions}");
            // A machine has one address.
            let held: Vec<_> = leases(&lab).iter().map(|row| row["address"].clone()).collect();
            assert_eq!(held, [address.to_string()]);
        }
    }
    took.sort();
    println!("    from the acknowledgement of a lease to an answer through the forward: {took:?}");
    assert!(took[took.len() / 2] < PROMISED, "{took:?}");

    // What it gives back is nobody's.
    let (client, last) = (client.expect("it runs"), before.expect("it had several"));
    client.release();
    let since = Instant::now();
    wait_for("the listing says so", || listing(&lab, "forwards")[0]["closed_by"] == "absent");
    let took = since.elapsed();
    println!("    from a release until it is known that nobody is there: {took:?}");
    assert!(took < NOTICED, "{took:?}");
    let table = lab.genkan(&["forwards"]).expect_ok().stdout;
    assert!(table.contains("absent since ") && table.contains(&format!("last at {last}")), "{table}");
    let gone = format!("nas is no longer at {last}, and nowhere else: closed is forward web, forward game");
    wait_for("that is told", || has_event(&lab, &gone));
    wait_for("status says so", || {
        let status = lab.genkan(&["status"]).stdout;
        status.contains("nas is absent since ")
            && status.contains(&format!("last at {last}: closed is forward web"))
    });
    assert!(!reaches(SILENCE));
    client.ask_again();
    wait_for("it is back", || reaches(ATTEMPT));
    assert_eq!(listing(&lab, "forwards")[0]["open"], true);
    Ok(())
}

/// The machine that has taken the address of a device gets nothing, whatever the device's lease says; once the device has
/// declined it, its forwards and its name are where it is.
fn who_declines_an_address_is_not_taken_for_who_has_it() -> Outcome {
    needed()?;
    need("udhcpc")?;
    let lab = Lab::without_router(&Options::default());
    let services = "[router]\ntun = \"genkan0\"\n[dns]\nupstreams = [\"198.51.100.7\"]\n";
    let rules = following(&lab, "192.168.0.100-192.168.0.101", services);
    lab.start_router(&rules).unwrap_or_else(|error| panic!("{error}"));
    let (nas, console) = (lab.host(Nas), lab.host(Console));
    let (_web, _game) = (Server::tcp(&nas, 8080), Server::udp(&nas, 5000));
    let (web, game) = (Server::tcp(&console, 8080), Server::udp(&console, 5000));
    let socket = udp(&lab.host(Remote), 0);
    let reaches = || ask(&socket, lab.wan(5000), b"?", ATTEMPT).is_some();
    let client = Leaseholder::start(&lab, Nas, &["-x", "hostname:box"]);
    let first = client.wait_for_address(|_| true).address;
    wait_for("the forward leads there", reaches);
    wait_for("it has its name", || short(&lab, &["box"]) == first.to_string());

    drop(client);
    forget_address(&nas);
    run(&console, "ip", &["addr", "add", &format!("{first}/24"), "dev", "eth0"]).expect_ok();
    run(&console, "ping", &["-c1", "-W5", "-I", &first.to_string(), "192.168.0.1"]).expect_ok();
    wait_for("a stranger was found", || listing(&lab, "forwards")[0]["closed_by"] == "absent");
    let client = Leaseholder::start(&lab, Nas, &["-x", "hostname:box", "-a300"]);
    wait_for("the forward leads there", reaches);
    let second = client.wait_for_address(|address| address != first).address;
    assert!(web.seen().is_empty() && game.seen().is_empty(), "a stranger was forwarded to");
    assert!(leases(&lab).iter().any(|row| row["address"] == first.to_string() && row["state"] == "resting"));
    assert!(has_event(&lab, &format!("was given {first} and found that a stranger uses it")));
    // Its name is not the stranger's either.
    for name in ["box", "nas"] {
        wait_for("its name has followed", || short(&lab, &[name]) == second.to_string());
    }
    assert!(asked(&lab, &["-x", &first.to_string()]).contains("status: NXDOMAIN"));
    Ok(())
}
