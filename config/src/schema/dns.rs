//! `[dns]`: names, for the lans.

use schemars::JsonSchema;

use crate::DnsStrategy;
use crate::error::Span;
use crate::table::Table;
use crate::value::dns::{Domain, Resolver};
use crate::value::name::AbsolutePath;
use crate::value::saving::{Interval, Octets};
use crate::value::word::Word;
use crate::value::{Field, List};

/// The DNS service: hosts of the lans ask the router at its address on their lan, and it asks the resolvers. Needs
/// `router.tun`. Never answers on the wan.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Dns {
    #[schemars(skip)]
    pub(crate) span: Span,
    /// `upstreams` is there, even if refused.
    #[schemars(skip)]
    pub(crate) means_upstreams: bool,
    /// The resolvers that are asked: `9.9.9.9`, `9.9.9.9:5353`, or over TLS (RFC 7858) `tls://9.9.9.9#dns.quad9.net`,
    /// where the name is that of the certificate. At most 16. May be left out when the wan's address is `dhcp`: then those
    /// that the DHCP server gives.
    pub(crate) upstreams: Field<List<Resolver>>,
    /// `ordered`: the first that is well, the next when it does not answer. `parallel`: all that are well at once, and the
    /// first answer counts.
    #[schemars(extend("default" = "ordered"))]
    pub(crate) strategy: Field<Word<DnsStrategy>>,
    /// PEM file of the authorities whose certificates count for `tls://`; without it those of the public web.
    pub(crate) tls_ca: Field<AbsolutePath>,
    /// The domain of the lans' names: `[[host]]` `nas` is `nas.home.arpa`, and `nas` as well.
    #[schemars(extend("default" = "home.arpa"))]
    pub(crate) domain: Field<Domain>,
    /// Names of the public DNS that lead to the wan's address. Where all forwards go to one machine with the ports
    /// unchanged, hosts of the lans get that machine's own address for them.
    #[schemars(extend("default" = []))]
    pub(crate) public_names: Field<List<Domain>>,
    /// Most memory that answers may take.
    #[schemars(extend("default" = "4 MiB"))]
    pub(crate) cache: Field<Octets>,
    /// For how long after their time answers may serve when no resolver does (RFC 8767).
    #[schemars(extend("default" = "24h"))]
    pub(crate) stale: Field<Interval>,
    /// Whether answers from outside that point to private addresses are withheld, so that a web page cannot reach into a
    /// lan under its own name.
    #[schemars(extend("default" = true))]
    pub(crate) rebinding_protection: Field<bool>,
    /// Names that may, with all below them.
    #[schemars(extend("default" = []))]
    pub(crate) rebinding_exceptions: Field<List<Domain>>,
    /// Files of names that are answered as if they did not exist, in the format of hosts files (these names) or with a
    /// name on each line (and all below it). At most a million names.
    #[schemars(extend("default" = []))]
    pub(crate) block: Field<List<AbsolutePath>>,
    /// Whether queries are counted for each client apart.
    #[schemars(extend("default" = false))]
    pub(crate) statistics: Field<bool>,
}

impl Dns {
    pub(super) fn read(mut t: Table<'_, '_>) -> Dns {
        let dns = Dns {
            span: t.span(),
            means_upstreams: t.is_meant("upstreams"),
            upstreams: t.optional("upstreams", "[\"9.9.9.9\"]"),
            strategy: t.optional("strategy", "\"ordered\""),
            tls_ca: t.optional("tls_ca", "\"/etc/genkan/ca.pem\""),
            domain: t.optional("domain", "\"home.arpa\""),
            public_names: t.optional("public_names", "[\"www.example.net\"]"),
            cache: t.optional("cache", "\"4 MiB\""),
            stale: t.optional("stale", "\"24h\""),
            rebinding_protection: t.optional("rebinding_protection", "true"),
            rebinding_exceptions: t.optional("rebinding_exceptions", "[\"plex.direct\"]"),
            block: t.optional("block", "[\"/etc/genkan/blocked.txt\"]"),
            statistics: t.optional("statistics", "true"),
        };
        t.finish();
        dns
    }
}
