//! Looking at a lab: what arrived where, what was dropped and counted, and the dump of a failed test.

use std::fmt::Write as _;
use std::net::SocketAddrV4;

use genkan_engine::view::{MappingView, SessionView};
use genkan_engine::wire::ipv4::Protocol;
use genkan_engine::{Counters, DropReason, Event, PortId, Verdict};

use super::craft::tcp;
use super::{Arp, Flags, Frame, Host, Lab, Packet, Received, text, trace};

impl Lab {
    /// Takes the oldest packet that reached a machine and was not looked at.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn receive(&mut self, host: Host) -> Packet {
        self.receive_whole(host).packet
    }

    /// [`Lab::receive`] with the time of arrival and what was left for a device to finish.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn receive_whole(&mut self, host: Host) -> Received {
        let received = self.machine(host).inbox.pop_front();
        let Some(received) = received else { panic!("nothing reached {}", host.address) };
        received
    }

    /// Takes all packets that reached a machine and were not looked at.
    pub fn received(&mut self, host: Host) -> Vec<Packet> {
        self.machine(host).inbox.drain(..).map(|received| received.packet).collect()
    }

    /// Forgets what reached anybody and was not looked at.
    pub fn forget_received(&mut self) {
        self.machines.values_mut().for_each(|machine| machine.inbox.clear());
    }

    /// Nothing has reached anybody that was not looked at.
    ///
    /// # Panics
    /// When something has.
    #[track_caller]
    pub fn quiet(&self) {
        for (host, machine) in &self.machines {
            if let Some(received) = machine.inbox.front() {
                panic!("{} also got: {}", host.address, text::packet(&received.packet));
            }
        }
        if let Some((port, frame)) = self.lost.first() {
            panic!("to nobody on {}: {}", trace::port_name(*port), text::frame(frame, *port));
        }
    }

    /// Takes frames that were for no machine of the lab.
    pub fn take_lost(&mut self) -> Vec<(PortId, Frame)> {
        std::mem::take(&mut self.lost)
    }

    /// Takes the ARP messages that the router sent.
    pub fn take_arps(&mut self) -> Vec<(PortId, Arp)> {
        self.arps.drain(..).collect()
    }

    /// Takes the router's events.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Takes the verdicts over the frames sent since the last call.
    pub fn take_verdicts(&mut self) -> Vec<Verdict> {
        self.verdicts.drain(..).collect()
    }

    /// What was dropped since the last call, by reason.
    pub fn take_drops(&mut self) -> Vec<(DropReason, u64)> {
        let before = std::mem::replace(&mut self.seen_drops, self.router.counters().drops);
        let now = self.seen_drops;
        DropReason::ALL
            .iter()
            .map(|&reason| (reason, now[reason as usize] - before[reason as usize]))
            .filter(|&(_, count)| count > 0)
            .collect()
    }

    /// Stage counters that moved since the last call, with how far.
    pub fn take_stages(&mut self) -> Vec<(&'static str, u64)> {
        let now = self.router.counters().stages;
        let before = std::mem::replace(&mut self.seen_stages, now);
        let moved = now.iter().zip(before.iter()).map(|((name, now), (_, before))| (name, now - before));
        moved.filter(|&(_, count)| count > 0).collect()
    }

    /// The stage counter `name`.
    ///
    /// # Panics
    /// When there is none of this name.
    pub fn stage(&self, name: &str) -> u64 {
        let stages = self.router.counters().stages;
        let found = stages.iter().find(|(known, _)| *known == name);
        found.unwrap_or_else(|| panic!("no stage counter {name}")).1
    }

    /// Sends a packet that must be dropped for this reason, nothing else dropped and nothing sent.
    ///
    /// # Panics
    /// When that is not what happens.
    #[track_caller]
    pub fn refuse(&mut self, host: Host, packet: Packet, reason: DropReason) {
        self.drop_at(host, packet, reason);
        self.quiet();
    }

    /// Sends a packet that must be dropped for this reason, nothing else dropped; somebody may be told.
    ///
    /// # Panics
    /// When that is not what happens.
    #[track_caller]
    pub fn drop_at(&mut self, host: Host, packet: Packet, reason: DropReason) {
        self.take_drops();
        let line = text::packet(&packet);
        self.send(host, packet);
        assert_eq!(self.take_drops(), [(reason, 1)], "for {line}");
    }

    /// Sends a packet that must reach `to`, and nobody else anything; returns it as it arrives.
    ///
    /// # Panics
    /// When that is not what happens.
    #[track_caller]
    pub fn pass(&mut self, from: Host, packet: Packet, to: Host) -> Packet {
        self.take_drops();
        let line = text::packet(&packet);
        self.send(from, packet);
        assert_eq!(self.take_drops(), [], "for {line}");
        let arrived = self.receive(to);
        self.quiet();
        arrived
    }

    /// A TCP handshake from inside; returns the external endpoint that `server` sees.
    ///
    /// # Panics
    /// When a segment does not arrive.
    #[track_caller]
    pub fn open_tcp(&mut self, client: Host, port: u16, server: Host, server_port: u16) -> SocketAddrV4 {
        let (inside, outside) = (client.at(port), server.at(server_port));
        let external = self.pass(client, tcp(inside, outside, Flags::SYN), server).from();
        self.pass(server, tcp(outside, external, Flags::SYN_ACK), client);
        self.pass(client, tcp(inside, outside, Flags::ACK), server);
        external
    }

    /// A TCP handshake from outside toward an external endpoint that leads to `server`'s `port`.
    ///
    /// # Panics
    /// When a segment does not arrive.
    #[track_caller]
    pub fn accept_tcp(&mut self, client: SocketAddrV4, external: SocketAddrV4, server: Host, port: u16) {
        let outside = self.host(PortId::WAN, &client.ip().to_string());
        let syn = self.pass(outside, tcp(client, external, Flags::SYN), server);
        assert_eq!((syn.from(), syn.to()), (client, server.at(port)));
        let answer = self.pass(server, tcp(server.at(port), client, Flags::SYN_ACK), outside);
        assert_eq!((answer.from(), answer.to()), (external, client));
        self.pass(outside, tcp(client, external, Flags::ACK), server);
    }

    /// All sessions.
    pub fn sessions(&self) -> Vec<SessionView> {
        let (mut all, mut cursor) = (Vec::new(), Some(0));
        while let Some(at) = cursor {
            let (page, next) = self.router.sessions(self.now(), at, 64);
            all.extend(page);
            cursor = next;
        }
        all
    }

    /// All mappings.
    pub fn mappings(&self) -> Vec<MappingView> {
        let (mut all, mut cursor) = (Vec::new(), Some(0));
        while let Some(at) = cursor {
            let (page, next) = self.router.mappings(at, 64);
            all.extend(page);
            cursor = next;
        }
        all
    }

    /// The session of this protocol between these endpoints, if there is one.
    pub fn session(
        &self,
        protocol: Protocol,
        internal: SocketAddrV4,
        remote: SocketAddrV4,
    ) -> Option<SessionView> {
        let all = self.sessions().into_iter();
        all.into_iter().find(|session| {
            (session.protocol, session.internal, session.remote) == (protocol, internal, remote)
        })
    }

    fn describe(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "=== lab at {:?}", self.clock.elapsed());
        for session in self.sessions() {
            let _ = writeln!(
                text,
                "session {} {} {} {} {} {} forward={:?} expires in {:?}",
                session.protocol,
                session.internal,
                session.external,
                session.remote,
                session.origin,
                session.state,
                session.forward,
                session.expires_in
            );
        }
        for mapping in self.mappings() {
            let _ = writeln!(
                text,
                "mapping {} {} {} {} sessions={}",
                mapping.protocol, mapping.internal, mapping.external, mapping.kind, mapping.sessions
            );
        }
        for neighbor in self.router.neighbors() {
            let _ = writeln!(text, "neighbor {neighbor:?}");
        }
        for event in &self.events {
            let _ = writeln!(text, "event {event:?}");
        }
        text.push_str(&counters_text(&self.router.counters()));
        let _ = writeln!(text, "=== last frames (-> into the router, <- out of it)\n{}", self.trace.tail(40));
        text
    }
}

/// Counters that are not 0, one `name value` per line.
pub fn counters_text(counters: &Counters) -> String {
    let mut text = String::new();
    for (index, port) in counters.ports.iter().enumerate() {
        let name = trace::port_name(PortId(u8::try_from(index).expect("few ports")));
        for (field, value) in [
            ("rx_frames", port.rx_frames),
            ("rx_octets", port.rx_octets),
            ("tx_frames", port.tx_frames),
            ("tx_octets", port.tx_octets),
        ] {
            if value > 0 {
                let _ = writeln!(text, "port.{name}.{field} {value}");
            }
        }
    }
    for (name, value) in counters.stages.iter().filter(|&(_, value)| value > 0) {
        let _ = writeln!(text, "stage.{name} {value}");
    }
    for (reason, value) in counters.drops() {
        let _ = writeln!(text, "drop.{} {value}", reason.name());
    }
    text
}

impl Drop for Lab {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        eprintln!("{}", self.describe());
        let name = std::thread::current().name().unwrap_or("lab").to_owned();
        match self.trace.write_pcaps(&trace::output_directory(&name)) {
            Ok(paths) => paths.iter().for_each(|path| eprintln!("capture: {}", path.display())),
            Err(error) => eprintln!("no captures: {error}"),
        }
    }
}
