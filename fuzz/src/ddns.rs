//! Any octets as answers of those who keep names outside: update services, the Cloudflare API, DNS servers, and those who
//! are asked for the own address.
//!
//! What has to hold: one request at a time, and none twice within the service's interval, whatever was answered and over
//! restarts; nothing of an answer gets into a request but identifiers; no secret is shown; a signed update counts when
//! the reply is signed, and never otherwise; and whatever was answered, the names are right once the service is honest,
//! unless a person was told that they are not.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use genkan_engine::{Timestamp, UnixTime};
use genkan_services::ddns::{
    Ask, Client, Cloudflare, DnsRequest, DnsUpdate, Entry, Event, Family, Http, Now, Outcome, Request,
    Secret, Service, State, TsigAlgorithm, TsigKey, echo, provider, stun,
};

use crate::ddns_answers::{
    KEY, SECRET, bad_time, body, honest_body, honest_reply, identity, is_update, reply, sign, signed_at,
};

const NAMES: [&str; 2] = ["home.example.org", "nas.example.org"];
const PASSWORD: &str = "hunter2hunter2";
const EPOCH: i64 = 1_800_000_000;
/// After which an outcome is no longer waited for.
const PATIENCE: Duration = Duration::from_secs(120);
/// Dates are kept in whole seconds.
const ROUNDING: Duration = Duration::from_secs(1);

/// Seconds by which signatures may be off, and clocks of servers that they may be off by, never by just that.
const FUDGE: u64 = 300;
const AHEAD: [i64; 8] = [0, 200, -200, 7_500, -7_500, 86_400 * 365, -EPOCH, 1 << 46];

/// A request under way.
struct Pending {
    request: Request,
    wanted: Option<IpAddr>,
    since: Timestamp,
}

struct World {
    entry: Entry,
    family: Family,
    client: Client,
    now: Timestamp,
    /// Whether the date is known.
    dated: bool,
    wanted: Option<IpAddr>,
    pending: Option<Pending>,
    /// What the service was asked, and when.
    asked: BTreeMap<Vec<u8>, Timestamp>,
    interval: Duration,
    has_key: bool,
    /// Seconds that the server's clock is before ours; negative: behind.
    ahead: i64,
    saved: State,
}

fn service(shape: u8, family: Family) -> Service {
    let of = |id| {
        let provider = provider(id).expect("it is known");
        Http::of_provider(provider, family, "user".to_owned(), Secret::new(PASSWORD)).expect("of both")
    };
    let key = || TsigKey::new(KEY, TsigAlgorithm::HmacSha256, SECRET).expect("a key");
    let update = |zone: Option<&str>, key| {
        let (server, zone) = ("192.0.2.53".to_owned(), zone.map(str::to_owned));
        Service::DnsUpdate(DnsUpdate { server, port: 53, zone, key, ttl: 60 })
    };
    match shape % 7 {
        0 => Service::Http(of("dyndns")),
        1 => {
            let url = "https://dyn.example.net/nic/update?hostname={names}&myip={address}&p={password}";
            let http = Http::custom(url, "user".to_owned(), Secret::new(PASSWORD));
            Service::Http(http.expect("a URL"))
        }
        2 => Service::Http(of("duckdns")),
        3 => {
            let (token, zone) = (Secret::new(PASSWORD), "example.org".to_owned());
            Service::Cloudflare(Cloudflare { url: None, token, zone })
        }
        4 => update(None, None),
        5 => update(Some("example.org"), Some(key())),
        _ => update(None, Some(key())),
    }
}

/// Takes the input as a service, then a run of steps: what happens, how long what follows is, and that.
///
/// # Panics
/// On a bug.
pub fn check(octets: &[u8]) {
    let [shape, rest @ ..] = octets else { return };
    let family = if shape / 7 % 2 == 0 { Family::V4 } else { Family::V6 };
    let service = service(*shape, family);
    let interval = service.min_interval();
    let has_key = matches!(&service, Service::DnsUpdate(DnsUpdate { key: Some(_), .. }));
    let entry = Entry::new(&NAMES.map(str::to_owned), family, service).expect("it is right");
    let at = Timestamp::from_secs(1);
    let start = Now { at, wall: Some(UnixTime(EPOCH)) };
    let client = Client::new(start, entry.clone(), None);
    let saved = client.state(start);
    let (asked, wanted) = (BTreeMap::new(), None);
    let mut world = World {
        entry,
        family,
        client,
        now: at,
        dated: true,
        wanted,
        pending: None,
        asked,
        interval,
        has_key,
        ahead: 0,
        saved,
    };
    let mut rest = rest;
    world.want(1);
    world.pass(Duration::from_secs(5));
    while let [what, length, more @ ..] = rest {
        let (data, after) = more.split_at(more.len().min(usize::from(*length)));
        world.step(*what, data);
        world.poll();
        rest = after;
    }
    world.come_right();
}

impl World {
    fn date(&self) -> i64 {
        self.date_at(self.now)
    }

    fn date_at(&self, at: Timestamp) -> i64 {
        EPOCH + (at.as_nanos() / 1_000_000_000) as i64
    }

    fn clocks(&self) -> Now {
        Now { at: self.now, wall: self.dated.then(|| UnixTime(self.date())) }
    }

    fn want(&mut self, choice: u8) {
        self.wanted = (choice & 3 != 0).then(|| match self.family {
            Family::V4 => IpAddr::from([203, 0, 113, choice & 3]),
            Family::V6 => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(choice & 3)]),
        });
        self.client.address(self.clocks(), self.wanted);
    }

    fn step(&mut self, what: u8, data: &[u8]) {
        let choice = what >> 3;
        match what & 7 {
            0 => self.answer_raw(choice, data),
            1 => self.answer_in_form(choice, data),
            2 => self.answer_signed(choice, data),
            3 => match choice % 4 {
                0 => self.answer(&Outcome::NotSent, false),
                1 => self.answer(&Outcome::NoAnswer, false),
                2 => self.answer(&Outcome::Addresses(&[]), false),
                _ => self.answer(&Outcome::Addresses(&self.wanted.into_iter().collect::<Vec<_>>()), false),
            },
            4 => self.pass(Duration::from_millis(1 << choice)),
            5 => self.want(choice),
            6 if choice & 16 != 0 => self.ahead = AHEAD[usize::from(choice & 7)],
            6 => self.restart(choice),
            _ => ask_for_address(choice, data),
        }
    }

    /// Octets of the input as they are, also where something else was asked for.
    fn answer_raw(&mut self, choice: u8, data: &[u8]) {
        if choice & 1 == 0 {
            self.answer(&Outcome::Dns(data), false);
        } else {
            let status = [200, 204, 301, 401, 403, 404, 429, 503][usize::from(choice >> 1 & 7)];
            let text = std::str::from_utf8(data).ok().filter(|_| choice & 16 != 0);
            self.answer(&Outcome::Http { status, retry_after: text, body: data }, false);
        }
    }

    fn answer_in_form(&mut self, choice: u8, data: &[u8]) {
        match self.pending.as_ref().map(|pending| &pending.request.ask) {
            Some(Ask::Dns(request)) => {
                let (flags, records) = data.split_at_checked(2).unwrap_or((&[0, 0], data));
                let counts = [choice & 3, choice >> 2 & 1, choice >> 3 & 1];
                let octets = reply(request, [flags[0], flags[1]], counts, records);
                self.answer(&Outcome::Dns(&octets), false);
            }
            _ => self.answer(&Outcome::Http { status: 200, retry_after: None, body: &body(data) }, false),
        }
    }

    /// Whether the server does not take the time of the request under way.
    fn is_off(&self, request: &DnsRequest, since: Timestamp) -> bool {
        self.ahead.abs_diff(signed_at(request) - self.date_at(since)) > FUDGE
    }

    /// A server that does not take the time says so, signed; the client may send the same again at once.
    fn answer_bad_time(&mut self, request: &DnsRequest) {
        let octets = bad_time(request, self.date() + self.ahead);
        if let Some(identity) = identity(&Ask::Dns(request.clone())) {
            self.asked.remove(&identity);
        }
        self.answer(&Outcome::Dns(&octets), false);
    }

    /// A reply that is signed, and bent behind that if the input says so.
    fn answer_signed(&mut self, choice: u8, data: &[u8]) {
        let Some(Pending { request: Request { ask: Ask::Dns(request), .. }, since, .. }) = &self.pending
        else {
            return;
        };
        if !self.has_key || !is_update(request) {
            return;
        }
        let is_off = self.is_off(request, *since);
        if is_off && choice & 16 == 0 {
            return self.answer_bad_time(&request.clone());
        }
        let reply = reply(request, [0, choice & 15], [0, 0, 0], &[]);
        let length = reply.len();
        let mut octets = sign(reply, request, self.date() + self.ahead);
        // In what is signed: names of the signature itself may be in capitals.
        let bent = data.first().filter(|_| choice & 16 != 0).map(|at| usize::from(*at) % length);
        if let Some(at) = bent {
            octets[at] ^= 1 << (data.len() % 8);
        }
        let counts = bent.is_none() && choice & 15 == 0 && self.dated && !is_off;
        self.answer(&Outcome::Dns(&octets), counts);
    }

    /// Hands in what came; `counts`: as the answer of who was asked, to an update that it has made and signed.
    fn answer(&mut self, outcome: &Outcome<'_>, counts: bool) {
        let Some(Pending { request, wanted, .. }) = self.pending.take() else { return };
        let signed = matches!(&request.ask, Ask::Dns(dns) if self.has_key && is_update(dns));
        if *outcome == Outcome::NotSent
            && let Some(identity) = identity(&request.ask)
        {
            self.asked.remove(&identity);
        }
        self.client.answer(self.clocks(), request.id, outcome, 7);
        self.saved = self.client.state(self.clocks());
        let mut updated = 0;
        while let Some(event) = self.client.poll_event() {
            if let Event::Updated { name, address, .. } = event {
                assert_eq!(Some(address), wanted, "of {name}");
                updated += 1;
            }
        }
        assert!(!signed || (updated > 0) == counts, "{updated} names have it: {outcome:?}");
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.poll();
    }

    /// Asks the client what it wants, and looks at that.
    fn poll(&mut self) {
        let now = self.clocks();
        self.pending.take_if(|pending| self.now.saturating_since(pending.since) >= PATIENCE);
        if let Some(request) = self.client.poll(now, self.now.as_nanos()) {
            assert!(self.pending.is_none(), "one at a time: {request:?}");
            self.look_at(&request.ask);
            self.pending = Some(Pending { request, wanted: self.wanted, since: self.now });
        }
        self.saved = self.client.state(now);
        for status in self.client.status() {
            assert!(!status.good || status.address == self.wanted);
        }
        let shown = format!("{:?}", self.client);
        assert!(!shown.contains(PASSWORD) && !shown.contains("secret-secret"), "a secret is shown");
    }

    fn look_at(&mut self, ask: &Ask) {
        match ask {
            Ask::Http(request) => {
                let url = request.url.expose();
                let path = url.strip_prefix("https://").expect("by TLS only");
                let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"/?&=._-%,:".contains(&octet);
                assert!(path.len() <= 2048 && path.bytes().all(plain) && !path.contains(".."), "{url}");
                assert!(path.matches('?').count() <= 1, "{url}");
                let values = request.headers.iter().map(|(_, value)| value.expose());
                assert!(values.flat_map(str::bytes).all(|octet| (b' '..=b'~').contains(&octet)));
                assert!(request.body.len() <= 512, "{} octets", request.body.len());
            }
            Ask::Dns(request) => assert!((12..=512).contains(&request.octets.len())),
            Ask::Resolve { name, .. } => assert!(NAMES.contains(&name.as_str())),
        }
        if let Some(identity) = identity(ask)
            && let Some(before) = self.asked.insert(identity, self.now)
        {
            let since = self.now.saturating_since(before);
            assert!(since + ROUNDING >= self.interval, "asked again after {since:?}: {ask:?}");
        }
    }

    /// The process ends and begins again, from what was saved; afterwards the date is known or not.
    fn restart(&mut self, choice: u8) {
        self.pending = None;
        self.dated = choice & 1 == 0;
        self.client = Client::new(self.clocks(), self.entry.clone(), Some(self.saved.clone()));
        self.client.address(self.clocks(), self.wanted);
    }

    /// The service is honest from now on, and the date known.
    fn come_right(&mut self) {
        self.dated = true;
        self.want(2);
        for _ in 0..64 {
            self.poll();
            if let Some(Pending { request, wanted: Some(address), since }) = &self.pending {
                let since = *since;
                match request.ask.clone() {
                    Ask::Http(http) => {
                        let body = honest_body(&http, &address.to_string());
                        self.answer(&Outcome::Http { status: 200, retry_after: None, body: &body }, true);
                    }
                    Ask::Dns(dns) if self.has_key && is_update(&dns) && self.is_off(&dns, since) => {
                        self.answer_bad_time(&dns);
                    }
                    Ask::Dns(dns) => {
                        let octets = honest_reply(&dns, self.has_key, self.date() + self.ahead);
                        self.answer(&Outcome::Dns(&octets), true);
                    }
                    Ask::Resolve { .. } => self.answer(&Outcome::Addresses(&[]), false),
                }
            } else if let Some(at) = self.client.poll_timeout(self.clocks()) {
                self.now = self.now.max(at);
            }
        }
        for status in self.client.status() {
            assert!(status.good || status.stopped, "{status:?}");
        }
    }
}

/// Those who are asked for the own address.
fn ask_for_address(choice: u8, data: &[u8]) {
    for family in [Family::V4, Family::V6] {
        let private_too = choice & 4 != 0;
        if let Ok(address) = echo::address(data, family, private_too) {
            assert!(data.len() <= echo::MAX_BODY && (private_too || echo::is_public(&address)), "{address}");
            assert_eq!(Family::of(address), family, "{address}");
        }
    }
    let id = [7; 12];
    let mut octets = data.to_vec();
    if choice & 1 != 0 {
        let kind = if choice & 2 == 0 { [1, 1] } else { [1, 0x11] };
        let length = (data.len() as u16).to_be_bytes();
        octets = [&kind[..], &length, &0x2112_a442u32.to_be_bytes(), &id, data].concat();
    }
    let heard = stun::binding_response(&octets, id);
    assert!(heard.is_err() || octets[..2] == [1, 1] && octets[8..20] == id, "{heard:?}");
    if let Some(nonce) = stun::nonce(&octets) {
        assert!((1..=763).contains(&nonce.len()));
        let request = stun::binding_request(id, nonce);
        assert!(request.len() % 4 == 0 && stun::nonce(&request) == Some(nonce), "it is sent as it came");
    }
}
