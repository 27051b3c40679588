//! Who waits for answers to questions of the router's own.

use genkan_engine::Router;
use genkan_engine::probe::ProbeAnswer;
use tokio::sync::mpsc;

/// Of one worker.
#[derive(Default)]
pub(super) struct Askers(Vec<(u64, mpsc::Sender<ProbeAnswer>)>);

impl Askers {
    /// Answers to this probe go there from now on.
    pub(super) fn add(&mut self, id: u64, answers: mpsc::Sender<ProbeAnswer>) {
        self.0.retain(|(known, asker)| *known != id && !asker.is_closed());
        self.0.push((id, answers));
    }

    /// Passes on what has come.
    pub(super) fn pass_on(&self, router: &mut Router) {
        if self.0.is_empty() {
            return;
        }
        while let Some((id, answer)) = router.poll_probe() {
            if let Some((_, asker)) = self.0.iter().find(|(known, _)| *known == id) {
                // Who does not take its answers has given up, or has many.
                let _ = asker.try_send(answer);
            }
        }
    }
}
