//! A round: the lookups and updates that one address needs, each asked once.

use super::client::{Client, Now};
use super::cloudflare;
use super::dns_message::{self, TYPE_SOA, address_type};
use super::dns_name::DnsName;
use super::dyndns2;
use super::entry::{DnsUpdate, Family, Http, Service};
use super::reason::{Reason, Verdict};
use super::request::{Ask, DnsRequest, HttpRequest, Method, Outcome, USER_AGENT};
use super::secret::Secret;
use super::server_clock::ServerClock;
use super::state::Known;
use super::template::Values;
use super::{base64, tsig};
use genkan_engine::UnixTime;
use std::net::IpAddr;
use std::time::Duration;

/// A reply that anybody can have made up does not stop an entry, but makes it wait.
const UNTRUSTED: Duration = Duration::from_secs(3600);

/// What a request is for. Indices are those of the entry's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Which zone the names lie in.
    Zone,
    /// Which record a name has at Cloudflare.
    Record(usize),
    /// Which address a name has in the DNS.
    Lookup(usize),
    /// Makes names have the address.
    Update(Vec<usize>),
}

/// A round under way.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) address: IpAddr,
    /// Names that were looked up in this round.
    looked_up: Vec<bool>,
    /// Names that were updated in this round, or failed to be.
    pub(super) tried: Vec<bool>,
    /// The name whose record is known, and the record's identifier.
    record: Option<(usize, Option<String>)>,
    /// Whether the zone was asked for.
    zone_asked: bool,
    /// Whether anything reached the service.
    pub(super) reached: bool,
    /// Whether the server has told its clock, since ours did not do.
    told_clock: bool,
}

/// What is kept to understand the answer to the request under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Sent {
    octets: Vec<u8>,
    mac: Vec<u8>,
}

/// What a DNS server's zone, or Cloudflare's identifier of it, is.
#[derive(Clone, Debug)]
pub(super) enum Zone {
    Name(DnsName),
    Identifier(String),
}

/// What came of a step.
pub(super) enum Progress {
    /// On to the next.
    Next,
    /// Verdicts on names.
    Verdicts(Vec<(usize, Verdict)>),
}

impl Round {
    pub(super) fn new(address: IpAddr, names: usize) -> Round {
        Round {
            address,
            looked_up: vec![false; names],
            tried: vec![false; names],
            record: None,
            zone_asked: false,
            reached: false,
            told_clock: false,
        }
    }

    /// The next step, given the names that still need the address; `None` when the round is over.
    pub(super) fn next_step(
        &self,
        service: &Service,
        zone: Option<&Zone>,
        names: &[(usize, Known)],
    ) -> Option<Step> {
        let mut left = names.iter().filter(|(i, _)| !self.tried[*i]);
        let &(first, _) = left.clone().next()?;
        let lookup = left.clone().find(|(i, known)| *known == Known::Nothing && !self.looked_up[*i]);
        match (service, lookup) {
            (Service::Cloudflare(_) | Service::DnsUpdate(_), _) if zone.is_none() => {
                (!self.zone_asked).then_some(Step::Zone)
            }
            (Service::Cloudflare(_), _) if self.record.as_ref().is_none_or(|(i, _)| *i != first) => {
                Some(Step::Record(first))
            }
            (Service::Cloudflare(_), _) => Some(Step::Update(vec![first])),
            (_, Some(&(i, _))) => Some(Step::Lookup(i)),
            (Service::Http(http), None) => Some(Step::Update(
                left.by_ref().map(|(i, _)| *i).take(http.names_per_request.max(1)).collect(),
            )),
            (Service::DnsUpdate(_), None) => Some(Step::Update(left.map(|(i, _)| *i).collect())),
        }
    }
}

impl Client {
    /// Builds the request of a step. `None` when it cannot be signed, for want of a clock.
    pub(super) fn build(&self, now: Now, step: &Step, address: IpAddr, id: u16) -> Option<(Ask, Sent)> {
        let names = &self.entry.names;
        let mut sent = Sent::default();
        let ask = match (&self.entry.service, step) {
            (Service::Http(_), Step::Lookup(i)) => {
                Ask::Resolve { name: names[*i].clone(), family: self.entry.family }
            }
            (Service::Http(http), Step::Update(of)) => {
                let of: Vec<&str> = of.iter().map(|i| names[*i].as_str()).collect();
                Ask::Http(http_update(http, &of, address))
            }
            (Service::Cloudflare(account), Step::Zone) => Ask::Http(cloudflare::zone_request(account)),
            (Service::Cloudflare(account), step) => {
                let Some(Zone::Identifier(zone)) = &self.zone else { return None };
                Ask::Http(match step {
                    Step::Record(i) => {
                        cloudflare::record_request(account, zone, &names[*i], self.entry.family)
                    }
                    Step::Update(of) => {
                        let i = *of.first()?;
                        let record = self.round.as_ref().and_then(|r| r.record.as_ref())?;
                        cloudflare::write_request(account, zone, record.1.as_deref(), &names[i], address)
                    }
                    _ => return None,
                })
            }
            (Service::DnsUpdate(server), step) => {
                let wire_names = &self.entry.wire_names;
                sent.octets = match (step, &self.zone) {
                    (Step::Zone, _) => dns_message::query(id, &wire_names[0], TYPE_SOA, true),
                    (Step::Lookup(i), _) => {
                        dns_message::query(id, &wire_names[*i], address_type(Family::of(address)), false)
                    }
                    (Step::Update(of), Some(Zone::Name(zone))) => {
                        let of: Vec<&DnsName> = of.iter().map(|i| &wire_names[*i]).collect();
                        dns_message::update(id, zone, &of, address, server.ttl)
                    }
                    _ => return None,
                };
                if let (Step::Update(_), Some(key)) = (step, &server.key) {
                    sent.mac = tsig::sign(&mut sent.octets, key, self.signing_time(now)?);
                }
                let octets = sent.octets.clone();
                Ask::Dns(DnsRequest { server: server.server.clone(), port: server.port, octets })
            }
            (Service::Http(_), Step::Zone | Step::Record(_)) => return None,
        };
        Some((ask, sent))
    }

    /// Understands the answer to a step.
    pub(super) fn understand(
        &mut self,
        now: Now,
        step: &Step,
        sent: &Sent,
        outcome: &Outcome<'_>,
        round: &mut Round,
    ) -> Progress {
        let concerned: Vec<usize> = match step {
            Step::Update(of) => of.clone(),
            Step::Record(i) | Step::Lookup(i) => vec![*i],
            Step::Zone => (0..self.entry.names.len()).collect(),
        };
        let all = |verdict: Verdict| Progress::Verdicts(concerned.iter().map(|i| (*i, verdict)).collect());
        let address = round.address;
        match step {
            Step::Zone => round.zone_asked = true,
            Step::Lookup(i) => round.looked_up[*i] = true,
            Step::Update(of) => of.iter().for_each(|i| round.tried[*i] = true),
            Step::Record(_) => {}
        }
        match (outcome, &self.entry.service, step) {
            // A lookup that fails only means that the update is sent.
            (Outcome::Addresses(found), _, Step::Lookup(i)) => {
                self.found(now, *i, found, address);
                Progress::Next
            }
            (Outcome::Dns(octets), Service::DnsUpdate(_), Step::Lookup(i)) => {
                if let Ok(reply) = dns_message::reply(octets, &sent.octets)
                    && reply.rcode == 0
                    && reply.authoritative
                {
                    self.found(now, *i, &reply.addresses, address);
                }
                Progress::Next
            }
            (_, _, Step::Lookup(_)) => Progress::Next,
            (Outcome::NotSent, ..) => all(Verdict::retry(Reason::NotSent)),
            (Outcome::NoAnswer, ..) => all(Verdict::retry(Reason::NoAnswer)),
            (Outcome::Http { status, retry_after, body }, Service::Http(http), Step::Update(of)) => {
                let verdicts =
                    dyndns2::verdicts(http.answers, (*status, *retry_after, body), of.len(), address);
                Progress::Verdicts(of.iter().copied().zip(verdicts).collect())
            }
            (Outcome::Http { status, retry_after, body }, Service::Cloudflare(_), step) => {
                match cloudflare_answer(step, (*status, *retry_after, body), address) {
                    Ok(Found::Zone(id)) => {
                        self.zone = Some(Zone::Identifier(id));
                        Progress::Next
                    }
                    Ok(Found::Record(i, id)) => {
                        round.record = Some((i, id));
                        Progress::Next
                    }
                    Err(verdict) => all(verdict),
                }
            }
            (Outcome::Dns(octets), Service::DnsUpdate(_), Step::Zone) => {
                match zone_of(octets, &sent.octets, &self.entry.wire_names[0]) {
                    Ok(zone) => {
                        let outside = |i: &usize| !self.entry.wire_names[*i].is_within(&zone);
                        let outside: Vec<usize> = concerned.iter().copied().filter(outside).collect();
                        self.zone = Some(Zone::Name(zone));
                        if outside.is_empty() {
                            return Progress::Next;
                        }
                        let stop = Verdict::Stop(Reason::NotInZone);
                        Progress::Verdicts(outside.into_iter().map(|i| (i, stop)).collect())
                    }
                    Err(verdict) => all(verdict),
                }
            }
            (Outcome::Dns(octets), Service::DnsUpdate(server), Step::Update(of)) => {
                match dns_verdict(server, sent, octets, self.signing_time(now)) {
                    // The same again, signed with the server's time: nothing was changed yet.
                    (_, Some(time)) if !round.told_clock => {
                        round.told_clock = true;
                        self.server_clock = ServerClock::told(now, time);
                        of.iter().for_each(|i| round.tried[*i] = false);
                        Progress::Next
                    }
                    (verdict, _) => all(verdict),
                }
            }
            _ => all(Verdict::retry(Reason::Unintelligible)),
        }
    }
}

enum Found {
    Zone(String),
    Record(usize, Option<String>),
}

fn cloudflare_answer(
    step: &Step,
    answer: (u16, Option<&str>, &[u8]),
    address: IpAddr,
) -> Result<Found, Verdict> {
    match step {
        Step::Zone => cloudflare::zone(answer).map(Found::Zone),
        Step::Record(i) => match cloudflare::record(answer)? {
            Some(record) if record.content.parse() == Ok(address) => Err(Verdict::Good { changed: false }),
            record => Ok(Found::Record(*i, record.map(|r| r.id))),
        },
        _ => Err(cloudflare::written(answer, address)),
    }
}

fn http_update(http: &Http, names: &[&str], address: IpAddr) -> HttpRequest {
    let url = http.url.expand(&Values { username: &http.username, password: &http.password, names, address });
    let agent = match &http.contact {
        Some(contact) => format!("{USER_AGENT} {contact}"),
        None => USER_AGENT.to_owned(),
    };
    let mut headers = vec![("User-Agent", Secret::new(agent))];
    if http.basic {
        let pair = format!("{}:{}", http.username, http.password.expose());
        headers.push(("Authorization", Secret::new(format!("Basic {}", base64::encode(pair.as_bytes())))));
    }
    HttpRequest { method: Method::Get, url, headers, body: Vec::new() }
}

/// The zone that a reply to a SOA query names: the owner of the SOA, in the answer or, below the apex, in the authority
/// section.
fn zone_of(octets: &[u8], sent: &[u8], name: &DnsName) -> Result<DnsName, Verdict> {
    let reply = dns_message::reply(octets, sent).map_err(|_| Verdict::retry(Reason::Unintelligible))?;
    const NXDOMAIN: u16 = 3;
    if reply.rcode != 0 && reply.rcode != NXDOMAIN {
        return Err(Verdict::retry(Reason::Rcode(reply.rcode)));
    }
    match reply.zone {
        Some(zone) if name.is_within(&zone) => Ok(zone),
        // Anybody can have made it up, so it does not stop the entry.
        _ => Err(Verdict::Retry { reason: Reason::ZoneNotFound, floor: UNTRUSTED }),
    }
}

/// The verdict, and the server's time where it does not take ours.
fn dns_verdict(
    server: &DnsUpdate,
    sent: &Sent,
    octets: &[u8],
    now: Option<UnixTime>,
) -> (Verdict, Option<UnixTime>) {
    let Ok(reply) = dns_message::reply(octets, &sent.octets) else {
        return (Verdict::retry(Reason::Unintelligible), None);
    };
    if let Some(key) = &server.key {
        let mut time = None;
        let verified = match (&reply.tsig, now) {
            (Some(record), Some(now)) => tsig::verify(&reply, record, key, &sent.mac, now).map_err(|error| {
                time = tsig::server_time(record, error);
                Reason::Tsig(error)
            }),
            (Some(_), None) => Err(Reason::NoAnswer),
            (None, _) if reply.rcode != 0 => Err(Reason::Rcode(reply.rcode)),
            (None, _) => Err(Reason::Unsigned),
        };
        if let Err(reason) = verified {
            let floor = if matches!(reason, Reason::Tsig(_)) { UNTRUSTED } else { Duration::ZERO };
            return (Verdict::Retry { reason, floor }, time);
        }
    }
    let verdict = match reply.rcode {
        0 => Verdict::Good { changed: true },
        rcode => Verdict::retry(Reason::Rcode(rcode)),
    };
    (verdict, None)
}
