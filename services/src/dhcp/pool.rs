//! The addresses of a server: the state of each, and who is next in line to be given out.
//!
//! An address that was never used has no entry. The others go through these states; only [`Table::set`] changes one, and
//! keeps every index in step:
//! ```text
//! (unused) -> Probing -> Ready -> Offered -> Leased -> Idle -> Probing ...
//!                 \-> Resting -> Idle                   Ready, Offered -> Idle when they get old
//! ```

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use genkan_engine::time::Timestamp;
use ipnet::Ipv4Net;

use super::lease::{ClientKey, HardwareAddress};

/// What an address is doing; each has a deadline, [`Slot::until`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Free; a former client may be remembered. `until` is when it became so, in the past.
    Idle,
    /// Somebody was asked to find out whether it is in use.
    Probing,
    /// Probed and found free lately: can be offered at once.
    Ready,
    /// Promised to a client for a short time.
    Offered,
    /// A client's, until then.
    Leased,
    /// Found in use: until then nobody gets it but who was found to use it.
    Resting,
}

/// Whose address it is or was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) client: ClientKey,
    pub(crate) hardware: HardwareAddress,
    pub(crate) name: Option<String>,
    /// Lease time in seconds.
    pub(crate) seconds: u32,
}

/// Which address is a client's in a subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    /// The one that it has, was offered or had last.
    address: Ipv4Addr,
    /// The one that it has.
    leased: Option<Ipv4Addr>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) state: State,
    pub(crate) until: Timestamp,
    /// Of an address that rests: who was found to use it, if that is known.
    pub(crate) holder: Option<Holder>,
}

impl Slot {
    pub(crate) fn is_held_by(&self, client: &ClientKey) -> bool {
        self.holder.as_ref().is_some_and(|holder| holder.client == *client)
    }
}

/// The line of free addresses of one subnet.
#[derive(Debug)]
struct Line {
    prefix: Ipv4Net,
    pool: Option<RangeInclusive<u32>>,
    /// Addresses of the pool that are not for everybody: reservations, the router's own.
    excluded: BTreeSet<Ipv4Addr>,
    /// Where in the pool the search for unused addresses began, and how many were passed.
    start: u32,
    passed: u32,
    /// Free ones that were used before; the one that is free longest comes first.
    idle: BTreeSet<(Timestamp, Ipv4Addr)>,
    ready: BTreeSet<(Timestamp, Ipv4Addr)>,
    probing: usize,
    /// Addresses of the pool that are somebody's, promised, or rest.
    busy: u32,
}

impl Line {
    fn pool_size(&self) -> u32 {
        self.pool.as_ref().map_or(0, |pool| pool.end() - pool.start() + 1)
    }

    fn is_pooled(&self, address: Ipv4Addr) -> bool {
        self.pool.as_ref().is_some_and(|pool| pool.contains(&u32::from(address)))
            && !self.excluded.contains(&address)
    }
}

/// Unused addresses looked at in one search at most: the rest is for the next call.
const SEARCH_STEPS: u32 = 1024;

/// All addresses of a server. Every look-up takes logarithmic time.
#[derive(Debug, Default)]
pub(crate) struct Table {
    slots: BTreeMap<Ipv4Addr, Slot>,
    /// Deadlines of everything that is not idle.
    deadlines: BTreeSet<(Timestamp, Ipv4Addr)>,
    clients: BTreeMap<(usize, ClientKey), Known>,
    names: BTreeMap<String, Ipv4Addr>,
    lines: Vec<Line>,
}

impl Table {
    /// Adds a subnet. `start` is a random number: where in the pool the first addresses are taken from.
    pub(crate) fn add_subnet(
        &mut self,
        prefix: Ipv4Net,
        pool: Option<RangeInclusive<Ipv4Addr>>,
        excluded: BTreeSet<Ipv4Addr>,
        start: u32,
    ) {
        let pool = pool.map(|pool| u32::from(*pool.start())..=u32::from(*pool.end()));
        let (idle, ready) = (BTreeSet::new(), BTreeSet::new());
        self.lines.push(Line { prefix, pool, excluded, start, passed: 0, idle, ready, probing: 0, busy: 0 });
    }

    /// Addresses of all pools that any client may get, and how many of them nobody has or was promised.
    pub(crate) fn pooled(&self) -> (u32, u32) {
        let sums = |(size, free), (more, freed)| (size + more, free + freed);
        (0..self.lines.len()).map(|subnet| self.pooled_in(subnet)).fold((0, 0), sums)
    }

    /// The same of one subnet.
    pub(crate) fn pooled_in(&self, subnet: usize) -> (u32, u32) {
        let Some(line) = self.lines.get(subnet) else { return (0, 0) };
        let excluded = line
            .excluded
            .iter()
            .filter(|address| line.pool.as_ref().is_some_and(|pool| pool.contains(&u32::from(**address))));
        let size = line.pool_size() - excluded.count() as u32;
        (size, size.saturating_sub(line.busy))
    }

    pub(crate) fn subnets(&self) -> usize {
        self.lines.len()
    }

    /// The subnet that an address belongs to.
    pub(crate) fn subnet_of(&self, address: Ipv4Addr) -> Option<usize> {
        self.lines.iter().position(|line| line.prefix.contains(&address))
    }

    /// Whether the address is one that any client may get.
    pub(crate) fn is_pooled(&self, subnet: usize, address: Ipv4Addr) -> bool {
        self.lines.get(subnet).is_some_and(|line| line.is_pooled(address))
    }

    pub(crate) fn slot(&self, address: Ipv4Addr) -> Option<&Slot> {
        self.slots.get(&address)
    }

    pub(crate) fn slots(&self) -> impl Iterator<Item = (Ipv4Addr, &Slot)> {
        self.slots.iter().map(|(address, slot)| (*address, slot))
    }

    /// The address that a client has, was offered or had last.
    pub(crate) fn address_of(&self, subnet: usize, client: &ClientKey) -> Option<Ipv4Addr> {
        self.clients.get(&(subnet, client.clone())).map(|known| known.address)
    }

    /// The address that a client has; of several, the one that it got last.
    pub(crate) fn leased_to(&self, subnet: usize, client: &ClientKey) -> Option<Ipv4Addr> {
        self.clients.get(&(subnet, client.clone()))?.leased
    }

    /// Whether this is the address that its holder has, was offered or had last.
    pub(crate) fn is_known(&self, address: Ipv4Addr, slot: &Slot) -> bool {
        let known = |holder: &Holder| self.address_of(self.subnet_of(address)?, &holder.client);
        slot.holder.as_ref().and_then(known) == Some(address)
    }

    /// The address of the lease that goes by a name.
    pub(crate) fn named(&self, name: &str) -> Option<Ipv4Addr> {
        self.names.get(name).copied()
    }

    /// Puts an address into a state; `None` when it belongs to no subnet.
    pub(crate) fn set(&mut self, address: Ipv4Addr, slot: Slot) -> Option<()> {
        let subnet = self.subnet_of(address)?;
        self.clear(subnet, address);
        let line = &mut self.lines[subnet];
        match slot.state {
            State::Idle if line.is_pooled(address) => {
                line.idle.insert((slot.until, address));
            }
            State::Ready if line.is_pooled(address) => {
                line.ready.insert((slot.until, address));
            }
            State::Probing => line.probing += 1,
            State::Offered | State::Leased | State::Resting if line.is_pooled(address) => line.busy += 1,
            State::Idle | State::Ready | State::Offered | State::Leased | State::Resting => {}
        }
        if slot.state != State::Idle {
            self.deadlines.insert((slot.until, address));
        }
        // Who was found to use an address did not get it here.
        if let Some(holder) = slot.holder.as_ref().filter(|_| slot.state != State::Resting) {
            let known = self.clients.entry((subnet, holder.client.clone()));
            // A memory does not hide the address that the client has now.
            let known = known.or_insert(Known { address, leased: None });
            match slot.state {
                State::Leased => *known = Known { address, leased: Some(address) },
                State::Offered => known.address = address,
                State::Idle | State::Probing | State::Ready | State::Resting => {}
            }
            if let Some(name) = holder.name.as_ref().filter(|_| slot.state == State::Leased) {
                self.names.insert(name.clone(), address);
            }
        }
        self.slots.insert(address, slot);
        Some(())
    }

    /// Takes an address out of every index.
    fn clear(&mut self, subnet: usize, address: Ipv4Addr) {
        let Some(slot) = self.slots.remove(&address) else { return };
        let line = &mut self.lines[subnet];
        match slot.state {
            State::Idle => {
                line.idle.remove(&(slot.until, address));
            }
            State::Ready => {
                line.ready.remove(&(slot.until, address));
            }
            State::Probing => line.probing -= 1,
            State::Offered | State::Leased | State::Resting if line.is_pooled(address) => line.busy -= 1,
            State::Offered | State::Leased | State::Resting => {}
        }
        self.deadlines.remove(&(slot.until, address));
        if let Some(holder) = slot.holder {
            if let Some(name) = holder.name.filter(|name| self.names.get(name) == Some(&address)) {
                self.names.remove(&name);
            }
            if let Entry::Occupied(mut known) = self.clients.entry((subnet, holder.client)) {
                let leased = known.get().leased.filter(|leased| *leased != address);
                known.get_mut().leased = leased;
                match leased {
                    _ if known.get().address != address => {}
                    // What was offered beside a lease, and is not any more, does not hide it.
                    Some(leased) => known.get_mut().address = leased,
                    None => _ = known.remove(),
                }
            }
        }
    }

    /// When the next deadline is.
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(until, _)| *until)
    }

    /// An address whose deadline is reached.
    pub(crate) fn due(&self, now: Timestamp) -> Option<Ipv4Addr> {
        self.deadlines.first().filter(|(until, _)| *until <= now).map(|(_, address)| *address)
    }

    /// The probed address that waits longest, of those for everybody.
    pub(crate) fn ready(&self, subnet: usize) -> Option<Ipv4Addr> {
        self.lines.get(subnet)?.ready.first().map(|(_, address)| *address)
    }

    /// Addresses that are ready for everybody or being probed.
    pub(crate) fn stock(&self, subnet: usize) -> usize {
        self.lines.get(subnet).map_or(0, |line| line.ready.len() + line.probing)
    }

    /// Whether an outcome of a probe is still to come.
    pub(crate) fn is_probing(&self, subnet: usize) -> bool {
        self.lines.get(subnet).is_some_and(|line| line.probing > 0)
    }

    /// The next address worth probing: one that was never used, else the one that is free longest. The address is not
    /// changed: the caller does that, else it gets the same one again when it was an idle one.
    pub(crate) fn candidate(&mut self, subnet: usize) -> Option<Ipv4Addr> {
        let line = self.lines.get_mut(subnet)?;
        let size = line.pool_size();
        for _ in 0..SEARCH_STEPS.min(size - line.passed) {
            let first = line.pool.as_ref().map_or(0, |pool| *pool.start());
            let offset = (u64::from(line.start) + u64::from(line.passed)) % u64::from(size);
            line.passed += 1;
            let address = Ipv4Addr::from(first + offset as u32);
            if line.is_pooled(address) && !self.slots.contains_key(&address) {
                return Some(address);
            }
        }
        line.idle.first().map(|(_, address)| *address)
    }
}

#[cfg(test)]
impl Table {
    /// Every index says what the slots say.
    pub(crate) fn assert_consistent(&self) {
        let deadlines =
            self.slots().filter(|(_, slot)| slot.state != State::Idle).map(|(a, slot)| (slot.until, a));
        assert_eq!(self.deadlines, deadlines.collect());
        for (subnet, line) in self.lines.iter().enumerate() {
            let of = |state| {
                self.slots().filter(move |(address, slot)| {
                    slot.state == state && self.subnet_of(*address) == Some(subnet)
                })
            };
            let pooled = |state| {
                of(state)
                    .filter(|(address, _)| line.is_pooled(*address))
                    .map(|(a, slot)| (slot.until, a))
                    .collect()
            };
            let expected: [BTreeSet<_>; 2] = [pooled(State::Idle), pooled(State::Ready)];
            assert_eq!([&line.idle, &line.ready], [&expected[0], &expected[1]]);
            assert_eq!(line.probing, of(State::Probing).count());
            let busy = [State::Offered, State::Leased, State::Resting].into_iter().flat_map(of);
            let busy = busy.filter(|(address, _)| line.is_pooled(*address)).count();
            assert_eq!(line.busy as usize, busy);
        }
        for ((subnet, client), Known { address, leased }) in &self.clients {
            assert_eq!(self.subnet_of(*address), Some(*subnet));
            assert!(self.slots[address].is_held_by(client));
            let of_client = |leased: &Ipv4Addr| {
                let slot = &self.slots[leased];
                slot.state == State::Leased && slot.is_held_by(client)
            };
            assert!(leased.as_ref().is_none_or(of_client));
        }
        for (name, address) in &self.names {
            let slot = &self.slots[address];
            assert_eq!(slot.state, State::Leased);
            assert_eq!(slot.holder.as_ref().and_then(|holder| holder.name.as_ref()), Some(name));
        }
    }
}
