//! Landlock (landlock(7)): the router's files and what it needs of the system's, and no others.
//!
//! Descriptors that are open already stay what they are, and so do sockets of all kinds. Programs can be started from the
//! folder of this one only, which is what an upgrade does.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, LandlockStatus, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};

use super::{Places, folders};
use crate::daemon::nat_log;

/// The newest interface that the rules below were made for. Older kernels do less, newer ones no more.
const NEWEST: ABI = ABI::V8;

/// What is read: about the process and devices, time zones, groups, and what a program needs to be started.
const READ: [&str; 20] = [
    "/proc",
    "/sys",
    "/dev/urandom",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/group",
    "/etc/passwd",
    "/etc/nsswitch.conf",
    // Names of others: the resolver's, and where those who write its file keep it.
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/etc/ld.so.cache",
    "/usr/share/zoneinfo",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
];

/// Devices, in the kernel's other sense.
const DEVICES: [&str; 2] = ["/dev/net/tun", "/dev/null"];

/// Where the program that starts programs (ld.so(8)) may be. Its folder is named to the kernel, since the file itself
/// is another one after an update of the C library.
const LOADERS: [&str; 4] = [
    "/lib64/ld-linux-x86-64.so.2",
    "/lib/ld-linux-aarch64.so.1",
    "/lib/ld-musl-x86_64.so.1",
    "/lib/ld-musl-aarch64.so.1",
];

/// Confines the calling thread and those that it starts. Returns in words what is in force.
///
/// # Errors
/// In words why nothing is.
pub(super) fn confine(
    places: &Places<'_>,
    read_only: impl Iterator<Item = PathBuf>,
) -> Result<String, String> {
    let unconfined = |reason: &str| format!("all that its user may (landlock: {reason})");
    let status = rules(places, read_only).map_err(|error| unconfined(&error.to_string()))?;
    let version = match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => effective_abi as i32,
        LandlockStatus::NotEnabled => return Err(unconfined("not enabled in this kernel")),
        _ => return Err(unconfined("not in this kernel")),
    };
    match status.ruleset {
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => {
            Ok(format!("only its own (landlock {version})"))
        }
        RulesetStatus::NotEnforced => Err(unconfined("not in force")),
    }
}

fn rules(
    places: &Places<'_>,
    read_only: impl Iterator<Item = PathBuf>,
) -> Result<landlock::RestrictionStatus, RulesetError> {
    let write = AccessFs::from_all(NEWEST) & !BitFlags::from(AccessFs::Execute) & !special();
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
    let own = folders(places.config).into_iter().chain(folders(places.socket));
    let logs = places.nat_log.into_iter().chain([Path::new(nat_log::FOLDER)]);
    let own = own.chain([places.state.to_owned()]).chain(logs.map(Path::to_owned));
    let programs = this_program().into_iter().chain(LOADERS.iter().flat_map(loader));
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        // Nor signals to processes that are none of ours.
        .scope(Scope::Signal)?
        .create()?
        .add_rules(path_beneath_rules(own, write))?
        .add_rules(path_beneath_rules(READ, read))?
        // The folders: files in them are replaced by newer ones.
        .add_rules(path_beneath_rules(read_only, read))?
        .add_rules(path_beneath_rules(&places.secrets, BitFlags::from(AccessFs::ReadFile)))?
        .add_rules(path_beneath_rules(DEVICES, device))?
        .add_rules(path_beneath_rules(programs, read | AccessFs::Execute))?
        .restrict_self()
}

/// What nobody makes in the router's folders.
fn special() -> BitFlags<AccessFs> {
    AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::MakeFifo | AccessFs::MakeSym | AccessFs::IoctlDev
}

/// The folder of this program, in which an upgrade puts the next one.
fn this_program() -> Option<PathBuf> {
    // A program that was replaced meanwhile is "... (deleted)", but still in its folder.
    let program = std::env::current_exe().ok()?;
    Some(program.parent()?.to_owned())
}

fn loader(path: impl AsRef<Path>) -> Option<PathBuf> {
    let real = path.as_ref().canonicalize().ok()?;
    Some(real.parent()?.to_owned())
}
