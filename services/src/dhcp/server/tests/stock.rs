use super::*;

#[test]
fn addresses_are_probed_before_anybody_asks() {
    let mut config = config();
    config.local.stock = 4;
    let mut bench = Bench::new(config);
    assert_eq!(bench.probed.len(), 4);
    let address = bench.answer(Ask::discover(5)).1.yiaddr();
    assert!(bench.probed[..4].contains(&address));
    assert_eq!(bench.probed.len(), 5);
}

#[test]
fn an_address_in_use_rests_and_is_not_offered() {
    let mut config = config();
    config.local.pool = Some(host(100)..=host(101));
    let mut bench = Bench::new(config.clone());
    bench.in_use.insert(host(100), mac(77));
    bench.server = Server::new(config, &Replay::default(), at(1), 7).unwrap();
    bench.settle();
    let conflict = Event::Conflict { address: host(100), mac: Some(mac(77)) };
    assert!(bench.events.contains(&conflict));
    assert_eq!(bench.lease(5), host(101));
    assert_eq!(bench.kind(Ask::discover(6)), None);
    bench.in_use.clear();
    bench.pass(600);
    assert_eq!(bench.lease(6), host(100));
}

#[test]
fn a_client_waits_for_the_probe_of_its_own_address() {
    let mut bench = Bench::new(config());
    let address = bench.lease(5);
    bench.pass(3601);
    // The client itself still answers: it is no stranger. Another one is.
    bench.in_use.insert(address, mac(5));
    assert_eq!(bench.lease(5), address);
    bench.pass(3601);
    bench.in_use.insert(address, mac(77));
    assert_ne!(bench.lease(5), address);
}

#[test]
fn without_a_stock_clients_wait_for_a_probe() {
    let mut config = config();
    config.local.stock = 0;
    let mut server = Server::new(config, &Replay::default(), at(1), 7).unwrap();
    assert_eq!(server.poll_probe(), None);
    let payload = Ask::discover(5).payload();
    let datagram = Datagram { source: NONE, destination: Ipv4Addr::BROADCAST, payload: &payload };
    server.handle_datagram(at(1), &datagram);
    assert_eq!(server.poll_transmit(), None);
    let probe = server.poll_probe().unwrap();
    server.handle_probe(at(2), probe.address, ProbeOutcome::Free);
    assert_eq!(decode(&server.poll_transmit().unwrap().payload).yiaddr(), probe.address);
}

/// As many as wait for a probe are bounded, and whoever gets no answer is counted: one of too many, and one whom the
/// outcome came too late for.
#[test]
fn who_waits_for_a_probe_in_vain_is_counted() {
    let mut config = config();
    config.local.prefix = "10.0.0.0/16".parse().unwrap();
    config.local.pool = Some(Ipv4Addr::new(10, 0, 1, 0)..=Ipv4Addr::new(10, 0, 250, 0));
    let mut server = Server::new(config, &Replay::default(), at(1), 7).unwrap();
    for n in 0..4_100u16 {
        let mut payload = Ask::discover(0).payload();
        payload[32..34].copy_from_slice(&n.to_be_bytes());
        let datagram = Datagram { source: NONE, destination: Ipv4Addr::BROADCAST, payload: &payload };
        server.handle_datagram(at(1), &datagram);
    }
    let overloaded =
        |server: &Server| server.counters().dropped().find(|(name, _)| *name == "overloaded").unwrap().1;
    assert_eq!(overloaded(&server), 4);
    let probe = server.poll_probe().unwrap();
    let late = Now { monotonic: Timestamp::from_millis(5_500), ..at(5) };
    server.handle_probe(late, probe.address, ProbeOutcome::Free);
    assert_eq!((overloaded(&server), server.poll_transmit()), (4_100, None));
}

#[test]
fn a_probe_without_an_outcome_is_tried_again() {
    let mut server = Server::new(config(), &Replay::default(), at(1), 7).unwrap();
    let first: BTreeSet<Ipv4Addr> =
        std::iter::from_fn(|| server.poll_probe()).map(|probe| probe.address).collect();
    assert_eq!((first.len(), server.poll_timeout()), (10, Some(at(6).monotonic)));
    server.handle_timeout(at(6));
    let second: BTreeSet<Ipv4Addr> =
        std::iter::from_fn(|| server.poll_probe()).map(|probe| probe.address).collect();
    assert_eq!(first, second);
    server.handle_probe(at(7), host(100), ProbeOutcome::Free);
    server.handle_probe(at(7), host(100), ProbeOutcome::InUse(None));
    server.handle_probe(at(7), host(1), ProbeOutcome::InUse(None));
    assert!(std::iter::from_fn(|| server.poll_event()).next().is_none());
}

#[test]
fn the_stock_grows_with_the_demand() {
    let mut config = config();
    config.local.prefix = "10.0.0.0/16".parse().unwrap();
    config.local.pool = Some(Ipv4Addr::new(10, 0, 1, 0)..=Ipv4Addr::new(10, 0, 250, 0));
    let mut server = Server::new(config, &Replay::default(), at(1), 7).unwrap();
    let mut offers = 0;
    for n in 0..2000u16 {
        let mut payload = Ask::discover(0).payload();
        payload[32..34].copy_from_slice(&n.to_be_bytes());
        let datagram = Datagram { source: NONE, destination: Ipv4Addr::BROADCAST, payload: &payload };
        server.handle_datagram(at(1), &datagram);
        if n % 100 == 99 {
            while let Some(probe) = server.poll_probe() {
                server.handle_probe(at(1), probe.address, ProbeOutcome::Free);
            }
        }
        offers += usize::from(server.poll_transmit().is_some());
    }
    offers += std::iter::from_fn(|| server.poll_transmit()).count();
    assert_eq!(offers, 2000);
    assert!(server.table.stock(0) > 16);
}

#[test]
fn an_unprobed_network_offers_at_once() {
    let mut config = config();
    config.local.probe = false;
    let mut bench = Bench::new(config);
    let leased: BTreeSet<Ipv4Addr> = (0..10).map(|n| bench.lease(n)).collect();
    assert_eq!((leased.len(), bench.probed.len()), (10, 0));
    bench.pass(3600);
    assert_eq!((20..30).map(|n| bench.lease(n)).collect::<BTreeSet<_>>(), leased);
}

/// The records are lost, and the address of a client was found in use before the client renewed.
#[test]
fn who_uses_an_address_that_rests_is_no_stranger() {
    let found = || {
        let mut bench = Bench::new(config());
        let address = bench.lease(5);
        bench.in_use.insert(address, mac(5));
        bench.file = HEADER.to_vec();
        bench.restart(config());
        assert!(bench.events.contains(&Event::Conflict { address, mac: Some(mac(5)) }));
        (bench, address)
    };
    let (mut bench, address) = found();
    assert_eq!(bench.kind(Ask::renewing(6, address)), Some(MessageType::Nak));
    assert_eq!(bench.kind(Ask::init_reboot(5, address)), None);
    bench.server.reconfigure(at(bench.now), config()).unwrap();
    bench.settle();
    assert_eq!(bench.kind(Ask::renewing(5, address).option(61, &[1, 2, 3])), Some(MessageType::Ack));
    assert_eq!(bench.server.resting().count(), 0);
    bench.restart(config());
    assert_eq!(bench.server.leases().map(|lease| lease.address).collect::<Vec<_>>(), [address]);

    // Asking for any address, it gets that one after another probe.
    let (mut bench, address) = found();
    assert_ne!(bench.answer(Ask::discover(6).requested(address)).1.yiaddr(), address);
    assert_eq!(bench.answer(Ask::discover(5).requested(address)).1.yiaddr(), address);

    let (mut bench, address) = found();
    let mut reserved = config();
    reserved.reservations = vec![Reservation { mac: Some(mac(7)), identifier: None, address, name: None }];
    bench.server.reconfigure(at(bench.now), reserved).unwrap();
    bench.settle();
    assert_eq!(bench.kind(Ask::renewing(5, address)), Some(MessageType::Nak));
}

#[test]
fn who_declined_an_address_does_not_keep_it() {
    let mut bench = Bench::new(config());
    let address = bench.lease(5);
    bench.in_use.insert(address, mac(5));
    bench.ask(Ask::decline(5, address));
    assert_eq!(bench.kind(Ask::renewing(5, address)), Some(MessageType::Nak));
    assert_ne!(bench.answer(Ask::discover(5).requested(address)).1.yiaddr(), address);
}
