//! `genkan lab`: internets of namespaces, to try things in.

use std::convert::Infallible;

use clap::Subcommand;
use genkan_lab::{Sandbox, sandbox};

use crate::lab::record::{self, DEFAULT_NAME};
use crate::lab::topologies::{Topology, Which};
use crate::lab::{demo, persistent, shell};
use crate::output::{Exit, Failure, Format};

const AFTER_HELP: &str = "\
Examples:
  genkan lab demo                                  see the router work, step by step
  genkan lab shell laptop                          sit at a computer behind a running router
  genkan lab run --topology double-nat -- ./try.sh a private lab around a command, gone with it
  genkan lab run --topology office --at desk1 -- ping -c1 10.30.0.80
  sudo genkan lab up home --start                  a lab that stays, its routers running
  sudo genkan lab exec --name home remote -- curl http://203.0.113.1/
  sudo genkan lab down home

docs/labs.md shows the topologies and how labs are written as TOML.";

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
    /// Without --name a private lab with running routers is made for this shell, and is gone after it (no root
    /// needed). In it every host has a web page on ports 80 and 8080.
    #[command(after_help = "\
Examples:
  genkan lab shell laptop
  genkan lab shell router --topology double-nat
  sudo genkan lab shell remote --name home")]
    Shell {
        /// At which host; without one at laptop, or the first there is
        host: Option<String>,
        #[command(flatten)]
        which: Which,
        /// In the lab of this name, made by `genkan lab up` (needs root)
        #[arg(long, value_name = "NAME", conflicts_with_all = ["topology", "file"])]
        name: Option<String>,
        /// Run this command instead of a shell
        #[arg(last = true, value_name = "COMMAND")]
        command: Vec<String>,
    },
    /// Run a command in a private lab with running routers, which is gone after it
    ///
    /// Needs no root where user namespaces are allowed. The exit status is the command's. In the lab `genkan lab exec`,
    /// `capture` and `link` need no --name.
    #[command(after_help = "\
Examples:
  genkan lab run --topology cgnat -- sh -c 'genkan lab exec alice -- ping -c1 198.51.100.7'
  genkan lab run --file office.toml --at desk1 -- ./try.sh")]
    Run {
        #[command(flatten)]
        which: Which,
        /// At this host; without it beside the lab
        #[arg(long, value_name = "HOST")]
        at: Option<String>,
        /// What to run
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<String>,
    },
    /// Run a command at a host of a lab
    ///
    /// The exit status is the command's; input and output are passed. At a router, `genkan status` and the like ask that
    /// router. Needs root, except within a private lab.
    #[command(after_help = "\
Examples:
  sudo genkan lab exec --name home remote -- curl http://203.0.113.1/
  sudo genkan lab exec --name home router -- genkan sessions")]
    Exec {
        /// At which host
        host: String,
        /// In the lab of this name; without it the one around, or `lab`
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// What to run
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<String>,
    },
    /// Build a lab that stays until `genkan lab down` (needs root)
    ///
    /// The namespaces are named NAME-HOST under /run/netns. Configurations for the routers are written, and the
    /// commands to go on are shown.
    #[command(after_help = "\
Examples:
  sudo genkan lab up                               a home, called `lab`
  sudo genkan lab up try --topology two-consoles --start
  sudo genkan lab up try --file office.toml")]
    Up {
        /// What to call it
        #[arg(default_value = DEFAULT_NAME)]
        name: String,
        #[command(flatten)]
        which: Which,
        /// Start the routers
        #[arg(long)]
        start: bool,
    },
    /// Take a lab down, with every program that runs in it (needs root)
    Down {
        /// What it is called
        #[arg(default_value = DEFAULT_NAME)]
        name: String,
    },
    /// List the labs that stay
    List {
        /// Shape of the answer
        #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
        format: Format,
    },
}

/// Does it.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    match &arguments.action {
        Action::Demo { fast } => in_sandbox(|| demo::run(*fast)),
        Action::Shell { host, which, name: None, command } => {
            let plan = which.plan(Topology::TwoLans)?;
            let named = |name: &str| plan.description.find(name).map(|node| node.name.clone());
            let first = || plan.file.hosts.first().map(|host| host.name.clone());
            let host = host.clone().or_else(|| named("laptop")).or_else(first);
            in_sandbox(|| shell::private(&plan, host.as_deref(), command).map(never))
        }
        Action::Run { which, at, command } => {
            let plan = which.plan(Topology::Home)?;
            in_sandbox(|| shell::private(&plan, at.as_deref(), command).map(never))
        }
        Action::Shell { host, name: Some(name), command, .. } => {
            needs_root("a lab that stays")?;
            shell::at(name, host.as_deref().unwrap_or("laptop"), command).map(never)
        }
        Action::Exec { host, name, command } => {
            needs_root("a lab that stays")?;
            shell::at(&record::name(name.as_deref()), host, command).map(never)
        }
        Action::Up { name, which, start } => {
            let plan = which.plan(Topology::Home)?;
            needs_root("a lab that stays")?;
            persistent::up(name, &plan, *start)
        }
        Action::Down { name } => {
            needs_root("a lab that stays")?;
            persistent::down(name)
        }
        Action::List { format } => persistent::list(*format),
    }
}

fn never(value: Infallible) -> Exit {
    match value {}
}

fn needs_root(what: &str) -> Result<(), Failure> {
    match nix::unistd::geteuid().is_root() {
        true => Ok(()),
        false => {
            Err(Failure::message(format!("{what} needs root; without it: genkan lab run, genkan lab shell")))
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
