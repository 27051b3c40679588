//! The router itself, in a user and network namespace of its own: start, questions, reload, end.
//!
//! How it moves packets is for `tests/e2e`; this is about the process.

use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{HOME, Said, Scratch, binary, genkan};

const PATIENCE: Duration = Duration::from_secs(15);

/// Four devices: two for the router, and the far end of each.
const DEVICES: &str = "ip link add eth0 type veth peer name far0 && ip link add eth1 type veth peer name far1 \
    && ip link set far0 up && ip link set far1 up || exit 77";

struct Daemon {
    scratch: Scratch,
    child: Child,
}

impl Daemon {
    /// A router that is ready; `None` where namespaces are not allowed.
    fn start(name: &str) -> Option<Daemon> {
        let scratch = Scratch::new(name);
        scratch.file("home.toml", HOME);
        let mut daemon = Daemon { child: Daemon::spawn(&scratch, "control.sock"), scratch };
        let deadline = Instant::now() + PATIENCE;
        loop {
            if daemon.ask(&["status"]).code == Some(0) {
                return Some(daemon);
            }
            if let Some(status) = daemon.child.try_wait().expect("it is our child") {
                let log = daemon.log();
                let allowed = status.code() != Some(77) && !log.contains("unshare");
                assert!(!allowed, "the router ended with {status}:\n{log}");
                assert!(std::env::var("CI").as_deref() != Ok("true"), "nothing may be skipped here: {log}");
                eprintln!("skipped: no network namespaces here: {log}");
                return None;
            }
            assert!(Instant::now() < deadline, "not ready:\n{}", daemon.log());
            sleep(Duration::from_millis(20));
        }
    }

    fn spawn(scratch: &Scratch, socket: &str) -> Child {
        let log =
            std::fs::File::options().create(true).append(true).open(scratch.path("log")).expect("writable");
        Command::new("unshare")
            .args(["--user", "--map-root-user", "--net", "sh", "-c"])
            .arg(format!("{DEVICES}; exec \"$0\" run --config \"$1\" --socket \"$2\""))
            .args([binary().into(), scratch.path("home.toml"), scratch.path(socket)])
            .env("STATE_DIRECTORY", scratch.path("state"))
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log)
            .spawn()
            .expect("unshare is there")
    }

    fn socket(&self) -> PathBuf {
        self.scratch.path("control.sock")
    }

    fn ask(&self, arguments: &[&str]) -> Said {
        let socket = self.socket().display().to_string();
        genkan(arguments.iter().copied().chain(["--socket", &socket]))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.scratch.path("log")).unwrap_or_default()
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(pid), signal).expect("it runs");
    }

    fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.child.try_wait().expect("it is our child") {
                Some(status) => return status,
                None => assert!(Instant::now() < deadline, "it does not end:\n{}", self.log()),
            }
            sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_answers_follows_its_file_and_leaves_nothing_behind() {
    let Some(mut daemon) = Daemon::start("daemon") else { return };
    let status: serde_json::Value =
        serde_json::from_str(&daemon.ask(&["status", "--format", "json"]).stdout).expect("JSON");
    assert_eq!(status["forwarding"], true, "{status}");
    assert_eq!(status["ports"][1]["device"], "eth1", "{status}");
    assert_eq!(daemon.ask(&["sessions", "--format", "json"]).stdout, "[]\n");
    assert_eq!(daemon.ask(&["mappings"]).code, Some(0));
    let counters: serde_json::Value =
        serde_json::from_str(&daemon.ask(&["counters", "--all", "--format", "json"]).stdout).expect("JSON");
    assert!(counters["drops"].as_array().is_some_and(|drops| drops.len() > 40), "{counters}");
    // It announced its addresses.
    assert!(counters["ports"][0]["tx_frames"].as_u64() > Some(0), "{counters}");

    let file = daemon.scratch.path("home.toml");
    assert!(daemon.ask(&["reload"]).stdout.contains("nothing changed"));
    std::fs::write(&file, HOME.replace("port     = 80", "port     = 81")).expect("writable");
    let said = daemon.ask(&["reload"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.contains("forward web: port 80 -> 81"), "{said:?}");

    for (wrong, because) in [
        (HOME.replace("port     = 80", "port     = 99999"), "99999"),
        (HOME.replace("eth1", "eth2"), "eth1 -> eth2"),
    ] {
        std::fs::write(&file, wrong).expect("writable");
        let said = daemon.ask(&["reload"]);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.stderr.contains(because), "{said:?}");
    }
    let said = daemon.ask(&["events", "--format", "json"]);
    let events: Vec<serde_json::Value> = serde_json::from_str(&said.stdout).expect("JSON");
    let kinds: Vec<&str> = events.iter().filter_map(|event| event["kind"].as_str()).collect();
    assert!(kinds.contains(&"started") && kinds.contains(&"link"), "{said:?}");
    assert!(said.stdout.contains("forward web has changed and is open"), "{said:?}");
    let file_of_events = std::fs::read_to_string(daemon.scratch.path("state/events.jsonl")).expect("there");
    assert!(file_of_events.lines().count() >= events.len(), "{file_of_events}");
    daemon.signal(Signal::SIGHUP);
    let deadline = Instant::now() + PATIENCE;
    while daemon.log().matches("reload refused").count() < 3 {
        assert!(Instant::now() < deadline, "SIGHUP was not heard:\n{}", daemon.log());
        sleep(Duration::from_millis(10));
    }
    assert_eq!(daemon.ask(&["status"]).code, Some(0), "the old rules are in force");

    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
    assert!(!daemon.socket().exists());
    let left = std::fs::read_dir(daemon.scratch.path("state")).expect("it was made");
    let mut left: Vec<_> = left.map(|entry| entry.expect("readable").file_name()).collect();
    left.sort();
    assert_eq!(left, ["clock", "devices", "events.jsonl", "history", "sessions.snap"]);
}

#[test]
fn a_socket_has_one_router() {
    let Some(mut daemon) = Daemon::start("one") else { return };
    let mut second = Daemon::spawn(&daemon.scratch, "control.sock");
    assert_eq!(second.wait().expect("it ends").code(), Some(1), "{}", daemon.log());
    assert!(daemon.log().contains("already answers"), "{}", daemon.log());
    assert_eq!(daemon.ask(&["status"]).code, Some(0), "the first one goes on");

    // After kill -9 the next one takes over.
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    assert_eq!(daemon.ask(&["status"]).code, Some(1));
    daemon.child = Daemon::spawn(&daemon.scratch, "control.sock");
    let deadline = Instant::now() + PATIENCE;
    while daemon.ask(&["status"]).code != Some(0) {
        assert!(Instant::now() < deadline, "{}", daemon.log());
        sleep(Duration::from_millis(20));
    }
    daemon.signal(Signal::SIGINT);
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
}

#[test]
fn a_device_that_is_not_there_is_named_with_its_neighbours() {
    let Some(mut daemon) = Daemon::start("missing") else { return };
    // Two routers have two state folders.
    let mut second = Daemon::spawn(&daemon.scratch, "second.sock");
    assert_eq!(second.wait().expect("it ends").code(), Some(1), "{}", daemon.log());
    assert!(daemon.log().contains("another state folder"), "{}", daemon.log());
    daemon.signal(Signal::SIGTERM);
    daemon.wait();
    let file = daemon.scratch.path("home.toml");
    std::fs::write(&file, HOME.replace("eth0", "eht0")).expect("writable");
    let mut second = Daemon::spawn(&daemon.scratch, "second.sock");
    assert_eq!(second.wait().expect("it ends").code(), Some(1), "{}", daemon.log());
    let log = daemon.log();
    assert!(log.contains("eht0") && log.contains("did you mean eth0?"), "{log}");
}

#[test]
fn a_clock_that_goes_wrong_keeps_schedules_closed() {
    let Some(mut daemon) = Daemon::start("clock") else { return };
    let problems = |daemon: &Daemon| daemon.ask(&["status", "--format", "json"]).stdout;
    let file = daemon.scratch.path("home.toml");
    let always = HOME.replace("port     = 80", "port     = 80\nschedule = \"00:00-24:00\"");
    assert_ne!(always, HOME);
    std::fs::write(&file, always).expect("writable");
    let said = daemon.ask(&["reload"]);
    assert!(said.stdout.contains("forward web: schedule none -> daily 00:00-24:00"), "{said:?}");
    assert!(!problems(&daemon).contains("the clock"), "{}", problems(&daemon));
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());

    // As if the last run had been in the year 2100.
    let clock = daemon.scratch.path("state").join("clock");
    assert!(std::fs::read_to_string(&clock).expect("the time was kept").starts_with("{\"seen\":1"));
    let seen = "{\"seen\":4102444800}\n";
    std::fs::write(&clock, seen).expect("writable");
    daemon.child = Daemon::spawn(&daemon.scratch, "control.sock");
    let deadline = Instant::now() + PATIENCE;
    while !problems(&daemon).contains("until it shows 2100-01-01T00:00:00Z") {
        assert!(Instant::now() < deadline, "{}", daemon.log());
        sleep(Duration::from_millis(20));
    }
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
    assert_eq!(std::fs::read_to_string(&clock).expect("it stays"), seen);
}
