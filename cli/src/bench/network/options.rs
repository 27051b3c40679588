//! What can be chosen for a run on networks, and what is said about the choice.

use std::io;

use clap::ValueEnum;
use genkan_lab::Sandbox;
use nix::unistd::geteuid;

use super::conntrack::{self, Raised};
use super::contender::{Backend, Contender};
use super::metric::Test;
use super::program;
use super::run::Plan;
use crate::bench::Turns;
use crate::output;

/// What the kernel may track when its limit was raised: two tables of a million, and room.
const RAISED: u64 = 2_097_152;

/// Sessions for the tests with many of them when nothing else bounds them.
const UNBOUNDED: u64 = 1_000_000;

/// Choices for measurements on networks.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// What to measure [default: everything]
    #[arg(long, value_name = "LIST", value_enum, value_delimiter = ',')]
    metrics: Vec<Test>,
    /// Who takes part
    #[arg(
        long,
        value_name = "LIST",
        value_enum,
        value_delimiter = ',',
        default_value = "genkan,kernel,kernel-tuned"
    )]
    contenders: Vec<Who>,
    /// How Genkan moves frames; each is a contender of its own
    #[arg(long, value_name = "LIST", value_enum, value_delimiter = ',', default_value = "af-packet")]
    backend: Vec<How>,
    /// Leave out the kernel with GRO on its ports
    #[arg(long)]
    no_tuned: bool,
    /// As root: let the kernel track two million connections while it is measured, on the whole machine
    #[arg(long)]
    raise_conntrack: bool,
}

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Who {
    /// Genkan, once for each --backend
    Genkan,
    /// The kernel's NAT (nftables) as it is by default
    Kernel,
    /// The same with GRO for TCP and UDP on its ports
    KernelTuned,
}

/// How Genkan moves frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum How {
    /// Packet sockets on veth devices
    AfPacket,
    /// TAP devices, which the hosts have in place of veth devices
    Tap,
    /// AF_XDP sockets on veth devices
    AfXdp,
    /// All of these
    All,
}

impl Options {
    /// Raises the kernel's limit, if that is wanted; to be called outside of the private namespaces.
    pub(crate) fn raise_limits(&self) -> Option<Raised> {
        if !self.raise_conntrack || Sandbox::is_inside() {
            return None;
        }
        let raised = match geteuid().is_root() {
            true => Raised::to(RAISED),
            false => Err(io::ErrorKind::PermissionDenied.into()),
        };
        raised
            .inspect_err(|_| {
                output::remark("warning: the kernel's limit of tracked connections stays as it is")
            })
            .ok()
    }

    /// What is to be done.
    pub(crate) fn plan(&self, turns: &Turns) -> Plan {
        let tests = match self.metrics.as_slice() {
            [] => Test::value_variants(),
            some => some,
        };
        let contenders = self.contenders();
        let sessions = match conntrack::usable() {
            Some(usable) if contenders.iter().any(|contender| contender.is_kernel()) => usable,
            _ => UNBOUNDED,
        };
        let (rounds, length) = (turns.rounds(), turns.length_on_networks());
        Plan { tests: tests.to_vec(), contenders, rounds, length, sessions }
    }

    fn contenders(&self) -> Vec<Contender> {
        let mut contenders = Vec::new();
        let mut add = |contender| {
            if !contenders.contains(&contender) {
                contenders.push(contender);
            }
        };
        for who in &self.contenders {
            match who {
                Who::Kernel => add(Contender::Kernel),
                Who::KernelTuned if self.no_tuned => {}
                Who::KernelTuned => add(Contender::KernelTuned),
                Who::Genkan => {
                    for how in &self.backend {
                        match how {
                            How::AfPacket => add(Contender::Genkan(Backend::AfPacket)),
                            How::Tap => add(Contender::Genkan(Backend::Tap)),
                            How::AfXdp => add(Contender::Genkan(Backend::AfXdp)),
                            How::All => [Backend::AfPacket, Backend::Tap, Backend::AfXdp]
                                .into_iter()
                                .for_each(|backend| add(Contender::Genkan(backend))),
                        }
                    }
                }
            }
        }
        contenders
    }

    /// Where it is measured.
    pub(crate) fn place() -> &'static str {
        // Inside of a user namespace everybody is root; only the map of users tells.
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let whole = map.split_ascii_whitespace().eq(["0", "0", "4294967295"]);
        if whole { "private network namespaces, as root" } else { "private network namespaces, without root" }
    }
}

impl Plan {
    /// The choice in words, and every limit that was raised for it.
    pub(crate) fn settings(&self) -> Vec<(String, String)> {
        let mut settings = vec![
            ("rounds".to_owned(), self.rounds.to_string()),
            ("seconds of each measurement".to_owned(), self.length.as_secs().to_string()),
        ];
        let tcp = [Test::Tcp1, Test::Tcp4, Test::Tcp1in, Test::Tcp1off];
        if self.tests.iter().any(|test| tcp.contains(test)) {
            let sender = if program::is_there("iperf3") { "iperf3" } else { "threads of genkan bench" };
            settings.push(("TCP".to_owned(), format!("{sender}, cubic")));
        }
        if let Some(sessions) = self.tests.iter().find_map(|test| test.sessions(self.sessions)) {
            let grouped = output::grouped(sessions);
            settings.push(("sessions of newflows and sessions1m".to_owned(), grouped.clone()));
            let room = output::grouped(super::run::room_for(sessions));
            settings.push(("Genkan's max_sessions in these".to_owned(), room));
            settings.push(("the kernel's nf_conntrack_udp_timeout in these".to_owned(), "300 s".to_owned()));
        }
        settings
    }

    /// What a reader has to know about the choice.
    pub(crate) fn notes(&self) -> Vec<String> {
        let many = self.tests.iter().find_map(|test| test.sessions(self.sessions));
        let few = many.filter(|sessions| *sessions < UNBOUNDED).map(|sessions| {
            format!(
                "newflows and sessions1m use {} sessions instead of a million: this machine's kernel tracks no more \
                 with room to spare (nf_conntrack_max), which root can change with --raise-conntrack.",
                output::grouped(sessions)
            )
        });
        let slow = cfg!(debug_assertions).then(|| {
            "This is a debug build of Genkan: build it with --release to learn how fast it is.".to_owned()
        });
        slow.into_iter().chain(few).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
        #[command(flatten)]
        turns: Turns,
    }

    fn parse(line: &str) -> Line {
        Line::parse_from(["bench"].into_iter().chain(line.split_ascii_whitespace()))
    }

    #[test]
    fn contenders_are_chosen() {
        let names = |line| parse(line).options.contenders().iter().map(|it| it.name()).collect::<Vec<_>>();
        assert_eq!(names(""), ["genkan", "kernel", "kernel tuned"]);
        assert_eq!(names("--no-tuned --backend tap,af-packet"), ["genkan tap", "genkan", "kernel"]);
        assert_eq!(
            names("--contenders kernel,genkan --backend all,tap"),
            ["kernel", "genkan", "genkan tap", "genkan af-xdp"]
        );
    }

    #[test]
    fn quick_gives_way_to_what_is_said() {
        let turns = |line| {
            let line = parse(line);
            let plan = line.options.plan(&line.turns);
            (plan.rounds, plan.length.as_secs())
        };
        assert_eq!(turns(""), (5, 3));
        assert_eq!(turns("--quick"), (2, 1));
        assert_eq!(turns("--quick --rounds 3"), (3, 1));
        assert_eq!(turns("--quick --seconds 4"), (2, 4));
    }
}
