//! Names of machines inside: those that they tell the DHCP server, and those that the outside has for them.

use std::net::SocketAddrV4;

use genkan_lab::Options;
use genkan_lab::topology::Role::{Console, Laptop, Remote};

use super::ddns::{address_at_bind, bind, dns_entry, signed};
use super::dns::{RESOLVER, asked, needed, report, short};
use crate::cases;
use crate::fixture::{Lab, wait_for};
use crate::leaseholder::Leaseholder;
use crate::leases::served;
use crate::outcome::Outcome;
use crate::programs::need;
use crate::servers::{Server, connect, greeting};

cases![
    ;
    only_genkan:
    a_machine_has_the_name_that_it_tells_while_it_has_its_lease,
    a_name_outside_whose_server_is_inside_leads_there_directly,
];

fn a_machine_has_the_name_that_it_tells_while_it_has_its_lease() -> Outcome {
    needed()?;
    need("udhcpc")?;
    let lab = Lab::without_router(&Options::default());
    let rules = |pool: &str, lease: &str| {
        let dns = format!("[dns]\nupstreams = [\"{RESOLVER}\"]\ndomain = \"house.example\"\n");
        served(&format!("lease = \"{lease}\"\n"), &format!("[router]\ntun = \"genkan0\"\n{dns}"))
            .replace("192.168.0.100-192.168.0.119", pool)
    };
    lab.start_router(&rules("192.168.0.100-192.168.0.109", "1h")).unwrap_or_else(|error| panic!("{error}"));
    let arguments = ["-x", "hostname:TV_set"];
    let has_name = |address: &str| {
        let all = [&["tv-set"][..], &["tv-set.house.example"], &["TV-Set.House.Example"]];
        all.iter().all(|name| short(&lab, name) == address)
            && short(&lab, &["-x", address]) == "tv-set.house.example."
    };
    let is_gone = |address: &str| {
        let all = [&["tv-set"][..], &["tv-set.house.example"], &["-x", address]];
        all.iter().all(|name| asked(&lab, name).contains("status: NXDOMAIN"))
    };
    let client = Leaseholder::start(&lab, Console, &arguments);
    let told = client.wait_for_address(|_| true);
    // Which server to ask, and in which domain, the lease says as well.
    assert_eq!(told.rest, "dns 192.168.0.1 domain house.example");
    let first = told.address.to_string();
    wait_for("it has its name", || has_name(&first));
    // Switched off and on, with another address: its name goes along.
    drop(client);
    lab.reload(&rules("192.168.0.110-192.168.0.119", "1h"));
    let client = Leaseholder::start(&lab, Console, &arguments);
    let second = client.wait_for_address(|address| address != told.address).address.to_string();
    wait_for("its name has followed", || has_name(&second));
    assert!(asked(&lab, &["-x", &first]).contains("status: NXDOMAIN"));
    client.release();
    wait_for("its name is gone with the lease", || is_gone(&second));
    drop(client);
    // It is switched off, and the lease ends by itself.
    lab.reload(&rules("192.168.0.110-192.168.0.119", "5s"));
    let client = Leaseholder::start(&lab, Console, &arguments);
    let third = client.wait_for_address(|_| true).address.to_string();
    wait_for("it has its name", || short(&lab, &["tv-set"]) == third);
    drop(client);
    wait_for("its name is gone with the lease", || is_gone(&third));
    Ok(())
}

fn a_name_outside_whose_server_is_inside_leads_there_directly() -> Outcome {
    const NAME: &str = "home.example.net";
    needed()?;
    need("named")?;
    let lab = Lab::without_router(&Options::default());
    let _bind = bind(&lab);
    let _web = Server::tcp(&lab.host(genkan_lab::topology::Role::Nas), 8080);
    let rules = |port: u16| {
        let forward = format!(
            "[[forward]]\nname = \"web\"\nprotocol = \"tcp\"\nport = {port}\nto = \"192.168.0.10:8080\"\n"
        );
        let entry = dns_entry(&lab, NAME, &signed());
        let dns = format!("[dns]\nupstreams = [\"{}\"]\n", lab.address.remote);
        format!("[router]\ntun = \"genkan0\"\n{dns}{forward}{entry}")
    };
    let (wan, nas) = (lab.address.wan, lab.address.nas);
    let greeted = |at: &str, port| {
        let to = SocketAddrV4::new(at.parse().expect("an address"), port);
        *greeting(&mut connect(&lab.host(Laptop), to).expect("it is reached by its name")).ip()
    };
    lab.start_router(&rules(8080)).unwrap_or_else(|error| panic!("{error}"));
    wait_for("the name is there outside", || address_at_bind(&lab, NAME) == wan.to_string());
    greeting(&mut connect(&lab.host(Remote), lab.wan(8080)).expect("the outside gets there by it"));
    let inside = short(&lab, &[NAME]);
    assert_eq!(inside, nas.to_string());
    assert_eq!(greeted(&inside, 8080), lab.address.laptop, "directly: the server sees who it is");
    let sessions = lab.genkan(&["sessions"]).expect_ok().stdout;
    assert!(!sessions.contains(&format!("{}:", lab.address.laptop)), "not by the router: {sessions}");
    assert_eq!(report(&lab)["public_names"][0], format!("{NAME} {nas}"));
    // What else there is at that name is as it is outside.
    assert_eq!(short(&lab, &["ns.example.net"]), "198.51.100.2");
    assert!(asked(&lab, &[NAME, "AAAA"]).contains("status: NOERROR"));

    // Another port outside than inside: that way does not work, but the hairpin does.
    lab.reload(&rules(80));
    wait_for("the name is as it is outside", || short(&lab, &[NAME]) == wan.to_string());
    assert_eq!(greeted(&wan.to_string(), 80), wan, "by the router");
    assert_eq!(report(&lab)["public_names"][0], serde_json::Value::Null);
    Ok(())
}
