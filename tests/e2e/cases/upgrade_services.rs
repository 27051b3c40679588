//! Another program takes over while machines of the lans ask for addresses and names, while the wan has a lease, and names
//! outside follow it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use genkan_lab::Options;
use genkan_lab::topology::Role::{Laptop, Remote};

use super::ddns::{https_entry, requests, update_server, wait_for_state};
use super::upgrade::{longest_pause, upgrade};
use super::wan_dhcp::{DHCP, Dhcp, events, has, status, wait_for_renewal};
use crate::cases;
use crate::dhcp_client::{ACK, Client, NOBODY, REQUEST, crowd, socket};
use crate::fixture::{Lab, PATIENCE};
use crate::outcome::Outcome;
use crate::programs::{need, need_tun};
use crate::servers::{Server, connect, exchange, greeting, udp};

cases![
    ;
    only_genkan:
    machines_of_the_lans_are_served_all_the_while,
    the_wan_keeps_its_lease_and_names_outside_are_left_alone,
];

/// A question for the address of `nas.home.arpa`.
fn question(id: u16) -> Vec<u8> {
    let header = [&id.to_be_bytes()[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    [&header[..], b"\x03nas\x04home\x04arpa\0", &[0, 1, 0, 1]].concat()
}

/// Asks about every two milliseconds while something happens. How many questions there were, how many were not answered,
/// and for how long there was no answer.
fn questions_during(lab: &Lab, work: impl FnOnce()) -> (u16, usize, Duration) {
    let over = AtomicBool::new(false);
    let socket = udp(&lab.host(Laptop), 0);
    let server = SocketAddrV4::new(lab.address.lan, 53);
    let ask = || {
        socket.set_read_timeout(Some(Duration::from_millis(2))).expect("it is not zero");
        let (mut asked, mut answered) = (0_u16, 0);
        let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
        let mut answer = [0; 512];
        // Whoever asks last is answered last.
        let mut last_is_answered = false;
        while !(over.load(Ordering::Relaxed) && last_is_answered) {
            assert!(last.elapsed() < PATIENCE, "no answer");
            asked += 1;
            socket.send_to(&question(asked), server).expect("the link is up");
            while let Ok(length) = socket.recv(&mut answer) {
                assert!(answer[..length].ends_with(&[192, 168, 0, 10]), "{:?}", &answer[..length]);
                answered += 1;
                longest = longest.max(last.elapsed());
                last = Instant::now();
                last_is_answered = answer[..2] == asked.to_be_bytes();
                if last_is_answered {
                    break;
                }
            }
            thread::sleep(Duration::from_millis(2));
        }
        (asked, usize::from(asked) - answered, longest)
    };
    thread::scope(|scope| {
        let asking = scope.spawn(ask);
        work();
        over.store(true, Ordering::Relaxed);
        asking.join().expect("all is as it should be")
    })
}

fn machines_of_the_lans_are_served_all_the_while() -> Outcome {
    need_tun()?;
    let mut lab = Lab::without_router(&Options::default());
    let _program = lab.use_own_program();
    let lab = lab;
    // Who is told of names takes connections and says nothing.
    let mute =
        lab.host(Remote).run(|| TcpListener::bind((lab.address.remote, 8443))).expect("the port is free");
    let entry = https_entry(&lab, Path::new("/none"), "mute.example.com", "");
    let entry = entry.lines().filter(|line| !line.starts_with("ca_file")).collect::<Vec<_>>().join("\n");
    let rules = "[[lan]]\nname = \"home\"\ndevice = \"lan0\"\naddress = \"192.168.0.1/16\"\n\
                 [lan.dhcp]\npool = \"192.168.1.0-192.168.254.255\"\n\
                 [router]\ntun = \"genkan0\"\n[dns]\nupstreams = [\"198.51.100.7\"]\n\
                 [[host]]\nname = \"nas\"\naddress = \"192.168.0.10\"\n";
    lab.start_router(&format!("{rules}{entry}\n")).unwrap_or_else(|error| panic!("{error}"));
    let _open = mute.accept().expect("the router tells of its name");
    let socket = socket(&lab.host(Laptop), 68);
    let mut early = Client::new(&socket, 1);
    let address = early.lease();
    let over = AtomicBool::new(false);
    let given = thread::scope(|scope| {
        let crowd = scope.spawn(|| crowd(&socket, 100, || !over.load(Ordering::Relaxed)));
        for _ in 0..2 {
            let (asked, lost, silence) = questions_during(&lab, || drop(upgrade(&lab).expect_ok()));
            println!(
                "    {lost} of {asked} questions without an answer, {} ms of silence",
                silence.as_millis()
            );
            assert!(silence < longest_pause(), "{silence:?}");
        }
        over.store(true, Ordering::Relaxed);
        crowd.join().expect("no panic")
    });
    println!("    {} leases meanwhile", given.len());
    assert!(!given.is_empty());
    let mut owners = BTreeMap::from([(address, 1)]);
    for (address, client) in given {
        let before = owners.insert(address, client);
        assert_eq!(before, None, "{address} was given to {client} as well");
    }
    // All are known, and may go on with what they have.
    let said = lab.genkan(&["leases", "--format", "json"]).expect_ok();
    let rows: Vec<serde_json::Value> = serde_json::from_str(&said.stdout).expect("it is JSON");
    for (address, client) in &owners {
        let id = Client::new(&socket, *client).hex_id();
        let row = rows.iter().find(|row| row["client_id"] == id.as_str());
        assert_eq!(row.map(|row| &row["address"]), Some(&address.to_string().into()), "of client {client}");
    }
    let ack = early.ask(REQUEST, NOBODY, &[(50, &address.octets())]);
    assert_eq!((ack.kind, ack.address), (ACK, address));
    Ok(())
}

fn the_wan_keeps_its_lease_and_names_outside_are_left_alone() -> Outcome {
    need_tun()?;
    for program in ["dhcpd", "openssl", "python3"] {
        need(program)?;
    }
    let mut lab = Lab::without_router(&Options::default());
    let _program = lab.use_own_program();
    let lab = lab;
    let dhcp = Dhcp::isc(&lab, "203.0.113.50 203.0.113.59", "");
    let (_updates, folder) = update_server(&lab);
    let _server = Server::tcp(&lab.host(Remote), 7);
    let names = ["good.example.com", "badauth.example.com", "down.example.com"];
    let entries = names.map(|name| https_entry(&lab, &folder, name, ""));
    let rules = format!("{DHCP}\n[router]\ntun = \"genkan0\"\n{}", entries.concat());
    lab.start_router(&rules).unwrap_or_else(|error| panic!("{error}"));
    let states = || {
        for (name, state) in names.iter().zip(["good", "stopped", "failed"]) {
            wait_for_state(&lab, name, state);
        }
        names.map(|name| requests(&folder, &format!("hostname={name}&")).len())
    };
    assert_eq!(states(), [1, 1, 1]);
    let address = status(&lab)["wan_lease"]["address"].clone();
    let plain: Ipv4Addr =
        address.as_str().and_then(|text| text.split('/').next()?.parse().ok()).expect("it has one");
    let mut stream = connect(&lab.host(Laptop), SocketAddrV4::new(lab.address.remote, 7)).expect("a way out");
    assert_eq!(*greeting(&mut stream).ip(), plain);
    let discovers = dhcp.count("DHCPDISCOVER");
    upgrade(&lab).expect_ok();
    assert!(has(&lab, plain), "from the first moment on");
    exchange(&mut stream, b"as before");
    wait_for_renewal(&lab, || exchange(&mut stream, b"meanwhile"));
    assert_eq!(status(&lab)["wan_lease"]["address"], address);
    exchange(&mut stream, b"and after renewals");
    assert_eq!(dhcp.count("DHCPDISCOVER"), discovers, "nobody looked for a server");
    assert_eq!((events(&lab, "wan-address-changed"), events(&lab, "wan-address-lost")), (0, 0));
    assert_eq!(states(), [1, 1, 1], "nothing is sent again");
    Ok(())
}
