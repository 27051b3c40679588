//! The forwarder's side of the upstreams: attempts, answers, time-outs.
//!
//! An answer counts when everything fits: it came from the upstream's address by the transport of the attempt (its own
//! port, over UDP), with its identifier and its question, over UDP in the very letters. Whatever else comes is passed
//! over, and the attempt waits on.

use std::net::SocketAddr;

use genkan_engine::Timestamp;

use super::answer::Answer;
use super::authored;
use super::cache::Found;
use super::check;
use super::exchange::{Attempt, Waiter};
use super::forwarder::{Action, Event, Forwarder, aged, reply, stale};
use super::message::{
    Body, Key, RCODE_FORMAT_ERROR, RCODE_NAME_ERROR, RCODE_NO_ERROR, RCODE_NOT_IMPLEMENTED,
    RCODE_SERVER_FAILURE, is_about_the_name, u16_at,
};
use super::rebinding;
use super::upstream::{Protocol, Transport, UpstreamId};

/// For how long it is remembered that no upstream had an answer, in seconds (RFC 9520 section 3.2: at least one).
const FAILURE_LIFETIME: u32 = 5;
/// The same for answers that were withheld.
const WITHHELD_LIFETIME: u32 = 10;

fn equal_but_for_case(one: &[u8], other: &[u8]) -> bool {
    let name = one.len().saturating_sub(4);
    one.len() == other.len()
        && one[..name].eq_ignore_ascii_case(&other[..name])
        && one[name..] == other[name..]
}

impl Forwarder {
    /// Octets came from `source` by `transport`.
    pub fn answer(
        &mut self,
        now: Timestamp,
        random: &mut dyn FnMut() -> u64,
        source: SocketAddr,
        transport: Transport,
        octets: &[u8],
        actions: &mut Vec<Action>,
    ) {
        let used = self.matching_answer(now, random, source, transport, octets, actions);
        if used.is_none() {
            self.statistics.ignored_answers += 1;
        }
    }

    fn matching_answer(
        &mut self,
        now: Timestamp,
        random: &mut dyn FnMut() -> u64,
        source: SocketAddr,
        transport: Transport,
        octets: &[u8],
        actions: &mut Vec<Action>,
    ) -> Option<()> {
        let upstream = self.upstreams.by_source(source, transport)?;
        let id = u16_at(octets, 0)?;
        let Some(key) = self.exchanges.find(upstream, transport, id) else {
            return self.late_answer(now, upstream, transport, octets, actions);
        };
        let answer = Answer::parse(octets).ok()?;
        let attempt = self.exchanges.attempt_of(&key, upstream, transport, id)?;
        let (asked, with_edns, sent_at) = (&*attempt.question, attempt.with_edns, attempt.sent_at);
        if check::is_of_check(&key) {
            let after = now.saturating_since(sent_at);
            self.checked(now, upstream, answer.rcode, after, actions);
            self.end_check(&key, actions);
            return Some(());
        }
        let is_datagram = matches!(transport, Transport::Udp { .. });
        let in_other_letters = answer.question() != asked;
        if in_other_letters && !equal_but_for_case(answer.question(), asked) {
            return None;
        }
        if is_datagram && (in_other_letters || answer.truncated()) {
            // A server that does not keep the case, or somebody who guessed all but that: a connection tells.
            self.exchanges.drop_attempts(&key, upstream, transport, Some(id), actions);
            self.attempt(now, random, &key, upstream, Transport::Tcp, actions);
            self.advance(now, random, &key, actions);
            return if in_other_letters { None } else { Some(()) };
        }
        let not_understood = [RCODE_FORMAT_ERROR, RCODE_NOT_IMPLEMENTED].map(u16::from);
        if with_edns && !answer.with_opt && not_understood.contains(&answer.rcode) {
            // RFC 6891 section 7: a server of before EDNS.
            self.upstreams.refused_edns(upstream, now);
            self.exchanges.drop_attempts(&key, upstream, transport, Some(id), actions);
            self.attempt(now, random, &key, upstream, transport, actions);
            self.advance(now, random, &key, actions);
            return Some(());
        }
        let final_rcodes = [RCODE_NO_ERROR, RCODE_NAME_ERROR].map(u16::from);
        if answer.truncated() || !final_rcodes.contains(&answer.rcode) {
            // SERVFAIL is about the name.
            if answer.rcode == u16::from(RCODE_SERVER_FAILURE) {
                self.upstream_succeeded(upstream, now, actions);
            } else if answer.truncated() {
                self.upstream_failed(upstream, now, actions);
            } else {
                self.upstream_refused(upstream, now, actions);
                if let Some(exchange) = self.exchanges.of(&key) {
                    exchange.turns.leave_out(upstream);
                }
            }
            self.exchanges.drop_attempts(&key, upstream, transport, Some(id), actions);
            self.advance(now, random, &key, actions);
            return Some(());
        }
        self.upstream_succeeded(upstream, now, actions);
        self.upstreams.answered(upstream, now, now.saturating_since(sent_at));
        self.exchanges.drop_attempts(&key, upstream, transport, Some(id), actions);
        let (body, lifetime) = self.admit(&key, &answer, actions);
        for Waiter { client, query } in self.exchanges.end(&key, actions) {
            actions.push(reply(client, &query, &body, |ttl| aged(ttl, 0)));
            self.count(client, |counters| counters.forwarded += 1);
        }
        self.cache.insert(&key, body, lifetime, now);
        Some(())
    }

    /// An answer that another upstream was faster with: it tells how this one does.
    fn late_answer(
        &mut self,
        now: Timestamp,
        upstream: UpstreamId,
        transport: Transport,
        octets: &[u8],
        actions: &mut Vec<Action>,
    ) -> Option<()> {
        let (id, answer) = (u16_at(octets, 0)?, Answer::parse(octets).ok()?);
        let is_meant = |attempt: &Attempt| {
            (attempt.transport, attempt.id) == (transport, id)
                && equal_but_for_case(answer.question(), &attempt.question)
        };
        let attempt = self.exchanges.take_laggard(upstream, is_meant, actions)?;
        if is_about_the_name(answer.rcode) {
            self.upstream_succeeded(upstream, now, actions);
            self.upstreams.answered(upstream, now, now.saturating_since(attempt.sent_at));
        } else {
            self.upstream_refused(upstream, now, actions);
        }
        Some(())
    }

    /// What goes to the clients for this answer, and for how many seconds it is kept.
    fn admit(&mut self, key: &Key, answer: &Answer<'_>, actions: &mut Vec<Action>) -> (Body, u32) {
        let question = answer.question();
        let name = &key[..question.len() - 4];
        let checked = self.exceptions.as_ref().filter(|exceptions| !exceptions.contain(name));
        match checked.and_then(|_| rebinding::internal_address(answer)) {
            Some(address) => {
                self.statistics.rebinding += 1;
                let event = authored::to_name(name).map(|name| Event::Rebinding { name, address });
                actions.extend(event.map(Action::Event));
                (authored::nothing(question, true, name, WITHHELD_LIFETIME), WITHHELD_LIFETIME)
            }
            None => (answer.body(), answer.lifetime()),
        }
    }

    /// A port could not be opened, or a connection was refused or ended: what was asked by it is asked otherwise.
    pub fn transport_failed(
        &mut self,
        now: Timestamp,
        random: &mut dyn FnMut() -> u64,
        upstream: UpstreamId,
        transport: Transport,
        actions: &mut Vec<Action>,
    ) {
        if !self.upstreams.is_known(upstream) {
            return;
        }
        let keys = self.exchanges.all_by(upstream, transport);
        let is_meant = |attempt: &Attempt| attempt.transport == transport;
        let laggard = self.exchanges.take_laggard(upstream, is_meant, actions);
        // A connection that ends while nobody waits on it is no failure.
        if !keys.is_empty() || laggard.is_some() {
            self.upstream_failed(upstream, now, actions);
        }
        for key in keys {
            self.exchanges.drop_attempts(&key, upstream, transport, None, actions);
            self.advance(now, random, &key, actions);
        }
    }

    /// Time has passed.
    pub fn handle_timeout(
        &mut self,
        now: Timestamp,
        random: &mut dyn FnMut() -> u64,
        actions: &mut Vec<Action>,
    ) {
        while let Some(key) = self.exchanges.due(now) {
            let Some(exchange) = self.exchanges.of(&key) else { return };
            let mut failed = Vec::new();
            for attempt in &mut exchange.attempts {
                if attempt.timeout.is_some_and(|at| at <= now) {
                    attempt.timeout = None;
                    failed.push(attempt.upstream);
                }
            }
            let is_over = exchange.deadline <= now;
            let is_stale_due = exchange.stale_at.is_some_and(|at| at <= now);
            if is_stale_due {
                exchange.stale_at = None;
            }
            for upstream in failed {
                self.upstream_failed(upstream, now, actions);
            }
            if is_over {
                self.fail(now, &key, actions);
                continue;
            }
            if is_stale_due && matches!(self.cache.find(&key, now), Some(Found::Stale(..))) {
                for waiter in self.exchanges.take_waiters(&key) {
                    self.reply_stale(now, &key, &waiter, actions);
                }
            }
            self.advance(now, random, &key, actions);
        }
        for upstream in self.exchanges.silent_laggards(now, actions) {
            self.upstream_failed(upstream, now, actions);
        }
    }

    /// Makes the attempts that an exchange is due, or ends it when there is nothing more to try.
    pub(super) fn advance(
        &mut self,
        now: Timestamp,
        random: &mut dyn FnMut() -> u64,
        key: &Key,
        actions: &mut Vec<Action>,
    ) {
        loop {
            let Some(exchange) = self.exchanges.of(key) else { return };
            if exchange.attempts.iter().any(|attempt| attempt.timeout.is_some()) {
                return self.exchanges.rearm(key);
            }
            let chosen = exchange.turns.next();
            if chosen.is_empty() {
                if exchange.attempts.is_empty() {
                    return self.fail(now, key, actions);
                }
                return self.exchanges.rearm(key);
            }
            for upstream in chosen {
                let transport = match self.upstreams.protocol(upstream) {
                    Protocol::Plain => Transport::Udp { port: 0 },
                    Protocol::Tls => Transport::Tls,
                };
                self.attempt(now, random, key, upstream, transport, actions);
            }
        }
    }

    fn attempt(
        &mut self,
        now: Timestamp,
        random: &mut dyn FnMut() -> u64,
        key: &Key,
        upstream: UpstreamId,
        transport: Transport,
        actions: &mut Vec<Action>,
    ) {
        let with_edns = self.upstreams.knows_edns(upstream, now);
        if self.exchanges.attempt(now, random, key, upstream, transport, with_edns, actions) {
            self.upstreams.asked(upstream);
        }
    }

    /// No upstream had an answer: those who wait get a stale one, or learn that.
    fn fail(&mut self, now: Timestamp, key: &Key, actions: &mut Vec<Action>) {
        if check::is_of_check(key) {
            return self.end_check(key, actions);
        }
        let Some(exchange) = self.exchanges.of(key) else { return };
        let failure = authored::bare(&exchange.query.question, RCODE_SERVER_FAILURE);
        let waiters = self.exchanges.end(key, actions);
        if !self.cache.refresh_failed(key, now) {
            self.cache.insert(key, failure, FAILURE_LIFETIME, now);
        }
        for waiter in waiters {
            self.reply_stale(now, key, &waiter, actions);
        }
    }

    /// The stale answer, or SERVFAIL.
    fn reply_stale(&mut self, now: Timestamp, key: &Key, waiter: &Waiter, actions: &mut Vec<Action>) {
        let Waiter { client, query } = waiter;
        if let Some(Found::Stale(body, _)) = self.cache.find(key, now) {
            actions.push(reply(*client, query, body, stale));
            return self.count(*client, |counters| counters.stale += 1);
        }
        actions.push(Action::Reply { client: *client, octets: query.error(RCODE_SERVER_FAILURE) });
        self.count(*client, |counters| counters.failed += 1);
    }

    pub(super) fn upstream_succeeded(
        &mut self,
        upstream: UpstreamId,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        if self.upstreams.succeeded(upstream, now) {
            actions.push(Action::Event(Event::UpstreamUp(upstream)));
        }
    }

    fn upstream_refused(&mut self, upstream: UpstreamId, now: Timestamp, actions: &mut Vec<Action>) {
        if self.upstreams.refused(upstream, now) {
            actions.push(Action::Event(Event::UpstreamDown(upstream)));
        }
    }

    fn upstream_failed(&mut self, upstream: UpstreamId, now: Timestamp, actions: &mut Vec<Action>) {
        if self.upstreams.failed(upstream, now) {
            actions.push(Action::Event(Event::UpstreamDown(upstream)));
        }
    }
}
