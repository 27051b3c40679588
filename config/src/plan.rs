//! From a file without mistakes to what the engine and the daemon work with. Defaults are filled in here.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use genkan_engine::PortId;
use genkan_engine::local_datagram::Service;
use genkan_engine::plan::{self, ForwardRule, LocalService, Plan};
use genkan_services::dhcp::server::Options;
use ipnet::Ipv4Net;

use crate::error::SourceFile;
use crate::schedule::Zone;
use crate::schema::{
    self, File, Forward, Host, Lan, Log, Metrics, Nat, Route, Timeouts, Told, ToldOption, ToldRoute, Wan,
};
use crate::validate::{Checked, Resolved};
use crate::value::address::{Address, WanAddress};
use crate::value::address_range::AddressRange;
use crate::value::dns::Domain;
use crate::value::listen::Listen;
use crate::value::target::Machine;
use crate::value::{Field, List, Spanned};
use crate::{
    Backend, Config, Device, Dhcp, Dns, DnsStrategy, Facts, Loaded, LogFormat, LogLevel, MetricsPort, Places,
    Relayed, WanDhcp,
};

/// Default of `mtu`: that of Ethernet.
pub(crate) const MTU: u16 = 1500;
/// Default of `lan.dhcp.lease`.
pub(crate) const LEASE: Duration = Duration::from_secs(12 * 3_600);
/// Defaults of `[dns]`: RFC 8375; RFC 8767 section 5 has one to three days.
pub(crate) const DOMAIN: &str = "home.arpa";
const CACHE: u64 = 4 << 20;
const STALE: Duration = Duration::from_secs(24 * 3_600);
/// Defaults of `[services]`.
const SOCKET: &str = "/run/genkan/control.sock";
const STATE: &str = "/var/lib/genkan";
const SAVE_EVERY: Duration = Duration::from_secs(5 * 60);
const SAVE_BUDGET: u64 = 256 << 20;

/// Builds all of it. `None` when a required key is absent or refused, which the reader has reported.
pub(crate) fn build(file: &File, checked: Checked, source: Arc<SourceFile>) -> Option<Loaded> {
    let wan = file.wan.as_ref()?;
    let mut plan = Plan {
        wan: wan_plan(wan)?,
        lans: lans(file, &checked)?,
        routes: file.routes().map(route).collect::<Option<_>>()?,
        host_port: file.router.as_ref().is_some_and(|router| router.tun.is_some()),
        nat: nat(file.nat.as_ref()),
        hosts: Vec::new(),
        forwards: file
            .forwards()
            .zip(checked.forwards)
            .map(|(written, resolved)| forward(written, resolved?))
            .collect::<Option<_>>()?,
        dmz: checked.dmz,
        services: Vec::new(),
    };
    let services = file.services.as_ref();
    let config = Config {
        wan: device("wan".to_owned(), &wan.device, &wan.backend, &wan.mtu)?,
        wan_dhcp: wan_dhcp(wan),
        lans: file
            .lan
            .iter()
            .zip(checked.lan_names)
            .map(|(lan, name)| device(name, &lan.device, &lan.backend, &lan.mtu))
            .collect::<Option<_>>()?,
        dhcp: file.lan.iter().map(|lan| dhcp(lan, file.dns.as_ref())).collect(),
        relayed: file
            .relayed()
            .map(|network| relayed(network, &plan, file.dns.as_ref()))
            .collect::<Option<_>>()?,
        hosts: file.hosts().map(host).collect::<Option<_>>()?,
        targets: file.forwards().map(|forward| name(&forward.to.as_ref()?.value.machine)).collect(),
        dmz_host: file.dmz.as_ref().and_then(|dmz| name(&dmz.to.as_ref()?.value.0)),
        dns: file.dns.as_ref().map(dns),
        tun: file.router.as_ref().and_then(|router| router.tun.as_ref()).map(|tun| tun.value.0.clone()),
        workers: file
            .router
            .as_ref()
            .and_then(|router| router.workers.as_ref())
            .and_then(|workers| u8::try_from(workers.value.0).ok())
            .unwrap_or(1),
        sandbox: file.router.as_ref().is_none_or(|router| flag(&router.sandbox, true)),
        timezone: file
            .router
            .as_ref()
            .and_then(|router| router.timezone.as_ref())
            .map_or_else(Zone::local, |zone| zone.value.clone()),
        schedules: file
            .forwards()
            .map(|forward| forward.schedule.as_ref().map(|schedule| schedule.value.clone()))
            .collect(),
        socket: services
            .and_then(|services| services.socket.as_ref())
            .map_or_else(|| PathBuf::from(SOCKET), |socket| socket.value.0.clone()),
        state: services
            .and_then(|services| services.state.as_ref())
            .map_or_else(|| PathBuf::from(STATE), |state| state.value.0.clone()),
        save_every: services
            .and_then(|services| services.save_every.as_ref())
            .map_or(Some(SAVE_EVERY), |every| every.value.0),
        save_budget: services
            .and_then(|services| services.save_budget.as_ref())
            .map_or(SAVE_BUDGET, |budget| budget.value.0),
        group: services.and_then(|services| services.group.as_ref()).map(|group| group.value.0.clone()),
        log: log(file.log.as_ref()),
        metrics: metrics(file.metrics.as_ref(), &plan),
        ddns: file.ddns().map(|entry| entry.typed()).collect::<Option<_>>()?,
        temporary: file
            .forwards()
            .filter(|forward| flag(&forward.temporary, false))
            .filter_map(|forward| Some(forward.name.as_ref()?.value.0.clone()))
            .collect(),
    };
    plan.services = local_services(&config);
    let written = Loaded { config, plan, warnings: Vec::new(), places: Places { file: source } };
    Some(written.with(&Facts::default()))
}

fn local_services(config: &Config) -> Vec<LocalService> {
    let lans = 0..config.lans.len();
    let is_relayed_by = |lan| config.relayed.iter().any(|relayed| relayed.lan == lan);
    let with_dhcp =
        lans.clone().filter(|lan| config.dhcp[*lan].is_some() || is_relayed_by(*lan)).map(PortId::lan);
    let with_dns = lans.filter(|_| config.dns.is_some()).map(PortId::lan);
    let client = config.wan_dhcp.as_ref();
    let client = client.map(|_| LocalService { service: Service::DhcpClient, port: PortId::WAN });
    let dhcp = with_dhcp.map(|port| LocalService { service: Service::DhcpServer, port });
    client
        .into_iter()
        .chain(dhcp)
        .chain(with_dns.map(|port| LocalService { service: Service::Dns, port }))
        .collect()
}

fn wan_dhcp(wan: &Wan) -> Option<WanDhcp> {
    wan.address.as_ref().filter(|address| address.value == WanAddress::Dhcp)?;
    let said = wan.dhcp.as_ref();
    Some(WanDhcp {
        hostname: said.and_then(|dhcp| dhcp.hostname.as_ref()).map(|name| name.value.0.clone()),
        client_id: said.and_then(|dhcp| dhcp.client_id.as_ref()).map(|id| id.value.0.clone()),
        vendor_class: said.and_then(|dhcp| dhcp.vendor_class.as_ref()).map(|class| class.value.0.clone()),
    })
}

fn domains(names: &Field<List<Domain>>) -> Vec<String> {
    names.iter().flat_map(|list| &list.value.items).map(|name| name.value.0.clone()).collect()
}

fn domain(dns: &schema::Dns) -> String {
    dns.domain.as_ref().map_or_else(|| DOMAIN.to_owned(), |domain| domain.value.0.clone())
}

fn dns(dns: &schema::Dns) -> Dns {
    let upstreams = dns.upstreams.iter().flat_map(|list| &list.value.items);
    let block = dns.block.iter().flat_map(|list| &list.value.items);
    Dns {
        upstreams: upstreams.map(|upstream| upstream.value.0.clone()).collect(),
        strategy: dns.strategy.as_ref().map_or(DnsStrategy::Ordered, |word| word.value.0),
        tls_ca: dns.tls_ca.as_ref().map(|path| path.value.0.clone()),
        domain: domain(dns),
        public_names: domains(&dns.public_names),
        cache: dns.cache.as_ref().map_or(CACHE, |cache| cache.value.0),
        stale: dns.stale.as_ref().map_or(Some(STALE), |stale| stale.value.0),
        rebinding_protection: flag(&dns.rebinding_protection, true),
        rebinding_exceptions: domains(&dns.rebinding_exceptions),
        block: block.map(|path| path.value.0.clone()).collect(),
        statistics: flag(&dns.statistics, false),
    }
}

fn dhcp(lan: &Lan, of_dns: Option<&schema::Dns>) -> Option<Dhcp> {
    let dhcp = lan.dhcp.as_ref()?;
    let own = lan.address.as_ref()?.value.0.addr();
    let router = dhcp.router.as_ref().map_or(own, |router| router.value.0);
    told(&dhcp.told, dhcp.pool.as_ref()?.value, router, own, of_dns)
}

fn relayed(relayed: &schema::Relayed, plan: &Plan, of_dns: Option<&schema::Dns>) -> Option<Relayed> {
    let network = relayed.network.as_ref()?.value.0;
    // As the engine looks routes up: the longest prefix.
    let routes = plan.routes.iter().filter(|route| route.to.contains(&network));
    let via = routes.max_by_key(|route| route.to.prefix_len())?.via;
    let lan = plan.lans.iter().position(|lan| lan.address.contains(&via))?;
    let own = plan.lans[lan].address.addr();
    let router = relayed.router.as_ref()?.value.0;
    Some(Relayed {
        network,
        lan,
        dhcp: told(&relayed.told, relayed.pool.as_ref()?.value, router, own, of_dns)?,
    })
}

/// With a DNS service of its own, the router is the name server that machines are told, at its address `own`, unless the
/// file names others.
fn told(
    told: &Told,
    pool: AddressRange,
    router: Ipv4Addr,
    own: Ipv4Addr,
    of_dns: Option<&schema::Dns>,
) -> Option<Dhcp> {
    let addresses = |list: &Field<List<Address>>| {
        list.iter().flat_map(|list| &list.value.items).map(|address| address.value.0).collect()
    };
    let route = |route: &ToldRoute| Some((route.to.as_ref()?.value.0, route.via.as_ref()?.value.0));
    let option = |option: &ToldOption| {
        let text = option.text.as_ref().map(|text| text.value.0.clone().into_bytes());
        let octets = text.or_else(|| Some(option.hex.as_ref()?.value.0.clone()))?;
        Some((u8::try_from(option.code.as_ref()?.value.0).ok()?, octets))
    };
    Some(Dhcp {
        pool: pool.first..=pool.last,
        lease: told.lease.as_ref().map_or(LEASE, |lease| lease.value.0),
        options: Options {
            routers: vec![router],
            dns: match of_dns.filter(|_| told.dns.is_none()) {
                Some(_) => vec![own],
                None => addresses(&told.dns),
            },
            domain: told.domain.as_ref().map(|domain| domain.value.0.clone()).or_else(|| of_dns.map(domain)),
            ntp: addresses(&told.ntp),
            mtu: told.mtu.as_ref().and_then(|mtu| u16::try_from(mtu.value.0).ok()),
            routes: told.routes.iter().flatten().map(route).collect::<Option<_>>()?,
            vendor: told.vendor.as_ref().map(|vendor| vendor.value.0.clone()).unwrap_or_default(),
            others: told.options.iter().flatten().map(option).collect::<Option<_>>()?,
        },
    })
}

/// Who is answered at each place is decided as the engine decides who reaches a lan.
fn metrics(metrics: Option<&Metrics>, plan: &Plan) -> Vec<MetricsPort> {
    let places =
        metrics.and_then(|metrics| metrics.listen.as_ref()).into_iter().flat_map(|listen| &listen.value.0);
    let port = |place: &Spanned<Listen>| {
        let listen = place.value.0;
        let own = plan.lans.iter().position(|lan| lan.address.addr() == *listen.ip());
        let may = |(index, lan): &(usize, &plan::Lan)| {
            own.is_some_and(|own| own == *index || lan.reaches.contains(&own))
        };
        let mut admits: Vec<Ipv4Net> =
            plan.lans.iter().enumerate().filter(may).map(|(_, lan)| lan.address.trunc()).collect();
        let behind = plan.routes.iter().filter(|route| admits.iter().any(|net| net.contains(&route.via)));
        let behind: Vec<Ipv4Net> = behind.map(|route| route.to).collect();
        admits.extend(behind);
        MetricsPort { listen, admits }
    };
    places.map(port).collect()
}

fn log(log: Option<&Log>) -> crate::Log {
    crate::Log {
        level: log
            .and_then(|log| log.level.as_ref())
            .map_or_else(LogLevel::default, |level| level.value.clone()),
        format: log.and_then(|log| log.format.as_ref()).map_or(LogFormat::Auto, |format| format.value.0),
        nat_events: log.and_then(|log| log.nat_events.as_ref()).map(|path| path.value.0.clone()),
        nat_destinations: log.is_some_and(|log| flag(&log.nat_destinations, false)),
    }
}

fn device(
    label: String,
    device: &Field<crate::value::name::DeviceName>,
    backend: &Field<crate::value::word::Word<Backend>>,
    mtu: &Field<crate::schema::Mtu>,
) -> Option<Device> {
    Some(Device {
        label,
        device: device.as_ref()?.value.0.clone(),
        backend: backend.as_ref().map_or(Backend::Auto, |backend| backend.value.0),
        mtu: mtu_or_default(mtu),
    })
}

fn mtu_or_default(mtu: &Field<crate::schema::Mtu>) -> u16 {
    mtu.as_ref().and_then(|mtu| u16::try_from(mtu.value.0).ok()).unwrap_or(MTU)
}

/// What a wan has until DHCP gives it an address.
const NO_ADDRESS: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 32);

fn wan_plan(wan: &Wan) -> Option<plan::Wan> {
    Some(plan::Wan {
        address: wan.address.as_ref()?.value.fixed().unwrap_or(NO_ADDRESS),
        gateway: wan.gateway.as_ref().map(|gateway| gateway.value.0),
        routes: Vec::new(),
        addresses: wan
            .addresses
            .iter()
            .flat_map(|list| &list.value.items)
            .map(|address| address.value.0)
            .collect(),
        mtu: mtu_or_default(&wan.mtu),
        ping: flag(&wan.ping, true),
    })
}

fn lans(file: &File, checked: &Checked) -> Option<Vec<plan::Lan>> {
    let parts = checked.lan_names.iter().zip(&checked.reaches);
    let lan = |(lan, (name, reaches)): (&Lan, (&String, &Vec<usize>))| {
        Some(plan::Lan {
            name: name.clone(),
            address: lan.address.as_ref()?.value.0,
            mtu: mtu_or_default(&lan.mtu),
            reaches: reaches.clone(),
        })
    };
    file.lan.iter().zip(parts).map(lan).collect()
}

fn route(route: &Route) -> Option<plan::Route> {
    Some(plan::Route { to: route.to.as_ref()?.value.0, via: route.via.as_ref()?.value.0 })
}

fn nat(nat: Option<&Nat>) -> plan::Nat {
    let default = plan::Nat::default();
    let Some(nat) = nat else { return default };
    plan::Nat {
        mapping: nat.mapping.as_ref().map_or(default.mapping, |word| word.value.0),
        filtering: nat.filtering.as_ref().map_or(default.filtering, |word| word.value.0),
        hairpin: flag(&nat.hairpin, default.hairpin),
        port_parity: flag(&nat.port_parity, default.port_parity),
        inbound_refresh: flag(&nat.inbound_refresh, default.inbound_refresh),
        ports: nat.ports.as_ref().map_or(default.ports, |ports| ports.value.first..=ports.value.last),
        max_sessions: number(&nat.max_sessions, default.max_sessions),
        max_sessions_per_host: number(&nat.max_sessions_per_host, default.max_sessions_per_host),
        max_ports_per_host: number(&nat.max_ports_per_host, default.max_ports_per_host),
        timeouts: nat.timeouts.as_ref().map_or(default.timeouts, timeouts),
    }
}

fn timeouts(timeouts: &Timeouts) -> plan::Timeouts {
    let default = plan::Timeouts::default();
    let or = |field: &Field<crate::value::duration::Humane>, default: Duration| {
        field.as_ref().map_or(default, |humane| humane.value.0)
    };
    plan::Timeouts {
        udp: or(&timeouts.udp, default.udp),
        tcp_established: or(&timeouts.tcp_established, default.tcp_established),
        tcp_transitory: or(&timeouts.tcp_transitory, default.tcp_transitory),
        icmp: or(&timeouts.icmp, default.icmp),
        other: or(&timeouts.other, default.other),
    }
}

fn flag(field: &Field<bool>, default: bool) -> bool {
    field.as_ref().map_or(default, |flag| flag.value)
}

fn number<const MIN: u32, const MAX: u32>(
    field: &Field<crate::value::number::Number<MIN, MAX>>,
    default: u32,
) -> u32 {
    field.as_ref().map_or(default, |number| number.value.0)
}

fn name(machine: &Machine) -> Option<String> {
    match machine {
        Machine::Name(name) => Some(name.clone()),
        Machine::Address(_) => None,
    }
}

fn host(host: &Host) -> Option<crate::Host> {
    Some(crate::Host {
        name: host.name.as_ref()?.value.0.clone(),
        mac: host.mac.as_ref().map(|mac| mac.value.0),
        client_id: host.client_id.as_ref().map(|id| id.value.0.clone()),
        address: host.address.as_ref().map(|address| address.value.0),
        filtering: host.filtering.as_ref().map(|word| word.value.0),
        mapping: host.mapping.as_ref().map(|word| word.value.0),
        external: host.external.as_ref().map(|address| address.value.0),
    })
}

fn forward(forward: &Forward, resolved: Resolved) -> Option<ForwardRule> {
    Some(ForwardRule {
        name: forward.name.as_ref()?.value.0.clone(),
        protocols: forward.protocol.as_ref()?.value.0.clone(),
        ports: resolved.ports,
        to: resolved.to,
        address: forward.address.as_ref().map(|address| address.value.0),
        from: forward.from.iter().flat_map(|list| &list.value.items).map(|net| net.value.0).collect(),
        enabled: flag(&forward.enabled, true),
        expires: forward.expires.as_ref().map(|moment| moment.value.0),
        log: flag(&forward.log, false),
        max_sessions: forward.max_sessions.as_ref().map(|number| number.value.0),
        max_new_per_source: forward.max_new_per_source.as_ref().map(|rate| rate.value.0),
    })
}
