//! Questions that go out: cache, time-outs, health, TCP, TLS, rebinding.

use std::collections::BTreeSet;

use super::*;

#[test]
fn an_answer_comes_back_in_the_clients_own_letters() {
    let mut bench = Bench::plain();
    bench.query(client(1), 0xabcd, "WwW.exAmple.net.", RecordType::A);
    let sent = bench.last_sent();
    let Transport::Udp { port } = sent.transport else { panic!("{sent:?}") };
    assert!(port >= 1024);
    assert!(sent.message().edns.unwrap().max_payload() == 1232);
    bench.answer(&sent, &sent.response_a(300, [198, 51, 100, 7]));
    assert_eq!(bench.closed, [port]);
    let reply = bench.reply();
    assert_eq!((reply.metadata.id, addresses(&reply)), (0xabcd, vec!["198.51.100.7".to_owned()]));
    assert_eq!(reply.queries[0].name().to_string(), "WwW.exAmple.net.");
    assert!(reply.edns.is_none());
    assert_eq!((bench.forwarder.outstanding(), bench.forwarder.poll_timeout()), (0, None));
}

#[test]
fn identifiers_ports_and_letters_differ_from_question_to_question() {
    let mut bench = Bench::plain();
    (0..100)
        .for_each(|number| bench.query(client(1), number, &format!("name-{number}.example."), RecordType::A));
    let distinct = |of: &dyn Fn(&Sent) -> u64| bench.sent.iter().map(of).collect::<BTreeSet<u64>>().len();
    assert!(distinct(&|sent| sent.message().metadata.id.into()) > 95);
    assert_eq!(
        distinct(&|sent| if let Transport::Udp { port } = sent.transport { port.into() } else { 0 }),
        100
    );
    let upper = bench
        .sent
        .iter()
        .flat_map(|sent| sent.octets[12..].iter())
        .filter(|octet| octet.is_ascii_uppercase())
        .count();
    assert!((400..700).contains(&upper), "{upper} of 1100 letters");
}

#[test]
fn ttls_count_down_in_the_cache() {
    let mut bench = Bench::plain();
    bench.learn("www.example.", 300, [198, 51, 100, 7]);
    for (passed, left) in [(0, 300), (100, 200), (199, 1)] {
        bench.pass(SECOND * passed);
        bench.query(client(2), 2, "www.EXAMPLE.", RecordType::A);
        assert_eq!(bench.reply().answers[0].ttl, left);
    }
    assert_eq!(bench.sent.len(), 1);
    bench.pass(SECOND);
    bench.query(client(2), 2, "www.example.", RecordType::A);
    assert_eq!(bench.sent.len(), 2);
}

#[test]
fn that_there_is_nothing_is_kept_as_the_soa_says() {
    let mut bench = Bench::plain();
    bench.query(client(1), 1, "no.example.", RecordType::A);
    let sent = bench.last_sent();
    bench.answer(&sent, &sent.response_nx(3600, 60));
    assert_eq!(bench.reply().authorities[0].ttl, 60);
    bench.pass(SECOND * 59);
    bench.query(client(1), 1, "no.example.", RecordType::A);
    let reply = bench.reply();
    assert_eq!((reply.metadata.response_code, reply.authorities[0].ttl), (ResponseCode::NXDomain, 1));
    // Without a SOA it is not kept.
    bench.query(client(1), 1, "nothing.example.", RecordType::A);
    let sent = bench.last_sent();
    bench.answer(&sent, &sent.response(ResponseCode::NXDomain));
    bench.reply();
    bench.query(client(1), 1, "nothing.example.", RecordType::A);
    assert_eq!(bench.sent.len(), 3);
}

#[test]
fn questions_with_and_without_do_are_kept_apart() {
    let mut bench = Bench::plain();
    bench.learn("www.example.", 300, [198, 51, 100, 7]);
    let mut message = query(1, "www.example.", RecordType::A);
    message.edns.insert(Default::default()).set_dnssec_ok(true);
    bench.query_octets(client(1), &message.to_vec().unwrap());
    assert!(bench.last_sent().message().edns.unwrap().flags().dnssec_ok);
    assert_eq!(bench.sent.len(), 2);
}

#[test]
fn equal_questions_share_one_exchange() {
    let mut bench = Bench::plain();
    for (from, id, text) in
        [(1, 1, "www.example."), (2, 2, "WWW.example."), (1, 1, "www.example."), (1, 3, "www.example.")]
    {
        bench.query(client(from), id, text, RecordType::A);
    }
    assert_eq!((bench.sent.len(), bench.forwarder.statistics().total.repeated), (1, 1));
    let sent = bench.last_sent();
    bench.answer(&sent, &sent.response_a(300, [198, 51, 100, 7]));
    let ids: Vec<u8> = bench.replies.iter().map(|(_, octets)| octets[1]).collect();
    assert_eq!(ids, [1, 2, 3]);
}

#[test]
fn no_client_takes_all_the_room() {
    let settings = Settings {
        upstreams: vec![upstream(1)],
        max_waiting: 5,
        max_waiting_per_client: 3,
        ..Settings::default()
    };
    let mut bench = Bench::new(&settings);
    for from in [1, 2] {
        (0..4).for_each(|number| {
            bench.query(client(from), number, &format!("{from}-{number}.example."), RecordType::A)
        });
    }
    assert_eq!((bench.sent.len(), bench.forwarder.outstanding()), (5, 5));
    let refused: Vec<_> = bench
        .replies
        .iter()
        .map(|(client, octets)| (client.address.ip().to_string(), octets[3] & 15))
        .collect();
    assert_eq!(
        refused,
        [("192.168.0.1".to_owned(), 5), ("192.168.0.2".to_owned(), 5), ("192.168.0.2".to_owned(), 5)]
    );
    bench.pass(SECOND * 5);
    assert_eq!(bench.forwarder.outstanding(), 0);
    bench.replies.clear();
    bench.query(client(2), 1, "again.example.", RecordType::A);
    assert_eq!(bench.forwarder.outstanding(), 1);
}

#[test]
fn the_next_upstream_is_asked_when_one_is_silent_and_the_late_answer_still_counts() {
    let mut bench = Bench::plain();
    bench.query(client(1), 1, "www.example.", RecordType::A);
    bench.pass(SECOND - MILLISECOND);
    assert_eq!(bench.sent.len(), 1);
    bench.pass(MILLISECOND);
    assert_eq!(bench.sent.iter().map(|sent| sent.upstream.0).collect::<Vec<_>>(), [0, 1]);
    let first = bench.sent[0].clone();
    bench.answer(&first, &first.response_a(300, [198, 51, 100, 7]));
    bench.reply();
    // The other's comes too late: it tells only that this one is well.
    assert_eq!((bench.closed.len(), bench.forwarder.is_listening()), (1, true));
    let second = bench.last_sent();
    bench.answer(&second, &second.response_a(300, [198, 51, 100, 8]));
    assert_eq!((bench.closed.len(), bench.forwarder.is_listening()), (2, false));
    assert_eq!((bench.replies.len(), bench.forwarder.statistics().ignored_answers), (0, 0));
    bench.answer(&second, &second.response_a(300, [198, 51, 100, 8]));
    assert_eq!(bench.forwarder.statistics().ignored_answers, 1, "once");
}

#[test]
fn silence_of_all_is_a_failure_that_is_remembered() {
    let mut bench = Bench::plain();
    bench.query(client(1), 1, "www.example.", RecordType::A);
    bench.pass(SECOND * 5 - MILLISECOND);
    assert!(bench.replies.is_empty());
    bench.pass(MILLISECOND);
    assert_eq!(bench.reply().metadata.response_code, ResponseCode::ServFail);
    let sent = bench.sent.len();
    assert_eq!((sent, bench.closed.len(), bench.forwarder.outstanding()), (4, 4, 0));
    bench.pass(SECOND * 5 - MILLISECOND);
    bench.query(client(1), 2, "www.example.", RecordType::A);
    assert_eq!((bench.reply().metadata.response_code, bench.sent.len()), (ResponseCode::ServFail, sent));
    bench.pass(MILLISECOND);
    bench.query(client(1), 3, "www.example.", RecordType::A);
    assert_eq!(bench.sent.len(), sent + 1);
}

#[test]
fn an_upstream_that_stays_silent_goes_behind_the_others() {
    let mut bench = Bench::plain();
    for number in 0..4 {
        bench.query(client(1), number, &format!("{number}.example."), RecordType::A);
        if bench.last_sent().upstream == UpstreamId(0) {
            bench.pass(SECOND);
        }
        let sent = bench.last_sent();
        assert_eq!(sent.upstream, UpstreamId(1));
        bench.answer(&sent, &sent.response_a(1, [198, 51, 100, 7]));
    }
    assert_eq!(bench.events, [Event::UpstreamDown(UpstreamId(0))]);
    assert_eq!(bench.sent.len(), 7);
    // After its pause it is asked again, and is back.
    bench.pass(SECOND);
    bench.query(client(1), 9, "9.example.", RecordType::A);
    let sent = bench.last_sent();
    bench.answer(&sent, &sent.response_a(1, [198, 51, 100, 7]));
    assert_eq!(bench.events.last(), Some(&Event::UpstreamUp(UpstreamId(0))));
}

#[test]
fn in_parallel_the_first_answer_counts() {
    let settings = Settings {
        upstreams: vec![upstream(1), upstream(2)],
        strategy: Strategy::Parallel,
        ..Settings::default()
    };
    let mut bench = Bench::new(&settings);
    bench.query(client(1), 1, "www.example.", RecordType::A);
    let [first, second] = [bench.sent[0].clone(), bench.sent[1].clone()];
    bench.answer(&first, &first.response(ResponseCode::Refused));
    assert!(bench.replies.is_empty());
    bench.answer(&second, &second.response_a(300, [198, 51, 100, 7]));
    assert_eq!(addresses(&bench.reply()), ["198.51.100.7"]);
    assert_eq!((bench.sent.len(), bench.closed.len()), (2, 2));
}

#[test]
fn who_is_slower_is_told_from_who_is_dead() {
    let settings = Settings {
        upstreams: (1..=3).map(upstream).collect(),
        strategy: Strategy::Parallel,
        ..Settings::default()
    };
    let mut bench = Bench::new(&settings);
    for number in 0..4 {
        bench.sent.clear();
        bench.query(client(1), number, &format!("{number}.example."), RecordType::A);
        let sent = bench.sent.clone();
        bench.answer(&sent[0], &sent[0].response_a(300, [198, 51, 100, 7]));
        bench.reply();
        if number == 3 {
            assert_eq!(sent.len(), 2, "the dead one is left out");
            break;
        }
        assert_eq!(sent.len(), 3);
        // More questions at the same time find out no more.
        bench.query(client(1), 100 + number, &format!("more-{number}.example."), RecordType::A);
        let more = bench.sent[3..].to_vec();
        bench.answer(&more[0], &more[0].response_a(300, [198, 51, 100, 7]));
        bench.reply();
        bench.pass(MILLISECOND * 900);
        bench.answer(&sent[1], &sent[1].response_a(300, [198, 51, 100, 7]));
        bench.pass(MILLISECOND * 99);
        assert_eq!(bench.forwarder.upstream_reports()[2].failed, u64::from(number));
        bench.pass(MILLISECOND);
    }
    let [fast, slow, dead] = bench.forwarder.upstream_reports()[..] else { panic!("three") };
    assert_eq!((fast.is_down, slow.is_down, dead.is_down), (false, false, true));
    assert_eq!((slow.answered, slow.failed, slow.round_trip), (3, 0, Some(MILLISECOND * 900)));
    assert_eq!((dead.answered, dead.failed), (0, 3));
    assert_eq!(bench.events, [Event::UpstreamDown(UpstreamId(2))]);
    // What is not awaited any more is closed, all of it.
    bench.pass(SECOND);
    assert!(!bench.forwarder.is_listening() && bench.replies.is_empty());
}

#[test]
fn errors_of_all_end_it_at_once() {
    let mut bench = Bench::plain();
    bench.query(client(1), 1, "www.example.", RecordType::A);
    for _ in 0..4 {
        assert!(bench.replies.is_empty(), "an error of one ends it");
        let sent = bench.last_sent();
        bench.answer(&sent, &sent.response(ResponseCode::ServFail));
    }
    assert_eq!(bench.reply().metadata.response_code, ResponseCode::ServFail);
    assert_eq!(bench.sent.len(), 4);
    let mut none = Bench::new(&Settings::default());
    none.query(client(1), 1, "www.example.", RecordType::A);
    assert_eq!(none.reply().metadata.response_code, ResponseCode::ServFail);
}

#[test]
fn who_refuses_a_question_is_not_asked_it_again() {
    let mut bench = Bench::plain();
    bench.query(client(1), 1, "lan.example.", RecordType::A);
    for upstream in [0, 1] {
        let sent = bench.last_sent();
        assert_eq!(sent.upstream, UpstreamId(upstream));
        bench.answer(&sent, &sent.response(ResponseCode::Refused));
    }
    assert_eq!(bench.reply().metadata.response_code, ResponseCode::ServFail);
    assert_eq!((bench.sent.len(), bench.forwarder.outstanding()), (2, 0));
    // Another is asked as often as before.
    bench.query(client(1), 2, "other.example.", RecordType::A);
    let sent = bench.last_sent();
    bench.answer(&sent, &sent.response(ResponseCode::Refused));
    bench.pass(SECOND);
    let asked: Vec<_> = bench.sent[2..].iter().map(|sent| sent.upstream.0).collect();
    assert_eq!(asked, [0, 1, 1]);
}

#[test]
fn who_refuses_some_names_is_not_down_and_who_refuses_all_is() {
    let refused = |bench: &mut Bench, numbers: std::ops::Range<u16>| {
        for number in numbers {
            bench.query(client(1), number, &format!("{number}.lan.example."), RecordType::A);
            let sent = bench.last_sent();
            bench.answer(&sent, &sent.response(ResponseCode::Refused));
            assert_eq!(bench.reply().metadata.response_code, ResponseCode::ServFail);
        }
    };
    let only = Settings { upstreams: vec![upstream(1)], ..Settings::default() };
    let mut bench = Bench::new(&only);
    bench.learn("www.example.", 300, [198, 51, 100, 7]);
    refused(&mut bench, 0..9);
    bench.pass(SECOND * 59);
    refused(&mut bench, 10..19);
    assert_eq!((bench.events.len(), bench.forwarder.upstream_reports()[0].failed), (0, 18));
    // It has answered nothing else for a minute.
    bench.pass(SECOND);
    refused(&mut bench, 20..29);
    assert_eq!(bench.events, [Event::UpstreamDown(UpstreamId(0))]);
    let report = bench.forwarder.upstream_reports()[0];
    assert!(report.is_down && report.refuses);
    bench.learn("more.example.", 300, [198, 51, 100, 7]);
    let report = bench.forwarder.upstream_reports()[0];
    assert!(!report.is_down && !report.refuses);

    let mut bench = Bench::new(&only);
    refused(&mut bench, 0..3);
    assert_eq!(bench.events, [Event::UpstreamDown(UpstreamId(0))]);
}

#[test]
fn stale_answers_serve_when_upstreams_are_silent() {
    let mut bench = Bench::plain();
    bench.learn("www.example.", 300, [198, 51, 100, 7]);
    bench.pass(SECOND * 400);
    bench.query(client(1), 1, "www.example.", RecordType::A);
    bench.pass(Duration::from_millis(1799));
    assert!(bench.replies.is_empty());
    bench.pass(MILLISECOND);
    let reply = bench.reply();
    assert_eq!((reply.answers[0].ttl, addresses(&reply)), (30, vec!["198.51.100.7".to_owned()]));
    // The refresh goes on without anybody who waits, fails, and is not repeated for half a minute.
    assert_eq!(bench.forwarder.outstanding(), 1);
    bench.pass(Duration::from_millis(3200));
    let sent = bench.sent.len();
    bench.pass(SECOND * 30 - MILLISECOND);
    bench.query(client(1), 2, "www.example.", RecordType::A);
    assert_eq!((bench.reply().answers[0].ttl, bench.sent.len()), (30, sent));
    bench.pass(MILLISECOND);
    bench.query(client(1), 3, "www.example.", RecordType::A);
    let sent = bench.last_sent();
    bench.answer(&sent, &sent.response_a(300, [198, 51, 100, 8]));
    assert_eq!(addresses(&bench.reply()), ["198.51.100.8"]);
    assert_eq!(bench.forwarder.statistics().total.stale, 2);
}

#[test]
fn what_is_cut_is_asked_for_over_tcp_and_never_kept_cut() {
    let mut bench = Bench::plain();
    bench.query(client(1), 1, "big.example.", RecordType::A);
    let datagram = bench.last_sent();
    let mut cut = datagram.response(ResponseCode::NoError);
    cut.metadata.truncation = true;
    bench.answer(&datagram, &cut);
    assert!(bench.replies.is_empty());
    let stream = bench.last_sent();
    assert_eq!((stream.upstream, stream.transport), (datagram.upstream, Transport::Tcp));
    let mut whole = stream.response_a(300, [198, 51, 100, 7]);
    for last in 0..200 {
        let address = RData::A(A([198, 51, 100, last].into()));
        whole.add_answer(Record::from_rdata(name("big.example."), 300, address));
    }
    bench.answer(&stream, &whole);
    let reply = bench.reply();
    assert!(reply.metadata.truncation && reply.answers.is_empty(), "too large for this client's UDP");
    let over_tcp = Client { transport: ClientTransport::Tcp, ..client(1) };
    bench.query(over_tcp, 2, "big.example.", RecordType::A);
    let reply = bench.reply();
    assert_eq!((reply.metadata.truncation, reply.answers.len(), bench.sent.len()), (false, 201, 2));
}

#[test]
fn an_answer_in_other_letters_is_asked_for_over_tcp() {
    let mut bench = Bench::plain();
    bench.query(client(1), 1, "www.example.", RecordType::A);
    let datagram = bench.last_sent();
    let mut octets = datagram.response_a(300, [198, 51, 100, 66]).to_vec().unwrap();
    octets[13] ^= 0x20;
    let source = bench.upstreams[0].address;
    bench.answer_octets(source, datagram.transport, &octets);
    assert!(bench.replies.is_empty());
    let stream = bench.last_sent();
    assert_eq!(stream.transport, Transport::Tcp);
    bench.answer(&stream, &stream.response_a(300, [198, 51, 100, 7]));
    assert_eq!(addresses(&bench.reply()), ["198.51.100.7"]);
}

#[test]
fn over_tls_messages_are_padded_and_a_broken_connection_is_followed_by_the_next() {
    let tls = Upstream { address: ([203, 0, 113, 3], 853).into(), protocol: Protocol::Tls };
    let mut bench = Bench::new(&Settings { upstreams: vec![tls, upstream(1)], ..Settings::default() });
    for number in 0..2 {
        bench.query(client(1), number, &format!("{number}.example."), RecordType::A);
    }
    let first = bench.sent[0].clone();
    assert_eq!((first.transport, first.octets.len()), (Transport::Tls, 128));
    first.message();
    bench.transport_failed(&first);
    let again: Vec<_> = bench.sent[2..].iter().map(|sent| sent.upstream).collect();
    assert_eq!(again, [UpstreamId(1); 2]);
    for sent in bench.sent.split_off(2) {
        bench.answer(&sent, &sent.response_a(300, [198, 51, 100, 7]));
    }
    assert_eq!(bench.replies.len(), 2);
    bench.transport_failed(&first);
    assert_eq!(bench.events, []);
}

#[test]
fn answers_that_point_inside_are_withheld() {
    let settings = Settings {
        upstreams: vec![upstream(1)],
        rebinding_exceptions: vec!["good.example".to_owned()],
        ..Settings::default()
    };
    let mut bench = Bench::new(&settings);
    bench.query(client(1), 1, "evil.example.", RecordType::A);
    let sent = bench.last_sent();
    bench.answer(&sent, &sent.response_a(300, [192, 168, 0, 10]));
    for _ in 0..2 {
        let reply = bench.reply();
        assert_eq!((reply.metadata.response_code, reply.answers.len()), (ResponseCode::NoError, 0));
        bench.query(client(1), 1, "evil.example.", RecordType::A);
    }
    let address = "192.168.0.10".parse().unwrap();
    assert_eq!(bench.events, [Event::Rebinding { name: name("evil.example."), address }]);
    bench.replies.clear();
    bench.learn("nas.good.example.", 300, [192, 168, 0, 10]);
    bench.query(client(1), 1, "nas.good.example.", RecordType::A);
    assert_eq!(addresses(&bench.reply()), ["192.168.0.10"]);
}

#[test]
fn without_recursion_only_what_is_known_is_told() {
    let mut bench = Bench::plain();
    bench.learn("www.example.", 300, [198, 51, 100, 7]);
    for (text, rcode) in [("www.example.", ResponseCode::NoError), ("other.example.", ResponseCode::Refused)]
    {
        let mut message = query(1, text, RecordType::A);
        message.metadata.recursion_desired = false;
        bench.query_octets(client(1), &message.to_vec().unwrap());
        assert_eq!(bench.reply().metadata.response_code, rcode);
    }
    assert_eq!(bench.sent.len(), 1);
}

#[test]
fn an_upstream_of_before_edns_is_asked_without_it() {
    let mut bench = Bench::plain();
    bench.query(client(1), 1, "www.example.", RecordType::A);
    let sent = bench.last_sent();
    assert!(sent.message().edns.is_some());
    let mut refusal = sent.response(ResponseCode::FormErr);
    refusal.edns = None;
    bench.answer(&sent, &refusal);
    let again = bench.last_sent();
    assert_eq!((bench.sent.len(), again.upstream, again.message().edns.is_some()), (2, sent.upstream, false));
    let mut response = again.response_a(300, [198, 51, 100, 7]);
    response.edns = None;
    bench.answer(&again, &response);
    assert_eq!(addresses(&bench.reply()), ["198.51.100.7"]);
    // That is remembered, and it is no failure.
    bench.query(client(1), 2, "other.example.", RecordType::A);
    assert!(bench.last_sent().message().edns.is_none());
    let report = bench.forwarder.upstream_reports()[0];
    assert_eq!((report.asked, report.answered, report.failed), (3, 1, 0));
    // With an OPT, FORMERR is about something else: the next upstream is asked.
    let mut bench = Bench::plain();
    bench.query(client(1), 1, "www.example.", RecordType::A);
    let sent = bench.last_sent();
    bench.answer(&sent, &sent.response(ResponseCode::FormErr));
    assert_ne!(bench.last_sent().upstream, sent.upstream);
}

#[test]
fn other_settings_keep_what_still_counts() {
    let mut settings = Settings { upstreams: vec![upstream(1), upstream(2)], ..Settings::default() };
    let mut bench = Bench::new(&settings);
    bench.learn("www.example.", 300, [198, 51, 100, 7]);
    bench.query(client(1), 1, "slow.example.", RecordType::A);
    let before = bench.last_sent();
    settings.client_statistics = true;
    bench.follow(&settings);
    assert_eq!((bench.forwarder.cache_use().1, bench.forwarder.outstanding()), (1, 1));
    // Another upstream: it is asked for those who wait, and nobody gets answers of the one before.
    settings.upstreams = vec![upstream(3)];
    bench.upstreams = settings.upstreams.clone();
    bench.follow(&settings);
    assert_eq!(bench.forwarder.cache_use(), (0, 0));
    let Transport::Udp { port } = before.transport else { panic!("it is plain") };
    assert!(bench.closed.contains(&port));
    let sent = bench.last_sent();
    bench.answer(&sent, &sent.response_a(300, [198, 51, 100, 8]));
    assert_eq!(addresses(&bench.reply()), ["198.51.100.8"]);
    // Without protection, what was withheld is asked for again.
    bench.query(client(1), 1, "inside.example.", RecordType::A);
    let sent = bench.last_sent();
    bench.answer(&sent, &sent.response_a(300, [192, 168, 0, 9]));
    assert!(addresses(&bench.reply()).is_empty());
    settings.rebinding_protection = false;
    bench.follow(&settings);
    bench.learn("inside.example.", 300, [192, 168, 0, 9]);
    settings.cache_octets = 0;
    bench.follow(&settings);
    assert_eq!(bench.forwarder.cache_use(), (0, 0));
}

#[test]
fn a_check_tells_who_answers_now() {
    let mut bench = Bench::plain();
    let (check, reports) = (Bench::check, |bench: &Bench| bench.forwarder.upstream_reports());
    check(&mut bench);
    assert_eq!(bench.sent.len(), 2, "each is asked");
    let [first, second] = [0, 1].map(|index| bench.sent[index].clone());
    let question = &first.message().queries[0];
    assert_eq!((question.name().to_string(), question.query_type()), (".".to_owned(), RecordType::NS));
    bench.pass(20 * MILLISECOND);
    bench.answer(&first, &first.response(ResponseCode::NoError));
    assert!(bench.forwarder.is_checking());
    // A datagram may be lost.
    bench.pass(SECOND);
    let again = bench.last_sent();
    assert_eq!((bench.sent.len(), again.upstream), (3, second.upstream));
    bench.pass(SECOND);
    assert!(!bench.forwarder.is_checking() && !bench.forwarder.is_listening());
    let told = reports(&bench);
    assert_eq!(told[0].last_answer.map(|(_, after)| after), Some(20 * MILLISECOND));
    assert_eq!((told[0].last_failure, told[1].last_answer), (None, None));
    assert!(told[1].last_failure.is_some() && !told[1].is_down);
    assert_eq!((bench.forwarder.cache_use().1, bench.replies.len()), (0, 0), "it was asked for nobody");

    // One that refuses is there, and no better than before.
    check(&mut bench);
    let refused = bench.last_sent();
    bench.answer(&refused, &refused.response(ResponseCode::Refused));
    let told = reports(&bench)[1];
    assert!(told.last_answer.is_some());
    assert_eq!((told.answered, told.failed), (0, 2));
    // Whom other settings do not have is not waited for.
    bench.follow(&Settings { upstreams: vec![upstream(3)], ..Settings::default() });
    assert!(!bench.forwarder.is_checking() && !bench.forwarder.is_listening());
}
