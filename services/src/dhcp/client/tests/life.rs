//! A lease from its first message to its end.

use super::*;

#[test]
fn first_lease() {
    let mut client = client();
    assert_eq!(client.poll_timeout(), None);
    client.handle_link(at(1), true);
    let (now, discover) = next_transmit(&mut client);
    assert!(now >= at(1) && now <= at(2));
    assert_eq!((discover.source, discover.destination), (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST));
    assert_eq!(kind(&discover), DISCOVER);
    assert_eq!(discover.octets.len(), 300);
    assert_eq!(discover.octets[..4], [1, 1, 6, 0]);
    assert_eq!(discover.octets[28..34], MAC);
    assert_eq!(option(&discover.octets, 61).unwrap(), [1, 0x52, 0x54, 0, 0x12, 0x34, 0x56]);
    assert_eq!(option(&discover.octets, 12).unwrap(), b"genkan");
    assert_eq!(option(&discover.octets, 57).unwrap(), 1500u16.to_be_bytes());
    assert_eq!(option(&discover.octets, 55).unwrap(), [1, 121, 33, 3, 6, 15, 26, 42, 58, 59]);
    assert_eq!(option(&discover.octets, 50), None);

    let offer = answer(&discover, OFFER, ADDRESS, SERVER, &lease_options(3600));
    client.handle_datagram(now, &offer).unwrap();
    let (now, request) = next_transmit(&mut client);
    assert_eq!((kind(&request), xid(&request)), (REQUEST, xid(&discover)));
    assert_eq!(request.source, Ipv4Addr::UNSPECIFIED);
    assert_eq!(option(&request.octets, 50).unwrap(), ADDRESS.octets());
    assert_eq!(option(&request.octets, 54).unwrap(), SERVER.octets());

    let ack = answer(&request, ACK, ADDRESS, SERVER, &lease_options(3600));
    client.handle_datagram(now, &ack).unwrap();
    assert_eq!(client.phase(), Phase::Probing);
    assert_eq!(events(&mut client), [Event::Probe { address: ADDRESS }]);
    assert_eq!(client.configuration(), None);
    assert_eq!(client.handle_datagram(now, &ack), Err(Ignored::NotExpected));

    client.handle_address_free(now, SERVER);
    assert_eq!(client.phase(), Phase::Probing, "the outcome of another probe");
    client.handle_address_free(now, ADDRESS);
    let [Event::Bound(configuration)] = &events(&mut client)[..] else { panic!() };
    assert_eq!(configuration.address, "203.0.113.1/24".parse().unwrap());
    assert_eq!(configuration.gateway, Some(SERVER));
    assert_eq!(configuration.dns, [Ipv4Addr::new(192, 0, 2, 53)]);
    assert_eq!(client.expires(), Some(now + Duration::from_secs(3600)));
    assert_eq!(client.handle_datagram(now, &ack), Err(Ignored::NotExpected));
    assert_eq!(client.poll_transmit(), None);
}

#[test]
fn discover_backs_off_and_varies_the_broadcast_flag() {
    let mut client = client();
    client.handle_link(at(0), true);
    let (mut before, first) = next_transmit(&mut client);
    for (index, wait) in [4, 8, 16, 32, 64, 64].into_iter().enumerate() {
        let (now, again) = next_transmit(&mut client);
        let waited = now.saturating_since(before);
        assert!(waited >= Duration::from_secs(wait - 1) && waited <= Duration::from_secs(wait + 1));
        assert_eq!(xid(&again), xid(&first));
        assert_eq!(again.octets[10] == 0x80, index % 2 == 0);
        let secs = u16::from_be_bytes([again.octets[8], again.octets[9]]);
        assert!(secs >= 3);
        before = now;
    }
}

#[test]
fn request_keeps_the_secs_of_its_discover() {
    let mut client = client();
    client.handle_link(at(0), true);
    next_transmit(&mut client);
    let (now, discover) = next_transmit(&mut client);
    client
        .handle_datagram(
            now + Duration::from_secs(2),
            &answer(&discover, OFFER, ADDRESS, SERVER, &lease_options(60)),
        )
        .unwrap();
    let (_, request) = next_transmit(&mut client);
    assert_eq!(request.octets[8..10], discover.octets[8..10]);
}

#[test]
fn server_that_dies_after_its_offer() {
    let mut client = client();
    client.handle_link(at(0), true);
    let (now, discover) = next_transmit(&mut client);
    client.handle_datagram(now, &answer(&discover, OFFER, ADDRESS, SERVER, &lease_options(60))).unwrap();
    for _ in 0..4 {
        assert_eq!(kind(&next_transmit(&mut client).1), REQUEST);
    }
    let (now, discover) = next_transmit(&mut client);
    assert_eq!(kind(&discover), DISCOVER);
    let offer = answer(&discover, OFFER, ADDRESS, SERVER, &lease_options(60));
    assert_eq!(client.handle_datagram(now, &offer), Err(Ignored::BrokenPromise));
    let (now, _) = next_transmit(&mut client);
    client.handle_datagram(now, &offer).unwrap();
    assert_eq!(client.phase(), Phase::Requesting);
}

#[test]
fn renews_by_unicast_then_rebinds_by_broadcast_then_loses() {
    let (mut client, start) = bound(1000);
    let (now, renewal) = next_transmit(&mut client);
    let waited = now.saturating_since(start).as_secs();
    assert!((468..=500).contains(&waited), "{waited}");
    assert_eq!((renewal.source, renewal.destination), (ADDRESS, SERVER));
    assert_eq!(kind(&renewal), REQUEST);
    assert_eq!(renewal.octets[12..16], ADDRESS.octets());
    assert_eq!((option(&renewal.octets, 50), option(&renewal.octets, 54)), (None, None));
    let mut last = renewal;
    let mut rebound = None;
    let lost = loop {
        let at = client.poll_timeout().unwrap();
        client.handle_timeout(at);
        if events(&mut client) == [Event::Lost { why: Lost::Expired }] {
            break at;
        }
        let again = client.poll_transmit().unwrap();
        assert_ne!(xid(&again), xid(&last));
        if again.destination == Ipv4Addr::BROADCAST {
            assert_eq!((client.phase(), again.source), (Phase::Rebinding, ADDRESS));
            rebound.get_or_insert(at);
        }
        last = again;
    };
    assert!((843..=875).contains(&rebound.unwrap().saturating_since(start).as_secs()));
    assert_eq!(lost, start + Duration::from_secs(1000));
    assert_eq!(client.configuration(), None);
    let discover = client.poll_transmit().unwrap();
    assert_eq!((kind(&discover), discover.source), (DISCOVER, Ipv4Addr::UNSPECIFIED));
    assert_eq!(option(&discover.octets, 50).unwrap(), ADDRESS.octets());
}

#[test]
fn renewed_and_changed() {
    let (mut client, _) = bound(1000);
    let (now, renewal) = next_transmit(&mut client);
    let ack = answer(&renewal, ACK, ADDRESS, SERVER, &lease_options(1000));
    client.handle_datagram(now, &ack).unwrap();
    assert_eq!(events(&mut client), [Event::Renewed]);
    assert_eq!(client.expires(), Some(now + Duration::from_secs(1000)));
    assert_eq!(client.handle_datagram(now, &ack), Err(Ignored::NotExpected));

    let (now, renewal) = next_transmit(&mut client);
    let mut options = lease_options(1000);
    options[3].1 = vec![192, 0, 2, 54];
    client.handle_datagram(now, &answer(&renewal, ACK, ADDRESS, SERVER, &options)).unwrap();
    let [Event::Changed { before, after }] = &events(&mut client)[..] else { panic!() };
    assert_eq!(before.dns, [Ipv4Addr::new(192, 0, 2, 53)]);
    assert_eq!(after.dns, [Ipv4Addr::new(192, 0, 2, 54)]);
}

#[test]
fn a_server_that_leaves_the_end_as_it_is_has_answered() {
    let mut options = lease_options(10);
    options.extend([(58, vec![0, 0, 0, 1]), (59, vec![0, 0, 0, 2])]);
    let (mut client, start) = bound_with(&options);
    let (now, renewal) = next_transmit(&mut client);
    assert_eq!(now, start + Duration::from_secs(1));
    // What is left of the lease, as ISC dhcpd does in its first quarter.
    options[0].1 = 9_u32.to_be_bytes().to_vec();
    client.handle_datagram(now, &answer(&renewal, ACK, ADDRESS, SERVER, &options)).unwrap();
    assert_eq!(events(&mut client), [Event::Renewed]);
    assert_eq!(client.expires(), Some(start + Duration::from_secs(10)));
    let (later, renewal) = next_transmit(&mut client);
    assert_eq!((later, renewal.destination), (now + Duration::from_secs(1), SERVER));
}

#[test]
fn a_short_lease_does_not_end_with_one_lost_message() {
    for seconds in [10, 60, 120, 400] {
        let (mut client, _) = bound(seconds);
        let mut asked = [0, 0];
        while client.configuration().is_some() {
            client.handle_timeout(client.poll_timeout().unwrap());
            if let Some(request) = client.poll_transmit().filter(|message| kind(message) == REQUEST) {
                asked[usize::from(request.destination == Ipv4Addr::BROADCAST)] += 1;
            }
        }
        assert!((2..=5).contains(&asked[0]) && (2..=5).contains(&asked[1]), "{seconds} s: {asked:?}");
    }
}

#[test]
fn late_answer_of_an_earlier_renewal_is_not_taken() {
    let (mut client, _) = bound(1000);
    let (_, first) = next_transmit(&mut client);
    let (now, second) = next_transmit(&mut client);
    let late = answer(&first, ACK, ADDRESS, SERVER, &lease_options(1000));
    assert_eq!(client.handle_datagram(now, &late), Err(Ignored::WrongXid));
    client.handle_datagram(now, &answer(&second, ACK, ADDRESS, SERVER, &lease_options(1000))).unwrap();
}

#[test]
fn nak_ends_the_lease_at_once() {
    let (mut client, _) = bound(1000);
    let (now, renewal) = next_transmit(&mut client);
    let nak = |server| answer(&renewal, NAK, Ipv4Addr::UNSPECIFIED, server, &[]);
    assert_eq!(client.handle_datagram(now, &nak(OTHER_SERVER)), Err(Ignored::OtherServer));
    client.handle_datagram(now, &nak(SERVER)).unwrap();
    assert_eq!(events(&mut client), [Event::Lost { why: Lost::Refused }]);
    let (_, discover) = next_transmit(&mut client);
    assert_eq!((kind(&discover), option(&discover.octets, 50)), (DISCOVER, None));
}

#[test]
fn offers_that_are_refused_again_and_again_are_asked_for_slower() {
    let mut client = client();
    client.handle_link(at(0), true);
    let mut starts = Vec::new();
    for _ in 0..6 {
        let (mut now, mut discover) = next_transmit(&mut client);
        starts.push(now);
        let offer = |discover: &Transmit| answer(discover, OFFER, ADDRESS, SERVER, &lease_options(60));
        if client.handle_datagram(now, &offer(&discover)) == Err(Ignored::BrokenPromise) {
            (now, discover) = next_transmit(&mut client);
            client.handle_datagram(now, &offer(&discover)).unwrap();
        }
        let (now, request) = next_transmit(&mut client);
        client.handle_datagram(now, &answer(&request, NAK, Ipv4Addr::UNSPECIFIED, SERVER, &[])).unwrap();
    }
    assert!(starts[5].saturating_since(starts[4]) > Duration::from_secs(60));
    assert_eq!(events(&mut client), []);
}

#[test]
fn conflict_is_declined_and_waits() {
    let mut client = client();
    client.handle_link(at(0), true);
    let (now, discover) = next_transmit(&mut client);
    client.handle_datagram(now, &answer(&discover, OFFER, ADDRESS, SERVER, &lease_options(60))).unwrap();
    let (now, request) = next_transmit(&mut client);
    client.handle_datagram(now, &answer(&request, ACK, ADDRESS, SERVER, &lease_options(60))).unwrap();
    client.handle_conflict(now, ADDRESS);
    let (_, decline) = next_transmit(&mut client);
    assert_eq!((kind(&decline), decline.source), (DECLINE, Ipv4Addr::UNSPECIFIED));
    assert_eq!(decline.octets[12..16], [0; 4]);
    assert_eq!(option(&decline.octets, 50).unwrap(), ADDRESS.octets());
    assert_eq!(option(&decline.octets, 54).unwrap(), SERVER.octets());
    assert_eq!((option(&decline.octets, 55), option(&decline.octets, 57)), (None, None));
    assert_eq!(events(&mut client), [Event::Probe { address: ADDRESS }]);
    let (later, discover) = next_transmit(&mut client);
    assert_eq!(kind(&discover), DISCOVER);
    assert_eq!(later.saturating_since(now), Duration::from_secs(10));
}

#[test]
fn conflict_while_bound_ends_the_use() {
    let (mut client, now) = bound(1000);
    client.handle_conflict(now, SERVER);
    assert_eq!(client.phase(), Phase::Bound);
    client.handle_conflict(now, ADDRESS);
    assert_eq!(events(&mut client), [Event::Lost { why: Lost::Conflict }]);
    assert_eq!(kind(&client.poll_transmit().unwrap()), DECLINE);
}

#[test]
fn probe_without_an_outcome_ends() {
    let mut client = client();
    client.handle_link(at(0), true);
    let (now, discover) = next_transmit(&mut client);
    client.handle_datagram(now, &answer(&discover, OFFER, ADDRESS, SERVER, &lease_options(60))).unwrap();
    let (now, request) = next_transmit(&mut client);
    client.handle_datagram(now, &answer(&request, ACK, ADDRESS, SERVER, &lease_options(60))).unwrap();
    let at = client.poll_timeout().unwrap();
    assert_eq!(at.saturating_since(now), Duration::from_secs(10));
    client.handle_timeout(at);
    assert_eq!(client.phase(), Phase::Bound);
}

#[test]
fn release_leaves_from_the_address_and_stops() {
    let (mut client, now) = bound(1000);
    client.release(now);
    let release = client.poll_transmit().unwrap();
    assert_eq!((kind(&release), release.source, release.destination), (RELEASE, ADDRESS, SERVER));
    assert_eq!(release.octets[12..16], ADDRESS.octets());
    assert_eq!(option(&release.octets, 61).unwrap().len(), 7);
    assert_eq!(events(&mut client), [Event::Lost { why: Lost::Released }]);
    assert_eq!((client.poll_timeout(), client.phase()), (None, Phase::Idle));
    client.handle_link(now, false);
    client.handle_link(now, true);
    assert_eq!(client.phase(), Phase::Idle);
    client.start(now);
    let (_, discover) = next_transmit(&mut client);
    assert_eq!((kind(&discover), option(&discover.octets, 50)), (DISCOVER, None));
}

#[test]
fn infinite_lease_is_never_renewed() {
    let (client, _) = bound(u32::MAX);
    assert_eq!((client.poll_timeout(), client.expires()), (None, Some(Timestamp::MAX)));
    let mut client = super::client();
    client.handle_link(at(1), true);
    let mut options = lease_options(u32::MAX);
    options.push((58, 100u32.to_be_bytes().to_vec()));
    bind(&mut client, ADDRESS, &options);
    assert_eq!(client.poll_timeout(), None);
}

#[test]
fn times_of_the_server() {
    for (t1, t2, seconds) in [(100, 200, Some(100)), (200, 100, None), (100, 1000, None), (0, 0, None)] {
        let mut client = client();
        client.handle_link(at(1), true);
        let mut options = lease_options(1000);
        options.push((58, u32::to_be_bytes(t1).to_vec()));
        options.push((59, u32::to_be_bytes(t2).to_vec()));
        let start = bind(&mut client, ADDRESS, &options);
        let renewal = client.poll_timeout().unwrap().saturating_since(start).as_secs();
        match seconds {
            Some(seconds) => assert_eq!(renewal, seconds),
            None => assert!((468..=500).contains(&renewal)),
        }
    }
}

#[test]
fn client_identifiers_and_names() {
    let rfc4361 = |duid: Vec<u8>| Config {
        client_identifier: ClientIdentifier::Rfc4361 { iaid: 1, duid },
        host_name: None,
        ..config()
    };
    let mut client = Client::new(rfc4361(vec![0, 3, 0, 1]), None, 7, Timestamp::ZERO, None).unwrap();
    client.handle_link(at(0), true);
    let (_, discover) = next_transmit(&mut client);
    assert_eq!(option(&discover.octets, 61).unwrap(), [255, 0, 0, 0, 1, 0, 3, 0, 1]);
    assert_eq!(option(&discover.octets, 12), None);
    for length in [0, 2, 131] {
        let config = rfc4361(vec![0; length]);
        assert_eq!(Client::new(config, None, 7, Timestamp::ZERO, None).unwrap_err(), ConfigError::Duid);
    }
    for name in ["", "-a", "a-", "a.b", "a b", "é", &"a".repeat(64)] {
        let config = Config { host_name: Some(name.into()), ..config() };
        assert_eq!(Client::new(config, None, 7, Timestamp::ZERO, None).unwrap_err(), ConfigError::HostName);
    }
}

#[test]
fn what_a_provider_wants_to_hear_is_said_in_every_message_that_has_a_place_for_it() {
    let id = b"user@line|secret".to_vec();
    let config = Config {
        client_identifier: ClientIdentifier::Octets(id.clone()),
        vendor_class: Some(b"dslforum.org".to_vec()),
        ..config()
    };
    let mut client = Client::new(config.clone(), None, 7, Timestamp::ZERO, None).unwrap();
    client.handle_link(at(0), true);
    let (now, discover) = next_transmit(&mut client);
    client.handle_datagram(now, &answer(&discover, OFFER, ADDRESS, SERVER, &lease_options(3600))).unwrap();
    let (now, request) = next_transmit(&mut client);
    for message in [&discover, &request] {
        assert_eq!(option(&message.octets, 61).unwrap(), id);
        assert_eq!(option(&message.octets, 60).unwrap(), b"dslforum.org");
    }
    client.handle_datagram(now, &answer(&request, ACK, ADDRESS, SERVER, &lease_options(3600))).unwrap();
    client.handle_conflict(now, ADDRESS);
    let decline = client.poll_transmit().unwrap();
    // RFC 2131 table 5: the identifier may stand there, the class may not.
    assert_eq!((kind(&decline), option(&decline.octets, 61).unwrap()), (DECLINE, id));
    assert_eq!(option(&decline.octets, 60), None);

    for octets in [vec![], vec![1], vec![1; 256]] {
        let id = Config { client_identifier: ClientIdentifier::Octets(octets.clone()), ..config.clone() };
        let refused = Client::new(id, None, 7, Timestamp::ZERO, None).unwrap_err();
        assert_eq!(refused, ConfigError::ClientIdentifier);
        if octets.len() != 1 {
            let class = Config { vendor_class: Some(octets), ..config.clone() };
            let refused = Client::new(class, None, 7, Timestamp::ZERO, None).unwrap_err();
            assert_eq!(refused, ConfigError::VendorClass);
        }
    }
}
