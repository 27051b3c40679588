//! The text of a case: taken apart, played, and put together again with what really happened.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use genkan_engine::{GsoKind, Offload, Plan, PortId};
use genkan_tests::lab::trace::Trace;
use genkan_tests::lab::{mac_of, observe, router_mac, text};

use super::world::{Arrival, Door, World};

/// A case, without what it expects.
pub(crate) struct Case {
    plans: BTreeMap<String, Arc<Plan>>,
    /// Lines up to and including `--- steps`.
    head: Vec<String>,
    steps: Vec<Line>,
}

/// A line of the steps.
enum Line {
    /// A comment or an empty line.
    Kept(String),
    Step(String, Step),
}

enum Step {
    Up(Option<PortId>, u16),
    Down(PortId),
    Frame(PortId, Vec<u8>, Offload),
    Wait(Duration),
    Reload(String),
}

impl Case {
    /// Takes a case apart.
    ///
    /// # Errors
    /// Says which line is wrong, and how.
    pub(crate) fn parse(source: &str) -> Result<Case, String> {
        let (head, rest) = source.split_once("--- steps\n").ok_or("no `--- steps`")?;
        let (steps, _) = rest.split_once("--- counters\n").unwrap_or((rest, ""));
        let mut plans = BTreeMap::new();
        for section in head.split("--- config").skip(1) {
            let (name, toml) = section.split_once('\n').ok_or("an empty section")?;
            let loaded =
                genkan_config::parse(toml, "case").map_err(|errors| genkan_config::render(&errors, false))?;
            plans.insert(name.trim().to_owned(), Arc::new(loaded.plan));
        }
        let plan = plans.get("").ok_or("no `--- config`")?.clone();
        let lines =
            steps.lines().enumerate().filter(|(_, line)| !line.starts_with("  ")).map(|(index, line)| {
                if line.is_empty() || line.starts_with('#') {
                    return Ok(Line::Kept(line.to_owned()));
                }
                let step = parse_step(line, &plan)
                    .map_err(|error| format!("step {}: {line}\n{error}", index + 1))?;
                Ok(Line::Step(line.to_owned(), step))
            });
        let steps = lines.collect::<Result<_, String>>()?;
        let head = head.lines().chain(["--- steps"]).map(str::to_owned).collect();
        Ok(Case { plans, head, steps })
    }

    fn plan(&self, name: &str) -> Result<Arc<Plan>, String> {
        self.plans.get(name).cloned().ok_or_else(|| format!("no `--- config {name}`"))
    }

    /// Plays the case; the text as it should be, and what crossed the ports.
    ///
    /// # Errors
    /// When a step names what is not there.
    pub(crate) fn play(&self, door: Door) -> Result<(String, Trace), String> {
        let mut world = World::new(self.plan("")?, door);
        let mut lines = self.head.clone();
        for line in &self.steps {
            match line {
                Line::Kept(line) => lines.push(line.clone()),
                Line::Step(line, step) => {
                    lines.push(line.clone());
                    self.take(&mut world, step)?;
                    lines.extend(world.take_output().into_iter().map(|line| format!("  {line}")));
                }
            }
        }
        lines.push("--- counters".into());
        lines.extend(observe::counters_text(&world.counters()).lines().map(str::to_owned));
        Ok((lines.join("\n") + "\n", world.into_trace()))
    }

    fn take(&self, world: &mut World, step: &Step) -> Result<(), String> {
        match step {
            Step::Up(port, mtu) => world.up(*port, *mtu),
            Step::Down(port) => world.down(*port),
            Step::Frame(port, bytes, offload) => world.frames(*port, &[(bytes.clone(), *offload)]),
            Step::Wait(duration) => world.wait(*duration),
            Step::Reload(name) => world.reload(self.plan(name)?),
        }
        Ok(())
    }

    /// Frames that come one after the other on one port must lead to the same in one batch.
    ///
    /// # Errors
    /// Says what differs.
    pub(crate) fn compare_bursts(&self) -> Result<(), String> {
        let mut worlds = [World::new(self.plan("")?, Door::Batch), World::new(self.plan("")?, Door::Batch)];
        let mut waiting: Option<(PortId, Vec<Arrival>)> = None;
        let steps = self.steps.iter().filter_map(|line| match line {
            Line::Kept(_) => None,
            Line::Step(_, step) => Some(step),
        });
        let [single, burst] = &mut worlds;
        for step in steps {
            self.take(single, step)?;
            match (step, &mut waiting) {
                (Step::Frame(port, bytes, offload), Some((same, frames))) if port == same => {
                    frames.push((bytes.clone(), *offload));
                }
                _ => {
                    if let Some((port, frames)) = waiting.take() {
                        burst.frames(port, &frames);
                    }
                    if let Step::Frame(port, bytes, offload) = step {
                        waiting = Some((*port, vec![(bytes.clone(), *offload)]));
                    } else {
                        self.take(burst, step)?;
                    }
                }
            }
        }
        if let Some((port, frames)) = waiting {
            burst.frames(port, &frames);
        }
        let [mut one_by_one, mut at_once] = [single.take_output(), burst.take_output()];
        one_by_one.sort();
        at_once.sort();
        if one_by_one != at_once || single.counters() != burst.counters() {
            let missing: Vec<_> = one_by_one.iter().filter(|line| !at_once.contains(line)).collect();
            let added: Vec<_> = at_once.iter().filter(|line| !one_by_one.contains(line)).collect();
            return Err(format!(
                "one batch does otherwise than single frames: missing {missing:?}, added {added:?}"
            ));
        }
        Ok(())
    }
}

fn parse_port(name: &str, plan: &Plan) -> Result<PortId, String> {
    let port = match name {
        "wan" => Some(PortId::WAN),
        "host" => plan.host_port.then_some(PortId::HOST),
        _ => name
            .strip_prefix("lan")
            .and_then(|number| number.parse().ok())
            .filter(|&index| index < plan.lans.len())
            .map(PortId::lan),
    };
    port.ok_or_else(|| format!("no port {name:?}"))
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| format!("{text:?} is no duration"))?;
    match &text[digits..] {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        "h" => Ok(Duration::from_secs(number * 3600)),
        unit => Err(format!("{unit:?} is none of ms, s, m, h")),
    }
}

fn parse_step(line: &str, plan: &Plan) -> Result<Step, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        ["up"] => Ok(Step::Up(None, 1500)),
        ["up", port] => Ok(Step::Up(Some(parse_port(port, plan)?), 1500)),
        ["up", port, mtu] => {
            let mtu =
                mtu.strip_prefix("mtu=").and_then(|mtu| mtu.parse().ok()).ok_or("up PORT mtu=NUMBER")?;
            Ok(Step::Up(Some(parse_port(port, plan)?), mtu))
        }
        ["down", port] => Ok(Step::Down(parse_port(port, plan)?)),
        ["wait", duration] => Ok(Step::Wait(parse_duration(duration)?)),
        ["reload", name] => Ok(Step::Reload(name.to_owned())),
        [port, ">", ..] => {
            let port = parse_port(port, plan)?;
            let frame = line.split_once('>').expect("a frame line has it").1.trim();
            let (offload, frame) = parse_offload(frame)?;
            let bytes = match frame.strip_prefix("raw ") {
                Some(digits) => text::unhex(digits.trim())?,
                None => text::parse_frame(frame, port, |source| default_macs(source, port, plan))?.to_bytes(),
            };
            Ok(Step::Frame(port, bytes, offload))
        }
        _ => Err("no step: up, down, wait, reload, or PORT > FRAME".into()),
    }
}

/// From the machine that has the source address, or else the gateway; to the router.
fn default_macs(
    source: Option<std::net::Ipv4Addr>,
    port: PortId,
    plan: &Plan,
) -> (genkan_engine::wire::ethernet::MacAddr, genkan_engine::wire::ethernet::MacAddr) {
    let source = source.unwrap_or(std::net::Ipv4Addr::UNSPECIFIED);
    let behind = port == PortId::WAN && !plan.wan.address.contains(&source);
    let sender = plan.wan.gateway.filter(|_| behind).unwrap_or(source);
    (mac_of(sender), router_mac(port))
}

/// `(partial gso=tcp:1448 vlan=5) FRAME`.
fn parse_offload(line: &str) -> Result<(Offload, &str), String> {
    let mut offload = Offload::default();
    let Some((words, frame)) = line.strip_prefix('(').and_then(|rest| rest.split_once(") ")) else {
        return Ok((offload, line));
    };
    for word in words.split_whitespace() {
        let number = |text: &str| text.parse::<u16>().map_err(|_| format!("{word:?} needs a number"));
        match word.split_once('=') {
            None if word == "partial" => offload.partial_checksum = true,
            Some(("vlan", tci)) => offload.vlan_tci = Some(number(tci)?),
            Some(("gso", kind)) => {
                let (kind, size) = kind.split_once(':').ok_or("gso=KIND:SIZE")?;
                offload.gso = match kind {
                    "tcp" => GsoKind::TcpV4,
                    "udp" => GsoKind::UdpL4,
                    other => return Err(format!("{other:?} is neither tcp nor udp")),
                };
                offload.gso_size = number(size)?;
            }
            _ => return Err(format!("{word:?} is none of partial, vlan=TCI, gso=KIND:SIZE")),
        }
    }
    Ok((offload, frame))
}

/// What [`parse_offload`] reads, or nothing.
pub(crate) fn offload_text(offload: &Offload) -> String {
    let mut words = Vec::new();
    if offload.partial_checksum {
        words.push("partial".to_owned());
    }
    match offload.gso {
        GsoKind::None => {}
        GsoKind::TcpV4 | GsoKind::TcpV6 => words.push(format!("gso=tcp:{}", offload.gso_size)),
        GsoKind::UdpL4 => words.push(format!("gso=udp:{}", offload.gso_size)),
    }
    words.extend(offload.vlan_tci.map(|tci| format!("vlan={tci}")));
    if words.is_empty() { String::new() } else { format!("({}) ", words.join(" ")) }
}
