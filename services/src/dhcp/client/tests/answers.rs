//! Answers of servers: what is read from them, and what is ignored.

use super::*;

/// A client in REQUESTING and its request.
fn requesting() -> (Client, Timestamp, Transmit) {
    let mut client = client();
    client.handle_link(at(1), true);
    let (now, discover) = next_transmit(&mut client);
    client.handle_datagram(now, &answer(&discover, OFFER, ADDRESS, SERVER, &lease_options(600))).unwrap();
    let (now, request) = next_transmit(&mut client);
    (client, now, request)
}

fn with(options: &[(u8, &[u8])]) -> Vec<(u8, Vec<u8>)> {
    let own: Vec<_> = options.iter().map(|(code, value)| (*code, value.to_vec())).collect();
    let kept = lease_options(600).into_iter().filter(|(code, _)| own.iter().all(|(own, _)| own != code));
    kept.chain(own.iter().cloned()).collect()
}

fn configured(options: &[(u8, &[u8])]) -> Result<Configuration, Ignored> {
    let (mut client, now, request) = requesting();
    client.handle_datagram(now, &answer(&request, ACK, ADDRESS, SERVER, &with(options)))?;
    client.handle_address_free(now, ADDRESS);
    Ok(client.configuration().unwrap().clone())
}

fn route(to: &str, via: Option<[u8; 4]>) -> Route {
    Route { to: to.parse().unwrap(), via: via.map(Ipv4Addr::from) }
}

#[test]
fn ignored_for_the_fixed_fields() {
    let (mut client, now, request) = requesting();
    let good = answer(&request, ACK, ADDRESS, SERVER, &lease_options(600));
    let mut spoilt = |at: usize, octet: u8, why: Ignored| {
        let mut octets = good.clone();
        octets[at] = octet;
        assert_eq!(client.handle_datagram(now, &octets), Err(why));
    };
    spoilt(0, 1, Ignored::NotAReply);
    spoilt(1, 6, Ignored::WrongHardwareAddress);
    spoilt(2, 16, Ignored::WrongHardwareAddress);
    spoilt(7, good[7] ^ 1, Ignored::WrongXid);
    spoilt(28, 0xff, Ignored::WrongHardwareAddress);
    spoilt(43, 1, Ignored::WrongHardwareAddress);
    spoilt(239, 0, Ignored::Cookie);
    spoilt(242, 8, Ignored::MessageType);
    spoilt(242, OFFER, Ignored::MessageType);
    spoilt(16, 127, Ignored::OtherAddress);
    spoilt(248, 252, Ignored::OtherServer);
    spoilt(245, 224, Ignored::NoServerIdentifier);
    spoilt(243, 254, Ignored::NoServerIdentifier);
    spoilt(250, 255, Ignored::Truncated);
    assert_eq!(client.handle_datagram(now, &good[..239]), Err(Ignored::Length(239)));
    assert_eq!(
        client.handle_datagram(now, &[good.as_slice(), &[0; 1400]].concat()),
        Err(Ignored::Length(1674))
    );
    assert_eq!(client.phase(), Phase::Requesting);
    client.handle_datagram(now, &good).unwrap();
}

#[test]
fn ignored_for_an_option() {
    for (code, value, why) in [
        (51, &[0, 0, 0, 0][..], Ignored::LeaseTime),
        (51, &[0, 0, 0, 9], Ignored::LeaseTime),
        (51, &[0, 0, 60], Ignored::OptionLength(51)),
        (1, &[255, 0, 255, 0], Ignored::Netmask),
        (1, &[0, 0, 0, 0], Ignored::Netmask),
        (1, &[255, 255, 255], Ignored::OptionLength(1)),
        (52, &[4], Ignored::OptionLength(52)),
        (53, &[5], Ignored::OptionLength(53)),
        (61, &[1, 2, 3], Ignored::WrongClientIdentifier),
    ] {
        assert_eq!(configured(&[(code, value)]), Err(why), "{code} {value:?}");
    }
    let (mut client, now, request) = requesting();
    let ack = answer(&request, ACK, ADDRESS, SERVER, &lease_options(600)[1..]);
    assert_eq!(client.handle_datagram(now, &ack), Err(Ignored::NoLeaseTime));
}

/// An address is worth more than an option that is no use.
#[test]
fn options_that_are_as_good_as_not_there() {
    let plain = configured(&[]).unwrap();
    for (code, value) in [
        (3, &[][..]),
        (3, &[203, 0, 113, 1, 1]),
        (3, &[127, 0, 0, 1]),
        (3, &[0, 0, 0, 0]),
        (3, &[203, 0, 113, 1]),
        (6, &[]),
        (6, &[1, 2, 3]),
        (15, &[]),
        (26, &[5]),
        (33, &[192, 0, 2, 0]),
        (33, &[192, 0, 2, 0, 203, 0, 113, 1]),
        (42, &[192, 0, 2]),
        (58, &[1]),
        (59, &[1]),
        (121, &[]),
        (121, &[33, 1, 2, 3, 4, 5, 203, 0, 113, 254]),
        (121, &[24, 192, 0, 2, 203, 0, 113]),
        (121, &[0, 224, 0, 0, 1]),
    ] {
        let mut expected = plain.clone();
        match code {
            3 => expected.gateway = None,
            6 => expected.dns = Vec::new(),
            // It can be read, so option 3 does not count beside it.
            121 if value[..] == [0, 224, 0, 0, 1] => expected.gateway = None,
            _ => {}
        }
        assert_eq!(configured(&[(code, value)]), Ok(expected), "{code} {value:?}");
    }
    let second = configured(&[(3, &[0, 0, 0, 0, 203, 0, 113, 9])]).unwrap();
    assert_eq!(second.gateway, Some(Ipv4Addr::new(203, 0, 113, 9)));
    let routes = [24, 192, 0, 2, 203, 0, 113, 1, 24, 198, 51, 100, 203, 0, 113, 9];
    let second = configured(&[(121, &routes)]).unwrap();
    assert_eq!(second.routes, [route("198.51.100.0/24", Some([203, 0, 113, 9]))]);
}

#[test]
fn offered_addresses_that_no_host_may_have() {
    for address in
        [[0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 1], [255; 4], [203, 0, 113, 0], [203, 0, 113, 255]]
    {
        let mut client = client();
        client.handle_link(at(1), true);
        let (now, discover) = next_transmit(&mut client);
        let offer = answer(&discover, OFFER, address.into(), SERVER, &lease_options(600));
        assert_eq!(client.handle_datagram(now, &offer), Err(Ignored::Address), "{address:?}");
    }
}

#[test]
fn classless_routes_override_the_others() {
    let classless = [
        24, 198, 51, 100, 203, 0, 113, 9, // 198.51.100.0/24
        32, 192, 0, 2, 1, 0, 0, 0, 0, // on the link
        0, 203, 0, 113, 7, // default
        20, 10, 1, 255, 203, 0, 113, 9, // host bits set
    ];
    let configuration =
        configured(&[(121, &classless), (3, &[203, 0, 113, 8]), (33, &[10, 0, 0, 0, 203, 0, 113, 8])])
            .unwrap();
    assert_eq!(configuration.gateway, Some(Ipv4Addr::new(203, 0, 113, 7)));
    let via = Some([203, 0, 113, 9]);
    assert_eq!(
        configuration.routes,
        [route("198.51.100.0/24", via), route("192.0.2.1/32", None), route("10.1.240.0/20", via)]
    );
    let configuration = configured(&[(121, &classless[..8])]).unwrap();
    assert_eq!(configuration.gateway, None, "option 3 is ignored beside 121");
}

#[test]
fn classful_routes() {
    let via = [203, 0, 113, 9];
    let routes = [[10, 0, 0, 0], via, [10, 1, 0, 0], via, [198, 51, 100, 0], via, [0, 0, 0, 0], via].concat();
    let configuration = configured(&[(33, &routes)]).unwrap();
    assert_eq!(configuration.gateway, Some(SERVER));
    assert_eq!(
        configuration.routes,
        [
            route("10.0.0.0/8", Some(via)),
            route("10.1.0.0/32", Some(via)),
            route("198.51.100.0/24", Some(via))
        ]
    );
}

#[test]
fn gateway_outside_of_a_host_prefix() {
    let configuration = configured(&[(1, &[255; 4]), (3, &[192, 0, 2, 1])]).unwrap();
    assert_eq!(configuration.address, "203.0.113.1/32".parse().unwrap());
    assert_eq!(configuration.gateway, Some(Ipv4Addr::new(192, 0, 2, 1)));
}

#[test]
fn small_things() {
    let configuration = configured(&[
        (26, &1492u16.to_be_bytes()),
        (15, b"example.net.\0"),
        (42, &[192, 0, 2, 123, 0, 0, 0, 0]),
        (6, &[0, 0, 0, 0, 192, 0, 2, 53, 127, 0, 0, 1]),
        (56, &[0xff, 0xfe]),
        (80, &[1, 2]),
        (82, &[1, 200]),
    ])
    .unwrap();
    assert_eq!(configuration.mtu, Some(1492));
    assert_eq!(configuration.domain.as_deref(), Some("example.net"));
    assert_eq!(configuration.ntp, [Ipv4Addr::new(192, 0, 2, 123)]);
    assert_eq!(configuration.dns, [Ipv4Addr::new(192, 0, 2, 53)]);
    assert_eq!(configured(&[(26, &575u16.to_be_bytes())]).unwrap().mtu, None);
    for domain in [&b"a b"[..], b"a..b", b"\xff", b"a\nb", b".", b"\0"] {
        assert_eq!(configured(&[(15, domain)]).unwrap().domain, None, "{domain:?}");
    }
}

#[test]
fn long_options_and_overloaded_fields() {
    // 60 routes of 8 octets in parts of 255, 200 and 25 octets that are not neighbours.
    let routes: Vec<u8> = (0..60).flat_map(|index| [24, 10, 1, index, 203, 0, 113, 9]).collect();
    let configuration = configured(&[
        (121, &routes[..255]),
        (60, b"x"),
        (121, &routes[255..455]),
        (15, b"x"),
        (121, &routes[455..]),
    ])
    .unwrap();
    assert_eq!(configuration.routes.len(), 60);

    // The first half of option 121 in `file`, the second in `sname`.
    let (mut client, now, request) = requesting();
    let mut ack = answer(&request, ACK, ADDRESS, SERVER, &with(&[(52, &[3])]));
    ack[108..115].copy_from_slice(&[121, 4, 24, 198, 51, 100, 255]);
    ack[44..52].copy_from_slice(&[0, 121, 4, 203, 0, 113, 9, 255]);
    client.handle_datagram(now, &ack).unwrap();
    client.handle_address_free(now, ADDRESS);
    assert_eq!(client.configuration().unwrap().routes, [route("198.51.100.0/24", Some([203, 0, 113, 9]))]);
}

#[test]
fn without_a_netmask_everything_goes_through_the_gateway() {
    let (mut client, now, request) = requesting();
    let mut options = lease_options(600);
    options.remove(1);
    client.handle_datagram(now, &answer(&request, ACK, ADDRESS, SERVER, &options)).unwrap();
    client.handle_address_free(now, ADDRESS);
    assert_eq!(client.configuration().unwrap().address.prefix_len(), 32);
}
