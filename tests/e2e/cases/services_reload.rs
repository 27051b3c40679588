//! Services that a reload takes away, changes and brings back while machines use them.

use std::fs;
use std::net::Ipv4Addr;

use genkan_lab::Options;
use genkan_lab::topology::Role::{Console, Laptop, Nas};

use crate::cases;
use crate::dhcp_client::{ACK, Client, NAK, NOBODY, REQUEST, socket};
use crate::fixture::{Lab, SILENCE, wait_for};
use crate::leaseholder::Leaseholder;
use crate::leases::mac;
use crate::outcome::Outcome;
use crate::programs::{need, need_tun, run};

cases![
    ;
    only_genkan:
    leases_and_their_names_go_with_the_service_and_come_back,
    the_name_of_a_host_goes_with_it,
    who_gets_a_reservation_is_listed_there_alone,
    a_lan_with_another_name_keeps_its_leases,
    a_name_outside_that_is_taken_out_is_no_problem_any_more,
];

const POOL: &str = "[lan.dhcp]\npool = \"192.168.0.100-192.168.0.119\"\n";
const OTHER_POOL: &str = "[lan.dhcp]\npool = \"192.168.0.200-192.168.0.219\"\n";
const DNS: &str = "[dns]\nupstreams = [\"198.51.100.7\"]\n";

/// The lan, with what stands below it and further rules.
fn rules(more: &str) -> String {
    let lan = "[[lan]]\nname = \"home\"\ndevice = \"lan0\"\naddress = \"192.168.0.1/24\"\n";
    format!("{lan}{more}[router]\ntun = \"genkan0\"\n")
}

fn leases(lab: &Lab) -> Vec<serde_json::Value> {
    let said = lab.genkan(&["leases", "--format", "json"]).expect_ok();
    serde_json::from_str(&said.stdout).expect("it is JSON")
}

/// What a host is told of a name; nothing without an answer, or when there is no such name.
fn asked(lab: &Lab, name: &str, kind: &str) -> String {
    let arguments = ["+short", "+tries=1", "+time=1", "@192.168.0.1", name, kind];
    run(&lab.host(Console), "dig", &arguments).stdout.lines().filter(|line| !line.starts_with(';')).collect()
}

/// Asks for the address that it had, with its name.
fn renew(client: &mut Client, address: Ipv4Addr) -> (u8, Ipv4Addr) {
    let reply = client.ask(REQUEST, NOBODY, &[(50, &address.octets()), (12, b"tv")]);
    (reply.kind, reply.address)
}

fn is_silent(client: &mut Client, address: Ipv4Addr) -> bool {
    client.send(REQUEST, NOBODY, Ipv4Addr::BROADCAST, &[(50, &address.octets())]);
    client.hear(SILENCE).is_none()
}

fn leases_and_their_names_go_with_the_service_and_come_back() -> Outcome {
    need_tun()?;
    need("dig")?;
    let lab = Lab::start(&rules(&format!("{POOL}{DNS}")));
    let socket = socket(&lab.host(Laptop), 68);
    let mut tv = Client::new(&socket, 1);
    let address = tv.lease();
    assert_eq!(renew(&mut tv, address), (ACK, address));
    wait_for("it has its name", || asked(&lab, "tv.home.arpa", "A") == address.to_string());

    // Without the service nobody vouches for the lease any more.
    lab.reload(&rules(DNS));
    wait_for("the name is gone", || asked(&lab, "tv.home.arpa", "A").is_empty());
    assert!(leases(&lab).is_empty());
    assert!(is_silent(&mut tv, address));
    lab.reload(&rules(&format!("{POOL}{DNS}")));
    wait_for("it is all back", || asked(&lab, "tv.home.arpa", "A") == address.to_string());
    assert_eq!(renew(&mut tv, address), (ACK, address));
    let mut other = Client::new(&socket, 2);
    assert_ne!(other.lease(), address);

    // Another pool: it is told so when it asks, and then has another address under its name.
    lab.reload(&rules(&format!("{OTHER_POOL}{DNS}")));
    assert_eq!(renew(&mut tv, address).0, NAK);
    let moved = tv.lease();
    assert!(moved.octets()[3] >= 200);
    assert_eq!(renew(&mut tv, moved), (ACK, moved));
    wait_for("its name has followed", || asked(&lab, "tv.home.arpa", "A") == moved.to_string());
    let id = tv.hex_id();
    let of_tv = || leases(&lab).into_iter().filter(|row| row["client_id"] == id.as_str()).count();
    wait_for("it has one address", || of_tv() == 1);

    // Another network: what was leased in the one of before is no more.
    let away =
        |text: String| text.replace("192.168.0.1/24", "192.168.7.1/24").replace("192.168.0.", "192.168.7.");
    lab.reload(&away(rules(&format!("{OTHER_POOL}{DNS}"))));
    wait_for("no lease is left", || leases(&lab).is_empty());
    lab.reload(&rules(&format!("{OTHER_POOL}{DNS}")));
    assert!(asked(&lab, "tv.home.arpa", "A").is_empty(), "nobody has it");

    lab.reload(&rules(OTHER_POOL));
    assert!(asked(&lab, "router.home.arpa", "A").is_empty(), "without the service there is no answer");
    assert!(!lab.genkan(&["status"]).stdout.contains("dns"), "nor anything wrong with it");
    Ok(())
}

/// A machine that never says a name nor an identifier has no other one than that of its `[[host]]`.
fn the_name_of_a_host_goes_with_it() -> Outcome {
    need_tun()?;
    need("dig")?;
    need("udhcpc")?;
    let lab = Lab::without_router(&Options::default());
    let mac = mac(&lab.host(Nas));
    let with_host = |name: &str| {
        let host = format!("[[host]]\nname = \"{name}\"\nmac = \"{mac}\"\naddress = \"192.168.0.60\"\n");
        rules(&format!("{POOL}{DNS}{host}"))
    };
    lab.start_router(&with_host("printer")).unwrap_or_else(|error| panic!("{error}"));
    let client = Leaseholder::start(&lab, Nas, &["-C"]);
    client.wait_for_address(|address| address == Ipv4Addr::new(192, 168, 0, 60));
    let listed = |listing: &str| {
        let said = lab.genkan(&[listing, "--format", "json"]).expect_ok();
        let rows: Vec<serde_json::Value> = serde_json::from_str(&said.stdout).expect("it is JSON");
        let row = rows.into_iter().find(|row| row["address"] == "192.168.0.60").expect("it has its lease");
        row["name"].as_str().map(str::to_owned)
    };
    let is_called = |name: Option<&str>| {
        let of_address = name.map(|name| format!("{name}.home.arpa.")).unwrap_or_default();
        ["leases", "hosts"].iter().all(|listing| listed(listing).as_deref() == name)
            && asked(&lab, "60.0.168.192.in-addr.arpa", "PTR") == of_address
    };
    let is_known = |name: &str| !asked(&lab, &format!("{name}.home.arpa"), "A").is_empty();
    wait_for("it goes by the name of its host", || is_called(Some("printer")) && is_known("printer"));
    lab.reload(&with_host("laser"));
    wait_for("it goes by the other name", || is_called(Some("laser")) && is_known("laser"));
    assert!(!is_known("printer"), "that was its name before");
    lab.reload(&rules(&format!("{POOL}{DNS}")));
    wait_for("it has no name any more", || is_called(None) && !is_known("laser"));
    Ok(())
}

/// The ARP cache goes on knowing the address that the machine has left.
fn who_gets_a_reservation_is_listed_there_alone() -> Outcome {
    need("udhcpc")?;
    need("ping")?;
    let lab = Lab::without_router(&Options::default());
    let nas = lab.host(Nas);
    lab.start_router(&rules(POOL)).unwrap_or_else(|error| panic!("{error}"));
    let client = Leaseholder::start(&lab, Nas, &["-C"]);
    let before = client.wait_for_address(|_| true).address.to_string();
    run(&nas, "ping", &["-c", "1", "-W", "5", &lab.address.remote.to_string()]).expect_ok();
    let listed = |address: &str| {
        let said = lab.genkan(&["hosts", "--format", "json"]).expect_ok();
        let rows: Vec<serde_json::Value> = serde_json::from_str(&said.stdout).expect("it is JSON");
        rows.into_iter().find(|row| row["address"] == address)
    };
    wait_for("it was seen to be there", || {
        listed(&before).is_some_and(|row| row["state"] == "reachable" && row["leased"] == true)
    });
    let host = format!("[[host]]\nname = \"nas\"\nmac = \"{}\"\naddress = \"192.168.0.60\"\n", mac(&nas));
    lab.reload(&rules(&format!("{POOL}{host}")));
    client.ask_again();
    client.wait_for_address(|address| address == Ipv4Addr::new(192, 168, 0, 60));
    wait_for("it was seen there", || listed("192.168.0.60").is_some_and(|row| row["last_seen"].is_i64()));
    let now = listed("192.168.0.60").expect("it was");
    assert!(now["leased"] == true && now["name"] == "nas", "{now}");
    if let Some(row) = listed(&before) {
        assert!(row["leased"] == false && row["last_seen"].is_null(), "{row}");
    }
    Ok(())
}

fn a_lan_with_another_name_keeps_its_leases() -> Outcome {
    need_tun()?;
    let lab = Lab::start(&rules(POOL));
    let socket = socket(&lab.host(Laptop), 68);
    let mut client = Client::new(&socket, 1);
    let address = client.lease();
    // A lan gets another name with a restart only, and it is said so.
    let text = fs::read_to_string(lab.config_file()).expect("there is a file");
    fs::write(lab.config_file(), text.replace("name = \"home\"", "name = \"house\"")).expect("it is ours");
    let said = lab.genkan(&["reload"]);
    assert!(said.code == Some(1) && said.stderr.contains("restart"), "{said:#?}");
    assert_eq!(renew(&mut client, address), (ACK, address));
    assert_eq!(lab.stop_router(), Some(0));
    lab.start_router_again().unwrap_or_else(|error| panic!("{error}"));
    wait_for("its lease is known", || leases(&lab).iter().any(|row| row["address"] == address.to_string()));
    let mut other = Client::new(&socket, 2);
    assert_ne!(other.lease(), address);
    assert_eq!(renew(&mut client, address), (ACK, address));
    Ok(())
}

fn a_name_outside_that_is_taken_out_is_no_problem_any_more() -> Outcome {
    need_tun()?;
    let entry = |names: &str| {
        rules(&format!("[[ddns]]\nprovider = \"rfc2136\"\nserver = \"198.51.100.2\"\nnames = [{names}]\n"))
    };
    // Nobody is there to be told.
    let lab = Lab::start(&entry("\"a.example.net\", \"b.example.net\""));
    let is_problem =
        |name: &str| lab.genkan(&["status"]).stdout.contains(&format!("ddns: {name} is not updated"));
    wait_for("both fail", || is_problem("a.example.net") && is_problem("b.example.net"));
    lab.reload(&entry("\"a.example.net\""));
    wait_for("the other one is left alone", || !is_problem("b.example.net"));
    assert!(!lab.genkan(&["ddns"]).stdout.contains("b.example.net"));
    lab.reload(&rules(""));
    wait_for("so is the last one", || !lab.genkan(&["status"]).stdout.contains("ddns"));
    Ok(())
}
