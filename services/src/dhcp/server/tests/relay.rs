use super::*;

const AGENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

/// 198.51.100.0/24 behind a relay agent, pool of 50 to 59.
fn relayed() -> Config {
    let mut subnet = Subnet::new("198.51.100.0/24".parse().unwrap());
    subnet.pool = Some(Ipv4Addr::new(198, 51, 100, 50)..=Ipv4Addr::new(198, 51, 100, 59));
    subnet.options.routers = vec![AGENT];
    let mut config = config();
    config.relayed = vec![subnet];
    config
}

fn by_agent(ask: Ask) -> Ask {
    Ask { giaddr: AGENT, destination: ROUTER, ..ask }.option(82, &[1, 4, 0, 0, 0, 7, 2, 2, 0xab, 0xcd])
}

#[test]
fn a_relayed_client_gets_an_address_of_its_network() {
    let mut bench = Bench::new(relayed());
    let (delivery, offer) = bench.answer(by_agent(Ask::discover(5)));
    assert_eq!((delivery, offer.giaddr()), (Delivery::Relay(AGENT), AGENT));
    assert_eq!(offer.yiaddr().octets()[..3], [198, 51, 100]);
    assert_eq!(option(&offer, OptionCode::Router), Some(DhcpOption::Router(vec![AGENT])));
    let (_, ack) = bench.answer(by_agent(Ask::selecting(5, offer.yiaddr())));
    assert_eq!(ack.opts().msg_type(), Some(MessageType::Ack));
    // It renews by unicast, past the agent.
    let (delivery, ack) = bench.answer(Ask::renewing(5, offer.yiaddr()));
    assert_eq!((delivery, ack.yiaddr()), (Delivery::Unicast(offer.yiaddr()), offer.yiaddr()));
}

#[test]
fn the_agents_information_is_echoed_as_the_last_option() {
    let mut bench = Bench::new(relayed());
    let payload = by_agent(Ask::discover(5)).option(61, &[1, 2, 3]).payload();
    let datagram = Datagram { source: AGENT, destination: ROUTER, payload: &payload };
    bench.server.handle_datagram(at(1), &datagram);
    let offer = bench.server.poll_transmit().unwrap().payload;
    assert_eq!(codes(&offer).last(), Some(&82));
    let wanted = [82, 10, 1, 4, 0, 0, 0, 7, 2, 2, 0xab, 0xcd, 255];
    assert!(offer.windows(wanted.len()).any(|octets| octets == wanted));
    // A client that makes the option up itself gets nothing back.
    let payload = Ask::discover(6).option(82, &[1, 1, 0]).payload();
    let datagram = Datagram { source: NONE, destination: Ipv4Addr::BROADCAST, payload: &payload };
    bench.server.handle_datagram(at(1), &datagram);
    assert!(!codes(&bench.server.poll_transmit().unwrap().payload).contains(&82));
}

#[test]
fn a_refusal_through_an_agent_is_to_be_broadcast() {
    let mut bench = Bench::new(relayed());
    let (delivery, nak) = bench.answer(by_agent(Ask::init_reboot(5, host(100))));
    assert_eq!((delivery, nak.opts().msg_type()), (Delivery::Relay(AGENT), Some(MessageType::Nak)));
    assert!(nak.flags().broadcast());
}

#[test]
fn an_agent_of_no_known_network_gets_no_answer() {
    let mut bench = Bench::new(relayed());
    let stranger = Ask { giaddr: Ipv4Addr::new(203, 0, 113, 1), ..Ask::discover(5) };
    assert_eq!(bench.kind(stranger.clone()), None);
    assert_eq!(bench.events.last(), Some(&Event::Dropped(Reason::UnknownNetwork)));
    // Link selection (RFC 3527) names the client's network in its place.
    let selected = stranger.option(82, &[5, 4, 198, 51, 100, 0]);
    let (delivery, offer) = bench.answer(selected);
    assert_eq!(delivery, Delivery::Relay(Ipv4Addr::new(203, 0, 113, 1)));
    assert_eq!(offer.yiaddr().octets()[..3], [198, 51, 100]);
}

#[test]
fn a_client_may_have_a_lease_in_each_network() {
    let mut bench = Bench::new(relayed());
    let here = bench.lease(5);
    let there = bench.answer(by_agent(Ask::discover(5))).1.yiaddr();
    bench.answer(by_agent(Ask::selecting(5, there)));
    assert_eq!(bench.server.leases().map(|lease| lease.address).collect::<Vec<_>>(), [here, there]);
}

#[test]
fn addresses_behind_an_agent_are_probed_from_afar() {
    let mut server = Server::new(relayed(), &Replay::default(), at(1), 7).unwrap();
    let probes: Vec<Probe> = std::iter::from_fn(|| server.poll_probe()).collect();
    assert!(probes.iter().all(|probe| probe.relayed == (probe.address.octets()[0] == 198)));
    assert!(probes.iter().any(|probe| probe.relayed));
}

#[test]
fn one_network_is_used_up_while_another_has_room() {
    let mut bench = Bench::new(relayed());
    for number in 1..=10 {
        let address = bench.answer(by_agent(Ask::discover(number))).1.yiaddr();
        bench.answer(by_agent(Ask::selecting(number, address)));
    }
    assert_eq!(bench.kind(by_agent(Ask::discover(11))), None);
    assert!(bench.events.contains(&Event::Exhausted { subnet: 1 }));
    let (of_lan, behind) = (bench.server.pooled_in(0), bench.server.pooled_in(1));
    assert_eq!((behind, of_lan.0, of_lan.1), ((10, 0), of_lan.0, of_lan.0));
    assert_eq!(bench.server.pooled(), (of_lan.0 + 10, of_lan.1));
}
