//! Reading ahead of time what the first packets of a batch will need: at a million sessions it is in no cache, and
//! one after the other the misses would cost more than all the work. Nothing is decided here, and a wrong guess
//! costs nothing but the reading.

use std::net::SocketAddrV4;

use super::Nat;
use super::session::SessionKey;
use crate::forward::rules::Inbound;
use crate::frame::PortId;
use crate::time::Timestamp;
use crate::wire::ipv4::Protocol;

/// The packets that are looked ahead for together.
pub(crate) const PORTION: usize = 64;

/// A packet that no session is known for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unknown {
    pub(crate) protocol: Protocol,
    pub(crate) source: SocketAddrV4,
    pub(crate) destination: SocketAddrV4,
}

/// What is known by and by of a session that may be opened.
#[derive(Clone, Copy, Debug, Default)]
struct Foreseen {
    /// Of the internal endpoint among the mappings, then of the session's other key.
    hash: u64,
    mapping: Option<u32>,
}

impl Nat {
    /// For packets from inside to the wan: their mappings, and where their inbound keys and their remotes will
    /// stand. What is returned means nothing, but has to be used for the reading to happen.
    pub(crate) fn look_ahead_outbound(&self, unknown: impl Iterator<Item = Unknown> + Clone) -> u64 {
        let mut foreseen = [Foreseen::default(); PORTION];
        let mut read = 0;
        for (packet, foreseen) in unknown.clone().zip(&mut foreseen) {
            let behavior = self.settings.mapping(*packet.source.ip());
            if let Some(wanted) =
                self.mappings.want(behavior, packet.protocol, packet.source, packet.destination)
            {
                foreseen.hash = wanted.hash();
                read ^= self.mappings.touch_index(foreseen.hash);
            }
        }
        for foreseen in &mut foreseen {
            if foreseen.hash != 0 {
                foreseen.mapping = self.mappings.candidate(foreseen.hash);
            }
        }
        // A mapping yet to be made will keep the internal port, as a rule.
        let address = self.settings.shared().first().copied();
        for (packet, foreseen) in unknown.zip(&foreseen) {
            let mapping = foreseen.mapping.and_then(|id| Some((id, self.mappings.get(id)?)));
            let external = match mapping {
                Some((_, mapping)) => Some(mapping.external),
                None => address.map(|address| SocketAddrV4::new(address, packet.source.port())),
            };
            let Some(external) = external else { continue };
            let key = SessionKey::new(PortId::WAN, packet.protocol, packet.destination, external);
            read ^= self.sessions.touch_index(self.sessions.hash(key));
            if let Some((id, mapping)) = mapping {
                read ^= self.peers.touch_index(id, *packet.destination.ip());
                read ^= u64::from(self.hosts[mapping.host].sessions);
            }
        }
        read
    }

    /// For packets from outside: where their sessions' outbound keys will stand, when a forward takes them. What is
    /// returned means nothing, but has to be used for the reading to happen.
    pub(crate) fn look_ahead_inbound(&self, now: Timestamp, unknown: impl Iterator<Item = Unknown>) -> u64 {
        unknown.fold(0, |read, packet| {
            let Unknown { protocol, source, destination } = packet;
            let (address, port) = (*destination.ip(), destination.port());
            let taken = self.forwards.inbound(now, protocol, address, port, *source.ip(), false);
            let Inbound::To { internal, .. } = taken else { return read };
            let Some(hop) = self.routes.lookup(*internal.ip()) else { return read };
            let key = SessionKey::new(hop.port, protocol, internal, source);
            read ^ self.sessions.touch_index(self.sessions.hash(key))
        })
    }
}
