//! `dhcp` of a `[[lan]]`: the addresses and options that its machines get.

use schemars::JsonSchema;

use crate::schema::Mtu;
use crate::table::Table;
use crate::value::address::Address;
use crate::value::address_range::AddressRange;
use crate::value::duration::Humane;
use crate::value::name::HostName;
use crate::value::{Field, List};

/// The DHCP service of a lan. Machines with a `[[host]]` and its `mac` get the address that is written there.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Dhcp {
    /// Addresses for machines without a `[[host]]`.
    #[schemars(required)]
    pub(crate) pool: Field<AddressRange>,
    /// How long a machine may keep an address without asking again.
    #[schemars(extend("default" = "12h"))]
    pub(crate) lease: Field<Humane>,
    /// The way out that machines are told (RFC 2132 section 3.5); without it the router's own address.
    pub(crate) router: Field<Address>,
    /// The name servers that machines are told (RFC 2132 section 3.8).
    #[schemars(extend("default" = []))]
    pub(crate) dns: Field<List<Address>>,
    /// The domain of their names (RFC 2132 section 3.17).
    pub(crate) domain: Field<HostName>,
    /// The time servers that they are told (RFC 2132 section 8.3).
    #[schemars(extend("default" = []))]
    pub(crate) ntp: Field<List<Address>>,
    /// The MTU that they are told, in octets (RFC 2132 section 5.1); without it none.
    pub(crate) mtu: Field<Mtu>,
}

impl Dhcp {
    pub(super) fn read(mut t: Table<'_, '_>) -> Dhcp {
        let dhcp = Dhcp {
            pool: t.required("pool", "\"192.168.0.100-192.168.0.199\""),
            lease: t.optional("lease", "\"12h\""),
            router: t.optional("router", "\"192.168.0.1\""),
            dns: t.optional("dns", "[\"192.168.0.1\"]"),
            domain: t.optional("domain", "\"home.arpa\""),
            ntp: t.optional("ntp", "[\"192.168.0.1\"]"),
            mtu: t.optional("mtu", "1500"),
        };
        t.finish();
        dhcp
    }
}
