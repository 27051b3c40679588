//! Whose turn it is: an update service wants its interval between updates of a name, whichever of its addresses they are
//! about, and a name may have an entry for each.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use genkan_config::ddns::{Ddns, DdnsService};
use genkan_services::ddns::{Ask, Client, Family, Now, Request};

/// By service and name: in which family it was sent last, and when.
type Sent = HashMap<(&'static str, String), (Family, Instant)>;

/// What all accounts have sent.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<Sent>);

impl Turns {
    /// The client's next request, if it is time for one, also by what others have sent.
    pub(super) fn poll(
        &self,
        settings: &Ddns,
        client: &mut Client,
        now: Now,
        random: u64,
    ) -> Option<Request> {
        // A DNS server, and the API of Cloudflare, take updates of both families at once.
        if !matches!(settings.service, DdnsService::Known { .. } | DdnsService::Custom { .. }) {
            return client.poll(now, random);
        }
        let mut sent = self.lock();
        let key = |name: &String| (settings.provider, name.clone());
        for name in &settings.names {
            if let Some((family, at)) = sent.get(&key(name))
                && *family != settings.family
            {
                client.hold_off(now, at.elapsed());
            }
        }
        let request = client.poll(now, random)?;
        if matches!(request.ask, Ask::Http(_)) {
            sent.extend(settings.names.iter().map(|name| (key(name), (settings.family, Instant::now()))));
        }
        Some(request)
    }

    fn lock(&self) -> MutexGuard<'_, Sent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
