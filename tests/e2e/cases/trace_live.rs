//! `genkan trace` against the running router: made-up packets meet what is really there, and leave it as it is.

use genkan_lab::topology::Role::{Laptop, Nas, Remote};
use serde_json::Value;

use crate::cases;
use crate::fixture::{Lab, PATIENCE, WEB};
use crate::outcome::Outcome;
use crate::servers::{Server, ask, connect, greeting, udp};

cases![;
    only_genkan:
    sessions_and_mappings_of_this_moment_decide,
    all_workers_are_asked,
    a_brake_says_what_is_left,
    what_makes_no_sense_is_misuse,
];

/// The answer as JSON, and the exit status.
fn trace(lab: &Lab, port: &str, protocol: &str, from: &str, to: &str, more: &[&str]) -> (Value, Option<i32>) {
    let asked =
        ["trace", "--in", port, "--protocol", protocol, "--from", from, "--to", to, "--format", "json"];
    let said = lab.genkan(&[&asked, more].concat());
    let answer = serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("no JSON: {said:?}"));
    (answer, said.code)
}

fn ids(lines: &Value) -> Vec<&str> {
    lines.as_array().expect("a list").iter().filter_map(|line| line["id"].as_str()).collect()
}

/// For which reasons traced packets are dropped here.
const TRACED_DROPS: [&str; 2] = ["filtered", "tcp_no_session"];

/// What a trace must not change.
fn state(lab: &Lab) -> Value {
    let json = |listing: &str| -> Value {
        let said = lab.genkan(&[listing, "--format", "json"]).expect_ok();
        serde_json::from_str(&said.stdout).expect("it is JSON")
    };
    let forwards = json("forwards");
    let hits = |row: &Value| row["hits"].clone();
    let hits: Vec<Value> = forwards.as_array().expect("a list").iter().map(hits).collect();
    let counters = json("counters");
    // Hosts and the router look after their ARP caches whenever it is time to; bridges and kernels tell of their groups.
    let is_ours = |row: &Value| {
        let name = row["name"].as_str().expect("a name");
        if row["description"].is_null() { !name.starts_with("arp_") } else { TRACED_DROPS.contains(&name) }
    };
    let ours = |rows: &Value| -> Value {
        rows.as_array().expect("a list").iter().filter(|row| is_ours(row)).cloned().collect()
    };
    let (stages, drops) = (ours(&counters["stages"]), ours(&counters["drops"]));
    Value::from(vec![json("mappings"), Value::from(hits), stages, drops])
}

fn sessions_and_mappings_of_this_moment_decide() -> Outcome {
    let lab = Lab::start(&format!("{WEB}\n[nat]\nfiltering = \"address-dependent\"\n"));
    let server = Server::udp(&lab.host(Remote), 7000);
    let laptop = udp(&lab.host(Laptop), 5000);
    let remote = format!("{}:7000", lab.address.remote);
    let seen = ask(&laptop, remote.parse().expect("an endpoint"), b"hello", PATIENCE);
    let outside = seen.expect("the server answers").to_string();
    drop(server);
    let before = state(&lab);

    // Its answer passes, by a session that lasts.
    let (answer, code) = trace(&lab, "wan", "udp", &remote, &outside, &[]);
    assert_eq!((answer["fate"].as_str(), code), (Some("forwarded"), Some(0)), "{answer:#}");
    assert_eq!(ids(&answer["steps"])[0], "step-known-inbound", "{answer:#}");
    let inside = format!("udp {remote} -> {}:5000", lab.address.laptop);
    assert_eq!(answer["left"][0]["packet"], Value::from(inside), "{answer:#}");
    assert!(ids(&answer["now"]).contains(&"now-session"), "{answer:#}");

    // From another port of the same address too, as the mapping admits it; not from elsewhere.
    let other = format!("{}:7001", lab.address.remote);
    let (answer, code) = trace(&lab, "wan", "udp", &other, &outside, &[]);
    assert_eq!((answer["fate"].as_str(), code), (Some("forwarded"), Some(0)), "{answer:#}");
    assert!(ids(&answer["steps"]).contains(&"step-mapping-admits"), "{answer:#}");
    let stranger = format!("{}:7000", lab.address.remote_second);
    let (answer, code) = trace(&lab, "wan", "udp", &stranger, &outside, &[]);
    assert_eq!((answer["reason"]["id"].as_str(), code), (Some("filtered"), Some(1)), "{answer:#}");
    assert_eq!(ids(&answer["remedies"]), ["remedy-filtered"], "{answer:#}");

    // Nobody has asked for the nas yet: the packet would wait for it. The middle of a connection comes to nothing.
    let (client, web) = (format!("{}:40000", lab.address.remote), lab.wan(80).to_string());
    let (answer, code) = trace(&lab, "wan", "tcp", &client, &web, &[]);
    assert_eq!((answer["fate"].as_str(), code), (Some("waiting"), Some(0)), "{answer:#}");
    let (answer, code) = trace(&lab, "wan", "tcp", &client, &web, &["--flags", "ack"]);
    assert_eq!((answer["reason"]["id"].as_str(), code), (Some("tcp_no_session"), Some(1)), "{answer:#}");

    // The same host leaves from its mapping.
    let elsewhere = format!("{}:9", lab.address.remote_third);
    let laptop_end = format!("{}:5000", lab.address.laptop);
    let (answer, _) = trace(&lab, "home", "udp", &laptop_end, &elsewhere, &[]);
    let leaves = format!("udp {outside} -> {elsewhere}");
    assert_eq!(answer["left"][0]["packet"], Value::from(leaves), "{answer:#}");
    assert!(ids(&answer["steps"]).contains(&"step-leaves-known-mapping"), "{answer:#}");

    assert_eq!(state(&lab), before);
    // In words, and in Japanese.
    let words = ["trace", "--in", "wan", "--protocol", "udp", "--from", &remote, "--to", &outside];
    let said = lab.genkan(&words).expect_ok();
    assert!(said.stdout.contains("\n  As of now:\n  -  session udp "), "{}", said.stdout);
    Ok(())
}

fn all_workers_are_asked() -> Outcome {
    let lab = Lab::start("\n[router]\nworkers = 4\n");
    let _server = Server::udp(&lab.host(Remote), 7000);
    let remote = format!("{}:7000", lab.address.remote);
    for host in [Laptop, Nas] {
        let socket = udp(&lab.host(host), 5000);
        let seen = ask(&socket, remote.parse().expect("an endpoint"), b"hello", PATIENCE);
        let outside = seen.expect("the server answers").to_string();
        let (answer, code) = trace(&lab, "wan", "udp", &remote, &outside, &[]);
        assert_eq!((answer["fate"].as_str(), code), (Some("forwarded"), Some(0)), "{answer:#}");
        assert_eq!(ids(&answer["steps"])[0], "step-known-inbound", "{answer:#}");
    }
    Ok(())
}

fn a_brake_says_what_is_left() -> Outcome {
    let lab = Lab::start(&format!("{WEB}max_new_per_source = \"2/h\"\n"));
    let _server = Server::tcp(&lab.host(Nas), 8080);
    let (client, web) = (format!("{}:40000", lab.address.remote), lab.wan(80).to_string());
    let brake = || {
        let (answer, code) = trace(&lab, "wan", "tcp", &client, &web, &[]);
        let steps = answer["steps"].as_array().expect("a list").clone();
        let brake = steps.into_iter().find(|step| step["id"].as_str().is_some_and(|id| id.contains("brake")));
        (brake.unwrap_or_else(|| panic!("{answer:#}"))["text"].to_string(), code)
    };
    for left in ["and 1 more of 2 at once", "and 0 more of 2 at once"] {
        let (said, code) = brake();
        assert!(said.contains(left) && code == Some(0), "{said}");
        greeting(&mut connect(&lab.host(Remote), lab.wan(80)).expect("it is open"));
    }
    assert_eq!(brake(), ("\"the source opens sessions too fast\"".to_owned(), Some(1)));
    Ok(())
}

fn what_makes_no_sense_is_misuse() -> Outcome {
    let lab = Lab::start("");
    let packet = ["--from", "192.0.2.9:40000", "--to", "192.0.2.8:80"];
    for (arguments, said) in [
        (["--in", "attic", "--protocol", "tcp"], "no such port: `attic`; accepted: wan, home"),
        (["--in", "wan", "--protocol", "sctp"], "invalid value 'sctp'"),
    ] {
        let refused = lab.genkan(&[&["trace"][..], &arguments, &packet].concat());
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains(said), "{refused:?}");
    }
    let udp = ["trace", "--in", "wan", "--protocol", "udp", "--flags", "ack"];
    let refused = lab.genkan(&[&udp[..], &packet].concat());
    assert_eq!((refused.code, refused.stderr.as_str()), (Some(2), "error: only TCP has --flags\n"));
    Ok(())
}
