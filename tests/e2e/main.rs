//! The whole router, seen from outside: the real program in network namespaces, real sockets and everyday programs
//! (curl, nc, ping, traceroute, dig, iperf3) around it.
//!
//! No root is needed where user namespaces are allowed. The test program runs itself again in private namespaces,
//! so nothing is left behind even after `kill -9`.
//!
//! Environment:
//! * `CI=true`: a missing program fails its test instead of skipping it.
//! * `GENKAN_BIN=PATH`: test this program, an optimised one, instead of building one in the profile of the tests.
//! * `GENKAN_E2E_WORKERS=N`: run the router with N workers;
//! * `GENKAN_E2E_ROUTER=kernel`: put the kernel's own NAT in the router's place, to see whether a test is wrong;
//!   tests of what only Genkan does are left out.
//! * `GENKAN_E2E_BACKEND=WORD`: give every port of the router this back end, such as `af-xdp`.
//! * `GENKAN_E2E_KILLS=N`: how often the router is killed during changes (40); a tenth as often during
//!   upgrades.
//! * `GENKAN_E2E_SESSIONS=N`: measure what it costs to read a table of so many sessions.
//! * `GENKAN_E2E_PCAP=DIRECTORY`: keep a capture of both sides of every test there (wants tcpdump).

mod cases;
mod counted;
mod dhcp_client;
mod fixture;
mod flood;
mod leaseholder;
mod leases;
mod outcome;
mod programs;
mod servers;
mod setup;
mod steady;
mod stream;
mod terminal;

use std::process::ExitCode;
use std::sync::{PoisonError, RwLock};
use std::thread;

use genkan_lab::{Sandbox, sandbox};
use libtest_mimic::{Arguments, Completion, Trial};

use crate::outcome::Case;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    if !arguments.list {
        if let Err(message) = setup::prepare() {
            eprintln!("end-to-end tests cannot run: {message}");
            return ExitCode::FAILURE;
        }
        match Sandbox::enter() {
            Ok(Sandbox::Inside) => {}
            Ok(Sandbox::Ended(status)) => return sandbox::exit_code(status).into(),
            Err(error) => return without_namespaces(&error),
        }
    }
    // Tests wait four fifths of their time; each has a lab of its own.
    arguments
        .test_threads
        .get_or_insert_with(|| thread::available_parallelism().map_or(2, |cpus| 2 * cpus.get()).min(8));
    let mut cases: Vec<Case> = cases::all().into_iter().filter(Case::applies).collect();
    // At the end, as the others are waited for before the first of them.
    cases.sort_by_key(is_alone);
    libtest_mimic::run(&arguments, cases.into_iter().map(trial).collect()).exit_code()
}

/// Modules whose tests measure, or send as fast as they can: nothing may run beside them.
const ALONE: &[&str] = &[
    "backend",
    "bench",
    "bursts",
    "chain",
    "changes_beside_traffic",
    "changes_under_load",
    "devices_leased",
    "dhcp_kills",
    "dns_resolvers",
    "flood",
    "listing",
    "nat_log",
    "programs",
    "upgrade",
    "upgrade_trouble",
];

/// Held to write by a test that runs alone, to read by any other.
static SIDE_BY_SIDE: RwLock<()> = RwLock::new(());

fn is_alone(case: &Case) -> bool {
    ALONE.contains(&case.name.split("::").next().unwrap_or_default())
}

fn trial(case: Case) -> Trial {
    let is_alone = is_alone(&case);
    Trial::ignorable_test(case.name, move || {
        let outcome = if is_alone {
            let _alone = SIDE_BY_SIDE.write().unwrap_or_else(PoisonError::into_inner);
            case.run()
        } else {
            let _with_others = SIDE_BY_SIDE.read().unwrap_or_else(PoisonError::into_inner);
            case.run()
        };
        match outcome {
            Ok(()) => Ok(Completion::Completed),
            Err(skip) if setup::is_ci() => Err(format!("nothing may be skipped here: {skip}").into()),
            Err(skip) => Ok(Completion::ignored_with(skip)),
        }
    })
}

/// Where the kernel gives no namespaces there is nothing to test with; only a CI machine must have them.
fn without_namespaces(error: &genkan_lab::SandboxError) -> ExitCode {
    eprintln!("end-to-end tests skipped: {error}");
    if setup::is_ci() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
