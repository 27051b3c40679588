//! `genkan lab shell`: sit down at a computer of a lab.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use genkan_lab::topology::Role;
use genkan_lab::{Options, RouterProcess, Topology};

use super::hosts;
use crate::output::{self, Exit, Failure};

/// A private lab with a running router, a shell in it, and then nothing again.
pub(crate) fn private(role: Role, command: &[String]) -> Result<Exit, Failure> {
    let lab = Topology::up("lab", &Options { lans: 2, ..Options::default() })?;
    let config = format!(
        "{}\n[[lan]]\nname    = \"guests\"\ndevice  = \"{}\"\naddress = \"{}/24\"\nreaches = []\n\n{}",
        super::configuration(&lab),
        lab.lan2_device,
        lab.addresses.lan2,
        super::web_forward(&lab)
    );
    let router_namespace = lab.namespace(Role::Router)?;
    let directory = Path::new(genkan_control::DEFAULT_SOCKET).parent().unwrap_or(Path::new("/run"));
    // `/run` is this lab's own, so the router can have the usual place, and `genkan status` finds it.
    let router = RouterProcess::start(&router_namespace, &super::binary(), directory, &config)?;
    hosts::web_server(&lab.namespace(Role::Nas)?, 8080, "Welcome to the nas!")?;
    hosts::web_server(&lab.namespace(Role::Remote)?, 80, "Welcome to the internet!")?;
    if command.is_empty() {
        output::print(&welcome(role, &lab, &router))?;
    }
    let mut shell = shell_command(role, command);
    let status = lab.namespace(role)?.run(|| shell.status())?;
    if command.is_empty() {
        // A shell's status is that of its last command, which means nothing here.
        return Ok(Exit::Done);
    }
    Ok(if status.success() { Exit::Done } else { Exit::No })
}

/// A shell at a host of a lab that stays.
pub(crate) fn at(name: &str, role: Role, command: &[String]) -> Result<Exit, Failure> {
    let lab = Topology::find(name)?;
    let namespace = lab.namespace(role)?;
    let error = namespace.run(|| shell_command(role, command).exec());
    Err(Failure::new("cannot start the shell", &error))
}

fn shell_command(role: Role, command: &[String]) -> Command {
    let mut shell = match command.split_first() {
        Some((program, arguments)) => {
            let mut given = Command::new(program);
            given.args(arguments);
            given
        }
        None => Command::new(env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into())),
    };
    let prompt = format!("{}$ ", role.name());
    // An interactive bash sets PS1 itself; this comes later.
    shell.env("PROMPT_COMMAND", format!("PS1='{prompt}'")).env("PS1", prompt);
    if let Some(path) = path_with_this_program() {
        shell.env("PATH", path);
    }
    shell
}

/// `PATH`, with the directory of this program in front: it may not be installed.
fn path_with_this_program() -> Option<OsString> {
    let own = env::current_exe().ok()?;
    let path = env::var_os("PATH").unwrap_or_default();
    env::join_paths(own.parent().map(Path::to_owned).into_iter().chain(env::split_paths(&path))).ok()
}

fn welcome(role: Role, lab: &Topology, router: &RouterProcess) -> String {
    let address = &lab.addresses;
    let mut text =
        format!("You sit at {}. `exit` ends the lab, and nothing of it stays. Try:\n", role.name());
    let line = |command: String, meaning: &str| format!("  {command:36}{meaning}\n");
    match role {
        Role::Remote | Role::Isp => {
            text += &line(format!("curl http://{}/", address.wan), "the forward to the nas");
            text += &line(format!("curl -m 1 http://{}:22/", address.wan), "a closed port: silence");
            text += &line(format!("ping {}", address.wan), "the router answers");
        }
        Role::Router => {
            text += &line(format!("$EDITOR {}", router.config_file().display()), "the rules");
            text += &line("genkan reload".to_owned(), "put them in force");
            text += &line("tcpdump -ni wan0".to_owned(), "look at the wire");
        }
        Role::Guest => {
            text += &line(format!("curl http://{}/", address.remote), "out to the internet");
            text +=
                &line(format!("curl -m 1 http://{}/", address.wan), "guests do not reach the home network");
        }
        Role::Nas | Role::Laptop | Role::Console => {
            text += &line(format!("curl http://{}/", address.remote), "out to the internet");
            text += &line(format!("curl http://{}/", address.wan), "hairpin: your own forward");
            text += &line(format!("ping {}", address.remote), "through the router");
        }
    }
    text += &line("genkan sessions".to_owned(), "who talks to whom");
    text
}
