//! The router as a service of systemd, without systemd.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

use genkan_lab::Options;
use genkan_lab::topology::Role::Router;

use crate::cases;
use crate::fixture::{Lab, PATIENCE};
use crate::outcome::Outcome;
use crate::programs::need;
use crate::setup;

cases![
    ;
    only_genkan:
    the_watchdog_hears_of_a_router_that_lives,
    systemd_understands_the_unit,
];

fn the_watchdog_hears_of_a_router_that_lives() -> Outcome {
    let lab = Lab::without_router(&Options::default());
    let file = |name: &str| format!("/run/genkan-watched{name}");
    fs::write(file(".toml"), lab.config("")).expect("/run is ours in here");
    let manager = UnixDatagram::bind(file(".notify")).expect("/run is ours in here");
    manager.set_read_timeout(Some(PATIENCE)).expect("not zero");
    let mut command = Command::new(setup::binary());
    command.args(["run", "--config", &file(".toml"), "--socket", &file(".sock")]);
    command.env("NOTIFY_SOCKET", file(".notify")).env("STATE_DIRECTORY", file(".state"));
    command.env("WATCHDOG_USEC", "600000").stdin(Stdio::null()).stderr(Stdio::null());
    let mut router = lab.host(Router).start(&mut command).expect("the program is there");
    let mut message = [0; 4096];
    let mut hear = || {
        let length = manager.recv(&mut message).expect("a router that lives says so");
        String::from_utf8_lossy(&message[..length]).into_owned()
    };
    let (mut ready, mut pings, mut line) = (false, 0, String::new());
    while pings < 5 {
        let said = hear();
        ready |= said.contains("READY=1");
        pings += u32::from(said.contains("WATCHDOG=1"));
        if let Some(status) = said.strip_prefix("STATUS=") {
            line = status.to_owned();
        }
    }
    router.kill().expect("it runs");
    router.wait().expect("it is our child");
    assert!(ready && line.starts_with("0 sessions"), "{ready} {line}");
    Ok(())
}

fn systemd_understands_the_unit() -> Outcome {
    need("systemd-analyze")?;
    let unit = fs::read_to_string(setup::root().join("packaging/genkan.service")).expect("it is there");
    // The program need not be installed here.
    let unit = unit.replace("/usr/bin/genkan", "/bin/true");
    fs::write("/run/genkan.service", unit).expect("/run is ours in here");
    let mut command = Command::new("systemd-analyze");
    let output = command.args(["verify", "--man=no", "/run/genkan.service"]).output().expect("it is there");
    let said = String::from_utf8_lossy(&output.stderr);
    let complaints: Vec<&str> = said.lines().filter(|line| line.contains("genkan.service")).collect();
    assert!(output.status.success() && complaints.is_empty(), "{said}");
    Ok(())
}
