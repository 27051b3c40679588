//! Properties: no octets panic; only the right answer gets through or into the cache; TTLs never grow; memory and
//! outstanding questions stay within their bounds, and timers never stand still.

use proptest::prelude::*;
use proptest::strategy::Strategy;

use super::*;

/// What makes an answer wrong.
#[derive(Clone, Copy, Debug)]
enum Wrong {
    Id(u16),
    Letters,
    Name,
    Type(u16),
    Source(u8),
    SourcePort(u16),
    Port(u16),
    Transport,
    Cut(usize),
    Longer,
    NoAnswer,
}

fn wrong() -> impl Strategy<Value = Wrong> {
    prop_oneof![
        (1..=u16::MAX).prop_map(Wrong::Id),
        Just(Wrong::Letters),
        Just(Wrong::Name),
        (1..=u16::MAX).prop_map(Wrong::Type),
        (3..=u8::MAX).prop_map(Wrong::Source),
        (1..=u16::MAX).prop_map(Wrong::SourcePort),
        (1..=u16::MAX).prop_map(Wrong::Port),
        Just(Wrong::Transport),
        (0_usize..200).prop_map(Wrong::Cut),
        Just(Wrong::Longer),
        Just(Wrong::NoAnswer),
    ]
}

/// Sends what is right but for one thing.
fn forge(bench: &mut Bench, sent: &Sent, wrong: Wrong) {
    let mut octets = sent.response_a(300, [198, 51, 100, 66]).to_vec().unwrap();
    let mut source = bench.upstreams[usize::from(sent.upstream.0)].address;
    let mut transport = sent.transport;
    // Header, 3 "www", 7 "example", root, type, class.
    let type_at = 12 + 13;
    match wrong {
        Wrong::Id(mask) => {
            octets[0] ^= (mask >> 8) as u8;
            octets[1] ^= mask as u8;
        }
        Wrong::Letters => octets[17] ^= 0x20,
        Wrong::Name => octets[13] = b'x',
        Wrong::Type(mask) => {
            octets[type_at] ^= (mask >> 8) as u8;
            octets[type_at + 1] ^= mask as u8;
        }
        Wrong::Source(last) => source = ([203, 0, 113, last], 53).into(),
        Wrong::SourcePort(mask) => source.set_port(53 ^ mask),
        Wrong::Port(mask) => {
            if let Transport::Udp { port } = &mut transport {
                *port ^= mask;
            }
        }
        Wrong::Transport => transport = Transport::Tls,
        Wrong::Cut(length) => octets.truncate(length % octets.len()),
        Wrong::Longer => octets.push(0),
        Wrong::NoAnswer => octets[2] &= 0x7f,
    }
    bench.answer_octets(source, transport, &octets);
}

proptest! {
    #[test]
    fn only_the_right_answer_gets_through(forgeries in prop::collection::vec(wrong(), 1..8)) {
        let mut bench = Bench::plain();
        bench.query(client(1), 1, "www.example.", RecordType::A);
        for forgery in &forgeries {
            let sent = bench.sent[0].clone();
            forge(&mut bench, &sent, *forgery);
            prop_assert!(bench.replies.is_empty());
            prop_assert_eq!(bench.forwarder.cache_use(), (0, 0));
        }
        prop_assert_eq!(bench.forwarder.statistics().ignored_answers, forgeries.len() as u64);
        let sent = bench.last_sent();
        bench.answer(&sent, &sent.response_a(300, [198, 51, 100, 7]));
        prop_assert_eq!(addresses(&bench.reply()), ["198.51.100.7"]);
        bench.query(client(1), 2, "www.example.", RecordType::A);
        prop_assert_eq!(addresses(&bench.reply()), ["198.51.100.7"]);
    }

    #[test]
    fn no_query_panics(octets in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut bench = Bench::plain();
        bench.query_octets(client(1), &octets);
        prop_assert!(bench.replies.len() <= 1);
    }

    /// Close to real ones, so that more of the code sees them.
    #[test]
    fn no_damaged_query_panics(
        damage in prop::collection::vec((0_usize..80, any::<u8>()), 0..4),
        length in 0_usize..80,
        labels in prop::collection::vec("[a-z0-9]{1,12}", 1..5),
    ) {
        let mut message = query(1, &format!("{}.", labels.join(".")), RecordType::A);
        message.edns.insert(Default::default()).set_dnssec_ok(true);
        let mut octets = message.to_vec().unwrap();
        for (at, octet) in damage {
            let at = at % octets.len();
            octets[at] = octet;
        }
        octets.truncate(octets.len().min(length.max(20)));
        let mut bench = Bench::plain();
        bench.forwarder.set_hosts(&[("nas".to_owned(), vec!["192.168.0.10".parse().unwrap()])]);
        bench.query_octets(client(1), &octets);
        prop_assert!(bench.replies.len() + bench.sent.len() <= 1);
        for (_, reply) in &bench.replies {
            prop_assert_eq!(&reply[..2], &octets[..2]);
            prop_assert!(reply[2] & 0x80 != 0 && reply.len() <= 1232);
        }
    }

    /// Labels of any octets: what is written here can be read by another, and has the question in its own letters.
    #[test]
    fn names_of_any_octets_are_answered_with_themselves(
        labels in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..5),
    ) {
        let mut octets = vec![0, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in &labels {
            octets.push(label.len() as u8);
            octets.extend(label);
        }
        octets.extend(b"\x05local\0\0\x01\0\x01");
        let mut bench = Bench::plain();
        bench.query_octets(client(1), &octets);
        let reply = &bench.replies[0].1;
        prop_assert_eq!(reply[3] & 0x0f, if labels.is_empty() { 0 } else { 3 });
        prop_assert_eq!(&reply[12..octets.len()], &octets[12..]);
        prop_assert!(Message::from_vec(reply).is_ok());
    }

    #[test]
    fn no_answer_panics(tail in prop::collection::vec(any::<u8>(), 0..400), counts in prop::array::uniform3(0_u8..4)) {
        let mut bench = Bench::plain();
        bench.query(client(1), 1, "www.example.", RecordType::HTTPS);
        let sent = bench.last_sent();
        let mut octets = sent.response(ResponseCode::NoError).to_vec().unwrap();
        octets.truncate(12 + 13 + 4);
        for (index, count) in counts.into_iter().enumerate() {
            octets[7 + 2 * index] = count;
        }
        octets.extend(tail);
        let source = bench.upstreams[0].address;
        bench.answer_octets(source, sent.transport, &octets);
        bench.query(client(1), 2, "www.example.", RecordType::HTTPS);
        bench.pass(SECOND * 10);
        prop_assert_eq!(bench.forwarder.outstanding(), 0);
    }

    /// Within its time an answer's TTLs are what is left of those that came; past it they are small, and never larger than
    /// those that came.
    #[test]
    fn ttls_never_grow(
        ttls in prop::collection::vec(any::<u32>(), 1..5),
        small in any::<bool>(),
        passes in prop::collection::vec(0_u32..2000, 1..6),
    ) {
        let mut bench = Bench::plain();
        bench.query(client(1), 1, "www.example.", RecordType::A);
        let sent = bench.last_sent();
        let ttls: Vec<u32> = ttls.into_iter().map(|ttl| if small { ttl % 2000 } else { ttl }).collect();
        let mut response = sent.response(ResponseCode::NoError);
        for &ttl in &ttls {
            response.add_answer(Record::from_rdata(name("www.example."), ttl, RData::A(A([198, 51, 100, 7].into()))));
        }
        bench.answer(&sent, &response);
        let lifetime = ttls.iter().copied().min().unwrap().min(86_400);
        let mut age = 0;
        for (turn, pass) in std::iter::once(0).chain(passes).enumerate() {
            if turn > 0 {
                bench.pass(SECOND * pass);
                age += pass;
                bench.query(client(1), 1, "www.example.", RecordType::A);
                let asked_at = age;
                if bench.replies.is_empty() {
                    bench.pass(SECOND * 6);
                    age += 6;
                }
                prop_assert!(asked_at >= lifetime || asked_at == age, "fresh answers come at once");
            }
            let reply = bench.reply();
            for (record, ttl) in reply.answers.iter().zip(&ttls) {
                let left = ttl.min(&86_400).saturating_sub(age);
                prop_assert!(record.ttl <= *ttl);
                let is_right = if age < lifetime { record.ttl == left } else { record.ttl <= left.max(30) };
                prop_assert!(is_right, "{} of {ttl} at {age}", record.ttl);
            }
        }
    }

    /// Many questions, some answered, some not, by many clients: all bounds hold, and in the end nothing is left.
    #[test]
    fn bounds_hold_and_nothing_is_left_behind(
        steps in prop::collection::vec((0_u8..4, 0_u8..30, any::<bool>(), 0_u64..3000), 1..120),
        parallel in any::<bool>(),
    ) {
        let settings = Settings {
            upstreams: vec![upstream(1), upstream(2)],
            strategy: if parallel { super::Strategy::Parallel } else { super::Strategy::Ordered },
            cache_octets: 3000,
            max_waiting: 10,
            max_waiting_per_client: 6,
            ..Settings::default()
        };
        let mut bench = Bench::new(&settings);
        let mut asked = 0;
        for (from, number, answered, passed) in steps {
            asked += 1;
            bench.query(client(from), asked, &format!("{number}.example."), RecordType::A);
            if let Some(sent) = bench.sent.last().cloned().filter(|_| answered) {
                bench.answer(&sent, &sent.response_a(u32::from(number), [198, 51, 100, number]));
            }
            prop_assert!(bench.forwarder.outstanding() <= 10);
            prop_assert!(bench.forwarder.cache_use().0 <= 3000);
            bench.pass(MILLISECOND * passed as u32);
            prop_assert!(bench.forwarder.poll_timeout().is_none_or(|at| at > bench.now));
        }
        bench.pass(SECOND * 10);
        prop_assert_eq!((bench.forwarder.outstanding(), bench.forwarder.poll_timeout()), (0, None));
        prop_assert_eq!(bench.replies.len(), usize::from(asked), "each query has one reply");
        let opened = bench.sent.iter().filter(|sent| matches!(sent.transport, Transport::Udp { .. })).count();
        prop_assert_eq!(bench.closed.len(), opened);
    }
}
