//! What is open, by the configuration in force and what the workers have counted.

use genkan_control::api::{AuditQuery, AuditReport, ErrorBody, ErrorCode};
use genkan_control::forwards::counts;
use genkan_control::server::Reply;

use super::changes::wall_seconds;
use super::event_loop::Daemon;
use crate::audit::Facts;
use crate::words::{Language, Words};

impl Daemon {
    /// Asks the workers, and has the rest done beside the event loop.
    pub(super) async fn audit(&self, query: AuditQuery, reply: Reply<AuditReport>) {
        let refuse = |code, message| Err(ErrorBody { code, message });
        let language = match query.language.as_deref().map_or(Some(Language::English), Language::of_code) {
            Some(language) => language,
            None => {
                let _ = reply.send(refuse(ErrorCode::BadRequest, "language: accepted: en, ja".to_owned()));
                return;
            }
        };
        let mut counts = match counts(&self.control.worker).await {
            Ok(counts) => counts,
            Err(error) => {
                let _ = reply.send(refuse(ErrorCode::WorkerUnavailable, error.to_string()));
                return;
            }
        };
        let (_, mut rows) = self.snapshot().forwards();
        for row in &mut rows {
            row.counts = counts.remove(&row.name).unwrap_or_default();
        }
        let (loaded, wall, counted) = (self.loaded.clone(), wall_seconds(), self.snapshot().uptime());
        let states = self.hours.openings().judge(&loaded, wall).states;
        tokio::task::spawn_blocking(move || {
            let running = Some((rows.as_slice(), counted.as_secs() as i64));
            let facts = Facts { loaded: &loaded, states: &states, running, now: wall.0 };
            let _ = reply.send(Ok(facts.audit(&Words::new(language))));
        });
    }
}
