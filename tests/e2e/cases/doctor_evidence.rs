//! Set-ups in which those who have come from outside show what is wrong, or that nothing is.

use genkan_lab::topology::Role::{Console, Nas, Remote, Router};

use super::doctor::{Diagnosis, GAME, doctor, ip};
use super::doctor_targets::firewall;
use crate::cases;
use crate::fixture::{Lab, PATIENCE, SILENCE, WEB};
use crate::outcome::Outcome;
use crate::programs::{need, need_tun};
use crate::servers::{Server, ask, connect, connect_within, greeting, udp};

cases![
    ;
    only_genkan:
    sources_that_the_target_keeps_out,
    sources_to_which_the_target_has_another_way,
    strangers_that_are_nobody_are_kept_out_alone,
    services_that_answer_whom_they_know,
    a_firewall_of_the_box,
];

/// Only this cause is named, and nothing is certain.
#[track_caller]
fn expect_doubt(told: &Diagnosis, cause: &str) {
    assert_eq!((told.causes(), told.code), (vec![cause], Some(0)), "{:#}", told.json);
}

/// What the first walk says about sessions: answered, and unanswered.
fn sessions(told: &Diagnosis) -> [Option<u64>; 2] {
    let sessions = &told.json["walks"][0]["sessions"];
    [sessions["answered"].as_u64(), sessions["unanswered"].as_u64()]
}

/// Somebody outside tries the forward of port 80, in vain.
#[track_caller]
fn knock(lab: &Lab) {
    assert!(connect_within(&lab.host(Remote), lab.wan(80), SILENCE).is_err(), "it is kept out");
}

fn sources_that_the_target_keeps_out() -> Outcome {
    need("nft")?;
    let lab = Lab::start(WEB);
    let nas = lab.host(Nas);
    let _server = Server::tcp(&nas, 8080);
    let (source, other) = (lab.address.remote.to_string(), lab.address.remote_second.to_string());
    firewall(&nas, &format!("ip saddr {source} tcp dport 8080 drop"));
    doctor(&lab, &["web"]).expect_nothing();
    knock(&lab);
    // Who knocks everywhere may well be kept out; who says that it does not work is to get in.
    let told = doctor(&lab, &["web"]);
    expect_doubt(&told, "source-unanswered");
    assert_eq!(sessions(&told), [Some(0), Some(1)]);
    let told = doctor(&lab, &["web", "--from", &source]);
    told.expect("source-unanswered");
    let text = told.json["findings"][0]["text"].as_str().expect("a text");
    assert!(text.contains(&source), "{text}");
    doctor(&lab, &["web", "--from", &other]).expect_nothing();
    // One that was answered later is not kept out.
    firewall(&nas, "accept");
    let mut stream = connect(&lab.host(Remote), lab.wan(80)).expect("it is let in");
    greeting(&mut stream);
    let told = doctor(&lab, &["web", "--from", &source]);
    told.expect_nothing();
    assert_eq!(sessions(&told), [Some(1), Some(1)]);
    Ok(())
}

fn sources_to_which_the_target_has_another_way() -> Outcome {
    let lab = Lab::start(WEB);
    let nas = lab.host(Nas);
    let _server = Server::tcp(&nas, 8080);
    ip(&nas, "route add 198.51.100.0/24 via 192.168.0.20");
    doctor(&lab, &["web"]).expect_nothing();
    knock(&lab);
    doctor(&lab, &["web", "--from", &lab.address.remote.to_string()]).expect("source-unanswered");
    // Strangers of every kind: the default route is what is wrong.
    ip(&nas, "route replace default via 192.168.0.20");
    doctor(&lab, &["web"]).expect("reply-elsewhere");
    Ok(())
}

fn strangers_that_are_nobody_are_kept_out_alone() -> Outcome {
    need("nft")?;
    let lab = Lab::start(WEB);
    let nas = lab.host(Nas);
    let _server = Server::tcp(&nas, 8080);
    // The router asks in the name of such an address.
    firewall(&nas, "ip saddr 192.0.2.0/24 drop");
    doctor(&lab, &["web"]).expect("reply-elsewhere");
    let mut stream = connect(&lab.host(Remote), lab.wan(80)).expect("it works");
    greeting(&mut stream);
    expect_doubt(&doctor(&lab, &["web"]), "reply-elsewhere");
    // Only the router is kept out, who is nobody outside.
    firewall(&nas, "ip saddr 192.168.0.1 tcp dport 8080 drop");
    doctor(&lab, &["web"]).expect_nothing();
    Ok(())
}

fn services_that_answer_whom_they_know() -> Outcome {
    need("nft")?;
    let lab = Lab::start(GAME);
    let console = lab.host(Console);
    let _game = Server::udp(&console, 5000);
    // Neither the router nor strangers are answered, and echoes are for the own network.
    let nobody = "ip saddr { 192.168.0.1, 192.0.2.0/24 } udp dport 5000 drop";
    let no_echoes = "ip saddr != 192.168.0.0/24 icmp type echo-request drop";
    firewall(&console, &format!("{nobody}\n{no_echoes}"));
    expect_doubt(&doctor(&lab, &["game"]), "reply-elsewhere");
    let player = udp(&lab.host(Remote), 0);
    assert!(ask(&player, lab.wan(5000), b"hello", PATIENCE).is_some(), "it works");
    doctor(&lab, &["game"]).expect_nothing();
    // Nobody is answered at all: datagrams are forwarded, and none comes back.
    let lab = Lab::start(GAME);
    let console = lab.host(Console);
    let _game = Server::udp(&console, 5000);
    firewall(&console, "udp dport 5000 drop");
    doctor(&lab, &["game"]).expect_nothing();
    let player = udp(&lab.host(Remote), 0);
    assert!(ask(&player, lab.wan(5000), b"hello", SILENCE).is_none());
    let told = doctor(&lab, &["game"]);
    expect_doubt(&told, "unanswered");
    assert_eq!(sessions(&told), [Some(0), Some(1)]);
    Ok(())
}

fn a_firewall_of_the_box() -> Outcome {
    need("nft")?;
    need_tun()?;
    let rules = format!("{}[router]\ntun = \"genkan0\"\n", WEB.replace("192.168.0.10", "192.168.0.1"));
    let lab = Lab::start(&rules);
    let router = lab.host(Router);
    let _server = Server::tcp(&router, 8080);
    firewall(&router, "tcp dport 8080 drop");
    doctor(&lab, &["web"]).expect_nothing();
    knock(&lab);
    expect_doubt(&doctor(&lab, &["web"]), "port-filtered");
    let source = lab.address.remote.to_string();
    doctor(&lab, &["web", "--from", &source]).expect("port-filtered");
    firewall(&router, "accept");
    greeting(&mut connect(&lab.host(Remote), lab.wan(80)).expect("it is let in"));
    doctor(&lab, &["web", "--from", &source]).expect_nothing();
    Ok(())
}
