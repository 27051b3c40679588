//! `genkan lab`: internets of namespaces, to try things in.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use genkan_config::lab_file::{self, Link};
use genkan_lab::{Sandbox, sandbox};

use crate::lab::capture::{self, Limits};
use crate::lab::record::{self, DEFAULT_NAME, Record};
use crate::lab::topologies::{Topology, Which};
use crate::lab::{demo, persistent, shell, wires};
use crate::output::{Exit, Failure, Format};

const AFTER_HELP: &str = "\
Examples:
  genkan lab demo                                  see the router work, step by step
  genkan lab shell laptop                          sit at a computer behind a running router
  genkan lab run --topology double-nat -- ./try.sh a private lab around a command, gone with it
  genkan lab run --topology office --at desk1 -- ping -c1 10.30.0.80
  sudo genkan lab up home --start                  a lab that stays, its routers running
  sudo genkan lab exec --name home remote -- curl http://203.0.113.1/
  sudo genkan lab link --name home internet --delay 20ms --loss 1%
  sudo genkan lab capture --name home laptop -w laptop.pcap
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
    /// Show what the links of a lab do to frames, or change it while they pass
    ///
    /// A link is NETWORK.HOST, or NETWORK where two are joined. What is not named stays as it is; without --from it is
    /// changed in both directions. Needs root, except within a private lab.
    #[command(after_help = "\
Examples:
  sudo genkan lab link --name home                          what every link does
  sudo genkan lab link --name home internet --delay 20ms --jitter 2ms --loss 1%
  sudo genkan lab link --name home internet --from isp --rate 10mbit
  sudo genkan lab link --name home home.laptop --mtu 1400
  sudo genkan lab link --name home internet --clear")]
    Link(LinkArguments),
    /// Capture the frames at a host or link of a lab
    ///
    /// At a host with one device, or at a link: then at the end of its host. Checksums that a device is to finish are
    /// unfinished. Needs root, except within a private lab.
    #[command(after_help = "\
Examples:
  sudo genkan lab capture --name home nas
  sudo genkan lab capture --name home internet.router -w wan.pcap --for 10s")]
    Capture {
        /// Host or link
        place: String,
        /// In the lab of this name; without it the one around, or `lab`
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// Write a pcap to this file (- for standard output) instead of a line for each frame
        #[arg(short = 'w', long = "write", value_name = "FILE")]
        write: Option<PathBuf>,
        /// End after so many frames
        #[arg(long, value_name = "FRAMES", value_parser = clap::value_parser!(u64).range(1..))]
        count: Option<u64>,
        /// End after so long, such as 10s
        #[arg(long = "for", value_name = "TIME", value_parser = genkan_config::duration)]
        time: Option<Duration>,
    },
    /// Emulate the links of a lab; started by `genkan lab link`
    #[command(hide = true)]
    Wires {
        /// The lab
        name: String,
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

/// What a link is to do.
#[derive(Debug, clap::Args)]
struct LinkArguments {
    /// The link; without one all are shown
    link: Option<String>,
    /// In the lab of this name; without it the one around, or `lab`
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    change: Change,
    /// Have it do nothing again
    #[arg(long, requires = "link", conflicts_with = "Change")]
    clear: bool,
    /// IP MTU in octets, at both ends
    #[arg(long, value_name = "OCTETS", requires = "link", value_parser = clap::value_parser!(u16).range(576..))]
    mtu: Option<u16>,
    /// Shape of the answer
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, clap::Args)]
#[group(id = "Change", multiple = true, requires = "link")]
struct Change {
    /// How long a frame is under way, such as 20ms
    #[arg(long, value_name = "TIME", value_parser = lab_file::delay)]
    delay: Option<Duration>,
    /// How much more or less than that at most
    #[arg(long, value_name = "TIME", value_parser = lab_file::delay)]
    jitter: Option<Duration>,
    /// Share of frames that are lost, such as 1%
    #[arg(long, value_name = "SHARE", value_parser = lab_file::share)]
    loss: Option<u32>,
    /// Share that come twice
    #[arg(long, value_name = "SHARE", value_parser = lab_file::share)]
    duplicate: Option<u32>,
    /// Share that come after the next one
    #[arg(long, value_name = "SHARE", value_parser = lab_file::share)]
    reorder: Option<u32>,
    /// Bits per second, such as 10mbit
    #[arg(long, value_name = "RATE", value_parser = lab_file::bit_rate)]
    rate: Option<u64>,
    /// Seed of the choices: equal seeds make equal ones
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u32>,
    /// Only what this host sends, or, of a link to many, what they send
    #[arg(long, value_name = "HOST")]
    from: Option<String>,
}

impl LinkArguments {
    fn run(&self) -> Result<Exit, Failure> {
        let record = Record::read(&record::name(self.name.as_deref()))?;
        let lab = record.lab()?;
        let Change { delay, jitter, loss, duplicate, reorder, rate, seed, .. } = self.change;
        let change = Link {
            name: self.link.clone().unwrap_or_default(),
            from: self.change.from.clone(),
            delay,
            jitter,
            loss,
            duplicate,
            reorder,
            rate,
            seed,
        };
        let nothing = Link { name: change.name.clone(), from: change.from.clone(), ..Link::default() };
        if let Some(mtu) = self.mtu {
            lab.set_mtu(&wires::cable(&record.description, &change.name)?, mtu)?;
        }
        if self.clear {
            wires::clear(&record, &lab, &change.name)?;
        }
        if change != nothing {
            wires::change(&record, &lab, &change)?;
        }
        if change == nothing && self.mtu.is_none() && !self.clear {
            return wires::list(&record, &lab, self.link.as_deref(), self.format);
        }
        Ok(Exit::Done)
    }
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
        Action::Link(link) => {
            needs_root("a lab that stays")?;
            link.run()
        }
        Action::Capture { place, name, write, count, time } => {
            needs_root("a lab that stays")?;
            let record = Record::read(&record::name(name.as_deref()))?;
            capture::run(&record, place, write.as_deref(), Limits { count: *count, time: *time })
        }
        Action::Wires { name } => wires::serve(name),
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
