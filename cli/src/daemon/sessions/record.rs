//! A session as it stands in the file.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use genkan_engine::nat::saved::{Origin, SavedSession};
use genkan_engine::nat::tcp_state::TcpState;
use genkan_engine::wire::ipv4::Protocol;
use genkan_engine::{PortId, Timestamp};
use serde::{Deserialize, Serialize};

/// About 30 octets in the file. Numbers of states and origins are their places in the engine's lists: to change those
/// is to change the version of the format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    protocol: u8,
    addresses: [[u8; 4]; 3],
    ports: [u16; 3],
    inside: u8,
    outside: u8,
    origin: u8,
    tcp: u8,
    flags: u8,
    scope: Scope,
    left_millis: u64,
}

/// For which remotes the mapping holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Scope {
    NoMapping,
    Any,
    Endpoint([u8; 4], u16),
}

impl Record {
    pub(crate) fn new(session: &SavedSession) -> Record {
        let sides = [session.internal, session.external, session.remote];
        let number = |position: Option<usize>| position.map_or(u8::MAX, |position| position as u8);
        Record {
            protocol: session.protocol.0,
            addresses: sides.map(|side| side.ip().octets()),
            ports: sides.map(|side| side.port()),
            inside: session.inside.0,
            outside: session.outside.0,
            origin: number(Origin::ALL.iter().position(|origin| *origin == session.origin)),
            tcp: number(TcpState::ALL.iter().position(|state| *state == session.tcp)),
            flags: session.flags,
            scope: match session.scope {
                None => Scope::NoMapping,
                Some(scope) if scope.ip().is_unspecified() && scope.port() == 0 => Scope::Any,
                Some(scope) => Scope::Endpoint(scope.ip().octets(), scope.port()),
            },
            left_millis: u64::try_from(session.left.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// The session; `None` when a number in it stands for nothing. Nothing else is checked here.
    pub(crate) fn session(&self) -> Option<SavedSession> {
        let side = |index: usize| SocketAddrV4::new(Ipv4Addr::from(self.addresses[index]), self.ports[index]);
        Some(SavedSession {
            protocol: Protocol(self.protocol),
            internal: side(0),
            external: side(1),
            remote: side(2),
            inside: PortId(self.inside),
            outside: PortId(self.outside),
            origin: *Origin::ALL.get(usize::from(self.origin))?,
            tcp: *TcpState::ALL.get(usize::from(self.tcp))?,
            flags: self.flags,
            scope: match self.scope {
                Scope::NoMapping => None,
                Scope::Any => Some(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)),
                Scope::Endpoint(address, port) => Some(SocketAddrV4::new(address.into(), port)),
            },
            // No longer than what a timestamp holds.
            left: Duration::from_millis(self.left_millis)
                .min(Timestamp::MAX.saturating_since(Timestamp::ZERO)),
        })
    }
}
