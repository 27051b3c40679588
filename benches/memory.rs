//! Memory per session, everything told, with a full table.
//!
//! Tables are sized at the start, but the system gives them memory only where they are touched. So two
//! numbers: what is reserved for a session that may come, and what is resident for one that is there. The
//! second counts whole pages, since that is what the system gives.

use std::fs;

use genkan_benches::counting::Counting;
use genkan_benches::network::plan;
use genkan_benches::{Flows, Rig, Transport};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The default of the configuration. With fewer, what is there for any number of sessions would count for more.
const SESSIONS: u32 = 1_000_000;
/// Octets of memory that a session may cost.
const GOAL: f64 = 160.0;

/// Octets of this process that are in memory.
fn resident() -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("proc is mounted");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("the kernel tells VmRSS");
    let kilobytes = line.split_whitespace().nth(1).and_then(|number| number.parse::<f64>().ok());
    kilobytes.expect("a number of kB") * 1024.0
}

// One test only: what is resident is counted for the whole process.
#[test]
fn a_session_costs_at_most_160_octets() {
    let flows = Flows::new(Transport::Udp, SESSIONS);
    let (reserved_before, resident_before) = (Counting::octets(), resident());
    let mut rig = Rig::with_plan(flows, plan(SESSIONS));
    let reserved = (Counting::octets() - reserved_before) as f64;
    let idle = resident() - resident_before;
    rig.open(0..SESSIONS);
    // Once more: what ended leaves its number behind for the next.
    rig.expire_all();
    rig.open(0..SESSIONS);
    assert_eq!(rig.router.session_count(), SESSIONS);
    let grown = (Counting::octets() - reserved_before) as f64 - reserved;
    let full = resident() - resident_before;
    let each = |octets: f64| octets / f64::from(SESSIONS);
    println!(
        "with {SESSIONS} sessions on {} mappings: {:.1} octets resident per session ({:.1} MiB), {:.1} reserved; \
         {:.1} MiB resident when idle; the sessions allocated {grown} octets more",
        flows.mappings(),
        each(full),
        full / 1024.0 / 1024.0,
        each(reserved),
        idle / 1024.0 / 1024.0,
    );
    assert!(each(full) <= GOAL, "{:.1} octets resident per session", each(full));
    assert!(each(reserved) <= GOAL, "{:.1} octets reserved per session", each(reserved));
    assert!(each(grown) < 1.0, "sessions allocated {grown} octets");
}
