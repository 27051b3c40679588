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
pub(super) fn confine(places: &Places<'_>) -> Result<String, String> {
    let unconfined = |reason: &str| format!("all that its user may (landlock: {reason})");
    let status = rules(places).map_err(|error| unconfined(&error.to_string()))?;
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

fn rules(places: &Places<'_>) -> Result<landlock::RestrictionStatus, RulesetError> {
    let write = AccessFs::from_all(NEWEST) & !BitFlags::from(AccessFs::Execute) & !special();
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
    let own = folders(places.config).into_iter().chain(folders(places.socket));
    let logs = places.nat_log.into_iter().chain([Path::new(nat_log::FOLDER)]);
    let own = own.chain([places.state.to_owned()]).chain(logs.map(Path::to_owned));
    let named = places.named.iter().flat_map(|file| within_reach(file));
    let programs = this_program().into_iter().chain(LOADERS.iter().flat_map(loader));
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        // Nor signals to processes that are none of ours.
        .scope(Scope::Signal)?
        .create()?
        .add_rules(path_beneath_rules(own, write))?
        .add_rules(path_beneath_rules(READ, read))?
        .add_rules(path_beneath_rules(named, BitFlags::from(AccessFs::ReadFile)))?
        .add_rules(path_beneath_rules(DEVICES, device))?
        .add_rules(path_beneath_rules(programs, read | AccessFs::Execute))?
        .restrict_self()
}

/// What is named to the kernel for a file that is replaced now and then by renaming another one to it. The kernel knows
/// files and no names, so that has to be the folder. A folder of many things is not opened for one of them: then it is
/// the file alone, as it is at the start, and it has to be written in place.
fn within_reach(file: &Path) -> Vec<PathBuf> {
    let folders = folders(file).into_iter().filter_map(|folder| folder.canonicalize().ok());
    std::iter::once(file.to_owned()).chain(folders.filter(|folder| !is_of_many_things(folder))).collect()
}

/// Whether a folder is the root, lies directly in it (`/etc`, `/root`, `/run`), is somebody's home, or of those that hold
/// the folders of many programs.
fn is_of_many_things(folder: &Path) -> bool {
    const KNOWN: [&str; 7] =
        ["/etc/ssl", "/usr/lib", "/usr/local", "/usr/share", "/var/cache", "/var/lib", "/var/tmp"];
    folder.components().count() < 3
        || folder.parent() == Some(Path::new("/home"))
        || KNOWN.iter().any(|known| folder == Path::new(known))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_file_opens_its_folder_unless_that_is_of_many_things() {
        for folder in ["/", "/etc", "/root", "/tmp", "/home/somebody", "/var/lib", "/etc/ssl"] {
            assert!(is_of_many_things(Path::new(folder)), "{folder}");
        }
        for folder in
            ["/etc/genkan", "/run/secrets", "/home/somebody/genkan", "/var/lib/genkan", "/etc/ssl/certs"]
        {
            assert!(!is_of_many_things(Path::new(folder)), "{folder}");
        }
        assert_eq!(within_reach(Path::new("/etc/hostname")), [PathBuf::from("/etc/hostname")]);
        let folder = std::env::temp_dir().join(format!("genkan-within-reach-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for temporary files");
        let folder = folder.canonicalize().expect("it is there");
        // Also where it is not there yet, and by any other way to write it.
        let (file, roundabout) = (folder.join("token"), folder.join("../../etc/passwd"));
        assert_eq!(within_reach(&file), [file.clone(), folder.clone()]);
        let found = within_reach(&roundabout);
        std::fs::remove_dir_all(&folder).expect("it is ours");
        assert_eq!(found, [roundabout], "not /etc");
    }
}
