//! One side of the device: any number of hosts behind one packet socket. They answer ARP and do nothing else by
//! themselves, as no kernel stands behind their addresses.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use genkan_lab::{Namespace, capture};
use pnet_datalink::{DataLinkReceiver, DataLinkSender};

use super::packet::Packet;

/// How long something that is to come may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

const IPV4: [u8; 2] = [0x08, 0x00];
const ARP: [u8; 2] = [0x08, 0x06];
const ARP_REQUEST: u8 = 1;
const ARP_REPLY: u8 = 2;

type Mac = [u8; 6];

/// Packets that came for one address, oldest first.
#[derive(Default)]
struct Inbox {
    packets: Mutex<VecDeque<Packet>>,
    more: Condvar,
}

/// What the listener and the hosts share.
struct Shared {
    sender: Mutex<Box<dyn DataLinkSender>>,
    inboxes: Mutex<HashMap<Ipv4Addr, (Mac, Arc<Inbox>)>>,
    /// The device's MAC address, once it has answered.
    device: Mutex<Option<Mac>>,
    ending: AtomicBool,
}

/// A side of the device, with its hosts.
pub(crate) struct Wire {
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
    /// The device on this side.
    device: Ipv4Addr,
    /// The router behind which the hosts live, if they do not stand on the link themselves.
    gateway: Option<(Ipv4Addr, Mac)>,
}

/// A host: an address that sends and receives.
pub(crate) struct Host {
    pub(crate) address: Ipv4Addr,
    shared: Arc<Shared>,
    inbox: Arc<Inbox>,
    mac: Mac,
}

impl Wire {
    /// Listens at a network device of a namespace. The device under test has the address `device` there. With a
    /// gateway all hosts are behind it; without, each stands on the link.
    pub(crate) fn open(
        namespace: &Namespace,
        name: &str,
        device: Ipv4Addr,
        gateway: Option<Ipv4Addr>,
    ) -> io::Result<Wire> {
        let (sender, receiver) = namespace.run(|| capture::open_for_others(name))?;
        let shared = Arc::new(Shared {
            sender: Mutex::new(sender),
            inboxes: Mutex::default(),
            device: Mutex::default(),
            ending: AtomicBool::new(false),
        });
        let listening = Arc::clone(&shared);
        let listener = std::thread::spawn(move || listening.listen(receiver));
        let gateway = gateway.map(|address| (address, mac_of(address)));
        Ok(Wire { shared, listener: Some(listener), device, gateway })
    }

    /// A host with this address. It asks for the device's MAC address, as hosts do before they send; so each side
    /// knows the other.
    ///
    /// # Errors
    /// When the device does not answer.
    pub(crate) fn host(&self, address: Ipv4Addr) -> io::Result<Host> {
        let inbox = Arc::<Inbox>::default();
        let (asking, mac) = self.gateway.unwrap_or((address, mac_of(address)));
        let mut inboxes = lock(&self.shared.inboxes);
        inboxes.insert(address, (mac, Arc::clone(&inbox)));
        if self.gateway.is_some() {
            inboxes.entry(asking).or_insert_with(|| (mac, Arc::default()));
        }
        drop(inboxes);
        let host = Host { address, shared: Arc::clone(&self.shared), inbox, mac };
        let deadline = Instant::now() + PATIENCE;
        let known = self.gateway.is_some() && lock(&self.shared.device).is_some();
        if !known {
            self.shared.send_frame(&arp(ARP_REQUEST, mac, asking, [0xff; 6], self.device));
        }
        while lock(&self.shared.device).is_none() {
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("the device does not answer ARP for {}", self.device)));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(host)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::Release);
        if let Some(listener) = self.listener.take() {
            // It has nothing to say.
            let _ = listener.join();
        }
    }
}

impl Host {
    /// Sends a packet to the device.
    pub(crate) fn send(&self, packet: &Packet) {
        let device = lock(&self.shared.device).unwrap_or([0xff; 6]);
        let frame = [&device[..], &self.mac[..], &IPV4[..], &packet.to_bytes()].concat();
        self.shared.send_frame(&frame);
    }

    /// The first packet that is `wanted`, if it comes within [`PATIENCE`]. It is taken out; others stay.
    pub(crate) fn wait(&self, wanted: impl Fn(&Packet) -> bool) -> Option<Packet> {
        let deadline = Instant::now() + PATIENCE;
        let mut packets = lock(&self.inbox.packets);
        loop {
            if let Some(at) = packets.iter().position(&wanted) {
                return packets.remove(at);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            packets = self.inbox.more.wait_timeout(packets, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The first packet that is `wanted` among those that are there already. It is taken out.
    pub(crate) fn take(&self, wanted: impl Fn(&Packet) -> bool) -> Option<Packet> {
        let mut packets = lock(&self.inbox.packets);
        let at = packets.iter().position(wanted)?;
        packets.remove(at)
    }
}

impl Shared {
    fn send_frame(&self, frame: &[u8]) {
        // A frame that the kernel does not take is one that does not arrive; the probe sees that.
        let _ = lock(&self.sender).send_to(frame, None);
    }

    fn listen(&self, mut receiver: Box<dyn DataLinkReceiver>) {
        while !self.ending.load(Ordering::Acquire) {
            // Nothing came for a while: an error as well.
            let Ok(frame) = receiver.next() else { continue };
            let (Some(header), Some(body)) = (frame.get(..14), frame.get(14..)) else { continue };
            match [header[12], header[13]] {
                ARP => self.arp(body),
                IPV4 => self.deliver(&header[..6], body),
                _ => {}
            }
        }
    }

    fn deliver(&self, to: &[u8], body: &[u8]) {
        let Some(packet) = Packet::from_bytes(body) else { return };
        let inboxes = lock(&self.inboxes);
        let Some((_, inbox)) = inboxes.get(&packet.destination).filter(|(mac, _)| mac == to) else { return };
        lock(&inbox.packets).push_back(packet);
        inbox.more.notify_all();
    }

    /// RFC 826, for our addresses.
    fn arp(&self, body: &[u8]) {
        let Some(&[operation, ref rest @ ..]) = body.get(7..28) else { return };
        let address = |at: usize| Ipv4Addr::new(rest[at], rest[at + 1], rest[at + 2], rest[at + 3]);
        let sender_mac: Mac = [rest[0], rest[1], rest[2], rest[3], rest[4], rest[5]];
        let (sender, target) = (address(6), address(16));
        let Some(mac) = lock(&self.inboxes).get(&target).map(|(mac, _)| *mac) else { return };
        match operation {
            ARP_REQUEST => self.send_frame(&arp(ARP_REPLY, mac, target, sender_mac, sender)),
            ARP_REPLY => *lock(&self.device) = Some(sender_mac),
            _ => {}
        }
    }
}

fn arp(operation: u8, mac: Mac, address: Ipv4Addr, to_mac: Mac, to: Ipv4Addr) -> Vec<u8> {
    let fixed = [0, 1, 0x08, 0, 6, 4, 0, operation];
    let asked = if operation == ARP_REQUEST { [0; 6] } else { to_mac };
    let parts = [&to_mac[..], &mac, &ARP, &fixed, &mac, &address.octets(), &asked, &to.octets(), &[0; 18]];
    parts.concat()
}

/// A locally administered MAC address for each IPv4 address.
fn mac_of(address: Ipv4Addr) -> Mac {
    let [a, b, c, d] = address.octets();
    [2, 0, a, b, c, d]
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
