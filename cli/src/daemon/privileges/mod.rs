//! What the router gives up at its start, for good: capabilities, files, and system calls that it has no use for.
//!
//! Whoever takes over a router by a malformed packet is then where the packets are, which is bad enough, but not in the
//! rest of the machine.
//!
//! All of it happens before the first thread is started, since Linux keeps capabilities, landlock domains and seccomp
//! filters thread by thread, and threads inherit them. It is before the devices are opened, too: a device that is deleted
//! and comes back is opened again by a router that has long given up the rest, so opening must not need more than is kept.
//!
//! None of it is a condition for running. Where the kernel does not go along, the router runs without, and says so in the
//! log and in `genkan status`.

mod capabilities;
mod files;
mod system_calls;

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use genkan_config::ddns::SecretSource;
use genkan_config::{Backend, Config, Device};
use genkan_control::api::Sandbox;
use tracing::{info, warn};

/// Where the router reads and writes.
#[derive(Debug)]
pub(super) struct Places<'a> {
    /// Its configuration, which changes through the control socket are written to.
    pub(super) config: &'a Path,
    /// The control socket.
    pub(super) socket: &'a Path,
    /// The folder of what survives a restart.
    pub(super) state: &'a Path,
    /// The folder of the record of translations, if one is kept.
    pub(super) nat_log: Option<&'a Path>,
    /// Files that the configuration names, and that are read again while the router runs.
    pub(super) named: Vec<&'a Path>,
}

/// What is in force now.
#[derive(Debug)]
pub(super) struct GivenUp {
    /// For the API.
    pub(super) sandbox: Sandbox,
    /// What is not as it should be.
    pub(super) problems: Vec<String>,
}

/// Gives up what the configuration has no use for; `None` when it says not to.
///
/// To be called while the process has one thread.
pub(super) fn give_up(config: &Config, places: &Places<'_>) -> Option<GivenUp> {
    if !config.sandbox {
        warn!("the sandbox is switched off: the router keeps all rights of whoever started it");
        return None;
    }
    let mut problems = Vec::new();
    // A folder that does not exist cannot be named to the kernel. Errors come to light when something is written to it.
    let _ = DirBuilder::new().recursive(true).mode(0o700).create(places.state);
    if let Some(folder) = places.nat_log {
        let _ = DirBuilder::new().recursive(true).mode(0o750).create(folder);
    }

    let af_xdp = may_use_af_xdp(config);
    // With a TUN a reload may add `[dns]`.
    capabilities::keep_only(af_xdp, config.tun.is_some(), &mut problems);
    let files = files::confine(places);
    // Only landlock can tell programs apart: without it, none is to be started.
    let programs = files.is_ok();
    let io_uring = devices(config).any(|device| device.backend == Backend::Tap);
    let system_calls = system_calls::restrict(system_calls::Permitted { af_xdp, io_uring, programs });
    problems.extend(out_of_reach(places));

    let mut say = |what: &str, outcome: Result<String, String>| {
        outcome.unwrap_or_else(|reason| {
            problems.push(format!("the sandbox leaves the router {what}: {reason}"));
            reason
        })
    };
    let (files, system_calls) = (say("files", files), say("system calls", system_calls));
    let sandbox = Sandbox { capabilities: capabilities::kept(), files, system_calls };
    for problem in &problems {
        warn!("{problem}");
    }
    let capabilities = sandbox.capabilities.join(" ");
    info!(capabilities, files = sandbox.files, system_calls = sandbox.system_calls, "sandbox");
    Some(GivenUp { sandbox, problems })
}

/// What the process that has started this one has given up, which is given up here, too, for good.
pub(super) fn inherited(sandbox: Sandbox) -> GivenUp {
    let capabilities = sandbox.capabilities.join(" ");
    info!(capabilities, files = sandbox.files, system_calls = sandbox.system_calls, "sandbox, as before");
    GivenUp { sandbox, problems: Vec::new() }
}

/// Whether a port may be opened with AF_XDP, now or when its device comes back.
fn may_use_af_xdp(config: &Config) -> bool {
    let by_xdp = |backend| matches!(backend, Backend::Auto | Backend::AfXdp);
    config.workers == 1 && devices(config).any(|device| by_xdp(device.backend))
}

fn devices(config: &Config) -> impl Iterator<Item = &Device> {
    std::iter::once(&config.wan).chain(&config.lans)
}

/// The folder that a file is in, and the one that it is really in.
fn folders(file: &Path) -> Vec<PathBuf> {
    let parent = |path: &Path| match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let mut folders = vec![parent(file)];
    folders.extend(file.canonicalize().ok().as_deref().map(parent));
    folders
}

/// Files that the configuration names: passwords, certificates, block lists.
pub(super) fn named_files(config: &Config) -> Vec<&Path> {
    let mut files = Vec::new();
    for entry in &config.ddns {
        if let Some(SecretSource::File(path)) = &entry.secret {
            files.push(path.as_path());
        }
        files.extend(entry.ca_file.as_deref());
    }
    let of_dns = config.dns.iter().flat_map(|dns| dns.block.iter().chain(&dns.tls_ca));
    files.extend(of_dns.map(PathBuf::as_path));
    files
}

/// What is said behind an error of reading such a file, where it can be the sandbox's doing.
pub(super) fn why_unreadable(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; the sandbox lets the router read what lies beside its configuration, and the files that this named at the \
             start: a restart brings others within reach"
        }
        _ => "",
    }
}

/// What root could read and write only by CAP_DAC_OVERRIDE, which it has no more.
fn out_of_reach(places: &Places<'_>) -> Vec<String> {
    use nix::unistd::{AccessFlags, eaccess};
    let writable = AccessFlags::W_OK | AccessFlags::X_OK;
    let config_folder = folders(places.config).swap_remove(0);
    let needed = [
        (places.config, AccessFlags::R_OK, "reloads"),
        (config_folder.as_path(), writable, "changes of the configuration"),
        (places.state, writable, "what is to survive a restart"),
    ];
    let refused = needed.into_iter().filter(|(path, mode, _)| eaccess(*path, *mode).is_err());
    let sentence = |(path, _, what): (&Path, AccessFlags, &str)| {
        let path = path.display();
        format!(
            "{path}: out of reach of the sandboxed router, so {what} will fail: give it to the user that runs the router"
        )
    };
    refused.map(sentence).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_in_a_folder() {
        assert_eq!(folders(Path::new("genkan.toml")), [PathBuf::from(".")]);
        // A link leads elsewhere, and both have to be within reach.
        let folder = std::env::temp_dir().join(format!("genkan-folders-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("real")).expect("a folder for temporary files");
        let (link, real) = (folder.join("link.toml"), folder.join("real/genkan.toml"));
        std::fs::write(&real, "").expect("it is ours");
        std::os::unix::fs::symlink(&real, &link).expect("it is ours");
        let found = folders(&link);
        std::fs::remove_dir_all(&folder).expect("it is ours");
        assert_eq!(found[0], folder);
        assert!(found[1].ends_with("real"), "{found:?}");
    }
}
