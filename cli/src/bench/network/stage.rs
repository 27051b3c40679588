//! One contender between two hosts: what each measurement is made on.
//!
//! ```text
//!   sender (lan host) --veth-- contender --veth-- receiver (wan host)
//! ```

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use genkan_io::device::switch_features;
use genkan_lab::topology::Role;
use genkan_lab::{Namespace, Options, Topology, capture};

use super::contender::{Contender, Room, Running};
use super::counter::Reading;
use super::load::flow::{FlowFrames, REMOTE_PORT};
use super::load::{echo, tcp};
use super::program;
use crate::output::Failure;

/// The hosts' only device.
pub(crate) const DEVICE: &str = "eth0";

/// How long the way through the router may take to open (address resolution, links coming up).
const PATIENCE: Duration = Duration::from_secs(5);

/// Features of a host's device without which it sends and takes packets of the MTU only. As `ethtool -K tso off gso off`
/// does it, that for IPv6 is among them: while a veth has any TSO left, the kernel takes its packets past the GRO of the
/// other end, which is what a tuned kernel's ports and Genkan's have on.
const OFFLOADS: [&str; 7] = [
    "tx-tcp-segmentation",
    "tx-tcp6-segmentation",
    "tx-tcp-ecn-segmentation",
    "tx-tcp-mangleid-segmentation",
    "tx-generic-segmentation",
    "tx-udp-segmentation",
    "rx-gro",
];

/// The feature of a host's device without which its kernel cuts datagrams that were handed over at once.
const CUTTING: [&str; 1] = ["tx-udp-segmentation"];

/// Features of the hosts' devices as they were: the sender's and the receiver's.
#[derive(Debug)]
pub(crate) struct Offloads([Vec<(String, bool)>; 2]);

/// Whither a load goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the lan host to the wan host.
    Out,
    /// From the wan host to the router's address, where a forward leads to the lan host.
    In,
}

/// A contender and its hosts, ready to be loaded.
#[derive(Debug)]
pub(crate) struct Stage {
    // In the order in which they must end.
    tcp_out: Option<tcp::Receiver>,
    tcp_in: Option<tcp::Receiver>,
    #[allow(dead_code, reason = "it lives as long as the stage")]
    echo: echo::Server,
    /// The contender.
    pub(crate) running: Running,
    /// The host on the lan.
    pub(crate) sender: Namespace,
    /// The host on the wan.
    pub(crate) receiver: Namespace,
    /// Their network.
    pub(crate) lab: Topology,
    gateway: [u8; 6],
    own: [u8; 6],
}

impl Stage {
    /// Builds namespaces whose names begin with `prefix`, puts `contender` into the router's place, and waits until
    /// packets pass.
    ///
    /// # Errors
    /// When something of it cannot be made, or nothing passes.
    pub(crate) fn build(prefix: &str, contender: Contender, room: Room) -> Result<Stage, Failure> {
        let lab = Topology::up(prefix, &Options { hosts: 1, ..Options::default() })?;
        let directory = PathBuf::from("/run/genkan-bench").join(prefix);
        let running = Running::start(contender, &lab, &directory, room)?;
        let (sender, receiver) = (lab.namespace(Role::Nas)?, lab.namespace(Role::Isp)?);
        discard(&receiver)?;
        let echo = echo::Server::start(&receiver)?;
        if !opens(&sender, lab.addresses.isp)? {
            let said = running.log();
            return Err(Failure::message(format!("nothing passes the router. It said: {}", said.trim())));
        }
        let gateway = sender.run(|| neighbor(lab.addresses.lan))?;
        let own = sender.run(|| capture::interface(DEVICE))?.mac.map(|mac| mac.octets());
        let own = own.ok_or_else(|| Failure::message("the lan host's device has no MAC address"))?;
        Ok(Stage { tcp_out: None, tcp_in: None, echo, running, sender, receiver, lab, gateway, own })
    }

    /// Frames of `size` octets on the wire for this stage.
    pub(crate) fn frames(&self, size: usize) -> FlowFrames {
        FlowFrames::new(size, self.lab.addresses.lan, self.own, self.gateway)
    }

    /// Super-frames for this stage that are cut into so many frames of `size` octets on the wire.
    pub(crate) fn bursts(&self, datagrams: usize, size: usize) -> FlowFrames {
        FlowFrames::of_datagrams(datagrams, size, self.lab.addresses.lan, self.own, self.gateway)
    }

    /// What has arrived at the receiver.
    ///
    /// # Errors
    /// When its counters cannot be read.
    pub(crate) fn received(&self) -> io::Result<Reading> {
        Reading::take(&self.receiver, DEVICE)
    }

    /// What has arrived when nothing is under way any more.
    ///
    /// # Errors
    /// When its counters cannot be read.
    pub(crate) fn settled(&self) -> io::Result<Reading> {
        Reading::settled(&self.receiver, DEVICE)
    }

    /// Bits per second through TCP, out of the lan or in through a port forward.
    ///
    /// # Errors
    /// When there is no connection.
    pub(crate) fn tcp(&mut self, way: Way, streams: usize, length: Duration) -> Result<f64, Failure> {
        let (from, at, to, receiver) = match way {
            Way::Out => (&self.sender, &self.receiver, self.lab.addresses.isp, &mut self.tcp_out),
            Way::In => (&self.receiver, &self.sender, self.lab.addresses.wan, &mut self.tcp_in),
        };
        let there = match receiver.take() {
            Some(there) => there,
            None => tcp::Receiver::start(at)?,
        };
        Ok(receiver.insert(there).measure(from, to, streams, length)?)
    }

    /// What the sender's device has sent.
    ///
    /// # Errors
    /// When its counters cannot be read.
    pub(crate) fn sent(&self) -> io::Result<Reading> {
        Reading::sent(&self.sender, DEVICE)
    }

    /// Has the sender's kernel cut datagrams that are handed over at once, so that they leave one by one: its device
    /// does not take them on, as with most network cards.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn cut_bursts(&self) -> Result<Offloads, Failure> {
        let wanted = CUTTING.map(|name| (name.to_owned(), false));
        Ok(Offloads([self.sender.run(|| switch_features(DEVICE, &wanted))?, Vec::new()]))
    }

    /// Switches the hosts' offloads off.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn offloads_off(&self) -> Result<Offloads, Failure> {
        let wanted = OFFLOADS.map(|name| (name.to_owned(), false));
        let off = |host: &Namespace| host.run(|| switch_features(DEVICE, &wanted));
        Ok(Offloads([off(&self.sender)?, off(&self.receiver)?]))
    }

    /// Puts the hosts' offloads back.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn restore(&self, offloads: &Offloads) -> Result<(), Failure> {
        for (host, before) in [&self.sender, &self.receiver].into_iter().zip(&offloads.0) {
            host.run(|| switch_features(DEVICE, before))?;
        }
        Ok(())
    }
}

/// The datagrams of the loads end at the device: the receiving host's own work is not what is measured.
fn discard(host: &Namespace) -> Result<(), Failure> {
    let rules = format!(
        "table netdev bench {{\n chain ingress {{\n type filter hook ingress device {DEVICE} priority 0\n \
         udp dport {REMOTE_PORT} drop\n }}\n }}\n"
    );
    program::output(Some(host), "nft", Command::new("nft").arg(rules))?;
    Ok(())
}

/// Asks the echo server until it answers; whether it has.
fn opens(host: &Namespace, to: Ipv4Addr) -> io::Result<bool> {
    let socket = host.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))?;
    socket.connect(SocketAddrV4::new(to, echo::PORT))?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        // Refused while a link comes up.
        let _ = socket.send(b"open");
        if socket.recv(&mut [0; 16]).is_ok() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The MAC address of a neighbour of this thread's namespace.
fn neighbor(address: Ipv4Addr) -> io::Result<[u8; 6]> {
    let table = fs::read_to_string("/proc/thread-self/net/arp")?;
    let line = table.lines().find(|line| line.split_ascii_whitespace().next() == Some(&address.to_string()));
    let mac = line.and_then(|line| parse_mac(line.split_ascii_whitespace().nth(3)?));
    mac.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{address} has no MAC address")))
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let octets: Vec<u8> =
        text.split(':').map(|octet| u8::from_str_radix(octet, 16)).collect::<Result<_, _>>().ok()?;
    octets.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_without_offloads_have_no_kind_of_tso() {
        // NETIF_F_ALL_TSO of the kernel.
        for kind in ["tcp", "tcp-ecn", "tcp-mangleid", "tcp6"] {
            let feature = format!("tx-{kind}-segmentation");
            assert!(OFFLOADS.contains(&feature.as_str()), "{feature}");
        }
    }

    #[test]
    fn mac_addresses() {
        assert_eq!(parse_mac("02:00:5e:10:ff:0a"), Some([2, 0, 0x5e, 0x10, 0xff, 0x0a]));
        assert_eq!(parse_mac("02:00:5e:10:ff"), None);
        assert_eq!(parse_mac("incomplete"), None);
    }
}
