//! What was found out, before anything is concluded from it.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use genkan_config::openings::State;
use genkan_control::api::{DdnsRow, DhcpRow, DnsProblem};
use genkan_control::devices::TargetDevice;
use genkan_engine::DropReason;
use genkan_engine::wire::ipv4::Protocol;
use serde::Serialize;

use super::evidence::Evidence;
use super::ports::Port;

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The router itself.
    pub(crate) router: Running,
    /// The configuration, where it was read.
    pub(crate) config: String,
    /// The devices of the ports, the wan first. None where they were not looked at.
    pub(crate) devices: Vec<Device>,
    /// The outside.
    pub(crate) wan: Wan,
    /// Addresses of the router's own that other machines use.
    pub(crate) conflicts: Vec<Conflict>,
    /// Packets and protocols of the forwards that are looked into.
    pub(crate) forwards: Vec<Forward>,
    /// How the services do; `None`: the router does not run.
    pub(crate) services: Option<Services>,
}

/// How the services of the running router do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Services {
    /// One forward is asked about: only what people may use to get there was looked at.
    pub(crate) is_of_one: bool,
    /// Services that the file asks for and the router does not have: table, position, and what is missing.
    pub(crate) missing: Vec<(&'static str, usize, String)>,
    /// Names outside.
    pub(crate) names: Vec<Name>,
    /// The DNS service; `None`: it is off.
    pub(crate) dns: Option<Dns>,
    /// The DHCP service of each lan, and the lan's position in the file.
    pub(crate) dhcp: Vec<(Option<usize>, DhcpRow)>,
}

/// A name outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    /// As the router tells.
    pub(crate) row: DdnsRow,
    /// Which `[[ddns]]` has it.
    pub(crate) entry: Option<usize>,
    /// The addresses that it has as seen from here; empty where nobody could tell.
    pub(crate) resolved: Vec<IpAddr>,
    /// Seconds since the service has acknowledged the address.
    pub(crate) age: Option<i64>,
}

/// A resolver, as it did when it was asked just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolver {
    /// As in the configuration, with its port.
    pub(crate) name: String,
    /// Whether it answers; nothing where it could not be asked.
    pub(crate) answers: Option<bool>,
    /// How long that took.
    pub(crate) after: Option<Duration>,
}

/// The DNS service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dns {
    /// The resolvers.
    pub(crate) resolvers: Vec<Resolver>,
    /// What the service says about itself.
    pub(crate) problems: Vec<DnsProblem>,
    /// The wan gets its address by DHCP, and has none.
    pub(crate) no_lease: bool,
}

/// Whether the router runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Running {
    /// It answers.
    Yes {
        /// Its sessions.
        sessions: u32,
        /// And how many there may be.
        max_sessions: u32,
    },
    /// Nobody answers at this socket.
    No {
        /// The socket.
        socket: String,
    },
}

/// A device that is, or is to be, a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    /// `wan`, or the name of the lan.
    pub(crate) label: String,
    /// Which `[[lan]]`; `None` for the wan.
    pub(crate) lan: Option<usize>,
    /// Its name.
    pub(crate) name: String,
    /// The largest IPv4 packet in octets that the configuration wants it to take.
    pub(crate) wanted_mtu: u32,
    /// What the kernel knows about it; `None`: there is none, or it is one that the router makes.
    pub(crate) link: Option<Link>,
    /// The router makes it itself.
    pub(crate) is_made: bool,
}

/// What the kernel knows about a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Link {
    /// Switched on.
    pub(crate) up: bool,
    /// The other end is there.
    pub(crate) carrier: bool,
    /// The largest IPv4 packet in octets.
    pub(crate) mtu: u32,
    /// What it is a member of.
    pub(crate) master: Option<String>,
    /// Addresses of the kernel on it.
    pub(crate) addresses: Vec<String>,
    /// Other programs than the router that take its frames: process and name. Not those that only look.
    pub(crate) holders: Vec<(u32, String)>,
    /// Large receive offload is on.
    pub(crate) large_receive: bool,
}

/// An address of the router's own that another machine uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Conflict {
    /// Which `[[lan]]` it is of, and its name; `None` for the wan.
    pub(crate) lan: Option<(usize, String)>,
    /// The address.
    pub(crate) address: Ipv4Addr,
    /// MAC address of the other machine.
    pub(crate) mac: String,
}

/// The outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wan {
    /// The external address that the walk begins at.
    pub(crate) address: Ipv4Addr,
    /// The next hop outside.
    pub(crate) gateway: Option<Ipv4Addr>,
    /// Whether that is one to be asked, and answers ARP; `None`: not known.
    pub(crate) gateway_answers: Option<bool>,
    /// Why the lease that it holds is not used.
    pub(crate) refused: Option<String>,
    /// What a DHCP server gives, and another machine on the link has.
    pub(crate) taken: Option<Ipv4Addr>,
}

/// One protocol of one forward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Forward {
    /// Its position in the file.
    pub(crate) index: usize,
    /// Its name.
    pub(crate) name: String,
    /// TCP or UDP.
    pub(crate) protocol: Protocol,
    /// Where the packet that is followed goes to.
    pub(crate) external: SocketAddrV4,
    /// And comes from.
    pub(crate) source: Ipv4Addr,
    /// Whom its `from` admits, as the file says; empty: everybody.
    pub(crate) admits: String,
    /// Where the forward leads.
    pub(crate) target: SocketAddrV4,
    /// How the file and what is in force differ about it.
    pub(crate) loading: Loading,
    /// What keeps it closed.
    pub(crate) state: State,
    /// When it opens again, in words.
    pub(crate) opens: Option<String>,
    /// Name of the `[[host]]` whose device it leads to.
    pub(crate) host: Option<String>,
    /// Where the device that it leads to is, where it leads to one.
    pub(crate) device: Option<TargetDevice>,
    /// What the rules do with the packet.
    pub(crate) ruling: Ruling,
    /// What the rules do with an answer to it.
    pub(crate) answer: Option<DropReason>,
    /// The box itself is the target, by the host TUN; whether the kernel would refuse packets by their source.
    pub(crate) to_box: Option<BoxItself>,
    /// What the running router has counted; `None`: it does not run.
    pub(crate) counts: Option<Counts>,
    /// What the target said; `None`: it was not asked.
    pub(crate) target_facts: Option<Target>,
    /// The ports of it that were looked at; what the target says is about one that answers, if one does.
    pub(crate) ports: Vec<Port>,
    /// Ports of it, outside, that another forward takes, by that one's position in the file and name.
    pub(crate) shadowed: Vec<(u16, usize, String)>,
    /// Sessions from outside; `None`: the router does not run.
    pub(crate) evidence: Option<Evidence>,
}

impl Forward {
    /// The target as people know it: one that is nowhere has a name only.
    pub(crate) fn called(&self) -> String {
        match &self.host {
            Some(host) if self.target.ip().is_unspecified() => format!("{host}:{}", self.target.port()),
            _ => self.target.to_string(),
        }
    }
}

/// Whether the file says the same as what is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loading {
    /// The same, or nobody knows.
    Same,
    /// The router does not know the forward.
    Absent,
    /// The router knows it otherwise.
    Differs,
}

/// What the rules do with a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ruling {
    /// The forward takes it.
    Takes,
    /// The forward is closed.
    Closed,
    /// Another one does: its position in the file and its name.
    Other(usize, String),
    /// The source is not admitted.
    NotFromThere,
    /// It goes to an address that is none of ours; these are.
    NotOurs(String),
    /// The forward is for this external address only.
    OtherAddress(Ipv4Addr),
    /// Inside hosts may not use external addresses.
    HairpinOff,
    /// The lan of this index may not reach the target's.
    NotReaching(usize, String),
    /// There is no way to the target; these are the networks inside.
    Outside(String),
    /// Dropped for another reason.
    Dropped(DropReason),
}

/// The box itself as a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BoxItself {
    /// Something listens there.
    pub(crate) listens: bool,
    /// The TUN.
    pub(crate) tun: String,
    /// Its answers to strangers leave by this device, which is not the TUN.
    pub(crate) answers_by: Option<String>,
    /// The TUN takes only packets of sources that are answered by it.
    pub(crate) is_strict: bool,
}

/// What a running router has counted for a forward.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Sessions now.
    pub(crate) sessions: u64,
    /// And how many there may be.
    pub(crate) max_sessions: Option<u32>,
    /// Sessions that it has admitted.
    pub(crate) hits: u64,
    /// Answers of the target.
    pub(crate) answers: u64,
    /// Where the last session came from.
    pub(crate) last_source: Option<Ipv4Addr>,
    /// Sources that `from` refused.
    pub(crate) refused: u64,
    /// The last of them.
    pub(crate) last_refused: Option<Ipv4Addr>,
    /// Who was braked lately.
    pub(crate) braked: Option<Ipv4Addr>,
    /// Packets of inside hosts to external addresses that were dropped because there is no hairpin.
    pub(crate) hairpins_refused: u64,
}

/// What the target said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    /// Whom ARP asks: the target, or the router that leads there.
    pub(crate) next_hop: Option<Ipv4Addr>,
    /// Which lan that is on.
    pub(crate) lan: String,
    /// The router's own address there.
    pub(crate) gateway: Option<Ipv4Addr>,
    /// MAC addresses that answered.
    pub(crate) macs: Vec<String>,
    /// What `[[host]]` says, and its position in the file.
    pub(crate) configured: Option<(usize, String)>,
    /// Another address at which the MAC address is that it ought to have.
    pub(crate) now_at: Option<Ipv4Addr>,
    /// The MAC address changed lately: the one of before.
    pub(crate) moved: Option<String>,
    /// The port, asked from the router's own address on the lan.
    pub(crate) near: Answer,
    /// The port, asked from an address outside.
    pub(crate) far: Answer,
    /// The same port of the other protocol, asked from the router's address.
    pub(crate) other: Answer,
    /// An echo request from the router's address.
    pub(crate) near_echo: Answer,
    /// An echo request from an address outside.
    pub(crate) far_echo: Answer,
    /// Addresses that the target asked for meanwhile, which are not the router's.
    pub(crate) asked_for: Vec<Ipv4Addr>,
    /// The target has sessions of its own by this router.
    pub(crate) goes_out: bool,
}

impl Target {
    /// The MAC address that it ought to have: as written, else as before.
    pub(crate) fn expected(&self) -> Option<&str> {
        let written = self.configured.as_ref().map(|(_, mac)| mac);
        written.or(self.moved.as_ref()).map(String::as_str)
    }
}

/// The answer to a probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Answer {
    /// Nobody asked.
    #[default]
    Unasked,
    /// Yes: a SYN-ACK, a datagram, an echo reply.
    Open,
    /// No: a reset, a port unreachable.
    Closed,
    /// Refused by an ICMP error of another kind.
    Prohibited,
    /// Nothing came.
    Silence,
}

impl Answer {
    /// Its name in JSON and in the catalogue of words.
    pub(crate) const fn id(self) -> &'static str {
        match self {
            Answer::Unasked => "unasked",
            Answer::Open => "open",
            Answer::Closed => "closed",
            Answer::Prohibited => "prohibited",
            Answer::Silence => "silence",
        }
    }

    /// Something came back.
    pub(crate) fn came(self) -> bool {
        matches!(self, Answer::Open | Answer::Closed | Answer::Prohibited)
    }
}
