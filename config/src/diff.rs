//! What a new configuration changes, in words, and what of it a running router cannot take.

use std::collections::HashMap;
use std::fmt;

use genkan_engine::plan::{ForwardRule, PortRange, Route};
use genkan_services::dhcp::server::Options;
use ipnet::Ipv4Net;
use serde::Serialize;

use crate::ddns::{Ddns, DdnsService, SecretSource};
use crate::facts::ABSENT;
use crate::schedule::Schedule;
use crate::value::duration::humane;
use crate::value::moment::written;
use crate::value::number::grouped;
use crate::value::saving::size;
use crate::value::word::{Words, word_of};
use crate::{Backend, Device, Dhcp, Dns, Host, Loaded, Relayed};

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What it is about: `wan`, `lan home`, `forward web`, `nat`, ...
    pub subject: String,
    /// What is different: `gateway 203.0.113.2 -> 203.0.113.3`, `added: ...`.
    pub text: String,
    /// A running router cannot take it over; it holds from the next start on.
    pub needs_restart: bool,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let restart = if self.needs_restart { " (needs a restart)" } else { "" };
        write!(f, "{}: {}{restart}", self.subject, self.text)
    }
}

/// All differences between two configurations, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// The differences.
    pub changes: Vec<Change>,
}

impl Diff {
    /// Whether both mean the same.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Whether anything needs a restart.
    pub fn needs_restart(&self) -> bool {
        self.changes.iter().any(|change| change.needs_restart)
    }
}

impl fmt::Display for Diff {
    /// One line per difference.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.changes.iter().try_for_each(|change| writeln!(f, "{change}"))
    }
}

/// Compares the running configuration with a new one.
///
/// Names tell what belongs together: a renamed forward is one removed and one added. Comments, order of keys
/// and defaults written out make no difference.
pub fn diff(running: &Loaded, new: &Loaded) -> Diff {
    let mut out = Diff::default();
    out.fields("wan", wan(running), wan(new));
    out.items("lan", lans(running), lans(new), true);
    out.items(
        "route",
        running.plan.routes.iter().map(route).collect(),
        new.plan.routes.iter().map(route).collect(),
        false,
    );
    out.items("relayed", relayed(running), relayed(new), false);
    out.fields("router", router(running), router(new));
    out.fields("nat", nat(running), nat(new));
    out.items(
        "host",
        running.config.hosts.iter().map(host).collect(),
        new.config.hosts.iter().map(host).collect(),
        false,
    );
    out.items("forward", forwards(running), forwards(new), false);
    let dmz = |loaded: &Loaded| {
        let to = loaded.plan.dmz.map(|to| to.to_string()).or_else(|| loaded.config.dmz_host.clone());
        vec![field("to", optional(to))]
    };
    out.items(
        "ddns",
        running.config.ddns.iter().map(ddns).collect(),
        new.config.ddns.iter().map(ddns).collect(),
        false,
    );
    out.fields("dmz", dmz(running), dmz(new));
    out.fields("services", services(running), services(new));
    out.fields("log", log(running), log(new));
    let metrics =
        |loaded: &Loaded| vec![field("listen", join(loaded.config.metrics.iter().map(|port| port.listen)))];
    out.fields("metrics", metrics(running), metrics(new));
    dns(&mut out, running.config.dns.as_ref(), new.config.dns.as_ref());
    out
}

/// A key and its value in words.
struct Field {
    key: &'static str,
    value: String,
    needs_restart: bool,
    /// Only that it changed is told.
    secret: bool,
}

fn field(key: &'static str, value: impl Into<String>) -> Field {
    Field { key, value: value.into(), needs_restart: false, secret: false }
}

/// A key whose value is not told.
fn hidden(key: &'static str, value: impl Into<String>) -> Field {
    Field { secret: true, ..field(key, value) }
}

/// A key that only a restart changes.
fn fixed(key: &'static str, value: impl Into<String>) -> Field {
    Field { needs_restart: true, ..field(key, value) }
}

/// Something with a name.
struct Item {
    name: String,
    fields: Vec<Field>,
}

impl Diff {
    fn push(&mut self, subject: &str, text: String, needs_restart: bool) {
        self.changes.push(Change { subject: subject.to_owned(), text, needs_restart });
    }

    fn fields(&mut self, subject: &str, old: Vec<Field>, new: Vec<Field>) {
        for (old, new) in old.into_iter().zip(new) {
            if old.value == new.value {
                continue;
            }
            let text = match old.secret || new.secret {
                true => format!("{} changed", new.key),
                false => format!("{} {} -> {}", new.key, old.value, new.value),
            };
            self.push(subject, text, new.needs_restart);
        }
    }

    /// `fixed`: none can come, go or change places without a restart.
    fn items(&mut self, kind: &str, old: Vec<Item>, new: Vec<Item>, fixed: bool) {
        let subject = |name: &str| format!("{kind} {name}");
        let places: HashMap<&str, usize> =
            new.iter().enumerate().map(|(index, item)| (item.name.as_str(), index)).collect();
        let kept: Vec<usize> =
            old.iter().filter_map(|item| places.get(item.name.as_str()).copied()).collect();
        let moved = !kept.is_sorted();
        let mut old_by_name = HashMap::new();
        for item in old {
            if places.contains_key(item.name.as_str()) {
                old_by_name.insert(item.name, item.fields);
            } else {
                self.push(&subject(&item.name), "removed".to_owned(), fixed);
            }
        }
        if moved {
            self.push(kind, "the order is different".to_owned(), fixed);
        }
        for item in new {
            let subject = subject(&item.name);
            match old_by_name.remove(&item.name) {
                Some(fields) => self.fields(&subject, fields, item.fields),
                None => {
                    let words: Vec<String> = item
                        .fields
                        .iter()
                        .filter(|field| field.value != "none" && !field.secret)
                        .map(|field| format!("{} {}", field.key, field.value))
                        .collect();
                    self.push(&subject, format!("added: {}", words.join(", ")), fixed);
                }
            }
        }
    }
}

fn none() -> String {
    "none".to_owned()
}

fn join<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() { none() } else { format!("[{}]", items.join(", ")) }
}

fn optional<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(none, |value| value.to_string())
}

fn word<T: Words>(value: Option<T>) -> String {
    value.map_or_else(none, |value| word_of(value).to_owned())
}

fn device(device: &Device) -> [Field; 2] {
    [fixed("device", &device.device), fixed("backend", word::<Backend>(Some(device.backend)))]
}

fn wan(loaded: &Loaded) -> Vec<Field> {
    let wan = &loaded.plan.wan;
    let mut fields = Vec::from(device(&loaded.config.wan));
    let address = match &loaded.config.wan_dhcp {
        Some(_) => "dhcp".to_owned(),
        None => wan.address.to_string(),
    };
    let said = loaded.config.wan_dhcp.clone().unwrap_or_default();
    fields.extend([
        field("address", address),
        field("dhcp.hostname", optional(said.hostname)),
        field("dhcp.client_id", optional(said.client_id.as_deref().map(octets))),
        field("dhcp.vendor_class", optional(said.vendor_class)),
        // With DHCP it is the lease's, and no difference of the file.
        field("gateway", optional(wan.gateway.filter(|_| loaded.config.wan_dhcp.is_none()))),
        field("addresses", join(&wan.addresses)),
        field("mtu", wan.mtu.to_string()),
        field("ping", wan.ping.to_string()),
    ]);
    fields
}

fn lans(loaded: &Loaded) -> Vec<Item> {
    let names: Vec<&str> = loaded.plan.lans.iter().map(|lan| lan.name.as_str()).collect();
    let item = |(lan, (config, dhcp)): (&genkan_engine::plan::Lan, (&Device, &Option<Dhcp>))| {
        let mut fields = Vec::from(device(config));
        // In words, so that another lan before it makes no difference.
        let reached = if lan.reaches.len() + 1 == names.len() {
            "every lan".to_owned()
        } else {
            join(lan.reaches.iter().filter_map(|index| names.get(*index)))
        };
        fields.extend([
            field("address", lan.address.to_string()),
            field("mtu", lan.mtu.to_string()),
            field("reaches", reached),
            field("dhcp", dhcp.as_ref().map_or_else(none, handed_out)),
        ]);
        Item { name: lan.name.clone(), fields }
    };
    let configs = loaded.config.lans.iter().zip(&loaded.config.dhcp);
    loaded.plan.lans.iter().zip(configs).map(item).collect()
}

fn octets(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().join(":")
}

fn handed_out(dhcp: &Dhcp) -> String {
    let Dhcp { pool, lease, options } = dhcp;
    let Options { routers, dns, domain, ntp, mtu, routes, vendor, others } = options;
    // What few files have is not said of all of them.
    let mut rest = String::new();
    if !routes.is_empty() {
        rest += &format!(", routes {}", join(routes.iter().map(|(to, via)| format!("{to} via {via}"))));
    }
    if !vendor.is_empty() {
        rest += &format!(", vendor {}", octets(vendor));
    }
    if !others.is_empty() {
        rest += &format!(
            ", options {}",
            join(others.iter().map(|(code, held)| format!("{code} {}", octets(held))))
        );
    }
    format!(
        "[pool {}-{}, lease {}, router {}, dns {}, domain {}, ntp {}, mtu {}{rest}]",
        pool.start(),
        pool.end(),
        humane(*lease),
        join_plain(routers, ", "),
        join(dns),
        optional(domain.as_ref()),
        join(ntp),
        optional(*mtu)
    )
}

fn relayed(loaded: &Loaded) -> Vec<Item> {
    let item = |relayed: &Relayed| Item {
        name: relayed.network.to_string(),
        fields: vec![
            field("lan", &loaded.config.lans[relayed.lan].label),
            field("dhcp", handed_out(&relayed.dhcp)),
        ],
    };
    loaded.config.relayed.iter().map(item).collect()
}

fn route(route: &Route) -> Item {
    Item { name: route.to.to_string(), fields: vec![field("via", route.via.to_string())] }
}

fn router(loaded: &Loaded) -> Vec<Field> {
    vec![
        fixed("tun", optional(loaded.config.tun.as_ref())),
        fixed("workers", loaded.config.workers.to_string()),
        fixed("sandbox", loaded.config.sandbox.to_string()),
        field("timezone", loaded.config.timezone.to_string()),
    ]
}

fn services(loaded: &Loaded) -> Vec<Field> {
    vec![
        fixed("socket", loaded.config.socket.display().to_string()),
        fixed("state", loaded.config.state.display().to_string()),
        field("save_every", loaded.config.save_every.map_or_else(|| "never".to_owned(), humane)),
        field("save_budget", size(loaded.config.save_budget)),
        fixed("group", optional(loaded.config.group.as_ref())),
    ]
}

fn dns(out: &mut Diff, old: Option<&Dns>, new: Option<&Dns>) {
    match (old, new) {
        (Some(old), Some(new)) => out.fields("dns", dns_fields(old), dns_fields(new)),
        (None, Some(new)) => out.push("dns", format!("on, upstreams {}", join(&new.upstreams)), false),
        (Some(_), None) => out.push("dns", "off".to_owned(), false),
        (None, None) => {}
    }
}

fn dns_fields(dns: &Dns) -> Vec<Field> {
    vec![
        field("upstreams", join(&dns.upstreams)),
        field("strategy", word(Some(dns.strategy))),
        field("tls_ca", optional(dns.tls_ca.as_ref().map(|path| path.display()))),
        field("domain", &dns.domain),
        field("public_names", join(&dns.public_names)),
        field("cache", size(dns.cache)),
        field("stale", dns.stale.map_or_else(|| "never".to_owned(), humane)),
        field("rebinding_protection", dns.rebinding_protection.to_string()),
        field("rebinding_exceptions", join(&dns.rebinding_exceptions)),
        field("block", join(dns.block.iter().map(|path| path.display()))),
        field("statistics", dns.statistics.to_string()),
    ]
}

fn log(loaded: &Loaded) -> Vec<Field> {
    let log = &loaded.config.log;
    vec![
        field("level", log.level.to_string()),
        field("format", word(Some(log.format))),
        field("nat_events", optional(log.nat_events.as_ref().map(|path| path.display()))),
        field("nat_destinations", log.nat_destinations.to_string()),
    ]
}

fn nat(loaded: &Loaded) -> Vec<Field> {
    let nat = &loaded.plan.nat;
    vec![
        field("mapping", word(Some(nat.mapping))),
        field("filtering", word(Some(nat.filtering))),
        field("hairpin", nat.hairpin.to_string()),
        field("port_parity", nat.port_parity.to_string()),
        field("inbound_refresh", nat.inbound_refresh.to_string()),
        field("ports", format!("{}-{}", nat.ports.start(), nat.ports.end())),
        field("max_sessions", grouped(nat.max_sessions)),
        field("max_sessions_per_host", grouped(nat.max_sessions_per_host)),
        field("max_ports_per_host", grouped(nat.max_ports_per_host)),
        field("timeouts.udp", humane(nat.timeouts.udp)),
        field("timeouts.tcp_established", humane(nat.timeouts.tcp_established)),
        field("timeouts.tcp_transitory", humane(nat.timeouts.tcp_transitory)),
        field("timeouts.icmp", humane(nat.timeouts.icmp)),
        field("timeouts.other", humane(nat.timeouts.other)),
    ]
}

fn host(host: &Host) -> Item {
    Item {
        name: host.name.clone(),
        fields: vec![
            field("address", optional(host.address)),
            field("mac", optional(host.mac)),
            field("client_id", optional(host.client_id.as_deref().map(octets))),
            field("mapping", word(host.mapping)),
            field("filtering", word(host.filtering)),
            field("external", optional(host.external)),
        ],
    }
}

fn ddns(entry: &Ddns) -> Item {
    let text = |text: &Option<String>| optional(text.as_ref());
    let named = |name: &String| if name.is_empty() { none() } else { name.clone() };
    // The same keys of every kind, so that a change of kind shows.
    let (mut url, mut username, mut contact) = (none(), none(), none());
    let (mut server, mut zone, mut key, mut algorithm, mut ttl) = (none(), none(), none(), none(), none());
    match &entry.service {
        DdnsService::Known { username: name, contact: mail, .. } => {
            (username, contact) = (named(name), text(mail));
        }
        DdnsService::Custom { url: template, username: name, contact: mail } => {
            (url, username, contact) = (template.clone(), named(name), text(mail));
        }
        DdnsService::Cloudflare { url: api, zone: name } => (url, zone) = (text(api), name.clone()),
        DdnsService::DnsUpdate { server: host, port, zone: name, key: of, algorithm: with, ttl: seconds } => {
            (server, zone, key) = (format!("{host}:{port}"), text(name), text(of));
            (algorithm, ttl) = (word_of(*with).to_owned(), format!("{seconds}s"));
        }
    }
    let (password, file) = match &entry.secret {
        None => (none(), none()),
        Some(SecretSource::Inline(secret)) => (secret.expose().to_owned(), none()),
        Some(SecretSource::File(path)) => (none(), path.display().to_string()),
    };
    Item {
        name: entry.names.first().map(|name| entry.family.called(name)).unwrap_or_default(),
        fields: vec![
            field("provider", entry.provider),
            field("names", join(&entry.names)),
            // It may have a token in it.
            hidden("url", url),
            field("username", username),
            hidden("password", password),
            field("password file", file),
            field("server", server),
            field("zone", zone),
            field("key", key),
            field("algorithm", algorithm),
            field("ttl", ttl),
            field("source", entry.source.to_string()),
            field("allow_private", entry.allow_private.to_string()),
            field("ca_file", optional(entry.ca_file.as_ref().map(|path| path.display()))),
            field("contact", contact),
        ],
    }
}

fn forwards(loaded: &Loaded) -> Vec<Item> {
    let item = |((rule, target), schedule): ((&ForwardRule, &Option<String>), &Option<Schedule>)| {
        // A device that is known by its name alone.
        let name = target.as_deref().filter(|_| rule.to == ABSENT);
        forward(rule, name, loaded.config.temporary.contains(&rule.name), schedule.as_ref())
    };
    loaded.plan.forwards.iter().zip(&loaded.config.targets).zip(&loaded.config.schedules).map(item).collect()
}

fn forward(rule: &ForwardRule, name: Option<&str>, temporary: bool, schedule: Option<&Schedule>) -> Item {
    let external = |range: &PortRange| run(range.external_first, range.external_last);
    let internal = |range: &PortRange| {
        // The config crate has checked that it does not go beyond 65535.
        run(range.internal_first, range.internal_first + (range.external_last - range.external_first))
    };
    let same = rule.ports.iter().all(|range| range.external_first == range.internal_first);
    let machine = name.map_or_else(|| rule.to.to_string(), ToOwned::to_owned);
    let to = match &rule.ports[..] {
        [only] if !same => format!("{machine}:{}", internal(only)),
        _ => machine,
    };
    let everybody = rule.from.is_empty() || rule.from.iter().any(|net: &Ipv4Net| net.prefix_len() == 0);
    Item {
        name: rule.name.clone(),
        fields: vec![
            field("protocol", join_plain(&rule.protocols, "+")),
            field("port", join_plain(rule.ports.iter().map(external), ",")),
            field("to", to),
            field("address", optional(rule.address)),
            field("from", if everybody { "everybody".to_owned() } else { join(&rule.from) }),
            field("enabled", rule.enabled.to_string()),
            field("expires", optional(rule.expires.map(written))),
            field("temporary", if temporary { "true".to_owned() } else { none() }),
            field("schedule", optional(schedule)),
            field("max_sessions", optional(rule.max_sessions.map(grouped))),
            field("max_new_per_source", optional(rule.max_new_per_source)),
            field("log", rule.log.to_string()),
        ],
    }
}

fn join_plain<T: ToString>(items: impl IntoIterator<Item = T>, separator: &str) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(separator)
}

fn run(first: u16, last: u16) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}
