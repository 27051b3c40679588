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

use super::store::{Saved, Store, Told};
use super::transport::{self, Answered, OF_SERVICES, TransportError};
use super::{Wanted, source, words};
use crate::daemon::changes::wall_seconds;
use crate::daemon::privileges::why_unreadable;

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
    trust: Arc<ClientConfig>,
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
    store: Store,
    heard: watch::Receiver<Wanted>,
    wanted: Wanted,
    began: Instant,
    ready: Result<Ready, String>,
    saved: Option<Saved>,
    /// What a source other than the wan said last, and when it is asked again.
    told: Option<Told>,
    ask_at: Instant,
    ask_failures: u32,
    source_problem: Option<String>,
    /// Of the last request, in more words than its outcome has.
    detail: Option<(DdnsFault, String)>,
    counts: BTreeMap<String, Counts>,
}

impl Account {
    /// An account that goes on where it left off.
    pub(super) fn new(snapshot: Arc<Snapshot>, state: &Path, heard: watch::Receiver<Wanted>) -> Account {
        let wanted = heard.borrow().clone();
        let store = Store::of(state, &wanted.settings.id());
        let saved = store.recall();
        let mut account = Account {
            snapshot,
            store,
            heard,
            wanted,
            began: Instant::now(),
            ready: Err("it is about to begin".to_owned()),
            told: saved.as_ref().and_then(|saved| saved.told.clone()),
            saved,
            ask_at: Instant::now(),
            ask_failures: 0,
            source_problem: None,
            detail: None,
            counts: BTreeMap::new(),
        };
        account.make();
        account.trust_what_was_told();
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
        if before.wan != self.wanted.wan || before.settings.source != self.wanted.settings.source {
            self.ask_at = Instant::now();
            self.ask_failures = 0;
        }
        if before.settings.source != self.wanted.settings.source {
            self.told = None;
            self.source_problem = None;
        }
        self.make();
        if before.tries != self.wanted.tries {
            self.ask_at = Instant::now();
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
        let trust = match transport::trust(settings.ca_file.as_deref()) {
            Ok(trust) => trust,
            Err(error) => return self.cannot(error.to_string()),
        };
        match &mut self.ready {
            Ok(ready) if ready.secret == secret && ready.client.is_of(&entry) => ready.trust = trust,
            Ok(ready) => {
                let client = Client::new(now, entry, Some(ready.client.state(now)));
                self.ready = Ok(Ready { client, secret, trust });
            }
            Err(_) => {
                let state = self.saved.as_ref().map(|saved| saved.client.clone());
                self.ready = Ok(Ready { client: Client::new(now, entry, state), secret, trust });
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

    /// What a source has told a run before this one holds as long as it would have in that.
    fn trust_what_was_told(&mut self) {
        let settings = &self.wanted.settings;
        let Some(every) = source::every(&settings.source) else { return };
        let (wan, name) = (self.wanted.wan, settings.source.to_string());
        self.told.take_if(|told| told.source != name);
        let now = self.now().wall;
        let fresh = |told: &Told| {
            let age = now.and_then(|now| u64::try_from(now.0 - told.at).ok())?;
            Some(every.saturating_sub(Duration::from_secs(age))).filter(|_| told.wan == wan)
        };
        if let Some(left) = self.told.as_ref().and_then(fresh) {
            self.ask_at = Instant::now() + left;
        }
    }

    /// Asks somebody outside for the address, if it is time to. False: nobody wants to know any more.
    async fn ask_source(&mut self) -> bool {
        let settings = self.wanted.settings.clone();
        let (Some(every), Ok(ready)) = (source::every(&settings.source), &self.ready) else { return true };
        if self.wanted.wan.is_unspecified() || Instant::now() < self.ask_at {
            return true;
        }
        let random = random::<12>().unwrap_or_default();
        let answer = tokio::select! {
            answer = source::ask(&settings.source, settings.family, ready.trust.clone(), random) => answer,
            // What is wanted now may be something else.
            changed = self.heard.changed() => {
                if changed.is_ok() {
                    self.follow();
                }
                return changed.is_ok();
            }
        };
        match answer {
            Ok(address) => {
                let at = wall_seconds().0;
                let told = Told { source: settings.source.to_string(), wan: self.wanted.wan, address, at };
                self.told = Some(told);
                (self.ask_failures, self.source_problem) = (0, None);
                self.ask_at = Instant::now() + every;
                // Only spares a question after a restart.
                let _ = self.keep();
            }
            Err(error) => {
                self.ask_failures += 1;
                self.ask_at = Instant::now() + source::again(&settings.source, self.ask_failures);
                self.source_problem = Some(format!("the address is not known: {error}"));
            }
        }
        true
    }

    /// The address that the names ought to have, or in words why there is none.
    fn address(&self) -> Result<IpAddr, String> {
        let settings = &self.wanted.settings;
        if self.wanted.wan.is_unspecified() {
            return Err("the wan has no address yet".to_owned());
        }
        let address = match (source::every(&settings.source), &self.told) {
            (None, _) => IpAddr::V4(self.wanted.wan),
            (Some(_), Some(told)) => told.address,
            (Some(_), None) => {
                let problem = self.source_problem.clone();
                return Err(problem.unwrap_or_else(|| "the address is being asked for".to_owned()));
            }
        };
        source::publishable(address, settings.allow_private).map(|()| address)
    }

    /// Has the client's requests sent, one after the other. False: nobody wants them any more.
    async fn work(&mut self) -> bool {
        let address = self.address().ok();
        loop {
            let now = self.now();
            let random = u64::from_be_bytes(random::<8>().unwrap_or_default());
            let Ok(ready) = &mut self.ready else { return true };
            ready.client.address(now, address);
            let request = ready.client.poll(now, random);
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
        let trust = self.ready.as_ref().ok()?.trust.clone();
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
        let saved = Saved { client: ready.client.state(self.now()), told: self.told.clone() };
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
        let is_asked =
            source::every(&self.wanted.settings.source).is_some() && !self.wanted.wan.is_unspecified();
        let source = is_asked.then(|| self.ask_at.saturating_duration_since(Instant::now()));
        client.into_iter().chain(source).min().unwrap_or(Duration::from_secs(3600))
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
