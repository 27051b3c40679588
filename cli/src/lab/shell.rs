//! Programs at the computers of a lab: `genkan lab shell`, `exec` and `run`.

use std::convert::Infallible;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use genkan_lab::description::{Kind, Node};
use genkan_lab::{Lab, sandbox};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::record::{self, Record};
use super::topologies::Plan;
use super::{hosts, standing};
use crate::output::{self, Failure};

/// Where a router's files are when nobody says otherwise.
fn usual_place() -> &'static Path {
    Path::new(genkan_control::DEFAULT_SOCKET).parent().unwrap_or(Path::new("/run"))
}

/// A private lab with its routers running; runs a command in it, or a shell, and ends with its status. Without a host
/// the command runs beside the lab, which it reaches by `genkan lab exec`.
pub(crate) fn private(plan: &Plan, host: Option<&str>, command: &[String]) -> Result<Infallible, Failure> {
    let (record, lab) = standing::build(record::DEFAULT_NAME, plan)?;
    let host = host.map(|host| record.computer(host)).transpose()?;
    let routers = standing::start(&lab, plan)?;
    if let Some(main) = plan.main_genkan() {
        // `/run` is this lab's own, so its router can have the usual place, and `genkan status` finds it.
        std::os::unix::fs::symlink(record::router_directory(&record.name, main), usual_place())?;
    }
    if command.is_empty() {
        for node in record.description.nodes.iter().filter(|node| node.kind == Kind::Host) {
            let page = format!("Welcome to {}!", node.name);
            for port in [80, 8080] {
                hosts::web_server(&lab.namespace(&node.name)?, port, &page)?;
            }
        }
        output::print(&welcome(plan, &record, host))?;
    }
    let mut given = shell_command(host.unwrap_or(&record.name), command);
    given.env(record::LAB_VARIABLE, &record.name);
    let status = match host {
        Some(host) => at_computer(&record, &lab, host, &mut given, Command::status)?,
        None => given.status(),
    };
    let status = status.map_err(|error| Failure::new(&cannot_start(command), &error))?;
    // Process 1 of the sandbox: everything else in it ends with this one.
    let _ = routers;
    // A shell's status is that of its last command, which means nothing here.
    std::process::exit(if command.is_empty() { 0 } else { sandbox::exit_code(status).into() })
}

/// A command, or a shell, at a computer of a lab that stands; this process becomes it.
pub(crate) fn at(name: &str, host: &str, command: &[String]) -> Result<Infallible, Failure> {
    let record = Record::read(name)?;
    let lab = record.lab()?;
    let host = record.computer(host)?;
    let mut given = shell_command(host, command);
    given.env(record::LAB_VARIABLE, name);
    let error = at_computer(&record, &lab, host, &mut given, Command::exec)?;
    Err(Failure::new(&cannot_start(command), &error))
}

fn cannot_start(command: &[String]) -> String {
    format!("cannot start {}", command.first().map_or("the shell", String::as_str))
}

/// Runs a command in the network of a computer, whose devices are also those of its `/sys/class/net`. At a Genkan the usual place of its files is that Genkan's, and one that is
/// started there by hand keeps its state in the lab as well.
fn at_computer<T: Send>(
    record: &Record,
    lab: &Lab,
    host: &str,
    command: &mut Command,
    run: impl FnOnce(&mut Command) -> T + Send,
) -> Result<T, Failure> {
    let directory = record::router_directory(&record.name, host);
    let is_genkan = record.is_genkan(host);
    lab.namespace(host)?.run(|| {
        own_mounts().map_err(|error| Failure::new("no mounts of its own", &error))?;
        show_own_devices();
        if is_genkan {
            show_in_usual_place(&directory)
                .map_err(|error| Failure::new("cannot show the router's files", &error))?;
            command.env("STATE_DIRECTORY", directory.join("state"));
        }
        Ok(run(command))
    })
}

/// Mounts from now on are for this thread and what it starts.
fn own_mounts() -> nix::Result<()> {
    let nothing: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_SLAVE, nothing)
}

/// A sysfs shows the network in which it was mounted.
fn show_own_devices() {
    let (nothing, flags) = (None::<&str>, MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC);
    // Containers that hide parts of /sys refuse this; few programs look there.
    let _ = mount(Some("sysfs"), "/sys", Some("sysfs"), flags, nothing);
}

/// Mounts a directory over the usual place.
fn show_in_usual_place(directory: &Path) -> io::Result<()> {
    let place = usual_place();
    fs::create_dir_all(place)?;
    if fs::canonicalize(place)? == directory {
        return Ok(());
    }
    mount(Some(directory), place, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    Ok(())
}

fn shell_command(place: &str, command: &[String]) -> Command {
    let mut shell = match command.split_first() {
        Some((program, arguments)) => {
            let mut given = Command::new(program);
            given.args(arguments);
            given
        }
        None => Command::new(env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into())),
    };
    let prompt = format!("{place}$ ");
    // An interactive bash sets PS1 itself; this comes later.
    shell.env("PROMPT_COMMAND", format!("PS1='{prompt}'")).env("PS1", prompt);
    if let Some(path) = path_with_this_program() {
        shell.env("PATH", path);
    }
    shell
}

/// `PATH`, with the directory of this program in front: it may not be installed.
fn path_with_this_program() -> Option<OsString> {
    let own: PathBuf = env::current_exe().ok()?;
    let path = env::var_os("PATH").unwrap_or_default();
    env::join_paths(own.parent().map(Path::to_owned).into_iter().chain(env::split_paths(&path))).ok()
}

/// Where one sits, who else there is, and what to try.
fn welcome(plan: &Plan, record: &Record, host: Option<&str>) -> String {
    let place = host.unwrap_or("the edge of the lab");
    let mut text = format!("You sit at {place}. `exit` ends the lab, and nothing of it stays. There are:\n");
    for node in &record.description.nodes {
        text += &format!("  {:16}{}\n", node.name, addresses(plan, node));
    }
    text += "Try:\n";
    let mut line = |command: String, meaning: &str| text += &format!("  {command:36}{meaning}\n");
    if host.is_some_and(|host| record.is_genkan(host)) {
        line(format!("$EDITOR {}", usual_place().join("genkan.toml").display()), "the rules");
        line("genkan reload".to_owned(), "put them in force");
        line("tcpdump -ni wan0".to_owned(), "look at the wire");
    } else {
        let wan = plan.genkans().find_map(|genkan| genkan.wan.as_ref()?.addresses.first());
        let other = plan.file.hosts.iter().find(|other| Some(other.name.as_str()) != host);
        if let Some(address) = wan {
            line(format!("curl -m 1 http://{}/", address.addr()), "a port of the router");
        }
        if let Some(address) = other.and_then(|other| other.addresses.first()) {
            line(format!("curl -m 1 http://{}/", address.addr()), "another computer");
        }
    }
    line("genkan sessions".to_owned(), "who talks to whom");
    line("genkan lab exec HOST -- COMMAND".to_owned(), "do something elsewhere");
    text
}

/// The addresses of a computer; those of a Genkan are in its configuration.
fn addresses(plan: &Plan, node: &Node) -> String {
    let gateway = plan.file.gateways.iter().find(|gateway| gateway.name == node.name);
    let sides = gateway.into_iter().flat_map(|gateway| gateway.wan.iter().chain(&gateway.lans));
    let mut all: Vec<String> =
        sides.flat_map(|side| &side.addresses).map(|address| address.addr().to_string()).collect();
    if gateway.is_none() {
        let own = node.ports.iter().flat_map(|port| &port.addresses);
        all.extend(own.map(|address| address.addr().to_string()));
    }
    all.join(" ")
}
