use proptest::prelude::*;

use super::*;

fn told() -> Config {
    let mut config = config();
    config.local.options = Options {
        routers: vec![ROUTER],
        dns: vec![ROUTER, host(2)],
        domain: Some("home.arpa".into()),
        ntp: vec![host(3)],
        mtu: Some(1492),
        routes: vec![("198.51.100.0/25".parse().unwrap(), host(4))],
        vendor: vec![1, 2, 7, 7],
        others: vec![(66, b"boot".to_vec()), (150, vec![0xab; 300]), (51, vec![0; 4])],
    };
    config
}

fn payload(config: Config, ask: Ask) -> Vec<u8> {
    let mut bench = Bench::new(config);
    let payload = ask.payload();
    let datagram = Datagram { source: NONE, destination: ask.destination, payload: &payload };
    bench.server.handle_datagram(at(1), &datagram);
    bench.settle();
    bench.server.poll_transmit().unwrap().payload
}

#[test]
fn options_come_in_the_order_in_which_they_are_asked_for() {
    let asked = [121, 66, 43, 6, 3, 15, 1, 26, 42, 28, 3, 51, 249, 12];
    let payload = payload(told(), Ask::discover(5).option(55, &asked));
    assert_eq!(codes(&payload), [53, 54, 51, 58, 59, 1, 121, 66, 43, 6, 3, 15, 26, 42, 28, 249]);
    let message = decode(&payload);
    assert_eq!(option(&message, OptionCode::InterfaceMtu), Some(DhcpOption::InterfaceMtu(1492)));
    assert_eq!(option(&message, OptionCode::DomainName), Some(DhcpOption::DomainName("home.arpa".into())));
    assert_eq!(option(&message, OptionCode::AddressLeaseTime), Some(DhcpOption::AddressLeaseTime(3600)));
}

#[test]
fn who_asks_for_nothing_is_told_the_usual() {
    let payload = payload(told(), Ask::discover(5));
    assert_eq!(codes(&payload), [53, 54, 51, 58, 59, 1, 121, 3, 6, 15, 28, 42, 26]);
}

#[test]
fn static_routes_bring_the_default_route_along() {
    let payload = payload(told(), Ask::discover(5).option(55, &[121]));
    let at = payload.windows(2).position(|pair| pair == [121, 14]).unwrap();
    assert_eq!(payload[at + 2..at + 16], [0, 192, 0, 2, 1, 25, 198, 51, 100, 0, 192, 0, 2, 4]);
}

#[test]
fn a_long_option_is_split_and_what_does_not_fit_is_left_out() {
    let asked = Ask::discover(5).option(55, &[150, 3]);
    assert_eq!(codes(&payload(told(), asked.clone())), [53, 54, 51, 58, 59, 1, 3]);
    let larger = payload(told(), asked.clone().option(57, &1000u16.to_be_bytes()));
    assert_eq!(codes(&larger), [53, 54, 51, 58, 59, 1, 150, 150, 3]);
    // A client cannot make it smaller than the minimum.
    assert_eq!(codes(&payload(told(), asked.option(57, &[0, 1]))), [53, 54, 51, 58, 59, 1, 3]);
}

#[test]
fn the_client_identifier_is_echoed() {
    let payload = payload(told(), Ask::discover(5).option(61, &[0xff, 1, 2, 3]).option(55, &[3]));
    assert_eq!(codes(&payload), [53, 54, 51, 58, 59, 1, 3, 61]);
}

#[test]
fn a_shorter_lease_is_granted_down_to_a_minute() {
    for (asked, granted) in [(600u32, 600), (1, 60), (u32::MAX, 3600)] {
        let message = decode(&payload(told(), Ask::discover(5).option(51, &asked.to_be_bytes())));
        let lease_time = option(&message, OptionCode::AddressLeaseTime);
        assert_eq!(lease_time, Some(DhcpOption::AddressLeaseTime(granted)));
    }
}

#[test]
fn the_broadcast_flag_and_strange_links_get_broadcasts() {
    let mut bench = Bench::new(told());
    let flagged = Ask { flags: 0x8000, ..Ask::discover(5) };
    let (delivery, offer) = bench.answer(flagged);
    assert_eq!((delivery, offer.flags().broadcast()), (Delivery::Broadcast, true));
    let mut strange = Ask::discover(5).payload();
    strange[1] = 32;
    let datagram = Datagram { source: NONE, destination: Ipv4Addr::BROADCAST, payload: &strange };
    bench.server.handle_datagram(at(1), &datagram);
    assert_eq!(bench.server.poll_transmit().unwrap().delivery, Delivery::Broadcast);
}

#[test]
fn a_name_is_taken_by_one_client_alone() {
    let mut bench = Bench::new(told());
    let mut named = |n: u8, name: &[u8]| {
        let address = bench.answer(Ask::discover(n)).1.yiaddr();
        let ask = Ask::selecting(n, address).option(12, name).option(55, &[12]);
        option(&bench.answer(ask).1, OptionCode::Hostname)
    };
    let host_name = |name: &str| Some(DhcpOption::Hostname(name.into()));
    assert_eq!(named(5, b"Tv"), host_name("tv"));
    assert_eq!(named(6, b"tv"), host_name("tv-000006"));
    assert_eq!(named(5, b"tv"), host_name("tv"));
    assert_eq!(named(7, b"wpad"), None);
    let tv = bench.server.leases().find(|lease| lease.name == Some("tv")).unwrap().address;
    bench.answer(Ask::renewing(5, tv));
    let names: Vec<_> = bench.server.leases().filter_map(|lease| lease.name.map(str::to_owned)).collect();
    assert_eq!(BTreeSet::from_iter(names), BTreeSet::from(["tv".to_owned(), "tv-000006".to_owned()]));
}

#[test]
fn nobody_gets_the_name_of_a_machine_that_does_not_ask() {
    let mut bench = Bench::new(Config { taken_names: vec!["Laptop".to_owned()], ..told() });
    let address = bench.answer(Ask::discover(5)).1.yiaddr();
    let ask = Ask::selecting(5, address).option(12, b"laptop").option(55, &[12]);
    let name = option(&bench.answer(ask).1, OptionCode::Hostname);
    assert_eq!(name, Some(DhcpOption::Hostname("laptop-000005".into())));
}

/// A client that says nothing of itself, as its lease goes by the names of the configurations one after the other.
#[test]
fn the_name_of_a_reservation_goes_with_it() {
    let reserved = |name: &str| {
        let name = Some(name.to_owned());
        let reservation = Reservation { mac: Some(mac(5)), identifier: None, address: host(50), name };
        Config { reservations: vec![reservation], ..told() }
    };
    // Out of the pool, the lease would end as well.
    let unreserved = || {
        let mut config = told();
        config.local.pool = Some(host(50)..=host(109));
        config
    };
    let mut bench = Bench::new(reserved("Printer"));
    assert_eq!(bench.lease(5), host(50));
    let name = |bench: &Bench| bench.server.lease(host(50)).unwrap().name.map(str::to_owned);
    let view = bench.server.lease(host(50)).unwrap();
    assert_eq!((view.name, view.reserved), (Some("printer"), true));
    bench.server.reconfigure(at(2), reserved("laser")).unwrap();
    assert_eq!(name(&bench).as_deref(), Some("laser"));
    bench.restart(reserved("copier"));
    assert_eq!(name(&bench).as_deref(), Some("copier"));
    bench.answer(Ask::renewing(5, host(50)));
    bench.server.reconfigure(at(2), unreserved()).unwrap();
    assert_eq!(name(&bench), None);
    bench.answer(Ask::renewing(5, host(50)));
    assert_eq!(name(&bench), None);
    bench.restart(unreserved());
    let view = bench.server.lease(host(50)).unwrap();
    assert_eq!((view.name, view.reserved), (None, false));
}

#[test]
fn a_told_name_is_back_when_a_reservation_is_taken_back() {
    let mut bench = Bench::new(told());
    let address = bench.answer(Ask::discover(5)).1.yiaddr();
    bench.answer(Ask::selecting(5, address).option(12, b"tv"));
    let name = |bench: &Bench| bench.server.lease(address).unwrap().name.map(str::to_owned);
    let reservation =
        Reservation { mac: Some(mac(5)), identifier: None, address, name: Some("screen".to_owned()) };
    bench.server.reconfigure(at(2), Config { reservations: vec![reservation], ..told() }).unwrap();
    assert_eq!(name(&bench).as_deref(), Some("screen"));
    bench.server.reconfigure(at(2), told()).unwrap();
    assert_eq!(name(&bench).as_deref(), Some("tv"));
    // The address of a lease that goes on is reserved for another machine.
    let reservation =
        Reservation { mac: Some(mac(6)), identifier: None, address, name: Some("nas".to_owned()) };
    bench.server.reconfigure(at(2), Config { reservations: vec![reservation], ..told() }).unwrap();
    assert_eq!(name(&bench).as_deref(), Some("tv"));
}

/// Written as if the client had told it.
#[test]
fn the_name_of_a_reservation_in_an_older_file_is_not_the_client_s() {
    let reservation = |name: &str| Reservation {
        mac: Some(mac(5)),
        identifier: None,
        address: host(50),
        name: Some(name.to_owned()),
    };
    let mut config = told();
    config.local.pool = Some(host(50)..=host(109));
    let reserved = Config { reservations: vec![reservation("printer")], ..config.clone() };
    let mut bench = Bench::new(reserved.clone());
    Record::Bound(Lease {
        address: host(50),
        client: ClientKey::Hardware(mac(5).into()),
        hardware: mac(5).into(),
        name: Some("printer".to_owned()),
        granted: WALL,
        seconds: 3_600,
    })
    .write(&mut bench.file);
    bench.restart(reserved);
    bench.server.reconfigure(at(2), config).unwrap();
    assert_eq!(bench.server.lease(host(50)).unwrap().name, None);
}

#[test]
fn a_full_name_is_answered_with_the_name_given() {
    let mut bench = Bench::new(told());
    let address = bench.answer(Ask::discover(5)).1.yiaddr();
    let ask = Ask::selecting(5, address).option(81, b"\x04\0\0\x02PC\x07example\x00");
    let payload = ask.payload();
    let datagram = Datagram { source: NONE, destination: Ipv4Addr::BROADCAST, payload: &payload };
    bench.server.handle_datagram(at(1), &datagram);
    bench.settle();
    let ack = bench.server.poll_transmit().unwrap().payload;
    let wanted = b"\x51\x11\x07\xff\xff\x02pc\x04home\x04arpa\0";
    assert!(ack.windows(wanted.len()).any(|octets| octets == wanted), "{ack:x?}");
}

/// What Windows, Android and network boot loaders send, option by option.
#[test]
fn what_is_not_there_is_not_promised() {
    let mut config = told();
    config.local.options.routes.clear();
    config.local.options.vendor.clear();
    config.local.options.others.clear();
    let windows = [1, 3, 6, 15, 31, 33, 43, 44, 46, 47, 119, 121, 249, 252];
    let answer = payload(config.clone(), Ask::discover(5).option(60, b"MSFT 5.0").option(55, &windows));
    assert_eq!(codes(&answer), [53, 54, 51, 58, 59, 1, 3, 6, 15]);
    // The option of rapid commit (RFC 4039) is empty: an offer, not a lease, is the answer of who does not do that.
    let android = Ask::discover(5).option(80, &[]).option(60, b"android-dhcp-14");
    let android = android.option(55, &[1, 3, 6, 15, 26, 28, 51, 58, 59, 43, 114, 108]);
    let answer = payload(config.clone(), android);
    assert_eq!(codes(&answer), [53, 54, 51, 58, 59, 1, 3, 6, 15, 26, 28]);
    assert_eq!(decode(&answer).opts().msg_type(), Some(MessageType::Offer));
    // Without its own class in the answer a boot loader does not take it for that of a boot server (RFC 4578, PXE 2.1).
    let loader = Ask::discover(5).option(60, b"PXEClient:Arch:00007:UNDI:003016").option(93, &[0, 7]);
    let loader = loader.option(94, &[1, 3, 16]).option(97, &[0; 17]);
    let loader = loader.option(55, &[1, 2, 3, 4, 5, 6, 12, 13, 15, 43, 54, 60, 66, 67, 128, 129, 130, 150]);
    let answer = payload(config, loader);
    assert_eq!(codes(&answer), [53, 54, 51, 58, 59, 1, 3, 6, 15]);
    assert_eq!((&answer[20..24], answer[44..236].iter().any(|octet| *octet != 0)), (&[0; 4][..], false));
}

#[test]
fn a_full_name_in_plain_text_is_answered_in_plain_text() {
    let mut bench = Bench::new(told());
    let address = bench.answer(Ask::discover(5)).1.yiaddr();
    let ask = Ask::selecting(5, address).option(12, b"OTHER").option(81, b"\0\0\0DESKTOP-7A3B.corp.example");
    let datagram = Datagram { source: NONE, destination: Ipv4Addr::BROADCAST, payload: &ask.payload() };
    bench.server.handle_datagram(at(1), &datagram);
    bench.settle();
    let ack = bench.server.poll_transmit().unwrap().payload;
    // The server looks after the name, although the client wished otherwise (RFC 4702 §4): S and O.
    let wanted = b"\x03\xff\xffdesktop-7a3b.home.arpa";
    assert!(ack.windows(wanted.len()).any(|octets| octets == wanted), "{ack:x?}");
    assert_eq!(bench.server.lease(address).unwrap().name, Some("desktop-7a3b"));
}

#[test]
fn what_is_no_request_is_dropped_by_name() {
    use crate::dhcp::message::MessageError::{Header, Length, MessageType as Kind, Option as Bad};
    let good = Ask::discover(5).option(50, &[1, 2, 3]).payload();
    let bent = |at: usize, value: u8| {
        let mut payload = Ask::discover(5).payload();
        payload[at] = value;
        payload
    };
    let cases = [
        (good, Bad(50)),
        (vec![1; 239], Length),
        (vec![1; 1501], Length),
        (bent(0, 2), Header),
        (bent(2, 17), Header),
        (bent(28, 1), Header),
        (bent(236, 0), Header),
        (bent(241, 200), Bad(53)),
        (bent(240, 0xfe), Kind),
        (Ask::new(MessageType::Ack, 5).payload(), Kind),
    ];
    for (payload, error) in cases {
        let mut bench = Bench::new(told());
        let datagram = Datagram { source: NONE, destination: Ipv4Addr::BROADCAST, payload: &payload };
        bench.server.handle_datagram(at(1), &datagram);
        assert_eq!(bench.server.poll_event(), Some(Event::Dropped(Reason::Malformed(error))));
        assert_eq!(bench.server.poll_transmit(), None);
    }
}

proptest! {
    /// Whatever comes, the server neither panics nor answers with something that is no DHCP message, or too long.
    #[test]
    fn any_options_are_survived(
        kind in 0u8..20,
        noise in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..40)), 0..20),
        giaddr in prop::sample::select(vec![NONE, host(9)]),
        ciaddr in prop::sample::select(vec![NONE, host(100), host(9)]),
        flip in any::<prop::sample::Index>(),
        value in any::<u8>(),
    ) {
        let mut ask = Ask { giaddr, ciaddr, ..Ask::new(MessageType::from(kind), 5) };
        ask.options = noise;
        let mut payload = ask.payload();
        let at_octet = flip.index(payload.len());
        payload[at_octet] = value;
        let mut bench = Bench::new(told());
        let datagram = Datagram { source: NONE, destination: ROUTER, payload: &payload };
        bench.server.handle_datagram(at(1), &datagram);
        bench.settle();
        while let Some(transmit) = bench.server.poll_transmit() {
            prop_assert!((300..=1472).contains(&transmit.payload.len()));
            decode(&transmit.payload);
        }
    }
}
