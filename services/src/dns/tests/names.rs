//! What is answered without an upstream.

use genkan_engine::wire::ethernet::MacAddr;
use hickory_proto::op::Edns;

use super::*;

const DEVICE: MacAddr = MacAddr([2, 0, 0, 0, 0, 100]);

fn with_names() -> Bench {
    let mut bench = Bench::plain();
    bench.forwarder.set_hosts(&[
        ("nas".to_owned(), vec!["192.168.0.10".parse().unwrap(), "fd00::10".parse().unwrap()]),
        ("genkan".to_owned(), vec!["192.168.0.1".parse().unwrap()]),
        ("absent".to_owned(), vec![]),
    ]);
    assert!(bench.forwarder.add_lease([192, 168, 0, 100].into(), DEVICE, "Laptop.example.net"));
    bench
}

fn ask(bench: &mut Bench, text: &str, kind: RecordType) -> Message {
    bench.query(client(1), 77, text, kind);
    assert!(bench.sent.is_empty(), "{text} went out");
    let reply = bench.reply();
    assert_eq!((reply.metadata.id, reply.metadata.recursion_available), (77, true));
    assert_eq!(reply.queries[0].name().to_string(), name(text).to_string());
    reply
}

#[test]
fn hosts_and_leases_have_addresses_and_pointers() {
    let mut bench = with_names();
    for (text, kind, data) in [
        ("nas.home.arpa.", RecordType::A, "192.168.0.10"),
        ("NAS.", RecordType::A, "192.168.0.10"),
        ("nas.home.arpa.", RecordType::AAAA, "fd00::10"),
        ("laptop.home.arpa.", RecordType::A, "192.168.0.100"),
        ("10.0.168.192.in-addr.arpa.", RecordType::PTR, "nas.home.arpa."),
        ("100.0.168.192.in-addr.arpa.", RecordType::PTR, "laptop.home.arpa."),
        (
            "0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.",
            RecordType::PTR,
            "nas.home.arpa.",
        ),
        ("a.localhost.", RecordType::A, "127.0.0.1"),
    ] {
        assert_eq!(addresses(&ask(&mut bench, text, kind)), [data], "{text}");
    }
    for (text, kind) in [("laptop.home.arpa.", RecordType::AAAA), ("absent.", RecordType::A)] {
        let reply = ask(&mut bench, text, kind);
        assert_eq!(
            (reply.metadata.response_code, reply.answers.len(), reply.authorities.len()),
            (ResponseCode::NoError, 0, 1),
            "{text}"
        );
    }
    bench.forwarder.remove_lease([192, 168, 0, 100].into());
    assert_eq!(ask(&mut bench, "laptop.", RecordType::A).metadata.response_code, ResponseCode::NXDomain);
}

#[test]
fn a_lease_takes_no_name_from_others_and_none_that_draws_traffic() {
    let mut bench = with_names();
    let mut lease = |last, text| {
        bench.forwarder.add_lease([192, 168, 0, last].into(), MacAddr([2, 0, 0, 0, 0, last]), text)
    };
    let long = "a".repeat(64);
    for wrong in
        ["nas", "absent", "laptop", "WPAD", "isatap", "localhost", "", "-a", "a_b", "a b", &long, "日本"]
    {
        assert!(!lease(101, wrong), "{wrong}");
    }
    assert!(lease(101, "phone"));
    assert!(lease(101, "tablet"), "the same client under another name");
    assert!(lease(102, "phone"));
    // Who came second has the name once it is free, and not because the first one renews its lease.
    assert!(!lease(103, "phone"));
    assert!(lease(102, "phone"));
    assert_eq!(addresses(&ask(&mut bench, "phone.", RecordType::A)), ["192.168.0.102"]);
    let pointer = "103.0.168.192.in-addr.arpa.";
    assert_eq!(ask(&mut bench, pointer, RecordType::PTR).metadata.response_code, ResponseCode::NXDomain);
    bench.forwarder.remove_lease([192, 168, 0, 102].into());
    assert_eq!(addresses(&ask(&mut bench, "phone.", RecordType::A)), ["192.168.0.103"]);
    assert_eq!(addresses(&ask(&mut bench, pointer, RecordType::PTR)), ["phone.home.arpa."]);
    bench.forwarder.remove_lease([192, 168, 0, 103].into());
    assert_eq!(ask(&mut bench, "phone.", RecordType::A).metadata.response_code, ResponseCode::NXDomain);
}

#[test]
fn a_name_goes_along_with_its_device() {
    let mut bench = with_names();
    let mut lease = |last, device| bench.forwarder.add_lease([192, 168, 1, last].into(), device, "laptop");
    assert!(lease(50, DEVICE), "it has gone to another lan");
    assert!(!lease(51, MacAddr([2, 0, 0, 0, 0, 9])), "one of the same name has not");
    assert_eq!(addresses(&ask(&mut bench, "laptop.", RecordType::A)), ["192.168.1.50"]);
    bench.forwarder.remove_lease([192, 168, 1, 50].into());
    assert_eq!(addresses(&ask(&mut bench, "laptop.", RecordType::A)), ["192.168.0.100"], "and came back");
}

#[test]
fn private_zones_end_here() {
    let mut bench = with_names();
    for text in [
        "9.0.168.192.in-addr.arpa.",
        "1.0.0.10.in-addr.arpa.",
        "printer.local.",
        "x.test.",
        "x.onion.",
        "nobody.home.arpa.",
        "_dns.resolver.arpa.",
        "unknown.",
    ] {
        let reply = ask(&mut bench, text, RecordType::A);
        assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain, "{text}");
        assert_eq!(reply.authorities.len(), 1, "{text}");
    }
    // Above an address, and at the top of a zone, there is something.
    for text in ["0.168.192.in-addr.arpa.", "168.192.in-addr.arpa.", "home.arpa."] {
        assert_eq!(
            ask(&mut bench, text, RecordType::PTR).metadata.response_code,
            ResponseCode::NoError,
            "{text}"
        );
    }
    assert_eq!(ask(&mut bench, "10.in-addr.arpa.", RecordType::SOA).answers.len(), 1);
    // What a validator asks about the top is for the upstream.
    bench.query(client(1), 1, "com.", RecordType::DS);
    assert_eq!(bench.sent.len(), 1);
}

#[test]
fn names_of_an_inside_server_have_its_inside_address() {
    let mut bench = with_names();
    bench.forwarder.set_split_names(&[("Www.example.net".to_owned(), [192, 168, 0, 10].into())]);
    assert_eq!(addresses(&ask(&mut bench, "www.EXAMPLE.net.", RecordType::A)), ["192.168.0.10"]);
    assert_eq!(ask(&mut bench, "www.example.net.", RecordType::HTTPS).answers.len(), 0);
    bench.query(client(1), 1, "www.example.net.", RecordType::AAAA);
    bench.query(client(1), 2, "example.net.", RecordType::A);
    assert_eq!(bench.sent.len(), 2);
}

#[test]
fn blocked_names_do_not_exist() {
    let mut bench = with_names();
    let mut builder = BlockListBuilder::new(10, 3);
    builder.line("ads.example").unwrap();
    bench.forwarder.set_block_list(builder.finish());
    let reply = ask(&mut bench, "x.Ads.example.", RecordType::A);
    assert_eq!((reply.metadata.response_code, reply.authorities.len()), (ResponseCode::NXDomain, 1));
    assert_eq!(bench.forwarder.statistics().total.blocked, 1);
}

#[test]
fn clients_are_counted_apart_only_when_that_is_wanted() {
    for wanted in [false, true] {
        let mut bench = Bench::new(&Settings { client_statistics: wanted, ..Settings::default() });
        bench.query(client(1), 1, "localhost.", RecordType::A);
        let statistics = bench.forwarder.statistics();
        assert_eq!((statistics.total.queries, statistics.total.local), (1, 1));
        assert_eq!(statistics.clients.len(), usize::from(wanted));
    }
}

#[test]
fn what_is_no_question_is_refused() {
    let mut bench = with_names();
    let good = query(9, "nas.", RecordType::A).to_vec().unwrap();
    let mut rcode = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut octets = good.clone();
        change(&mut octets);
        bench.query_octets(client(1), &octets);
        bench.replies.pop().map(|(_, reply)| (reply[3] & 0x0f, reply[..2] == octets[..2]))
    };
    assert_eq!(rcode(&|_| {}), Some((0, true)));
    assert_eq!(rcode(&|octets| octets.truncate(11)), None);
    assert_eq!(rcode(&|octets| octets[2] |= 0x80), None, "an answer");
    assert_eq!(rcode(&|octets| octets[2] |= 0x28), Some((4, true)), "UPDATE");
    assert_eq!(rcode(&|octets| octets[5] = 2), Some((1, true)), "two questions");
    assert_eq!(rcode(&|octets| octets[5] = 0), Some((1, true)), "none");
    assert_eq!(rcode(&|octets| octets[7] = 1), Some((1, true)), "with an answer");
    assert_eq!(rcode(&|octets| octets.push(0)), Some((1, true)), "octets behind");
    assert_eq!(rcode(&|octets| octets.truncate(20)), Some((1, true)), "cut");
    assert_eq!(rcode(&|octets| octets[12] = 0xc0), Some((1, true)), "a pointer");
    assert_eq!(rcode(&|octets| *octets.last_mut().unwrap() = 3), Some((5, true)), "CHAOS");
    let kind = good.len() - 3;
    assert_eq!(rcode(&|octets| octets[kind] = 252), Some((5, true)), "AXFR");
    assert_eq!(rcode(&|octets| octets[kind] = 41), Some((1, true)), "OPT as a question");
}

#[test]
fn edns_is_answered_with_edns_and_another_version_with_badvers() {
    let mut bench = with_names();
    let mut message = query(9, "nas.", RecordType::A);
    let mut edns = Edns::new();
    edns.set_max_payload(4096).set_dnssec_ok(true);
    message.set_edns(edns.clone());
    bench.query_octets(client(1), &message.to_vec().unwrap());
    let reply = bench.reply().edns.unwrap();
    assert_eq!((reply.max_payload(), reply.flags().dnssec_ok, reply.version()), (1232, true, 0));
    edns.set_version(1);
    message.set_edns(edns);
    bench.query_octets(client(1), &message.to_vec().unwrap());
    let reply = bench.reply();
    assert_eq!((reply.edns.unwrap().rcode_high(), reply.answers.len()), (1, 0));
    bench.query(client(1), 1, "nas.", RecordType::A);
    assert!(bench.reply().edns.is_none());
}

#[test]
fn settings_that_contradict_themselves_are_refused() {
    let error = |change: &dyn Fn(&mut Settings)| {
        let mut settings = Settings::default();
        change(&mut settings);
        Forwarder::new(&settings, 1).err()
    };
    assert_eq!(error(&|_| {}), None);
    assert_eq!(
        error(&|settings| settings.domain = "a..b".to_owned()),
        Some(SettingsError::Name("a..b".to_owned()))
    );
    assert_eq!(
        error(&|settings| settings.rebinding_exceptions = vec![String::new()]),
        Some(SettingsError::Name(String::new()))
    );
    assert_eq!(
        error(&|settings| settings.upstreams = vec![upstream(1); 2]),
        Some(SettingsError::DuplicateUpstream(upstream(1)))
    );
    let many = |settings: &mut Settings| settings.upstreams = (0..17).map(upstream).collect();
    assert_eq!(error(&many), Some(SettingsError::TooManyUpstreams(17)));
}

#[test]
fn what_is_known_here_and_now_is_the_reply_that_a_query_gets() {
    let mut bench = with_names();
    bench.learn("www.example.", 60, [198, 51, 100, 9]);
    bench.sent.clear();
    bench.pass(10 * SECOND);
    let before = bench.forwarder.statistics().total;
    for (text, is_known) in
        [("nas.", true), ("laptop.home.arpa.", true), ("www.example.", true), ("other.example.", false)]
    {
        let octets = query(77, text, RecordType::A).to_vec().unwrap();
        let known = bench.forwarder.known_reply(bench.now, client(1), &octets);
        assert_eq!(known.is_some(), is_known, "{text}");
        bench.query_octets(client(1), &octets);
        assert_eq!(known, bench.replies.pop().map(|(_, octets)| octets), "{text}");
    }
    let after = bench.forwarder.statistics().total;
    // The last one waits.
    assert_eq!((after.queries - before.queries, after.local - before.local), (7, 4));
    assert_eq!((after.cached - before.cached, bench.sent.len()), (2, 1));
    // What has expired is for those who can ask.
    bench.pass(51 * SECOND);
    let octets = query(78, "www.example.", RecordType::A).to_vec().unwrap();
    assert_eq!(bench.forwarder.known_reply(bench.now, client(1), &octets), None);
    assert_eq!(bench.forwarder.known_reply(bench.now, client(1), &[0; 12]), None);
    assert_eq!(bench.forwarder.statistics().malformed, 0);
}
