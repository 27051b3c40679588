//! Capabilities (capabilities(7)): those of a router are kept, for this program and for the one that an upgrade puts in its
//! place, and nobody in this process can ever have another one.
//!
//! Two rights are worth less than a capability each, and the limits of getrlimit(2) give them alone: going first
//! (RLIMIT_NICE instead of CAP_SYS_NICE, which may also stop any process's threads) and memory of AF_XDP
//! (RLIMIT_MEMLOCK instead of CAP_IPC_LOCK).

use std::collections::HashSet;

use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};

use super::super::priority;

/// Drops all but what is needed. What cannot be dropped is told in `problems`.
pub(super) fn keep_only(af_xdp: bool, low_ports: bool, problems: &mut Vec<String>) {
    let wanted = wanted(af_xdp, low_ports);
    let mut failed = |what: &str, error: &dyn std::fmt::Display| {
        problems.push(format!("{what} could not be dropped: {error}"));
    };
    if let Err(error) = prctl::set_no_new_privs() {
        failed("the right to new privileges", &error);
    }
    let permitted = caps::read(None, CapSet::Permitted).unwrap_or_default();
    let keep: CapsHashSet = permitted.intersection(&wanted).copied().collect();
    // First, while CAP_SETPCAP is there. A service manager may have done it, and then have left nothing to do it with.
    for bounding in caps::read(None, CapSet::Bounding).unwrap_or_default().difference(&wanted) {
        if let Err(error) = caps::drop(None, CapSet::Bounding, *bounding) {
            failed("a capability of the bounding set", &error);
            break;
        }
    }
    // An exec of root's keeps what is inheritable or in the bounding set, another user's what is ambient.
    let passed_on =
        caps::set(None, CapSet::Inheritable, &keep).and_then(|()| caps::set(None, CapSet::Ambient, &keep));
    let own =
        caps::set(None, CapSet::Effective, &keep).and_then(|()| caps::set(None, CapSet::Permitted, &keep));
    for outcome in [passed_on, own] {
        if let Err(error) = outcome {
            failed("capabilities", &error);
        }
    }
}

/// The capabilities that a router uses as long as it runs.
fn wanted(af_xdp: bool, low_ports: bool) -> CapsHashSet {
    let mut wanted = HashSet::from([
        // Devices, addresses, routes, offloads, TAP and TUN, nftables; XDP programs' attachment.
        Capability::CAP_NET_ADMIN,
        // Packet and AF_XDP sockets.
        Capability::CAP_NET_RAW,
    ]);
    if !limit(Resource::RLIMIT_NICE, (20 - i64::from(priority::NICE)) as u64) {
        wanted.insert(Capability::CAP_SYS_NICE);
    }
    if low_ports {
        // DNS over TCP, at the lan addresses.
        wanted.insert(Capability::CAP_NET_BIND_SERVICE);
    }
    if af_xdp {
        wanted.insert(Capability::CAP_BPF);
        if !limit(Resource::RLIMIT_MEMLOCK, u64::MAX) {
            wanted.insert(Capability::CAP_IPC_LOCK);
        }
    }
    wanted
}

/// Raises a limit of this process. Returns whether it is as high now.
fn limit(resource: Resource, value: u64) -> bool {
    nix::sys::resource::getrlimit(resource).is_ok_and(|(soft, _)| soft >= value)
        || setrlimit(resource, value, value).is_ok()
}

/// What this process can do, by short names, in alphabetical order.
pub(super) fn kept() -> Vec<String> {
    let kept = caps::read(None, CapSet::Permitted).unwrap_or_default();
    let name = |capability: Capability| capability.to_string().trim_start_matches("CAP_").to_owned();
    let mut names: Vec<String> = kept.into_iter().map(name).collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_of_a_router_stay() {
        // Of a thread alone, which takes the limits of the process along but none of its capabilities.
        let thread = std::thread::spawn(|| {
            let before = caps::read(None, CapSet::Permitted).expect("everybody may ask");
            let mut problems = Vec::new();
            keep_only(false, false, &mut problems);
            let after: Vec<CapsHashSet> =
                [CapSet::Permitted, CapSet::Effective, CapSet::Inheritable, CapSet::Ambient]
                    .into_iter()
                    .map(|set| caps::read(None, set).expect("everybody may ask"))
                    .collect();
            (before, after, problems, kept())
        });
        let (before, after, problems, names) = thread.join().expect("nothing panics");
        let router = [Capability::CAP_NET_ADMIN, Capability::CAP_NET_RAW, Capability::CAP_SYS_NICE];
        let expected: CapsHashSet = router.into_iter().filter(|it| before.contains(it)).collect();
        for set in &after {
            assert!(set.is_subset(&expected), "{set:?}");
            assert_eq!(set.contains(&router[0]), before.contains(&router[0]));
        }
        assert!(names.iter().all(|name| name != "SYS_ADMIN"), "{names:?}");
        // Without CAP_SETPCAP there is nothing in the bounding set to be gained by, and that is said.
        assert!(problems.len() <= usize::from(!before.contains(&Capability::CAP_SETPCAP)), "{problems:?}");
    }
}
