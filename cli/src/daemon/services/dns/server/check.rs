//! Whether resolvers answer now, for who asks: those that nobody has asked for long are asked first.

use std::time::{Duration, Instant};

use genkan_control::api::DnsReport;
use genkan_control::snapshot::DnsQuestion;
use tokio::sync::oneshot;

use super::Server;

/// Resolvers are not asked more often than that.
const PAUSE: Duration = Duration::from_secs(5);

/// The check that is under way, or was.
#[derive(Debug, Default)]
pub(super) struct Check {
    began: Option<Instant>,
    waiting: Vec<oneshot::Sender<DnsReport>>,
}

impl Server {
    /// Somebody wants to know how the service does.
    pub(super) fn asked(&mut self, question: DnsQuestion) {
        if !question.checks {
            // Who asked may have gone.
            let _ = question.reply.send(self.report());
            return;
        }
        self.check.waiting.push(question.reply);
        if self.check.began.is_none_or(|began| began.elapsed() >= PAUSE) {
            self.check.began = Some(Instant::now());
            let (now, random) = (self.desk.now(), &mut || self.random.next());
            self.desk.state().forwarder.check_upstreams(now, random, &mut self.actions);
        }
    }

    /// Tells those who wait for a check, once it is over.
    pub(super) fn end_check(&mut self) {
        if self.check.waiting.is_empty() || self.desk.state().forwarder.is_checking() {
            return;
        }
        for reply in std::mem::take(&mut self.check.waiting) {
            // Who asked may have gone.
            let _ = reply.send(self.report());
        }
    }
}
