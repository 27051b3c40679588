//! The new program's part: it goes on where the running one stops.

use std::fs::File;
use std::io::{self, BufReader, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::parent_id;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use genkan_control::api::Sandbox;
use genkan_control::socket::ControlSocket;
use genkan_engine::PortId;
use genkan_io::passage::Passage;
use tracing::{info, warn};

use super::{Inheritance, InheritedPort, Lifeline, Message, Offer, STEPS, receive, send};
use crate::daemon::devices::Devices;
use crate::daemon::forwarder::KnownNeighbor;
use crate::daemon::sessions::format;
use crate::daemon::sessions::restoring::Source;
use crate::daemon::worker::{Before, Beginning};
use crate::output::Failure;

/// How long the running program may take for a step that is its own.
const PATIENCE: Duration = Duration::from_secs(10);

/// The running program, as the new one sees it.
pub(crate) struct Predecessor {
    passage: Arc<Passage>,
    /// Its process id: that of our parent, until it has ended.
    pid: u32,
    offer: Offer,
    control: Option<(OwnedFd, OwnedFd)>,
    history: Option<OwnedFd>,
    lifeline: Option<Lifeline>,
    ports: Inheritance,
}

/// Where to say that nothing comes of it.
pub(crate) struct Refusal(Arc<Passage>);

impl Refusal {
    /// Says why.
    pub(crate) fn send(&self, text: &str) {
        // Our exit status says the rest.
        let _ = send(&self.0, &Message::Refused { text: text.to_owned() }, &[]);
    }
}

impl Predecessor {
    /// Hears from the program whose child this process is what there is to take over. Its end of the passage is standard
    /// input.
    ///
    /// # Errors
    /// When there is no such program, or it is another kind of Genkan.
    pub(crate) fn meet() -> Result<Predecessor, Failure> {
        let failed = |error: io::Error| Failure::new("nothing to take over", &error);
        let pid = parent_id();
        let passage = io::stdin().as_fd().try_clone_to_owned().map(Passage::from_descriptor);
        let passage = Arc::new(passage.map_err(failed)?);
        let next = || match receive(&passage, PATIENCE) {
            Ok(Some(received)) => Ok(received),
            Ok(None) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) => Err(error),
        };
        let (message, descriptors) = next().map_err(failed)?;
        let Message::Offer(offer) = message else {
            return Err(Failure::message("nothing to take over: an offer was to come first"));
        };
        let refuse = |text: String| {
            Refusal(passage.clone()).send(&text);
            Failure::message(text)
        };
        if (offer.steps, offer.sessions) != (STEPS, format::VERSION) {
            return Err(refuse(format!(
                "version {} cannot take over from the running {}: restart the router instead; sessions that it saves \
                 at its end come back if the new one can read them",
                env!("CARGO_PKG_VERSION"),
                offer.version
            )));
        }
        let mut descriptors = descriptors.into_iter();
        let control = descriptors.next().zip(descriptors.next());
        let history = descriptors.next();
        let lifeline = descriptors.next().map(Lifeline::from_descriptor);
        let mut ports = Inheritance::default();
        for _ in 0..offer.ports {
            match next().map_err(failed)? {
                (Message::Port(offer), descriptors) => ports.put(InheritedPort { offer, descriptors }),
                _ => return Err(refuse("the offer of a port was to come".to_owned())),
            }
        }
        Ok(Predecessor { passage, pid, offer, control, history, lifeline, ports })
    }

    /// For as long as it may come to nothing.
    pub(crate) fn refusal(&self) -> Refusal {
        Refusal(self.passage.clone())
    }

    /// What it has given up, which holds for its children.
    pub(crate) fn sandbox(&self) -> Option<Sandbox> {
        self.offer.sandbox.clone()
    }

    /// How many programs were before this one.
    pub(crate) fn upgrades(&self) -> u32 {
        self.offer.upgrades
    }

    /// Its control socket. To be called once.
    pub(crate) fn control_socket(&mut self, path: &Path) -> Result<ControlSocket, Failure> {
        let (listener, lock) =
            self.control.take().ok_or_else(|| Failure::message("the control socket was not offered"))?;
        Ok(ControlSocket::adopt(path, listener, lock)?)
    }

    /// What lets us open the history that it has. To be called once.
    pub(crate) fn history(&mut self) -> Result<OwnedFd, Failure> {
        self.history.take().ok_or_else(|| Failure::message("the history was not offered"))
    }

    /// What its devices are.
    ///
    /// # Errors
    /// When this program would have another number of workers.
    pub(crate) fn ports(&mut self, workers: u8) -> Result<Inheritance, Failure> {
        if workers != self.offer.workers {
            let (before, now) = (self.offer.workers, workers);
            let text = format!("another number of workers ({now} instead of {before}) needs a restart");
            return Err(Failure::message(text));
        }
        Ok(std::mem::take(&mut self.ports))
    }

    /// By what this process hears from the one that supervisors know.
    pub(crate) fn lifeline(&mut self) -> Option<Lifeline> {
        self.lifeline.take()
    }

    /// Says that everything is ready, and waits until the running program has stopped. With its sessions, unless it has
    /// ended without leaving any.
    ///
    /// # Errors
    /// When its sessions cannot be read, or the devices cannot be used.
    pub(crate) fn take_over(
        &self,
        devices: &mut Devices,
        names: &[(PortId, String)],
    ) -> Result<Beginning, Failure> {
        let ready = Message::Ready { version: env!("CARGO_PKG_VERSION").to_owned() };
        // Should it have ended, the next step finds out.
        let _ = send(&self.passage, &ready, &[]);
        let heard = self.wait_for_go(devices)?;
        let Some((until, mut descriptors)) = heard else {
            warn!("the running program has ended; going on with the sessions that it had saved");
            self.wait_for_end();
            devices.let_in()?;
            return Ok(Beginning::default());
        };
        let neighbors = descriptors.pop().map(|file| neighbors(file.into())).unwrap_or_default();
        let sessions = descriptors.pop().ok_or_else(|| Failure::message("the sessions were to come"))?;
        let opened = Source::open(sessions.into(), names);
        let (source, _) = opened
            .map_err(|error| Failure::new("the sessions of the running program cannot be read", &error))?;
        Ok(Beginning { source: Some(source), before: Some(Before { until, neighbors }) })
    }

    fn wait_for_go(&self, devices: &mut Devices) -> Result<Option<(Duration, Vec<OwnedFd>)>, Failure> {
        loop {
            match receive(&self.passage, PATIENCE) {
                Ok(Some((Message::Begin, _))) => {
                    devices.let_in()?;
                    let _ = send(&self.passage, &Message::Gathering, &[]);
                }
                Ok(Some((Message::Go { until }, descriptors))) => return Ok(Some((until, descriptors))),
                Ok(None) => return Ok(None),
                Ok(Some(_)) => return Err(Failure::message("the running program said what was not due")),
                Err(error) => return Err(Failure::new("the running program does not go on", &error)),
            }
        }
    }

    /// Waits until it has ended altogether, so that nothing is its own any more. It may have closed our passage first.
    fn wait_for_end(&self) {
        let deadline = Instant::now() + PATIENCE;
        while parent_id() == self.pid && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Says that packets flow, and waits until the other process has left the devices. From then on all is ours.
    pub(crate) fn running(self, sessions: u64, not_taken: u64) {
        let _ = send(&self.passage, &Message::Running { sessions, not_taken }, &[]);
        match receive(&self.passage, PATIENCE) {
            Ok(Some((Message::Left, _))) => info!(from = self.offer.version, "taken over"),
            Ok(None) => {
                warn!(from = self.offer.version, "taken over from a program that has ended on the way");
                self.wait_for_end();
            }
            // It may have its hands on the devices yet; they are looked after again and again.
            other => warn!(?other, "the program before does not say that it has left the devices"),
        }
    }
}

fn neighbors(mut file: File) -> Vec<KnownNeighbor> {
    let read = file.rewind().map_err(serde_json::Error::io);
    let read = read.and_then(|()| serde_json::from_reader(BufReader::new(file)));
    // They are found again by asking.
    read.inspect_err(|error| warn!(%error, "the neighbours are not taken over")).unwrap_or_default()
}
