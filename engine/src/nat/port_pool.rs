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

use std::net::Ipv4Addr;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::time::Duration;

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
const WORDS: usize = PORTS / 64;

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

/// One bit per port.
#[derive(Debug)]
struct Bitmap(Box<[u64]>);

impl Bitmap {
    fn new() -> Bitmap {
        Bitmap(vec![0; WORDS].into_boxed_slice())
    }

    fn contains(&self, port: u16) -> bool {
        self.0[port as usize / 64] & 1 << (port % 64) != 0
    }

    fn set(&mut self, port: u16) {
        self.0[port as usize / 64] |= 1 << (port % 64);
    }

    fn clear(&mut self, port: u16) {
        self.0[port as usize / 64] &= !(1 << (port % 64));
    }

    fn iter(&self) -> std::vec::IntoIter<u16> {
        let ports = self.0.iter().enumerate();
        let ports = ports.flat_map(|(word, &set)| bits(set).map(move |bit| (word * 64) as u16 + bit));
        ports.collect::<Vec<_>>().into_iter()
    }
}

/// The positions of the set bits.
fn bits(mut word: u64) -> impl Iterator<Item = u16> {
    std::iter::from_fn(move || {
        let bit = (word != 0).then(|| word.trailing_zeros() as u16)?;
        word &= word - 1;
        Some(bit)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;
    use crate::rng::Rng;

    const A: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 10);
    const B: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 11);

    fn secs(seconds: u64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    fn pool() -> (PortPool, Rng) {
        (PortPool::new(1024..=65535), Rng::new(7))
    }

    #[test]
    fn keeps_the_internal_port_when_it_is_free() {
        let (mut pool, mut rng) = pool();
        assert_eq!(pool.allocate(secs(0), 40_000, A, false, &mut rng), Some(40_000));
        let other = pool.allocate(secs(0), 40_000, B, false, &mut rng).expect("room");
        assert_ne!(other, 40_000);
    }

    #[test]
    fn well_known_internal_ports_are_not_kept() {
        let (mut pool, mut rng) = pool();
        for preferred in [0, 80, 1023] {
            assert!(pool.allocate(secs(0), preferred, A, false, &mut rng).expect("room") >= 1024);
        }
        assert_eq!(pool.allocate(secs(0), 1024, A, false, &mut rng), Some(1024));
    }

    #[test]
    fn icmp_identifiers_use_the_whole_range() {
        let (mut pool, mut rng) = (PortPool::new(0..=65535), Rng::new(1));
        assert_eq!(pool.free(secs(0)), 65_536);
        assert_eq!(pool.allocate(secs(0), 0, A, false, &mut rng), Some(0));
        assert_eq!(pool.allocate(secs(0), 65_535, A, false, &mut rng), Some(65_535));
        assert_eq!(pool.free(secs(0)), 65_534);
    }

    #[test]
    fn reserved_ports_are_never_handed_out_but_can_be_claimed() {
        let (mut pool, mut rng) = (PortPool::new(2000..=2009), Rng::new(1));
        pool.set_reserved((2000..=2008).chain([80]));
        assert_eq!(pool.allocate(secs(0), 2003, A, false, &mut rng), Some(2009));
        assert_eq!(pool.allocate(secs(0), 2003, A, false, &mut rng), None);
        assert!(pool.claim(2003));
        assert!(!pool.claim(2003));
        assert!(pool.claim(80));
        pool.release(secs(0), 2003, A);
        assert!(pool.claim(2003));
        pool.release(secs(0), 2003, A);
        pool.set_reserved(std::iter::empty());
        assert_eq!(pool.allocate(secs(0), 2003, B, false, &mut rng), Some(2003));
        assert_eq!(pool.free(secs(0)), 8);
    }

    #[test]
    fn an_avoided_port_is_left_alone() {
        let (mut pool, mut rng) = (PortPool::new(3000..=3001), Rng::new(1));
        let other =
            |pool: &mut PortPool, rng: &mut Rng| pool.allocate_other(3000, secs(0), 3000, A, false, rng);
        assert_eq!(other(&mut pool, &mut rng), Some(3001));
        assert_eq!(other(&mut pool, &mut rng), None);
        assert_eq!(pool.allocate(secs(0), 3000, A, false, &mut rng), Some(3000));
        pool.release(secs(0), 3000, A);
        assert_eq!(other(&mut pool, &mut rng), None);
        pool.release(secs(1), 3001, A);
        assert_eq!(other(&mut pool, &mut rng), Some(3001), "it rests less long, but is another");
        assert_ne!(pool.allocate(secs(0), 3000, B, false, &mut rng), None, "it is the last one");
        assert!(pool.is_owned(3000));
    }

    #[test]
    fn a_released_port_rests_for_others_and_not_for_its_host() {
        let (mut pool, mut rng) = pool();
        assert_eq!(pool.allocate(secs(0), 5000, A, false, &mut rng), Some(5000));
        pool.release(secs(10), 5000, A);
        assert_ne!(pool.allocate(secs(11), 5000, B, false, &mut rng), Some(5000));
        assert_eq!(pool.allocate(secs(11), 5000, A, false, &mut rng), Some(5000));
        pool.release(secs(20), 5000, A);
        let just_before = Timestamp::from_nanos(secs(140).as_nanos() - 1);
        assert_ne!(pool.allocate(just_before, 5000, B, false, &mut rng), Some(5000));
        assert_eq!(pool.allocate(secs(140), 5000, B, false, &mut rng), Some(5000));
    }

    #[test]
    fn the_port_that_rests_longest_goes_first_when_nothing_else_is_left() {
        let (mut pool, mut rng) = (PortPool::new(3000..=3003), Rng::new(1));
        for port in 3000..=3003 {
            assert_eq!(pool.allocate(secs(0), port, A, false, &mut rng), Some(port));
        }
        for (second, port) in [(1, 3002), (2, 3000), (3, 3003)] {
            pool.release(secs(second), port, A);
        }
        assert_eq!(pool.free(secs(4)), 3);
        for expected in [3002, 3000, 3003] {
            assert_eq!(pool.allocate(secs(4), 9, B, false, &mut rng), Some(expected));
        }
        assert_eq!(pool.allocate(secs(4), 9, B, false, &mut rng), None);
    }

    #[test]
    fn a_closed_port_is_nobodys_until_its_time() {
        let (mut pool, mut rng) = (PortPool::new(3000..=3001), Rng::new(1));
        assert!(pool.claim(3000));
        pool.rest_for_all(3000, secs(300));
        pool.release(secs(0), 3000, A); // the owner is gone already
        let just_before = Timestamp::from_nanos(secs(300).as_nanos() - 1);
        assert!(pool.is_resting_for_all(just_before, 3000));
        assert!(!pool.is_resting_for_all(just_before, 3001));
        assert_eq!(pool.free(just_before), 1);
        assert_eq!(pool.allocate(just_before, 3000, A, false, &mut rng), Some(3001));
        assert_eq!(pool.allocate(just_before, 3000, A, false, &mut rng), None);
        assert!(!pool.is_resting_for_all(secs(300), 3000));
        assert_eq!(pool.free(secs(300)), 1);
        assert_eq!(pool.allocate(secs(300), 3000, B, false, &mut rng), Some(3000));
    }

    #[test]
    fn claiming_reopens_a_closed_port() {
        let (mut pool, _) = pool();
        pool.rest_for_all(80, secs(300));
        assert!(pool.is_resting_for_all(secs(1), 80));
        assert!(pool.claim(80));
        assert!(!pool.is_resting_for_all(secs(1), 80));
    }

    #[test]
    fn parity_is_kept_while_there_is_a_port_of_it() {
        let (mut pool, mut rng) = (PortPool::new(3001..=3010), Rng::new(3));
        let odd: HashSet<_> = (0..5).filter_map(|_| pool.allocate(secs(0), 7, A, true, &mut rng)).collect();
        assert_eq!(odd, HashSet::from([3001, 3003, 3005, 3007, 3009]));
        assert_eq!(pool.allocate(secs(0), 7, A, true, &mut rng).map(|port| port % 2), Some(0));
    }

    #[test]
    fn every_port_of_the_range_is_found_from_any_start() {
        for range in [1024..=65535, 0..=65535, 63..=64, 100..=100, 127..=300] {
            let mut pool = PortPool::new(range.clone());
            let mut rng = Rng::new(11);
            let preferred = if *range.start() == 0 { 0 } else { 1 };
            let size = range.len() as u32;
            let got: HashSet<_> =
                std::iter::from_fn(|| pool.allocate(secs(0), preferred, A, false, &mut rng)).collect();
            assert_eq!(got.len() as u32, size);
            assert!(got.iter().all(|port| range.contains(port)));
            assert_eq!(pool.free(secs(0)), 0);
        }
    }

    #[test]
    fn random_ports_spread_over_the_range() {
        let (mut pool, mut rng) = pool();
        let ports: Vec<u16> =
            (0..1000).filter_map(|_| pool.allocate(secs(0), 1, A, false, &mut rng)).collect();
        let low = ports.iter().filter(|&&port| port < 33_280).count();
        assert!((400..600).contains(&low), "{low} of 1000 in the lower half");
    }

    #[test]
    fn a_changed_range_holds_for_new_ports() {
        let (mut pool, mut rng) = pool();
        assert_eq!(pool.allocate(secs(0), 2000, A, false, &mut rng), Some(2000));
        assert_eq!(pool.allocate(secs(0), 2001, A, false, &mut rng), Some(2001));
        pool.release(secs(0), 2000, A);
        pool.set_range(50_000..=50_001);
        assert_eq!(pool.free(secs(1)), 2);
        let mut got = HashSet::new();
        while let Some(port) = pool.allocate(secs(1), 2000, A, false, &mut rng) {
            got.insert(port);
        }
        assert_eq!(got, HashSet::from([50_000, 50_001]));
        pool.release(secs(1), 2001, A);
        assert_eq!(pool.free(secs(1)), 0);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Allocate { preferred: u16, host: u8, parity: bool },
        Release(u16),
        Claim(u16),
        Close(u16, u64),
        Reserve(Vec<u16>),
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let port = 2040u16..2080;
        prop_oneof![
            6 => (port.clone(), 0u8..4, any::<bool>())
                .prop_map(|(preferred, host, parity)| Step::Allocate { preferred, host, parity }),
            4 => port.clone().prop_map(Step::Release),
            1 => port.clone().prop_map(Step::Claim),
            1 => (port.clone(), 0u64..400).prop_map(|(port, rest)| Step::Close(port, rest)),
            1 => prop::collection::vec(port, 0..6).prop_map(Step::Reserve),
            2 => (0u64..100).prop_map(Step::Wait),
        ]
    }

    #[derive(Default)]
    struct Model {
        owners: HashMap<u16, Option<Ipv4Addr>>,
        resting: HashMap<u16, (Ipv4Addr, u64)>,
        closed: HashMap<u16, u64>,
        reserved: HashSet<u16>,
    }

    impl Model {
        fn is_closed(&self, port: u16, now: u64) -> bool {
            self.closed.get(&port).is_some_and(|&until| until > now)
        }
        fn rests_after(&self, port: u16, now: u64) -> Option<Ipv4Addr> {
            self.resting.get(&port).filter(|(_, until)| *until > now).map(|(host, _)| *host)
        }
        /// Could be handed to somebody, if nothing better is left.
        fn is_available(&self, port: u16, now: u64) -> bool {
            !self.owners.contains_key(&port) && !self.reserved.contains(&port) && !self.is_closed(port, now)
        }
        fn is_free(&self, port: u16, now: u64) -> bool {
            self.is_available(port, now) && self.rests_after(port, now).is_none()
        }
    }

    const FIRST: u16 = 2050;
    const LAST: u16 = 2069;

    proptest! {
        /// Against maps: no port has two owners, the preferred one is kept when it may be, rest and closure are
        /// respected, and a refusal happens only when nothing is left.
        #[test]
        fn agrees_with_a_simple_model(steps in prop::collection::vec(step(), 1..300), seed: u64) {
            let mut pool = PortPool::new(FIRST..=LAST);
            let mut rng = Rng::new(seed);
            let mut model = Model::default();
            let mut now = 0;
            for step in steps {
                match step {
                    Step::Allocate { preferred, host, parity } => {
                        let host = Ipv4Addr::new(192, 0, 2, host);
                        let range = FIRST..=LAST;
                        let keeps = range.contains(&preferred)
                            && model.is_available(preferred, now)
                            && model.rests_after(preferred, now).is_none_or(|last| last == host);
                        let free: Vec<u16> = range.clone().filter(|&port| model.is_free(port, now)).collect();
                        let available = range.clone().filter(|&port| model.is_available(port, now)).count();
                        prop_assert_eq!(pool.free(secs(now)) as usize, available);
                        match pool.allocate(secs(now), preferred, host, parity, &mut rng) {
                            Some(port) => {
                                prop_assert!(range.contains(&port) && model.is_available(port, now));
                                if keeps {
                                    prop_assert_eq!(port, preferred);
                                } else if !free.is_empty() && !free.contains(&port) {
                                    // Bounded expiry may leave a port on the list past its time, never before.
                                    prop_assert!(false, "{} rests, {:?} were free", port, free);
                                } else if free.is_empty() {
                                    let oldest = range.clone()
                                        .filter(|&port| model.is_available(port, now))
                                        .filter_map(|port| model.resting.get(&port).map(|(_, until)| *until))
                                        .min();
                                    prop_assert_eq!(oldest, model.resting.get(&port).map(|(_, until)| *until));
                                } else if parity && free.iter().any(|free| free % 2 == preferred % 2) {
                                    prop_assert_eq!(port % 2, preferred % 2);
                                }
                                model.resting.remove(&port);
                                model.closed.remove(&port);
                                prop_assert!(model.owners.insert(port, Some(host)).is_none());
                            }
                            None => prop_assert_eq!(available, 0),
                        }
                    }
                    Step::Release(port) => {
                        let host = model.owners.remove(&port);
                        pool.release(secs(now), port, host.flatten().unwrap_or(A));
                        if let Some(host) = host
                            && (FIRST..=LAST).contains(&port)
                            && !model.reserved.contains(&port)
                        {
                            model.resting.insert(port, (host.unwrap_or(A), now + REST.as_secs()));
                        }
                    }
                    Step::Claim(port) => {
                        let claimed = pool.claim(port);
                        prop_assert_eq!(claimed, !model.owners.contains_key(&port));
                        if claimed {
                            model.owners.insert(port, None);
                            model.resting.remove(&port);
                            model.closed.remove(&port);
                        }
                    }
                    Step::Close(port, rest) => {
                        pool.rest_for_all(port, secs(now + rest));
                        model.owners.remove(&port);
                        model.resting.remove(&port);
                        model.closed.insert(port, now + rest);
                    }
                    Step::Reserve(ports) => {
                        pool.set_reserved(ports.iter().copied());
                        model.resting.retain(|port, _| !ports.contains(port));
                        model.reserved = ports.into_iter().collect();
                    }
                    Step::Wait(seconds) => now += seconds,
                }
                for port in 2040..2080 {
                    prop_assert_eq!(pool.is_resting_for_all(secs(now), port), model.is_closed(port, now));
                    prop_assert_eq!(pool.is_owned(port), model.owners.contains_key(&port));
                }
            }
        }
    }
}
