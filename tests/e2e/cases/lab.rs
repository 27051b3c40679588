//! What people run by hand: the demonstration, its shell, the scripts.

use std::fs;
use std::process::{Command, Stdio};

use genkan_lab::topology::Role::Laptop;
use genkan_lab::{Options, Topology};

use crate::cases;
use crate::fixture::wait_for;
use crate::outcome::Outcome;
use crate::programs::{Said, need};
use crate::setup;

cases![
    nothing_is_left_when_building_fails;
    only_genkan:
    demo_goes_as_expected,
    shell_sits_at_the_host_and_passes_on_the_status,
    nothing_survives_a_kill,
    script_forward,
    script_hairpin,
    script_behavior,
];

fn said(command: &mut Command) -> Said {
    Said::from(command.stdin(Stdio::null()).output().expect("the program is there"))
}

fn genkan(arguments: &[&str]) -> Command {
    let mut command = Command::new(setup::binary());
    command.args(arguments);
    command
}

fn demo_goes_as_expected() -> Outcome {
    let said = said(&mut genkan(&["lab", "demo"])).expect_ok();
    assert!(said.stdout.contains("as expected") && !said.stdout.contains('✗'), "{}", said.stdout);
    assert!(!said.stdout.contains('\u{1b}'), "colours without a terminal");
    Ok(())
}

fn shell_sits_at_the_host_and_passes_on_the_status() -> Outcome {
    let seen = said(&mut genkan(&["lab", "shell", "nas", "--", "ip", "-4", "-br", "address"])).expect_ok();
    assert!(seen.stdout.contains("192.168.0.10/24"), "{seen:?}");
    assert_eq!(said(&mut genkan(&["lab", "shell", "--", "false"])).code, Some(1));
    Ok(())
}

/// Whether a process with this argument runs.
pub(super) fn runs(argument: &str) -> bool {
    let processes = fs::read_dir("/proc").expect("/proc is mounted").flatten();
    processes
        .filter_map(|process| fs::read(process.path().join("cmdline")).ok())
        .any(|line| line.split(|&byte| byte == 0).any(|word| word == argument.as_bytes()))
}

fn nothing_survives_a_kill() -> Outcome {
    const SECONDS: &str = "86399";
    let mut outer = genkan(&["lab", "shell", "--", "sleep", SECONDS])
        .stdin(Stdio::null())
        .spawn()
        .expect("the program is there");
    let router = "/run/genkan-lab/lab/router/genkan.toml";
    wait_for("the shell's command runs", || runs(SECONDS) && runs(router));
    outer.kill().expect("it runs");
    outer.wait().expect("it is our child");
    wait_for("everything is gone", || !runs(SECONDS) && !runs(router));
    Ok(())
}

/// A second lab of the same name cannot be built; the first one must not suffer.
fn nothing_is_left_when_building_fails() -> Outcome {
    let first = Topology::up("e2e-twice", &Options::default()).expect("the first one");
    Topology::up("e2e-twice", &Options::default()).expect_err("the name is taken");
    first.namespace(Laptop).expect("the first one still stands");
    drop(first);
    let left: Vec<_> =
        fs::read_dir("/run/netns").expect("it is there").flatten().map(|entry| entry.file_name()).collect();
    assert!(
        !left.iter().any(|name| name.to_string_lossy().starts_with("e2e-twice")),
        "left behind: {left:?}"
    );
    Ok(())
}

fn script(name: &str) {
    let mut command = Command::new(setup::root().join("netns-scripts").join(name));
    let said = said(command.env("GENKAN", setup::binary()));
    assert!(said.ok && said.stdout.contains("  ok "), "{}\n{}", said.stdout, said.stderr);
}

fn script_forward() -> Outcome {
    need("python3")?;
    need("curl")?;
    script("forward.sh");
    Ok(())
}

fn script_hairpin() -> Outcome {
    need("python3")?;
    need("curl")?;
    script("hairpin.sh");
    Ok(())
}

fn script_behavior() -> Outcome {
    need("python3")?;
    script("behavior.sh");
    Ok(())
}
