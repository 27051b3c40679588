//! Clients that remember another address than their record has (RFC 2131 §4.3.2, INIT-REBOOT).

use super::*;

/// Refused, the client asks for any address, and gets that of its record.
fn comes_back_to(bench: &mut Bench, remembered: Ipv4Addr, recorded: Ipv4Addr) {
    let (_, nak) = bench.answer(Ask::init_reboot(5, remembered));
    assert_eq!(nak.opts().msg_type(), Some(MessageType::Nak));
    assert_eq!(bench.lease(5), recorded);
    assert_eq!(bench.kind(Ask::init_reboot(5, recorded)), Some(MessageType::Ack));
}

fn another_than(address: Ipv4Addr) -> Ipv4Addr {
    (100..=109).map(host).find(|other| *other != address).unwrap()
}

#[test]
fn who_has_a_lease_is_refused_another_address_though_it_is_free() {
    let mut bench = Bench::new(config());
    let address = bench.lease(5);
    let other = another_than(address);
    bench.answer(Ask::init_reboot(5, other));
    let leases: Vec<_> = bench.server.leases().map(|lease| lease.address).collect();
    assert_eq!(leases, [address], "its lease goes on");
    comes_back_to(&mut bench, other, address);
    bench.restart(config());
    comes_back_to(&mut bench, other, address);
}

#[test]
fn who_had_a_lease_is_refused_another_address_though_it_is_free() {
    let mut bench = Bench::new(config());
    let address = bench.lease(5);
    bench.ask(Ask::release(5, address));
    comes_back_to(&mut bench, another_than(address), address);
}

#[test]
fn a_reservation_goes_before_the_record() {
    let mut bench = Bench::new(config());
    let address = bench.lease(5);
    let (reserved, free) = (host(10), another_than(address));
    let mut config = config();
    config.reservations =
        vec![Reservation { mac: Some(mac(5)), identifier: None, address: reserved, name: None }];
    bench.server.reconfigure(at(1), config).unwrap();
    bench.settle();
    assert_eq!(bench.kind(Ask::init_reboot(5, free)), Some(MessageType::Nak));
    assert_eq!(bench.kind(Ask::init_reboot(5, reserved)), Some(MessageType::Ack));
    comes_back_to(&mut bench, address, reserved);
}
