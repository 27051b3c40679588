//! DNS messages and their signatures. The signed updates are what BIND's nsupdate sent.

use super::server::{EPOCH, Kind, SECRET, Server, at, entry, ip, run, sign_reply};
use crate::ddns::dns_message::{self, DnsMessageError};
use crate::ddns::tsig;
use crate::ddns::*;
use genkan_engine::UnixTime;
use proptest::prelude::*;

const SIGNED_SHA256: &str = "633e28000001000000020001076578616d706c6503636f6d000006000104686f6d65c00c000100ff\
    000000000000c01d000100010000003c0004cb0071070a67656e6b616e2d6b65790000fa00ff00000000003d0b686d61632d73686132\
    35360000006b034272012c0020fea9480f50eec225c57dabbd15a14f967fba647e5e12ea9f15d0a8c26efe4181633e00000000";
const SIGNED_SHA512: &str = "ed2228000001000000020001076578616d706c6503636f6d000006000104686f6d65c00c000100ff\
    000000000000c01d000100010000003c0004cb0071070a67656e6b616e2d6b65790000fa00ff00000000005d0b686d61632d73686135\
    31320000006b034272012c004017f273038d3e6f4af825257b1030d080e91890a3c333b8e621eaf9051351e7c2d9726b84cdf78cd1eb\
    04c9e44bd9c488137886a40552e26d65153e0417412103ed2200000000";
/// Where their TSIG records begin.
const UNSIGNED: usize = 62;
const SIGNED_AT: UnixTime = UnixTime(0x6b03_4272);

fn octets(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

fn name(text: &str) -> DnsName {
    DnsName::parse(text).unwrap()
}

#[test]
fn signatures_are_those_of_nsupdate() {
    for (hex, algorithm) in
        [(SIGNED_SHA256, TsigAlgorithm::HmacSha256), (SIGNED_SHA512, TsigAlgorithm::HmacSha512)]
    {
        let signed = octets(hex);
        let mut message = signed[..UNSIGNED].to_vec();
        message[11] = 0;
        let key = TsigKey::new("Genkan-Key.", algorithm, SECRET).unwrap();
        tsig::sign(&mut message, &key, SIGNED_AT);
        assert_eq!(message, signed);
    }
}

#[test]
fn an_update_is_that_of_nsupdate_but_for_compression() {
    let ours = dns_message::update(
        0x633e,
        &name("example.com"),
        &[&name("home.example.com")],
        ip("203.0.113.7"),
        60,
    );
    let theirs = octets(SIGNED_SHA256);
    assert_eq!(ours[..11], theirs[..11]);
    let rest = |octets: &[u8]| {
        let mut at = 12;
        let mut parts = Vec::new();
        for fixed in [4, 10, 14] {
            let (name, end) = DnsName::read(octets, at).unwrap();
            parts.push((name, octets[end..end + fixed].to_vec()));
            at = end + fixed;
        }
        parts
    };
    assert_eq!(rest(&ours), rest(&theirs));
}

/// A signed update, the MAC of it, and an unsigned reply without records.
fn exchange() -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let mut sent =
        dns_message::update(7, &name("example.com"), &[&name("a.example.com")], ip("203.0.113.7"), 60);
    let mac = tsig::sign(&mut sent, &super::server::key(TsigAlgorithm::HmacSha256), UnixTime(EPOCH));
    let mut reply = sent[..12 + 13 + 4].to_vec();
    reply[2] |= 0x80;
    reply[8..12].fill(0);
    (sent, mac, reply)
}

fn verified(sent: &[u8], mac: &[u8], reply: &[u8], now: i64) -> Result<(), TsigError> {
    let reply = dns_message::reply(reply, sent).unwrap();
    let key = super::server::key(TsigAlgorithm::HmacSha256);
    tsig::verify(&reply, reply.tsig.as_ref().unwrap(), &key, mac, UnixTime(now))
}

#[test]
fn replies_are_verified() {
    let (sent, mac, plain) = exchange();
    let mut reply = plain.clone();
    sign_reply(&mut reply, &mac, UnixTime(EPOCH), 0);
    assert_eq!(verified(&sent, &mac, &reply, EPOCH + 300), Ok(()));
    assert_eq!(verified(&sent, &mac, &reply, EPOCH + 301), Err(TsigError::BadTime));
    assert_eq!(verified(&sent, &mac, &reply, EPOCH - 301), Err(TsigError::BadTime));
    assert_eq!(verified(&sent, &mac[1..], &reply, EPOCH), Err(TsigError::BadSig));
    let mut forged = reply.clone();
    forged[3] |= 5;
    assert_eq!(verified(&sent, &mac, &forged, EPOCH), Err(TsigError::BadSig));
    let mut late = plain;
    sign_reply(&mut late, &mac, UnixTime(EPOCH), 18);
    assert_eq!(verified(&sent, &mac, &late, EPOCH), Err(TsigError::BadTime));
}

#[test]
fn an_unsigned_badkey_is_told() {
    let (sent, mac, mut reply) = exchange();
    sign_reply(&mut reply, &mac, UnixTime(EPOCH), 17);
    // The MAC is cut out, and the lengths are corrected.
    let end = reply.len() - 6;
    reply.drain(end - 32..end);
    let begin = 12 + 13 + 4 + 12;
    reply[begin + 9] -= 32;
    let size = reply.len() - 8;
    reply[size..size + 2].fill(0);
    assert_eq!(verified(&sent, &mac, &reply, EPOCH), Err(TsigError::BadKey));
}

#[test]
fn replies_to_something_else_are_refused() {
    let sent = dns_message::query(7, &name("a.example.com"), 1, false);
    let mut reply = sent.clone();
    assert_eq!(dns_message::reply(&reply, &sent), Err(DnsMessageError::OtherMessage));
    reply[2] |= 0x80;
    assert!(dns_message::reply(&reply, &sent).unwrap().addresses.is_empty());
    reply[2] |= 0x02;
    assert_eq!(dns_message::reply(&reply, &sent), Err(DnsMessageError::Truncated));
    reply[2] &= !0x02;
    reply[13] = b'b';
    assert_eq!(dns_message::reply(&reply, &sent), Err(DnsMessageError::OtherMessage));
    reply[13] = b'A';
    dns_message::record(&mut reply, &name("a.example.com"), 1, 1, 60, &[203, 0, 113, 7]);
    dns_message::record(&mut reply, &name("b.example.com"), 1, 1, 60, &[203, 0, 113, 8]);
    reply[7] = 2;
    assert_eq!(dns_message::reply(&reply, &sent).unwrap().addresses, [ip("203.0.113.7")]);
    reply.push(0);
    assert_eq!(dns_message::reply(&reply, &sent), Err(DnsMessageError::Malformed));
}

#[test]
fn names_do_not_loop() {
    assert_eq!(DnsName::read(&[0xc0, 0], 0), None);
    assert_eq!(DnsName::read(&[1, b'a', 0xc0, 0], 0), None);
    let (read, end) = DnsName::read(&[1, b'A', 0, 1, b'b', 0xc0, 0], 3).unwrap();
    assert_eq!((read, end), (name("b.a"), 7));
    assert!(name("x.example.com").is_within(&name("Example.COM.")));
    assert!(!name("xexample.com").is_within(&name("example.com")));
}

#[test]
fn the_zone_is_found_the_names_looked_up_and_updated_at_once() {
    let mut client = Client::new(at(0), entry(Kind::Dns), None);
    let mut server = Server::default();
    server.records.insert("a.example.com".into(), ip("203.0.113.7"));
    client.address(at(0), Some(ip("203.0.113.7")));
    // The zone, both lookups, the update of b.
    assert_eq!(run(&mut client, &mut server, at(5)).len(), 4);
    assert_eq!(server.updates, 1);
    client.address(at(100), Some(ip("203.0.113.8")));
    assert_eq!(run(&mut client, &mut server, at(105)).len(), 1);
    assert!(server.records.values().all(|a| *a == ip("203.0.113.8")));
}

#[test]
fn a_signed_update_waits_for_the_clock() {
    let mut client = Client::new(at(0), entry(Kind::Dns), None);
    client.address(at(0), Some(ip("203.0.113.7")));
    let unknown = Now { wall: None, ..at(5) };
    assert_eq!(client.poll(unknown, 0), None);
    assert!(client.waits_for_clock());
    assert!(client.poll_timeout(unknown).unwrap() > unknown.at);
    assert!(client.poll(at(35), 0).is_some());
    assert!(!client.waits_for_clock());
}

#[test]
fn an_unsigned_reply_to_a_signed_update_does_not_count() {
    let mut client = Client::new(at(0), entry(Kind::Dns), None);
    let mut server = Server::default();
    client.address(at(0), Some(ip("203.0.113.7")));
    let mut last = None;
    while let Some(request) = client.poll(at(5), 7) {
        let mut answer = server.respond(&request.ask, at(5));
        if let super::server::Answer::Dns(reply) = &mut answer
            && reply[2] & 0x78 != 0
        {
            reply.truncate(12 + 13 + 4);
            reply[11] = 0;
        }
        client.answer(at(5), request.id, &answer.outcome(), 0);
        last = Some(request);
    }
    assert!(last.is_some());
    assert!(client.status().all(|n| n.failure == Some(Reason::Unsigned) && !n.good && !n.stopped));
}

#[test]
fn what_the_server_does_not_take_for_its_time_is_signed_with_the_servers_time() {
    let mut client = Client::new(at(0), entry(Kind::Dns), None);
    let mut server = Server { ahead: 7_500, ..Server::default() };
    client.address(at(0), Some(ip("203.0.113.7")));
    // The zone, both lookups, the update, and again at once.
    assert_eq!(run(&mut client, &mut server, at(5)).len(), 5);
    assert_eq!((server.updates, client.server_clock_ahead(at(5))), (1, Some(7_500)));
    assert!(client.status().all(|name| name.good && name.failure.is_none()));
    // It is remembered.
    client.address(at(100), Some(ip("203.0.113.8")));
    assert_eq!(run(&mut client, &mut server, at(105)).len(), 1);
    assert_eq!(server.updates, 2);
    // Our clock is set: there is nothing to remember any more, whatever it is set to.
    let set = |seconds: u64| Now { wall: Some(UnixTime(EPOCH + seconds as i64 + 7_500)), ..at(seconds) };
    server.ahead = 0;
    assert_eq!(client.server_clock_ahead(set(106)), None);
    client.address(set(200), Some(ip("203.0.113.9")));
    assert_eq!(run(&mut client, &mut server, set(205)).len(), 1);
    assert_eq!((server.updates, client.server_clock_ahead(set(205))), (3, None));
    // A server behind us; one that is a little off needs no help.
    server.ahead = -4_000;
    client.address(set(300), Some(ip("203.0.113.7")));
    assert_eq!(run(&mut client, &mut server, set(305)).len(), 2);
    assert_eq!((server.updates, client.server_clock_ahead(set(305))), (4, Some(-4_000)));
}

/// Answers every update with BADTIME; gives how many there were.
fn refuse(client: &mut Client, mut badtime: impl FnMut(&mut Vec<u8>, &[u8])) -> usize {
    let mut updates = 0;
    let mut server = Server::default();
    client.address(at(0), Some(ip("203.0.113.7")));
    while let Some(request) = client.poll(at(5), 7) {
        let Ask::Dns(ask) = &request.ask else { panic!("{request:?}") };
        let answer = if ask.octets[2] & 0x78 == 0 {
            server.respond(&request.ask, at(5))
        } else {
            updates += 1;
            assert!(updates < 10, "without end");
            let (_, zone) = DnsName::read(&ask.octets, 12).unwrap();
            let mut reply = ask.octets[..zone + 4].to_vec();
            reply[2] |= 0x80;
            reply[3] |= 9;
            reply[6..12].fill(0);
            badtime(&mut reply, &ask.octets);
            super::server::Answer::Dns(reply)
        };
        client.answer(at(5), request.id, &answer.outcome(), 0);
    }
    updates
}

#[test]
fn a_server_that_takes_no_time_at_all_is_asked_twice_and_then_much_later() {
    let mut client = Client::new(at(0), entry(Kind::Dns), None);
    let mut ahead = 0;
    let updates = refuse(&mut client, |reply, sent| {
        // Its clock runs away.
        ahead += 1_000_000;
        let (mac, time) = super::server::signature(sent);
        super::server::sign_error(reply, &mac, time, 18, &(EPOCH + ahead).to_be_bytes()[2..]);
    });
    assert_eq!(updates, 2);
    let bad_time = Some(Reason::Tsig(TsigError::BadTime));
    assert!(client.status().all(|name| !name.good && name.failure == bad_time));
    assert!(client.poll_timeout(at(5)).unwrap() >= at(3_605).at);
}

#[test]
fn a_time_that_anybody_can_have_told_is_not_believed() {
    // Without a signature, with a wrong one, and signed, but without a time.
    for case in 0..3 {
        let mut client = Client::new(at(0), entry(Kind::Dns), None);
        let updates = refuse(&mut client, |reply, sent| {
            let (mac, time) = super::server::signature(sent);
            let clock = (EPOCH + 7_500).to_be_bytes();
            let other = if case == 2 { &[][..] } else { &clock[2..] };
            super::server::sign_error(reply, &mac, time, 18, other);
            // The MAC stands before the identifier, the error, the length of the rest and the rest.
            let end = reply.len() - 6 - other.len();
            match case {
                0 => {
                    reply.drain(end - 32..end);
                    let size = end - 32 - 2;
                    reply[size..size + 2].fill(0);
                    let rdata = reply.len() - (13 + 6 + 2 + 2 + 6 + other.len());
                    reply[rdata - 1] -= 32;
                }
                1 => reply[end - 1] ^= 1,
                _ => {}
            }
        });
        assert_eq!(updates, 1, "case {case}");
        assert_eq!(client.server_clock_ahead(at(5)), None, "case {case}");
        let failure = client.status().next().unwrap().failure;
        let wanted = if case == 1 { TsigError::BadSig } else { TsigError::BadTime };
        assert_eq!(failure, Some(Reason::Tsig(wanted)), "case {case}");
    }
}

proptest! {
    #[test]
    fn no_octets_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let sent = dns_message::query(7, &name("a.example.com"), 1, false);
        let _ = dns_message::reply(&body, &sent);
        let mut reply = sent.clone();
        reply[2] |= 0x80;
        reply[6..12].copy_from_slice(&[0, 2, 0, 0, 0, 1]);
        reply.extend_from_slice(&body);
        let _ = dns_message::reply(&reply, &sent);
    }

    #[test]
    fn no_changed_signed_reply_passes(at in 0usize..1000, value in 1u8..) {
        let (sent, mac, mut reply) = exchange();
        sign_reply(&mut reply, &mac, UnixTime(EPOCH), 0);
        let at = at % reply.len();
        let before = reply.clone();
        reply[at] ^= value;
        let key = super::server::key(TsigAlgorithm::HmacSha256);
        if let Ok(read) = dns_message::reply(&reply, &sent)
            && let Some(record) = &read.tsig
            && tsig::verify(&read, record, &key, &mac, UnixTime(EPOCH)).is_ok()
        {
            // Only what is not covered may differ: the letters' case, and the record's TTL.
            prop_assert!(reply.eq_ignore_ascii_case(&before) || (45..49).contains(&at), "octet {at}");
        }
    }
}
