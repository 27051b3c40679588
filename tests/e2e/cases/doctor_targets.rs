//! Set-ups in which the machine that a forward leads to is what is wrong.

use genkan_lab::Namespace;
use genkan_lab::topology::Role::{Console, Laptop, Nas};

use super::devices::{listing, move_to, rules};
use super::doctor::{GAME, doctor, go_out, ip};
use crate::cases;
use crate::fixture::{Lab, WEB, wait_for};
use crate::leases::mac;
use crate::outcome::Outcome;
use crate::programs::{need, run};
use crate::servers::Server;

cases![
    ;
    only_genkan:
    services_that_are_not_there,
    machines_that_are_not_there,
    machines_that_have_moved,
    devices_that_are_followed,
    answers_that_go_another_way,
    firewalls_of_their_own,
];

fn services_that_are_not_there() -> Outcome {
    let lab = Lab::start(&format!("{WEB}{GAME}"));
    doctor(&lab, &["web"]).expect("port-closed");
    doctor(&lab, &["game"]).expect("port-closed");
    // It listens, but to nobody else.
    let own = lab.host(Nas).run(|| std::net::TcpListener::bind("127.0.0.1:8080")).expect("the port is free");
    doctor(&lab, &["web"]).expect("port-closed");
    drop(own);
    // The other protocol.
    let (_udp, _tcp) = (Server::udp(&lab.host(Nas), 8080), Server::tcp(&lab.host(Console), 5000));
    doctor(&lab, &["web"]).expect("other-protocol");
    doctor(&lab, &["game"]).expect("other-protocol");
    // The service is at another port.
    let _server = Server::tcp(&lab.host(Nas), 8081);
    lab.reload(&format!("{WEB}{GAME}").replace("8080", "8082"));
    doctor(&lab, &["web"]).expect("port-closed");
    lab.reload(&WEB.replace("8080", "8081"));
    doctor(&lab, &["web"]).expect_nothing();
    Ok(())
}

fn machines_that_are_not_there() -> Outcome {
    let lab = Lab::start(WEB);
    let _server = Server::tcp(&lab.host(Nas), 8080);
    doctor(&lab, &["web"]).expect_nothing();
    ip(&lab.host(Nas), "link set eth0 down");
    doctor(&lab, &["web"]).expect("target-silent");
    Ok(())
}

/// The file does not say where they are; the router has found out.
fn devices_that_are_followed() -> Outcome {
    let lab = Lab::start("");
    let nas = lab.host(Nas);
    lab.reload(&rules(&format!("[[host]]\nname = \"nas\"\nmac = \"{}\"\n", mac(&nas))));
    let told = doctor(&lab, &["web"]);
    told.expect("target-never-seen");
    let walk = &told.json["walks"][0];
    let mut steps = walk["steps"].as_array().into_iter().flatten();
    let route = steps.find(|step| step["step"] == "route").expect("there is this step");
    assert_eq!((&walk["target"], &route["state"]), (&"nas:8080".into(), &"unknown".into()), "{walk:#}");
    let _server = Server::tcp(&nas, 8080);
    for address in ["192.168.0.77", "192.168.0.78"] {
        move_to(&lab, Nas, address);
        wait_for("it is found", || listing(&lab, "forwards")[0]["to"] == format!("{address}:8080"));
        doctor(&lab, &["web"]).expect_nothing();
    }
    // Another machine has its address.
    ip(&nas, "link set eth0 down");
    move_to(&lab, Console, "192.168.0.78");
    wait_for("a stranger is there", || listing(&lab, "forwards")[0]["closed_by"] == "absent");
    doctor(&lab, &["web"]).expect("target-absent");
    Ok(())
}

fn machines_that_have_moved() -> Outcome {
    let lab = Lab::start("");
    let (nas, laptop) = (lab.host(Nas), lab.host(Laptop));
    let known =
        format!("{WEB}[[host]]\nname = \"nas\"\nmac = \"{}\"\naddress = \"192.168.0.10\"\n", mac(&nas));
    lab.reload(&known);
    let _server = Server::tcp(&nas, 8080);
    doctor(&lab, &["web"]).expect_nothing();
    // Two machines at one address.
    ip(&laptop, "address add 192.168.0.10/24 dev eth0");
    doctor(&lab, &["web"]).expect("target-duplicate");
    // The nas got another address, and the laptop has its old one.
    ip(&nas, "address del 192.168.0.10/24 dev eth0");
    ip(&nas, "address add 192.168.0.77/24 dev eth0");
    ip(&nas, "route replace default via 192.168.0.1");
    run(&nas, "ping", &["-c", "1", "-W", "2", "192.168.0.1"]).expect_ok();
    wait_for("the router knows the new address", || {
        lab.genkan(&["neighbors"]).stdout.contains("192.168.0.77")
    });
    let told = doctor(&lab, &["web"]);
    told.expect("target-moved");
    let command = told.json["findings"][0]["commands"][0].as_str().expect("there is a command");
    assert_eq!(command, "genkan forward change web --to 192.168.0.77:8080");
    // It moves on. The router still knows the place between, where nobody is by now.
    ip(&nas, "address del 192.168.0.77/24 dev eth0");
    ip(&nas, "address add 192.168.0.78/24 dev eth0");
    ip(&nas, "route replace default via 192.168.0.1");
    run(&nas, "ping", &["-c", "1", "-W", "2", "192.168.0.1"]).expect_ok();
    wait_for("the router knows both places", || {
        let neighbors = lab.genkan(&["neighbors"]).stdout;
        ["192.168.0.77", "192.168.0.78"].iter().all(|place| neighbors.contains(place))
    });
    let told = doctor(&lab, &["web"]);
    told.expect("target-moved");
    let command = &told.json["findings"][0]["commands"][0];
    assert_eq!(command, "genkan forward change web --to 192.168.0.78:8080");
    // The same where nobody wrote a MAC address down: the router remembers.
    lab.reload(WEB);
    ip(&laptop, "link set eth0 address 02:00:00:00:00:99");
    let told = doctor(&lab, &["web"]);
    told.expect("target-moved");
    let expected = format!(
        "192.168.0.10 belongs to another machine by now, 02:00:00:00:00:99; it was {}, which is now at 192.168.0.78",
        mac(&nas)
    );
    assert_eq!(told.json["findings"][0]["text"], expected);
    // Nobody has the old address.
    ip(&laptop, "address del 192.168.0.10/24 dev eth0");
    lab.reload(&known);
    doctor(&lab, &["web"]).expect("target-moved");
    // Nor is the nas at any place where it has been.
    ip(&nas, "link set eth0 down");
    let told = doctor(&lab, &["web"]);
    told.expect("target-silent");
    assert_eq!(told.causes(), ["target-silent"], "{:#}", told.json);
    ip(&nas, "link set eth0 up");
    // The nas is back.
    move_to(&lab, Nas, "192.168.0.10");
    let row = format!("192.168.0.10 (nas)  {}", mac(&nas));
    wait_for("the router knows it", || lab.genkan(&["neighbors"]).stdout.contains(&row));
    doctor(&lab, &["web"]).expect_nothing();
    Ok(())
}

fn answers_that_go_another_way() -> Outcome {
    let lab = Lab::start(&format!("{WEB}{GAME}"));
    let (nas, console) = (lab.host(Nas), lab.host(Console));
    let (_web, _game) = (Server::tcp(&nas, 8080), Server::udp(&console, 5000));
    doctor(&lab, &[]).expect_nothing();
    // A gateway that is not there is asked for by ARP.
    for host in [&nas, &console] {
        ip(host, "route replace default via 192.168.0.254");
    }
    for forward in ["web", "game"] {
        let told = doctor(&lab, &[forward]);
        told.expect("reply-elsewhere");
        let text = told.json["findings"][0]["text"].as_str().expect("a text");
        assert!(text.contains("192.168.0.254"), "{text}");
    }
    // One that is there, and known for long.
    ip(&nas, "route replace default via 192.168.0.20");
    run(&nas, "ping", &["-c", "1", "-W", "2", "192.168.0.20"]).expect_ok();
    doctor(&lab, &["web"]).expect("reply-elsewhere");
    // None at all.
    ip(&nas, "route del default");
    doctor(&lab, &["web"]).expect("reply-elsewhere");
    ip(&nas, "route add default via 192.168.0.1");
    doctor(&lab, &["web"]).expect_nothing();
    Ok(())
}

/// Gives a host a firewall of one rule, in place of what it had.
pub(super) fn firewall(host: &Namespace, rule: &str) {
    let chain = "type filter hook input priority 0; policy accept;";
    let rules = format!("flush ruleset\ntable ip own {{\nchain input {{ {chain} {rule}\n}}\n}}");
    run(host, "nft", &[&rules]).expect_ok();
}

fn firewalls_of_their_own() -> Outcome {
    need("nft")?;
    let lab = Lab::start(&format!("{WEB}{GAME}"));
    let (nas, console) = (lab.host(Nas), lab.host(Console));
    let (_web, _game) = (Server::tcp(&nas, 8080), Server::udp(&console, 5000));
    let strangers = "ip saddr != 192.168.0.0/24";
    firewall(&nas, "tcp dport 8080 drop");
    doctor(&lab, &["web"]).expect("port-filtered");
    firewall(&nas, "tcp dport 8080 reject");
    doctor(&lab, &["web"]).expect("port-closed");
    firewall(&nas, &format!("{strangers} tcp dport 8080 drop"));
    doctor(&lab, &["web"]).expect("target-firewall");
    firewall(&nas, &format!("{strangers} tcp dport 8080 reject with tcp reset"));
    doctor(&lab, &["web"]).expect("target-firewall");
    firewall(&console, &format!("{strangers} udp dport 5000 drop"));
    doctor(&lab, &["game"]).expect("target-firewall");
    // One that lets no stranger in at all, of a machine that uses the internet.
    firewall(&nas, "ct state established accept; ip saddr != 192.168.0.0/24 drop");
    go_out(&lab, Nas);
    doctor(&lab, &["web"]).expect("target-firewall");
    firewall(&nas, "accept");
    firewall(&console, "accept");
    doctor(&lab, &[]).expect_nothing();
    Ok(())
}
