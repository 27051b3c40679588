//! Where the devices of `[[host]]`s are: the rules, without sockets and clocks.
//!
//! A device is told of from somewhere else: by its own ARP packets, or by the lease that it got. Some devices have two
//! addresses, and anybody on a lan can say anything; so the place that is known is asked for by ARP first. While the device
//! answers there, it stays there. When it does not, it is where it was told of. When a stranger answers there, it is nowhere,
//! and nothing is forwarded to the stranger. One that merely does not answer is at its last place: it may be asleep.
//!
//! Where the file says anew it is when it has left the place where it was seen; one that was never seen is there at once.
//!
//! One that is nowhere is where it shows itself, without a question; where its lease says only after one, as a stranger may
//! be there, which the device then declines. One that has got another lease after that of its place was over has moved.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use genkan_config::facts::ABSENT;
use genkan_config::{Host, Loaded};
use genkan_control::devices::{DeviceState, TargetDevice};
use genkan_engine::sightings::Watched;
use genkan_engine::wire::ethernet::MacAddr;
use serde::{Deserialize, Serialize};

/// Questions without an answer after which it is said that a device does not answer.
const SILENT_AFTER: u32 = 2;

/// What is remembered of a device over restarts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    /// Name of the `[[host]]`.
    pub(crate) host: String,
    /// The link address that it was known by, as text.
    pub(crate) mac: String,
    /// Where the file said that it is.
    #[serde(default)]
    pub(crate) written: Option<Ipv4Addr>,
    /// Where it is; nothing: nowhere.
    pub(crate) place: Option<Ipv4Addr>,
    /// Where it was last seen, and when, in seconds since 1970.
    pub(crate) last_address: Option<Ipv4Addr>,
    pub(crate) last_seen: Option<i64>,
}

/// One device.
#[derive(Clone, Debug)]
struct Followed {
    host: Host,
    /// The link address that it is known by: the one in the file, else that of its lease.
    mac: Option<MacAddr>,
    place: Option<Ipv4Addr>,
    /// It was told of from there.
    elsewhere: Option<Ipv4Addr>,
    /// The file says so anew, and it was not seen since.
    rewritten: Option<Ipv4Addr>,
    /// The lease that it got last, while it has that.
    lease: Option<Ipv4Addr>,
    /// Its lease for its place is over.
    unleased: bool,
    unanswered: u32,
    last_seen: Option<i64>,
    last_address: Option<Ipv4Addr>,
}

/// A device that is at another place now, or nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    /// Name of the `[[host]]`.
    pub(crate) host: String,
    /// Where it was.
    pub(crate) from: Option<Ipv4Addr>,
    /// Where it is.
    pub(crate) to: Option<Ipv4Addr>,
}

/// All devices that can be known wherever they are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Whereabouts {
    followed: BTreeMap<String, Followed>,
    moved: Vec<Moved>,
}

impl Whereabouts {
    /// Those of a configuration; what is known of those that stay is kept. `remembered` goes for the others.
    pub(crate) fn follow(&mut self, written: &[Host], remembered: &[Remembered]) {
        let mut before = std::mem::take(&mut self.followed);
        for host in written.iter().filter(|host| host.can_be_found()) {
            let old = before.remove(&host.name).filter(|old| {
                let same = old.host.mac == host.mac && old.host.client_id == host.client_id;
                same && old.host.address == host.address
            });
            let fresh = || {
                let known = remembered.iter().find(|known| known.host == host.name);
                // Another device may have got the name meanwhile.
                let known = known.filter(|known| host.mac.is_none_or(|mac| mac.to_string() == known.mac));
                // Where it was seen it may well be still, whatever is written anew.
                let seen = known.filter(|known| known.last_seen.is_some());
                let rewritten =
                    seen.filter(|known| known.written.is_some_and(|old| Some(old) != host.address));
                Followed {
                    host: host.clone(),
                    mac: host.mac.or_else(|| known?.mac.parse().ok()),
                    place: seen.map_or(host.address, |known| known.place),
                    elsewhere: None,
                    rewritten: rewritten.and(host.address),
                    lease: None,
                    unleased: false,
                    unanswered: 0,
                    last_seen: known.and_then(|known| known.last_seen),
                    last_address: known.and_then(|known| known.last_address),
                }
            };
            self.followed.insert(host.name.clone(), old.unwrap_or_else(fresh));
        }
    }

    /// What to remember.
    pub(crate) fn remembered(&self) -> Vec<Remembered> {
        let one = |one: &Followed| {
            Some(Remembered {
                host: one.host.name.clone(),
                mac: one.mac?.to_string(),
                // Whoever was not looked for there yet is to be looked for by the next run.
                written: one.host.address.filter(|_| one.rewritten.is_none()).or(one.place),
                place: one.place,
                last_address: one.last_address,
                last_seen: one.last_seen,
            })
        };
        self.followed.values().filter_map(one).collect()
    }

    /// Hosts that may be where the file says anew.
    pub(crate) fn rewritten(&self) -> Vec<String> {
        self.followed
            .values()
            .filter(|one| one.rewritten.is_some())
            .map(|one| one.host.name.clone())
            .collect()
    }

    /// For [`genkan_config::Facts`].
    pub(crate) fn places(&self) -> BTreeMap<String, Ipv4Addr> {
        let place = |one: &Followed| one.place.or(one.host.address.map(|_| ABSENT));
        self.followed.iter().filter_map(|(name, one)| Some((name.clone(), place(one)?))).collect()
    }

    /// Whom the workers are to watch for.
    pub(crate) fn watched(&self) -> Vec<Watched> {
        self.followed.values().filter_map(|one| Some(Watched { mac: one.mac?, address: one.place })).collect()
    }

    /// The devices that have moved since the last call.
    pub(crate) fn take_moved(&mut self) -> Vec<Moved> {
        std::mem::take(&mut self.moved)
    }

    /// Somebody says by ARP that it is at `address`. The host whose place is to be asked for, if one is.
    pub(crate) fn sighted(&mut self, mac: MacAddr, address: Ipv4Addr, now: i64) -> Option<String> {
        if let Some(one) = self.followed.values_mut().find(|one| one.mac == Some(mac)) {
            return one.told_of(address, now, &mut self.moved).then(|| one.host.name.clone());
        }
        // A stranger at the place of one.
        self.followed.values().find(|one| one.place == Some(address)).map(|one| one.host.name.clone())
    }

    /// A device was seen at `address` once. The host whose device that is, if nobody knows where it is now.
    pub(crate) fn suspect(&mut self, mac: MacAddr, address: Ipv4Addr) -> Option<String> {
        let one = self.followed.values_mut().find(|one| one.mac == Some(mac) && one.place.is_none())?;
        one.elsewhere = Some(address);
        Some(one.host.name.clone())
    }

    /// A client has a lease for `address`, or has it no longer. The host whose place is to be asked for, if one is.
    pub(crate) fn leased(
        &mut self,
        mac: MacAddr,
        client_id: Option<&[u8]>,
        address: Ipv4Addr,
        holds: bool,
        now: i64,
    ) -> Option<String> {
        let is_it = |one: &&mut Followed| match &one.host.client_id {
            Some(id) => client_id == Some(id.as_slice()) || one.host.mac == Some(mac),
            None => one.mac == Some(mac),
        };
        let one = self.followed.values_mut().find(is_it)?;
        if holds && one.host.mac.is_none() {
            one.mac = Some(mac);
        }
        one.is_to_be_asked_for(address, holds, now, &mut self.moved).then(|| one.host.name.clone())
    }

    /// Whether another address is to be asked for because of a host than the one that just was: it has moved meanwhile,
    /// was told of somewhere, or may be where it is written to be.
    pub(crate) fn is_open(&self, host: &str, asked: Ipv4Addr) -> bool {
        self.question(host).is_some_and(|next| next != asked)
    }

    /// The address that is to be asked for next because of a host, if any; the last resort of one that is nowhere is what is
    /// written.
    pub(crate) fn question(&self, host: &str) -> Option<Ipv4Addr> {
        let one = self.followed.get(host)?;
        one.place.or(one.elsewhere).or(one.host.address)
    }

    /// These have answered by ARP for `address`, which was asked for because of a host. Whether there is more to ask.
    pub(crate) fn answered(&mut self, host: &str, address: Ipv4Addr, macs: &[MacAddr], now: i64) -> bool {
        let Some(one) = self.followed.get_mut(host) else { return false };
        let moved = &mut self.moved;
        // It has moved while its former place was asked for.
        let is_outdated = one.place.is_some_and(|place| place != address);
        if !is_outdated && one.mac.is_some_and(|mac| macs.contains(&mac)) {
            one.seen_at(address, now, moved);
            // It may be about to take down the address that it has just given back.
            return one.unleased;
        }
        if one.place != Some(address) {
            if one.place.is_none() && one.lease == Some(address) && macs.is_empty() {
                one.seen_at(address, now, moved);
            }
            // Not there either.
            one.elsewhere = one.elsewhere.filter(|elsewhere| *elsewhere != address);
            return false;
        }
        if let Some(elsewhere) = one.elsewhere.take() {
            one.seen_at(elsewhere, now, moved);
        } else if let Some(rewritten) = one.rewritten.take() {
            one.go(Some(rewritten), moved);
            one.unanswered = 0;
        } else if !macs.is_empty() || one.unleased && one.host.address != Some(address) {
            one.go(None, moved);
        } else {
            one.unanswered = one.unanswered.saturating_add(1);
            return one.unanswered < SILENT_AFTER;
        }
        false
    }

    /// Whether the place of a device that is followed is `address`.
    pub(crate) fn is_at(&self, mac: MacAddr, address: Ipv4Addr) -> bool {
        self.followed.values().any(|one| one.mac == Some(mac) && one.place == Some(address))
    }

    /// For listings, by the names of the hosts.
    pub(crate) fn told(&self) -> BTreeMap<String, TargetDevice> {
        let told = |one: &Followed| TargetDevice {
            host: one.host.name.clone(),
            state: match one.place {
                None => DeviceState::Absent,
                Some(_) if one.unanswered >= SILENT_AFTER => DeviceState::Silent,
                Some(_) => DeviceState::Present,
            },
            last_seen: one.last_seen,
            last_address: one.last_address,
        };
        self.followed.iter().map(|(name, one)| (name.clone(), told(one))).collect()
    }

    /// What is to be said in the status of each host, by name; nothing when all is well with it.
    pub(crate) fn problems(&self, loaded: &Loaded) -> Vec<(String, Option<String>)> {
        self.followed.values().map(|one| (one.host.name.clone(), one.problem(loaded))).collect()
    }

    /// All hosts, by name.
    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.followed.keys()
    }

    /// The link address that a host is known by.
    pub(crate) fn mac(&self, host: &str) -> Option<MacAddr> {
        self.followed.get(host)?.mac
    }
}

impl Followed {
    /// Whether its place is to be asked for, now that it was told of at `address`.
    fn told_of(&mut self, address: Ipv4Addr, now: i64, moved: &mut Vec<Moved>) -> bool {
        match self.place {
            Some(place) if place != address => {
                self.elsewhere = Some(address);
                true
            }
            _ => {
                self.seen_at(address, now, moved);
                false
            }
        }
    }

    /// Whether its place is to be asked for, now that it has the lease of `address` or has it no longer.
    fn is_to_be_asked_for(
        &mut self,
        address: Ipv4Addr,
        holds: bool,
        now: i64,
        moved: &mut Vec<Moved>,
    ) -> bool {
        if holds {
            self.lease = Some(address);
        } else {
            let is_other = |known: &Ipv4Addr| *known != address;
            self.lease = self.lease.filter(is_other);
            self.elsewhere = self.elsewhere.filter(is_other);
        }
        if self.place == Some(address) {
            self.unleased = !holds;
        } else if holds {
            self.elsewhere = Some(address);
        } else {
            return false;
        }
        match self.lease.filter(|lease| self.unleased || self.place == Some(*lease)) {
            Some(lease) => self.seen_at(lease, now, moved),
            None => return true,
        }
        false
    }

    fn seen_at(&mut self, address: Ipv4Addr, now: i64, moved: &mut Vec<Moved>) {
        if self.place != Some(address) {
            self.go(Some(address), moved);
            self.elsewhere = None;
        }
        (self.unanswered, self.rewritten) = (0, None);
        (self.last_seen, self.last_address) = (Some(now), Some(address));
    }

    fn go(&mut self, to: Option<Ipv4Addr>, moved: &mut Vec<Moved>) {
        moved.push(Moved { host: self.host.name.clone(), from: self.place, to });
        self.place = to;
        self.unleased = false;
    }

    fn problem(&self, loaded: &Loaded) -> Option<String> {
        let name = &self.host.name;
        let leading = leading_to(loaded, name);
        let seen = self.last_seen.map(|seen| genkan_config::rfc3339(genkan_engine::UnixTime(seen)));
        match (self.place, self.host.address) {
            (None, _) if !leading.is_empty() => {
                let last = match (seen, self.last_address) {
                    (Some(seen), Some(address)) => format!("is absent since {seen}, last at {address}"),
                    _ => "is absent, and was never seen".to_owned(),
                };
                Some(format!("{name} {last}: closed is {}", leading.join(", ")))
            }
            (Some(place), Some(written)) if place != written => {
                Some(format!("{name} is at {place}, not at {written} as its [[host]] says"))
            }
            (Some(place), _) if self.unanswered >= SILENT_AFTER && !leading.is_empty() => {
                let seen = seen.map_or_else(|| "never".to_owned(), |seen| format!("last {seen}"));
                Some(format!("{name} does not answer at {place}, seen {seen}: {} to it", leading.join(", ")))
            }
            _ => None,
        }
    }
}

/// What of a configuration leads to a host.
pub(crate) fn leading_to(loaded: &Loaded, host: &str) -> Vec<String> {
    let rules = loaded.plan.forwards.iter().zip(&loaded.config.targets);
    let leads = |target: &Option<String>| target.as_deref() == Some(host);
    let forwards = rules.filter(|(rule, target)| rule.enabled && leads(target));
    let forwards = forwards.map(|(rule, _)| format!("forward {}", rule.name));
    let dmz = leads(&loaded.config.dmz_host).then(|| "the DMZ".to_owned());
    let own = loaded.config.hosts.iter().find(|known| known.name == host).and_then(|known| known.external);
    forwards.chain(dmz).chain(own.map(|external| format!("its external address {external}"))).collect()
}

#[cfg(test)]
mod tests;
