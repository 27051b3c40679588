//! Reading ahead of time what the first packets of a batch will need: at a million sessions it is in no cache, and
//! one after the other the misses would cost more than all the work. What is reckoned on the way, hashes above all, is
//! kept for the packet's turn. Nothing is decided here, and a wrong guess costs nothing but the reading.

use std::net::SocketAddrV4;

use super::Nat;
use super::mapping::Wanted;
use super::session::{NONE, SessionKey, SessionTable};
use crate::forward::rules::Inbound;
use crate::frame::PortId;
use crate::link::neighbor::NeighborRef;
use crate::time::Timestamp;
use crate::wire::ipv4::Protocol;

/// A packet that no session is known for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unknown {
    pub(crate) key: SessionKey,
    /// Of the key.
    pub(crate) hash: u64,
    pub(crate) protocol: Protocol,
    pub(crate) source: SocketAddrV4,
    pub(crate) destination: SocketAddrV4,
}

/// A key with its hash.
#[derive(Clone, Copy, Debug)]
struct Hashed {
    key: SessionKey,
    hash: u64,
}

/// What is known of a first packet before its turn. All of it follows from the packet, the plan and the time of the
/// batch, or proves itself when it is used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Foreseen {
    own: Hashed,
    /// The key of the session's other direction, if it is the one that was guessed.
    other: Hashed,
    wanted: Option<Wanted>,
    inbound: Option<Inbound>,
    /// Hash of the packet's remote under this mapping, among the peers.
    peer: (u32, u64),
    /// The internal host's number, or [`NONE`].
    host: u32,
}

impl Foreseen {
    /// Nothing.
    pub(crate) const NOTHING: Foreseen = Foreseen {
        own: Hashed { key: SessionKey::BLANK, hash: 0 },
        other: Hashed { key: SessionKey::BLANK, hash: 0 },
        wanted: None,
        inbound: None,
        peer: (NONE, 0),
        host: NONE,
    };

    /// A packet of which only the key's hash is known.
    pub(crate) fn of(key: SessionKey, hash: u64) -> Foreseen {
        Foreseen { own: Hashed { key, hash }, ..Foreseen::NOTHING }
    }

    /// The hash of a key of the session that the packet opens.
    #[inline]
    pub(super) fn hash(&self, sessions: &SessionTable, key: SessionKey) -> u64 {
        match key {
            _ if key == self.own.key => self.own.hash,
            _ if key == self.other.key => self.other.hash,
            _ => sessions.hash(key),
        }
    }

    /// The mapping to ask for.
    pub(super) fn wanted(&self) -> Option<Wanted> {
        self.wanted
    }

    /// What the forwards say.
    pub(crate) fn inbound(&self) -> Option<Inbound> {
        self.inbound
    }

    /// The hash of the packet's remote among the peers of `mapping`.
    pub(super) fn peer_hash(&self, mapping: u32) -> Option<u64> {
        (self.peer.0 == mapping).then_some(self.peer.1)
    }

    /// A guess at the internal host's number.
    pub(super) fn host(&self) -> u32 {
        self.host
    }
}

/// What is foreseen of the first packets of the batch at hand, in their order; empty between batches.
#[derive(Debug, Default)]
pub(crate) struct LookAhead {
    packets: Vec<Foreseen>,
    next: usize,
}

impl LookAhead {
    /// Forgets everything: what was foreseen holds for one batch.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.packets.clear();
        self.next = 0;
    }

    /// What was foreseen of the packet with this key, whose turn it is.
    pub(crate) fn take(&mut self, key: SessionKey, hash: u64) -> Foreseen {
        let rest = &self.packets[self.next..];
        // Those before it had their session opened by an earlier packet.
        match rest.iter().position(|foreseen| foreseen.own.hash == hash && foreseen.own.key == key) {
            Some(offset) => {
                self.next += offset + 1;
                rest[offset]
            }
            None => Foreseen::of(key, hash),
        }
    }
}

impl Nat {
    /// For packets from inside to the wan: their mappings and hosts, and where their inbound keys and their remotes
    /// will stand. What is returned means nothing, but has to be used for the reading to happen.
    pub(crate) fn look_ahead_outbound(&mut self, unknown: impl Iterator<Item = Unknown> + Clone) -> u64 {
        let mut packets = std::mem::take(&mut self.ahead.packets);
        for packet in unknown.clone() {
            let behavior = self.settings.mapping(*packet.source.ip());
            let wanted = self.mappings.want(behavior, packet.protocol, packet.source, packet.destination);
            packets.push(Foreseen { wanted, ..Foreseen::of(packet.key, packet.hash) });
        }
        // Loops that do nothing but read: the CPU has then many reads under way, not only those of the two or three
        // packets whose work it can hold at a time.
        let mut read = packets.iter().fold(0, |read, foreseen| {
            read ^ foreseen.wanted.map_or(0, |wanted| self.mappings.touch_index(wanted.hash()))
        });
        // A mapping yet to be made will keep the internal port, as a rule, and have the next number.
        let address = self.settings.shared().first().copied();
        let mut next_mapping = self.mappings.upcoming();
        for (packet, foreseen) in unknown.zip(&mut packets) {
            let mapping = foreseen.wanted.and_then(|wanted| self.mappings.candidate(wanted.hash()));
            let mapping = mapping.and_then(|id| Some((id, self.mappings.get(id)?)));
            let (id, external) = match mapping {
                Some((id, mapping)) => {
                    foreseen.host = mapping.host;
                    (Some(id), Some(mapping.external))
                }
                None => {
                    foreseen.host = self.hosts.find(*packet.source.ip()).unwrap_or(NONE);
                    let external = address.map(|address| SocketAddrV4::new(address, packet.source.port()));
                    (foreseen.wanted.and_then(|_| next_mapping.next()), external)
                }
            };
            if let Some(id) = id {
                foreseen.peer = (id, self.peers.hash(id, *packet.destination.ip()));
            }
            if let Some(external) = external {
                let key = SessionKey::new(PortId::WAN, packet.protocol, packet.destination, external);
                foreseen.other = Hashed { key, hash: self.sessions.hash(key) };
            }
        }
        for foreseen in &packets {
            read ^= self.sessions.touch_index(foreseen.other.hash);
            read ^= self.peers.touch_index(foreseen.peer.1);
            read ^= self.hosts.touch(foreseen.host);
        }
        drop(next_mapping);
        self.ahead.packets = packets;
        read
    }

    /// For packets from outside: the forward that takes them, and where their sessions' outbound keys will stand. What
    /// is returned means nothing, but has to be used for the reading to happen.
    pub(crate) fn look_ahead_inbound(
        &mut self,
        now: Timestamp,
        unknown: impl Iterator<Item = Unknown> + Clone,
    ) -> u64 {
        let mut packets = std::mem::take(&mut self.ahead.packets);
        let mut read = unknown.clone().fold(0, |read, packet| {
            let Unknown { protocol, destination, .. } = packet;
            read ^ self.forwards.touch(protocol, *destination.ip(), destination.port())
        });
        for packet in unknown {
            let Unknown { protocol, source, destination, .. } = packet;
            let (address, port) = (*destination.ip(), destination.port());
            let taken = self.forwards.inbound(now, protocol, address, port, *source.ip(), false);
            let mut foreseen = Foreseen { inbound: Some(taken), ..Foreseen::of(packet.key, packet.hash) };
            if let Inbound::To { internal, .. } = taken {
                foreseen.host = self.hosts.find(*internal.ip()).unwrap_or(NONE);
                if let Some(hop) = self.routes.lookup(*internal.ip()) {
                    let key = SessionKey::new(hop.port, protocol, internal, source);
                    foreseen.other = Hashed { key, hash: self.sessions.hash(key) };
                }
            }
            packets.push(foreseen);
        }
        for foreseen in &packets {
            if let Some(Inbound::To { rule, .. }) = foreseen.inbound {
                read ^= self.sessions.touch_index(foreseen.other.hash);
                read ^= self.tally.touch(rule);
            }
        }
        self.ahead.packets = packets;
        read
    }

    /// The next hops of the internal hosts of the packets that were looked ahead for, as far as they are known.
    pub(crate) fn foreseen_hops(&self) -> impl Iterator<Item = NeighborRef> + '_ {
        self.ahead.packets.iter().filter_map(|foreseen| self.hosts.get(foreseen.host)?.hop)
    }

    /// The next hop of an internal host, if it was found before.
    pub(crate) fn hop_of(&self, host: u32) -> Option<NeighborRef> {
        self.hosts.get(host)?.hop
    }

    /// Remembers the next hop of an internal host, by the route of the plan in force.
    pub(crate) fn set_hop_of(&mut self, host: u32, hop: Option<NeighborRef>) {
        if let Some(host) = self.hosts.get_mut(host) {
            host.hop = hop;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_get_what_was_foreseen_of_them_in_turn() {
        let key = |port| {
            let [source, destination] = [port, 80].map(|port| SocketAddrV4::new([192, 0, 2, 1].into(), port));
            SessionKey::new(PortId::WAN, Protocol::UDP, source, destination)
        };
        let foreseen = |port: u16| Foreseen { host: port.into(), ..Foreseen::of(key(port), port.into()) };
        let mut ahead = LookAhead { packets: [1, 2, 2, 3].map(foreseen).to_vec(), next: 0 };
        let mut host = |port: u16| ahead.take(key(port), port.into()).host();
        assert_eq!([host(2), host(9), host(2), host(1), host(3), host(3)], [2, NONE, 2, NONE, 3, NONE]);
        ahead.clear();
        assert_eq!(ahead.take(key(1), 1).host(), NONE);
    }
}
