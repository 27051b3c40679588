//! What may come between when another program takes over.

use std::fs;
use std::io;
use std::net::SocketAddrV4;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use genkan_io::passage::Passage;
use genkan_lab::Options;
use genkan_lab::topology::Role::{Laptop, Remote, Router};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::lifecycle::{assert_same, devices};
use super::persistence::{Calls, count};
use super::upgrade::{FREE, flow_during, lab, refused, replace, replace_by_script};
use crate::cases;
use crate::fixture::{Lab, PATIENCE, WEB, put_program, wait_for};
use crate::outcome::Outcome;
use crate::programs::{Said, need};
use crate::servers::{Server, connect, greeting};
use crate::setup;

cases![
    ;
    only_genkan:
    a_program_that_hangs_half_way_is_given_up,
    a_program_that_is_no_longer_listening_is_given_up,
    a_program_of_another_kind_takes_nothing_over,
    signals_and_changes_wait_or_reach_the_new_program,
    killed_during_upgrades,
];

/// `genkan ARGUMENTS`, by the program under test, without waiting for its end.
fn begin(lab: &Lab, arguments: &[&str]) -> Child {
    let mut command = Command::new(setup::binary());
    command.args(arguments).arg("--socket").arg(lab.router(|router| router.socket()));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    lab.host(Router).start(&mut command).expect("the program is there")
}

fn said(child: Child) -> Said {
    Said::from(child.wait_with_output().expect("it is our child"))
}

/// How long packets may wait for a program that says nothing more, and some time for its end.
fn hanging() -> Duration {
    Duration::from_secs(if setup::is_slow() { 6 } else { 4 })
}

/// It says all that is to be said, and nothing more when it has everything.
const SILENT: &str = r#"#!/bin/sh
until_heard() { until dd bs=65536 count=1 2>/dev/null | grep -q "$1"; do :; done; }
printf '{"ready":{"version":"9.9.9"}}' >&0
until_heard begin
printf '"gathering"' >&0
until_heard '"go"'
exec sleep 60
"#;

fn a_program_that_hangs_half_way_is_given_up() -> Outcome {
    let (lab, program) = lab(&Options::default(), &format!("{WEB}{FREE}"));
    let mut calls = Calls::open(&lab, 20);
    replace_by_script(&program, SILENT);
    let flow = flow_during(&lab, || refused(&lab, "it did not move packets"));
    println!("{flow:?}");
    // More than what the rings have room for is lost.
    assert!(flow.longest < hanging(), "{flow:?}");
    calls.check();
    Ok(())
}

fn a_program_that_is_no_longer_listening_is_given_up() -> Outcome {
    let (lab, program) = lab(&Options::default(), FREE);
    replace_by_script(&program, "#!/bin/sh\nexec sleep 60 </dev/null\n");
    let began = Instant::now();
    refused(&lab, "did not listen");
    // For one that may yet speak it waits 20 s.
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    // While one that is not ready is waited for, the router can be told to end.
    replace_by_script(&program, "#!/bin/sh\nexec sleep 60\n");
    let asked = begin(&lab, &["upgrade"]);
    wait_for("the other one runs", || fs::read_dir("/proc").expect("it is there").any(sleeps));
    assert_eq!(lab.stop_router(), Some(0));
    assert_eq!(said(asked).code, Some(1));
    assert!(!fs::read_dir("/proc").expect("it is there").any(sleeps), "it is left over");
    Ok(())
}

fn sleeps(entry: io::Result<fs::DirEntry>) -> bool {
    entry.is_ok_and(|entry| {
        fs::read(entry.path().join("cmdline")).is_ok_and(|words| words.starts_with(b"sleep\x0060\x00"))
    })
}

/// As the running one, which cannot say beforehand what the other one knows.
fn a_program_of_another_kind_takes_nothing_over() -> Outcome {
    let offer = |steps: u32, sessions: u8| {
        format!(
            r#"{{"offer":{{"steps":{steps},"sessions":{sessions},"version":"9.9.9","workers":1,"ports":0,"upgrades":1,"sandbox":null}}}}"#
        )
    };
    for offer in [offer(999, 1), offer(1, 99)] {
        let (here, there) = Passage::pair().expect("sockets");
        let folder = Path::new("/run/genkan-other-kind");
        let mut command = Command::new(setup::binary());
        command.args(["run", "--take-over", "--config", "genkan.toml", "--socket", "control.sock"]);
        fs::create_dir_all(folder).expect("/run is ours in here");
        fs::write(folder.join("genkan.toml"), "").expect("it is ours");
        let child = command.current_dir(folder).stdin(there.into_descriptor()).stderr(Stdio::piped()).spawn();
        drop(command);
        here.send(offer.as_bytes(), &[]).expect("it listens");
        let (word, _) = here.receive(PATIENCE).expect("it answers").expect("it lives");
        let word = String::from_utf8(word).expect("it is text");
        assert!(
            word.contains("refused") && word.contains("cannot take over from the running 9.9.9"),
            "{word}"
        );
        let said = said(child.expect("the program is there"));
        assert_eq!(said.code, Some(1), "{said:#?}");
        assert_eq!(fs::read_dir(folder).expect("it is ours").count(), 1, "it has made nothing");
    }
    Ok(())
}

fn signals_and_changes_wait_or_reach_the_new_program() -> Outcome {
    let (lab, program) = lab(&Options::default(), &format!("{WEB}{FREE}"));
    let mut calls = Calls::open(&lab, 20);
    let real = program.with_extension("real");
    put_program(&real);
    let runs = program.with_extension("runs");
    let text = format!("#!/bin/sh\ntouch {1}\nsleep 0.3\nexec {0} \"$@\"\n", real.display(), runs.display());
    replace_by_script(&program, &text);
    let first = begin(&lab, &["upgrade"]);
    wait_for("it has begun", || runs.exists());
    lab.router(|router| router.signal(Signal::SIGHUP)).expect("it runs");
    let others = [begin(&lab, &["upgrade"]), begin(&lab, &["dmz", "set", "192.168.0.20"])];
    said(first).expect_ok();
    for other in others {
        said(other).expect_ok();
    }
    replace(&program, put_program);
    assert_eq!(count(&lab, "upgrades"), 2, "one after the other");
    assert!(fs::read_to_string(lab.config_file()).expect("it is there").contains("192.168.0.20"));
    calls.check();
    Ok(())
}

/// Process ids of the programs that run from the folder of this one.
fn running(program: &Path) -> Vec<Pid> {
    let folder = program.parent().expect("it is in one");
    let entries = fs::read_dir("/proc").expect("it is there").flatten();
    let numbers = entries.filter_map(|entry| {
        let path = fs::read_link(entry.path().join("exe")).ok()?;
        let is_run =
            || fs::read_to_string(entry.path().join("cmdline")).is_ok_and(|it| it.contains("\0run\0"));
        (path.starts_with(folder) && is_run()).then(|| entry.file_name())
    });
    numbers.filter_map(|name| name.to_str()?.parse().ok().map(Pid::from_raw)).collect()
}

/// Either program killed at random moments. Whatever is left serves, or the next start does; and at the end all devices
/// are as they were.
fn killed_during_upgrades() -> Outcome {
    need("ethtool")?;
    need("nft")?;
    let mut lab = Lab::without_router(&Options::default());
    let before = devices(&lab);
    let program = lab.use_own_program();
    lab.start_router(WEB).unwrap_or_else(|error| panic!("{error}"));
    let _server = Server::tcp(&lab.host(Remote), 7);
    let out = SocketAddrV4::new(lab.address.remote, 7);
    let seed =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_nanos() as u64;
    println!("seed {seed}");
    let mut state = seed;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let (mut went_on, mut started, mut slowest) = (0, 0, Duration::ZERO);
    for _ in 0..setup::kills().div_ceil(10) {
        let mut asked = begin(&lab, &["upgrade"]);
        // A random moment.
        thread::sleep(Duration::from_millis(random(300)));
        let found = running(&program);
        if !found.is_empty() {
            let victim = found[random(found.len() as u64) as usize];
            // It may have ended by itself.
            let _ = kill(victim, Signal::SIGKILL);
        }
        wait_for("whoever asked has been told", || asked.try_wait().expect("it is our child").is_some());
        let began = Instant::now();
        let answers = || lab.genkan(&["status"]).ok;
        wait_for("one of them serves, or none is left", || answers() || running(&program).is_empty());
        if running(&program).is_empty() {
            // As a service manager does. What was killed may take a moment until it has closed everything.
            wait_for("it starts again", || lab.start_router_again().is_ok());
            started += 1;
        } else {
            wait_for("it is one", || running(&program).len() == 1 && answers());
            went_on += 1;
        }
        slowest = slowest.max(began.elapsed());
        greeting(&mut connect(&lab.host(Laptop), out).expect("the way out is open"));
    }
    println!("{went_on} went on, {started} were started again, the slowest after {slowest:?}");
    for pid in running(&program) {
        kill(pid, Signal::SIGTERM).expect("it runs");
    }
    wait_for("it has ended", || running(&program).is_empty());
    assert_same(&before, &devices(&lab));
    Ok(())
}
