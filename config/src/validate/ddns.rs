//! `[[ddns]]`: every kind of service has keys of its own, and a name has one entry.

use std::collections::HashMap;
use std::net::IpAddr;

use genkan_services::ddns::{DnsName, EntryError, Family, Secret, Template, host, provider};

use crate::ddns::{AddressSource, DdnsError, SecretSource};
use crate::error::{Code, Report, Span};
use crate::schema::{Ddns, File, SECRETS};
use crate::validate::{Topology, list};
use crate::value::ddns::{CLOUDFLARE, CUSTOM, DNS_UPDATE, ProviderName};

/// Most names of one entry.
const MOST_NAMES: usize = 32;
/// Stands for a password whose file is not read here; it is base64, too.
const SOME_PASSWORD: &str = "c29tZSBwYXNzd29yZA==";

/// Checks all of them.
pub(super) fn check(file: &File, topology: &Topology<'_>, report: &mut Report) {
    if let (Some(first), false) = (file.ddns().next(), topology.tun) {
        report
            .error(Code::Conflict, &first.span, "`[[ddns]]` without `router.tun`: the box has no way out")
            .label("its updates could not be sent")
            .help("add `[router]`, and below it `tun = \"genkan0\"`: the box goes out through the wan then");
    }
    let mut seen: HashMap<(&str, Family), &Span> = HashMap::new();
    for entry in file.ddns() {
        let errors = report.count();
        names(entry, &mut seen, report);
        secrets(entry, report);
        let Some(provider) = entry.provider.as_ref().map(|provider| provider.value.0) else { continue };
        keys(entry, provider, report);
        needs(entry, provider, report);
        family(entry, provider, report);
        way(entry, report);
        zone(entry, report);
        if report.count() == errors {
            whole(entry, report);
        }
    }
}

fn names<'f>(entry: &'f Ddns, seen: &mut HashMap<(&'f str, Family), &'f Span>, report: &mut Report) {
    let Some(names) = &entry.names else { return };
    let items = &names.value.items;
    if names.value.complete && !(1..=MOST_NAMES).contains(&items.len()) {
        report
            .error(Code::BadValue, &names.span, format!("`ddns.names` has {} names", items.len()))
            .label(format!("1 to {MOST_NAMES} names are accepted"))
            .help("for example `names = [\"home.example.net\"]`");
    }
    let Some(family) = entry.family() else { return };
    for name in items {
        // A name may have an address of each family, from an entry of its own.
        let key = (name.value.0.as_str(), family);
        if let Some(first) = seen.get(&key) {
            report
                .error(Code::Conflict, &name.span, format!("`ddns.names` has `{}` twice", name.value.0))
                .label("the second one")
                .related(first, "the first one")
                .help("take one of them away: two services cannot keep the same name");
        } else {
            seen.insert(key, &name.span);
        }
    }
}

fn secrets(entry: &Ddns, report: &mut Report) {
    let secrets = entry.secrets();
    if let [(first, _, first_span), (second, _, second_span), ..] = &secrets[..] {
        report
            .error(Code::Conflict, second_span, format!("`ddns.{first}` and `ddns.{second}` are both there"))
            .label("the second one")
            .related(first_span, "the first one")
            .help("take one of them away");
    }
}

/// A service that could be reached over IPv6 alone.
fn way(entry: &Ddns, report: &mut Report) {
    let Some(url) = &entry.url else { return };
    let address = host(&url.value.0).ok().and_then(|host| host.parse().ok());
    if address.is_some_and(|address: IpAddr| address.is_ipv6()) {
        report
            .error(
                Code::Conflict,
                &url.span,
                "`ddns.url` is reached over IPv6, and updates are sent over IPv4",
            )
            .label("an address of IPv6")
            .help("name a server that has an IPv4 address, also for `family = \"v6\"`");
    }
}

/// Keys that are written, and do not belong to this kind of service.
fn keys(entry: &Ddns, provider: ProviderName, report: &mut Report) {
    let of: &[&str] = match provider {
        CUSTOM => &["url", "username", "password", "password_file", "token", "token_file", "contact"],
        CLOUDFLARE => &["url", "zone", "token", "token_file"],
        DNS_UPDATE => &["server", "zone", "key", "algorithm", "secret", "secret_file", "ttl"],
        _ => &["username", "password", "password_file", "token", "token_file", "contact"],
    };
    fn span<T>(field: &crate::value::Field<T>) -> Option<&Span> {
        field.as_ref().map(|field| &field.span)
    }
    let written = [
        ("url", span(&entry.url)),
        ("username", span(&entry.username)),
        ("server", span(&entry.server)),
        ("zone", span(&entry.zone)),
        ("key", span(&entry.key)),
        ("algorithm", span(&entry.algorithm)),
        ("ttl", span(&entry.ttl)),
        ("contact", span(&entry.contact)),
    ];
    let secrets = entry.secrets();
    let written = written.into_iter().filter_map(|(key, span)| Some((key, span?)));
    for (key, span) in written.chain(secrets.iter().map(|(key, _, span)| (*key, *span))) {
        if of.contains(&key) {
            continue;
        }
        let diagnostic = report.error(
            Code::Conflict,
            span,
            format!("`ddns.{key}` is no key of provider \"{}\"", provider.0),
        );
        diagnostic
            .label(format!("{} are", list(of.iter().map(|key| format!("`{key}`"))).replace(" or ", " and ")));
        if key == "url" {
            diagnostic.help("its address is known; for another service, `provider = \"dyndns2\"`");
        } else if let Some(other) = in_place_of(key, of) {
            diagnostic.help(format!("call it `{other}`"));
        } else {
            diagnostic.help("take it out");
        }
    }
}

/// The name of a password's key at this kind of service.
fn in_place_of(key: &str, of: &[&'static str]) -> Option<&'static str> {
    let file = key.ends_with("_file");
    let is_secret = |key: &str| matches!(key.trim_end_matches("_file"), "password" | "token" | "secret");
    is_secret(key)
        .then(|| of.iter().find(|other| is_secret(other) && other.ends_with("_file") == file).copied())
        .flatten()
}

fn missing(entry: &Ddns, provider: ProviderName, key: &str, example: &str, report: &mut Report) {
    let span = entry.provider.as_ref().map_or(&entry.span, |provider| &provider.span);
    report
        .error(Code::MissingKey, span, format!("`ddns.{key}` is missing"))
        .label(format!("\"{}\" needs `{key}`", provider.0))
        .help(format!("add `{key} = {example}`"));
}

/// Keys that this kind of service needs. One that was refused is not reported again.
fn needs(entry: &Ddns, name: ProviderName, report: &mut Report) {
    let has = |key: &str| entry.written.contains(&key);
    let secret = SECRETS.iter().any(|key| has(key));
    let (password, token) = ("\"/etc/genkan/ddns.password\"", "\"/etc/genkan/ddns.token\"");
    let mut need = |needed: bool, there: bool, key: &str, example: &str| {
        if needed && !there {
            missing(entry, name, key, example, report);
        }
    };
    match name {
        CUSTOM => {
            let url = "\"https://update.example.net/nic/update?hostname={names}&myip={address}\"";
            need(true, has("url"), "url", url);
            need(has("username"), secret, "password_file", password);
        }
        CLOUDFLARE => {
            need(true, has("zone"), "zone", "\"example.net\"");
            need(true, secret, "token_file", token);
        }
        DNS_UPDATE => {
            need(true, has("server"), "server", "\"ns1.example.net\"");
            need(has("key"), secret, "secret_file", "\"/etc/genkan/ddns.key\"");
            need(secret, has("key"), "key", "\"genkan\"");
        }
        known => {
            let Some(known) = provider(known.0) else { return };
            let in_url =
                known.url(entry.family().unwrap_or(Family::V4)).is_some_and(|url| url.contains("{username}"));
            need(known.basic || in_url, has("username"), "username", "\"user\"");
            need(true, secret, "password_file", password);
        }
    }
}

/// Whether the service takes such an address, and whether `source` can tell one.
fn family(entry: &Ddns, name: ProviderName, report: &mut Report) {
    let Some(wanted) = entry.family() else { return };
    let source = entry.source.as_ref();
    let source_family = source.and_then(|source| source.value.0.literal_family());
    if let (Some(source), Some(other)) = (source, source_family.filter(|other| *other != wanted)) {
        let wrong = other.kind();
        let message =
            format!("`ddns.source` is reached over {wrong}, and tells no {} address", wanted.kind());
        report.error(Code::Conflict, &source.span, message).label(format!("an address of {wrong}")).help(
            match other {
                Family::V4 => "name a server that has an IPv6 address",
                Family::V6 => "add `family = \"v6\"` if that is the address that the names are to have",
            },
        );
    }
    let Some(family) = entry.family.as_ref().filter(|family| family.value.0 == Family::V6) else { return };
    if provider(name.0).is_some_and(|known| known.url(Family::V6).is_none()) {
        report
            .error(
                Code::Conflict,
                &family.span,
                format!("`ddns.family` cannot be \"v6\" with provider \"{}\"", name.0),
            )
            .label("how it takes an IPv6 address is not known")
            .help("if it does, `provider = \"dyndns2\"` with the `url` from its documentation");
    }
    let template = entry.url.as_ref().filter(|_| name == CUSTOM);
    let template = template.and_then(|url| Some((url, Template::parse(&url.value.0).ok()?)));
    if let Some((url, _)) = template.filter(|(_, template)| !template.has_address()) {
        report
            .error(
                Code::Conflict,
                &url.span,
                "`ddns.url` has no {address}: the service would take the sender's, which is of IPv4",
            )
            .label("not for `family = \"v6\"`")
            .related(&family.span, "the family")
            .help("put {address} where the service's documentation has the IPv6 address");
    }
    let is_wan =
        source.map_or(!entry.written.contains(&"source"), |source| source.value.0 == AddressSource::Wan);
    if is_wan {
        let span = source.map_or(&family.span, |source| &source.span);
        report
            .error(Code::Conflict, span, "`ddns.family` \"v6\" needs a `source`: the wan has IPv4 only")
            .label("not from the wan")
            .help("for example `source = \"https://ip6.example.net/\"`, a page that says who asks")
            .help("or `source = \"stun:stun.example.net\"`; either is asked over IPv6, by the way that the box has");
    }
}

fn zone(entry: &Ddns, report: &mut Report) {
    let (Some(zone), Some(names)) = (&entry.zone, &entry.names) else { return };
    let Ok(parsed) = DnsName::parse(&zone.value.0) else { return };
    for name in &names.value.items {
        if !DnsName::parse(&name.value.0).is_ok_and(|name| name.is_within(&parsed)) {
            report
                .error(
                    Code::BadValue,
                    &name.span,
                    format!("`{}` does not lie in zone `{}`", name.value.0, zone.value.0),
                )
                .label(format!("a name that ends in .{} is accepted", zone.value.0))
                .related(&zone.span, "the zone")
                .help("give names of other zones an entry of their own");
        }
    }
}

/// What only the client itself can tell.
fn whole(entry: &Ddns, report: &mut Report) {
    let Some(typed) = entry.typed() else { return };
    if !entry.names.as_ref().is_some_and(|names| names.value.complete) {
        return;
    }
    let url_has_names = |url: &str| Template::parse(url).is_ok_and(|template| template.has_names());
    if let (Some(url), Some(names)) = (&entry.url, &entry.names)
        && typed.provider == CUSTOM.0
        && names.value.items.len() > 1
        && !url_has_names(&url.value.0)
    {
        report
            .error(
                Code::Conflict,
                &url.span,
                "`ddns.url` has no {names}, so the service is told of one name only",
            )
            .label("one name is possible with it")
            .related(&names.span, "several names")
            .help("put {names} into it, or give each name an entry of its own");
        return;
    }
    let inline = entry.secrets().into_iter().next();
    let secret = inline.as_ref().map(|(_, source, _)| match source {
        SecretSource::Inline(secret) => secret.clone(),
        SecretSource::File(_) => Secret::new(SOME_PASSWORD),
    });
    if let Err(error) = typed.entry_with(secret) {
        let span = match (&error, &inline, &entry.contact) {
            (DdnsError::Key(_), Some((_, _, span)), _) => *span,
            (DdnsError::Entry(EntryError::Contact), _, Some(contact)) => &contact.span,
            _ => &entry.span,
        };
        report
            .error(Code::BadValue, span, format!("`[[ddns]]` cannot be used: {error}"))
            .label("as it is written here")
            .help("see docs/ddns.md for an example of each kind of service");
    }
}
