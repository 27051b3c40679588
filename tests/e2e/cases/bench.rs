//! `genkan bench` on networks: that its numbers are numbers of what it says, and that nothing of it stays. How large
//! they are is not judged here, beside other tests and without optimisation.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::lab::runs;
use crate::cases;
use crate::fixture::wait_for;
use crate::outcome::Outcome;
use crate::programs::{Said, need, need_tun};
use crate::setup;

cases![
    ;
    only_genkan:
    benchmark_measures_all_contenders,
    benchmark_measures_tap,
    nothing_of_a_benchmark_survives,
];

/// Runs `genkan bench --json` on a machine that may be busy; the report's metrics.
fn measure(arguments: &[&str]) -> Vec<Value> {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=1", "150"]).arg(setup::binary()).args(["bench", "--json", "--force"]);
    let output = command.args(arguments).stdin(Stdio::null()).output().expect("timeout(1) is there");
    let said = Said::from(output);
    // 1 says that rounds lie too far apart to compare, which is for this test as good as any.
    assert!(matches!(said.code, Some(0 | 1)), "{said:#?}");
    let report: Value =
        serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:#?}"));
    report["metrics"].as_array().unwrap_or_else(|| panic!("no metrics: {said:#?}")).clone()
}

/// Every contender's rounds of a metric lie within these bounds; there are as many of both as there should be.
#[track_caller]
fn expect(metrics: &[Value], key: &str, contenders: &[&str], rounds: usize, least: f64, most: f64) {
    let metric = metrics.iter().find(|metric| metric["key"] == key);
    let metric = metric.unwrap_or_else(|| panic!("no {key}: {metrics:#?}"));
    let series = metric["series"].as_array().expect("a list");
    let names: Vec<&str> = series.iter().filter_map(|series| series["contender"].as_str()).collect();
    assert_eq!(names, contenders, "{metric:#?}");
    for series in series {
        let values: Vec<f64> =
            series["rounds"].as_array().expect("a list").iter().filter_map(Value::as_f64).collect();
        assert_eq!(values.len(), rounds, "{metric:#?}");
        assert!(values.iter().all(|value| (least..most).contains(value)), "{metric:#?}");
    }
}

fn benchmark_measures_all_contenders() -> Outcome {
    need("nft")?;
    let all = ["genkan", "kernel", "kernel tuned"];
    let run =
        |metrics, rounds| measure(&["--quick", "--metrics", metrics, "--rounds", rounds, "--seconds", "1"]);
    let taking_turns = run("pps1k", "2");
    // From a busy machine with a slow build to one ten times as fast as any that is known.
    expect(&taking_turns, "pps1k", &all, 2, 500.0, 2e7);
    expect(&taking_turns, "pps1k_cpu", &all, 2, 50.0, 4e6);
    // Where the kernel keeps accounts of threads; its own NAT has none.
    if Path::new("/proc/self/schedstat").exists() {
        expect(&taking_turns, "pps1k_router", &all[..1], 2, 50.0, 4e6);
    }
    if setup::is_slow() {
        // A minute without optimisation, for what the optimised run shows as well.
        return Ok(());
    }
    let metrics = run("ppsb,ppsb_single,tcp1,echo", "1");
    // Whether single small frames reach every contender is judged by the program itself: a run with others fails.
    for key in ["ppsb", "ppsb_single"] {
        expect(&metrics, key, &all, 1, 500.0, 2e7);
    }
    expect(&metrics, "tcp1", &all, 1, 1e6, 1e12);
    expect(&metrics, "echo", &all, 1, 1.0, 2e5);
    expect(&metrics, "echo_p99", &all, 1, 1.0, 2e5);
    Ok(())
}

fn benchmark_measures_tap() -> Outcome {
    need("nft")?;
    need_tun()?;
    let keys = if setup::is_slow() { "ppsb,ndr" } else { "ppsb,ppsb_single,ndr,newflows" };
    let metrics = measure(&[
        "--metrics",
        keys,
        "--contenders",
        "genkan",
        "--backend",
        "tap",
        "--rounds",
        "1",
        "--seconds",
        "1",
    ]);
    for key in keys.split(',') {
        expect(&metrics, key, &["genkan tap"], 1, 500.0, 2e7);
    }
    Ok(())
}

/// Ctrl-C goes to the whole group; a kill hits the outer process alone.
fn nothing_of_a_benchmark_survives() -> Outcome {
    need("nft")?;
    for (signal, whole_group) in [(Signal::SIGKILL, false), (Signal::SIGINT, true)] {
        // Whoever runs the tests in the background may have them ignore SIGINT, which programs would inherit.
        let mut outer = Command::new("env")
            .arg("--default-signal=INT")
            .arg(setup::binary())
            .args(["bench", "--force", "--metrics", "pps1k", "--contenders", "genkan", "--seconds", "60"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("the program is there");
        let router = "/run/genkan-bench/bench1/genkan.toml";
        wait_for("the router runs", || runs(router));
        let outer_id = i32::try_from(outer.id()).expect("a process id is positive");
        kill(Pid::from_raw(if whole_group { -outer_id } else { outer_id }), signal).expect("it runs");
        outer.wait().expect("it is our child");
        wait_for("everything is gone", || !runs(router));
    }
    Ok(())
}
