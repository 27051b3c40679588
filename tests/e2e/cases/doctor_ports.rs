//! Forwards of several ports, and who else may have a port.

use genkan_lab::topology::Role::{Console, Laptop, Remote, Router};

use super::doctor::{Diagnosis, GAME, doctor};
use crate::cases;
use crate::fixture::{Lab, PATIENCE};
use crate::outcome::Outcome;
use crate::programs::need_tun;
use crate::servers::{Server, ask, udp};

cases![
    ;
    only_genkan:
    ranges_of_which_some_ports_are_open,
    ranges_of_which_others_take_some,
    ranges_of_the_box,
    a_dynamic_mapping_gives_way_to_a_forward,
];

const RANGE: &str = r#"
[[forward]]
name = "range"
protocol = "tcp"
port = "10000-10100"
to = "192.168.0.50:20000"
"#;

/// The ports that were looked at, with what was found.
fn ports(told: &Diagnosis) -> Vec<(u64, u64, &str)> {
    let rows = told.json["walks"][0]["ports"].as_array().expect("several ports were looked at").iter();
    let number = |row: &serde_json::Value, key: &str| row[key].as_u64().expect("a number");
    let row = |row| (number(row, "external"), number(row, "internal"), row["answer"].as_str().unwrap_or("?"));
    rows.map(row).collect()
}

/// Only this cause is named, and nothing is certain.
#[track_caller]
fn expect_doubt(told: &Diagnosis, cause: &str) {
    assert_eq!((told.causes(), told.code), (vec![cause], Some(0)), "{:#}", told.json);
}

fn ranges_of_which_some_ports_are_open() -> Outcome {
    let lab = Lab::start(RANGE);
    let console = lab.host(Console);
    let told = doctor(&lab, &["range"]);
    told.expect("port-closed");
    let looked_at = ports(&told);
    assert_eq!(
        (looked_at.len(), looked_at[0], looked_at[11]),
        (12, (10_000, 20_000, "closed"), (10_100, 20_100, "closed"))
    );
    // The last one only, which is the one that is followed then.
    let last = Server::tcp(&console, 20_100);
    let told = doctor(&lab, &["range"]);
    expect_doubt(&told, "some-ports-closed");
    assert_eq!(told.json["walks"][0]["external"], "203.0.113.1:10100");
    assert_eq!(ports(&told).iter().filter(|(.., answer)| *answer == "open").count(), 1);
    drop(last);
    // All that are looked at; with other forwards there are fewer of each.
    let all: Vec<Server> = looked_at.iter().map(|(_, port, _)| Server::tcp(&console, *port as u16)).collect();
    doctor(&lab, &["range"]).expect_nothing();
    let (few, one) = (&doctor(&lab, &[]), (10_100, 20_100));
    expect_doubt(few, "some-ports-closed");
    assert!(ports(few).len() == 3 && ports(few)[2] == (one.0, one.1, "open"), "{:#}", few.json);
    drop(all);
    Ok(())
}

fn ranges_of_which_others_take_some() -> Outcome {
    let old = "[[forward]]\nname = \"old\"\nprotocol = \"tcp\"\nport = 10003\nto = \"192.168.0.20\"\n";
    let lab = Lab::start(&format!("{old}{}", RANGE.replace("10100", "10002")));
    let console = lab.host(Console);
    let _servers: Vec<Server> = (20_000..=20_100).map(|port| Server::tcp(&console, port)).collect();
    doctor(&lab, &["range"]).expect_nothing();
    lab.reload(&format!("{old}{RANGE}"));
    let told = doctor(&lab, &["range"]);
    expect_doubt(&told, "shadowed");
    let text = told.json["findings"][0]["text"].as_str().expect("a text");
    assert!(text.contains("port 10003 "), "{text}");
    // All of it.
    lab.reload(&format!("{}{RANGE}", old.replace("10003", "\"9000-11000\"")));
    doctor(&lab, &["range"]).expect("shadowed");
    Ok(())
}

fn ranges_of_the_box() -> Outcome {
    need_tun()?;
    let rules = RANGE.replace("192.168.0.50", "192.168.0.1").replace("10100", "10003");
    let lab = Lab::start(&format!("{rules}[router]\ntun = \"genkan0\"\n"));
    doctor(&lab, &["range"]).expect("port-closed");
    let _server = Server::tcp(&lab.host(Router), 20_002);
    expect_doubt(&doctor(&lab, &["range"]), "some-ports-closed");
    Ok(())
}

/// A forward that is added takes its port at once from whoever has it by chance.
fn a_dynamic_mapping_gives_way_to_a_forward() -> Outcome {
    let lab = Lab::start("");
    let _far = Server::udp(&lab.host(Remote), 9000);
    let to = std::net::SocketAddrV4::new(lab.address.remote, 9000);
    let own = udp(&lab.host(Laptop), 5000);
    assert!(ask(&own, to, b"hello", PATIENCE).is_some(), "it has a way out");
    let mappings = || lab.genkan(&["mappings", "--format", "json"]).expect_ok().stdout;
    assert!(mappings().contains("203.0.113.1:5000"), "the external port is the internal one");
    let _game = Server::udp(&lab.host(Console), 5000);
    lab.reload(GAME);
    doctor(&lab, &["game"]).expect_nothing();
    assert!(!mappings().contains("203.0.113.1:5000"), "{}", mappings());
    assert!(ask(&udp(&lab.host(Remote), 0), lab.wan(5000), b"hello", PATIENCE).is_some(), "it works indeed");
    Ok(())
}
