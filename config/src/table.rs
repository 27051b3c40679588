//! Reads the keys of one TOML table, so that nothing in it goes unnoticed.

use toml::de::{DeTable, DeValue};

use crate::error::{Code, Report, Span};
use crate::json_schema::{self, Keys};
use crate::later;
use crate::suggest::closest;
use crate::validate::list;
use crate::value::{Field, Place, Spanned, Value, kind, shorten};

/// A kind of file: what messages about unknown keys say.
pub(crate) struct Grammar {
    /// What it is, with an article.
    pub(crate) what: &'static str,
    /// The keys of its tables.
    pub(crate) keys: fn() -> &'static Keys,
    /// Keys that take a table as well as a value.
    pub(crate) either: &'static [&'static str],
    /// Why a key of a table does not work yet.
    pub(crate) later: fn(table: &str, key: &str) -> Option<&'static str>,
    /// Table, other words that people use for a key of it, and the key.
    pub(crate) synonyms: &'static [(&'static str, &'static [&'static str], &'static str)],
}

/// Of a configuration.
pub(crate) static CONFIGURATION: Grammar = Grammar {
    what: "a configuration",
    keys: json_schema::keys,
    either: &[],
    later: later::key,
    synonyms: SYNONYMS,
};

/// A table being read. Each key is asked for once; [`Table::finish`] reports the ones that nobody asked for.
pub(crate) struct Table<'a, 'd> {
    grammar: &'static Grammar,
    /// `nat.timeouts`; empty for the top of the file.
    path: &'static str,
    span: Span,
    entries: &'a DeTable<'d>,
    asked: Vec<&'static str>,
    /// Required keys that are not there, with a value that would do.
    missing: Vec<(&'static str, String)>,
    report: &'a mut Report,
}

impl<'a, 'd> Table<'a, 'd> {
    /// The top of a file of this kind.
    pub(crate) fn top(
        grammar: &'static Grammar,
        entries: &'a DeTable<'d>,
        report: &'a mut Report,
    ) -> Table<'a, 'd> {
        Table::new(grammar, "", 0..0, entries, report)
    }

    /// The table at `path`, whose header (or braces) is at `span`.
    fn new(
        grammar: &'static Grammar,
        path: &'static str,
        span: Span,
        entries: &'a DeTable<'d>,
        report: &'a mut Report,
    ) -> Table<'a, 'd> {
        Table { grammar, path, span, entries, asked: Vec::new(), missing: Vec::new(), report }
    }

    /// Whether a key is there and holds a table.
    pub(crate) fn holds_table(&self, key: &str) -> bool {
        self.entries.get(key).is_some_and(|value| value.get_ref().is_table())
    }

    /// Whether nothing is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a key is there.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Whether a key is there, or one that was most likely meant as it.
    pub(crate) fn is_meant(&self, key: &str) -> bool {
        let known = (self.grammar.keys)().get(self.path).map_or(&[][..], Vec::as_slice);
        let names = self.entries.keys().map(|name| name.get_ref().as_ref());
        self.has(key)
            || names.filter(|name| !known.iter().any(|known| known == name)).any(|name| {
                let meant = synonym(self.grammar, self.path, name);
                meant.or_else(|| closest(name, known.iter().map(String::as_str))) == Some(key)
            })
    }

    /// Reports that none of several keys is there. Each with a value of it, as TOML.
    pub(crate) fn misses_all(&mut self, keys: &[(&str, &str)]) {
        let names: Vec<String> = keys.iter().map(|(key, _)| format!("`{key}`")).collect();
        let message = format!("none of {} is there in `{}`", names.join(", "), brackets(self.path));
        let diagnostic = self.report.error(Code::MissingKey, &self.span, message);
        diagnostic.label("this table needs one of them");
        for (index, (key, example)) in keys.iter().enumerate() {
            let word = if index == 0 { "add" } else { "or" };
            diagnostic.help(format!("{word} `{key} = {example}`"));
        }
    }

    /// Where the table begins: its header, or its braces.
    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    fn entry(&mut self, key: &'static str) -> Option<(&'a DeValue<'d>, Span)> {
        self.asked.push(key);
        self.entries.get(key).map(|value| (value.get_ref(), value.span()))
    }

    /// Whether it stands between braces: no header can add to it.
    fn in_braces(&self) -> bool {
        self.report.text(&self.span).starts_with('{')
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// A key that may be left out. `example` is a value of it, as TOML.
    pub(crate) fn optional<T: Value>(&mut self, key: &'static str, example: &str) -> Field<T> {
        let (value, span) = self.entry(key)?;
        let path = self.path_of(key);
        let place = Place { path: &path, key, example, in_list: false };
        T::read(value, &span, place, self.report).map(|value| Spanned::new(value, span))
    }

    /// A key that has to be there.
    pub(crate) fn required<T: Value>(&mut self, key: &'static str, example: &str) -> Field<T> {
        if !self.entries.contains_key(key) {
            self.missing.push((key, example.to_owned()));
        }
        self.optional(key, example)
    }

    /// A table inside this one, written `[path]`.
    pub(crate) fn table<T>(
        &mut self,
        path: &'static str,
        key: &'static str,
        read: impl FnOnce(Table<'_, '_>) -> T,
    ) -> Option<T> {
        let (value, span) = self.entry(key)?;
        match value {
            DeValue::Table(entries) => Some(read(Table::new(self.grammar, path, span, entries, self.report))),
            // What `[[wan]]` gives: one table is as good as `[wan]`, but it is not how this file is written.
            DeValue::Array(array) if array.iter().any(|element| element.get_ref().is_table()) => {
                let second = array.get(1).map(|element| element.span());
                let diagnostic = self
                    .report
                    .error(
                        Code::WrongType,
                        second.as_ref().unwrap_or(&span),
                        format!("`{path}` is a single table"),
                    )
                    .label("a single table with single brackets is needed")
                    .help(format!("write `[{path}]`, once"));
                if second.is_some() {
                    diagnostic.related(&span, "the first one");
                }
                None
            }
            _ => {
                let message = format!("`{path}` is a table, not {}", kind(value));
                let help = match self.in_braces() {
                    true => format!("write `{key} = {{ ... }}`, with its keys between the braces"),
                    false => format!("write `[{path}]` on a line of its own, and its keys below it"),
                };
                self.report.error(Code::WrongType, &span, message).label("a table is needed here").help(help);
                None
            }
        }
    }

    /// Tables of a kind of which there may be several, written `[[path]]`.
    pub(crate) fn tables<T>(
        &mut self,
        path: &'static str,
        key: &'static str,
        mut read: impl FnMut(Table<'_, '_>) -> T,
    ) -> Vec<T> {
        let Some((value, span)) = self.entry(key) else { return Vec::new() };
        let elements = match value {
            DeValue::Array(array) => array,
            other => {
                let message = match other {
                    DeValue::Table(_) => format!("`{path}` is a list of tables"),
                    _ => format!("`{path}` is a list of tables, not {}", kind(other)),
                };
                let written = self.report.text(&span);
                let (label, help) = if written.starts_with('{') {
                    ("brackets are needed around it: there may be several", format!("`{key} = [{written}]`"))
                } else if self.in_braces() {
                    (
                        "a list of tables is needed here",
                        format!("`{key} = [{{ ... }}]`, with the keys between the braces"),
                    )
                } else if other.is_table() {
                    ("double brackets are needed here: there may be several", format!("`[[{path}]]`"))
                } else {
                    let help = format!("`[[{path}]]` on a line of its own, and its keys below it");
                    ("double brackets are needed here: there may be several", help)
                };
                self.report.error(Code::WrongType, &span, message).label(label).help(format!("write {help}"));
                // Its keys are read all the same, so that their mistakes show up in the same run.
                if let DeValue::Table(entries) = other {
                    return vec![read(Table::new(self.grammar, path, span, entries, self.report))];
                }
                return Vec::new();
            }
        };
        let in_braces = self.in_braces();
        let mut tables = Vec::with_capacity(elements.len());
        for element in elements.iter() {
            match element.get_ref() {
                DeValue::Table(entries) => {
                    tables.push(read(Table::new(self.grammar, path, element.span(), entries, self.report)));
                }
                other => {
                    self.report
                        .error(
                            Code::WrongType,
                            &element.span(),
                            format!("`{path}` is a list of tables, this is {}", kind(other)),
                        )
                        .label("a table is needed here")
                        .help(match in_braces {
                            true => format!("write `{key} = [{{ ... }}]`, with the keys between the braces"),
                            false => {
                                format!("write `[[{path}]]` on a line of its own, and its keys below it")
                            }
                        });
                }
            }
        }
        tables
    }

    /// Reports the keys that nobody asked for, and those that are missing.
    pub(crate) fn finish(mut self) {
        for (key, value) in self.entries {
            let name = key.get_ref().as_ref();
            if self.asked.contains(&name) {
                continue;
            }
            // A header is underlined as a whole.
            let value_span = value.span();
            let table = match value.get_ref() {
                DeValue::Table(_) => true,
                DeValue::Array(array) => array.first().is_some_and(|first| first.get_ref().is_table()),
                _ => false,
            };
            let header = match value.get_ref() {
                DeValue::Table(_) => self.report.text(&value_span).starts_with('['),
                DeValue::Array(array) => array.first().is_some_and(|first| first.span() == value_span),
                _ => false,
            };
            let span = if header { value_span } else { key.span() };
            let path = self.path_of(name);
            if let Some(what) = (self.grammar.later)(self.path, name) {
                self.report
                    .error(Code::NotYet, &span, format!("`{path}` is not in this version yet"))
                    .label(what)
                    .help("take it out for now: this version would not do what it says");
            } else {
                let written = self.report.text(&value.span());
                let braces = table && !header && written.starts_with(['{', '[']);
                let form = Form { table, in_braces: braces || self.in_braces() };
                let Some(meant) = unknown(self.grammar, self.path, name, form, &span, self.report) else {
                    continue;
                };
                // A misspelt key is one mistake, not also a missing one.
                self.missing.retain(|(key, _)| *key != meant);
            }
        }
        self.report_missing();
    }

    /// Reports the required keys that are not there, all of a table in one.
    fn report_missing(&mut self) {
        let Some((last, others)) = self.missing.split_last() else { return };
        let names: Vec<String> = others.iter().map(|(key, _)| format!("`{key}`")).collect();
        let (message, label) = if names.is_empty() {
            (format!("`{}` is missing", self.path_of(last.0)), format!("this table needs `{}`", last.0))
        } else {
            let names = format!("{} and `{}`", names.join(", "), last.0);
            (format!("{names} are missing in `{}`", brackets(self.path)), "this table needs them".to_owned())
        };
        let diagnostic = self.report.error(Code::MissingKey, &self.span, message);
        diagnostic.label(label);
        for (key, example) in &self.missing {
            diagnostic.help(format!("add `{key} = {example}`"));
        }
    }
}

/// How an unknown key is written.
#[derive(Clone, Copy)]
struct Form {
    /// It holds a table.
    table: bool,
    /// That, or what it stands in, is in braces, so that a header is no advice.
    in_braces: bool,
}

/// Reports an unknown key or table, and returns the key that was most likely meant.
fn unknown(
    grammar: &Grammar,
    table: &'static str,
    name: &str,
    form: Form,
    span: &Span,
    report: &mut Report,
) -> Option<&'static str> {
    let path_of = |key: &str| if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") };
    let tables = (grammar.keys)();
    let keys = |table: &str| tables.get(table).map_or(&[][..], Vec::as_slice);
    let is_table = |key: &str| !keys(&path_of(key)).is_empty();
    // A table is shown with the brackets it is written with.
    let shown = |key: &str| {
        let as_header = is_table(key) && !grammar.either.contains(&key) && !form.in_braces;
        if as_header { brackets(&path_of(key)) } else { key.to_owned() }
    };
    let owner = |table: &str| match table {
        "" => "the top of the file".to_owned(),
        _ => format!("`{}`", brackets(table)),
    };
    let written = report.text(span);
    let written = if written.starts_with('[') { written.to_owned() } else { path_of(name) };
    let what = if form.table { "table" } else { "key" };
    // What is written as a table was meant to be one; in braces a list of tables looks like any other.
    let fits = |key: &str| {
        let table = is_table(key);
        grammar.either.contains(&key) || table == form.table || table && form.in_braces
    };
    let here = || keys(table).iter().map(String::as_str).filter(|key| fits(key));
    let guess = synonym(grammar, table, name).filter(|key| fits(key)).or_else(|| closest(name, here()));
    let elsewhere: Vec<String> = tables
        .iter()
        .filter(|(other, keys)| *other != table && keys.iter().any(|key| key == name))
        .map(|(other, _)| owner(other))
        .collect();
    let diagnostic =
        report.error(Code::UnknownKey, span, format!("there is no {what} `{}`", shorten(&written)));
    diagnostic.label(match table {
        "" => format!("{} has no such {what}", grammar.what),
        _ => format!("{} has no such {what}", owner(table)),
    });
    if let Some(guess) = guess {
        diagnostic.help(format!("did you mean `{}`?", shown(guess)));
    } else if !elsewhere.is_empty() {
        diagnostic.help(format!("`{name}` belongs to {}", list(elsewhere)));
    } else {
        let quote = |keys: Vec<&str>| {
            keys.into_iter().map(|key| format!("`{}`", shown(key))).collect::<Vec<_>>().join(", ")
        };
        let known: Vec<&str> = here().collect();
        // Below a header a table may be missed as well.
        let tables: Vec<&str> = match !form.table && !form.in_braces && !table.is_empty() {
            true => keys(table).iter().map(String::as_str).filter(|key| !fits(key)).collect(),
            false => Vec::new(),
        };
        if known.is_empty() {
            diagnostic.help("take it out");
        } else {
            diagnostic.help(format!("known {what}s: {}", quote(known)));
        }
        if !tables.is_empty() {
            diagnostic.help(format!("known tables: {}", quote(tables)));
        }
    }
    guess
}

/// How a table's header is written.
pub(crate) fn brackets(table: &str) -> String {
    match table {
        "lan" | "route" | "relayed" | "host" | "forward" | "ddns" | "test" | "test.step" => {
            format!("[[{table}]]")
        }
        "lan.dhcp.routes" | "lan.dhcp.options" | "relayed.routes" | "relayed.options" => {
            format!("[[{table}]]")
        }
        "network" | "gateway" | "link" => format!("[[{table}]]"),
        _ => format!("[{table}]"),
    }
}

/// Other words that people use for a key, of iptables, of other routers' files.
const SYNONYMS: &[(&str, &[&str], &str)] = &[
    ("", &["interface", "internet", "external", "uplink"], "wan"),
    ("", &["network", "internal", "subnet"], "lan"),
    ("", &["port_forward", "portforward", "port_forwards", "rule", "dnat", "redirect"], "forward"),
    ("", &["static_route", "gateway"], "route"),
    ("", &["client", "clients", "device", "devices", "static"], "host"),
    ("", &["dyndns", "dyndns2", "dynamic_dns", "dynamicdns"], "ddns"),
    ("ddns", &["name", "host", "hosts", "hostname", "hostnames", "domain", "domains"], "names"),
    ("ddns", &["service", "type", "protocol", "kind"], "provider"),
    ("ddns", &["user", "login", "account"], "username"),
    ("ddns", &["pass", "passwd", "pwd"], "password"),
    ("ddns", &["api_token", "api_key", "apikey"], "token"),
    ("ddns", &["key_name", "keyname"], "key"),
    ("ddns", &["ip", "address", "address_source", "check"], "source"),
    ("ddns", &["ca", "cafile", "ca_bundle", "ca_certificate"], "ca_file"),
    ("ddns", &["email", "mail"], "contact"),
    ("wan", &["interface", "iface", "if", "name", "nic"], "device"),
    ("wan", &["ip", "cidr"], "address"),
    ("wan", &["router", "via", "gw", "next_hop"], "gateway"),
    ("wan", &["aliases", "ips", "extra_addresses"], "addresses"),
    ("wan", &["icmp", "answer_ping"], "ping"),
    ("wan.dhcp", &["id", "clientid", "client_identifier", "dhcp_id"], "client_id"),
    ("wan.dhcp", &["vendor", "vendorid", "vendor_id", "vendor_class_id", "class"], "vendor_class"),
    ("wan.dhcp", &["name", "host_name"], "hostname"),
    ("lan", &["interface", "iface", "if", "nic"], "device"),
    ("lan", &["ip", "cidr", "gateway"], "address"),
    ("lan", &["reach", "allow", "access"], "reaches"),
    ("route", &["network", "destination", "prefix", "dst"], "to"),
    ("route", &["gateway", "gw", "next_hop", "nexthop"], "via"),
    ("", &["relay", "dhcp_relay", "shared_network"], "relayed"),
    ("relayed", &["prefix", "subnet", "address"], "network"),
    ("relayed", &["gateway", "gw"], "router"),
    ("lan.dhcp", &["gateway", "gw"], "router"),
    ("host", &["id", "clientid", "client_identifier", "dhcp_id"], "client_id"),
    ("host", &["ip"], "address"),
    ("host", &["hostname", "label"], "name"),
    ("host", &["mac_address", "hwaddr", "ether"], "mac"),
    ("forward", &["proto", "type"], "protocol"),
    ("forward", &["external_port", "dport", "source_port", "from_port", "listen"], "port"),
    ("forward", &["target", "destination", "dest", "internal", "internal_ip", "host", "to_address"], "to"),
    ("forward", &["source", "src", "sources", "allow", "allowed", "whitelist"], "from"),
    ("forward", &["external", "external_ip", "external_address", "wan_address", "dst"], "address"),
    ("forward", &["enable", "active", "on"], "enabled"),
    ("forward", &["expire", "expiry", "until", "valid_until"], "expires"),
    ("forward", &["hours", "open", "opening_hours", "times", "time"], "schedule"),
    ("forward", &["comment", "description", "label", "title"], "name"),
    ("dmz", &["host", "target", "address", "ip"], "to"),
    ("nat", &["loopback", "nat_loopback", "reflection"], "hairpin"),
    ("nat", &["port_range", "dynamic_ports"], "ports"),
    ("nat.timeouts", &["tcp"], "tcp_established"),
    ("dns", &["servers", "forwarders", "nameservers", "resolvers", "upstream", "server"], "upstreams"),
    ("dns", &["local_domain", "zone", "search"], "domain"),
    ("dns", &["cache_size", "cachesize"], "cache"),
    ("dns", &["blocklist", "blocklists", "block_lists", "blocked", "adblock"], "block"),
    ("dns", &["rebind_protection", "stop_dns_rebind"], "rebinding_protection"),
    ("dns", &["rebind_domain_ok", "private_domain"], "rebinding_exceptions"),
    ("dns", &["ca", "ca_file"], "tls_ca"),
    ("services", &["control", "api"], "socket"),
    ("services", &["state_dir", "state_directory"], "state"),
    ("router", &["threads", "cores"], "workers"),
    ("router", &["tz", "time_zone", "zone"], "timezone"),
];

/// The key of a table that people also call `name`.
fn synonym(grammar: &Grammar, table: &str, name: &str) -> Option<&'static str> {
    let name = name.to_lowercase().replace('-', "_");
    grammar
        .synonyms
        .iter()
        .find(|(of, words, _)| *of == table && words.contains(&name.as_str()))
        .map(|(_, _, key)| *key)
}
