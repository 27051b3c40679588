//! What the router has given up, seen from outside.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use genkan_lab::Options;
use genkan_lab::topology::Role::Router;

use crate::cases;
use crate::fixture::{Lab, wait_for};
use crate::outcome::Outcome;
use crate::programs::{need_tun, run};

cases![
    ;
    only_genkan:
    every_thread_has_given_up_what_no_router_needs,
    a_tap_keeps_its_rings,
    files_elsewhere_are_out_of_reach,
    named_files_may_be_replaced_in_a_folder_of_their_own,
    what_the_configuration_cannot_do_any_more_is_told,
    the_sandbox_can_be_switched_off,
];

const NET_ADMIN: u64 = 1 << 12;
const NET_RAW: u64 = 1 << 13;
const IPC_LOCK: u64 = 1 << 14;
const SYS_NICE: u64 = 1 << 23;
const BPF: u64 = 1 << 39;

/// `/proc/PID/task/*/status` of the router, with the name of each thread.
fn threads(lab: &Lab) -> Vec<(String, String)> {
    let folder = format!("/proc/{}/task", lab.router(|router| router.pid()));
    let tasks = fs::read_dir(folder).expect("the router runs");
    let status = |task: fs::DirEntry| fs::read_to_string(task.path().join("status")).ok();
    let threads =
        tasks.filter_map(|task| status(task.ok()?)).map(|text| (field(&text, "Name").to_owned(), text));
    threads.collect()
}

#[track_caller]
fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {status}")).trim()
}

#[track_caller]
fn capabilities(status: &str, name: &str) -> u64 {
    u64::from_str_radix(field(status, name), 16).expect("the kernel writes hexadecimal numbers")
}

fn status(lab: &Lab) -> serde_json::Value {
    let said = lab.genkan(&["status", "--format", "json"]).expect_ok();
    serde_json::from_str(&said.stdout).expect("it is JSON")
}

fn every_thread_has_given_up_what_no_router_needs() -> Outcome {
    // AF_XDP, which `auto` may choose, takes two more.
    for (rules, xdp) in [
        (
            "backend = \"af-packet\"\n[[lan]]\nname = \"home\"\ndevice = \"lan0\"\naddress = \"192.168.0.1/24\"\nbackend = \"af-packet\"\n",
            0,
        ),
        ("", BPF | IPC_LOCK),
    ] {
        let lab = Lab::start(rules);
        let xdp = if crate::setup::workers().is_some_and(|workers| workers > 1) { 0 } else { xdp };
        let allowed = NET_ADMIN | NET_RAW | SYS_NICE | xdp;
        let threads = threads(&lab);
        for name in ["genkan", "control", "packets-0", "devices"] {
            assert!(threads.iter().any(|(thread, _)| thread == name), "no thread {name}");
        }
        for (name, status) in &threads {
            for set in ["CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb"] {
                let has = capabilities(status, set);
                assert_eq!(has & !allowed, 0, "{name} has more in {set}: {has:x}");
                assert_eq!(has & NET_ADMIN, NET_ADMIN, "{name} has lost what it needs from {set}: {has:x}");
            }
            assert_eq!(field(status, "NoNewPrivs"), "1", "{name}");
            assert_eq!(field(status, "Seccomp"), "2", "{name}");
        }
        let told = &status(&lab)["sandbox"];
        let names = told["capabilities"].as_array().expect("there are some");
        assert!(names.iter().any(|name| name == "NET_ADMIN"), "{told}");
        assert_eq!(told["system_calls"], "only those of a router (seccomp)", "{told}");
        assert!(lab.genkan(&["status"]).expect_ok().stdout.contains("sandbox: capabilities"));
    }
    Ok(())
}

fn a_tap_keeps_its_rings() -> Outcome {
    need_tun()?;
    const TAPS: &str = "backend = \"tap\"\n\n[[lan]]\nname = \"home\"\ndevice = \"lan0\"\nbackend = \"tap\"\n\
                        address = \"192.168.0.1/24\"\n\n[router]\n";
    let rings = |sandbox: bool| {
        let lab = Lab::without_router(&Options::default());
        for device in ["wan0", "lan0"] {
            run(&lab.host(Router), "ip", &["link", "delete", device]).expect_ok();
        }
        lab.start_router(&format!("{TAPS}sandbox = {sandbox}\n")).unwrap_or_else(|error| panic!("{error}"));
        let folder = format!("/proc/{}/fd", lab.router(|router| router.pid()));
        let open = fs::read_dir(folder).expect("the router runs").filter_map(|entry| {
            fs::read_link(entry.ok()?.path())
                .ok()
                .filter(|target| target.to_string_lossy().contains("io_uring"))
        });
        open.count()
    };
    // Where the kernel has none, there are none.
    assert_eq!(rings(true), rings(false));
    Ok(())
}

fn files_elsewhere_are_out_of_reach() -> Outcome {
    let lab = Lab::start("");
    let landlocked =
        status(&lab)["sandbox"]["files"].as_str().is_some_and(|text| text.contains("only its own"));
    if !landlocked {
        return Err(crate::outcome::Skip("this kernel has no landlock".to_owned()));
    }
    let elsewhere = "/run/genkan-elsewhere.toml";
    let file = lab.router(|router| router.config_file());
    lab.write_rules("");
    lab.genkan(&["reload"]).expect_ok();
    fs::rename(&file, elsewhere).expect("/run is ours in here");
    std::os::unix::fs::symlink(elsewhere, &file).expect("/run is ours in here");
    let said = lab.genkan(&["reload"]);
    fs::remove_file(elsewhere).expect("/run is ours in here");
    assert_eq!(said.code, Some(1), "{said:#?}");
    assert!(format!("{}{}", said.stdout, said.stderr).contains("Permission denied"), "{said:#?}");
    Ok(())
}

/// As secrets and lists are, by programs that keep them: written beside and renamed. Elsewhere somebody is told why not.
fn named_files_may_be_replaced_in_a_folder_of_their_own() -> Outcome {
    need_tun()?;
    let lab = Lab::without_router(&Options::default());
    let folder = std::path::Path::new("/run/genkan-named");
    fs::create_dir_all(folder).expect("/run is ours in here");
    let files = [folder.join("token"), folder.join("blocked"), "/run/genkan-shared-token".into()];
    let replace = |text: &str| {
        for file in &files {
            fs::write(file.with_extension("new"), text).expect("/run is ours in here");
            fs::rename(file.with_extension("new"), file).expect("/run is ours in here");
        }
    };
    replace("first.example\n");
    let entry = |name: &str, file: &std::path::Path| {
        let file = file.display();
        format!(
            "[[ddns]]\nprovider = \"duckdns\"\nnames = [\"{name}.duckdns.org\"]\ntoken_file = \"{file}\"\n"
        )
    };
    let rules = format!(
        "[router]\ntun = \"genkan0\"\n[dns]\nupstreams = [\"198.51.100.7\"]\nblock = [\"{}\"]\n{}{}",
        files[1].display(),
        entry("own", &files[0]),
        entry("shared", &files[2])
    );
    lab.start_router(&rules).unwrap_or_else(|error| panic!("{error}"));
    let landlocked =
        status(&lab)["sandbox"]["files"].as_str().is_some_and(|text| text.contains("only its own"));
    if !landlocked {
        return Err(crate::outcome::Skip("this kernel has no landlock".to_owned()));
    }
    let reasons = || {
        let said = lab.genkan(&["ddns", "--format", "json"]).stdout;
        let rows: Vec<serde_json::Value> = serde_json::from_str(&said).expect("it is JSON");
        let reason = |row: &serde_json::Value| row["reason"].as_str().unwrap_or_default().to_owned();
        rows.iter().map(reason).collect::<Vec<_>>()
    };
    let names = || lab.genkan(&["dns"]).stdout;
    wait_for("the list is read", || names().contains("names blocked: 1"));
    assert!(reasons().iter().all(|reason| !reason.contains("Permission denied")), "{:?}", reasons());
    replace("0.0.0.0 second.example third.example\n");
    lab.genkan(&["reload"]).expect_ok();
    wait_for("the other list is read", || names().contains("names blocked: 2"));
    wait_for("it is told what is out of reach", || {
        reasons()[1].contains("Permission denied")
            && reasons()[1].contains("the sandbox lets the router read")
    });
    assert!(!reasons()[0].contains("Permission denied"), "{:?}", reasons());
    Ok(())
}

fn what_the_configuration_cannot_do_any_more_is_told() -> Outcome {
    let lab = Lab::start("");
    let folder = lab.router(|router| router.config_file()).parent().expect("it is in a folder").to_owned();
    assert_eq!(lab.stop_router(), Some(0));
    let mode = |mode| fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).expect("it is ours");
    // Root writes there all the same, as long as it has CAP_DAC_OVERRIDE.
    mode(0o500);
    lab.start_router("").unwrap_or_else(|error| panic!("{error}"));
    let problems = status(&lab)["problems"].to_string();
    mode(0o700);
    assert!(problems.contains("changes of the configuration will fail"), "{problems}");
    Ok(())
}

fn the_sandbox_can_be_switched_off() -> Outcome {
    let before = fs::read_to_string("/proc/self/status").expect("it is always there");
    let lab = Lab::with(&Options::default(), "[router]\nsandbox = false\n");
    for (name, status) in threads(&lab) {
        for set in ["CapPrm", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp"] {
            assert_eq!(field(&status, set), field(&before, set), "{set} of {name}");
        }
    }
    assert!(status(&lab).get("sandbox").is_none());
    Ok(())
}
