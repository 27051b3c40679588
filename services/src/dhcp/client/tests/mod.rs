use super::*;

mod answers;
mod life;
mod properties;
mod restart;

pub(super) const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 254);
pub(super) const OTHER_SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 253);
pub(super) const ADDRESS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

pub(super) const DISCOVER: u8 = 1;
pub(super) const OFFER: u8 = 2;
pub(super) const REQUEST: u8 = 3;
pub(super) const DECLINE: u8 = 4;
pub(super) const ACK: u8 = 5;
pub(super) const NAK: u8 = 6;
pub(super) const RELEASE: u8 = 7;

pub(super) fn config() -> Config {
    Config {
        hardware_address: MAC,
        client_identifier: ClientIdentifier::HardwareAddress,
        host_name: Some("genkan".into()),
        vendor_class: None,
    }
}

pub(super) fn client() -> Client {
    Client::new(config(), None, 7, Timestamp::ZERO, None).unwrap()
}

pub(super) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_secs(seconds)
}

/// The first value of an option of a message.
pub(super) fn option(octets: &[u8], code: u8) -> Option<Vec<u8>> {
    let mut options = &octets[240..];
    while let [found, length, rest @ ..] = options {
        if *found == 255 {
            return None;
        }
        let (value, rest) = rest.split_at((*length).into());
        if *found == code {
            return Some(value.to_vec());
        }
        options = rest;
    }
    None
}

pub(super) fn kind(transmit: &Transmit) -> u8 {
    option(&transmit.octets, 53).unwrap()[0]
}

pub(super) fn xid(transmit: &Transmit) -> [u8; 4] {
    transmit.octets[4..8].try_into().unwrap()
}

/// What an honest server says about a lease of `seconds`.
pub(super) fn lease_options(seconds: u32) -> Vec<(u8, Vec<u8>)> {
    vec![
        (51, seconds.to_be_bytes().to_vec()),
        (1, vec![255, 255, 255, 0]),
        (3, SERVER.octets().to_vec()),
        (6, vec![192, 0, 2, 53]),
    ]
}

/// An answer to a request: the header of it turned round, type, server identifier and options.
pub(super) fn answer(
    request: &Transmit,
    kind: u8,
    address: Ipv4Addr,
    server: Ipv4Addr,
    options: &[(u8, Vec<u8>)],
) -> Vec<u8> {
    let mut octets = request.octets[..240].to_vec();
    octets[0] = 2;
    octets[16..20].copy_from_slice(&address.octets());
    octets.extend_from_slice(&[53, 1, kind, 54, 4]);
    octets.extend_from_slice(&server.octets());
    for (code, value) in options {
        octets.extend_from_slice(&[*code, value.len() as u8]);
        octets.extend_from_slice(value);
    }
    octets.push(255);
    octets
}

pub(super) fn events(client: &mut Client) -> Vec<Event> {
    std::iter::from_fn(|| client.poll_event()).collect()
}

/// Lets time pass until the client sends.
pub(super) fn next_transmit(client: &mut Client) -> (Timestamp, Transmit) {
    for _ in 0..10 {
        if let Some(transmit) = client.poll_transmit() {
            return (client.now, transmit);
        }
        let at = client.poll_timeout().expect("a silent client waits for something");
        client.handle_timeout(at);
    }
    panic!("nothing sent in {:?}", client.phase());
}

/// A client with a lease of `seconds` for ADDRESS, requested and bound at the same time, which is returned.
pub(super) fn bound(seconds: u32) -> (Client, Timestamp) {
    bound_with(&lease_options(seconds))
}

pub(super) fn bound_with(options: &[(u8, Vec<u8>)]) -> (Client, Timestamp) {
    let mut client = client();
    client.handle_link(at(1), true);
    let now = bind(&mut client, ADDRESS, options);
    assert!(matches!(events(&mut client)[..], [Event::Probe { .. }, Event::Bound(_)]));
    (client, now)
}

/// From DHCPDISCOVER to a free address.
pub(super) fn bind(client: &mut Client, address: Ipv4Addr, options: &[(u8, Vec<u8>)]) -> Timestamp {
    let (now, discover) = next_transmit(client);
    assert_eq!(kind(&discover), DISCOVER);
    client.handle_datagram(now, &answer(&discover, OFFER, address, SERVER, options)).unwrap();
    let (now, request) = next_transmit(client);
    assert_eq!(kind(&request), REQUEST);
    client.handle_datagram(now, &answer(&request, ACK, address, SERVER, options)).unwrap();
    client.handle_address_free(now, address);
    assert_eq!(client.phase(), Phase::Bound);
    now
}
