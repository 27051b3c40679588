//! The server on a clock of its own, and what holds whatever comes: nobody gets more octets than he has sent, nobody is
//! tried but the asker, and without a token there is nothing but a token.

use proptest::prelude::*;

use super::*;

const ASKER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(8, 8, 4, 4), 40_000);
const FIRST: Place = Place { other_address: false, other_port: false };
const DATAGRAM: Way = Way::Datagram(FIRST, Ipv4Addr::new(9, 9, 9, 9));
const NOW: Duration = Duration::from_secs(30);

fn places(other_address: Option<Ipv4Addr>) -> Places {
    Places { first: SocketAddrV4::new(Ipv4Addr::new(9, 9, 9, 9), 3478), other_port: 3479, other_address }
}

fn server() -> Server {
    Server::new(places(Some(Ipv4Addr::new(9, 9, 9, 10))), false, [3; 16])
}

fn request(method: u16) -> Writer {
    Writer::new(Class::Request, method, &[5; 12])
}

fn token(from: Ipv4Addr) -> [u8; 32] {
    Mint::new([3; 16]).token(NOW, from)
}

fn with_token(method: u16) -> Writer {
    request(method).with(attribute::NONCE, &token(*ASKER.ip()))
}

fn answered(action: Action) -> Answer {
    match action {
        Action::Answer(answer) => answer,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stranger_gets_a_token_and_with_it_his_address() {
    let mut server = server();
    let answer = answered(server.message(NOW, DATAGRAM, ASKER, &request(stun::BINDING).padded(64).finish()));
    assert_eq!((answer.to, answer.way, answer.octets.len()), (ASKER, DATAGRAM, 64));
    let message = Message::parse(&answer.octets).expect("it is one");
    assert_eq!((message.class, message.error_code()), (Class::Error, Some(stun::STALE_NONCE)));
    assert_eq!(message.mapped(), None);
    let token = message.attribute(attribute::NONCE).expect("the token").to_vec();

    let octets = request(stun::BINDING).with(attribute::NONCE, &token).finish();
    let answer = answered(server.message(NOW, DATAGRAM, ASKER, &octets));
    let message = Message::parse(&answer.octets).expect("it is one");
    assert_eq!((message.class, message.mapped()), (Class::Success, Some(ASKER)));
    let endpoint = |text: &str| Some(text.parse().expect("an endpoint"));
    assert_eq!(message.endpoint(attribute::RESPONSE_ORIGIN), endpoint("9.9.9.9:3478"));
    assert_eq!(message.endpoint(attribute::OTHER_ADDRESS), endpoint("9.9.9.10:3479"));
    // The token is the address's, not the port's; and nobody else's.
    let neighbor = SocketAddrV4::new(Ipv4Addr::new(8, 8, 4, 5), 40_000);
    let other_port = SocketAddrV4::new(*ASKER.ip(), 1);
    assert!(matches!(server.message(NOW, DATAGRAM, other_port, &octets), Action::Answer(_)));
    assert_eq!(server.message(NOW, DATAGRAM, neighbor, &octets), Action::Ignore(Refusal::TooShort));
}

#[test]
fn a_bare_request_of_stun_is_too_short_for_any_answer() {
    let octets = request(stun::BINDING).finish();
    assert_eq!(server().message(NOW, DATAGRAM, ASKER, &octets), Action::Ignore(Refusal::TooShort));
}

#[test]
fn the_answer_comes_from_where_it_is_asked_to() {
    let mut server = server();
    let way = |server: &mut Server, change: u32| {
        let octets =
            with_token(stun::BINDING).with(attribute::CHANGE_REQUEST, &change.to_be_bytes()).finish();
        answered(server.message(NOW, DATAGRAM, ASKER, &octets))
    };
    for (change, other_address, other_port) in
        [(0, false, false), (2, false, true), (4, true, false), (6, true, true)]
    {
        let own = Ipv4Addr::new(9, 9, 9, if other_address { 10 } else { 9 });
        assert_eq!(way(&mut server, change).way, Way::Datagram(Place { other_address, other_port }, own));
    }
    // Where it listens at all addresses: that which was asked, its other port, and a word that there is no other address.
    let first = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 3478);
    let mut alone = Server::new(Places { first, ..places(None) }, false, [3; 16]);
    let answer = way(&mut alone, 2);
    let Way::Datagram(_, own) = DATAGRAM else { unreachable!("it is one") };
    assert_eq!(answer.way, Way::Datagram(Place { other_address: false, other_port: true }, own));
    let message = Message::parse(&answer.octets).expect("it is one");
    assert_eq!(message.attribute(attribute::OTHER_PORT), Some(&3479_u16.to_be_bytes()[..]));
    assert_eq!(message.attribute(attribute::OTHER_ADDRESS), None);
    let message = way(&mut alone, 6).octets;
    assert_eq!(Message::parse(&message).expect("it is one").error_code(), Some(stun::BAD_REQUEST));
}

fn probe(protocol: Protocol, port: u16) -> Vec<u8> {
    let [p, q] = port.to_be_bytes();
    with_token(stun::PROBE).with(attribute::PROBE_TARGET, &[protocol.number(), 0, p, q]).finish()
}

#[test]
fn a_port_is_tried_at_the_asker_s_address_once_for_a_question() {
    let mut server = server();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        for outcome in Outcome::ALL {
            let octets = probe(protocol, 80);
            let Action::Probe(probe) = server.message(NOW, DATAGRAM, ASKER, &octets) else { panic!() };
            assert_eq!((probe.protocol, probe.target), (protocol, SocketAddrV4::new(*ASKER.ip(), 80)));
            assert_eq!(server.message(NOW, DATAGRAM, ASKER, &octets), Action::Ignore(Refusal::UnderWay));
            let answer =
                server.probed(probe.id, outcome, Duration::from_micros(1234)).expect("somebody waits");
            assert_eq!((answer.to, answer.way), (ASKER, DATAGRAM));
            let message = Message::parse(&answer.octets).expect("it is one");
            let result = message.attribute(attribute::PROBE_RESULT).expect("the result");
            assert_eq!(Outcome::of_number(result[0]), Some(outcome));
            assert_eq!(result[4..], 1234_u32.to_be_bytes());
            assert_eq!(message.mapped(), Some(ASKER));
            assert!(server.probed(probe.id, outcome, Duration::ZERO).is_none(), "told once");
        }
    }
}

#[test]
fn ports_are_tried_as_often_as_the_limits_say() {
    let mut server = server();
    let tried = |server: &mut Server, now, way_count: u64| {
        let ask =
            |connection| server.message(now, Way::Connection(connection), ASKER, &probe(Protocol::Tcp, 80));
        (0..way_count).map(ask).filter(|action| matches!(action, Action::Probe(_))).count()
    };
    assert_eq!(tried(&mut server, NOW, 1000), 32);
    // All of them are still under way; another source is not held up by that.
    let other = SocketAddrV4::new(Ipv4Addr::new(8, 8, 8, 8), 1);
    let octets = request(stun::PROBE).with(attribute::NONCE, &token(*other.ip()));
    let octets = octets.with(attribute::PROBE_TARGET, &[6, 0, 0, 80]).finish();
    assert!(matches!(server.message(NOW, DATAGRAM, other, &octets), Action::Probe(_)));
}

#[test]
fn however_many_ask_so_many_ports_are_tried_at_once() {
    let mut server = server();
    let mut admitted = 0;
    for host in 0..2_000 {
        let from = SocketAddrV4::new(Ipv4Addr::from_bits(0x0B00_0000 + host), 1);
        let octets = request(stun::PROBE).with(attribute::NONCE, &token(*from.ip()));
        let octets = octets.with(attribute::PROBE_TARGET, &[6, 0, 0, 80]).finish();
        let now = NOW + Duration::from_millis(u64::from(host) * 10);
        admitted += usize::from(matches!(server.message(now, DATAGRAM, from, &octets), Action::Probe(_)));
    }
    assert_eq!(admitted, MOST_PROBES);
    assert_eq!(server.pending.len(), MOST_PROBES);
}

#[test]
fn only_askers_of_the_public_internet_are_served() {
    for address in [
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "169.254.1.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.2.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.51.100.7",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "9.9.9.9",
        "9.9.9.10",
    ] {
        let address: Ipv4Addr = address.parse().expect("an address");
        let mut server = server();
        let from = SocketAddrV4::new(address, 40_000);
        let octets = request(stun::BINDING).padded(64).finish();
        assert_eq!(
            server.message(NOW, DATAGRAM, from, &octets),
            Action::Ignore(Refusal::Address),
            "{address}"
        );
        assert_eq!(server.connected(NOW, address), Err(Refusal::Address), "{address}");
    }
    for address in
        ["1.1.1.1", "100.63.0.1", "100.128.0.1", "172.15.0.1", "172.32.0.1", "192.0.1.1", "223.0.0.1"]
    {
        assert!(is_public(address.parse().expect("an address")), "{address}");
    }
    // For a lab: private ones, too, but nothing that is no host.
    let mut lab = Server::new(places(None), true, [3; 16]);
    for (address, served) in
        [("10.0.0.1", true), ("127.0.0.1", true), ("224.0.0.1", false), ("255.255.255.255", false)]
    {
        assert_eq!(lab.connected(NOW, address.parse().expect("an address")).is_ok(), served, "{address}");
    }
}

/// Octets that are nearly messages: a method, a class, a token that is right or not, and attributes of any kind.
fn nearly_a_message() -> impl Strategy<Value = Vec<u8>> {
    let method = prop_oneof![Just(stun::BINDING), Just(stun::PROBE), 0..0x1000_u16];
    let class = prop_oneof![4 => Just(Class::Request), 1 => Just(Class::Indication), 1 => Just(Class::Error)];
    let kind = prop_oneof![
        Just(attribute::CHANGE_REQUEST),
        Just(attribute::NONCE),
        Just(attribute::PADDING),
        Just(attribute::PROBE_TARGET),
        any::<u16>(),
    ];
    let attributes = proptest::collection::vec((kind, proptest::collection::vec(any::<u8>(), 0..40)), 0..5);
    let target = proptest::option::of((prop_oneof![Just(6_u8), Just(17), any::<u8>()], any::<u16>()));
    (class, method, any::<bool>(), target, attributes).prop_map(
        |(class, method, proven, target, attributes)| {
            let mut writer = Writer::new(class, method, &[1; 12]);
            if proven {
                writer = writer.with(attribute::NONCE, &token(*ASKER.ip()));
            }
            if let Some((protocol, port)) = target {
                let [p, q] = port.to_be_bytes();
                writer = writer.with(attribute::PROBE_TARGET, &[protocol, 0, p, q]);
            }
            attributes.iter().fold(writer, |writer, (kind, value)| writer.with(*kind, value)).finish()
        },
    )
}

fn input() -> impl Strategy<Value = Vec<u8>> {
    let any_octets = proptest::collection::vec(any::<u8>(), 0..600);
    let damaged = (nearly_a_message(), any::<prop::sample::Index>(), any::<u8>()).prop_map(
        |(mut octets, at, octet)| {
            let at = at.index(octets.len());
            octets[at] = octet;
            octets
        },
    );
    let cut = (nearly_a_message(), any::<prop::sample::Index>()).prop_map(|(mut octets, at)| {
        octets.truncate(at.index(octets.len()));
        octets
    });
    prop_oneof![1 => any_octets, 4 => nearly_a_message(), 2 => damaged, 1 => cut]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn no_octets_are_of_use_against_anybody(octets in input(), two in any::<bool>(), connection in any::<bool>()) {
        let mut server = Server::new(places(two.then_some(Ipv4Addr::new(9, 9, 9, 10))), false, [3; 16]);
        let way = if connection { Way::Connection(1) } else { DATAGRAM };
        let proven = Message::parse(&octets)
            .and_then(|message| message.attribute(attribute::NONCE))
            .is_some_and(|given| given == token(*ASKER.ip()));
        let answer = match server.message(NOW, way, ASKER, &octets) {
            Action::Ignore(_) => None,
            Action::Answer(answer) => Some(answer),
            Action::Probe(probe) => {
                prop_assert!(proven);
                prop_assert_eq!(probe.target.ip(), ASKER.ip());
                // What is sent there, both times.
                prop_assert!(2 * stun::HEADER <= octets.len());
                server.probed(probe.id, Outcome::Open, PATIENCE)
            }
        };
        if let Some(answer) = answer {
            prop_assert!(answer.octets.len() <= octets.len());
            prop_assert_eq!(answer.to, ASKER);
            let message = Message::parse(&answer.octets).expect("answers are messages");
            let token_only = message.error_code() == Some(stun::STALE_NONCE) && message.attributes().count() == 2;
            prop_assert!(proven || token_only);
        }
    }
}
