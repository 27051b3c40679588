//! A lease over a lost link and over a restart.

use super::*;

const WALL: UnixTime = UnixTime(1_800_000_000);

fn restarted(saved: Option<SavedLease>, wall: Option<i64>) -> Client {
    let mut client = Client::new(config(), saved, 9, at(5), wall.map(UnixTime)).unwrap();
    client.handle_link(at(5), true);
    client
}

/// Lets INIT-REBOOT stay without an answer.
fn silence(client: &mut Client) {
    for _ in 0..2 {
        let (_, request) = next_transmit(client);
        assert_eq!(kind(&request), REQUEST);
        assert_eq!(option(&request.octets, 50).unwrap(), ADDRESS.octets());
        assert_eq!(option(&request.octets, 54), None);
        assert_eq!(request.octets[12..16], [0; 4]);
    }
    client.handle_timeout(client.poll_timeout().unwrap());
}

#[test]
fn link_back_asks_and_keeps() {
    let (mut client, now) = bound(1000);
    client.handle_link(now, false);
    assert_eq!((events(&mut client), client.phase()), (vec![], Phase::Idle));
    assert!(client.configuration().is_some());
    client.handle_link(now + Duration::from_secs(30), true);
    let (now, request) = next_transmit(&mut client);
    assert_eq!((kind(&request), client.phase()), (REQUEST, Phase::Rebooting));
    client.handle_datagram(now, &answer(&request, ACK, ADDRESS, SERVER, &lease_options(1000))).unwrap();
    assert!(client.configuration().is_some());
    client.handle_address_free(now, ADDRESS);
    assert_eq!(events(&mut client), [Event::Probe { address: ADDRESS }, Event::Renewed]);
    assert_eq!(client.expires(), Some(now + Duration::from_secs(1000)));
}

#[test]
fn link_back_on_another_network() {
    let (mut client, now) = bound(1000);
    client.handle_link(now, false);
    client.handle_link(now, true);
    let (now, request) = next_transmit(&mut client);
    client.handle_datagram(now, &answer(&request, NAK, Ipv4Addr::UNSPECIFIED, OTHER_SERVER, &[])).unwrap();
    assert_eq!(events(&mut client), [Event::Lost { why: Lost::Refused }]);
}

#[test]
fn link_back_without_a_server_keeps_the_address_and_takes_any_offer() {
    let (mut client, start) = bound(1000);
    client.handle_link(start, false);
    client.handle_link(start, true);
    silence(&mut client);
    assert_eq!(events(&mut client), []);
    let (now, discover) = next_transmit(&mut client);
    assert_eq!(option(&discover.octets, 50).unwrap(), ADDRESS.octets());
    let other = Ipv4Addr::new(198, 51, 100, 9);
    client
        .handle_datagram(now, &answer(&discover, OFFER, other, OTHER_SERVER, &lease_options(1000)))
        .unwrap();
    let (now, request) = next_transmit(&mut client);
    client.handle_datagram(now, &answer(&request, ACK, other, OTHER_SERVER, &lease_options(1000))).unwrap();
    assert_eq!(client.configuration().unwrap().address.addr(), ADDRESS);
    client.handle_address_free(now, other);
    let [Event::Probe { .. }, Event::Changed { before, after }] = &events(&mut client)[..] else { panic!() };
    assert_eq!((before.address.addr(), after.address.addr()), (ADDRESS, other));
    assert_eq!(client.poll_transmit(), None);
}

#[test]
fn lease_ends_while_the_link_is_down() {
    let (mut client, start) = bound(1000);
    client.handle_link(start, false);
    assert_eq!(client.poll_timeout(), Some(start + Duration::from_secs(1000)));
    client.handle_timeout(start + Duration::from_millis(999_999));
    assert_eq!(events(&mut client), []);
    client.handle_timeout(start + Duration::from_secs(1000));
    assert_eq!(events(&mut client), [Event::Lost { why: Lost::Expired }]);
    assert_eq!(client.poll_transmit(), None);
    client.handle_link(start + Duration::from_secs(2000), true);
    assert_eq!(kind(&next_transmit(&mut client).1), DISCOVER);
}

#[test]
fn link_lost_in_a_probe() {
    let mut client = client();
    client.handle_link(at(0), true);
    let (now, discover) = next_transmit(&mut client);
    client.handle_datagram(now, &answer(&discover, OFFER, ADDRESS, SERVER, &lease_options(600))).unwrap();
    let (now, request) = next_transmit(&mut client);
    client.handle_datagram(now, &answer(&request, ACK, ADDRESS, SERVER, &lease_options(600))).unwrap();
    client.handle_link(now, false);
    client.handle_address_free(now, ADDRESS);
    assert_eq!(client.configuration(), None);
    client.handle_link(now, true);
    assert_eq!(client.phase(), Phase::Rebooting);
}

#[test]
fn restart_with_a_server() {
    let (client, now) = bound(1000);
    let saved = client.saved_lease(now + Duration::from_secs(100), Some(WALL)).unwrap();
    assert_eq!(saved.granted_at, Some(WALL.0 - 100));
    let mut client = restarted(Some(saved), Some(WALL.0 + 50));
    let (now, request) = next_transmit(&mut client);
    client.handle_datagram(now, &answer(&request, ACK, ADDRESS, SERVER, &lease_options(1000))).unwrap();
    assert_eq!(client.configuration(), None);
    client.handle_address_free(now, ADDRESS);
    assert!(matches!(events(&mut client)[..], [Event::Probe { .. }, Event::Bound(_)]));
    assert_eq!(client.phase(), Phase::Bound);
}

#[test]
fn restart_without_a_server_uses_what_is_left() {
    let (client, now) = bound(1000);
    let saved = client.saved_lease(now, Some(WALL)).unwrap();
    let mut client = restarted(Some(saved), Some(WALL.0 + 400));
    silence(&mut client);
    assert_eq!(events(&mut client), [Event::Probe { address: ADDRESS }]);
    client.handle_address_free(client.now, ADDRESS);
    assert!(matches!(events(&mut client)[..], [Event::Bound(_)]));
    let left = client.expires().unwrap().saturating_since(at(5));
    assert_eq!(left, Duration::from_secs(599));
    assert_eq!(kind(&next_transmit(&mut client).1), DISCOVER);
    client.handle_timeout(client.expires().unwrap());
    assert_eq!(events(&mut client), [Event::Lost { why: Lost::Expired }]);
}

#[test]
fn age_that_cannot_be_known_waits_for_a_server() {
    let (client, now) = bound(1000);
    let plausible = client.saved_lease(now, Some(WALL)).unwrap();
    let timeless = client.saved_lease(now, None).unwrap();
    assert_eq!(timeless.granted_at, None);
    for (saved, wall) in [(&plausible, None), (&plausible, Some(WALL.0 - 1)), (&timeless, Some(WALL.0))] {
        let mut client = restarted(Some(saved.clone()), wall);
        silence(&mut client);
        assert_eq!((events(&mut client), client.configuration()), (vec![], None));
        let (_, discover) = next_transmit(&mut client);
        assert_eq!(kind(&discover), DISCOVER);
        assert_eq!(option(&discover.octets, 50).unwrap(), ADDRESS.octets());
    }
}

#[test]
fn records_that_are_no_use() {
    let (client, now) = bound(1000);
    let saved = client.saved_lease(now, Some(WALL)).unwrap();
    let expired = restarted(Some(saved.clone()), Some(WALL.0 + 1000));
    assert_eq!(expired.phase(), Phase::Init);
    let other_box = SavedLease { hardware_address: [2, 0, 0, 0, 0, 1], ..saved.clone() };
    assert_eq!(restarted(Some(other_box), Some(WALL.0)).phase(), Phase::Init);
    let mut spoilt = saved.clone();
    spoilt.configuration.address = "127.0.0.1/8".parse().unwrap();
    assert_eq!(restarted(Some(spoilt), Some(WALL.0)).phase(), Phase::Init);
    let far = SavedLease { granted_at: Some(i64::MIN), ..saved };
    assert_eq!(restarted(Some(far), Some(i64::MAX)).phase(), Phase::Init);
}

#[test]
fn message_of_before_the_loss_of_the_link_is_not_sent() {
    let mut client = client();
    client.handle_link(at(0), true);
    client.handle_timeout(client.poll_timeout().unwrap());
    assert_eq!(client.phase(), Phase::Selecting);
    client.handle_link(at(2), false);
    assert_eq!(client.poll_transmit(), None);
}

#[test]
fn time_that_goes_back_is_not_believed() {
    let (mut client, start) = bound(1000);
    let end = start + Duration::from_secs(1000);
    client.handle_link(end, false);
    assert_eq!(events(&mut client), [Event::Lost { why: Lost::Expired }]);
    client.handle_link(start, true);
    assert!(client.poll_timeout().unwrap() >= end);
}
