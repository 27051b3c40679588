//! What a packet worker can answer itself: names that are known here and now, while few ask.
//!
//! A lone query would otherwise wait for two threads to be woken, which costs many times the answer and, on a CPU that
//! sleeps deeply or is another's, milliseconds now and then. Where many ask at once their answers are the service's
//! thread's work, so that packets do not wait for them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use genkan_engine::local_datagram::{LocalDatagram, LocalSend, Service};
use genkan_engine::{PortId, Timestamp};
use genkan_services::dns::{Client, ClientTransport, Forwarder};

/// The forwarder, shared by its thread and the packet workers.
#[derive(Debug)]
pub(crate) struct Desk {
    /// Not before the service's thread has begun.
    state: OnceLock<Mutex<State>>,
    started: Instant,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) forwarder: Forwarder,
    /// Where queries are answered: nowhere, when there are none.
    pub(super) addresses: Vec<Ipv4Addr>,
}

impl State {
    /// Whose query it is, if it is one for us.
    pub(super) fn client(&self, datagram: &LocalDatagram) -> Option<Client> {
        let own = self.addresses.iter().position(|address| address == datagram.destination.ip())?;
        let lan = datagram.port.lan_index()?;
        // So many lans there are at most (PortId).
        let mark = (lan as u32) << 16 | own as u32;
        Some(Client { address: SocketAddr::V4(datagram.source), transport: ClientTransport::Udp, mark })
    }

    /// The reply on its way to such a client.
    pub(super) fn reply(&self, client: Client, octets: Vec<u8>) -> Option<LocalSend> {
        let (lan, own) = (client.mark >> 16, client.mark & 0xffff);
        let (Some(source), SocketAddr::V4(destination)) = (self.addresses.get(own as usize), client.address)
        else {
            return None;
        };
        Some(LocalSend {
            service: Service::Dns,
            port: PortId::lan(lan as usize),
            source: *source,
            destination,
            to: None,
            payload: octets,
        })
    }
}

impl Desk {
    /// Nobody is there yet.
    pub(crate) fn new() -> Desk {
        Desk { state: OnceLock::new(), started: Instant::now() }
    }

    /// The service's thread has begun.
    pub(super) fn open(&self, forwarder: Forwarder) {
        // There is one such thread, which begins once.
        let _ = self.state.set(Mutex::new(State { forwarder, addresses: Vec::new() }));
    }

    /// For the service's thread, once it has opened. A worker holds it for one answer only.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        let state = self.state.get().expect("it is opened before the service runs");
        state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The forwarder's clock.
    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_nanos(u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// When that is.
    pub(super) fn instant(&self, at: Timestamp) -> Instant {
        self.started + Duration::from_nanos(at.as_nanos())
    }

    /// For a packet worker: the reply to a query, if it is known here and now and nobody else is at the forwarder, which
    /// is not waited for. Otherwise the query is for the service's thread.
    pub(crate) fn answer(&self, datagram: &LocalDatagram) -> Option<LocalSend> {
        let mut state = self.state.get()?.try_lock().ok()?;
        let client = state.client(datagram)?;
        let octets = state.forwarder.known_reply(self.now(), client, &datagram.payload)?;
        state.reply(client, octets)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV4;

    use genkan_engine::wire::ethernet::MacAddr;
    use genkan_services::dns::Settings;

    use super::*;

    const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 1);

    /// A query for the address of `label`, in the second lan.
    fn query(label: &str, to: Ipv4Addr) -> LocalDatagram {
        let mut payload = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0".to_vec();
        payload.push(label.len() as u8);
        payload.extend(label.bytes());
        payload.extend(b"\0\0\x01\0\x01");
        LocalDatagram {
            service: Service::Dns,
            port: PortId::lan(1),
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
            source: SocketAddrV4::new(Ipv4Addr::new(192, 168, 0, 20), 4_000),
            destination: SocketAddrV4::new(to, 53),
            payload,
        }
    }

    #[test]
    fn what_is_known_is_answered_by_whoever_is_there() {
        let desk = Desk::new();
        assert_eq!(desk.answer(&query("nas", ROUTER)), None, "nobody is there yet");
        let mut forwarder = Forwarder::new(&Settings::default(), 1).expect("good settings");
        forwarder.set_hosts(&[("nas".to_owned(), vec!["192.168.0.10".parse().expect("an address")])]);
        desk.open(forwarder);
        assert_eq!(desk.answer(&query("nas", ROUTER)), None, "it is off");
        desk.state().addresses = vec![Ipv4Addr::new(10, 0, 0, 1), ROUTER];

        let asked = query("nas", ROUTER);
        let reply = desk.answer(&asked).expect("it is known");
        assert_eq!((reply.service, reply.port, reply.source), (Service::Dns, asked.port, ROUTER));
        assert_eq!((reply.destination, reply.to), (asked.source, None));
        assert_eq!(reply.payload[..2], asked.payload[..2]);
        assert!(reply.payload.ends_with(&[192, 168, 0, 10]), "{:?}", reply.payload);

        assert_eq!(desk.answer(&query("nas", Ipv4Addr::new(192, 168, 7, 1))), None, "no address of ours");
        assert_eq!(desk.answer(&query("example", ROUTER)).map(|reply| reply.payload[3] & 15), Some(3));
        let mut other = query("nas", ROUTER);
        other.payload.truncate(11);
        assert_eq!(desk.answer(&other), None, "what is malformed is counted by the service");
        let _busy = desk.state();
        assert_eq!(desk.answer(&asked), None, "it does not wait");
    }
}
