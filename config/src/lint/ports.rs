//! Too few dynamic ports.

use std::net::Ipv4Addr;

use genkan_engine::wire::ipv4::Protocol;

use super::forwards::external;
use crate::error::{Code, Report};
use crate::schema::File;
use crate::validate::{Checked, Topology, list};

/// Below so many an inside network of a few busy machines runs out of ports.
const ENOUGH: u32 = 1_024;

/// One bit per port.
#[derive(Clone)]
struct PortSet(Box<[u64; 1024]>);

impl PortSet {
    fn new() -> PortSet {
        PortSet(Box::new([0; 1024]))
    }

    fn insert(&mut self, first: u16, last: u16) {
        let (first_word, last_word) = (usize::from(first >> 6), usize::from(last >> 6));
        for word in first_word..=last_word {
            let from_first = if word == first_word { u64::MAX << (first & 63) } else { u64::MAX };
            let to_last = if word == last_word { u64::MAX >> (63 - (last & 63)) } else { u64::MAX };
            self.0[word] |= from_first & to_last;
        }
    }

    fn contains(&self, port: u16) -> bool {
        self.0[usize::from(port >> 6)] & (1 << (port & 63)) != 0
    }
}

pub(super) fn lint(file: &File, checked: &Checked, topology: &Topology<'_>, report: &mut Report) {
    let written = file.nat.as_ref().and_then(|nat| nat.ports.as_ref());
    let dynamic = written
        .map_or(genkan_engine::plan::Nat::default().ports, |ports| ports.value.first..=ports.value.last);
    // Addresses and protocols that have the same number of ports left are one warning.
    // The address that DHCP gives goes as 0.0.0.0.
    let mut short: Vec<(u32, Vec<Ipv4Addr>, Vec<Protocol>)> = Vec::new();
    for protocol in [Protocol::TCP, Protocol::UDP] {
        let taken_on = |address: Option<Ipv4Addr>, set: &mut PortSet| {
            for (forward, resolved) in file.forwards().zip(&checked.forwards) {
                let (Some(resolved), Some(protocols)) = (resolved, &forward.protocol) else { continue };
                if protocols.value.0.contains(&protocol)
                    && forward.address.as_ref().map(|address| address.value.0) == address
                {
                    for range in &resolved.ports {
                        let ports = external(range);
                        set.insert(ports.first, ports.last);
                    }
                }
            }
        };
        let mut everywhere = PortSet::new();
        taken_on(None, &mut everywhere);
        let leased = topology.wan_dhcp.map(|_| Ipv4Addr::UNSPECIFIED);
        for address in leased.iter().chain(topology.external.iter().map(|(address, _)| address)) {
            // 1:1 hosts have all ports of their address.
            let one_to_one = |host: &crate::schema::Host| {
                host.external.as_ref().is_some_and(|external| external.value.0 == *address)
            };
            if file.hosts().any(one_to_one) {
                continue;
            }
            let mut taken = everywhere.clone();
            taken_on(Some(*address), &mut taken);
            let left = dynamic.clone().map(|port| u32::from(!taken.contains(port))).sum();
            if left < ENOUGH {
                let index = short.iter().position(|(count, _, _)| *count == left).unwrap_or_else(|| {
                    short.push((left, Vec::new(), Vec::new()));
                    short.len() - 1
                });
                let (_, addresses, protocols) = &mut short[index];
                if !addresses.contains(address) {
                    addresses.push(*address);
                }
                if !protocols.contains(&protocol) {
                    protocols.push(protocol);
                }
            }
        }
    }
    // The widest forward is to blame where the range itself is wide enough.
    let widest = file
        .forwards()
        .filter_map(|forward| forward.port.as_ref())
        .max_by_key(|ports| ports.value.0.iter().map(|run| run.value.len()).sum::<u32>());
    let Some(blamed) = written.map(|ports| &ports.span).or(widest.map(|ports| &ports.span)) else { return };
    for (left, addresses, protocols) in short {
        let name = |address: &Ipv4Addr| match address.is_unspecified() {
            true => "the address of the lease".to_owned(),
            false => address.to_string(),
        };
        let addresses: Vec<String> = addresses.iter().map(name).collect();
        let (addresses, protocols) = (all_of(&addresses), all_of(&protocols));
        let left = if left == 0 { "no".to_owned() } else { left.to_string() };
        report
            .warning(
                Code::FewPorts,
                blamed,
                format!("{left} dynamic {protocols} ports are left on {addresses}"),
            )
            .label(format!("{ENOUGH} or more are recommended"))
            .note("a busy inside machine uses hundreds; without a free port its new connections are refused")
            .help("widen `ports` in `[nat]` (the default is \"1024-65535\"), or forward fewer ports");
    }
}

/// `a, b and c`.
pub(super) fn all_of<T: ToString>(items: &[T]) -> String {
    list(items.iter().map(ToString::to_string)).replace(" or ", " and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_inserted_whole() {
        for (first, last) in [(0, 0), (0, 63), (1, 64), (63, 64), (100, 1_000), (65_535, 65_535), (0, 65_535)]
        {
            let mut set = PortSet::new();
            set.insert(first, last);
            for port in 0..=u16::MAX {
                assert_eq!(set.contains(port), (first..=last).contains(&port), "{port} in {first}-{last}");
            }
        }
    }
}
