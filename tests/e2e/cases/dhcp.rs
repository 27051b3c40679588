//! The DHCP service of a lan, asked by the clients that people have and by frames that they would send.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use genkan_lab::topology::Role::{self, Console, Laptop, Nas, Remote};

use super::doctor::doctor;
use crate::cases;
use crate::dhcp_client::{
    ACK, Client, DECLINE, DISCOVER, INFORM, NAK, NOBODY, OFFER, RELEASE, REQUEST, SERVER, socket,
};
use crate::fixture::{Lab, PATIENCE, SILENCE, wait_for};
use crate::leases::{DHCLIENT, UDHCPC, dhcpcd, forget_address, lease_of, leases, mac, path, script, served};
use crate::outcome::Outcome;
use crate::programs::{need, run};
use crate::servers::{Server, connect, exchange, greeting};

cases![
    ;
    only_genkan:
    everyday_clients_get_addresses_and_keep_them,
    a_forward_leads_to_a_reserved_machine,
    renewing_releasing_declining_and_informing,
    a_relay_agent_is_answered,
    an_address_that_somebody_uses_is_not_given,
    without_a_disk_nobody_gets_an_address,
];

fn everyday_clients_get_addresses_and_keep_them() -> Outcome {
    need("udhcpc")?;
    need("dhclient")?;
    need("dhcpcd")?;
    let lab = Lab::start(&served("dns = [\"192.168.0.53\"]\ndomain = \"home.arpa\"\nmtu = 1400", ""));
    let hosts = [Nas, Laptop, Console].map(|role| lab.host(role));
    let macs = hosts.each_ref().map(mac);
    hosts.iter().for_each(forget_address);

    let bound = script(&lab, "udhcpc.sh", UDHCPC);
    let arguments = ["-i", "eth0", "-f", "-q", "-n", "-x", "hostname:tv", "-O", "mtu", "-s", path(&bound)];
    let said = run(&hosts[0], "udhcpc", &arguments).expect_ok();
    assert!(
        said.stdout.contains("router 192.168.0.1 dns 192.168.0.53 domain home.arpa lease 43200 mtu 1400"),
        "{said:?}"
    );

    let bound = script(&lab, "dhclient.sh", DHCLIENT);
    let (file, pid) = (lab.config_file().with_file_name("dhclient"), lab.config_file().with_file_name("pid"));
    let arguments = ["-1", "-d", "-sf", path(&bound), "-lf", path(&file), "-pf", path(&pid), "eth0"];
    let mut client = std::process::Command::new("dhclient");
    let mut client =
        hosts[1].start(client.args(arguments).stderr(std::process::Stdio::null())).expect("it starts");
    wait_for("dhclient has an address", || lease_of(&lab, &macs[1]).is_some());

    let nothing = script(&lab, "dhcpcd.conf", "duid\nnohook resolv.conf\nnoipv6rs\n");
    let folder = lab.config_file().with_file_name("dhcpcd");
    fs::create_dir(&folder).expect("/run is ours in here");
    let line = dhcpcd(&folder, &format!("-4 -1 -B -f {} eth0", path(&nothing)));
    let mut other = std::process::Command::new("sh");
    let quiet = || std::process::Stdio::null();
    let other = other.args(["-c", &format!("exec {line}")]).stdout(quiet()).stderr(quiet());
    let mut other = hosts[2].start(other).expect("it starts");
    wait_for("dhcpcd has an address", || lease_of(&lab, &macs[2]).is_some());

    let given = macs.each_ref().map(|mac| lease_of(&lab, mac).expect("it has one"));
    let addresses: BTreeSet<_> = given.iter().map(|row| row["address"].to_string()).collect();
    assert_eq!(addresses.len(), 3, "{given:?}");
    assert_eq!(given[0]["name"], "tv", "the name that it told");
    assert!(given[2]["client_id"].as_str().is_some_and(|id| id.starts_with("ff")), "RFC 4361: {given:?}");
    // They can use them.
    let _far = Server::tcp(&lab.host(Remote), 7);
    for host in [&hosts[0], &hosts[1]] {
        let has_address =
            || run(host, "ip", &["-4", "-o", "addr", "show", "dev", "eth0"]).stdout.contains("192.168.0.1");
        wait_for("the address is on its device", has_address);
        let mut stream = connect(host, SocketAddrV4::new(lab.address.remote, 7)).expect("it is online");
        assert_eq!(*greeting(&mut stream).ip(), lab.address.wan);
    }
    for client in [&mut client, &mut other] {
        // One of them ends by itself.
        let _ = client.kill();
        client.wait().expect("it is our child");
    }
    // After a restart of the router it is all the same.
    lab.stop_router();
    lab.start_router_again().expect("it starts");
    for (mac, given) in macs.iter().zip(&given) {
        wait_for("the leases are known again", || lease_of(&lab, mac).is_some());
        assert_eq!(lease_of(&lab, mac).expect("there")["address"], given["address"]);
    }
    // Metrics and events tell of it.
    let said = lab.genkan(&["events", "--format", "json"]).expect_ok().stdout;
    assert_eq!(said.matches("is leased to").count(), 3, "{said}");
    Ok(())
}

fn a_forward_leads_to_a_reserved_machine() -> Outcome {
    need("udhcpc")?;
    let lab = Lab::start(&served("", ""));
    let nas = lab.host(Nas);
    let rules = served(
        "",
        &format!(
            "[[host]]\nname = \"nas\"\nmac = \"{}\"\naddress = \"192.168.0.10\"\n\n[[forward]]\nname = \"web\"\n\
             protocol = \"tcp\"\nport = 80\nto = \"nas:8080\"\n",
            mac(&nas)
        ),
    );
    lab.reload(&rules);
    forget_address(&nas);
    let bound = script(&lab, "udhcpc.sh", UDHCPC);
    let said = run(&nas, "udhcpc", &["-i", "eth0", "-f", "-q", "-n", "-s", path(&bound)]).expect_ok();
    assert!(said.stdout.contains("bound 192.168.0.10 router 192.168.0.1"), "{said:?}");
    let row = lease_of(&lab, &mac(&nas)).expect("it has one");
    assert_eq!((&row["reserved"], &row["name"]), (&true.into(), &"nas".into()));
    let _web = Server::tcp(&nas, 8080);
    let mut stream = connect(&lab.host(Remote), lab.wan(80)).expect("the forward leads there");
    greeting(&mut stream);
    exchange(&mut stream, b"hello nas");
    Ok(())
}

fn renewing_releasing_declining_and_informing() -> Outcome {
    let lab = Lab::start(&served("lease = \"1h\"\ndomain = \"home.arpa\"", ""));
    let socket = socket(&lab.host(Laptop), 68);
    let mut client = Client::new(&socket, 1);
    let address = client.lease();
    let of = |client: &Client| {
        let id = client.hex_id();
        leases(&lab).into_iter().find(|row| row["client_id"] == id.as_str())
    };
    assert_eq!(of(&client).expect("it has one")["address"], address.to_string());
    // It renews, and comes back after a reboot.
    let alias = format!("{address}/32");
    lab.run(Laptop, "ip", &["addr", "add", &alias, "dev", "eth0"]).expect_ok();
    let ack = client.ask(REQUEST, address, &[]);
    assert_eq!((ack.kind, ack.address), (ACK, address));
    lab.run(Laptop, "ip", &["addr", "del", &alias, "dev", "eth0"]).expect_ok();
    assert_eq!(ack.options[&51], 3_600_u32.to_be_bytes());
    assert_eq!(ack.options[&58], 1_800_u32.to_be_bytes());
    let ack = client.ask(REQUEST, NOBODY, &[(50, &address.octets())]);
    assert_eq!((ack.kind, ack.address), (ACK, address));
    // What it cannot have it is refused, with a word why.
    let nak = client.ask(REQUEST, NOBODY, &[(50, &[192, 168, 7, 7])]);
    assert!(nak.kind == NAK && nak.options.contains_key(&56), "{nak:?}");
    // The address that it gives back it gets again.
    client.send(RELEASE, address, SERVER, &[(54, &SERVER.octets())]);
    wait_for("the lease is gone", || of(&client).is_none());
    assert_eq!(client.lease(), address);
    // The one that it declines it does not.
    client.send(DECLINE, NOBODY, Ipv4Addr::BROADCAST, &[(50, &address.octets()), (54, &SERVER.octets())]);
    wait_for("it rests", || leases(&lab).iter().any(|row| row["state"] == "resting"));
    assert_ne!(client.lease(), address);
    // Another, with an address of its own, wants to know the rest.
    let mut other = Client::new(&socket, 2);
    let ack = other.ask(INFORM, lab.address.laptop, &[]);
    assert_eq!((ack.kind, ack.address), (ACK, NOBODY));
    assert!(!ack.options.contains_key(&51) && ack.options[&15] == b"home.arpa", "{ack:?}");
    assert!(of(&other).is_none());
    // Another pool: who is outside it now is told so when it renews.
    let (mut third, pool) = (Client::new(&socket, 3), "192.168.0.100-192.168.0.119");
    let outside = third.lease();
    lab.reload(&served("lease = \"1h\"", "").replace(pool, "192.168.0.200-192.168.0.209"));
    assert_eq!(third.ask(REQUEST, outside, &[]).kind, NAK);
    assert!((200..=209).contains(&third.lease().octets()[3]));
    Ok(())
}

fn a_relay_agent_is_answered() -> Outcome {
    let lab = Lab::start(&served("", ""));
    // The agent is a machine of the lan; its clients are on that network as well.
    let agent = socket(&lab.host(Laptop), 67);
    let client = Client::new(&agent, 9);
    let message = |kind, options: &[(u8, &[u8])]| client.message(kind, NOBODY, lab.address.laptop, options);
    let circuit: (u8, &[u8]) = (82, &[1, 4, b'p', b'o', b'r', b't']);
    let ask = |message: &[u8]| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "no answer");
            agent.send_to(message, (SERVER, 67)).expect("the link is up");
            if let Some(reply) = client.hear(Duration::from_secs(1)) {
                return reply;
            }
        }
    };
    let offer = ask(&message(DISCOVER, &[circuit]));
    assert_eq!((offer.kind, &offer.options[&82][..]), (OFFER, circuit.1), "it is echoed");
    let address = offer.address.octets();
    let ack = ask(&message(REQUEST, &[(50, &address), (54, &SERVER.octets()), circuit]));
    assert_eq!((ack.kind, ack.address, &ack.options[&82][..]), (ACK, offer.address, circuit.1));
    Ok(())
}

fn an_address_that_somebody_uses_is_not_given() -> Outcome {
    let rules = served("", "").replace("192.168.0.100-192.168.0.119", "192.168.0.100-192.168.0.101");
    let lab = Lab::without_router(&genkan_lab::Options::default());
    // Before the router starts: it asks ahead of demand.
    lab.run(Nas, "ip", &["addr", "add", "192.168.0.100/24", "dev", "eth0"]).expect_ok();
    lab.start_router(&rules).expect("it starts");
    let socket = socket(&lab.host(Laptop), 68);
    let mut client = Client::new(&socket, 1);
    assert_eq!(client.lease(), Ipv4Addr::new(192, 168, 0, 101));
    let rests = |row: &serde_json::Value| row["address"] == "192.168.0.100" && row["state"] == "resting";
    wait_for("the stranger was found", || leases(&lab).iter().any(rests));
    let said = lab.genkan(&["events", "--format", "json"]).expect_ok().stdout;
    assert!(said.contains("lease-conflict") && said.contains(&mac(&lab.host(Nas))), "{said}");
    // Nobody else gets one, and that is a problem.
    let mut other = Client::new(&socket, 2);
    other.send(DISCOVER, NOBODY, Ipv4Addr::BROADCAST, &[]);
    assert!(other.hear(SILENCE).is_none());
    wait_for("status tells", || lab.genkan(&["status"]).stdout.contains("every address of the DHCP pool"));
    doctor(&lab, &[]).expect("dhcp-exhausted");
    // Somebody takes the offer of another server, which everybody on the lan can hear.
    let taken: [(u8, &[u8]); 2] = [(50, &[192, 168, 0, 77]), (54, &[192, 168, 0, 254])];
    other.send(REQUEST, NOBODY, Ipv4Addr::BROADCAST, &taken);
    wait_for("status tells", || {
        lab.genkan(&["status"]).stdout.contains("another DHCP server, 192.168.0.254")
    });
    assert_eq!(doctor(&lab, &[]).causes(), ["dhcp-exhausted", "dhcp-other-server"]);
    Ok(())
}

fn without_a_disk_nobody_gets_an_address() -> Outcome {
    let lab = Lab::without_router(&genkan_lab::Options::default());
    let state = lab.config_file().with_file_name("state");
    fs::create_dir_all(&state).expect("there is room");
    let router = lab.host(Role::Router);
    run(&router, "mount", &["-t", "tmpfs", "-o", "size=256k", "none", path(&state)]).expect_ok();
    lab.start_router(&served("", "").replace("192.168.0.119", "192.168.0.250")).expect("it starts");
    let socket = socket(&lab.host(Laptop), 68);
    let mut client = Client::new(&socket, 1);
    client.lease();
    // As much as fits.
    let filler = state.join("filler");
    assert!(fs::write(&filler, vec![0; 1 << 20]).is_err(), "the disk is full");
    // The last page of the file takes some more.
    let mut number = 100;
    let asked = loop {
        number += 1;
        assert!(number < 240, "where do all these leases lie?");
        client = Client::new(&socket, number);
        let address = client.ask(DISCOVER, NOBODY, &[]).address.octets();
        let asked = [(50, address.to_vec()), (54, SERVER.octets().to_vec())];
        client.send(
            REQUEST,
            NOBODY,
            Ipv4Addr::BROADCAST,
            &asked.each_ref().map(|(code, value)| (*code, &value[..])),
        );
        if client.hear(SILENCE).is_none() {
            break asked;
        }
    };
    let asked = asked.each_ref().map(|(code, value)| (*code, &value[..]));
    wait_for("status tells why", || lab.genkan(&["status"]).stdout.contains("leases cannot be written"));
    doctor(&lab, &[]).expect("dhcp-disk");
    client.send(REQUEST, NOBODY, Ipv4Addr::BROADCAST, &asked);
    assert!(client.hear(SILENCE).is_none(), "it would not survive");
    fs::remove_file(&filler).expect("it is ours");
    assert_eq!(client.ask(REQUEST, NOBODY, &asked).kind, ACK);
    wait_for("status is well", || !lab.genkan(&["status"]).stdout.contains("leases cannot be written"));
    lab.stop_router();
    run(&router, "umount", &[path(&state)]).expect_ok();
    Ok(())
}
