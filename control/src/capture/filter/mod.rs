//! Which packets a capture wants: a small part of the language of libpcap.
//!
//! Read first: pcap-filter(7). What is taken here means the same there:
//!
//! ```text
//! filter    = term { ( "and" | "&&" | "or" | "||" ) term }      from left to right, none before the other
//! term      = ( "not" | "!" ) term | "(" filter ")" | primitive
//! primitive = protocol | [ protocol ] [ direction ] [ type ] value
//! protocol  = "ip" | "ip6" | "arp" | "tcp" | "udp" | "icmp"
//! direction = "src" | "dst" | "src or dst" | "src and dst"      without it: src or dst
//! type      = "host" | "net" | "port" | "portrange"             without it: host
//! ```
//!
//! A value alone after `and`, `or` or `not` is of the kind of the one before: `tcp port 80 or 443`. An empty filter
//! wants everything.
//!
//! A filter becomes a list of steps that leave their results on a stack of bits: judging a packet takes no recursion
//! and no memory.

mod facts;
mod parser;
mod words;

use std::fmt;
use std::str::FromStr;

pub use self::facts::Facts;
use genkan_engine::wire::ethernet::EtherType;
use genkan_engine::wire::ipv4::Protocol;

/// Longest filter, in characters.
pub const MAX_LENGTH: usize = 1024;

/// Most primitives of a filter, and most parentheses open at once.
pub const MAX_PRIMITIVES: usize = 64;

/// Number of the Stream Control Transmission Protocol (RFC 9260), which has ports.
const SCTP: Protocol = Protocol(132);

/// Wants some frames and not others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    steps: Vec<Step>,
}

/// One step of the judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Puts whether this is so on the stack.
    Test(Primitive),
    /// Turns the topmost round.
    Not,
    /// Both of the two topmost.
    And,
    /// Either of the two topmost.
    Or,
}

/// Which end of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
    Either,
    Both,
}

/// A protocol that has a name in filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    Ip,
    Ip6,
    Arp,
    Tcp,
    Udp,
    Icmp,
}

/// What a primitive looks at beside the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Anything,
    /// Address and mask, in host byte order.
    Net(u32, u32),
    /// From, to.
    Ports(u16, u16),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Primitive {
    protocol: Option<Named>,
    side: Side,
    what: What,
}

/// Why a text is no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at character {at}: {problem}; accepted: {accepted}")]
pub struct FilterError {
    /// The character where it begins, from 1.
    pub at: usize,
    /// How many characters it is about, at least one.
    pub len: usize,
    /// What is wrong.
    pub problem: String,
    /// What could stand there.
    pub accepted: &'static str,
}

impl FilterError {
    /// The text with the place underlined: two lines.
    pub fn pointed(&self, text: &str) -> String {
        // A tab would push the line below to another place.
        let text: String = text.chars().map(|one| if one.is_control() { ' ' } else { one }).collect();
        format!("{text}\n{}{}", " ".repeat(self.at - 1), "^".repeat(self.len))
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Filter, FilterError> {
        parser::parse(text).map(|steps| Filter { steps })
    }
}

impl Filter {
    /// Whether a frame is wanted.
    pub fn admits(&self, facts: &Facts) -> bool {
        // No filter has more results open at once than it has primitives.
        const { assert!(MAX_PRIMITIVES <= u64::BITS as usize) }
        let mut stack = 0u64;
        for step in &self.steps {
            match step {
                Step::Test(primitive) => stack = stack << 1 | u64::from(primitive.admits(facts)),
                Step::Not => stack ^= 1,
                Step::And => stack = stack >> 1 & (stack | !1),
                Step::Or => stack = stack >> 1 | (stack & 1),
            }
        }
        self.steps.is_empty() || stack & 1 != 0
    }
}

impl Primitive {
    fn admits(&self, facts: &Facts) -> bool {
        if !self.protocol.is_none_or(|protocol| protocol.is(facts)) {
            return false;
        }
        match self.what {
            What::Anything => true,
            What::Net(net, mask) => facts.addresses.is_some_and(|(source, destination)| {
                self.side.either(source & mask == net, destination & mask == net)
            }),
            What::Ports(first, last) => facts.ports.is_some_and(|(source, destination)| {
                let has_ports = matches!(facts.protocol, Some(Protocol::TCP | Protocol::UDP | SCTP));
                let within = first..=last;
                has_ports && self.side.either(within.contains(&source), within.contains(&destination))
            }),
        }
    }
}

impl Named {
    fn is(self, facts: &Facts) -> bool {
        match self {
            Named::Ip => facts.ethertype == EtherType::IPV4,
            Named::Ip6 => facts.ethertype == EtherType::IPV6,
            Named::Arp => facts.ethertype == EtherType::ARP,
            Named::Tcp => facts.protocol == Some(Protocol::TCP),
            Named::Udp => facts.protocol == Some(Protocol::UDP),
            Named::Icmp => facts.protocol == Some(Protocol::ICMP),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Named::Ip => "ip",
            Named::Ip6 => "ip6",
            Named::Arp => "arp",
            Named::Tcp => "tcp",
            Named::Udp => "udp",
            Named::Icmp => "icmp",
        }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Side {
    fn either(self, source: bool, destination: bool) -> bool {
        match self {
            Side::Source => source,
            Side::Destination => destination,
            Side::Either => source || destination,
            Side::Both => source && destination,
        }
    }
}

#[cfg(test)]
mod tests;
