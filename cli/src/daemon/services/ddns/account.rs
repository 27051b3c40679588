//! One account at work: asks for the address, has its client's requests sent, and tells how its names stand.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use genkan_config::ddns::SecretFileError;
use genkan_config::openings::BUILT;
use genkan_control::api::DdnsFault;
use genkan_control::snapshot::Snapshot;
use genkan_engine::Timestamp;
use genkan_services::ddns::{Ask, Client, Now, Outcome, Request, Secret};
use tokio::sync::watch;
use tokio_rustls::rustls::ClientConfig;
use tracing::warn;

use self::asking::Asking;
use super::store::{Saved, Store};
use super::transport::{self, Answered, OF_SERVICES, TransportError};
use super::turns::Turns;
use super::{Wanted, words};
use crate::daemon::changes::wall_seconds;
use crate::daemon::privileges::why_unreadable;

mod asking;
mod telling;

/// How long a request under way may take on when the router ends.
const LAST_ANSWER: Duration = Duration::from_secs(2);
/// How often a password that could not be read is looked for again.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// What an account could be made of.
#[derive(Debug)]
struct Ready {
    client: Client,
    secret: Option<Secret>,
    trusted: Trusted,
}

/// Whose certificates are taken: those of the file alone for the service, those of everybody as well for the source of
/// the address, which is somebody else as a rule.
#[derive(Debug)]
struct Trusted {
    service: Arc<ClientConfig>,
    source: Arc<ClientConfig>,
}

/// How often a name was updated, and was not.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    updates: u64,
    failures: u64,
}

/// What came of a request, owned.
enum Came {
    Http(Answered),
    Dns(Vec<u8>),
    Addresses(Vec<IpAddr>),
    Not(TransportError),
    NotKept(io::Error),
}

/// One account.
#[derive(Debug)]
pub(super) struct Account {
    snapshot: Arc<Snapshot>,
    turns: Arc<Turns>,
    store: Store,
    heard: watch::Receiver<Wanted>,
    wanted: Wanted,
    began: Instant,
    ready: Result<Ready, String>,
    saved: Option<Saved>,
    asking: Asking,
    /// Of the last request, in more words than its outcome has.
    detail: Option<(DdnsFault, String)>,
    counts: BTreeMap<String, Counts>,
}

impl Account {
    /// An account that goes on where it left off.
    pub(super) fn new(
        snapshot: Arc<Snapshot>,
        turns: Arc<Turns>,
        state: &Path,
        heard: watch::Receiver<Wanted>,
    ) -> Account {
        let wanted = heard.borrow().clone();
        let store = Store::of(state, &wanted.settings.id());
        let saved = store.recall();
        let mut account = Account {
            snapshot,
            turns,
            store,
            heard,
            wanted,
            began: Instant::now(),
            ready: Err("it is about to begin".to_owned()),
            asking: Asking::new(),
            saved,
            detail: None,
            counts: BTreeMap::new(),
        };
        account.make();
        account.recall_source();
        account.show();
        account
    }

    /// Works until nobody wants it any more.
    pub(super) async fn run(mut self) {
        while !self.wanted.stop {
            if !self.ask_source().await || !self.work().await {
                return;
            }
            self.show();
            let wait = self.wait();
            tokio::select! {
                () = tokio::time::sleep(wait) => {
                    if self.ready.is_err() {
                        self.make();
                    }
                }
                changed = self.heard.changed() => match changed {
                    Ok(()) => self.follow(),
                    Err(_) => return,
                },
            }
        }
    }

    fn now(&self) -> Now {
        let wall = wall_seconds();
        let at = Timestamp::from_nanos(u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX));
        Now { at, wall: Some(wall).filter(|wall| *wall >= BUILT) }
    }

    /// Something else is wanted.
    fn follow(&mut self) {
        let wanted = self.heard.borrow_and_update().clone();
        let before = std::mem::replace(&mut self.wanted, wanted);
        for name in &before.settings.names {
            if !self.wanted.settings.names.contains(name) {
                self.snapshot.set_problem(&format!("ddns {}", before.settings.family.called(name)), None);
            }
        }
        let (old, new) = (&before.settings, &self.wanted.settings);
        if old.source != new.source {
            self.asking = Asking::new();
        } else if before.wan != self.wanted.wan || old.allow_private != new.allow_private {
            (self.asking.at, self.asking.failures) = (Instant::now(), 0);
        }
        self.make();
        if before.tries != self.wanted.tries {
            self.asking.at = Instant::now();
            if let Ok(ready) = &mut self.ready {
                ready.client.resume();
            }
        }
    }

    /// Makes the client, or another one when its settings or its password are others.
    fn make(&mut self) {
        let now = self.now();
        let settings = &self.wanted.settings;
        let secret = settings.secret.as_ref().map(|secret| secret.read()).transpose();
        let secret = match secret {
            Ok(secret) => secret,
            Err(error) => {
                let why = match &error {
                    SecretFileError::Io { error, .. } => why_unreadable(error),
                    SecretFileError::NoLine { .. } => "",
                };
                return self.cannot(format!("{error}{why}"));
            }
        };
        let entry = match settings.entry_with(secret.clone()) {
            Ok(entry) => entry,
            Err(error) => return self.cannot(error.to_string()),
        };
        // The file of certificates is read again, too.
        let file = settings.ca_file.as_deref();
        let trusted = transport::trust(file, file.is_none()).and_then(|service| {
            let source = if file.is_some() { transport::trust(file, true)? } else { service.clone() };
            Ok(Trusted { service, source })
        });
        let trusted = match trusted {
            Ok(trusted) => trusted,
            Err(error) => return self.cannot(error.to_string()),
        };
        match &mut self.ready {
            Ok(ready) if ready.secret == secret && ready.client.is_of(&entry) => ready.trusted = trusted,
            Ok(ready) => {
                let client = Client::new(now, entry, Some(ready.client.state(now)));
                self.ready = Ok(Ready { client, secret, trusted });
            }
            Err(_) => {
                let state = self.saved.as_ref().map(|saved| saved.client.clone());
                self.ready = Ok(Ready { client: Client::new(now, entry, state), secret, trusted });
            }
        }
    }

    fn cannot(&mut self, reason: String) {
        if self.ready.as_ref().err() != Some(&reason) {
            let settings = &self.wanted.settings;
            let name = settings.family.called(settings.names.first().map_or("", String::as_str));
            warn!(name, reason, "a name outside cannot be updated");
        }
        self.ready = Err(reason);
    }

    /// Has the client's requests sent, one after the other. False: nobody wants them any more.
    async fn work(&mut self) -> bool {
        let address = self.address().ok();
        loop {
            let now = self.now();
            let random = u64::from_be_bytes(random::<8>().unwrap_or_default());
            let Ok(ready) = &mut self.ready else { return true };
            ready.client.address(now, address);
            let request = self.turns.poll(&self.wanted.settings, &mut ready.client, now, random);
            self.tell_events();
            let Some(Request { id, ask }) = request else {
                // A round that has ended well may have made the wait shorter.
                self.keep_if_new();
                return true;
            };
            let came = match self.keep() {
                Ok(()) => match self.send(&ask).await {
                    Some(came) => came,
                    None => return false,
                },
                // Sent now, it would be sent again after a crash, and again.
                Err(error) => Came::NotKept(error),
            };
            let now = self.now();
            let Ok(ready) = &mut self.ready else { return true };
            self.detail = None;
            let outcome = match &came {
                Came::Http(Answered { status, retry_after, body }) => {
                    Outcome::Http { status: *status, retry_after: retry_after.as_deref(), body }
                }
                Came::Dns(octets) => Outcome::Dns(octets),
                Came::Addresses(found) => Outcome::Addresses(found),
                Came::Not(error) => {
                    self.detail = Some((DdnsFault::Unreachable, error.to_string()));
                    if error.not_sent() { Outcome::NotSent } else { Outcome::NoAnswer }
                }
                Came::NotKept(error) => {
                    let detail = format!("the state folder takes nothing, and nothing is sent then: {error}");
                    self.detail = Some((DdnsFault::Local, detail));
                    Outcome::NotSent
                }
            };
            let was_in_time = ready.client.server_clock_ahead(now).is_none();
            ready.client.answer(now, id, &outcome, random);
            if let Some(ahead) = ready.client.server_clock_ahead(now).filter(|_| was_in_time) {
                warn!("ddns: {}", words::clock(ahead));
            }
            self.tell_events();
            self.keep_if_new();
            self.show();
            if self.wanted.stop || self.heard.has_changed().unwrap_or(true) {
                // The loop outside looks at it first.
                return true;
            }
        }
    }

    /// Sends a request and waits for what comes of it; `None` when the account is gone meanwhile.
    async fn send(&mut self, ask: &Ask) -> Option<Came> {
        let trust = self.ready.as_ref().ok()?.trusted.service.clone();
        let work = async {
            match ask {
                Ask::Http(request) => transport::https(trust, request, OF_SERVICES).await.map(Came::Http),
                Ask::Dns(request) => {
                    transport::dns(&request.server, request.port, &request.octets).await.map(Came::Dns)
                }
                Ask::Resolve { name, family } => transport::resolve(name, *family).await.map(Came::Addresses),
            }
        };
        tokio::pin!(work);
        let over = async {
            let ends = self.heard.wait_for(|wanted| wanted.stop).await.is_ok();
            // An end leaves a moment for the answer; who is taken out of the configuration gets none.
            if ends {
                tokio::time::sleep(LAST_ANSWER).await;
            }
        };
        tokio::select! {
            came = &mut work => Some(came.unwrap_or_else(Came::Not)),
            () = over => None,
        }
    }

    /// Puts on the disk what must not be forgotten.
    fn keep(&mut self) -> io::Result<()> {
        let Ok(ready) = &self.ready else { return Ok(()) };
        let client = ready.client.state(self.now());
        let saved = Saved { client, told: self.asking.told.clone(), trouble: self.trouble() };
        tokio::task::block_in_place(|| self.store.keep(&saved))?;
        self.saved = Some(saved);
        Ok(())
    }

    /// [`Account::keep`], unless it would say the same.
    fn keep_if_new(&mut self) {
        let now = self.now();
        let Ok(ready) = &self.ready else { return };
        let is_new = self.saved.as_ref().is_none_or(|saved| !ready.client.state(now).says_as(&saved.client));
        if is_new && let Err(error) = self.keep() {
            warn!(%error, "what is known of names outside is not kept");
        }
    }

    /// How long there is nothing to do.
    fn wait(&self) -> Duration {
        let Ok(ready) = &self.ready else { return LOOK_AGAIN };
        let now = self.now();
        let client = ready.client.poll_timeout(now).map(|at| at.saturating_since(now.at));
        client.into_iter().chain(self.until_asked()).min().unwrap_or(Duration::from_secs(3600))
    }
}

impl Drop for Account {
    /// Whoever comes next tells anew.
    fn drop(&mut self) {
        let settings = &self.wanted.settings;
        for name in &settings.names {
            self.snapshot.set_problem(&format!("ddns {}", settings.family.called(name)), None);
        }
    }
}

/// Secret octets.
fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut octets = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut octets)?;
    Ok(octets)
}
