//! How the NAT in front of this machine behaves. Read RFC 5780 §3 and §4 first; the words are those of RFC 4787 §4 and §5.
//!
//! The order matters: a question to another endpoint of the reflector opens a filter towards it. So filtering is asked for
//! first, from a socket that has spoken to one endpoint only; and mapping from another socket, since some NATs keep the
//! answers that they refused in mind and give the port another mapping for it.

use std::io;
use std::net::{SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::client::{AskError, Client, Question, own_address, receive, socket};
use super::random;
use super::stun::{self, Class, Message, Writer};

/// A kind of mapping (RFC 4787 §4.1) or of filtering (§5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// The same for every remote endpoint.
    EndpointIndependent,
    /// It depends on the remote address.
    AddressDependent,
    /// It depends on the remote address and port.
    AddressAndPortDependent,
}

impl Kind {
    /// The RFC's word.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::EndpointIndependent => "endpoint-independent",
            Kind::AddressDependent => "address-dependent",
            Kind::AddressAndPortDependent => "address-and-port-dependent",
        }
    }
}

const ALL: [Kind; 3] = [Kind::EndpointIndependent, Kind::AddressDependent, Kind::AddressAndPortDependent];

/// What was seen of a NAT.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Behavior {
    /// An endpoint of this machine.
    pub(crate) internal: SocketAddrV4,
    /// The same as the reflector saw it.
    pub(crate) external: SocketAddrV4,
    /// They differ.
    pub(crate) translated: bool,
    /// The kinds of mapping that agree with what was seen: one, if the reflector has two addresses.
    pub(crate) mapping: Vec<Kind>,
    /// The kinds of filtering that agree with what was seen.
    pub(crate) filtering: Vec<Kind>,
    /// The external port is the internal one.
    pub(crate) port_preserved: bool,
    /// From one mapping to the next of the same socket the port grows by this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) port_step: Option<i32>,
    /// Whether a datagram to the external endpoint of another socket of this machine comes back in (RFC 4787 §6);
    /// `None` when that cannot be told, since there is no NAT or none with one mapping for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hairpin: Option<bool>,
    /// The reflector has another address, so that all kinds can be told apart.
    pub(crate) two_addresses: bool,
}

/// Asks everything, over UDP.
///
/// # Errors
/// When there are no sockets, or the reflector went silent meanwhile.
pub(crate) fn discover(client: &mut Client) -> Result<Behavior, AskError> {
    let server = client.server;
    let silent = || AskError::Silent(server);
    let others = others(server, client);

    let fresh = socket()?;
    let whom = Question::who_am_i(server);
    client.ask(&fresh, &[whom])?[0].ok_or_else(silent)?;
    // Filtering tests II and III of RFC 5780 §4.4. Neither opens anything for the other.
    let elsewhere = match others.address {
        Some(_) => vec![
            whom.answered_from(stun::CHANGE_ADDRESS | stun::CHANGE_PORT),
            whom.answered_from(stun::CHANGE_PORT),
        ],
        None => vec![whom.answered_from(stun::CHANGE_PORT)],
    };
    let answers = client.ask(&fresh, &elsewhere)?;
    let came: Vec<bool> = answers.iter().map(Option::is_some).collect();
    let filtering = judge_filtering(&came);

    // Mapping tests I to III of §4.3, one after the other as their ports may tell in what steps they grow.
    let one = socket()?;
    let mut mapped = Vec::new();
    for to in [Some(server), others.address, Some(others.port)].into_iter().flatten() {
        mapped.push(client.ask(&one, &[Question::who_am_i(to)])?[0].map(|reply| reply.mapped));
    }
    let external = mapped[0].ok_or_else(silent)?;
    let mapping = judge_mapping(&mapped);
    let internal = SocketAddrV4::new(own_address(server)?, port_of(&one)?);
    let translated = internal != external;
    let hairpin = match translated && mapping.contains(&Kind::EndpointIndependent) {
        true => hairpin(client, &one, external)?,
        false => None,
    };
    Ok(Behavior {
        internal,
        external,
        translated,
        port_preserved: internal.port() == external.port(),
        port_step: step(&mapped),
        mapping,
        filtering,
        hairpin,
        two_addresses: others.address.is_some(),
    })
}

/// Where else a reflector is.
struct Others {
    /// Its other address, at its first port.
    address: Option<SocketAddrV4>,
    /// Its other port, at the other address if there is one.
    port: SocketAddrV4,
}

fn others(server: SocketAddrV4, client: &Client) -> Others {
    match client.first.other {
        Some(other) => Others { address: Some(SocketAddrV4::new(*other.ip(), server.port())), port: other },
        None => {
            let port = client.first.other_port.unwrap_or(server.port().wrapping_add(1));
            Others { address: None, port: SocketAddrV4::new(*server.ip(), port) }
        }
    }
}

/// `came`: the answer from another address and port, if there is another address; the answer from another port.
fn judge_filtering(came: &[bool]) -> Vec<Kind> {
    match came {
        [true, _] => vec![Kind::EndpointIndependent],
        [false, true] => vec![Kind::AddressDependent],
        [true] => vec![Kind::EndpointIndependent, Kind::AddressDependent],
        _ => vec![Kind::AddressAndPortDependent],
    }
}

/// `mapped`: the external endpoint as seen at the first address and port, at another address if there is one, and at
/// another port there.
fn judge_mapping(mapped: &[Option<SocketAddrV4>]) -> Vec<Kind> {
    match mapped {
        [Some(one), Some(two), _] if one == two => vec![Kind::EndpointIndependent],
        [Some(_), Some(two), Some(three)] if two == three => vec![Kind::AddressDependent],
        [Some(_), Some(_), Some(_)] => vec![Kind::AddressAndPortDependent],
        [Some(one), Some(two)] if one == two => vec![Kind::EndpointIndependent, Kind::AddressDependent],
        [Some(_), Some(_)] => vec![Kind::AddressAndPortDependent],
        _ => ALL.to_vec(),
    }
}

/// By how much ports grow, if they do so evenly and by little: then a peer can foresee the next.
fn step(mapped: &[Option<SocketAddrV4>]) -> Option<i32> {
    let [Some(one), Some(two), Some(three)] = mapped else { return None };
    let [one, two, three] = [one, two, three].map(|endpoint| i32::from(endpoint.port()));
    let step = two - one;
    (step == three - two && step != 0 && step.abs() <= 16).then_some(step)
}

/// Sends datagrams between two sockets of this machine by their external endpoints. Both send, so that both filters are
/// open.
fn hairpin(client: &mut Client, one: &UdpSocket, external: SocketAddrV4) -> Result<Option<bool>, AskError> {
    let two = socket()?;
    let Some(reply) = client.ask(&two, &[Question::who_am_i(client.server)])?[0] else { return Ok(None) };
    let transaction = random()?;
    let datagram = Writer::new(Class::Indication, stun::BINDING, &transaction).finish();
    let (interval, times) = client.patience();
    let begun = Instant::now();
    for time in 1..=times {
        // An error tells as much as no answer.
        let _ = one.send_to(&datagram, reply.mapped);
        let _ = two.send_to(&datagram, external);
        let deadline = begun + interval * time;
        while Instant::now() < deadline {
            for socket in [one, &two] {
                let soon = Instant::now() + Duration::from_millis(10);
                let mut room = [0; stun::LONGEST];
                let came = receive(socket, soon.min(deadline), &mut room)?.and_then(Message::parse);
                if came.is_some_and(|message| message.transaction == transaction) {
                    return Ok(Some(true));
                }
            }
        }
    }
    Ok(Some(false))
}

fn port_of(socket: &UdpSocket) -> io::Result<u16> {
    Ok(socket.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::Kind::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
    use super::*;

    fn mapped(ports: &[u16]) -> Vec<Option<SocketAddrV4>> {
        let endpoint = |port: &u16| format!("203.0.113.1:{port}").parse().expect("an endpoint");
        ports.iter().map(|port| Some(endpoint(port)).filter(|_| *port != 0)).collect()
    }

    #[test]
    fn mappings_are_judged_as_the_rfc_says() {
        for (ports, kinds) in [
            (&[5, 5, 5][..], &[EndpointIndependent][..]),
            (&[5, 6, 6], &[AddressDependent]),
            (&[5, 6, 7], &[AddressAndPortDependent]),
            (&[5, 5], &[EndpointIndependent, AddressDependent]),
            (&[5, 6], &[AddressAndPortDependent]),
            (&[5, 0, 5], &ALL),
            (&[5, 0], &ALL),
        ] {
            assert_eq!(judge_mapping(&mapped(ports)), kinds, "{ports:?}");
        }
    }

    #[test]
    fn filters_are_judged_as_the_rfc_says() {
        for (came, kinds) in [
            (&[true, true][..], &[EndpointIndependent][..]),
            (&[true, false], &[EndpointIndependent]),
            (&[false, true], &[AddressDependent]),
            (&[false, false], &[AddressAndPortDependent]),
            (&[true], &[EndpointIndependent, AddressDependent]),
            (&[false], &[AddressAndPortDependent]),
        ] {
            assert_eq!(judge_filtering(came), kinds, "{came:?}");
        }
    }

    #[test]
    fn ports_that_grow_evenly_can_be_foreseen() {
        let steps =
            [[5, 6, 7], [9, 7, 5], [5, 5, 5], [5, 6, 8], [5, 105, 205]].map(|ports| step(&mapped(&ports)));
        assert_eq!(steps, [Some(1), Some(-2), None, None, None]);
    }
}
