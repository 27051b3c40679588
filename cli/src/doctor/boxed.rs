//! What this machine's kernel knows: devices, who uses them, who listens.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};

use genkan_config::{Backend, Config};
use genkan_engine::wire::ipv4::Protocol;
use genkan_io::device;

use super::facts::{Answer, BoxItself, Device, Link};
use super::ports::Port;

/// Programs that configure the kernel's own network on a device, or are a router on it.
const RIVALS: &[&str] =
    &["genkan", "dhclient", "dhcpcd", "udhcpc", "pppd", "NetworkManager", "systemd-network"];

/// All protocols, IPv4, ARP: EtherTypes in /proc/net/packet (linux/if_ether.h).
const IP_PROTOCOLS: [&str; 3] = ["0003", "0800", "0806"];

/// The state of a socket that listens, in /proc/net/tcp, and of one that is bound, in /proc/net/udp.
const TCP_LISTEN: &str = "0A";
const UDP_BOUND: &str = "07";

/// The devices of a configuration; `router` is the process that they belong to. None are looked at where that is in
/// another network namespace: the devices here are not the router's.
pub(super) fn devices(config: &Config, router: Option<u32>) -> Vec<Device> {
    if router.is_some_and(is_elsewhere) {
        return Vec::new();
    }
    let lans = config.lans.iter().enumerate().map(|(index, lan)| (Some(index), lan));
    let all = std::iter::once((None, &config.wan)).chain(lans);
    let device = |(lan, device): (Option<usize>, &genkan_config::Device)| {
        let is_made = device.backend == Backend::Tap;
        Device {
            label: device.label.clone(),
            lan,
            name: device.device.clone(),
            wanted_mtu: device.mtu.into(),
            link: if is_made { None } else { link(&device.device, router) },
            is_made,
        }
    };
    all.map(device).collect()
}

/// Whether a process is known to be in another network namespace.
pub(super) fn is_elsewhere(process: u32) -> bool {
    let of = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).ok();
    let its = of(&process.to_string());
    its.is_some() && its != of("self")
}

fn link(name: &str, router: Option<u32>) -> Option<Link> {
    let link = device::link(name).ok()?;
    let addresses = device::addresses(link.index).unwrap_or_default();
    let master = link.master.map(|index| {
        let found = device::links().unwrap_or_default().into_iter().find(|link| link.index == index);
        found.map_or_else(|| index.to_string(), |link| link.name)
    });
    Some(Link {
        up: link.up,
        carrier: link.carrier,
        mtu: link.mtu,
        master,
        addresses: addresses.iter().filter(|it| !it.is_link_local()).map(ToString::to_string).collect(),
        holders: holders(link.index, router),
        large_receive: device::is_feature_on(name, "rx-lro").unwrap_or(false),
    })
}

/// Processes with a packet socket on a device, of those that are likely to do more than look.
fn holders(index: u32, router: Option<u32>) -> Vec<(u32, String)> {
    // sk RefCnt Type Proto Iface R Rmem User Inode
    let sockets = fs::read_to_string("/proc/net/packet").unwrap_or_default();
    let inode = |line: &str| {
        let mut fields = line.split_whitespace();
        // Who listens for other protocols (LLDP) is in nobody's way.
        let is_ip = IP_PROTOCOLS.contains(&fields.nth(3)?);
        let on = fields.next()?.parse::<u32>().ok()?;
        (on == index && is_ip).then(|| fields.next_back()).flatten().map(|inode| format!("socket:[{inode}]"))
    };
    let inodes: Vec<String> = sockets.lines().skip(1).filter_map(inode).collect();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let process = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let holds = |process: &u32| {
        let descriptors = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
        let links = descriptors.filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
        links.into_iter().any(|link| link.to_str().is_some_and(|link| inodes.iter().any(|it| it == link)))
    };
    let named = |process: u32| {
        let name = fs::read_to_string(format!("/proc/{process}/comm")).ok()?.trim().to_owned();
        RIVALS.iter().any(|rival| name.starts_with(rival)).then_some((process, name))
    };
    if inodes.is_empty() {
        return Vec::new();
    }
    process.filter(|process| Some(*process) != router).filter_map(named).filter(|it| holds(&it.0)).collect()
}

/// The box as the target of a forward, behind the host TUN; writes down at which of the `ports` it listens.
pub(super) fn itself(
    config: &Config,
    protocol: Protocol,
    address: Ipv4Addr,
    ports: &mut [Port],
) -> BoxItself {
    for port in &mut *ports {
        let listens = listens(protocol, SocketAddrV4::new(address, port.internal));
        port.answer = if listens { Answer::Open } else { Answer::Closed };
    }
    let setting = |device: &str| {
        let value = fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{device}/rp_filter")).ok()?;
        value.trim().parse::<u32>().ok()
    };
    let tun = config.tun.as_deref().unwrap_or_default();
    // linux/inetdevice.h: the greater of the two counts; 1 is strict.
    let strictness = setting("all").max(setting(tun)).unwrap_or(0);
    // Iface Destination Gateway Flags RefCnt Use Metric Mask
    let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
    let default = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_default = fields.get(1) == Some(&"00000000") && fields.get(7) == Some(&"00000000");
        is_default.then(|| Some((fields.get(6)?.parse::<u32>().ok()?, fields[0].to_owned()))).flatten()
    };
    let strangers_by = routes.lines().filter_map(default).min().map(|(_, device)| device);
    BoxItself {
        listens: ports.iter().any(|port| port.answer == Answer::Open),
        answers_by: strangers_by.filter(|device| device != tun),
        tun: tun.to_owned(),
        is_strict: strictness == 1,
    }
}

/// Whether a socket of the kernel takes what comes to an endpoint.
fn listens(protocol: Protocol, target: SocketAddrV4) -> bool {
    let (files, state) = match protocol {
        Protocol::TCP => (["/proc/net/tcp", "/proc/net/tcp6"], TCP_LISTEN),
        _ => (["/proc/net/udp", "/proc/net/udp6"], UDP_BOUND),
    };
    let own = format!("{:08X}", u32::from_le_bytes(target.ip().octets()));
    let takes = |line: &str| {
        let mut fields = line.split_whitespace();
        let local = fields.nth(1).and_then(|local| local.split_once(':'));
        let is_state = fields.nth(1) == Some(state);
        local.is_some_and(|(address, port)| {
            let is_any = address.bytes().all(|digit| digit == b'0');
            is_state
                && u16::from_str_radix(port, 16) == Ok(target.port())
                && (is_any || address.ends_with(&own))
        })
    };
    files.iter().any(|file| fs::read_to_string(file).unwrap_or_default().lines().skip(1).any(takes))
}
