//! How the resolvers and the service itself do: events, problems, and the log.

use std::time::Instant;

use genkan_config::DnsUpstream;
use genkan_control::api::{DnsFault, EventKind};
use genkan_control::events::NewEvent;
use genkan_services::dns::{Event, UpstreamId};
use tracing::{info, warn};

use super::Server;
use crate::daemon::log;

impl Server {
    fn upstream_name(&self, upstream: UpstreamId) -> String {
        let known = self.wanted.as_ref().and_then(|wanted| wanted.upstreams.get(usize::from(upstream.0)));
        known.map_or_else(|| "a resolver".to_owned(), ToString::to_string)
    }

    /// Whether it answers, and refuses.
    fn refuses(&self, upstream: UpstreamId) -> bool {
        let reports = self.desk.state().forwarder.upstream_reports();
        reports.get(usize::from(upstream.0)).is_some_and(|report| report.refuses)
    }

    /// Why a resolver is not to be had, in the log.
    pub(super) fn tell_failure(&mut self, upstream: UpstreamId, error: &str) {
        if let Some(suppressed) = self.limiter.admit("transport", Instant::now()) {
            let resolver = self.upstream_name(upstream);
            info!(resolver, error, suppressed, "a resolver cannot be reached");
        }
    }

    pub(super) fn tell(&mut self, event: Event) {
        let (kind, told, message) = match event {
            Event::Rebinding { name, address } => {
                let message = format!(
                    "the address {address} of {} was withheld: it points inside (dns.rebinding_exceptions)",
                    name.to_ascii()
                );
                (EventKind::AnswerWithheld, "rebinding", message)
            }
            Event::UpstreamDown(upstream) => {
                self.down.push(upstream);
                let how = if self.refuses(upstream) { "refuses what it is asked" } else { "does not answer" };
                let message = format!("the resolver {} {how}", self.upstream_name(upstream));
                (EventKind::ResolverDown, "down", message)
            }
            Event::UpstreamUp(upstream) => {
                self.down.retain(|down| *down != upstream);
                (
                    EventKind::ResolverUp,
                    "up",
                    format!("the resolver {} answers again", self.upstream_name(upstream)),
                )
            }
        };
        if let Some(suppressed) = self.limiter.admit(told, Instant::now()) {
            let mut told = NewEvent::new(kind, message);
            log::tell_event(&told, suppressed);
            told.suppressed = suppressed;
            self.snapshot.events.push(told);
        }
        self.tell_health();
    }

    /// That nobody answers is a problem.
    pub(super) fn tell_health(&mut self) {
        let upstreams = self.wanted.as_ref().map_or(&[][..], |wanted| &wanted.upstreams);
        let (mut unknown, mut silent) = (None, None);
        if self.wanted.is_some() && upstreams.is_empty() {
            let problem = "dns: no resolver is known yet: none is configured, and the wan has not told any";
            unknown = Some(problem.to_owned());
        } else if !upstreams.is_empty() && self.down.len() >= upstreams.len() {
            let name = |(index, upstream): (usize, &DnsUpstream)| {
                let refuses = self.refuses(UpstreamId(index as u8));
                format!("{upstream}{}", if refuses { " refuses" } else { "" })
            };
            let names: Vec<String> = upstreams.iter().enumerate().map(name).collect();
            silent = Some(format!("dns: no resolver answers ({})", names.join(", ")));
        }
        self.problem(DnsFault::NoResolver, unknown);
        self.problem(DnsFault::Silent, silent);
    }

    /// Replaces the problems of a kind.
    pub(super) fn problem(&mut self, fault: DnsFault, problems: impl IntoIterator<Item = String>) {
        let problems: Vec<String> = problems.into_iter().collect();
        let all = (!problems.is_empty()).then(|| problems.join("; "));
        if self.snapshot.set_problem(&format!("dns {}", fault.name()), all.clone())
            && let Some(all) = all
        {
            warn!("{all}");
        }
        self.problems.insert(fault, problems);
    }
}
