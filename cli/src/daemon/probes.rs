//! Who waits for answers to questions of the router's own.

use genkan_engine::Router;
use genkan_engine::presence::Presence;
use genkan_engine::probe::ProbeAnswer;
use genkan_engine::sightings::Sighting;
use tokio::sync::mpsc;

/// Of one worker.
#[derive(Default)]
pub(super) struct Askers {
    probes: Vec<(u64, mpsc::Sender<ProbeAnswer>)>,
    /// Who wants to know whether addresses are in use.
    presence: Option<mpsc::Sender<Presence>>,
    /// Who wants to know where known devices are.
    devices: Option<mpsc::Sender<Sighting>>,
}

impl Askers {
    /// Answers to this probe go there from now on.
    pub(super) fn add(&mut self, id: u64, answers: mpsc::Sender<ProbeAnswer>) {
        self.probes.retain(|(known, asker)| *known != id && !asker.is_closed());
        self.probes.push((id, answers));
    }

    /// Signs of life go there from now on.
    pub(super) fn watch_presence(&mut self, answers: mpsc::Sender<Presence>) {
        self.presence = Some(answers);
    }

    /// Sightings go there from now on.
    pub(super) fn watch_devices(&mut self, sightings: mpsc::Sender<Sighting>) {
        self.devices = Some(sightings);
    }

    /// Passes on what has come.
    pub(super) fn pass_on(&self, router: &mut Router) {
        if let Some(asker) = &self.presence {
            while let Some(presence) = router.poll_presence() {
                // One that has so many waiting learns of it by the next question.
                let _ = asker.try_send(presence);
            }
        }
        if let Some(listener) = &self.devices {
            while let Some(sighting) = router.poll_sighting() {
                // What is lost is found out when the device is asked for next.
                let _ = listener.try_send(sighting);
            }
        }
        if self.probes.is_empty() {
            return;
        }
        while let Some((id, answer)) = router.poll_probe() {
            if let Some((_, asker)) = self.probes.iter().find(|(known, _)| *known == id) {
                // Who does not take its answers has given up, or has many.
                let _ = asker.try_send(answer);
            }
        }
    }
}
