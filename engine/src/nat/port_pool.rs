//! External ports of one external address and one protocol: who may have which, and when again.
//!
//! Read first: RFC 4787 §4.2 (port assignment), RFC 6056 (why ports are random), RFC 7857 §5 (port randomization).
//!
//! A port is in one of these conditions, each kept as one bit per port:
//! - *owned*: allocated to a mapping, or claimed by a forward in use. It has exactly one owner (no overloading);
//! - *resting*: its last owner has gone. For [`REST`] it is given only back to the host that had it, so that
//!   packets still under way for that host do not reach another one;
//! - *closed*: what opened it to the world was taken away. Until a time set by the caller nobody gets it, the old
//!   host included, or its next outbound datagram would open it again;
//! - free otherwise.
//!
//! Besides, a port may be *reserved* (forwards, the router's own services): then it is never handed out, but it
//! can be claimed.
//!
//! In a team of several workers each has a pool of its own for the same ports. What this one knows of a port is what
//! became of it here; who has it is decided in [`PortOwners`], which this one lays claim to.

mod bitmap;
mod excerpt;

pub(crate) use excerpt::PortsExcerpt;

use std::net::Ipv4Addr;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::time::Duration;

use self::bitmap::{Bitmap, WORDS, bits};
use crate::frame::PortId;
use crate::rng::Rng;
use crate::team::{AddressOwners, PortOwners, WorkerId};
use crate::time::Timestamp;

/// How long a released port is kept from other hosts: the maximum segment lifetime that RFC 9293 assumes, after
/// which no packet of the old owner is under way any more.
pub const REST: Duration = Duration::from_secs(120);

/// Candidates that one allocation lays claim to. More than one is wanted only where other workers are faster.
const CLAIMS: usize = 64;

const PORTS: usize = 1 << 16;

/// Ends of rest that one allocation looks at. More than one, so that the list shrinks under load; few, so that a
/// call stays short.
const EXPIRY_PORTION: usize = 16;

/// "No port" in a link; ports are stored plus one, so that fresh zeroed memory is an empty list.
const NONE: u32 = 0;
const NEXT: usize = 0;
const PREVIOUS: usize = 1;
/// Who had the port that rests.
const HOST: usize = 2;

/// The ports of one external address and protocol. ICMP query identifiers count as ports.
///
/// Memory: 32 KiB at once, and 20 octets per port ever released, up to 1.25 MiB.
///
/// No call takes more than a walk over the bitmaps (1024 words), except the first one after closed ports
/// come free, which looks at each of them once.
#[derive(Debug)]
pub struct PortPool {
    first: u16,
    last: u16,
    owned: Bitmap,
    reserved: Bitmap,
    resting: Bitmap,
    closed: Bitmap,
    /// Nanoseconds at which a resting or closed port comes free.
    until: Vec<u64>,
    /// `[NEXT, PREVIOUS, HOST]`: the resting ports in the order of their release.
    links: Vec<[u32; 3]>,
    oldest: u32,
    newest: u32,
    /// No closed port comes free before.
    next_reopening: Timestamp,
    claims: Option<Claims>,
}

/// One worker's hold on the ports that several share.
#[derive(Clone, Debug)]
pub(crate) struct Claims {
    owners: Arc<AddressOwners>,
    /// Which protocol's.
    pool: usize,
    worker: WorkerId,
    /// The last request of another worker that was looked into.
    seen: u32,
}

impl Claims {
    pub(crate) fn new(owners: Arc<AddressOwners>, pool: usize, worker: WorkerId) -> Claims {
        let seen = owners[pool].requests();
        Claims { owners, pool, worker, seen }
    }

    pub(crate) fn ports(&self) -> &PortOwners {
        &self.owners[self.pool]
    }
}

impl PortPool {
    /// A pool that hands out ports of `range`, all of them free. Ports outside of it can only be claimed.
    pub fn new(range: RangeInclusive<u16>) -> PortPool {
        PortPool {
            first: *range.start(),
            last: *range.end(),
            owned: Bitmap::new(),
            reserved: Bitmap::new(),
            resting: Bitmap::new(),
            closed: Bitmap::new(),
            until: vec![0; PORTS],
            links: vec![[0; 3]; PORTS],
            oldest: NONE,
            newest: NONE,
            next_reopening: Timestamp::MAX,
            claims: None,
        }
    }

    /// As [`PortPool::new`], of ports that other workers hand out as well.
    pub(crate) fn shared(range: RangeInclusive<u16>, claims: Claims) -> PortPool {
        let mut pool = PortPool::new(range);
        pool.claims = Some(claims);
        pool
    }

    /// Who has the ports, where several workers share them.
    pub(crate) fn claims(&self) -> Option<&Claims> {
        self.claims.as_ref()
    }

    /// Whether another worker has asked for a port since [`PortPool::take_request`].
    pub(crate) fn is_asked(&self) -> bool {
        self.claims.as_ref().is_some_and(|claims| claims.ports().requests() != claims.seen)
    }

    /// Whether there is a request that this worker has not looked into.
    pub(crate) fn take_request(&mut self) -> bool {
        let Some(claims) = &mut self.claims else { return false };
        let requests = claims.ports().requests();
        std::mem::replace(&mut claims.seen, requests) != requests
    }

    /// Tells the other workers where the host is that owns `port`.
    pub(crate) fn set_inside(&self, port: u16, inside: PortId) {
        if let Some(claims) = &self.claims {
            claims.ports().set_inside(port, claims.worker, inside);
        }
    }

    /// Replaces the set of reserved ports. A port that is owned stays so until it is released.
    pub fn set_reserved(&mut self, ports: impl Iterator<Item = u16>) {
        self.reserved = Bitmap::new();
        for port in ports {
            self.reserved.set(port);
            // Reserved ports would stand in the way when the port that rests longest is looked for.
            self.end_rest(port);
        }
    }

    /// Changes the range that ports are handed out from. Ports that are owned stay so until they are released.
    pub fn set_range(&mut self, range: RangeInclusive<u16>) {
        (self.first, self.last) = (*range.start(), *range.end());
        for port in self.resting.iter() {
            if !self.in_range(port) {
                self.end_rest(port);
            }
        }
    }

    /// Gives `host` a port, its owner until [`PortPool::release`]:
    /// 1. `preferred`, the internal port (RFC 4787 §4.2.1 port preservation), where it is in the range and free,
    ///    or rests after this same host;
    /// 2. otherwise the first free port from a random one on (RFC 6056 §3.3.1); with `keep_parity` an even
    ///    one for an even preferred port and an odd one for an odd (RFC 4787 REQ-4), as far as there is one;
    /// 3. when nothing else is left, the port that rests longest, here or else at another worker.
    ///
    /// `None` when every port is owned, reserved or closed.
    pub fn allocate(
        &mut self,
        now: Timestamp,
        preferred: u16,
        host: Ipv4Addr,
        keep_parity: bool,
        rng: &mut Rng,
    ) -> Option<u16> {
        self.expire(now);
        let port = if self.may_have(now, preferred, host) && self.lay_claim(preferred) {
            preferred
        } else {
            self.random(preferred, keep_parity, rng)
                .or_else(|| self.longest_resting())
                .or_else(|| self.take_resting(rng))?
        };
        self.end_rest(port);
        self.owned.set(port);
        Some(port)
    }

    /// As [`PortPool::allocate`], but any other port than `avoided`.
    pub fn allocate_other(
        &mut self,
        avoided: u16,
        now: Timestamp,
        preferred: u16,
        host: Ipv4Addr,
        keep_parity: bool,
        rng: &mut Rng,
    ) -> Option<u16> {
        let is_spared = !self.owned.contains(avoided);
        self.owned.set(avoided);
        let port = self.allocate(now, preferred, host, keep_parity, rng);
        if is_spared {
            self.owned.clear(avoided);
        }
        port
    }

    /// Takes one certain port, reserved, resting or outside of the range as it may be, for a static mapping.
    /// Says `false` when it has an owner. A rest or closure of it ends.
    pub fn claim(&mut self, port: u16) -> bool {
        if self.owned.contains(port) || !self.lay_claim(port) {
            return false;
        }
        self.end_rest(port);
        self.closed.clear(port);
        self.owned.set(port);
        true
    }

    /// Ends the ownership of `port`, which then rests for [`REST`] for everybody but `host`, the one that had it.
    /// Nothing happens when it has no owner. A reserved port and one outside of the range do not rest, since
    /// nobody else can get them.
    pub fn release(&mut self, now: Timestamp, port: u16, host: Ipv4Addr) {
        if !self.owned.contains(port) {
            return;
        }
        self.owned.clear(port);
        let rests = self.in_range(port) && !self.reserved.contains(port);
        if let Some(claims) = &self.claims {
            if rests {
                claims.ports().rest(port, claims.worker);
            } else {
                claims.ports().free(port, claims.worker);
            }
        }
        if rests {
            self.resting.set(port);
            self.until[port as usize] = (now + REST).as_nanos();
            self.append(port, host);
        }
    }

    /// Closes `port` for everybody until a time. Whoever owned it does so no longer.
    pub fn rest_for_all(&mut self, port: u16, until: Timestamp) {
        self.owned.clear(port);
        self.end_rest(port);
        self.closed.set(port);
        if let Some(claims) = &self.claims {
            claims.ports().close(port, claims.worker);
        }
        self.until[port as usize] = until.as_nanos();
        self.next_reopening = self.next_reopening.min(until);
    }

    /// Whether `port` is closed for everybody.
    #[inline]
    pub fn is_resting_for_all(&self, now: Timestamp, port: u16) -> bool {
        self.closed.contains(port) && self.until[port as usize] > now.as_nanos()
    }

    /// Whether `port` has an owner.
    pub fn is_owned(&self, port: u16) -> bool {
        self.owned.contains(port)
    }

    /// All ports that have an owner.
    #[cfg(test)]
    pub(crate) fn owned(&self) -> Vec<u16> {
        self.owned.iter().collect()
    }

    /// How many allocations would succeed now, one after the other. Ports that rest count, since they are
    /// given away when nothing else is left.
    pub fn free(&self, now: Timestamp) -> u32 {
        let mut free = 0;
        for word in self.words() {
            let closed = self.closed.0[word];
            let still_closed = bits(closed)
                .filter(|bit| self.until[word * 64 + *bit as usize] > now.as_nanos())
                .fold(0, |mask, bit| mask | 1 << bit);
            let taken = self.owned.0[word] | self.reserved.0[word] | still_closed;
            free += (!taken & self.range_mask(word)).count_ones();
        }
        free
    }

    fn in_range(&self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    fn may_have(&self, now: Timestamp, port: u16, host: Ipv4Addr) -> bool {
        self.in_range(port)
            && !self.owned.contains(port)
            && !self.reserved.contains(port)
            && !self.closed.contains(port)
            && (!self.resting.contains(port)
                || self.until[port as usize] <= now.as_nanos()
                || self.links[port as usize][HOST] == host.to_bits())
    }

    /// Makes sure that no other worker has or gets `port`.
    fn lay_claim(&self, port: u16) -> bool {
        self.claims.as_ref().is_none_or(|claims| claims.ports().claim(port, claims.worker))
    }

    /// The port that rests longest here. Only one that is to be avoided rests and has an owner.
    fn longest_resting(&mut self) -> Option<u16> {
        for _ in 0..CLAIMS {
            let link = |port: u32| port.checked_sub(1).map(|port| port as u16);
            let port =
                std::iter::successors(link(self.oldest), |&port| link(self.links[port as usize][NEXT]))
                    .find(|&port| !self.owned.contains(port))?;
            if self.lay_claim(port) {
                return Some(port);
            }
            // Another worker has taken it.
            self.end_rest(port);
        }
        None
    }

    /// A port that rests at another worker.
    fn take_resting(&self, rng: &mut Rng) -> Option<u16> {
        let claims = self.claims.as_ref().filter(|_| self.first <= self.last)?;
        let words = self.last as usize / 64 - self.first as usize / 64 + 1;
        let start = rng.below(words as u32) as usize;
        let mut claimed = 0;
        for step in 0..words {
            let word = self.first as usize / 64 + (start + step) % words;
            let local =
                self.owned.0[word] | self.reserved.0[word] | self.closed.0[word] | self.resting.0[word];
            for bit in bits(claims.ports().resting(word) & !local & self.range_mask(word)) {
                let port = (word * 64) as u16 + bit;
                if claims.ports().take(port, claims.worker) {
                    return Some(port);
                }
                claimed += 1;
                if claimed == CLAIMS {
                    return None;
                }
            }
        }
        None
    }

    /// The first free port from a random one on, round the range.
    fn random(&self, preferred: u16, keep_parity: bool, rng: &mut Rng) -> Option<u16> {
        if self.first > self.last {
            return None;
        }
        let start = self.first + rng.below(u32::from(self.last - self.first) + 1) as u16;
        const EVEN: u64 = 0x5555_5555_5555_5555;
        let same_parity = if preferred.is_multiple_of(2) { EVEN } else { !EVEN };
        let wanted = if keep_parity { same_parity } else { u64::MAX };
        self.first_claimed(start, wanted)
            .or_else(|| if keep_parity { self.first_claimed(start, u64::MAX) } else { None })
    }

    /// The first of the free ports that is to be had.
    fn first_claimed(&self, mut start: u16, wanted: u64) -> Option<u16> {
        for _ in 0..CLAIMS {
            let port = self.first_free(start, wanted)?;
            if self.lay_claim(port) {
                return Some(port);
            }
            start = if port < self.last { port + 1 } else { self.first };
        }
        None
    }

    /// The first free port among the bits of `wanted` in each word, from `start` on and round.
    fn first_free(&self, start: u16, wanted: u64) -> Option<u16> {
        let word = start as usize / 64;
        let from_start = u64::MAX << (start % 64);
        self.first_free_in(word..word + 1, wanted & from_start)
            .or_else(|| self.first_free_in(word + 1..self.last as usize / 64 + 1, wanted))
            .or_else(|| self.first_free_in(self.first as usize / 64..word, wanted))
            .or_else(|| self.first_free_in(word..word + 1, wanted & !from_start))
    }

    fn first_free_in(&self, words: Range<usize>, wanted: u64) -> Option<u16> {
        let (owned, reserved) = (&self.owned.0[words.clone()], &self.reserved.0[words.clone()]);
        let (resting, closed) = (&self.resting.0[words.clone()], &self.closed.0[words.clone()]);
        let taken = owned.iter().zip(reserved).zip(resting).zip(closed);
        words.zip(taken).find_map(|(word, (((owned, reserved), resting), closed))| {
            let free = !(owned | reserved | resting | closed) & wanted;
            if free == 0 {
                return None;
            }
            let elsewhere = self.claims.as_ref().map_or(0, |claims| claims.ports().held(word));
            let free = free & !elsewhere & self.range_mask(word);
            (free != 0).then(|| (word * 64) as u16 + free.trailing_zeros() as u16)
        })
    }

    /// The words that hold bits of the range.
    fn words(&self) -> RangeInclusive<usize> {
        if self.first > self.last {
            RangeInclusive::new(1, 0)
        } else {
            self.first as usize / 64..=self.last as usize / 64
        }
    }

    /// Which bits of a word are in the range.
    fn range_mask(&self, word: usize) -> u64 {
        let mut mask = u64::MAX;
        if word == self.first as usize / 64 {
            mask &= u64::MAX << (self.first % 64);
        }
        if word == self.last as usize / 64 {
            mask &= u64::MAX >> (63 - self.last % 64);
        }
        mask
    }

    /// When the next port comes free that this worker keeps from others; `None` where there are no others.
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.claims.as_ref()?;
        let rest = self.oldest.checked_sub(1).map(|port| Timestamp::from_nanos(self.until[port as usize]));
        let closure = Some(self.next_reopening).filter(|&at| at < Timestamp::MAX);
        rest.into_iter().chain(closure).min()
    }

    /// Frees a few ports that have rested long enough, and all closed ones whose time has come.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        for _ in 0..EXPIRY_PORTION {
            let Some(port) = self.oldest.checked_sub(1) else { break };
            if self.until[port as usize] > now.as_nanos() {
                break;
            }
            self.end_rest(port as u16);
        }
        if now >= self.next_reopening {
            self.reopen(now);
        }
    }

    fn reopen(&mut self, now: Timestamp) {
        let mut next = u64::MAX;
        for word in 0..WORDS {
            for bit in bits(self.closed.0[word]) {
                let until = self.until[word * 64 + bit as usize];
                if until <= now.as_nanos() {
                    self.closed.0[word] &= !(1 << bit);
                    if let Some(claims) = &self.claims {
                        claims.ports().free((word * 64) as u16 + bit, claims.worker);
                    }
                } else {
                    next = next.min(until);
                }
            }
        }
        self.next_reopening = Timestamp::from_nanos(next);
    }

    fn append(&mut self, port: u16, host: Ipv4Addr) {
        self.links[port as usize] = [NONE, self.newest, host.to_bits()];
        match self.newest {
            NONE => self.oldest = u32::from(port) + 1,
            newest => self.links[newest as usize - 1][NEXT] = u32::from(port) + 1,
        }
        self.newest = u32::from(port) + 1;
    }

    /// Takes `port` off the list of resting ones, if it is there.
    fn end_rest(&mut self, port: u16) {
        if !self.resting.contains(port) {
            return;
        }
        self.resting.clear(port);
        if let Some(claims) = &self.claims {
            claims.ports().end_rest(port, claims.worker);
        }
        let [next, previous, _] = self.links[port as usize];
        match previous {
            NONE => self.oldest = next,
            previous => self.links[previous as usize - 1][NEXT] = next,
        }
        match next {
            NONE => self.newest = previous,
            next => self.links[next as usize - 1][PREVIOUS] = previous,
        }
    }
}

impl Drop for PortPool {
    /// The ports of an address that a plan takes away are nobody's.
    fn drop(&mut self) {
        let Some(claims) = &self.claims else { return };
        for port in self.owned.iter().chain(self.resting.iter()).chain(self.closed.iter()) {
            claims.ports().free(port, claims.worker);
        }
    }
}

#[cfg(test)]
mod tests;
