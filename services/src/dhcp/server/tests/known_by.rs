//! Clients that a change of the reservations makes known by something else than their lease is recorded under.

use super::*;

const RESERVED: u8 = 105;

/// As most clients send it: the kind of the link-layer address, and the address (RFC 2132 §9.14).
fn id(n: u8) -> [u8; 7] {
    [1, 2, 0, 0, 0, 0, n]
}

fn with_id(ask: Ask, n: u8) -> Ask {
    ask.option(61, &id(n))
}

/// Four messages of a client with an identifier; the address that it has then.
fn lease(bench: &mut Bench, n: u8) -> Ipv4Addr {
    let offered = bench.answer(with_id(Ask::discover(n), n)).1.yiaddr();
    assert_eq!(bench.kind(with_id(Ask::selecting(n, offered), n)), Some(MessageType::Ack));
    offered
}

fn reconfigure(bench: &mut Bench, reservations: &[Reservation]) {
    bench.server.reconfigure(at(bench.now), reserving(reservations)).unwrap();
    bench.settle();
}

fn reserving(reservations: &[Reservation]) -> Config {
    let mut config = config();
    config.reservations = reservations.to_vec();
    config
}

fn reservation(mac: Option<MacAddr>, identifier: Option<&[u8]>) -> Reservation {
    Reservation { mac, identifier: identifier.map(<[u8]>::to_vec), address: host(RESERVED), name: None }
}

fn leases(bench: &Bench) -> Vec<Ipv4Addr> {
    bench.server.leases().map(|lease| lease.address).collect()
}

/// The client keeps the address by each kind of request, also over a restart.
fn keeps(
    address: Ipv4Addr,
    asks: &[fn(u8, Ipv4Addr) -> Ask],
    prepare: &dyn Fn() -> (Bench, Config),
    what: &str,
) {
    for ask in asks {
        let (mut bench, config) = prepare();
        let said = bench.kind(with_id(ask(5, address), 5));
        assert_eq!(said, Some(MessageType::Ack), "{what}: {:?}", ask(5, address).ciaddr);
        bench.restart(config);
        assert_eq!(leases(&bench), [address], "{what}");
        assert_eq!(bench.kind(with_id(Ask::renewing(5, address), 5)), Some(MessageType::Ack), "{what}");
        assert_eq!(lease(&mut bench, 5), address, "{what}");
    }
}

const ALL: [fn(u8, Ipv4Addr) -> Ask; 3] = [Ask::renewing, Ask::rebinding, Ask::init_reboot];

#[test]
fn a_host_keeps_its_address_when_its_reservation_names_it_otherwise() {
    let by_mac = reservation(Some(mac(5)), None);
    let by_id = reservation(None, Some(&id(5)));
    let by_both = reservation(Some(mac(5)), Some(&id(5)));
    // What the host does not send, as the system after a boot loader that does.
    let by_other = reservation(Some(mac(5)), Some(&[0, b'x']));
    let by_another = reservation(Some(mac(5)), Some(&[0, b'y']));
    let changes = [
        (&by_mac, &by_both),
        (&by_both, &by_mac),
        (&by_mac, &by_id),
        (&by_id, &by_mac),
        (&by_both, &by_id),
        (&by_mac, &by_other),
        (&by_other, &by_mac),
        (&by_other, &by_another),
    ];
    for (before, after) in changes {
        let prepare = || {
            let mut bench = Bench::new(reserving(std::slice::from_ref(before)));
            assert_eq!(lease(&mut bench, 5), host(RESERVED));
            reconfigure(&mut bench, std::slice::from_ref(after));
            (bench, reserving(std::slice::from_ref(after)))
        };
        keeps(host(RESERVED), &ALL, &prepare, &format!("{before:?}, then {after:?}"));
    }
}

#[test]
fn a_host_whose_reservation_goes_keeps_its_address_in_the_pool() {
    for had_another in [false, true] {
        let prepare = || {
            let mut bench = Bench::new(config());
            if had_another {
                let address = lease(&mut bench, 5);
                assert_ne!(address, host(RESERVED));
            }
            reconfigure(&mut bench, &[reservation(Some(mac(5)), None)]);
            assert_eq!(lease(&mut bench, 5), host(RESERVED));
            reconfigure(&mut bench, &[]);
            (bench, config())
        };
        keeps(host(RESERVED), &ALL, &prepare, "acknowledged");
        let (mut bench, _) = prepare();
        assert_eq!(lease(&mut bench, 5), host(RESERVED), "offered");
    }
}

#[test]
fn a_host_whose_reserved_address_is_taken_keeps_its_own_until_then() {
    let prepare = || {
        let mut bench = Bench::new(config());
        let (own, others) = (lease(&mut bench, 5), lease(&mut bench, 6));
        let mut reserved = reservation(Some(mac(5)), None);
        reserved.address = others;
        reconfigure(&mut bench, std::slice::from_ref(&reserved));
        (bench, own, others)
    };
    for ask in ALL {
        let (mut bench, own, others) = prepare();
        assert_eq!(bench.kind(with_id(ask(5, own), 5)), Some(MessageType::Ack));
        assert_eq!(lease(&mut bench, 5), own);
        bench.ask(with_id(Ask::release(6, others), 6));
        assert_eq!(bench.kind(with_id(Ask::renewing(5, own), 5)), Some(MessageType::Nak));
        assert_eq!((lease(&mut bench, 5), leases(&bench)), (others, vec![others]));
    }
    let (mut bench, own, _) = prepare();
    assert_eq!(lease(&mut bench, 5), own, "offered before it has renewed");
}

/// Neither by the identifier of another machine, nor by another identifier at the same machine.
#[test]
fn nobody_gets_the_lease_of_another_client() {
    let mut bench = Bench::new(reserving(&[reservation(Some(mac(5)), None)]));
    assert_eq!(lease(&mut bench, 5), host(RESERVED));
    reconfigure(&mut bench, &[]);
    let address = host(RESERVED);
    let stays = |bench: &mut Bench, asks: [Ask; 4], ends: [Ask; 2]| {
        for ask in asks {
            assert_ne!(bench.kind(ask), Some(MessageType::Ack));
        }
        ends.into_iter().for_each(|ask| assert!(bench.ask(ask).is_empty()));
        assert_eq!(leases(bench), [address]);
    };
    let asks = |n| {
        [
            Ask::renewing(n, address),
            Ask::rebinding(n, address),
            Ask::init_reboot(n, address),
            Ask::selecting(n, address),
        ]
    };
    let ends = |n| [Ask::release(n, address), Ask::decline(n, address)];
    // Its record is by the link-layer address: another one says its identifier.
    stays(&mut bench, asks(6).map(|ask| with_id(ask, 5)), ends(6).map(|ask| with_id(ask, 5)));
    bench.pass(2);
    // By its identifier: the same machine says another one, or none.
    assert_eq!(bench.kind(with_id(Ask::renewing(5, address), 5)), Some(MessageType::Ack));
    stays(&mut bench, asks(5).map(|ask| with_id(ask, 6)), ends(5).map(|ask| with_id(ask, 6)));
    bench.pass(2);
    stays(&mut bench, asks(5), ends(5));
    assert_ne!(bench.answer(with_id(Ask::discover(5), 6)).1.yiaddr(), address);
    // Where the reservation names the other identifier alone, too.
    reconfigure(&mut bench, &[reservation(None, Some(&id(6)))]);
    bench.pass(2);
    stays(&mut bench, asks(5).map(|ask| with_id(ask, 6)), ends(5).map(|ask| with_id(ask, 6)));
}
