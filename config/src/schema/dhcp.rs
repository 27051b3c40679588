//! `dhcp` of a `[[lan]]`, and `[[relayed]]`: the addresses and options that machines get.

use schemars::JsonSchema;

use crate::error::Span;
use crate::schema::Mtu;
use crate::table::Table;
use crate::value::address::{Address, Network, Subnet};
use crate::value::address_range::AddressRange;
use crate::value::dhcp::{OptionCode, OptionText};
use crate::value::dns::Domain;
use crate::value::duration::Humane;
use crate::value::octets::Hex;
use crate::value::{Field, List};

/// The DHCP service of a lan. Machines with a `[[host]]` and its `mac` get the address that is written there.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Dhcp {
    /// Addresses for machines without a `[[host]]`.
    #[schemars(required)]
    pub(crate) pool: Field<AddressRange>,
    /// The way out that machines are told (RFC 2132 section 3.5); without it the router's own address.
    pub(crate) router: Field<Address>,
    #[schemars(flatten)]
    pub(crate) told: Told,
}

/// A network behind a relay agent (RFC 2131 section 4.1, RFC 3046), whose machines get their addresses here.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Relayed {
    /// The network; a `[[route]]` has to lead there.
    #[schemars(required)]
    pub(crate) network: Field<Subnet>,
    /// Addresses for machines without a `[[host]]`.
    #[schemars(required)]
    pub(crate) pool: Field<AddressRange>,
    /// The way out that machines are told (RFC 2132 section 3.5): usually the relay agent's address there.
    #[schemars(required)]
    pub(crate) router: Field<Address>,
    #[schemars(flatten)]
    pub(crate) told: Told,
}

/// What machines are told beside their address and the way out.
#[derive(Debug, JsonSchema)]
pub(crate) struct Told {
    /// How long a machine may keep an address without asking again.
    #[schemars(extend("default" = "12h"))]
    pub(crate) lease: Field<Humane>,
    /// The name servers that machines are told (RFC 2132 section 3.8).
    #[schemars(extend("default" = []))]
    pub(crate) dns: Field<List<Address>>,
    /// The domain of their names (RFC 2132 section 3.17).
    pub(crate) domain: Field<Domain>,
    /// The time servers that they are told (RFC 2132 section 8.3).
    #[schemars(extend("default" = []))]
    pub(crate) ntp: Field<List<Address>>,
    /// The MTU that they are told, in octets (RFC 2132 section 5.1); without it none.
    pub(crate) mtu: Field<Mtu>,
    /// Networks with a way of their own (RFC 3442).
    pub(crate) routes: Option<Vec<ToldRoute>>,
    /// Vendor-specific information (RFC 2132 section 8.4) as hexadecimal octets.
    pub(crate) vendor: Field<Hex>,
    /// Options that have no key of their own, by number, for machines that ask for them.
    pub(crate) options: Option<Vec<ToldOption>>,
}

/// A network that machines reach another way than by the router that they are told.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct ToldRoute {
    /// The network.
    #[schemars(required)]
    pub(crate) to: Field<Network>,
    /// The next hop, on the machines' own network.
    #[schemars(required)]
    pub(crate) via: Field<Address>,
}

/// An option of DHCP by its number.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct ToldOption {
    #[schemars(skip)]
    pub(crate) span: Span,
    /// `text` or `hex` is there, even if refused.
    #[schemars(skip)]
    pub(crate) holds_something: bool,
    /// Its number.
    #[schemars(required)]
    pub(crate) code: Field<OptionCode>,
    /// What it holds, as text.
    pub(crate) text: Field<OptionText>,
    /// Or as hexadecimal octets.
    pub(crate) hex: Field<Hex>,
}

impl Dhcp {
    pub(super) fn read(mut t: Table<'_, '_>) -> Dhcp {
        let dhcp = Dhcp {
            pool: t.required("pool", "\"192.168.0.100-192.168.0.199\""),
            router: t.optional("router", "\"192.168.0.1\""),
            told: Told::read(&mut t, "lan.dhcp.routes", "lan.dhcp.options"),
        };
        t.finish();
        dhcp
    }
}

impl Relayed {
    pub(super) fn read(mut t: Table<'_, '_>) -> Relayed {
        let relayed = Relayed {
            network: t.required("network", "\"10.20.0.0/24\""),
            pool: t.required("pool", "\"10.20.0.100-10.20.0.199\""),
            router: t.required("router", "\"10.20.0.1\""),
            told: Told::read(&mut t, "relayed.routes", "relayed.options"),
        };
        t.finish();
        relayed
    }
}

impl Told {
    fn read(t: &mut Table<'_, '_>, routes: &'static str, options: &'static str) -> Told {
        Told {
            lease: t.optional("lease", "\"12h\""),
            dns: t.optional("dns", "[\"192.0.2.53\"]"),
            domain: t.optional("domain", "\"home.arpa\""),
            ntp: t.optional("ntp", "[\"192.0.2.123\"]"),
            mtu: t.optional("mtu", "1500"),
            routes: Some(t.tables(routes, "routes", ToldRoute::read)),
            vendor: t.optional("vendor", "\"01:04:c0:00:02:01\""),
            options: Some(t.tables(options, "options", ToldOption::read)),
        }
    }
}

impl ToldRoute {
    fn read(mut t: Table<'_, '_>) -> ToldRoute {
        let route = ToldRoute {
            to: t.required("to", "\"10.20.0.0/16\""),
            via: t.required("via", "\"192.168.0.254\""),
        };
        t.finish();
        route
    }
}

impl ToldOption {
    fn read(mut t: Table<'_, '_>) -> ToldOption {
        let option = ToldOption {
            span: t.span(),
            holds_something: t.has("text") || t.has("hex"),
            code: t.required("code", "67"),
            text: t.optional("text", "\"boot/image\""),
            hex: t.optional("hex", "\"01:02\""),
        };
        t.finish();
        option
    }
}
