use super::*;

#[test]
fn four_messages_make_a_lease() {
    let mut bench = Bench::new(config());
    let (delivery, offer) = bench.answer(Ask::discover(5));
    assert_eq!(offer.opts().msg_type(), Some(MessageType::Offer));
    assert!((100..=109).contains(&offer.yiaddr().octets()[3]));
    assert_eq!(delivery, Delivery::Hardware(mac(5), offer.yiaddr()));
    assert_eq!((offer.xid(), offer.chaddr()), (0xaabbcc05, &mac(5).0[..]));
    assert_eq!(option(&offer, OptionCode::ServerIdentifier), Some(DhcpOption::ServerIdentifier(ROUTER)));
    assert_eq!(bench.server.leases().count(), 0);

    let (_, ack) = bench.answer(Ask::selecting(5, offer.yiaddr()));
    assert_eq!(ack.opts().msg_type(), Some(MessageType::Ack));
    assert_eq!(option(&ack, OptionCode::AddressLeaseTime), Some(DhcpOption::AddressLeaseTime(3600)));
    assert_eq!(option(&ack, OptionCode::Renewal), Some(DhcpOption::Renewal(1800)));
    assert_eq!(option(&ack, OptionCode::Rebinding), Some(DhcpOption::Rebinding(3150)));
    let leases: Vec<_> = bench.server.leases().map(|lease| (lease.address, lease.hardware.mac())).collect();
    assert_eq!(leases, [(offer.yiaddr(), Some(mac(5)))]);
    assert!(matches!(bench.events.last(), Some(Event::Leased { renewed: false, .. })));
}

#[test]
fn an_acknowledgement_waits_for_its_record() {
    let mut bench = Bench::new(config());
    let address = bench.answer(Ask::discover(5)).1.yiaddr();
    let payload = Ask::selecting(5, address).payload();
    let datagram = Datagram { source: NONE, destination: Ipv4Addr::BROADCAST, payload: &payload };
    bench.server.handle_datagram(at(1), &datagram);
    assert_eq!(bench.server.poll_transmit(), None);
    let batch = bench.server.poll_records().unwrap();
    bench.server.committed(batch.sequence - 1);
    assert_eq!(bench.server.poll_transmit(), None);
    bench.server.committed(batch.sequence);
    assert!(bench.server.poll_transmit().is_some());
}

fn hear(server: &mut Server, ask: Ask) {
    let payload = ask.payload();
    let datagram = Datagram { source: ask.ciaddr, destination: ask.destination, payload: &payload };
    server.handle_datagram(at(1), &datagram);
}

/// A REQUEST whose acknowledgement waits, then what the caller does, then the disk has it all: the answers by client.
fn while_the_disk_is_busy(then: impl FnOnce(&mut Server, Ipv4Addr)) -> Vec<(u8, MessageType)> {
    let mut config = config();
    config.local.pool = Some(host(100)..=host(100));
    let mut bench = Bench::new(config);
    let address = bench.answer(Ask::discover(5)).1.yiaddr();
    hear(&mut bench.server, Ask::selecting(5, address));
    then(&mut bench.server, address);
    bench.settle();
    let answers = std::iter::from_fn(|| bench.server.poll_transmit());
    let answers = answers.map(|transmit| decode(&transmit.payload));
    answers.map(|message| (message.chaddr()[5], message.opts().msg_type().unwrap())).collect()
}

#[test]
fn what_is_given_up_before_it_is_on_the_disk_is_not_acknowledged() {
    let told = while_the_disk_is_busy(|_, _| {});
    assert_eq!(told, [(5, MessageType::Ack)]);
    let released = while_the_disk_is_busy(|server, address| hear(server, Ask::release(5, address)));
    assert_eq!(released, []);
    let declined = while_the_disk_is_busy(|server, address| hear(server, Ask::decline(5, address)));
    assert_eq!(declined, []);
    // Released, and somebody else's before the disk has any of it: one is told to have the address, not two.
    let passed_on = while_the_disk_is_busy(|server, address| {
        hear(server, Ask::release(5, address));
        hear(server, Ask::discover(6));
        while let Some(Probe { address, .. }) = server.poll_probe() {
            server.handle_probe(at(1), address, ProbeOutcome::Free);
        }
        hear(server, Ask::selecting(6, address));
    });
    assert_eq!(passed_on, [(6, MessageType::Offer), (6, MessageType::Ack)]);
    // Given back and taken again: it is the second lease that is acknowledged, once that is on the disk.
    let again = |server: &mut Server, address| {
        hear(server, Ask::release(5, address));
        hear(server, Ask::init_reboot(5, address));
        let first = server.committed + 1;
        server.committed(first);
        assert_eq!(server.poll_transmit(), None, "the next record on the disk may be the end of that");
    };
    assert_eq!(while_the_disk_is_busy(again), [(5, MessageType::Ack)]);
    // The disk has stood still for longer than the lease.
    let late = while_the_disk_is_busy(|server, _| server.handle_timeout(at(4_000)));
    assert_eq!(late, []);
}

#[test]
fn a_disk_that_does_not_answer_takes_bounded_memory() {
    let mut config = config();
    config.messages_per_client = u32::MAX;
    let mut bench = Bench::new(config);
    let address = bench.lease(5);
    let payload = Ask::renewing(5, address).payload();
    let datagram = Datagram { source: address, destination: ROUTER, payload: &payload };
    for _ in 0..2 * MAX_OUTSTANDING {
        bench.server.handle_datagram(at(2), &datagram);
    }
    assert_eq!(bench.server.held.len() as u64, MAX_OUTSTANDING);
    assert_eq!(bench.server.events.len(), MAX_QUEUE);
    let batch = bench.server.poll_records().unwrap();
    bench.server.committed(batch.sequence);
    assert_eq!(std::iter::from_fn(|| bench.server.poll_transmit()).count() as u64, MAX_OUTSTANDING);
}

#[test]
fn a_client_gets_its_address_again() {
    let mut bench = Bench::new(config());
    let address = bench.lease(5);
    assert_eq!(bench.lease(5), address);
    bench.pass(3601);
    assert_eq!(bench.events.last(), Some(&Event::Expired { address }));
    assert_eq!(bench.lease(5), address);
    assert_eq!(bench.ask(Ask::release(5, address)).len(), 0);
    assert_eq!(bench.lease(5), address);
}

#[test]
fn who_chose_another_server_gives_the_offer_back() {
    let mut bench = Bench::new(config());
    let address = bench.answer(Ask::discover(5)).1.yiaddr();
    let other = Ask::new(MessageType::Request, 5).server(host(2)).requested(host(50));
    assert_eq!(bench.kind(other), None);
    let chosen = |event: &Event| match event {
        Event::OtherServer { server, hardware } => Some((*server, hardware.mac())),
        _ => None,
    };
    let told: Vec<_> = bench.events.iter().filter_map(chosen).collect();
    assert_eq!(told, [(host(2), Some(mac(5)))]);
    assert_eq!(bench.kind(Ask::selecting(5, address)), Some(MessageType::Nak));
}

#[test]
fn an_offer_stands_for_half_a_minute() {
    let mut bench = Bench::new(config());
    let address = bench.answer(Ask::discover(5)).1.yiaddr();
    bench.pass(29);
    assert_eq!(bench.kind(Ask::selecting(5, address)), Some(MessageType::Ack));
    let address = bench.answer(Ask::discover(6)).1.yiaddr();
    bench.pass(30);
    assert_eq!(bench.kind(Ask::selecting(6, address)), Some(MessageType::Nak));
}

#[test]
fn init_reboot_confirms_refuses_or_is_silent() {
    let mut bench = Bench::new(config());
    let address = bench.lease(5);
    assert_eq!(bench.kind(Ask::init_reboot(5, address)), Some(MessageType::Ack));
    let (delivery, nak) = bench.answer(Ask::init_reboot(5, host(7)));
    assert_eq!((delivery, nak.opts().msg_type()), (Delivery::Broadcast, Some(MessageType::Nak)));
    // Of another network: refused, known or not. Of this one: silence, the address may be another server's.
    let elsewhere = Ipv4Addr::new(198, 51, 100, 9);
    assert_eq!(bench.kind(Ask::init_reboot(9, elsewhere)), Some(MessageType::Nak));
    assert_eq!(bench.kind(Ask::rebinding(9, elsewhere)), Some(MessageType::Nak));
    assert_eq!(bench.kind(Ask::init_reboot(9, host(105))), None);
    assert_eq!(bench.kind(Ask::init_reboot(9, address)), None);
}

#[test]
fn renewing_and_rebinding_extend_the_lease() {
    let mut bench = Bench::new(config());
    let address = bench.lease(5);
    bench.pass(3000);
    let (delivery, ack) = bench.answer(Ask::renewing(5, address));
    assert_eq!((delivery, ack.yiaddr(), ack.ciaddr()), (Delivery::Unicast(address), address, address));
    bench.pass(3000);
    assert_eq!(bench.kind(Ask::rebinding(5, address)), Some(MessageType::Ack));
    bench.pass(3599);
    assert_eq!(bench.server.leases().count(), 1);
    bench.pass(1);
    assert_eq!(bench.server.leases().count(), 0);
    assert_eq!(bench.kind(Ask::renewing(6, address)), Some(MessageType::Ack));
    assert_eq!(bench.kind(Ask::renewing(5, address)), Some(MessageType::Nak));
    assert_eq!(bench.kind(Ask::rebinding(7, host(108))), None);
}

#[test]
fn a_declined_address_rests() {
    let mut config = config();
    config.local.pool = Some(host(100)..=host(100));
    let mut bench = Bench::new(config.clone());
    let address = bench.lease(5);
    assert_eq!(bench.ask(Ask::decline(6, address)).len(), 0);
    assert_eq!(bench.server.leases().count(), 1);
    assert_eq!(bench.ask(Ask::decline(5, address)).len(), 0);
    assert_eq!(bench.kind(Ask::discover(6)), None);
    bench.restart(config);
    bench.pass(598);
    assert_eq!(bench.kind(Ask::discover(6)), None);
    bench.pass(3);
    assert_eq!(bench.lease(6), address);
}

#[test]
fn only_its_client_releases_a_lease() {
    let mut bench = Bench::new(config());
    let address = bench.lease(5);
    bench.ask(Ask::release(6, address));
    assert_eq!(bench.server.leases().count(), 1);
    let mut elsewhere = Ask::release(5, address);
    elsewhere.options.clear();
    bench.ask(elsewhere.server(host(2)));
    assert_eq!(bench.server.leases().count(), 1);
    bench.ask(Ask::release(5, address));
    assert_eq!(bench.server.leases().count(), 0);
}

#[test]
fn inform_gives_options_and_no_lease() {
    let mut bench = Bench::new(config());
    let inform = Ask { ciaddr: host(44), ..Ask::new(MessageType::Inform, 5) };
    let (delivery, ack) = bench.answer(inform);
    assert_eq!(delivery, Delivery::Unicast(host(44)));
    assert_eq!((ack.opts().msg_type(), ack.yiaddr()), (Some(MessageType::Ack), NONE));
    assert_eq!(option(&ack, OptionCode::AddressLeaseTime), None);
    assert_eq!(option(&ack, OptionCode::Router), Some(DhcpOption::Router(vec![ROUTER])));
    assert_eq!(bench.server.leases().count(), 0);
}

fn by_mac(address: Ipv4Addr, name: Option<&str>) -> Reservation {
    Reservation { mac: Some(mac(5)), identifier: None, address, name: name.map(str::to_owned) }
}

#[test]
fn a_reservation_is_kept_for_its_host() {
    let mut config = config();
    let reserve = |mac, identifier: Option<&[u8]>, last| {
        let identifier = identifier.map(<[u8]>::to_vec);
        Reservation { mac, identifier, address: host(last), name: Some("nas".into()) }
    };
    config.reservations = vec![
        reserve(Some(mac(5)), None, 10),
        reserve(None, Some(b"\0x"), 103),
        reserve(Some(mac(6)), None, 10),
        reserve(Some(mac(5)), None, 11),
        reserve(Some(mac(8)), Some(b"\0y"), 12),
        reserve(Some(mac(9)), Some(b"\0y"), 13),
    ];
    let mut bench = Bench::new(config);
    let ignored: Vec<usize> = bench
        .events
        .iter()
        .filter_map(|event| match event {
            Event::ReservationIgnored { index, .. } => Some(*index),
            _ => None,
        })
        .collect();
    assert_eq!(ignored, [2, 3, 5]);
    assert_eq!(bench.lease(5), host(10));
    // The boot loader of the same machine, which sends a client identifier.
    assert_eq!(bench.answer(Ask::discover(5).option(61, &[9, 9, 9])).1.yiaddr(), host(10));
    assert_eq!(bench.answer(Ask::discover(7).option(61, &[0, b'x'])).1.yiaddr(), host(103));
    // One that is known by both is one machine, with one lease.
    assert_eq!(bench.lease(8), host(12));
    for ask in [Ask::discover(8).option(61, &[9, 9]), Ask::discover(30).option(61, b"\0y")] {
        assert_eq!(bench.answer(ask).1.yiaddr(), host(12));
    }
    let others: BTreeSet<Ipv4Addr> = (20..29).map(|n| bench.lease(n)).collect();
    assert_eq!(others.len(), 9);
    assert!(!others.contains(&host(103)));
    assert_eq!(bench.kind(Ask::discover(40)), None);
    assert!(bench.events.contains(&Event::Exhausted { subnet: 0 }));
}

#[test]
fn a_lease_moves_to_its_new_reservation() {
    let mut bench = Bench::new(config());
    let (a, b) = (bench.lease(5), bench.lease(6));
    let mut config = config();
    config.reservations = vec![by_mac(b, None)];
    bench.server.reconfigure(at(1), config).unwrap();
    bench.settle();
    // As long as another client has it, the old address stays.
    assert_eq!(bench.kind(Ask::renewing(5, a)), Some(MessageType::Ack));
    assert_eq!(bench.kind(Ask::renewing(6, b)), Some(MessageType::Nak));
    bench.ask(Ask::release(6, b));
    assert_eq!(bench.kind(Ask::renewing(5, a)), Some(MessageType::Nak));
    assert_eq!(bench.lease(5), b);
}

/// A machine has one address of a network, under its own name, however it got from one to the other.
#[test]
fn the_lease_of_before_ends_with_the_next_one() {
    const ID: &[u8] = &[1, 2, 0, 0, 0, 0, 5];
    let mut bench = Bench::new(config());
    let exchange = |bench: &mut Bench| {
        let offered = bench.answer(Ask::discover(5).option(61, ID)).1.yiaddr();
        let ask = Ask::selecting(5, offered).option(61, ID).option(12, b"tv");
        assert_eq!(bench.kind(ask), Some(MessageType::Ack));
        offered
    };
    let has = |bench: &Bench| {
        let leases = bench.server.leases().map(|lease| (lease.address, lease.name.map(str::to_owned)));
        leases.collect::<Vec<_>>()
    };
    let own = |address| vec![(address, Some("tv".to_owned()))];
    let first = exchange(&mut bench);
    assert_eq!(has(&bench), own(first));
    // Another pool.
    let mut other = config();
    other.local.pool = Some(host(200)..=host(209));
    bench.server.reconfigure(at(1), other.clone()).unwrap();
    bench.settle();
    let second = exchange(&mut bench);
    assert!(second != first && has(&bench) == own(second), "{:?}", has(&bench));
    assert!(bench.events.contains(&Event::Expired { address: first }));
    // A reservation by MAC address comes, and goes again.
    let mut reserved = other.clone();
    reserved.reservations = vec![by_mac(host(10), Some("tv"))];
    bench.server.reconfigure(at(1), reserved).unwrap();
    bench.settle();
    assert_eq!((exchange(&mut bench), has(&bench)), (host(10), own(host(10))));
    bench.server.reconfigure(at(1), other.clone()).unwrap();
    bench.settle();
    let last = exchange(&mut bench);
    assert!(last != host(10) && has(&bench) == own(last), "{:?}", has(&bench));
    bench.restart(other);
    assert_eq!(has(&bench), own(last));
    // Nobody else's ends.
    let neighbour = bench.lease(6);
    exchange(&mut bench);
    assert_eq!(has(&bench).len(), 2);
    assert!(bench.server.lease(neighbour).is_some());
}

#[test]
fn of_several_former_addresses_the_last_one_is_remembered() {
    for (before, after) in [(100, 200), (200, 100)] {
        let mut bench = Bench::new(config());
        let pool = |from, to| {
            let mut config = config();
            config.local.pool = Some(host(from)..=host(to));
            config
        };
        let mut last = NONE;
        for first in [before, after] {
            bench.server.reconfigure(at(bench.now), pool(first, first + 9)).unwrap();
            bench.settle();
            last = bench.lease(5);
            bench.pass(10);
        }
        bench.ask(Ask::release(5, last));
        bench.server.reconfigure(at(bench.now), pool(100, 209)).unwrap();
        bench.settle();
        assert_eq!(bench.answer(Ask::discover(5)).1.yiaddr(), last, "after a reload");
        bench.pass(100);
        bench.restart(pool(100, 209));
        assert_eq!(bench.answer(Ask::discover(5)).1.yiaddr(), last, "after a restart");
        // Both are over.
        bench.pass(100_000);
        bench.restart(pool(100, 209));
        assert_eq!(bench.answer(Ask::discover(5)).1.yiaddr(), last, "after all leases");
    }
}

#[test]
fn an_offer_beside_a_lease_that_lapses_leaves_the_lease_known() {
    let mut bench = Bench::new(config());
    let address = bench.lease(5);
    let mut reserved = config();
    reserved.reservations = vec![by_mac(host(10), None)];
    bench.server.reconfigure(at(1), reserved).unwrap();
    bench.settle();
    assert_eq!(bench.answer(Ask::discover(5)).1.yiaddr(), host(10));
    bench.pass(30);
    bench.server.reconfigure(at(bench.now), config()).unwrap();
    bench.settle();
    assert_eq!(bench.answer(Ask::discover(5)).1.yiaddr(), address);
}

/// What is left of a lease by a clock of whole seconds may be a second too little.
#[test]
fn no_lease_ends_early_by_a_restart_in_its_last_second() {
    for (late, lasts) in [(0, true), (1, true), (2, false)] {
        let mut bench = Bench::new(config());
        let address = bench.lease(5);
        bench.pass(3600 + late);
        bench.restart(config());
        assert_eq!(bench.server.lease(address).is_some(), lasts, "{late} s late");
        bench.pass(2);
        assert!(bench.server.lease(address).is_none());
    }
}

#[test]
fn leases_survive_a_restart_and_a_snapshot() {
    let mut bench = Bench::new(config());
    let (a, b) = (bench.lease(5), bench.lease(6));
    bench.ask(Ask::release(6, b));
    bench.pass(100);
    bench.restart(config());
    assert_eq!(bench.server.leases().map(|lease| lease.address).collect::<Vec<_>>(), [a]);
    assert_eq!(bench.kind(Ask::renewing(5, a)), Some(MessageType::Ack));
    let batch = bench.server.snapshot(at(bench.now));
    bench.file = batch.octets;
    bench.server.committed(batch.sequence);
    bench.restart(config());
    assert_eq!(bench.server.leases().map(|lease| lease.address).collect::<Vec<_>>(), [a]);
    // A client whose lease has ended is remembered.
    assert_eq!(bench.lease(6), b);
}

#[test]
fn a_wall_clock_that_is_set_ends_no_lease() {
    let mut bench = Bench::new(config());
    let address = bench.lease(5);
    let set = Now { wall: UnixTime(WALL + 900_000_000), ..at(10) };
    bench.server.handle_timeout(set);
    bench.settle();
    assert_eq!(bench.server.leases().count(), 1);
    let told = replay(&bench.file);
    bench.server = Server::new(config(), &told, set, 3).unwrap();
    assert_eq!(bench.server.leases().map(|lease| lease.address).collect::<Vec<_>>(), [address]);
}

#[test]
fn a_flood_of_one_client_is_bounded() {
    let mut bench = Bench::new(config());
    let answered = (0..50).filter(|_| bench.kind(Ask::discover(5)).is_some()).count();
    assert_eq!(answered, 10);
    assert!(bench.kind(Ask::discover(6)).is_some());
    bench.pass(1);
    assert!(bench.kind(Ask::discover(5)).is_some());
}

#[test]
fn configurations_that_cannot_be_served_are_refused() {
    let refused = |bend: &dyn Fn(&mut Config)| {
        let mut config = config();
        bend(&mut config);
        Server::new(config, &Replay::default(), at(1), 7).err()
    };
    let prefix = "192.0.2.0/24".parse().unwrap();
    let outside = |config: &mut Config| config.local.pool = Some(host(100)..=Ipv4Addr::new(192, 0, 3, 1));
    assert_eq!(refused(&outside), Some(ConfigError::PoolOutsidePrefix(prefix)));
    let overlapping =
        |config: &mut Config| config.relayed = vec![Subnet::new("192.0.2.128/25".parse().unwrap())];
    assert_eq!(refused(&overlapping), Some(ConfigError::Overlap(prefix, "192.0.2.128/25".parse().unwrap())));
    let large = |config: &mut Config| {
        config.local.prefix = "10.0.0.0/8".parse().unwrap();
        config.local.pool = Some(Ipv4Addr::new(10, 0, 0, 0)..=Ipv4Addr::new(10, 2, 0, 0));
    };
    assert_eq!(refused(&large), Some(ConfigError::PoolTooLarge("10.0.0.0/8".parse().unwrap())));
}

#[test]
fn a_shorter_lease_does_not_end_the_one_that_the_client_has() {
    let mut bench = Bench::new(config());
    let address = bench.lease(5);
    let (_, ack) = bench.answer(Ask::renewing(5, address).option(51, &600u32.to_be_bytes()));
    assert_eq!(option(&ack, OptionCode::AddressLeaseTime), Some(DhcpOption::AddressLeaseTime(600)));
    bench.restart(config());
    bench.pass(3599);
    assert_eq!(bench.server.leases().count(), 1);
    bench.pass(3);
    assert_eq!(bench.server.leases().count(), 0);
}

/// Of a client whose address is outside of the pool by now: asked about it (NAK), or after a start without a memory.
#[test]
fn who_gets_another_address_has_the_one_of_before_no_longer() {
    for asks_to_keep_it in [true, false] {
        let mut bench = Bench::new(config());
        let named = |ask: Ask| ask.option(12, b"tv");
        let address = bench.lease(5);
        bench.answer(named(Ask::init_reboot(5, address)));
        let mut other = config();
        other.local.pool = Some(host(200)..=host(209));
        bench.server.reconfigure(at(1), other.clone()).unwrap();
        bench.settle();
        if asks_to_keep_it {
            assert_eq!(bench.kind(Ask::init_reboot(5, address)), Some(MessageType::Nak));
            assert_eq!(bench.server.leases().count(), 0);
        }
        let moved = bench.lease(5);
        bench.answer(named(Ask::init_reboot(5, moved)));
        bench.restart(other);
        let leases: Vec<_> = bench.server.leases().map(|lease| (lease.address, lease.name)).collect();
        assert_eq!(leases, [(moved, Some("tv"))]);
    }
}

#[test]
fn no_reply_goes_to_an_address_outside_the_networks() {
    let mut bench = Bench::new(config());
    let discover = Ask { ciaddr: Ipv4Addr::new(203, 0, 113, 9), ..Ask::discover(5) };
    let (delivery, offer) = bench.answer(discover);
    assert_eq!(delivery, Delivery::Hardware(mac(5), offer.yiaddr()));
}

#[test]
fn leases_of_a_network_that_is_gone_are_named() {
    let mut bench = Bench::new(config());
    let address = bench.lease(5);
    let subnet = Subnet::new("198.51.100.0/24".parse().unwrap());
    bench.server.reconfigure(at(1), Config::new(Ipv4Addr::new(198, 51, 100, 1), subnet)).unwrap();
    bench.settle();
    assert_eq!(bench.events.last(), Some(&Event::LeaseOutside { address }));
    assert_eq!(bench.server.leases().count(), 0);
}
