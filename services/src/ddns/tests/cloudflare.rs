//! The Cloudflare API's answers.

use super::server::{Answer, Kind, Server, at, entry, ip, run};
use crate::ddns::cloudflare::{record, written, zone};
use crate::ddns::*;

fn error(code: u32) -> Vec<u8> {
    format!(r#"{{"success":false,"errors":[{{"code":{code},"message":"no"}}],"result":null}}"#).into_bytes()
}

#[test]
fn zones_and_records() {
    let ok = |result: &str| format!(r#"{{"success":true,"errors":[],"result":{result}}}"#).into_bytes();
    let zone = |body: &[u8]| zone((200, None, body));
    assert_eq!(zone(&ok(r#"[{"id":"0ab1"}]"#)), Ok("0ab1".into()));
    assert_eq!(zone(&ok("[]")), Err(Verdict::Stop(Reason::ZoneNotFound)));
    let unintelligible = Err(Verdict::retry(Reason::Unintelligible));
    assert_eq!(zone(&ok(r#"[{"id":"../../x"}]"#)), unintelligible);
    assert_eq!(zone(&ok("null")), unintelligible);
    assert_eq!(zone(b"<html>"), unintelligible);
    assert_eq!(zone(&vec![b' '; 100_000]), unintelligible);
    let two = ok(r#"[{"id":"1","content":"203.0.113.1"},{"id":"2","content":"203.0.113.2"}]"#);
    assert_eq!(record((200, None, &two)).err(), Some(Verdict::Stop(Reason::SeveralRecords)));
    assert!(record((200, None, &ok("[]"))).unwrap().is_none());
    let one = ok(r#"{"id":"1","content":"203.0.113.1"}"#);
    assert_eq!(written((200, None, &one), ip("203.0.113.1")), Verdict::Good { changed: true });
    assert_eq!(written((200, None, &one), ip("203.0.113.2")), Verdict::retry(Reason::OtherAddress));
}

#[test]
fn errors() {
    for (status, code, verdict) in [
        (403, 10_000, Verdict::Stop(Reason::BadAuth)),
        (400, 6003, Verdict::Stop(Reason::BadAuth)),
        (403, 9109, Verdict::Stop(Reason::BadAuth)),
        (400, 81_058, Verdict::retry(Reason::Api(81_058))),
        (404, 7003, Verdict::retry(Reason::Api(7003))),
        (200, 1, Verdict::retry(Reason::Api(1))),
    ] {
        assert_eq!(zone((status, None, &error(code))), Err(verdict), "{status} {code}");
    }
    assert_eq!(zone((502, None, b"bad gateway")), Err(Verdict::retry(Reason::HttpStatus(502))));
    assert_eq!(zone((401, None, b"no")), Err(Verdict::Stop(Reason::BadAuth)));
    let Err(Verdict::Retry { reason: Reason::RateLimited, floor }) = zone((429, Some("77"), &error(971)))
    else {
        panic!("429 is a rate limit");
    };
    assert_eq!(floor.as_secs(), 77);
}

#[test]
fn records_are_created_then_changed_and_an_unchanged_one_is_left_alone() {
    let mut client = Client::new(at(0), entry(Kind::Cloudflare), None);
    let mut server = Server::default();
    server.records.insert("b.example.com".into(), ip("203.0.113.7"));
    client.address(at(0), Some(ip("203.0.113.7")));
    let methods = |asked: Vec<Ask>| {
        let method = |ask: &Ask| if let Ask::Http(request) = ask { Some(request.method) } else { None };
        asked.iter().filter_map(method).collect::<Vec<_>>()
    };
    use Method::{Get, Patch, Post};
    // The zone; no record of a: created; the record of b: as it should be.
    assert_eq!(methods(run(&mut client, &mut server, at(5))), [Get, Get, Post, Get]);
    assert!(client.status().all(|name| name.good));
    client.address(at(100), Some(ip("203.0.113.8")));
    assert_eq!(methods(run(&mut client, &mut server, at(105))), [Get, Patch, Get, Patch]);
    assert!(server.records.values().all(|a| *a == ip("203.0.113.8")));
}

#[test]
fn a_zone_that_is_gone_is_asked_for_again() {
    let mut client = Client::new(at(0), entry(Kind::Cloudflare), None);
    let mut server = Server::default();
    client.address(at(0), Some(ip("203.0.113.7")));
    run(&mut client, &mut server, at(5));
    client.address(at(100), Some(ip("203.0.113.8")));
    let request = client.poll(at(105), 0).unwrap();
    client.answer(at(105), request.id, &Answer::Http(404, error(7003)).outcome(), 0);
    assert_eq!(client.poll(at(106), 0), None);
    assert_eq!(run(&mut client, &mut server, at(400)).len(), 5);
    assert!(client.status().all(|name| name.good));
}
