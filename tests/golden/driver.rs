//! A router on virtual time, whose doings are written down.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use genkan_engine::router::LinkState;
use genkan_engine::view::SessionView;
use genkan_engine::wire::ethernet::MacAddr;
use genkan_engine::{Counters, DropReason, Event, FrameBatch, Plan, PortId, Slot, Timestamp, Verdict};
use genkan_tests::lab::trace::{Crossing, Trace};
use genkan_tests::lab::{Arp, Body, Clock, Crew, Door, Frame, SEED, mac_of, router_mac};

use super::clauses;
use super::notation::{self, Handed};

/// Rows that are asked for at once.
const PAGE: u32 = 256;

/// One router and the machines that answer its ARP requests.
pub(crate) struct Driver {
    router: Crew,
    door: Door,
    config: String,
    plan: Arc<Plan>,
    clock: Clock,
    /// Names of the ports.
    ports: Vec<(String, PortId)>,
    answering: BTreeSet<(PortId, Ipv4Addr)>,
    outcomes: Vec<String>,
    trace: Trace,
    /// Counters when the timeline began, and after the last step.
    at_start: Counters,
    seen: Counters,
    /// While time passes, outcomes say when.
    waiting: bool,
}

impl Driver {
    /// A router with this configuration, all links up with an MTU of 1500; what it announced is forgotten.
    ///
    /// # Errors
    /// What `genkan check` says of the configuration.
    pub(crate) fn new(config: &str, door: Door) -> Result<Driver, String> {
        let plan = Arc::new(plan_of(config)?);
        let clock = Clock::default();
        let mut ports = vec![("wan".to_owned(), PortId::WAN)];
        ports.extend(plan.host_port.then(|| ("host".to_owned(), PortId::HOST)));
        ports.extend(plan.lans.iter().enumerate().map(|(at, lan)| (lan.name.clone(), PortId::lan(at))));
        let mut driver = Driver {
            router: Crew::alike(plan.clone(), SEED, clock.now(), clock.wall()),
            door,
            config: config.to_owned(),
            plan,
            clock,
            ports: ports.clone(),
            answering: BTreeSet::new(),
            outcomes: Vec::new(),
            trace: Trace::default(),
            at_start: Counters::default(),
            seen: Counters::default(),
            waiting: false,
        };
        for (name, _) in ports {
            driver.set_link(&name, true, 1500)?;
        }
        driver.outcomes.clear();
        driver.at_start = driver.router.counters();
        Ok(driver)
    }

    /// What crossed the ports.
    pub(crate) fn trace(&self) -> &Trace {
        &self.trace
    }

    /// What happened since the last call.
    pub(crate) fn take_outcomes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.outcomes)
    }

    /// A machine that answers ARP requests for its address, or no longer does.
    pub(crate) fn set_answers(&mut self, port: &str, address: Ipv4Addr, answers: bool) -> Result<(), String> {
        let machine = (self.port(port)?, address);
        if answers {
            self.answering.insert(machine);
        } else {
            self.answering.remove(&machine);
        }
        Ok(())
    }

    /// Tells the router the state of a link.
    pub(crate) fn set_link(&mut self, port: &str, up: bool, mtu: u16) -> Result<(), String> {
        let port = self.port(port)?;
        let state = LinkState { mac: router_mac(port), mtu, up };
        self.router.set_link(self.clock.now(), port, state);
        self.finish_step();
        Ok(())
    }

    /// Hands a frame to the router.
    pub(crate) fn send(&mut self, port: &str, frame: &str) -> Result<(), String> {
        let port = self.port(port)?;
        let frame = notation::parse(frame, port, |source| (self.mac_behind(port, source), router_mac(port)))?;
        self.enter(port, frame);
        self.finish_step();
        Ok(())
    }

    /// Gives the router the configuration with some lines changed: those that begin with `- ` must be there, one
    /// after the other, and give way to the `+ ` lines behind them; `+ ` lines alone come at the end.
    pub(crate) fn reload(&mut self, change: &[String]) -> Result<(), String> {
        let mut lines: Vec<String> = self.config.lines().map(str::to_owned).collect();
        let mut change = change.iter().map(|line| (&line[..1], line[1..].trim_start())).peekable();
        while change.peek().is_some() {
            let old: Vec<&str> = std::iter::from_fn(|| change.next_if(|(mark, _)| *mark == "-"))
                .map(|(_, line)| line)
                .collect();
            let new: Vec<String> = std::iter::from_fn(|| change.next_if(|(mark, _)| *mark == "+"))
                .map(|(_, line)| line.to_owned())
                .collect();
            let at = if old.is_empty() {
                lines.len()
            } else {
                let found = lines.windows(old.len()).position(|window| window == old);
                found.ok_or_else(|| format!("the configuration has no lines {old:?}"))?
            };
            lines.splice(at..at + old.len(), new);
        }
        self.config = lines.iter().map(|line| format!("{line}\n")).collect();
        self.plan = Arc::new(plan_of(&self.config)?);
        self.router.apply_plan(self.clock.now(), self.clock.wall(), self.plan.clone());
        self.finish_step();
        Ok(())
    }

    /// Lets time pass.
    pub(crate) fn wait(&mut self, duration: Duration) {
        let end = self.clock.now() + duration;
        self.waiting = true;
        while let Some(due) = self.router.poll_timeout().filter(|due| *due <= end) {
            self.clock.advance_to(due);
            self.router.handle_timeout(self.clock.now());
            self.collect();
        }
        self.waiting = false;
        self.clock.advance_to(end);
    }

    /// Writes down all sessions and mappings, in order.
    pub(crate) fn tables(&mut self) {
        let now = self.clock.now();
        let mut rows: Vec<String> = pages(|cursor| self.router.sessions(now, cursor, PAGE))
            .iter()
            .map(|session| self.session_line(session))
            .collect();
        rows.extend(pages(|cursor| self.router.mappings(cursor, PAGE)).iter().map(|mapping| {
            format!(
                "mapping {} {} <-> {} sessions={}",
                mapping.protocol, mapping.internal, mapping.external, mapping.sessions
            )
        }));
        rows.sort();
        self.outcomes.extend(rows);
    }

    /// Writes down the ARP cache, in order.
    pub(crate) fn neighbors(&mut self) {
        let mut rows = self.router.neighbors();
        rows.sort_by_key(|neighbor| (neighbor.port, neighbor.address));
        let rows = rows.iter().map(|neighbor| {
            let mac = neighbor.mac.map_or("-".into(), |mac| mac.to_string());
            format!("neighbor {} {} {mac} {}", self.name(neighbor.port), neighbor.address, neighbor.state)
        });
        self.outcomes.extend(rows.collect::<Vec<_>>());
    }

    /// Every counter that is not 0, counted from the start of the timeline.
    pub(crate) fn counters(&self) -> Vec<(String, u64)> {
        let (now, start) = (self.router.counters(), &self.at_start);
        let mut rows = Vec::new();
        for (name, port) in &self.ports {
            let (now, start) = (now.ports[port.index()], start.ports[port.index()]);
            rows.extend([
                (format!("port.{name}.rx_frames"), now.rx_frames - start.rx_frames),
                (format!("port.{name}.rx_octets"), now.rx_octets - start.rx_octets),
                (format!("port.{name}.tx_frames"), now.tx_frames - start.tx_frames),
                (format!("port.{name}.tx_octets"), now.tx_octets - start.tx_octets),
            ]);
        }
        let stages = now.stages.iter().zip(start.stages.iter());
        rows.extend(stages.map(|((name, now), (_, start))| (format!("stage.{name}"), now - start)));
        rows.extend(dropped(&now, start).map(|(reason, count)| (format!("drop.{}", reason.name()), count)));
        rows.retain(|(_, value)| *value > 0);
        rows
    }

    fn port(&self, name: &str) -> Result<PortId, String> {
        let found = self.ports.iter().find(|(known, _)| known == name);
        found.map(|(_, port)| *port).ok_or_else(|| format!("there is no port {name:?}"))
    }

    fn name(&self, port: PortId) -> &str {
        let found = self.ports.iter().find(|(_, known)| *known == port);
        found.map_or("?", |(name, _)| name)
    }

    /// The machine on the link that sends packets of `source`: itself, or the router that it is behind.
    fn mac_behind(&self, port: PortId, source: Option<Ipv4Addr>) -> MacAddr {
        let source = source.unwrap_or(Ipv4Addr::UNSPECIFIED);
        let prefix = match port.lan_index() {
            Some(index) => self.plan.lans[index].address,
            None => self.plan.wan.address,
        };
        let via = if port == PortId::WAN {
            self.plan.wan.gateway
        } else {
            self.plan.routes.iter().find(|route| route.to.contains(&source)).map(|route| route.via)
        };
        mac_of(via.filter(|_| !prefix.contains(&source)).unwrap_or(source))
    }

    /// One frame through the door, and what becomes of it.
    fn enter(&mut self, port: PortId, frame: Handed) {
        let now = self.clock.now();
        let arrived = frame.bytes.clone();
        let (verdict, left) = self.judge(now, port, frame);
        let at = self.clock.elapsed();
        self.trace.push(Crossing { at, port, verdict: Some(verdict), bytes: arrived });
        // Frames that the router made go before the batch's own.
        self.collect();
        if let Verdict::Transmit(out) = verdict {
            self.leave(out, left);
        }
    }

    fn judge(&mut self, now: Timestamp, port: PortId, frame: Handed) -> (Verdict, Handed) {
        let Handed { mut bytes, offload } = frame;
        match self.door {
            Door::Frame => {
                let mut slice = bytes.as_mut_slice();
                let verdict = self.router.handle_frame(now, port, &mut slice, offload);
                (verdict, Handed { bytes: slice.to_vec(), offload })
            }
            Door::Explained => {
                let mut slice = bytes.as_mut_slice();
                let (verdict, _) = self.router.explain(now, port, &mut slice, offload);
                (verdict, Handed { bytes: slice.to_vec(), offload })
            }
            Door::Batch => {
                let mut slots = [Slot { offset: 0, len: bytes.len(), offload, verdict: Verdict::Consumed }];
                self.router.handle_batch(now, port, FrameBatch { memory: &mut bytes, slots: &mut slots });
                let [Slot { offset, len, offload, verdict }] = slots;
                (verdict, Handed { bytes: bytes[offset..offset + len].to_vec(), offload })
            }
        }
    }

    /// Does what is due at this moment, and writes down what came of the step.
    fn finish_step(&mut self) {
        let now = self.clock.now();
        self.collect();
        while self.router.poll_timeout().is_some_and(|due| due <= now) {
            self.router.handle_timeout(now);
            self.collect();
        }
    }

    /// Takes what the router made, dropped and tells.
    fn collect(&mut self) {
        while let Some(made) = self.router.poll_transmit() {
            self.leave(made.port, Handed { bytes: made.bytes, offload: made.offload });
        }
        let counters = self.router.counters();
        let drops: Vec<_> = dropped(&counters, &self.seen).collect();
        self.seen = counters;
        for (reason, count) in drops {
            let times = if count == 1 { String::new() } else { format!(" x{count}") };
            self.outcome(format!("drop {}{times}", reason.name()));
        }
        while let Some(event) = self.router.poll_event() {
            let line = self.event_line(&event);
            self.outcome(format!("event {line}"));
        }
    }

    fn outcome(&mut self, line: String) {
        let line = if self.waiting {
            format!("at {}: {line}", clauses::duration(self.clock.elapsed()))
        } else {
            line
        };
        self.outcomes.push(line);
    }

    /// A frame leaves; a machine that answers ARP does so at once.
    fn leave(&mut self, port: PortId, frame: Handed) {
        let at = self.clock.elapsed();
        self.trace.push(Crossing { at, port, verdict: None, bytes: frame.bytes.clone() });
        if let Some(Frame { body: Body::Arp(arp), .. }) = Frame::parse(&frame.bytes)
            && arp.request
            && self.answering.contains(&(port, arp.target))
        {
            self.outcome(format!("asked {} {}", self.name(port), arp.target));
            self.answer(port, arp);
            return;
        }
        self.outcome(format!("out {} {}", self.name(port), notation::print(&frame, port)));
    }

    fn answer(&mut self, port: PortId, request: Arp) {
        let mac = mac_of(request.target);
        let frame = Frame::new(mac, request.sender_mac, Body::Arp(request.answer(mac)));
        self.enter(port, Handed { bytes: frame.to_bytes(), offload: Default::default() });
    }

    fn session_line(&self, session: &SessionView) -> String {
        let mut line = format!(
            "session {} {} <-> {} <-> {} {} {} {}",
            session.protocol,
            session.internal,
            session.external,
            session.remote,
            session.origin,
            session.state,
            clauses::duration(session.expires_in)
        );
        if let Some(forward) = &session.forward {
            line.push_str(&format!(" forward={forward}"));
        }
        line
    }

    fn event_line(&self, event: &Event) -> String {
        match event {
            Event::AddressConflict { port, address, mac } => {
                format!("address conflict {} {address} {mac}", self.name(*port))
            }
            Event::NeighborMoved { port, address, old, new } => {
                format!("neighbor moved {} {address} {old} -> {new}", self.name(*port))
            }
            Event::NeighborUnreachable { port, address } => {
                format!("neighbor unreachable {} {address}", self.name(*port))
            }
            Event::PortsExhausted { external, protocol } => format!("ports exhausted {protocol} {external}"),
            Event::SessionTableFull => "session table full".into(),
            Event::HostLimit { host } => format!("host limit {host}"),
            Event::ForwardHit { forward, source, source_port } => {
                format!("forward hit {forward} {source}:{source_port}")
            }
            Event::ForwardOpened { forward } => format!("forward opened {forward}"),
            Event::ForwardClosed { forward } => format!("forward closed {forward}"),
            Event::ForwardExpired { forward } => format!("forward expired {forward}"),
            other => format!("{other:?}"),
        }
    }
}

fn plan_of(config: &str) -> Result<Plan, String> {
    genkan_config::parse(config, "case")
        .map(|loaded| loaded.plan)
        .map_err(|errors| genkan_config::render(&errors, false))
}

fn dropped<'a>(now: &'a Counters, before: &'a Counters) -> impl Iterator<Item = (DropReason, u64)> + 'a {
    DropReason::ALL
        .iter()
        .map(|&reason| (reason, now.dropped(reason) - before.dropped(reason)))
        .filter(|(_, count)| *count > 0)
}

/// All rows of a listing.
fn pages<T>(page: impl Fn(u32) -> (Vec<T>, Option<u32>)) -> Vec<T> {
    let (mut all, mut cursor) = (Vec::new(), Some(0));
    while let Some(at) = cursor {
        let (rows, next) = page(at);
        all.extend(rows);
        cursor = next;
    }
    all
}
