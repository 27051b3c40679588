//! `genkan trace --follow`: real packets, explained as they are judged.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddrV4;
use std::process::{Child, ChildStderr, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use genkan_lab::Options;
use genkan_lab::topology::Role::{Laptop, Nas, Remote, Router};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::upgrade;
use crate::cases;
use crate::fixture::{Lab, PATIENCE, WEB, put_program, wait_for};
use crate::outcome::Outcome;
use crate::servers::{Server, ask, connect, exchange, greeting, udp};

cases![;
    only_genkan:
    a_forward_is_told_packet_by_packet,
    a_refusal_names_its_line_also_after_a_reload,
    what_is_opened_from_inside_is_told,
    a_hairpin_is_told_once,
    a_ping_is_answered_and_an_error_is_brought_back,
    it_ends_by_itself_in_words_of_ones_own,
    a_few_may_follow_beside_a_capture,
    it_ends_with_the_router_and_outlives_an_upgrade,
    what_makes_no_sense_is_misuse,
];

/// A forward that most may not use.
const SSH: &str = "
[[forward]]
name = \"ssh\"
protocol = \"udp\"
port = 2222
to = \"192.168.0.10:22\"
from = [\"192.0.2.128/25\"]
";

/// `genkan trace --follow` beside the test.
struct Follow {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
    errors: BufReader<ChildStderr>,
}

impl Follow {
    fn start(lab: &Lab, arguments: &[&str]) -> Follow {
        Follow::speaking(lab, "C", "following packets; ", arguments)
    }

    /// From when it is told in this language that it has begun.
    fn speaking(lab: &Lab, language: &str, sign: &str, arguments: &[&str]) -> Follow {
        Follow::begin(lab, language, sign, arguments).unwrap_or_else(|said| panic!("{said}"))
    }

    /// The same; what is said instead, if it does not begin.
    fn begin(lab: &Lab, language: &str, sign: &str, arguments: &[&str]) -> Result<Follow, String> {
        let mut command = lab.router(|router| router.command(&[&["trace", "--follow"], arguments].concat()));
        command.env("LC_ALL", language);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = lab.host(Router).start(&mut command).expect("the program is there");
        let mut errors = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut said = String::new();
        errors.read_line(&mut said).expect("it is text");
        if !said.starts_with(sign) {
            child.wait().expect("it is ours");
            return Err(said);
        }
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let told = lines.clone();
        let reader = thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                told.lock().expect("no panic").push(line);
            }
        });
        Ok(Follow { child, lines, reader: Some(reader), errors })
    }

    fn told(&self) -> Vec<Value> {
        let lines = self.lines.lock().expect("no panic");
        let told = lines.iter().map(|line| serde_json::from_str(line).expect("JSON on each line"));
        told.collect()
    }

    /// Those of one packet, once it has been told.
    fn of(&self, packet: &str) -> Vec<Value> {
        let found = || -> Vec<Value> {
            let told = self.told().into_iter();
            told.filter(|told| told["packet"].as_str().is_some_and(|text| text == packet)).collect()
        };
        wait_for(packet, || !found().is_empty());
        found()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("it runs");
    }

    /// Its exit status, standard output and what it has said since the sign.
    fn end(mut self) -> (Option<i32>, String, String) {
        let mut said = String::new();
        self.errors.read_to_string(&mut said).expect("it is text");
        let code = self.child.wait().expect("it is ours").code();
        if let Some(reader) = self.reader.take() {
            reader.join().expect("it was text");
        }
        let text = self.lines.lock().expect("no panic").join("\n");
        (code, text, said)
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ids(told: &Value) -> Vec<&str> {
    let steps = told["steps"].as_array().expect("a list");
    steps.iter().filter_map(|line| line["id"].as_str()).collect()
}

fn step<'a>(told: &'a Value, id: &str) -> &'a Value {
    let steps = told["steps"].as_array().expect("a list");
    steps.iter().find(|line| line["id"] == id).unwrap_or_else(|| panic!("no {id}: {told:#}"))
}

/// Where the file says this: FILE:LINE:COLUMN of the value.
fn place(lab: &Lab, what: &str) -> String {
    let file = lab.config_file();
    let text = std::fs::read_to_string(&file).expect("there is a file");
    let (line, text) = (1..).zip(text.lines()).find(|(_, line)| line.contains(what)).expect(what);
    let column = text.find(what).expect(what) + what.find("= ").map_or(0, |at| at + 2) + 1;
    format!("{}:{line}:{column}", file.display())
}

fn a_forward_is_told_packet_by_packet() -> Outcome {
    let lab = Lab::start(WEB);
    let _server = Server::tcp(&lab.host(Nas), 8080);
    // From now on both neighbours are known.
    greeting(&mut connect(&lab.host(Remote), lab.wan(80)).expect("it is open"));
    let wanted = format!("host {} and tcp", lab.address.nas);
    let follow = Follow::start(&lab, &["--match", &wanted, "--format", "json"]);
    let mut stream = connect(&lab.host(Remote), lab.wan(80)).expect("it is open");
    let client = greeting(&mut stream);
    exchange(&mut stream, b"hello");

    let (outside, inside) = (lab.wan(80), SocketAddrV4::new(lab.address.nas, 8080));
    // It matches as it leaves.
    let first = &follow.of(&format!("tcp {client} -> {outside} [SYN]"))[0];
    assert_eq!((&first["kind"], &first["port"]), (&Value::from("packet"), &Value::from("wan")), "{first:#}");
    assert!(first["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{first:#}");
    assert_eq!(first["fate"], "forwarded", "{first:#}");
    assert_eq!(step(first, "step-forward-takes")["place"], place(&lab, "to = \"192.168.0.10:8080\""));
    let rewritten = &step(first, "step-rewritten-destination")["text"];
    assert_eq!(rewritten, &Value::from(format!("destination {outside} -> {inside}")));
    // Its answer, and what follows.
    let answer = &follow.of(&format!("tcp {inside} -> {client} [SYN|ACK]"))[0];
    assert_eq!((ids(answer)[0], &answer["fate"]), ("step-known-outbound", &Value::from("forwarded")));
    assert_eq!(answer["left"][0]["packet"], Value::from(format!("tcp {outside} -> {client} [SYN|ACK]")));
    let next = &follow.of(&format!("tcp {client} -> {outside} [ACK]"))[0];
    assert_eq!(ids(next)[..2], ["step-known-inbound", "step-admitted-by"], "{next:#}");
    assert_eq!(step(next, "step-admitted-by")["place"], place(&lab, "name = \"web\""));
    assert_eq!(next["left"][0]["port"], "home");
    assert_eq!(next["left"][0]["packet"], Value::from(format!("tcp {client} -> {inside} [ACK]")));
    // Nothing else is told.
    for told in follow.told() {
        assert!(told.to_string().contains(&lab.address.nas.to_string()), "{told:#}");
    }
    follow.signal(Signal::SIGINT);
    let packets = follow.lines.clone();
    let (code, _, said) = follow.end();
    let shown = packets.lock().expect("no panic").len();
    assert_eq!((code, said), (Some(0), format!("{shown} packets shown\n")));
    Ok(())
}

fn a_refusal_names_its_line_also_after_a_reload() -> Outcome {
    let lab = Lab::start(SSH);
    let follow = Follow::start(&lab, &["--port", "wan", "--match", "udp", "--format", "json"]);
    let stranger = udp(&lab.host(Remote), 5000);
    let source = SocketAddrV4::new(lab.address.remote, 5000);
    let send = |port: u16| {
        stranger.send_to(b"hello", lab.wan(port)).expect("there is a route");
        format!("udp {source} -> {}", lab.wan(port))
    };
    let refused = &follow.of(&send(2222))[0];
    let from = "from = [\"192.0.2.128/25\"]";
    let before = place(&lab, from);
    assert_eq!(
        (&refused["fate"], &refused["reason"]["id"]),
        (&Value::from("dropped"), &Value::from("forward_source"))
    );
    assert_eq!(step(refused, "step-forward-source")["place"], Value::from(before.clone()), "{refused:#}");
    assert_eq!(refused["remedies"][0]["id"], "remedy-forward-source", "{refused:#}");
    let nobody = &follow.of(&send(2223))[0];
    assert_eq!(nobody["reason"]["id"], "no_mapping", "{nobody:#}");
    assert_eq!(nobody["remedies"][0]["id"], "remedy-forward-add", "{nobody:#}");
    assert_eq!(nobody["left"], Value::Array(Vec::new()));

    // The same rules, further down: the plan is the same, and the file is not.
    lab.reload(&format!("\n# a remark\n# and one more\n{SSH}"));
    let seen = follow.of(&format!("udp {source} -> {}", lab.wan(2222))).len();
    send(2222);
    let all = || follow.of(&format!("udp {source} -> {}", lab.wan(2222)));
    wait_for("it is told again", || all().len() > seen);
    let after = place(&lab, from);
    assert_ne!(before, after);
    assert_eq!(step(&all()[seen], "step-forward-source")["place"], Value::from(after));
    // Other rules.
    lab.reload(&format!(
        "{SSH}\n[[forward]]\nname = \"more\"\nprotocol = \"udp\"\nport = 2223\nto = \"192.168.0.20\"\n"
    ));
    let packet = send(2223);
    wait_for("it passes", || follow.of(&packet).iter().any(|told| told["fate"] != "dropped"));
    let passed = follow.of(&packet).pop().expect("it was told");
    assert_eq!(step(&passed, "step-forward-takes")["place"], place(&lab, "to = \"192.168.0.20\""));
    Ok(())
}

fn what_is_opened_from_inside_is_told() -> Outcome {
    let lab = Lab::start("");
    let _server = Server::udp(&lab.host(Remote), 7000);
    let remote = SocketAddrV4::new(lab.address.remote, 7000);
    let inside = SocketAddrV4::new(lab.address.laptop, 5000);
    // From now on both neighbours are known.
    ask(&udp(&lab.host(Laptop), 4999), remote, b"hello", PATIENCE).expect("the server answers");
    let wanted = format!("udp and host {} and not port 4999", remote.ip());
    let follow = Follow::start(&lab, &["--match", &wanted, "--format", "json"]);
    let laptop = udp(&lab.host(Laptop), 5000);
    let outside = ask(&laptop, remote, b"hello", PATIENCE).expect("the server answers");

    let there = format!("udp {inside} -> {remote}");
    let first = &follow.of(&there)[0];
    assert_eq!(ids(first)[..2], ["step-unknown", "step-addresses-plausible"], "{first:#}");
    let leaves = &step(first, "step-leaves-new-mapping")["text"];
    assert_eq!(leaves, &Value::from(format!("a mapping is made: {inside} leaves as {outside}")));
    let back = &follow.of(&format!("udp {remote} -> {outside}"))[0];
    assert_eq!((ids(back)[0], &back["port"]), ("step-known-inbound", &Value::from("wan")), "{back:#}");
    assert_eq!(back["left"][0]["packet"], Value::from(format!("udp {remote} -> {inside}")));
    let seen = follow.of(&there).len();
    ask(&laptop, remote, b"again", PATIENCE).expect("the server answers");
    wait_for("it is told again", || follow.of(&there).len() > seen);
    let later = &follow.of(&there)[seen];
    assert_eq!(ids(later), ["step-known-outbound", "step-rewritten-source", "step-next-hop"], "{later:#}");
    Ok(())
}

fn a_hairpin_is_told_once() -> Outcome {
    let lab = Lab::start(
        "\n[[forward]]\nname = \"game\"\nprotocol = \"udp\"\nport = 9000\nto = \"192.168.0.10\"\n",
    );
    let server = Server::udp(&lab.host(Nas), 9000);
    let follow = Follow::start(&lab, &["--match", "udp", "--format", "json"]);
    // With several workers the two sides of some of them have two owners.
    for port in 5000..5008 {
        let laptop = udp(&lab.host(Laptop), port);
        laptop.send_to(b"hello", lab.wan(9000)).expect("there is a route");
        let there = format!("udp {}:{port} -> {}", lab.address.laptop, lab.wan(9000));
        let told = follow.of(&there);
        assert_eq!(told.len(), 1, "{told:#?}");
        assert!(["forwarded", "waiting"].contains(&told[0]["fate"].as_str().expect("a fate")), "{told:#?}");
        let steps = ids(&told[0]);
        let at =
            |id| steps.iter().position(|step| *step == id).unwrap_or_else(|| panic!("no {id}: {steps:?}"));
        assert!(at("step-hairpin") < at("step-rewritten-source"), "{steps:?}");
        assert!(at("step-rewritten-source") < at("step-turned-round"), "{steps:?}");
        assert!(at("step-turned-round") < at("step-forward-takes"), "{steps:?}");
        assert!(at("step-forward-takes") < at("step-rewritten-destination"), "{steps:?}");
    }
    wait_for("all have arrived", || server.seen().len() == 8);
    let from_outside = format!("udp {}:", lab.address.wan);
    let halves = follow.told().into_iter().filter(|told| told["packet"].to_string().contains(&from_outside));
    assert_eq!(halves.count(), 0);
    Ok(())
}

fn a_ping_is_answered_and_an_error_is_brought_back() -> Outcome {
    let lab = Lab::start("");
    let _server = Server::udp(&lab.host(Remote), 7000);
    let server = SocketAddrV4::new(lab.address.remote, 7000);
    // From now on both neighbours are known.
    ask(&udp(&lab.host(Laptop), 4999), server, b"hello", PATIENCE).expect("the server answers");
    let follow = Follow::start(&lab, &["--match", "icmp", "--format", "json"]);
    lab.run(Remote, "ping", &["-c", "1", &lab.address.wan.to_string()]).expect_ok();
    let answered = || follow.told().into_iter().find(|told| told["fate"] == "answered");
    wait_for("the ping is told", || answered().is_some());
    let ping = answered().expect("it was told");
    assert_eq!(ids(&ping).last(), Some(&"step-for-external"), "{ping:#}");
    assert!(ping["left"][0]["packet"].as_str().is_some_and(|text| text.contains("echo reply")), "{ping:#}");

    // Nobody listens there.
    let laptop = udp(&lab.host(Laptop), 5000);
    let remote = SocketAddrV4::new(lab.address.remote, 7);
    laptop.send_to(b"hello", remote).expect("there is a route");
    let error = &follow.of(&format!("icmp 3/3 {} -> {}", remote.ip(), lab.address.wan))[0];
    assert_eq!((ids(error)[0], &error["fate"]), ("step-error-about", &Value::from("forwarded")), "{error:#}");
    let inside = format!("icmp 3/3 {} -> {}", remote.ip(), lab.address.laptop);
    assert_eq!(error["left"][0]["packet"], Value::from(inside));
    Ok(())
}

fn it_ends_by_itself_in_words_of_ones_own() -> Outcome {
    let lab = Lab::start(SSH);
    let stranger = udp(&lab.host(Remote), 5000);
    let packet = format!("udp {}:5000 -> {}", lab.address.remote, lab.wan(2222));
    let from = place(&lab, "from = [\"192.0.2.128/25\"]");
    let count = ["--match", "udp port 2222", "--count", "2"];
    for (language, sign, said, sum) in [
        (
            "C",
            "following packets; ",
            format!("  {packet} comes in by wan\n  1  no session "),
            "2 packets shown\n",
        ),
        (
            "ja_JP.UTF-8",
            "パケットを追跡中",
            format!("  {packet} が wan から届く\n  1  "),
            "2 パケットを表示\n",
        ),
    ] {
        let follow = Follow::speaking(&lab, language, sign, &count);
        for _ in 0..3 {
            stranger.send_to(b"hello", lab.wan(2222)).expect("there is a route");
        }
        let (code, text, error) = follow.end();
        assert_eq!((code, error.as_str()), (Some(0), sum), "{text}");
        assert_eq!(text.matches(&said).count(), 2, "{text}");
        assert_eq!(text.matches(&format!("({from})")).count(), 4, "its step and its remedy: {text}");
    }
    Ok(())
}

fn a_few_may_follow_beside_a_capture() -> Outcome {
    let lab = Lab::start(SSH);
    let capture = lab.config_file().with_file_name("beside.pcapng");
    let file = capture.to_string_lossy().into_owned();
    let mut command =
        lab.router(|router| router.command(&["capture", "--count", "1", "--filter", "udp", "-w", &file]));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut capturing = lab.host(Router).start(&mut command).expect("the program is there");
    let mut said = [0; 9];
    capturing.stderr.as_mut().expect("a pipe").read_exact(&mut said).expect("it begins");
    let mut all: Vec<Follow> =
        (0..4).map(|_| Follow::start(&lab, &["--match", "udp port 2222", "--format", "json"])).collect();
    let more = lab.genkan(&["trace", "--follow"]);
    assert_eq!(more.code, Some(1), "{more:?}");
    assert!(more.stderr.contains("4 follow packets already"), "{more:?}");

    let stranger = udp(&lab.host(Remote), 5000);
    stranger.send_to(b"hello", lab.wan(2222)).expect("there is a route");
    let packet = format!("udp {}:5000 -> {}", lab.address.remote, lab.wan(2222));
    for follow in &all {
        assert_eq!(follow.of(&packet)[0]["reason"]["id"], "forward_source");
    }
    assert_eq!(capturing.wait().expect("it is ours").code(), Some(0));
    assert!(std::fs::metadata(&capture).expect("it was written").len() > 0);
    // Whoever goes without good-bye makes room.
    all.pop().expect("four").signal(Signal::SIGKILL);
    wait_for("there is room again", || Follow::begin(&lab, "C", "following packets; ", &[]).is_ok());
    Ok(())
}

fn it_ends_with_the_router_and_outlives_an_upgrade() -> Outcome {
    let (lab, program) = upgrade::lab(&Options::default(), SSH);
    let follow = Follow::start(&lab, &["--match", "udp port 2222", "--format", "json"]);
    let stranger = udp(&lab.host(Remote), 5000);
    let send = || {
        stranger.send_to(b"hello", lab.wan(2222)).expect("there is a route");
        follow.told().len()
    };
    wait_for("it is told", || send() > 0);
    upgrade::replace(&program, put_program);
    lab.genkan(&["upgrade"]).expect_ok();
    let told = follow.told().len();
    wait_for("it is told by the other program", || send() > told + 3);
    assert_eq!(follow.told()[told]["reason"]["id"], "forward_source");
    lab.stop_router();
    let (code, _, said) = follow.end();
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(
        said,
        "another program has taken over: following its packets from now on\nthe router has ended\n"
    );
    Ok(())
}

fn what_makes_no_sense_is_misuse() -> Outcome {
    let lab = Lab::start("");
    for (arguments, said) in [
        (&["--port", "attic"][..], "error: no such port: `attic`; accepted: wan, home\n"),
        (&["--match", "tcp prot"], "error: --match, at character 5: "),
        (&["--in", "wan"], "cannot be used with"),
    ] {
        let refused = lab.genkan(&[&["trace", "--follow"], arguments].concat());
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains(said), "{refused:?}");
    }
    let elsewhere = lab.genkan(&["trace", "--match", "tcp", "--in", "wan"]);
    assert_eq!(elsewhere.code, Some(2), "{elsewhere:?}");
    Ok(())
}
