//! Idle timeouts of sessions, and the floors that the RFCs set for them.

use std::time::Duration;

use crate::nat::tcp_state::TcpState;
use crate::plan::Timeouts;
use crate::wire::ipv4::Protocol;

/// RFC 4787 REQ-5: a UDP mapping must not expire in less than two minutes (well-known ports aside, REQ-5a).
pub const UDP_FLOOR: Duration = Duration::from_secs(2 * 60);
/// RFC 4787 REQ-5c: five minutes or more are recommended.
pub const UDP_DEFAULT: Duration = Duration::from_secs(5 * 60);

/// RFC 5382 REQ-5: an idle established connection must be kept at least 2 hours and 4 minutes.
pub const TCP_ESTABLISHED_FLOOR: Duration = Duration::from_secs((2 * 60 + 4) * 60);
/// The floor itself.
pub const TCP_ESTABLISHED_DEFAULT: Duration = TCP_ESTABLISHED_FLOOR;

/// RFC 5382 REQ-5: a connection that opens or closes must be kept at least four minutes.
pub const TCP_TRANSITORY_FLOOR: Duration = Duration::from_secs(4 * 60);
/// The floor itself.
pub const TCP_TRANSITORY_DEFAULT: Duration = TCP_TRANSITORY_FLOOR;

/// RFC 5508 REQ-2: an ICMP query session must not expire in less than 60 seconds.
pub const ICMP_FLOOR: Duration = Duration::from_secs(60);
/// The floor itself.
pub const ICMP_DEFAULT: Duration = ICMP_FLOOR;

/// Every other protocol; no RFC sets a floor. Ten minutes outlast the usual 20 s to 5 min keep-alive of IPsec
/// and GRE tunnels.
pub const OTHER_DEFAULT: Duration = Duration::from_secs(10 * 60);

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            udp: UDP_DEFAULT,
            tcp_established: TCP_ESTABLISHED_DEFAULT,
            tcp_transitory: TCP_TRANSITORY_DEFAULT,
            icmp: ICMP_DEFAULT,
            other: OTHER_DEFAULT,
        }
    }
}

impl Timeouts {
    /// How long a session of `protocol` may be idle. `state` is that of a TCP session; other protocols ignore
    /// it, and TCP without one counts as transitory.
    #[inline]
    pub fn for_session(&self, protocol: Protocol, state: Option<TcpState>) -> Duration {
        match protocol {
            Protocol::TCP => match state {
                Some(state) if !state.is_transitory() => self.tcp_established,
                _ => self.tcp_transitory,
            },
            Protocol::UDP => self.udp,
            Protocol::ICMP => self.icmp,
            _ => self.other,
        }
    }

    /// Every timeout that has a floor: its key in the file, its value, the floor and the requirement that sets
    /// it. A value below its floor is allowed; whoever reads the file warns with the requirement's name.
    pub fn floors(&self) -> [Floor; 4] {
        let floor = |key, value, floor, requirement| Floor { key, value, floor, requirement };
        [
            floor("udp", self.udp, UDP_FLOOR, "RFC 4787 REQ-5"),
            floor("tcp_established", self.tcp_established, TCP_ESTABLISHED_FLOOR, "RFC 5382 REQ-5"),
            floor("tcp_transitory", self.tcp_transitory, TCP_TRANSITORY_FLOOR, "RFC 5382 REQ-5"),
            floor("icmp", self.icmp, ICMP_FLOOR, "RFC 5508 REQ-2"),
        ]
    }
}

/// A timeout beside the least value that its RFC allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floor {
    /// Key under `[nat.timeouts]`.
    pub key: &'static str,
    /// What is configured.
    pub value: Duration,
    /// The least value that complies.
    pub floor: Duration,
    /// Who says so.
    pub requirement: &'static str,
}

impl Floor {
    /// Whether the configured value complies.
    pub fn is_met(&self) -> bool {
        self.value >= self.floor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_meet_every_floor() {
        assert!(Timeouts::default().floors().iter().all(Floor::is_met));
    }

    #[test]
    fn a_value_below_its_floor_names_the_requirement() {
        let short = Timeouts { udp: Duration::from_secs(119), ..Timeouts::default() };
        let broken: Vec<_> = short.floors().into_iter().filter(|floor| !floor.is_met()).collect();
        assert_eq!(broken.len(), 1);
        assert_eq!((broken[0].key, broken[0].requirement), ("udp", "RFC 4787 REQ-5"));
    }

    #[test]
    fn each_kind_of_session_has_its_own_timeout() {
        let seconds = Duration::from_secs;
        let timeouts = Timeouts {
            udp: seconds(1),
            tcp_established: seconds(2),
            tcp_transitory: seconds(3),
            icmp: seconds(4),
            other: seconds(5),
        };
        assert_eq!(timeouts.for_session(Protocol::UDP, None), seconds(1));
        for &state in TcpState::ALL {
            let expected = match state {
                TcpState::Established | TcpState::OutboundFin | TcpState::InboundFin => seconds(2),
                _ => seconds(3),
            };
            assert_eq!(timeouts.for_session(Protocol::TCP, Some(state)), expected, "{state:?}");
        }
        assert_eq!(timeouts.for_session(Protocol::TCP, None), seconds(3));
        assert_eq!(timeouts.for_session(Protocol::ICMP, None), seconds(4));
        assert_eq!(timeouts.for_session(Protocol::ESP, None), seconds(5));
    }
}
