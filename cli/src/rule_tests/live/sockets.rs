//! Real sockets at the computers of a site, as a world for tests.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use genkan_config::expectations::{Endpoint, Flow, TestFile, port_of};
use genkan_config::openings::{Openings, State};
use genkan_control::capture::pcapng::PacketBlock;
use genkan_engine::wire::ipv4::Protocol;
use genkan_engine::{DropReason, PortId, UnixTime};
use genkan_lab::RouterProcess;
use socket2::{Domain, SockAddr, Socket, Type};

use super::drops::Drops;
use super::raw;
use super::site::Site;
use super::wires::Wires;
use crate::output::Failure;
use crate::rule_tests::world::{Arrival, Seen, World, closed_forward};

/// How long a packet may take that nothing is known of.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often it is looked at.
const POLL: Duration = Duration::from_millis(1);

/// When the router's counters are asked for the first time, and then again.
const ASK: Duration = Duration::from_millis(30);

/// The router itself, and those that a test has made connections with.
pub(super) struct Live<'a> {
    file: &'a TestFile,
    site: &'a Site,
    configuration: usize,
    states: Vec<State>,
    listeners: HashMap<(PortId, SocketAddrV4), TcpListener>,
    datagrams: HashMap<(PortId, SocketAddrV4), UdpSocket>,
    opened: HashMap<Flow, Connection>,
    /// Tells the payloads apart.
    number: u64,
    /// What should have worked, and did not.
    trouble: Option<Failure>,
    drops: Drops,
    wires: Wires,
    router: RouterProcess,
}

/// A connection that stands.
enum Connection {
    Tcp {
        asker: TcpStream,
        target: TcpStream,
        from_inside: bool,
    },
    Udp {
        asker: (PortId, SocketAddrV4),
        target: (PortId, SocketAddrV4),
        source: SocketAddrV4,
        from_inside: bool,
    },
}

/// What became of waiting.
enum Waited<T> {
    Came(T),
    Dropped(DropReason),
    Nothing,
}

impl<'a> Live<'a> {
    /// Starts the router with the first configuration; its files go to `directory`.
    ///
    /// # Errors
    /// When it does not get ready.
    pub(super) fn start(file: &'a TestFile, site: &'a Site, directory: &Path) -> Result<Live<'a>, Failure> {
        let namespace = site.namespace(PortId::HOST).ok_or_else(|| Failure::message("there is no router"))?;
        let text = file.configurations[0].supposed_text();
        let wires = Wires::listen(site)?;
        let router = RouterProcess::start(namespace, Path::new("/proc/self/exe"), directory, &text)?;
        let drops = Drops::of(&router.socket())?;
        let mut live = Live {
            file,
            site,
            configuration: 0,
            states: Vec::new(),
            listeners: HashMap::new(),
            datagrams: HashMap::new(),
            opened: HashMap::new(),
            number: 0,
            trouble: None,
            drops,
            wires,
            router,
        };
        live.judge();
        Ok(live)
    }

    /// Ends the test: the ports with machines, and what has passed on their wires.
    ///
    /// # Errors
    /// When the wires cannot be read.
    pub(super) fn frames(mut self) -> Result<(Vec<PortId>, Vec<PacketBlock>), Failure> {
        self.wires.read()?;
        Ok(self.wires.into_frames())
    }

    fn judge(&mut self) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let wall = UnixTime(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        let loaded = &self.file.configurations[self.configuration];
        self.states = Openings::new(None, []).judge(loaded, wall).states;
    }

    /// A socket at a machine.
    fn socket(&self, port: PortId, kind: Type, protocol: Protocol, at: SocketAddrV4) -> io::Result<Socket> {
        let namespace = self.site.namespace(port).ok_or(ErrorKind::NotFound)?;
        namespace.run(|| {
            let socket = Socket::new(Domain::IPV4, kind, Some(i32::from(protocol.0).into()))?;
            socket.set_reuse_address(true)?;
            if kind == Type::STREAM {
                socket.set_reuse_port(true)?;
                // Nothing of it is left for the next test.
                socket.set_linger(Some(Duration::ZERO))?;
            }
            socket.set_nonblocking(true)?;
            socket.bind(&at.into())?;
            Ok(socket)
        })
    }

    /// Waits for something to come, until the router says that it has dropped something instead.
    fn wait<T>(
        &mut self,
        mut look: impl FnMut(&mut Self) -> io::Result<Option<T>>,
    ) -> Result<Waited<T>, Failure> {
        let begin = Instant::now();
        let mut ask = ASK;
        while begin.elapsed() < PATIENCE {
            self.wires.read()?;
            if let Some(came) = look(self)? {
                return Ok(Waited::Came(came));
            }
            if begin.elapsed() > ask {
                ask = begin.elapsed() + ASK;
                if let Some(reason) = self.drops.since()? {
                    // It may have come meanwhile, and what was dropped be something else.
                    thread::sleep(POLL);
                    return Ok(look(self)?.map_or(Waited::Dropped(reason), Waited::Came));
                }
            }
            thread::sleep(POLL);
        }
        Ok(Waited::Nothing)
    }

    /// Who may get what is sent: whatever the rules could mean, and the destination itself.
    fn candidates(&self, flow: &Flow) -> Vec<(PortId, SocketAddrV4)> {
        let loaded = &self.file.configurations[self.configuration];
        let plan = &loaded.plan;
        let Some(port) = flow.to.port else { return Vec::new() };
        let mut found: Vec<SocketAddrV4> = Vec::new();
        for forward in plan.forwards.iter().filter(|forward| forward.protocols.contains(&flow.protocol)) {
            for ports in &forward.ports {
                if (ports.external_first..=ports.external_last).contains(&port) {
                    let internal = ports.internal_first + (port - ports.external_first);
                    found.push(SocketAddrV4::new(forward.to, internal));
                }
            }
        }
        let one_to_one = plan.hosts.iter().filter(|host| host.external == Some(flow.to.address));
        found.extend(one_to_one.map(|host| SocketAddrV4::new(host.address, port)));
        found.extend(plan.dmz.map(|host| SocketAddrV4::new(host, port)));
        found.push(SocketAddrV4::new(flow.to.address, port));
        let placed = found.into_iter().map(|endpoint| (port_of(loaded, *endpoint.ip()), endpoint));
        placed.filter(|(port, endpoint)| self.site.is_at(*port, *endpoint.ip())).collect()
    }

    fn is_inside(&self, port: PortId) -> bool {
        port != PortId::WAN
    }

    /// From inside to inside with an external address of the router as the source.
    fn is_hairpin(&self, from: PortId, to: PortId, source: Ipv4Addr) -> bool {
        let plan = &self.file.configurations[self.configuration].plan;
        let is_external = plan.wan.external_addresses().any(|external| external == source);
        self.is_inside(from) && self.is_inside(to) && is_external
    }

    fn try_open(&mut self, flow: &Flow) -> Result<Seen, Failure> {
        self.drops.begin()?;
        match flow.protocol {
            Protocol::TCP => self.open_tcp(flow),
            Protocol::UDP => self.open_udp(flow),
            _ => self.open_raw(flow),
        }
    }

    fn open_tcp(&mut self, flow: &Flow) -> Result<Seen, Failure> {
        let mut candidates = self.candidates(flow);
        // Whoever connects also listens, for those who come back.
        let own = (flow.port, endpoint(flow.from));
        if self.is_inside(flow.port) {
            candidates.push(own);
        }
        for (port, at) in candidates {
            if !self.listeners.contains_key(&(port, at)) {
                let socket = self.socket(port, Type::STREAM, Protocol::TCP, at)?;
                socket.listen(1_024)?;
                self.listeners.insert((port, at), socket.into());
            }
        }
        let asker = self.socket(flow.port, Type::STREAM, Protocol::TCP, endpoint(flow.from))?;
        match asker.connect(&SocketAddr::from(endpoint(flow.to)).into()) {
            Err(error) if error.raw_os_error() == Some(nix::libc::EINPROGRESS) => {}
            Err(error) if is_answer(&error) => {}
            other => other?,
        }
        let asker: TcpStream = asker.into();
        // Refused by somebody, or unreachable for somebody.
        let mut refused = None;
        let waited = self.wait(|_| {
            if let Some(error) = asker.take_error()? {
                refused = Some(error);
                return Ok(Some(()));
            }
            Ok(asker.peer_addr().is_ok().then_some(()))
        })?;
        match (waited, refused) {
            (Waited::Came(()), None) => {}
            (Waited::Dropped(reason), _) => return Ok(Seen::Refused(Some(reason))),
            (Waited::Nothing, _) => return Ok(Seen::Refused(None)),
            (Waited::Came(()), Some(error)) => {
                let reason = self.drops.since()?;
                if reason.is_none() && error.kind() == ErrorKind::ConnectionRefused {
                    // A machine that does not listen on that port.
                    return Ok(Seen::Arrived(unknown_arrival()));
                }
                return Ok(Seen::Refused(reason));
            }
        }
        let accepted = self.wait(|live| {
            for (at, listener) in &live.listeners {
                match listener.accept() {
                    Ok((target, source)) => return Ok(Some((*at, target, source))),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(None)
        })?;
        let Waited::Came(((port, at), target, source)) = accepted else { return Ok(Seen::Answered) };
        let source = v4(source)?;
        target.set_nonblocking(true)?;
        let hairpin = self.is_hairpin(flow.port, port, *source.ip());
        let from_inside = self.is_inside(flow.port) && !self.is_inside(port);
        self.opened.insert(*flow, Connection::Tcp { asker, target, from_inside });
        Ok(Seen::Arrived(Arrival { target: at, source, reply_from: Some(endpoint(flow.to)), hairpin }))
    }

    fn open_udp(&mut self, flow: &Flow) -> Result<Seen, Failure> {
        let own = (flow.port, endpoint(flow.from));
        for (port, at) in self.candidates(flow).into_iter().chain([own]) {
            if !self.datagrams.contains_key(&(port, at)) {
                let socket = self.socket(port, Type::DGRAM, Protocol::UDP, at)?;
                self.datagrams.insert((port, at), socket.into());
            }
        }
        let payload = self.payload();
        self.datagrams[&own].send_to(&payload, endpoint(flow.to)).or_else(ignore_answers)?;
        let (at, source) = match self.wait(|live| live.datagram(&payload, None))? {
            Waited::Came(came) => came,
            Waited::Dropped(reason) => return Ok(Seen::Refused(Some(reason))),
            Waited::Nothing => return Ok(Seen::Refused(None)),
        };
        let answer = self.payload();
        self.datagrams[&at].send_to(&answer, source).or_else(ignore_answers)?;
        let reply_from = match self.wait(|live| live.datagram(&answer, Some(own)))? {
            Waited::Came((_, from)) => Some(from),
            Waited::Dropped(_) | Waited::Nothing => None,
        };
        let from_inside = self.is_inside(flow.port) && !self.is_inside(at.0);
        self.opened.insert(*flow, Connection::Udp { asker: own, target: at, source, from_inside });
        let hairpin = self.is_hairpin(flow.port, at.0, *source.ip());
        Ok(Seen::Arrived(Arrival { target: at.1, source, reply_from, hairpin }))
    }

    /// Who got this payload, and from where; only `at`, where that is said.
    fn datagram(
        &self,
        payload: &[u8],
        at: Option<(PortId, SocketAddrV4)>,
    ) -> io::Result<Option<((PortId, SocketAddrV4), SocketAddrV4)>> {
        let mut buffer = [0; 64];
        for (key, socket) in self.datagrams.iter().filter(|(key, _)| at.is_none_or(|at| at == **key)) {
            loop {
                match socket.recv_from(&mut buffer) {
                    Ok((length, source)) if buffer[..length] == *payload => {
                        return Ok(Some((*key, v4(source)?)));
                    }
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) if is_answer(&error) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(None)
    }

    /// Protocols without ports, by raw sockets: what arrives is seen beside whatever the kernel does with it.
    fn open_raw(&mut self, flow: &Flow) -> Result<Seen, Failure> {
        let anywhere = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        let mut others = Vec::new();
        for port in self.site.ports().filter(|port| *port != flow.port) {
            others.push((port, self.socket(port, Type::RAW, flow.protocol, anywhere)?));
        }
        let own_address = SocketAddrV4::new(flow.from.address, 0);
        let mut asker = self.socket(flow.port, Type::RAW, flow.protocol, own_address)?;
        let payload = self.payload();
        let to: SockAddr = SocketAddr::from(SocketAddrV4::new(flow.to.address, 0)).into();
        asker.send_to(&raw::packet(flow.protocol, &payload), &to)?;
        let mut answer = None;
        let arrived = self.wait(|_| {
            for (port, socket) in &mut others {
                if let Some((source, target)) = raw::received(socket, &payload)? {
                    return Ok(Some((*port, source, target)));
                }
            }
            // The router's own answer.
            answer = raw::received(&mut asker, &payload)?;
            Ok(answer.map(|(source, target)| (flow.port, source, target)))
        })?;
        let (port, source, target) = match arrived {
            Waited::Came(_) if answer.is_some() => return Ok(Seen::Answered),
            Waited::Came(came) => came,
            Waited::Dropped(reason) => return Ok(Seen::Refused(Some(reason))),
            Waited::Nothing => return Ok(Seen::Refused(None)),
        };
        if flow.protocol != Protocol::ICMP {
            let answering = self.socket(port, Type::RAW, flow.protocol, SocketAddrV4::new(target, 0))?;
            let source: SockAddr = SocketAddr::from(SocketAddrV4::new(source, 0)).into();
            answering.send_to(&payload, &source)?;
        }
        let reply = match self.wait(|_| raw::received(&mut asker, &payload))? {
            Waited::Came((from, _)) => Some(SocketAddrV4::new(from, 0)),
            Waited::Dropped(_) | Waited::Nothing => None,
        };
        Ok(Seen::Arrived(Arrival {
            target: SocketAddrV4::new(target, 0),
            source: SocketAddrV4::new(source, 0),
            reply_from: reply,
            hairpin: self.is_hairpin(flow.port, port, source),
        }))
    }

    /// Eight octets that no other packet has.
    fn payload(&mut self) -> [u8; 16] {
        self.number += 1;
        let mut payload = *b"genkan  00000000";
        payload[8..].copy_from_slice(&self.number.to_be_bytes());
        payload
    }

    fn try_go_on(&mut self, flow: &Flow) -> Result<Seen, Failure> {
        self.drops.begin()?;
        let payload = self.payload();
        let Some(connection) = self.opened.remove(flow) else { return Ok(Seen::Refused(None)) };
        let (waited, goes_to) = match &connection {
            Connection::Tcp { asker, target, from_inside } => {
                let (mut sender, mut receiver) = if *from_inside { (target, asker) } else { (asker, target) };
                receiver.set_nonblocking(true)?;
                match sender.write_all(&payload) {
                    Err(error) if is_answer(&error) => return Ok(Seen::Refused(None)),
                    other => other?,
                }
                let to = v4(receiver.local_addr()?)?;
                let waited = self.wait(|_| {
                    let mut buffer = [0; 16];
                    match receiver.read(&mut buffer) {
                        Ok(length) => Ok((buffer[..length] == payload).then_some(())),
                        Err(error) if error.kind() == ErrorKind::WouldBlock || is_answer(&error) => Ok(None),
                        Err(error) => Err(error),
                    }
                })?;
                (waited, to)
            }
            Connection::Udp { asker, target, source, from_inside } => {
                let (from, to, receiver) = if *from_inside {
                    (target, *source, *asker)
                } else {
                    (asker, endpoint(flow.to), *target)
                };
                self.datagrams[from].send_to(&payload, to).or_else(ignore_answers)?;
                let waited = match self.wait(|live| live.datagram(&payload, None))? {
                    Waited::Came((at, _)) if at == receiver => Waited::Came(()),
                    Waited::Came(_) | Waited::Nothing => Waited::Nothing,
                    Waited::Dropped(reason) => Waited::Dropped(reason),
                };
                (waited, receiver.1)
            }
        };
        self.opened.insert(*flow, connection);
        Ok(match waited {
            Waited::Came(()) => Seen::Arrived(Arrival {
                target: goes_to,
                source: endpoint(flow.from),
                reply_from: None,
                hairpin: false,
            }),
            Waited::Dropped(reason) => Seen::Refused(Some(reason)),
            Waited::Nothing => Seen::Refused(None),
        })
    }

    fn try_reload(&mut self, configuration: usize) -> Result<(), Failure> {
        self.configuration = configuration;
        self.judge();
        let text = self.file.configurations[configuration].supposed_text();
        std::fs::write(self.router.config_file(), text)?;
        let output = self.router.command(&["reload"]).output()?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(Failure::message(format!("the router does not take the other configuration: {}", said.trim())))
    }

    /// What was seen; nothing, after trouble that ends the run.
    fn or_trouble(&mut self, seen: Result<Seen, Failure>) -> Seen {
        seen.unwrap_or_else(|failure| {
            self.trouble = Some(failure);
            Seen::Refused(None)
        })
    }
}

impl World for Live<'_> {
    fn open(&mut self, flow: &Flow) -> Seen {
        let seen = self.try_open(flow);
        self.or_trouble(seen)
    }

    fn goes_on(&mut self, flow: &Flow) -> Seen {
        let seen = self.try_go_on(flow);
        self.or_trouble(seen)
    }

    fn closed(&self, flow: &Flow) -> Option<State> {
        closed_forward(&self.file.configurations[self.configuration].plan, &self.states, flow)
    }

    fn pass(&mut self, time: Duration) {
        thread::sleep(time);
    }

    fn pass_to(&mut self, _at: UnixTime) {}

    fn reload(&mut self, configuration: usize) {
        if let Err(failure) = self.try_reload(configuration) {
            self.trouble = Some(failure);
        }
    }

    fn trouble(&mut self) -> Option<Failure> {
        self.trouble.take()
    }
}

fn endpoint(Endpoint { address, port }: Endpoint) -> SocketAddrV4 {
    SocketAddrV4::new(address, port.unwrap_or(0))
}

fn v4(address: SocketAddr) -> io::Result<SocketAddrV4> {
    match address {
        SocketAddr::V4(address) => Ok(address),
        SocketAddr::V6(_) => Err(io::Error::other("an IPv6 address on an IPv4 socket")),
    }
}

fn unknown_arrival() -> Arrival {
    let nobody = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
    Arrival { target: nobody, source: nobody, reply_from: None, hairpin: false }
}

/// Whether an error of a socket is what somebody has answered to an earlier packet.
fn is_answer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::BrokenPipe
            | ErrorKind::TimedOut
    )
}

fn ignore_answers(error: io::Error) -> io::Result<usize> {
    if is_answer(&error) { Ok(0) } else { Err(error) }
}
