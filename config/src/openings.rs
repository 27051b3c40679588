//! Which forwards are open at a moment of the clock on the wall, and whether that clock can be believed.
//!
//! The engine knows no calendar. It gets a plan in which the forwards that are out of their hours are disabled: their
//! ports stay taken, their sessions end. At the next change of any of them it gets another plan. Of `expires` it
//! takes care by itself, as long as the clock on the wall only goes forward.
//!
//! A box without a battery boots in 1970. What the clock showed last is kept; until it shows a later time again, and
//! one later than this program, it is not plausible, and nothing with a schedule is open. A forward that was once past
//! its `expires` stays closed, whatever the clock shows later.

use std::collections::{BTreeSet, HashMap};

use genkan_engine::Plan;
use genkan_engine::time::UnixTime;

use crate::Loaded;
use crate::facts::ABSENT;
use crate::schedule::{Opening, Schedule};

/// When this version was made, about: no clock that is right shows an earlier time. 2026-11-01T00:00:00Z.
pub const BUILT: UnixTime = UnixTime(1_793_491_200);

/// A forward and its `expires`.
pub type Expired = (String, UnixTime);

/// What is known about the clock, and what it has shown.
#[derive(Clone, Debug)]
pub struct Openings {
    /// The clock cannot be right when it shows an earlier time.
    floor: UnixTime,
    plausible: bool,
    /// Forwards whose time is over for good.
    expired: BTreeSet<Expired>,
}

/// Why a forward is open or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Open.
    Open,
    /// `enabled = false`.
    Disabled,
    /// Past its `expires`.
    Expired,
    /// Its schedule is closed.
    OutOfHours,
    /// It has a schedule, and nobody knows what time it is.
    ClockUnknown,
    /// The device that it leads to is nowhere at the moment.
    Absent,
}

/// What holds at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// For the engine.
    pub plan: Plan,
    /// Of each forward, in file order.
    pub states: Vec<State>,
    /// When each forward that is out of its hours opens again, as far as that is known.
    pub opens: Vec<Option<UnixTime>>,
    /// The soonest change that the clock brings by itself.
    pub next: Option<UnixTime>,
}

impl Openings {
    /// Begins with what is remembered: the time that was seen last, if any, and the forwards that had expired.
    pub fn new(seen: Option<UnixTime>, expired: impl IntoIterator<Item = Expired>) -> Openings {
        let floor = seen.map_or(BUILT, |seen| seen.max(BUILT));
        Openings { floor, plausible: false, expired: expired.into_iter().collect() }
    }

    /// Whether the clock can be believed, as of the last judgement.
    pub fn is_plausible(&self) -> bool {
        self.plausible
    }

    /// The clock is believed when it shows this time or a later one.
    pub fn floor(&self) -> UnixTime {
        self.floor
    }

    /// Forwards whose time is over for good, as far as the last judgement knew them.
    pub fn expired(&self) -> impl Iterator<Item = &Expired> {
        self.expired.iter()
    }

    /// What is open when the clock shows `wall`.
    pub fn judge(&mut self, loaded: &Loaded, wall: UnixTime) -> Judgement {
        self.plausible = wall >= self.floor;
        if self.plausible {
            // Who sets the clock of a running router back knows why; the memory of another run does not count then.
            self.floor = BUILT;
        }
        let time = wall.max(self.floor);
        let rules = &loaded.plan.forwards;
        let known: BTreeSet<Expired> =
            rules.iter().filter_map(|rule| Some((rule.name.clone(), rule.expires?))).collect();
        self.expired.retain(|expired| known.contains(expired));
        self.expired.extend(known.into_iter().filter(|(_, expires)| *expires <= time));

        let mut plan = loaded.plan.clone();
        let mut states = Vec::with_capacity(rules.len());
        let mut opens = Vec::with_capacity(rules.len());
        let mut next: Option<UnixTime> = None;
        let mut soonest = |at: UnixTime| next = Some(next.map_or(at, |next| next.min(at)));
        // Thousands of forwards share a few schedules.
        let mut openings: HashMap<&Schedule, Opening> = HashMap::new();
        for (rule, schedule) in plan.forwards.iter_mut().zip(&loaded.config.schedules) {
            let expires = rule.expires;
            let is_expired =
                expires.is_some_and(|expires| self.expired.contains(&(rule.name.clone(), expires)));
            // Also of one that is closed anyway: it may have to leave the file then.
            if let Some(expires) = expires.filter(|expires| *expires > wall) {
                soonest(expires);
            }
            let mut opens_at = None;
            let state = if !rule.enabled {
                State::Disabled
            } else if is_expired {
                State::Expired
            } else {
                match schedule {
                    None => State::Open,
                    Some(_) if !self.plausible => State::ClockUnknown,
                    Some(schedule) => {
                        let zone = &loaded.config.timezone;
                        let opening = *openings.entry(schedule).or_insert_with(|| schedule.at(zone, wall));
                        if let Some(until) = opening.until {
                            soonest(until);
                        }
                        if opening.open {
                            State::Open
                        } else {
                            // It may be over before.
                            let lasts = |at: &UnixTime| expires.is_none_or(|expires| *at < expires);
                            opens_at = opening.until.filter(lasts);
                            State::OutOfHours
                        }
                    }
                }
            };
            // What the clock says is told before: it will not open then, wherever the device is.
            let state = if state == State::Open && rule.to == ABSENT { State::Absent } else { state };
            // The engine tells of an end by `expires` when it sees one: it is left to it where it does.
            rule.enabled = match state {
                State::Open => true,
                State::Expired => expires.is_some_and(|expires| expires <= wall),
                State::Disabled | State::OutOfHours | State::ClockUnknown | State::Absent => false,
            };
            states.push(state);
            opens.push(opens_at);
        }
        if !self.plausible {
            soonest(self.floor);
        }
        Judgement { plan, states, opens, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(forwards: &str) -> Loaded {
        let text = format!(
            "[wan]\ndevice = \"eth0\"\naddress = \"203.0.113.1/24\"\n[[lan]]\ndevice = \"eth1\"\n\
             address = \"192.168.0.1/24\"\n[router]\ntimezone = \"Europe/Berlin\"\n{forwards}"
        );
        crate::parse(&text, "test.toml").expect("a good file")
    }

    fn forward(name: &str, port: u16, keys: &str) -> String {
        format!(
            "[[forward]]\nname = \"{name}\"\nprotocol = \"tcp\"\nport = {port}\nto = \"192.168.0.2\"\n{keys}\n"
        )
    }

    /// 2030-01-01 was a Tuesday; midnight in Berlin.
    const MIDNIGHT: i64 = 1_893_452_400;
    const HOUR: i64 = 3_600;

    fn states(openings: &mut Openings, loaded: &Loaded, wall: i64) -> (Vec<State>, Vec<bool>, Option<i64>) {
        let Judgement { plan, states, next, .. } = openings.judge(loaded, UnixTime(wall));
        (states, plan.forwards.iter().map(|rule| rule.enabled).collect(), next.map(|next| next.0))
    }

    #[test]
    fn schedules_open_and_close() {
        let loaded = loaded(
            &[
                forward("always", 1, ""),
                forward("evening", 2, "schedule = \"Tue 18:00-23:00\""),
                forward("night", 3, "schedule = \"22:00-06:00\""),
                forward("off", 4, "schedule = \"22:00-06:00\"\nenabled = false"),
            ]
            .concat(),
        );
        let mut openings = Openings::new(None, []);
        let mut at = |wall| states(&mut openings, &loaded, wall);
        use State::{Disabled, Open, OutOfHours};
        let six = MIDNIGHT + 6 * HOUR;
        assert_eq!(
            at(six - 1),
            (vec![Open, OutOfHours, Open, Disabled], vec![true, false, true, false], Some(six))
        );
        let evening = MIDNIGHT + 18 * HOUR;
        assert_eq!(
            at(six),
            (vec![Open, OutOfHours, OutOfHours, Disabled], vec![true, false, false, false], Some(evening))
        );
        assert_eq!(at(evening).0, [Open, Open, OutOfHours, Disabled]);
        assert_eq!(at(MIDNIGHT + 22 * HOUR).0, [Open, Open, Open, Disabled]);
        assert_eq!(at(MIDNIGHT + 23 * HOUR).0, [Open, OutOfHours, Open, Disabled]);
    }

    #[test]
    fn it_says_when_a_forward_opens_again() {
        let loaded = loaded(
            &[
                forward("always", 1, ""),
                forward("evening", 2, "schedule = \"Tue 18:00-23:00\""),
                forward("over before", 3, "schedule = \"Tue 18:00-23:00\"\nexpires = 2030-01-01T01:00:00Z"),
                forward("off", 4, "schedule = \"22:00-06:00\"\nenabled = false"),
            ]
            .concat(),
        );
        let opens = |wall| Openings::new(None, []).judge(&loaded, UnixTime(wall)).opens;
        let evening = MIDNIGHT + 18 * HOUR;
        assert_eq!(opens(MIDNIGHT), [None, Some(UnixTime(evening)), None, None]);
        assert_eq!(opens(evening), [None; 4], "it is open");
        assert_eq!(opens(evening + 5 * HOUR)[1], Some(UnixTime(evening + 7 * 24 * HOUR)));
        assert_eq!(opens(0), [None; 4], "nobody knows");
    }

    #[test]
    fn an_implausible_clock_opens_no_schedule() {
        let expires = forward("temporary", 2, "expires = 2030-01-01T00:00:00Z");
        let loaded =
            loaded(&[forward("day", 1, "schedule = \"daily 00:00-24:00\""), expires.clone()].concat());
        let seen = MIDNIGHT;
        // Booted in 1970, last seen an hour before the end of `temporary`.
        let mut openings = Openings::new(Some(UnixTime(seen)), []);
        assert_eq!(
            states(&mut openings, &loaded, 5),
            (vec![State::ClockUnknown, State::Open], vec![false, true], Some(seen))
        );
        assert!(!openings.is_plausible());
        assert_eq!(states(&mut openings, &loaded, seen - 1).0, [State::ClockUnknown, State::Open]);
        assert_eq!(states(&mut openings, &loaded, seen).0, [State::Open, State::Open]);
        assert!(openings.is_plausible());
        // Last seen at the end of `temporary`: the engine, which sees 1970, would open it.
        let mut openings = Openings::new(Some(UnixTime(seen + HOUR)), []);
        assert_eq!(
            states(&mut openings, &loaded, 5),
            (vec![State::ClockUnknown, State::Expired], vec![false, false], Some(seen + HOUR))
        );
        // A clock before this program is wrong even if nothing is remembered.
        let mut openings = Openings::new(None, []);
        assert_eq!(states(&mut openings, &loaded, BUILT.0 - 1).0, [State::ClockUnknown, State::Open]);
        assert_eq!(states(&mut openings, &loaded, BUILT.0).0, [State::Open, State::Open]);
    }

    #[test]
    fn what_has_expired_stays_closed() {
        let expires = MIDNIGHT + HOUR;
        let loaded = loaded(&forward("temporary", 2, "expires = 2030-01-01T00:00:00Z"));
        let mut openings = Openings::new(None, []);
        assert_eq!(
            states(&mut openings, &loaded, expires - 1),
            (vec![State::Open], vec![true], Some(expires))
        );
        assert_eq!(openings.expired().count(), 0);
        // The engine closes it by itself, and tells.
        assert_eq!(states(&mut openings, &loaded, expires), (vec![State::Expired], vec![true], None));
        // The clock goes back, then the router restarts.
        let closed = (vec![State::Expired], vec![false], Some(expires));
        assert_eq!(states(&mut openings, &loaded, expires - 1), closed);
        let remembered: Vec<Expired> = openings.expired().cloned().collect();
        let mut openings = Openings::new(Some(UnixTime(expires - 1)), remembered);
        assert_eq!(states(&mut openings, &loaded, expires - 1), closed);
        // Prolonged, it is another opening.
        let prolonged = super::tests::loaded(&forward("temporary", 2, "expires = 2030-01-01T01:00:00Z"));
        assert_eq!(states(&mut openings, &prolonged, expires - 1).0, [State::Open]);
        assert_eq!(openings.expired().count(), 0);
    }

    #[test]
    fn who_leads_to_nobody_is_closed() {
        let mut loaded =
            loaded(&[forward("a", 1, ""), forward("b", 2, "schedule = \"Tue 18:00-23:00\"")].concat());
        for rule in &mut loaded.plan.forwards {
            rule.to = ABSENT;
        }
        let mut openings = Openings::new(None, []);
        let (six, evening) = (MIDNIGHT + 6 * HOUR, MIDNIGHT + 18 * HOUR);
        assert_eq!(
            states(&mut openings, &loaded, six),
            (vec![State::Absent, State::OutOfHours], vec![false, false], Some(evening))
        );
        assert_eq!(states(&mut openings, &loaded, evening).0, [State::Absent; 2]);
    }

    #[test]
    fn a_clock_set_back_in_a_running_router_is_believed() {
        let loaded = loaded(&forward("day", 1, "schedule = \"daily 00:00-12:00\""));
        let mut openings = Openings::new(None, []);
        assert_eq!(states(&mut openings, &loaded, MIDNIGHT + 24 * HOUR + 1).0, [State::Open]);
        assert_eq!(states(&mut openings, &loaded, MIDNIGHT + 13 * HOUR).0, [State::OutOfHours]);
        // Not when it shows what cannot be.
        assert_eq!(states(&mut openings, &loaded, 1).0, [State::ClockUnknown]);
    }
}
