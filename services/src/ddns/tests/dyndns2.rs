//! What services say.

use super::server::ip;
use crate::ddns::dyndns2::verdicts;
use crate::ddns::providers::{Answers, PROVIDERS, provider};
use crate::ddns::*;
use std::time::Duration;

const GOOD: Verdict = Verdict::Good { changed: true };
const UNCHANGED: Verdict = Verdict::Good { changed: false };

fn one(body: &str) -> Verdict {
    verdicts(Answers::Dyndns2, (200, None, body.as_bytes()), 1, ip("203.0.113.7"))[0]
}

#[test]
fn return_codes() {
    let half_an_hour = |reason| Verdict::Retry { reason, floor: Duration::from_secs(1800) };
    for (body, verdict) in [
        ("good 203.0.113.7", GOOD),
        ("good\r\n", GOOD),
        ("nochg 203.0.113.7\n", UNCHANGED),
        ("good 203.0.113.7,2001:db8::1", GOOD),
        ("good 2001:db8::1", GOOD),
        ("good 203.0.113.8", Verdict::retry(Reason::OtherAddress)),
        ("good 127.0.0.1", Verdict::Stop(Reason::BadAgent)),
        ("badauth", Verdict::Stop(Reason::BadAuth)),
        ("!donator", Verdict::Stop(Reason::NotDonator)),
        ("notfqdn", Verdict::Stop(Reason::NotFqdn)),
        ("nohost", Verdict::Stop(Reason::NoHost)),
        ("numhost", Verdict::Stop(Reason::NumHost)),
        ("abuse", Verdict::Stop(Reason::Abuse)),
        ("badagent", Verdict::Stop(Reason::BadAgent)),
        ("dnserr", half_an_hour(Reason::DnsErr)),
        ("911", half_an_hour(Reason::ServiceDown)),
        ("", Verdict::retry(Reason::Unintelligible)),
        ("<html>good</html>", Verdict::retry(Reason::Unintelligible)),
        ("goodness", Verdict::retry(Reason::Unintelligible)),
    ] {
        assert_eq!(one(body), verdict, "{body}");
    }
}

#[test]
fn an_ipv6_address_is_named_or_no_address_at_all() {
    let of = |body: &str| verdicts(Answers::Dyndns2, (200, None, body.as_bytes()), 1, ip("2001:db8::7"))[0];
    assert_eq!(
        (of("good"), of("good 2001:db8:0::7"), of("good 203.0.113.7,2001:db8::7")),
        (GOOD, GOOD, GOOD)
    );
    for other in ["good 2001:db8::8", "good 203.0.113.7", "nochg 203.0.113.7"] {
        assert_eq!(of(other), Verdict::retry(Reason::OtherAddress), "{other}");
    }
    assert_eq!(of("good ::1"), Verdict::Stop(Reason::BadAgent));
}

#[test]
fn a_line_per_name_or_one_for_all() {
    let of = |status, body: &[u8]| verdicts(Answers::Dyndns2, (status, None, body), 3, ip("203.0.113.7"));
    assert_eq!(of(200, b"good\nnohost\nnochg\n"), [GOOD, Verdict::Stop(Reason::NoHost), UNCHANGED]);
    assert_eq!(of(200, b"badauth\n"), [Verdict::Stop(Reason::BadAuth); 3]);
    assert_eq!(of(200, b"good"), [GOOD; 3]);
    assert_eq!(of(401, b"<html>"), [Verdict::Stop(Reason::BadAuth); 3]);
    assert_eq!(of(401, b"nohost\nnohost\nnohost"), [Verdict::Stop(Reason::NoHost); 3]);
    assert_eq!(of(503, b"good"), [Verdict::retry(Reason::HttpStatus(503)); 3]);
    assert_eq!(of(404, b""), [Verdict::retry(Reason::HttpStatus(404)); 3]);
}

#[test]
fn retry_after_counts_in_seconds_and_is_bounded() {
    let of = |text| verdicts(Answers::Status, (429, Some(text), b""), 1, ip("203.0.113.7"))[0];
    let wait = |seconds| Verdict::Retry { reason: Reason::RateLimited, floor: Duration::from_secs(seconds) };
    assert_eq!(of(" 120"), wait(120));
    assert_eq!(of("99999999999"), wait(86_400));
    assert_eq!(of("Wed, 21 Oct 2026 07:28:00 GMT"), wait(0));
}

#[test]
fn words_of_the_services_that_have_their_own() {
    let of = |id, body: &str| {
        verdicts(provider(id).unwrap().answers, (200, None, body.as_bytes()), 1, ip("203.0.113.7"))[0]
    };
    assert_eq!(of("duckdns", "OK"), GOOD);
    assert_eq!(of("duckdns", "KO"), Verdict::Stop(Reason::BadAuth));
    assert_eq!(of("freedns", "Updated a.example.com to 203.0.113.7 in 0.1 seconds\n"), GOOD);
    assert_eq!(of("freedns", "ERROR: Address 203.0.113.7 has not changed.\n"), UNCHANGED);
    assert_eq!(of("freedns", "something else"), Verdict::retry(Reason::Unintelligible));
    assert_eq!(of("mydns-jp", "<BODY>Login and IP address notify OK.<BR>"), GOOD);
    assert_eq!(of("mydns-jp", "login_status = 0."), Verdict::Stop(Reason::BadAuth));
}

#[test]
fn every_provider_is_usable() {
    for (i, provider) in PROVIDERS.iter().enumerate() {
        assert!(PROVIDERS[..i].iter().all(|p| p.id != provider.id));
        assert!(provider.min_interval >= 60);
        for family in [Family::V4, Family::V6] {
            if provider.url(family).is_some() {
                let http = Http::of_provider(provider, family, "u".into(), Secret::new("p")).unwrap();
                Entry::new(&["a.example.com".into()], family, Service::Http(http)).unwrap();
            }
        }
    }
}

#[test]
fn what_an_entry_refuses() {
    let custom =
        |url: &str, user: &str| Service::Http(Http::custom(url, user.into(), Secret::new("p")).unwrap());
    let url = "https://h.example/u?h={names}&a={address}";
    let new = |names: &[&str], service| {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        Entry::new(&names, Family::V4, service).err()
    };
    assert_eq!(new(&["a.example.com"], custom(url, "u")), None);
    assert_eq!(new(&[], custom(url, "u")), Some(EntryError::Names));
    assert_eq!(new(&["a"], custom(url, "u")), Some(EntryError::NotFqdn { index: 0 }));
    assert_eq!(
        new(&["a.example", "b..example"], custom(url, "u")),
        Some(EntryError::Name { index: 1, error: DnsNameError::Label })
    );
    assert_eq!(new(&["a.example"], custom(url, "u:v")), Some(EntryError::Username));
    let nameless = "https://h.example/u?a={address}";
    assert_eq!(new(&["a.example", "b.example"], custom(nameless, "")), Some(EntryError::NamesNotInUrl));
    let account = |token| {
        Service::Cloudflare(Cloudflare { url: None, token: Secret::new(token), zone: "example.com".into() })
    };
    assert_eq!(new(&["a.example.org"], account("t")), Some(EntryError::Cloudflare));
    assert_eq!(new(&["a.example.com"], account("t\r\nX: y")), Some(EntryError::Cloudflare));
    assert_eq!(new(&["a.example.com"], account("t")), None);
}
