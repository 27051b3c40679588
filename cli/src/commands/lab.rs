//! `genkan lab`: an internet host, a router and lan hosts as namespaces.

use clap::{Subcommand, ValueEnum};
use genkan_lab::topology::Role;
use genkan_lab::{Options, Sandbox, Topology, sandbox};

use crate::lab::{demo, persistent, shell};
use crate::output::{Exit, Failure};

const AFTER_HELP: &str = "\
Examples:
  genkan lab demo                  see the router work, step by step
  genkan lab shell laptop          sit at a computer behind a running router
  sudo genkan lab up home          a lab that stays, to try a configuration of your own
  sudo genkan lab shell remote --name home
  sudo genkan lab down home";

/// Try the router in network namespaces, without touching this machine
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Build a small internet, run the router in it and show what it does
    ///
    /// Needs no root where user namespaces are allowed, and leaves nothing behind. Exit status 0 only when every
    /// step went as expected.
    Demo {
        /// No pauses between the steps
        #[arg(long)]
        fast: bool,
    },
    /// Open a shell at a host of a lab
    ///
    /// Without --name a private lab with a running router is made for this shell, and is gone after it (no root
    /// needed).
    Shell {
        /// At which host
        #[arg(value_enum, default_value_t = Host::Laptop)]
        host: Host,
        /// In the lab of this name, made by `genkan lab up` (needs root)
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// Run this command instead of a shell
        #[arg(last = true, value_name = "COMMAND")]
        command: Vec<String>,
    },
    /// Build a lab that stays until `genkan lab down` (needs root)
    ///
    /// The router is yours to start: a configuration for it is written, and the commands are shown.
    Up {
        /// What to call it
        #[arg(default_value = "lab")]
        name: String,
        /// Hosts on the first lan
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=3))]
        hosts: u8,
        /// Lans
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
        lans: u8,
    },
    /// Take a lab down (needs root)
    Down {
        /// What it is called
        #[arg(default_value = "lab")]
        name: String,
    },
}

/// A host of the lab.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Host {
    /// On the internet, 198.51.100.7
    Remote,
    /// The provider's router, 203.0.113.2
    Isp,
    /// The router itself
    Router,
    /// At home, 192.168.0.10
    Nas,
    /// At home, 192.168.0.20
    Laptop,
    /// At home, 192.168.0.50
    Console,
    /// On the second lan, 192.168.1.10
    Guest,
}

impl From<Host> for Role {
    fn from(host: Host) -> Role {
        match host {
            Host::Remote => Role::Remote,
            Host::Isp => Role::Isp,
            Host::Router => Role::Router,
            Host::Nas => Role::Nas,
            Host::Laptop => Role::Laptop,
            Host::Console => Role::Console,
            Host::Guest => Role::Guest,
        }
    }
}

/// Does it.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    match &arguments.action {
        Action::Demo { fast } => in_sandbox(|| demo::run(*fast)),
        Action::Shell { host, name: None, command } => {
            in_sandbox(|| shell::private(Role::from(*host), command))
        }
        Action::Shell { host, name: Some(name), command } => shell::at(name, Role::from(*host), command),
        Action::Up { .. } | Action::Down { .. } if !nix::unistd::geteuid().is_root() => {
            Err(Failure::message("a lab that stays needs root; without it: genkan lab shell"))
        }
        Action::Up { name, hosts, lans } => {
            persistent::up(name, &Options { hosts: *hosts, lans: *lans, ..Options::default() })
        }
        Action::Down { name } => {
            Topology::down(name)?;
            Ok(Exit::Done)
        }
    }
}

/// Does `work` in private namespaces; the copy of the program outside only passes on how it ended.
fn in_sandbox(work: impl FnOnce() -> Result<Exit, Failure>) -> Result<Exit, Failure> {
    match Sandbox::enter()? {
        Sandbox::Inside => work(),
        Sandbox::Ended(status) => std::process::exit(sandbox::exit_code(status).into()),
    }
}
