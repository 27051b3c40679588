//! The event log: what happened lately, in memory, for anybody who asks and everybody who listens.
//!
//! Events get ascending ids. The last [`KEPT`] are kept; a reader names the last id that it has seen and gets what
//! came after. Nothing waits for a reader: a slow one finds a gap between its id and the oldest that is kept. One
//! further listener, the sink, is handed each event as it comes (the event file); it too may lose some, never
//! hold anybody up.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::mpsc::SyncSender;
use std::sync::{Mutex, MutexGuard, PoisonError};

use genkan_engine::plan::{ForwardRule, Plan};
use tokio::sync::watch;

use crate::api::{EventKind, EventPage, EventRow};

/// Events kept in memory: some megabytes.
pub const KEPT: usize = 10_000;

/// Events of one answer when the query does not say.
pub const DEFAULT_EVENTS: u32 = 1_000;

/// Forwards that one change of the configuration tells of by name.
pub const TURNED: usize = 100;

/// An event about to be told. Everything but its kind and its words may be absent.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// What kind of thing it is.
    pub kind: EventKind,
    /// For people.
    pub message: String,
    /// The forward that it is about.
    pub forward: Option<String>,
    /// The port that it is about.
    pub port: Option<String>,
    /// The address that it is about.
    pub address: Option<IpAddr>,
    /// How many like it went untold before.
    pub suppressed: u64,
}

impl NewEvent {
    /// An event with nothing but its words.
    pub fn new(kind: EventKind, message: impl Into<String>) -> NewEvent {
        let message = message.into();
        NewEvent { kind, message, forward: None, port: None, address: None, suppressed: 0 }
    }
}

#[derive(Debug, Default)]
struct Ring {
    rows: VecDeque<EventRow>,
    newest: u64,
    sink: Option<SyncSender<EventRow>>,
}

/// The last events, and who listens.
#[derive(Debug)]
pub struct EventLog {
    ring: Mutex<Ring>,
    /// The newest id; `None` when nothing will come any more.
    newest: watch::Sender<Option<u64>>,
}

impl Default for EventLog {
    fn default() -> EventLog {
        EventLog { ring: Mutex::default(), newest: watch::Sender::new(Some(0)) }
    }
}

impl EventLog {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        // Nothing in here panics half-way.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells an event. Returns its id.
    pub fn push(&self, event: NewEvent) -> u64 {
        let NewEvent { kind, message, forward, port, address, suppressed } = event;
        let time = format!("{:.3}", jiff::Timestamp::now());
        let mut ring = self.ring();
        ring.newest += 1;
        let id = ring.newest;
        let row = EventRow { id, time, kind, forward, port, address, message, suppressed };
        if let Some(sink) = &ring.sink {
            // A full sink has lost it; the gap in the ids shows there.
            let _ = sink.try_send(row.clone());
        }
        if ring.rows.len() == KEPT {
            ring.rows.pop_front();
        }
        ring.rows.push_back(row);
        // Under the lock, so that ids only rise for those who watch.
        self.newest.send_if_modified(|newest| newest.as_mut().map(|newest| *newest = id).is_some());
        id
    }

    /// Takes over what an earlier run has told, and numbers on from there. Only before anything was pushed; rows that
    /// are not in ascending order are left out.
    pub fn restore(&self, rows: impl IntoIterator<Item = EventRow>) {
        let mut ring = self.ring();
        for row in rows {
            if row.id > ring.newest {
                ring.newest = row.id;
                if ring.rows.len() == KEPT {
                    ring.rows.pop_front();
                }
                ring.rows.push_back(row);
            }
        }
        let newest = ring.newest;
        self.newest.send_if_modified(|known| known.as_mut().map(|known| *known = newest).is_some());
    }

    /// Hands each event from now on to `sink` as well.
    pub fn set_sink(&self, sink: SyncSender<EventRow>) {
        self.ring().sink = Some(sink);
    }

    /// The id of the last event, 0 before the first.
    pub fn newest(&self) -> u64 {
        self.ring().newest
    }

    /// Up to `limit` events after `since`, oldest first.
    pub fn page(&self, since: u64, limit: usize) -> EventPage {
        let ring = self.ring();
        let first = ring.rows.partition_point(|row| row.id <= since);
        let rows: Vec<EventRow> = ring.rows.range(first..).take(limit).cloned().collect();
        EventPage {
            next: rows.last().map_or_else(|| since.min(ring.newest), |row| row.id),
            more: first + rows.len() < ring.rows.len(),
            oldest: ring.rows.front().map_or(ring.newest + 1, |row| row.id),
            rows,
        }
    }

    /// Waits for events after `since` and returns the first of them; `None` when none will come.
    pub async fn after(&self, since: u64) -> Option<EventPage> {
        let mut newest = self.newest.subscribe();
        // An id from another state folder may be far ahead of ours: such a reader starts with the next one.
        let since = since.min(self.newest());
        newest.wait_for(|newest| newest.is_none_or(|newest| newest > since)).await.ok()?;
        let page = self.page(since, 256);
        (!page.rows.is_empty()).then_some(page)
    }

    /// Whether nothing will come any more: the router ends.
    pub fn is_closed(&self) -> bool {
        self.newest.borrow().is_none()
    }

    /// Nothing will come any more: whoever waits is told, and the sink ends.
    pub fn close(&self) {
        self.ring().sink = None;
        self.newest.send_replace(None);
    }

    /// Tells what a new configuration opens and closes: each forward, or how many of them when there are too many for
    /// people to read (more than [`TURNED`]).
    pub fn plan_changed(&self, before: &Plan, after: &Plan) {
        let by_name = |plan: &'_ Plan| -> HashMap<String, ForwardRule> {
            plan.forwards.iter().map(|rule| (rule.name.clone(), rule.clone())).collect()
        };
        let (known, kept) = (by_name(before), by_name(after));
        let removed = before.forwards.iter().filter(|rule| rule.enabled && !kept.contains_key(&rule.name));
        let removed = removed.map(|rule| (EventKind::ForwardClosed, rule, "is removed and closed"));
        let turned = after.forwards.iter().filter_map(|rule| match (known.get(&rule.name), rule.enabled) {
            (None, true) => Some((EventKind::ForwardOpened, rule, "is open")),
            (Some(old), true) if !old.enabled => {
                Some((EventKind::ForwardOpened, rule, "is enabled and open"))
            }
            (Some(old), true) if old != rule => {
                Some((EventKind::ForwardOpened, rule, "has changed and is open"))
            }
            (Some(old), false) if old.enabled => {
                Some((EventKind::ForwardClosed, rule, "is disabled and closed"))
            }
            _ => None,
        });
        let mut left_out = 0;
        for (number, (kind, rule, what)) in removed.chain(turned).enumerate() {
            if number >= TURNED {
                left_out += 1;
                continue;
            }
            let message = format!("forward {} {what}", rule.name);
            self.push(NewEvent { forward: Some(rule.name.clone()), ..NewEvent::new(kind, message) });
        }
        if left_out > 0 {
            let message = format!("{left_out} further forwards have opened, closed or changed");
            self.push(NewEvent::new(EventKind::Configuration, message));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use super::*;

    fn message(text: &str) -> NewEvent {
        NewEvent::new(EventKind::Other, text)
    }

    #[test]
    fn readers_go_on_after_the_last_that_they_have_seen() {
        let log = EventLog::default();
        assert_eq!(log.page(0, 10), EventPage { oldest: 1, ..EventPage::default() });
        for text in ["a", "b", "c"] {
            log.push(message(text));
        }
        let page = log.page(0, 2);
        assert_eq!(page.rows.iter().map(|row| row.message.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((page.next, page.more, page.oldest), (2, true, 1));
        let page = log.page(page.next, 2);
        assert_eq!((page.rows.len(), page.next, page.more), (1, 3, false));
        // An id that was never given out.
        let page = log.page(77, 2);
        assert_eq!((page.rows.len(), page.next), (0, 3));
    }

    #[test]
    fn memory_is_bounded_and_the_gap_shows() {
        let log = EventLog::default();
        for _ in 0..KEPT + 5 {
            log.push(message("again"));
        }
        let page = log.page(1, usize::MAX);
        assert_eq!((page.rows.len(), page.oldest, page.next), (KEPT, 6, KEPT as u64 + 5));
    }

    #[test]
    fn an_earlier_run_is_taken_over_and_numbered_on() {
        let old = EventLog::default();
        for text in ["a", "b"] {
            old.push(message(text));
        }
        let mut rows = old.page(0, 10).rows;
        rows.push(rows[0].clone());
        let log = EventLog::default();
        log.restore(rows);
        assert_eq!(log.push(message("c")), 3);
        assert_eq!(log.page(0, 10).rows.len(), 3);
    }

    #[test]
    fn a_sink_that_is_full_holds_nobody_up() {
        let log = EventLog::default();
        let (sink, taken) = std::sync::mpsc::sync_channel(1);
        log.set_sink(sink);
        log.push(message("taken"));
        log.push(message("lost"));
        log.close();
        assert_eq!(taken.iter().map(|row| row.message).collect::<Vec<_>>(), ["taken"]);
    }

    #[tokio::test]
    async fn who_waits_is_told_and_let_go_at_the_end() {
        let log = Arc::new(EventLog::default());
        let waiting = tokio::spawn({
            let log = log.clone();
            async move {
                let first = log.after(0).await.map(|page| page.next);
                // Ahead of us: it gets the next one all the same.
                let second = log.after(1_000).await;
                (first, second)
            }
        });
        log.push(message("a"));
        while !waiting.is_finished() {
            log.close();
            tokio::task::yield_now().await;
        }
        let (first, second) = waiting.await.expect("no panic");
        assert!(first == Some(1) || first.is_none());
        assert_eq!(second, None);
    }

    #[test]
    fn a_new_plan_tells_what_it_opens_and_closes() {
        let base = crate::snapshot::tests::plan();
        let rule = |name: &str, enabled| ForwardRule {
            name: name.to_owned(),
            protocols: Vec::new(),
            ports: Vec::new(),
            to: Ipv4Addr::new(192, 168, 0, 10),
            address: None,
            from: Vec::new(),
            enabled,
            expires: None,
            log: false,
            max_sessions: None,
            max_new_per_source: None,
        };
        let plan = |forwards| Plan { forwards, ..base.clone() };
        let log = EventLog::default();
        let before = plan(vec![rule("gone", true), rule("on", false), rule("off", true), rule("same", true)]);
        let after = plan(vec![rule("on", true), rule("off", false), rule("same", true), rule("new", true)]);
        log.plan_changed(&before, &after);
        let told: Vec<_> = log.page(0, 10).rows.into_iter().map(|row| (row.kind, row.message)).collect();
        let expected = [
            (EventKind::ForwardClosed, "forward gone is removed and closed"),
            (EventKind::ForwardOpened, "forward on is enabled and open"),
            (EventKind::ForwardClosed, "forward off is disabled and closed"),
            (EventKind::ForwardOpened, "forward new is open"),
        ];
        assert_eq!(told, expected.map(|(kind, text)| (kind, text.to_owned())));

        // Thousands are told in one line, or they would be all that the log still knows.
        let many = plan((0..5_000).map(|number| rule(&number.to_string(), true)).collect());
        let log = EventLog::default();
        log.plan_changed(&base, &many);
        assert_eq!(log.newest(), TURNED as u64 + 1);
    }
}
