//! What is the same for all tests of a run.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Whether this is a CI run, where nothing may be skipped.
pub(crate) fn is_ci() -> bool {
    env::var_os("CI").is_some_and(|value| value == "true")
}

/// Whether the kernel's NAT stands in for Genkan.
pub(crate) fn kernel_stands_in() -> bool {
    env::var_os("GENKAN_E2E_ROUTER").is_some_and(|value| value == "kernel")
}

/// With how many workers the router is to run; `None`: as it does when nobody says anything.
pub(crate) fn workers() -> Option<u8> {
    let given = env::var("GENKAN_E2E_WORKERS").ok()?;
    Some(given.parse().unwrap_or_else(|_| panic!("GENKAN_E2E_WORKERS is a number, not '{given}'")))
}

/// How often the router is killed during changes.
pub(crate) fn kills() -> usize {
    let given = env::var("GENKAN_E2E_KILLS").unwrap_or_else(|_| "40".to_owned());
    given.parse().unwrap_or_else(|_| panic!("GENKAN_E2E_KILLS is a number, not '{given}'"))
}

/// Of how many sessions it is to be measured what reading them costs; `None`: not at all.
pub(crate) fn sessions() -> Option<u64> {
    let given = env::var("GENKAN_E2E_SESSIONS").ok()?;
    Some(given.parse().unwrap_or_else(|_| panic!("GENKAN_E2E_SESSIONS is a number, not '{given}'")))
}

/// Whether the router is compiled without optimisation: loads are smaller then.
pub(crate) fn is_slow() -> bool {
    cfg!(debug_assertions) && env::var_os("GENKAN_BIN").is_none()
}

/// The repository.
pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The program under test.
pub(crate) fn binary() -> PathBuf {
    match env::var_os("GENKAN_BIN") {
        Some(path) => PathBuf::from(path),
        None => profile_directory().join("genkan"),
    }
}

/// `target/debug` or the like: where the test program itself was built.
fn profile_directory() -> PathBuf {
    let test = env::current_exe().expect("a program knows its own path");
    test.ancestors().nth(2).expect("tests are built in target/PROFILE/deps").to_owned()
}

/// Builds the router, outside of the namespaces: cargo does not build another package's programs for a test.
pub(crate) fn prepare() -> Result<(), String> {
    if kernel_stands_in() || env::var_os("GENKAN_BIN").is_some() {
        return Ok(());
    }
    let directory = profile_directory();
    // Cargo's profile `dev` is the one whose directory has another name.
    let profile = match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let target = directory.parent().ok_or("no target directory")?;
    let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        // Of the whole workspace, as the features of dependencies go by what is chosen: nothing is built again that way.
        .args(["build", "--quiet", "--workspace", "--bin", "genkan", "--profile", profile])
        .arg("--target-dir")
        .arg(target)
        .current_dir(root())
        .status()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if status.success() { Ok(()) } else { Err("the router does not build".into()) }
}
