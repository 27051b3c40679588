//! What has passed through the forwards: gathered from the workers, and told as events when it begins.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use genkan_engine::view::ForwardView;

use crate::api::{EventKind, ForwardCounts, SourceHits};
use crate::events::{EventLog, NewEvent};
use crate::request::{CHUNK, WorkerError, WorkerHandle, WorkerRequest};
use crate::snapshot::Snapshot;

/// How often [`watch`] looks.
const LOOK: Duration = Duration::from_secs(2);

/// Forwards of whose refused sources one look tells at most.
const REFUSALS: usize = 10;

/// The counts of all forwards by name, of all workers together; in pieces, so that no worker is held up.
///
/// # Errors
/// [`WorkerError`] when a worker gives no answer.
pub async fn counts(worker: &WorkerHandle) -> Result<HashMap<String, ForwardCounts>, WorkerError> {
    let mut all: HashMap<String, ForwardCounts> = HashMap::new();
    let mut cursor = Some(0);
    while let Some(at) = cursor {
        let piece = |cursor, reply| WorkerRequest::Forwards { cursor, limit: CHUNK, reply };
        let (views, next) = worker.ask_piece(at, piece).await?;
        let now = SystemTime::now();
        for view in views {
            match all.get_mut(&view.name) {
                Some(counts) => counts.add(now, &view),
                None => {
                    let mut counts = ForwardCounts::default();
                    counts.add(now, &view);
                    all.insert(view.name, counts);
                }
            }
        }
        cursor = next;
    }
    Ok(all)
}

impl ForwardCounts {
    /// Adds what one worker has counted.
    fn add(&mut self, now: SystemTime, view: &ForwardView) {
        let at = |ago: Option<Duration>| {
            let since_1970 = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).ok();
            let time = since_1970(now.checked_sub(ago?)?)?;
            i64::try_from(time.as_secs()).ok()
        };
        let (first, last) = (at(view.first_hit), at(view.last_hit));
        if last.is_some() && last >= self.last_hit {
            self.last_source = view.last_source;
        }
        self.last_hit = self.last_hit.max(last);
        self.first_hit = self.first_hit.into_iter().chain(first).min();
        self.last_refused = view.last_refused.or(self.last_refused);
        self.add_sources(&view.top_sources);
        self.sessions += u64::from(view.sessions);
        self.hits += view.hits;
        self.last_braked = view.last_braked.or(self.last_braked);
        self.refused += view.refused;
        self.limited += view.limited;
        self.braked += view.braked;
        self.packets_in += view.packets_in;
        self.octets_in += view.octets_in;
        self.packets_out += view.packets_out;
        self.octets_out += view.octets_out;
    }
}

impl ForwardCounts {
    /// What another worker has seen of sources; where the target has moved from one to another, both have.
    fn add_sources(&mut self, sources: &[(Ipv4Addr, u32, u32)]) {
        for &(source, hits, surplus) in sources {
            let (hits, surplus) = (u64::from(hits), u64::from(surplus));
            match self.top_sources.iter_mut().find(|known| known.source == source) {
                Some(known) => (known.hits, known.surplus) = (known.hits + hits, known.surplus + surplus),
                None => self.top_sources.push(SourceHits { source, hits, surplus }),
            }
        }
        self.top_sources.sort_by_key(|known| (std::cmp::Reverse(known.hits), known.source));
    }
}

/// Looks at the forwards now and then, and tells of first hits, refused sources and limits. Ends with the workers.
pub async fn watch(snapshot: Arc<Snapshot>, worker: WorkerHandle) {
    let mut known = HashMap::new();
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        if snapshot.running().plan.forwards.is_empty() {
            // Nobody's sleep is disturbed for nothing.
            known.clear();
            continue;
        }
        match counts(&worker).await {
            Ok(now) => {
                tell(&snapshot.events, &known, &now);
                known = now;
            }
            Err(WorkerError::Ended) => return,
            // It is busy; the next look will find out.
            Err(WorkerError::Silent) => {}
        }
    }
}

fn tell(events: &EventLog, before: &HashMap<String, ForwardCounts>, now: &HashMap<String, ForwardCounts>) {
    let mut names: Vec<&String> = now.keys().collect();
    names.sort_unstable();
    let mut refusals = 0;
    for name in names {
        let nothing = ForwardCounts::default();
        let (old, new) = (before.get(name).unwrap_or(&nothing), &now[name]);
        if old.hits == 0 && new.hits > 0 {
            let message = match new.last_source {
                Some(source) if new.hits == 1 => format!("forward {name}: first session, from {source}"),
                _ => format!("forward {name}: first {} sessions", new.hits),
            };
            let address = new.last_source.map(IpAddr::V4);
            let event = NewEvent::new(EventKind::FirstHit, message);
            events.push(NewEvent { forward: Some(name.clone()), address, ..event });
        }
        let (refused, braked) = (new.last_refused, new.last_braked);
        let words = |source: Option<Ipv4Addr>| source.map(|source| source.to_string()).unwrap_or_default();
        let kinds = [
            (old.refused, new.refused, refused, EventKind::SourceRefused, "is not admitted"),
            (old.braked, new.braked, braked, EventKind::SourceRefused, "opens sessions too fast"),
            (old.limited, new.limited, None, EventKind::Limit, "it has as many sessions as it may have"),
        ];
        for (before, now, address, kind, what) in kinds {
            // A forward that has gone and come again starts with nothing.
            let times = now.saturating_sub(before);
            if times > 0 && refusals < REFUSALS {
                refusals += 1;
                let who = words(address);
                let message = format!("forward {name}: {who}{}{what}", if who.is_empty() { "" } else { " " });
                let event = NewEvent::new(kind, message);
                let (address, suppressed) = (address.map(IpAddr::V4), times - 1);
                events.push(NewEvent { forward: Some(name.clone()), address, suppressed, ..event });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

    fn view(hits: u64, first: u64, last: u64) -> ForwardView {
        ForwardView {
            name: "web".to_owned(),
            sessions: 1,
            hits,
            refused: 2,
            packets_in: 3,
            octets_in: 300,
            packets_out: 4,
            octets_out: 4_000,
            first_hit: Some(Duration::from_secs(first)),
            last_hit: Some(Duration::from_secs(last)),
            last_source: Some(Ipv4Addr::new(192, 0, 2, hits as u8)),
            last_refused: None,
            limited: 0,
            braked: 0,
            last_braked: None,
            top_sources: vec![(SOURCE, hits as u32, 0), (Ipv4Addr::new(192, 0, 2, 1), 1, 0)],
        }
    }

    #[test]
    fn counts_of_several_workers_are_one() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let mut counts = ForwardCounts::default();
        counts.add(now, &view(1, 500, 20));
        counts.add(now, &view(2, 900, 100));
        assert_eq!((counts.hits, counts.sessions, counts.octets_in, counts.octets_out), (3, 2, 600, 8_000));
        assert_eq!((counts.first_hit, counts.last_hit), (Some(999_100), Some(999_980)));
        assert_eq!(counts.last_source, Some(Ipv4Addr::new(192, 0, 2, 1)));
        let sources: Vec<_> = counts.top_sources.iter().map(|known| (known.source, known.hits)).collect();
        assert_eq!(sources, [(SOURCE, 3), (Ipv4Addr::new(192, 0, 2, 1), 2)]);
        // A clock that is set back to before the router's start has no time for it.
        let mut counts = ForwardCounts::default();
        counts.add(SystemTime::UNIX_EPOCH, &view(1, 500, 20));
        assert_eq!((counts.hits, counts.first_hit), (1, None));
    }

    #[test]
    fn the_first_hit_is_told_once_and_refusals_together() {
        let events = EventLog::default();
        let of = |hits, refused| {
            let (last_source, last_refused) = (Some(SOURCE), (refused > 0).then_some(SOURCE));
            let counts = ForwardCounts { hits, refused, last_source, last_refused, ..Default::default() };
            HashMap::from([("web".to_owned(), counts)])
        };
        let looks = [of(0, 0), of(1, 0), of(5, 0), of(5, 3), of(5, 3), of(0, 0), of(7, 0)];
        for pair in looks.windows(2) {
            tell(&events, &pair[0], &pair[1]);
        }
        let told: Vec<(String, u64)> =
            events.page(0, 10).rows.into_iter().map(|row| (row.message, row.suppressed)).collect();
        let expected = [
            ("forward web: first session, from 198.51.100.7", 0),
            ("forward web: 198.51.100.7 is not admitted", 2),
            ("forward web: first 7 sessions", 0),
        ];
        assert_eq!(told, expected.map(|(text, suppressed)| (text.to_owned(), suppressed)));
    }

    #[test]
    fn limits_are_told_with_what_was_met() {
        let events = EventLog::default();
        let (limited, braked, last_braked) = (3, 1, Some(SOURCE));
        let counts = ForwardCounts { limited, braked, last_braked, ..Default::default() };
        let now = HashMap::from([("web".to_owned(), counts)]);
        tell(&events, &HashMap::new(), &now);
        tell(&events, &now, &now);
        let told: Vec<_> =
            events.page(0, 10).rows.into_iter().map(|row| (row.kind, row.message, row.suppressed)).collect();
        let expected = [
            (EventKind::SourceRefused, "forward web: 198.51.100.7 opens sessions too fast", 0),
            (EventKind::Limit, "forward web: it has as many sessions as it may have", 2),
        ];
        assert_eq!(told, expected.map(|(kind, text, suppressed)| (kind, text.to_owned(), suppressed)));
    }

    #[test]
    fn refusals_everywhere_are_told_of_a_few() {
        let events = EventLog::default();
        let counts = ForwardCounts { refused: 1, last_refused: Some(SOURCE), ..Default::default() };
        let now = (0..1_000).map(|number| (number.to_string(), counts.clone())).collect();
        tell(&events, &HashMap::new(), &now);
        assert_eq!(events.newest(), REFUSALS as u64);
    }
}
