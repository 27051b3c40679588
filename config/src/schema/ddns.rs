//! `[[ddns]]`: names outside that follow the wan address.

use genkan_services::ddns::{Family, TsigAlgorithm, provider};
use schemars::JsonSchema;

use crate::ddns::{AddressSource, Ddns as Typed, DdnsService, SecretSource};
use crate::error::Span;
use crate::table::Table;
use crate::value::ddns::{
    CLOUDFLARE, CUSTOM, DNS_UPDATE, DomainName, KeyName, Password, Plain, ProviderName, Server, Source, Url,
};
use crate::value::duration::Humane;
use crate::value::name::AbsolutePath;
use crate::value::word::Word;
use crate::value::{Field, List};

/// Default of `ttl`, in seconds: short, since the address changes.
const TTL: u32 = 60;

/// Keys of which one holds a password.
pub(crate) const SECRETS: [&str; 6] =
    ["password", "password_file", "token", "token_file", "secret", "secret_file"];

/// Names of one account that follow the address of the wan, or one that somebody outside tells. Needs `router.tun`.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Ddns {
    #[schemars(skip)]
    pub(crate) span: Span,
    /// Keys that are there, even if refused or misspelt.
    #[schemars(skip)]
    pub(crate) written: Vec<&'static str>,
    /// Who keeps the names: a service by its name, `dyndns2` for any other that speaks like DynDNS, `cloudflare`, or
    /// `rfc2136` for a DNS server that takes updates.
    #[schemars(required)]
    pub(crate) provider: Field<Word<ProviderName>>,
    /// The names, in full.
    #[schemars(required)]
    pub(crate) names: Field<List<DomainName>>,
    /// Of `dyndns2`: where updates go, with `{names}` and `{address}` in it. Of `cloudflare`: where the API is, if not at
    /// Cloudflare.
    pub(crate) url: Field<Url>,
    /// The account's name, where the service wants one.
    pub(crate) username: Field<Plain>,
    /// The account's password, or what the service has in its place.
    pub(crate) password: Field<Password>,
    /// A file that holds it, on one line.
    pub(crate) password_file: Field<AbsolutePath>,
    /// A token, of services that give one: as good as `password`.
    pub(crate) token: Field<Password>,
    /// A file that holds it, on one line.
    pub(crate) token_file: Field<AbsolutePath>,
    /// Of `rfc2136`: the server that takes updates, with or without a port.
    pub(crate) server: Field<Server>,
    /// The zone that the names lie in: `cloudflare` needs it, with `rfc2136` the server is asked for it otherwise.
    pub(crate) zone: Field<DomainName>,
    /// Of `rfc2136`: the name of the key that updates are signed with (RFC 8945). Without it they are not signed.
    pub(crate) key: Field<KeyName>,
    /// Of `rfc2136`: what the key signs with.
    #[schemars(extend("default" = "hmac-sha256"))]
    pub(crate) algorithm: Field<Word<TsigAlgorithm>>,
    /// Of `rfc2136`: the key itself, in base64.
    pub(crate) secret: Field<Password>,
    /// A file that holds it, on one line.
    pub(crate) secret_file: Field<AbsolutePath>,
    /// Of `rfc2136`: how long others may keep the address.
    #[schemars(extend("default" = "1m"))]
    pub(crate) ttl: Field<Humane>,
    /// The kind of address: `v6` for AAAA records, whose `source` is another than the wan.
    #[schemars(extend("default" = "v4"))]
    pub(crate) family: Field<Word<Family>>,
    /// Where the address comes from: `wan`; behind another NAT, and for IPv6, `stun:SERVER` (RFC 8489), or the URL of a
    /// page that says it.
    #[schemars(extend("default" = "wan"))]
    pub(crate) source: Field<Source>,
    /// Whether an address that cannot be reached from outside is published too.
    #[schemars(extend("default" = false))]
    pub(crate) allow_private: Field<bool>,
    /// Certificates to trust instead of the system's, in PEM: for a server of your own. For `source` those of the system
    /// count as well.
    pub(crate) ca_file: Field<AbsolutePath>,
    /// An address of mail for the service's operators, which some want to be told with each update.
    pub(crate) contact: Field<Plain>,
}

impl Ddns {
    pub(super) fn read(mut t: Table<'_, '_>) -> Ddns {
        let needed =
            ["url", "username", "server", "zone", "key", "source", "family"].into_iter().chain(SECRETS);
        let ddns = Ddns {
            span: t.span(),
            written: needed.filter(|key| t.is_meant(key)).collect(),
            provider: t.required("provider", "\"duckdns\""),
            names: t.required("names", "[\"home.example.net\"]"),
            url: t
                .optional("url", "\"https://update.example.net/nic/update?hostname={names}&myip={address}\""),
            username: t.optional("username", "\"user\""),
            password: t.optional("password", "\"...\""),
            password_file: t.optional("password_file", "\"/etc/genkan/ddns.password\""),
            token: t.optional("token", "\"...\""),
            token_file: t.optional("token_file", "\"/etc/genkan/ddns.token\""),
            server: t.optional("server", "\"ns1.example.net\""),
            zone: t.optional("zone", "\"example.net\""),
            key: t.optional("key", "\"genkan\""),
            algorithm: t.optional("algorithm", "\"hmac-sha256\""),
            secret: t.optional("secret", "\"...\""),
            secret_file: t.optional("secret_file", "\"/etc/genkan/ddns.key\""),
            ttl: t.optional("ttl", "\"1m\""),
            family: t.optional("family", "\"v4\""),
            source: t.optional("source", "\"stun:stun.example.net\""),
            allow_private: t.optional("allow_private", "true"),
            ca_file: t.optional("ca_file", "\"/etc/genkan/ca.pem\""),
            contact: t.optional("contact", "\"admin@example.net\""),
        };
        t.finish();
        ddns
    }

    /// The passwords that are written here, each with its key.
    pub(crate) fn secrets<'s>(&'s self) -> Vec<(&'static str, SecretSource, &'s Span)> {
        let inline = |key, field: &'s Field<Password>| {
            let password = field.as_ref()?;
            Some((key, SecretSource::Inline(password.value.0.clone()), &password.span))
        };
        let file = |key, field: &'s Field<AbsolutePath>| {
            let path = field.as_ref()?;
            Some((key, SecretSource::File(path.value.0.clone()), &path.span))
        };
        let all = [
            inline("password", &self.password),
            file("password_file", &self.password_file),
            inline("token", &self.token),
            file("token_file", &self.token_file),
            inline("secret", &self.secret),
            file("secret_file", &self.secret_file),
        ];
        all.into_iter().flatten().collect()
    }

    /// The kind of address; `None` when it was refused.
    pub(crate) fn family(&self) -> Option<Family> {
        match &self.family {
            Some(word) => Some(word.value.0),
            None => (!self.written.contains(&"family")).then_some(Family::V4),
        }
    }

    /// As the daemon has it; `None` when a key that it needs is absent or was refused.
    pub(crate) fn typed(&self) -> Option<Typed> {
        let plain = |field: &Field<Plain>| field.as_ref().map(|plain| plain.value.0.clone());
        let name = self.provider.as_ref()?.value.0;
        let (username, contact) = (plain(&self.username).unwrap_or_default(), plain(&self.contact));
        let url = self.url.as_ref().map(|url| url.value.0.clone());
        let zone = self.zone.as_ref().map(|zone| zone.value.0.clone());
        let service = match name {
            CUSTOM => DdnsService::Custom { url: url?, username, contact },
            CLOUDFLARE => DdnsService::Cloudflare { url, zone: zone? },
            DNS_UPDATE => {
                let server = &self.server.as_ref()?.value;
                DdnsService::DnsUpdate {
                    server: server.host.clone(),
                    port: server.port,
                    zone,
                    key: self.key.as_ref().map(|key| key.value.0.clone()),
                    algorithm: self.algorithm.as_ref().map_or(TsigAlgorithm::HmacSha256, |word| word.value.0),
                    ttl: self
                        .ttl
                        .as_ref()
                        .map_or(TTL, |ttl| u32::try_from(ttl.value.0.as_secs()).unwrap_or(u32::MAX)),
                }
            }
            known => DdnsService::Known { provider: provider(known.0)?, username, contact },
        };
        let secret = self.secrets().into_iter().next();
        Some(Typed {
            family: self.family()?,
            names: self.names.as_ref()?.value.items.iter().map(|name| name.value.0.clone()).collect(),
            provider: name.0,
            service,
            secret_key: secret.as_ref().map_or("password", |(key, ..)| *key),
            secret: secret.map(|(_, source, _)| source),
            source: self.source.as_ref().map_or(AddressSource::Wan, |source| source.value.0.clone()),
            allow_private: self.allow_private.as_ref().is_some_and(|flag| flag.value),
            ca_file: self.ca_file.as_ref().map(|path| path.value.0.clone()),
        })
    }
}
