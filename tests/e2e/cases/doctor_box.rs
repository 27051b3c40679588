//! Set-ups in which the router's own box, or its line, is what is wrong.

use std::fs;

use genkan_lab::Namespace;
use genkan_lab::topology::Role::{Isp, Laptop, Nas, Remote, Router};

use super::devices::listing;
use super::doctor::{doctor, doctor_alone, ip};
use crate::cases;
use crate::fixture::{Lab, SILENCE, WEB, wait_for};
use crate::leases::mac;
use crate::outcome::Outcome;
use crate::programs::{need_tun, run};
use crate::servers::{Server, connect, connect_within};

cases![
    ;
    only_genkan:
    links_that_are_down,
    lines_that_are_wrong,
    own_addresses_that_others_use,
    routers_that_do_not_run,
    a_box_that_does_not_listen,
];

fn links_that_are_down() -> Outcome {
    let lab = Lab::start(WEB);
    let _server = Server::tcp(&lab.host(Nas), 8080);
    ip(&lab.host(Isp), "link set eth0 down");
    doctor(&lab, &["web"]).expect("wan-down");
    ip(&lab.host(Isp), "link set eth0 up");
    ip(&lab.host(Router), "link set lan0 down");
    doctor(&lab, &["web"]).expect("lan-down");
    ip(&lab.host(Router), "link set lan0 up");
    wait_for("all is well again", || doctor(&lab, &["web"]).causes().is_empty());
    Ok(())
}

fn lines_that_are_wrong() -> Outcome {
    let lab = Lab::start(WEB);
    let _server = Server::tcp(&lab.host(Nas), 8080);
    let isp = lab.host(Isp);
    ip(&isp, "address del 203.0.113.2/24 dev eth0");
    doctor(&lab, &["web"]).expect("gateway-silent");
    ip(&isp, "address add 203.0.113.2/24 dev eth0");
    doctor(&lab, &["web"]).expect_nothing();
    // Smaller packets than the file says: they pass, but not as they should.
    ip(&lab.host(Router), "link set wan0 mtu 1280");
    let told = doctor(&lab, &["web"]);
    assert_eq!((told.causes(), told.code), (vec!["mtu-smaller"], Some(0)), "{:#}", told.json);
    Ok(())
}

/// A machine takes an address of the router's and asks for another one, so that it is heard once.
fn take(host: &Namespace, address: &str, other: &str) {
    ip(host, &format!("address add {address}/24 dev eth0"));
    run(host, "ping", &["-c", "1", "-W", "1", "-I", address, other]);
}

fn own_addresses_that_others_use() -> Outcome {
    let lab = Lab::start(WEB);
    let _server = Server::tcp(&lab.host(Nas), 8080);
    let (isp, laptop) = (lab.host(Isp), lab.host(Laptop));
    let problems = || listing(&lab, "status")["problems"].to_string();
    // A second router at home with the same address. The one outside is still ours.
    take(&laptop, "192.168.0.1", "192.168.0.99");
    let told = doctor(&lab, &["web"]);
    told.expect("lan-address-conflict");
    assert!(!told.causes().contains(&"address-conflict"), "{:#}", told.json);
    let first = &told.json["findings"][0];
    assert!(first["text"].as_str().is_some_and(|text| text.contains(&mac(&laptop))), "{first:#}");
    let file = fs::read_to_string(lab.config_file()).expect("there is a file");
    let line = 1 + file.lines().position(|line| line.contains("192.168.0.1/24")).expect("it has a lan");
    let place = first["place"].as_str().expect("there is a place");
    assert!(place.contains(&format!(":{line}:")), "{place}");
    let steps = told.json["walks"][0]["steps"].as_array().expect("there are steps");
    let address = steps.iter().find(|step| step["step"] == "address").expect("it is a step");
    assert_eq!(address["state"], "well", "{steps:#?}");
    let said = format!("{} uses 192.168.0.1, which is this router's", mac(&laptop));
    assert!(problems().contains(&said), "{}", problems());
    // Somebody outside has our address for a moment.
    take(&isp, "203.0.113.1", "203.0.113.99");
    ip(&isp, "address del 203.0.113.1/24 dev eth0");
    assert!(doctor(&lab, &["web"]).causes().contains(&"address-conflict"));
    assert!(problems().contains("uses 203.0.113.1"), "{}", problems());
    // That is over by itself; the other one, which is silent unless it is asked, is not.
    wait_for("nobody outside has it", || !doctor(&lab, &["web"]).causes().contains(&"address-conflict"));
    assert!(!problems().contains("uses 203.0.113.1") && problems().contains(&said), "{}", problems());
    doctor(&lab, &["web"]).expect("lan-address-conflict");
    ip(&laptop, "address del 192.168.0.1/24 dev eth0");
    wait_for("nobody has the router's address", || problems() == "[]");
    doctor(&lab, &["web"]).expect_nothing();
    Ok(())
}

fn routers_that_do_not_run() -> Outcome {
    let lab = Lab::start(WEB);
    let _server = Server::tcp(&lab.host(Nas), 8080);
    let router = lab.host(Router);
    // It runs, but not as the one that is asked for: another one has the devices.
    doctor_alone(&lab, &["web"]).expect("device-in-use");
    // What keeps the next one from starting.
    ip(&router, "address add 203.0.113.77/24 dev wan0");
    let told = doctor(&lab, &["web"]);
    assert_eq!((told.causes(), told.code), (vec!["kernel-address"], Some(0)), "{:#}", told.json);
    assert_eq!(lab.stop_router(), Some(0));
    doctor_alone(&lab, &["web"]).expect("kernel-address");
    ip(&router, "address del 203.0.113.77/24 dev wan0");
    doctor_alone(&lab, &["web"]).expect("router-not-running");
    ip(&router, "link add br0 type bridge");
    ip(&router, "link set wan0 master br0");
    doctor_alone(&lab, &["web"]).expect("device-enslaved");
    ip(&router, "link del br0");
    let good = fs::read_to_string(lab.config_file()).expect("there is a file");
    fs::write(lab.config_file(), good.replace("wan0", "eth7")).expect("written");
    doctor_alone(&lab, &["web"]).expect("device-absent");
    fs::write(lab.config_file(), good.replace("port = 80", "port = 800000")).expect("written");
    doctor_alone(&lab, &["web"]).expect("config-invalid");
    Ok(())
}

fn a_box_that_does_not_listen() -> Outcome {
    need_tun()?;
    let rules = format!("{}[router]\ntun = \"genkan0\"\n", WEB.replace("192.168.0.10", "192.168.0.1"));
    let lab = Lab::start(&rules);
    doctor(&lab, &["web"]).expect("port-closed");
    let _server = Server::tcp(&lab.host(Router), 8080);
    doctor(&lab, &["web"]).expect_nothing();
    connect(&lab.host(Remote), lab.wan(80)).expect("it works indeed");
    // A box with another way out answers there.
    let router = lab.host(Router);
    ip(&router, "link add way0 type veth peer name way1");
    ip(&router, "address add 172.31.0.1/24 dev way0");
    for device in ["way0", "way1"] {
        ip(&router, &format!("link set {device} up"));
    }
    ip(&router, "route add default via 172.31.0.2");
    assert!(connect_within(&lab.host(Remote), lab.wan(80), SILENCE).is_err(), "it answers elsewhere");
    doctor(&lab, &["web"]).expect("reply-elsewhere");
    // And may take nobody whom it would answer there.
    let strict = "for i in all genkan0; do echo 1 >/proc/sys/net/ipv4/conf/$i/rp_filter; done";
    run(&router, "sh", &["-c", strict]).expect_ok();
    doctor(&lab, &["web"]).expect("reverse-path-filter");
    Ok(())
}
