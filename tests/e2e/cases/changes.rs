//! Changes while packets flow: what they do, what they leave alone, and what is left of them after an accident.

use std::fs;
use std::net::SocketAddrV4;
use std::thread;
use std::time::{Duration, Instant};

use genkan_lab::Options;
use genkan_lab::topology::Role::{Laptop, Nas, Remote};
use serde_json::Value;

use crate::cases;
use crate::counted::Counted;
use crate::fixture::{Lab, PATIENCE, SILENCE, wait_for};
use crate::outcome::Outcome;
use crate::programs::Said;
use crate::servers::{Server, ask, connect, connect_within, exchange, greeting, udp};

cases![
    ;
    only_genkan:
    a_change_keeps_the_comments_and_other_sessions,
    a_change_ends_what_it_no_longer_allows_at_once,
    a_new_forward_takes_its_port_from_a_dynamic_mapping,
    two_writers_at_once_lose_nothing,
    edits_by_hand_are_taken_over_first,
    a_lock_out_comes_back_by_itself,
    an_unconfirmed_change_does_not_outlive_the_router,
    going_back_leaves_an_edit_by_hand_alone,
    the_history_leads_back,
    a_temporary_forward_leaves_the_file,
    a_clock_that_cannot_be_right_times_nothing,
    every_key_of_a_forward_can_be_given_and_changed,
];

pub(super) const RULES: &str = r#"# What the club decided.
[[forward]]
name = "web"    # the old server
protocol = "tcp"
port = 80
to = "192.168.0.10:8080"

# Nobody knows why.
[nat]
hairpin = true
"#;

pub(super) fn file(lab: &Lab) -> String {
    fs::read_to_string(lab.router(|router| router.config_file())).expect("there is always a file")
}

pub(super) fn json(said: Said) -> Value {
    serde_json::from_str(&said.expect_ok().stdout).expect("it is JSON")
}

pub(super) fn add<'a>(name: &'a str, protocol: &'a str, port: &'a str, to: &'a str) -> Vec<&'a str> {
    vec!["forward", "add", name, "--protocol", protocol, "--port", port, "--to", to]
}

fn revision(lab: &Lab) -> u64 {
    json(lab.genkan(&["history", "--format", "json"]))["revision"].as_u64().expect("a number")
}

/// Names of the forwards in a text, in order.
pub(super) fn names(text: &str) -> Vec<String> {
    let table: toml::Table = text.parse().unwrap_or_else(|error| panic!("torn: {error}\n{text}"));
    let forwards = table.get("forward").and_then(toml::Value::as_array).cloned().unwrap_or_default();
    forwards.iter().map(|forward| forward["name"].as_str().expect("a name").to_owned()).collect()
}

pub(super) fn running_names(lab: &Lab) -> Vec<String> {
    let rows = json(lab.genkan(&["forward", "list", "--format", "json"]));
    let rows = rows.as_array().expect("a list");
    rows.iter().map(|row| row["name"].as_str().expect("a name").to_owned()).collect()
}

fn a_change_keeps_the_comments_and_other_sessions() -> Outcome {
    let lab = Lab::start(RULES);
    let _servers = [Server::tcp(&lab.host(Nas), 8080), Server::tcp(&lab.host(Nas), 9090)];
    let mut session = connect(&lab.host(Remote), lab.wan(80)).expect("the forward is open");
    greeting(&mut session);
    let before = file(&lab);
    let arguments = add("more", "tcp", "90", "192.168.0.10:9090");

    let dry = lab.genkan(&[&arguments[..], &["--dry-run"]].concat()).expect_ok();
    assert!(dry.stdout.contains("would change:\n  forward more: added: protocol tcp, port 90"), "{dry:#?}");
    assert!(connect_within(&lab.host(Remote), lab.wan(90), SILENCE).is_err());
    assert_eq!(file(&lab), before);

    let said = lab.genkan(&arguments).expect_ok();
    assert!(said.stdout.contains("revision 2 in force\n  forward more: added:"), "{said:#?}");
    greeting(&mut connect(&lab.host(Remote), lab.wan(90)).expect("the new forward is open"));
    let block = "\n[[forward]]\nname = \"more\"\nprotocol = \"tcp\"\nport = 90\nto = \"192.168.0.10:9090\"\n";
    assert_eq!(file(&lab).replacen(block, "", 1), before);
    lab.genkan(&["forward", "disable", "more"]).expect_ok();
    assert!(connect_within(&lab.host(Remote), lab.wan(90), SILENCE).is_err());
    lab.genkan(&["forward", "remove", "more"]).expect_ok();
    assert_eq!(file(&lab), before);
    exchange(&mut session, b"still here");

    for (arguments, code, words) in [
        (&["forward", "remove", "wbe"][..], 1, "did you mean `web`?"),
        (&add("web", "tcp", "81", "192.168.0.10"), 1, "already a forward called `web`"),
        (&add("bad", "tcp", "99999", "192.168.0.10"), 1, "port = 99999"),
        (&["dmz", "set", "nobody"], 1, "no such `[[host]]`"),
        (&["confirm"], 1, "no change waits"),
        (&["rollback", "77"], 1, "no revision 77"),
        (&["forward", "remove", "web", "--confirm", "5"], 2, "it has no unit"),
    ] {
        let said = lab.genkan(arguments);
        assert!(said.code == Some(code) && said.stderr.contains(words), "{arguments:?}: {said:#?}");
    }
    assert_eq!(file(&lab), before);
    Ok(())
}

fn a_change_ends_what_it_no_longer_allows_at_once() -> Outcome {
    let rules = "[[forward]]\nname = \"log\"\nprotocol = \"udp\"\nport = 514\nto = \"192.168.0.10\"\n";
    let lab = Lab::start(rules);
    let nas = lab.host(Nas);
    let socket = udp(&nas, 514);
    let pause = Duration::from_millis(1);
    let flow = Counted::start(pause, udp(&lab.host(Remote), 0), lab.wan(514), nas, socket);
    flow.wait_for_more(100);
    lab.genkan(&["forward", "remove", "log"]).expect_ok();
    let sent = flow.sent();
    flow.wait_for_more(100);
    let flow = flow.end();
    assert!(flow.arrived > 0 && flow.newest < sent, "the session outlived its forward: {flow:?}, {sent}");
    Ok(())
}

fn a_new_forward_takes_its_port_from_a_dynamic_mapping() -> Outcome {
    let lab = Lab::start("");
    let _outside = Server::udp(&lab.host(Remote), 7);
    let _inside = Server::udp(&lab.host(Nas), 5000);
    let laptop = udp(&lab.host(Laptop), 5000);
    let remote = SocketAddrV4::new(lab.address.remote, 7);
    assert_eq!(ask(&laptop, remote, b"who am I", PATIENCE), Some(lab.wan(5000)));
    lab.genkan(&add("game", "udp", "5000", "192.168.0.10")).expect_ok();
    let stranger = udp(&lab.host(Remote), 0);
    assert!(ask(&stranger, lab.wan(5000), b"nas?", PATIENCE).is_some());
    // The laptop goes on from another port.
    let moved = ask(&laptop, remote, b"and now", PATIENCE).expect("a new mapping");
    assert_ne!(moved, lab.wan(5000));
    Ok(())
}

fn two_writers_at_once_lose_nothing() -> Outcome {
    const EACH: usize = 12;
    let lab = Lab::start(RULES);
    let before = revision(&lab);
    let arguments = |writer: usize, number: usize| {
        let (name, port) = (format!("w{writer}-{number}"), (1000 + writer * 100 + number).to_string());
        ["forward", "add", &name, "--protocol", "tcp", "--port", &port, "--to", "192.168.0.10"]
            .map(str::to_owned)
    };
    let commands: Vec<Vec<_>> = (0..2)
        .map(|writer| {
            let command = |number| {
                let arguments = arguments(writer, number);
                lab.router(|router| router.command(&arguments.each_ref().map(String::as_str)))
            };
            (0..EACH).map(command).collect()
        })
        .collect();
    thread::scope(|scope| {
        for mut commands in commands {
            scope.spawn(move || {
                for command in &mut commands {
                    let output = command.output().expect("the program is there");
                    assert!(output.status.success(), "{output:?}");
                }
            });
        }
    });
    let mut expected: Vec<String> =
        (0..2).flat_map(|writer| (0..EACH).map(move |number| format!("w{writer}-{number}"))).collect();
    expected.push("web".to_owned());
    expected.sort();
    for mut found in [names(&file(&lab)), running_names(&lab)] {
        found.sort();
        assert_eq!(found, expected);
    }
    let now = revision(&lab);
    assert_eq!(now, before + 2 * EACH as u64);
    // Thought out against what is no longer so.
    let late = lab.genkan(&["dmz", "set", "192.168.0.20", "--revision", &before.to_string()]);
    assert!(late.code == Some(1) && late.stderr.contains("is in force now"), "{late:#?}");
    lab.genkan(&["dmz", "set", "192.168.0.20", "--revision", &now.to_string()]).expect_ok();
    Ok(())
}

fn edits_by_hand_are_taken_over_first() -> Outcome {
    let lab = Lab::start(RULES);
    let path = lab.router(|router| router.config_file());
    let edited = file(&lab).replace("# Nobody knows why.", "# She knows why.");
    fs::write(&path, &edited).expect("written");
    let said = lab.genkan(&["forward", "remove", "web"]);
    assert!(said.code == Some(1) && said.stderr.contains("edited by hand; `genkan reload`"), "{said:#?}");
    assert_eq!(file(&lab), edited);
    assert!(lab.genkan(&["history"]).expect_ok().stdout.contains("edited by hand"));
    let said = lab.genkan(&["reload"]).expect_ok();
    assert!(said.stdout.contains("nothing changed"), "{said:#?}");
    lab.genkan(&["forward", "remove", "web"]).expect_ok();
    assert!(file(&lab).contains("# She knows why."));

    // A file that is no good stays as it is, and so do the rules.
    fs::write(&path, "[wan\n").expect("written");
    for arguments in [&["reload"][..], &["reload", "--dry-run"], &["rollback", "1"]] {
        assert_eq!(lab.genkan(arguments).code, Some(1));
    }
    assert_eq!(file(&lab), "[wan\n");
    assert!(running_names(&lab).is_empty());
    Ok(())
}

/// The operator comes in through the forward that he is about to close.
fn a_lock_out_comes_back_by_itself() -> Outcome {
    let lab = Lab::start(RULES);
    let _server = Server::tcp(&lab.host(Nas), 8080);
    let open = || connect_within(&lab.host(Remote), lab.wan(80), SILENCE).is_ok();
    let before = file(&lab);
    connect(&lab.host(Remote), lab.wan(80)).expect("the forward is open");
    let said = lab.genkan(&["forward", "remove", "web", "--confirm", "5s"]).expect_ok();
    let asked = Instant::now();
    assert!(said.stdout.contains("goes back by itself in 5s"), "{said:#?}");
    assert!(!open());
    let other = lab.genkan(&["dmz", "set", "192.168.0.20"]);
    assert!(other.code == Some(1) && other.stderr.contains("waits for its confirmation"), "{other:#?}");
    wait_for("the operator can come in again", open);
    assert!(asked.elapsed() > Duration::from_millis(4_500), "it did not wait");
    // Packets come first: the file is in place when the API tells of it.
    wait_for("that is told", || running_names(&lab) == ["web"]);
    assert_eq!(file(&lab), before);

    // One that is confirmed stays; a reload and a rollback go back as well.
    lab.genkan(&["forward", "disable", "web", "--confirm", "60s"]).expect_ok();
    lab.genkan(&["confirm"]).expect_ok();
    assert_eq!(lab.genkan(&["confirm"]).code, Some(1));
    let confirmed = revision(&lab);
    // What it says is in force was so when it was said; to look may take longer than a second.
    let said = lab.genkan(&["rollback", "1", "--confirm", "1s"]).expect_ok();
    assert!(said.stdout.contains("forward web: enabled false -> true"), "{said:#?}");
    wait_for("the rollback is taken back", || revision(&lab) == confirmed + 2);
    assert!(!open());
    lab.write_rules("");
    let said = lab.genkan(&["reload", "--confirm", "1s"]).expect_ok();
    assert!(said.stdout.contains("forward web: removed"), "{said:#?}");
    wait_for("the reload is taken back", || running_names(&lab) == ["web"]);
    assert!(file(&lab).contains("enabled = false"));
    Ok(())
}

fn an_unconfirmed_change_does_not_outlive_the_router() -> Outcome {
    let lab = Lab::start(RULES);
    let _server = Server::tcp(&lab.host(Nas), 8080);
    let before = file(&lab);
    for end in [|lab: &Lab| lab.kill_router(), |lab: &Lab| assert_eq!(lab.stop_router(), Some(0))] {
        lab.genkan(&["forward", "remove", "web", "--confirm", "60s"]).expect_ok();
        assert!(connect_within(&lab.host(Remote), lab.wan(80), SILENCE).is_err());
        end(&lab);
        lab.start_router_again().unwrap_or_else(|error| panic!("{error}"));
        connect(&lab.host(Remote), lab.wan(80)).expect("the forward is open again");
        assert_eq!(file(&lab), before);
        let history = json(lab.genkan(&["history", "--format", "json"]));
        let what = history["entries"][0]["what"].as_str().expect("a sentence");
        assert!(what.contains("before") && what.contains("was confirmed"), "{what}");
    }
    Ok(())
}

fn going_back_leaves_an_edit_by_hand_alone() -> Outcome {
    let lab = Lab::start(RULES);
    lab.genkan(&["forward", "disable", "web", "--confirm", "5s"]).expect_ok();
    let edited = file(&lab).replace("# Nobody knows why.", "# She knows why.");
    fs::write(lab.config_file(), &edited).expect("written");
    let open = || json(lab.genkan(&["forward", "list", "--format", "json"]))[0]["open"] == true;
    assert!(!open());
    wait_for("the rules go back", open);
    assert_eq!(file(&lab), edited);
    let history = json(lab.genkan(&["history", "--format", "json"]));
    assert_eq!((history["revision"].as_u64(), history["edited"].as_bool()), (Some(3), Some(true)));
    // Who asked is known, and the router itself is nobody.
    assert_eq!(history["entries"][1]["uid"], 0, "{history}");
    assert!(history["entries"][0].get("uid").is_none(), "{history}");
    lab.genkan(&["reload"]).expect_ok();
    assert!(!open());
    Ok(())
}

fn the_history_leads_back() -> Outcome {
    let lab = Lab::start(RULES);
    let first = file(&lab);
    lab.genkan(&["dmz", "set", "192.168.0.20"]).expect_ok();
    lab.genkan(&["forward", "remove", "web"]).expect_ok();
    lab.stop_router();
    lab.start_router_again().unwrap_or_else(|error| panic!("{error}"));
    let history = lab.genkan(&["history"]).expect_ok().stdout;
    for words in
        ["forward remove web: forward web: removed", "dmz set 192.168.0.20: dmz: to none -> ", "first start"]
    {
        assert!(history.contains(words), "{words} is missing in\n{history}");
    }
    let diff = lab.genkan(&["diff", "1", "3"]).expect_ok().stdout;
    for words in ["forward web: removed", "-name = \"web\"    # the old server", "+[dmz]", "--- revision 1"] {
        assert!(diff.contains(words), "{words} is missing in\n{diff}");
    }
    assert_eq!(lab.genkan(&["diff", "3"]).code, Some(1));
    lab.genkan(&["rollback", "1"]).expect_ok();
    assert_eq!((file(&lab), revision(&lab)), (first, 4));
    assert_eq!(running_names(&lab), ["web"]);
    // Who opened it, and since when; the next run knows from the history.
    let opened = || json(lab.genkan(&["forward", "list", "--format", "json"]))[0]["opened"].clone();
    let before = opened();
    assert!(before["revision"] == 4 && before["uid"] == 0 && before["since"].is_i64(), "{before}");
    lab.stop_router();
    lab.start_router_again().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(opened(), before);
    Ok(())
}

fn a_temporary_forward_leaves_the_file() -> Outcome {
    let lab = Lab::start(RULES);
    let before = file(&lab);
    let arguments = add("visitor", "tcp", "90", "192.168.0.10:9090");
    let said = lab.genkan(&[&arguments[..], &["--for", "1s"]].concat()).expect_ok();
    assert!(said.stdout.contains("temporary true"), "{said:#?}");
    wait_for("it is gone", || running_names(&lab) == ["web"]);
    assert_eq!(file(&lab), before);
    Ok(())
}

fn every_key_of_a_forward_can_be_given_and_changed() -> Outcome {
    let lab = Lab::start(RULES);
    let block = |name: &str| {
        let text = file(&lab);
        let from = text.find(&format!("name = \"{name}\"")).expect("it is in the file");
        text[from..].split("\n\n").next().expect("there is one").trim_end().to_owned()
    };
    let more =
        ["--address", "203.0.113.1", "--from", "198.51.100.0/24", "--from", "192.0.2.7/32", "--disabled"];
    let limits =
        ["--schedule", "daily 00:00-24:00", "--max-sessions", "50", "--max-new-per-source", "20/min"];
    let rest = ["--expires", "2099-01-01T00:00:00Z", "--log"];
    lab.genkan(&[&add("ssh", "tcp", "22,2222", "192.168.0.10")[..], &more, &limits, &rest].concat())
        .expect_ok();
    let written = "name = \"ssh\"\nprotocol = \"tcp\"\nport = [22, 2222]\nto = \"192.168.0.10\"\n\
        address = \"203.0.113.1\"\nfrom = [\"198.51.100.0/24\", \"192.0.2.7/32\"]\nenabled = false\n\
        expires = 2099-01-01T00:00:00Z\nschedule = \"daily 00:00-24:00\"\nmax_sessions = 50\n\
        max_new_per_source = \"20/min\"\nlog = true";
    assert_eq!(block("ssh"), written);
    let row = |key: &str| json(lab.genkan(&["forward", "list", "--format", "json"]))[1][key].clone();
    assert_eq!(
        [row("schedule"), row("max_sessions"), row("max_new_per_source"), row("log")],
        ["daily 00:00-24:00".into(), 50.into(), "20/min".into(), Value::from(true)]
    );

    // What a change does not name stays; a limit of one session holds at once.
    lab.genkan(&["forward", "change", "web", "--max-sessions", "1", "--max-new-per-source", "9/s"])
        .expect_ok();
    let _server = Server::tcp(&lab.host(Nas), 8080);
    let mut first = connect(&lab.host(Remote), lab.wan(80)).expect("the forward is open");
    greeting(&mut first);
    assert!(connect_within(&lab.host(Remote), lab.wan(80), SILENCE).is_err(), "there is one already");
    lab.genkan(&["forward", "change", "web", "--without", "max-sessions,max-new-per-source"]).expect_ok();
    greeting(&mut connect(&lab.host(Remote), lab.wan(80)).expect("as many as come"));
    exchange(&mut first, b"still here");
    assert!(block("web").ends_with("to = \"192.168.0.10:8080\""), "{}", file(&lab));
    let away = ["--without", "address,from,expires,schedule,max-sessions,max-new-per-source"];
    let given = ["forward", "change", "ssh", "--port", "22", "--to", "192.168.0.10:2222", "--for", "2h"];
    let said = lab.genkan(&[&given[..], &away].concat());
    assert!(
        said.code == Some(1) && said.stderr.contains("`expires` and `for_seconds` together"),
        "{said:#?}"
    );
    lab.genkan(&[&given[..7], &away].concat()).expect_ok();
    let written = "name = \"ssh\"\nprotocol = \"tcp\"\nport = 22\nto = \"192.168.0.10:2222\"\nenabled = false\nlog = true";
    assert_eq!(block("ssh"), written);

    // What is wrong is said of the argument, before any router is asked.
    for (key, value, words) in [
        ("--max-sessions", "0", "'0' for '--max-sessions <N>': 0 is not in 1..=16777216"),
        (
            "--max-new-per-source",
            "20",
            "'20' for '--max-new-per-source <RATE>': it does not say in which time",
        ),
        ("--schedule", "Foo 10:00-12:00", "'Foo 10:00-12:00' for '--schedule <HOURS>': `Foo`"),
    ] {
        let said = lab.genkan(&["forward", "change", "web", key, value]);
        assert!(said.code == Some(2) && said.stderr.contains(words), "{said:#?}");
    }
    let said = lab.genkan(&["forward", "change", "web"]);
    assert!(said.code == Some(1) && said.stderr.contains("give at least one key"), "{said:#?}");
    let said = lab.genkan(&["forward", "change", "wbe", "--log"]);
    assert!(said.code == Some(1) && said.stderr.contains("did you mean `web`?"), "{said:#?}");
    Ok(())
}

fn a_clock_that_cannot_be_right_times_nothing() -> Outcome {
    let lab = Lab::without_router(&Options::default());
    let state = lab.config_file().with_file_name("state");
    fs::create_dir_all(&state).expect("/run is ours in here");
    // The year 2100 was seen: what the clock shows now is like 1970 to a box without a battery.
    fs::write(state.join("clock"), "{\"seen\": 4102444800}\n").expect("written");
    lab.start_router(RULES).unwrap_or_else(|error| panic!("{error}"));
    let before = file(&lab);
    let arguments = add("visitor", "tcp", "90", "192.168.0.10:9090");
    let said = lab.genkan(&[&arguments[..], &["--for", "2h"]].concat());
    assert!(said.code == Some(1) && said.stderr.contains("2100-01-01T00:00:00Z or later"), "{said:#?}");
    assert_eq!(file(&lab), before);
    lab.genkan(&arguments).expect_ok();
    Ok(())
}
