use super::*;

/// Not a measurement: that nothing grows with the number of clients but by its logarithm shows in that this ends.
#[test]
fn twenty_thousand_clients_are_served() {
    let mut config = config();
    config.local.prefix = "10.0.0.0/15".parse().unwrap();
    config.local.pool = Some(Ipv4Addr::new(10, 0, 1, 0)..=Ipv4Addr::new(10, 0, 250, 0));
    let mut bench = Bench::new(config);
    for n in 0..20_000u32 {
        if n % 5_000 == 0 {
            bench.pass(1);
        }
        let mut patch = |ask: Ask| {
            let mut payload = ask.payload();
            payload[30..34].copy_from_slice(&n.to_be_bytes());
            let datagram = Datagram { source: NONE, destination: ask.destination, payload: &payload };
            bench.server.handle_datagram(at(bench.now), &datagram);
            bench.settle();
            bench.server.poll_transmit().unwrap().payload
        };
        let offer = patch(Ask::discover(0));
        let address = Ipv4Addr::from(<[u8; 4]>::try_from(&offer[16..20]).unwrap());
        assert_eq!(patch(Ask::selecting(0, address))[16..20], offer[16..20]);
    }
    let leases = bench.server.leases().count();
    assert_eq!(leases, 20_000);
}
