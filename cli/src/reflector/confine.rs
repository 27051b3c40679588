//! What a reflector gives up once its sockets are there: root, capabilities, files.

use std::fs;

use caps::CapSet;
use landlock::{ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetError};
use nix::sys::prctl;
use nix::unistd::{Gid, Uid, geteuid, setgid, setgroups, setuid};

/// The user who owns nothing, where the system has no other number for it.
const NOBODY: u32 = 65_534;

/// Gives it all up for good. To be called while the process has one thread. Returns in words what is in force.
///
/// # Errors
/// In words, when the process would stay more than it has to be.
pub(super) fn confine() -> Result<String, String> {
    prctl::set_no_new_privs().map_err(|error| format!("no_new_privs: {error}"))?;
    let user = if geteuid().is_root() { become_nobody()? } else { "the user that started it".to_owned() };
    for set in [CapSet::Ambient, CapSet::Effective, CapSet::Inheritable, CapSet::Permitted] {
        caps::clear(None, set).map_err(|error| format!("capabilities: {error}"))?;
    }
    let files = match no_files() {
        Ok(()) => "no files",
        Err(_) => "files as its user",
    };
    Ok(format!("{user}, no capabilities, {files}"))
}

/// Becomes nobody. In a user namespace that has no such user, root of the namespace stays by name only: without
/// capabilities it is an ordinary user of the machine.
fn become_nobody() -> Result<String, String> {
    let failed = |what: &str, error: nix::Error| format!("{what}: {error}");
    let known = |map: &str| {
        let map = fs::read_to_string(map).unwrap_or_default();
        map.lines().any(|line| {
            let mut numbers = line.split_whitespace().map(|number| number.parse::<u64>().unwrap_or(0));
            let (first, _, count) = (numbers.next(), numbers.next(), numbers.next());
            let range = first.unwrap_or(0)..first.unwrap_or(0) + count.unwrap_or(0);
            range.contains(&u64::from(NOBODY))
        })
    };
    if !known("/proc/self/uid_map") || !known("/proc/self/gid_map") {
        return Ok("root of its user namespace only".to_owned());
    }
    setgroups(&[]).map_err(|error| failed("setgroups", error))?;
    setgid(Gid::from_raw(NOBODY)).map_err(|error| failed("setgid", error))?;
    setuid(Uid::from_raw(NOBODY)).map_err(|error| failed("setuid", error))?;
    Ok("nobody".to_owned())
}

/// Nothing can be opened any more (landlock).
fn no_files() -> Result<(), RulesetError> {
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
    ruleset.handle_access(AccessFs::from_all(ABI::V5))?.create()?.restrict_self().map(drop)
}
