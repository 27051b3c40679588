//! What the configuration means to the server of a lan.

use std::net::Ipv4Addr;

use genkan_config::{Dhcp, Loaded, Relayed};
use genkan_engine::frame::PortId;
use genkan_engine::plan::Lan;
use genkan_services::dhcp::server::{Config, Reservation, Subnet};
use ipnet::Ipv4Net;

/// The server of a lan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) port: PortId,
    /// The lan's name.
    pub(super) name: String,
    /// The names of all lans, served or not.
    pub(super) lans: Vec<String>,
    pub(super) config: Config,
}

/// Of every lan that is served, or that relay agents are behind.
pub(super) fn of(loaded: &Loaded) -> Vec<Settings> {
    let lans = loaded.plan.lans.iter().zip(&loaded.config.dhcp).enumerate();
    let served = lans.filter(|(index, (_, dhcp))| dhcp.is_some() || relayed(loaded, *index).next().is_some());
    let names: Vec<String> = loaded.plan.lans.iter().map(|lan| lan.name.clone()).collect();
    let settings = |(index, (lan, dhcp)): (usize, (&Lan, &Option<Dhcp>))| Settings {
        port: PortId::lan(index),
        name: lan.name.clone(),
        lans: names.clone(),
        config: config(loaded, index, lan, dhcp.as_ref()),
    };
    served.map(settings).collect()
}

fn config(loaded: &Loaded, index: usize, lan: &Lan, dhcp: Option<&Dhcp>) -> Config {
    let own = lan.address.addr();
    let prefix = lan.address.trunc();
    let local = dhcp.map_or_else(|| Subnet::new(prefix), |dhcp| subnet(prefix, dhcp));
    let mut config = Config::new(own, local);
    config.relayed = relayed(loaded, index).map(|relayed| subnet(relayed.network, &relayed.dhcp)).collect();
    // A lan that is only on the way to relay agents may have another server.
    let served = std::iter::once(&config.local).chain(&config.relayed).filter(|subnet| subnet.pool.is_some());
    let prefixes: Vec<Ipv4Net> = served.map(|subnet| subnet.prefix).collect();
    // As the file says: what the plan has of them follows the leases.
    for host in &loaded.config.hosts {
        if !host.can_be_found() {
            // Nobody can tell when it asks: it has set its address itself, on whatever lan that is.
            config.taken.extend(host.address);
            config.taken_names.push(host.name.clone());
            continue;
        }
        let is_here =
            |address: &Ipv4Addr| *address != own && prefixes.iter().any(|prefix| prefix.contains(address));
        let Some(address) = host.address.filter(is_here) else { continue };
        let (mac, identifier) = (host.mac, host.client_id.clone());
        config.reservations.push(Reservation { mac, identifier, address, name: Some(host.name.clone()) });
    }
    config
}

fn relayed(loaded: &Loaded, index: usize) -> impl Iterator<Item = &Relayed> {
    loaded.config.relayed.iter().filter(move |relayed| relayed.lan == index)
}

fn subnet(prefix: Ipv4Net, dhcp: &Dhcp) -> Subnet {
    let mut subnet = Subnet::new(prefix);
    subnet.pool = Some(dhcp.pool.clone());
    subnet.lease_time = u32::try_from(dhcp.lease.as_secs()).unwrap_or(u32::MAX).max(1);
    subnet.options = dhcp.options.clone();
    subnet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lan_of_the_file_is_what_its_clients_get() {
        let text = r#"
[wan]
device = "eth0"
address = "203.0.113.1/24"
gateway = "203.0.113.254"

[[lan]]
name = "home"
device = "eth1"
address = "192.168.0.1/24"
[lan.dhcp]
pool = "192.168.0.100-192.168.0.199"
lease = "2h"
dns = ["192.168.0.53"]
domain = "home.arpa"
ntp = ["192.168.0.1"]
mtu = 1400

[[lan]]
name = "guests"
device = "eth2"
address = "192.168.1.1/24"

[[host]]
name = "nas"
mac = "02:00:00:00:00:09"
address = "192.168.0.10"

[[host]]
name = "camera"
address = "192.168.0.11"

[[host]]
name = "doorbell"
address = "192.168.1.11"

[[host]]
name = "elsewhere"
mac = "02:00:00:00:00:0a"
address = "192.168.1.10"

[[route]]
to = "10.9.0.0/16"
via = "192.168.0.2"

[[host]]
name = "plant"
client_id = "ff:00:01"
address = "10.9.0.10"

[[relayed]]
network = "10.9.0.0/24"
pool = "10.9.0.100-10.9.0.199"
router = "10.9.0.1"
"#;
        let loaded = genkan_config::parse(text, "genkan.toml").expect("it is right");
        let all = of(&loaded);
        assert_eq!(all.len(), 1, "the guests are not served");
        let Settings { port, name, lans, config } = &all[0];
        assert_eq!(lans[..], ["home", "guests"]);
        assert_eq!(
            (*port, name.as_str(), config.address.to_string()),
            (PortId::lan(0), "home", "192.168.0.1".into())
        );
        let Subnet { pool, lease_time, options, .. } = &config.local;
        let pool = pool.as_ref().map(|pool| (pool.start().to_string(), pool.end().to_string()));
        assert_eq!(pool, Some(("192.168.0.100".into(), "192.168.0.199".into())));
        assert_eq!(
            (*lease_time, options.mtu, options.domain.as_deref()),
            (7_200, Some(1_400), Some("home.arpa"))
        );
        assert_eq!(options.routers, ["192.168.0.1".parse::<Ipv4Addr>().expect("an address")]);
        assert_eq!(options.dns, ["192.168.0.53".parse::<Ipv4Addr>().expect("an address")]);
        let reserved: Vec<_> = config.reservations.iter().map(|one| one.name.as_deref()).collect();
        assert_eq!(reserved, [Some("nas"), Some("plant")], "of this lan, and known when they ask");
        assert_eq!(config.reservations[1].identifier, Some(vec![255, 0, 1]));
        assert_eq!(config.relayed[0].prefix.to_string(), "10.9.0.0/24");
        let taken: Vec<String> = config.taken.iter().map(ToString::to_string).collect();
        assert_eq!(taken, ["192.168.0.11", "192.168.1.11"]);
        assert_eq!(config.taken_names, ["camera", "doorbell"], "whichever lan they are on");
    }

    /// Another server may be there, whose clients this one must not refuse theirs.
    #[test]
    fn a_lan_without_dhcp_has_no_reservations_either() {
        let text = r#"
[wan]
device = "eth0"
address = "203.0.113.1/24"
[[lan]]
device = "eth1"
address = "192.168.0.1/24"
[[host]]
name = "nas"
mac = "02:00:00:00:00:09"
address = "192.168.0.10"
[[host]]
name = "plant"
mac = "02:00:00:00:00:0a"
client_id = "ff:00:01"
address = "10.9.0.10"
[[route]]
to = "10.9.0.0/16"
via = "192.168.0.2"
[[relayed]]
network = "10.9.0.0/24"
pool = "10.9.0.100-10.9.0.199"
router = "10.9.0.1"
"#;
        let all = of(&genkan_config::parse(text, "genkan.toml").expect("it is right"));
        let reserved: Vec<_> = all[0].config.reservations.iter().map(|one| one.name.as_deref()).collect();
        assert_eq!(reserved, [Some("plant")]);
        assert!(all[0].config.reservations[0].mac.is_some(), "known by both");
    }
}
