//! `dhcp` of `[wan]`: what the DHCP client says of itself.

use schemars::JsonSchema;

use crate::error::Span;
use crate::table::Table;
use crate::value::Field;
use crate::value::dhcp::{ClientId, VendorClass};
use crate::value::name::HostLabel;

/// What the DHCP client on the wan says of itself, for providers that want to hear it.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct WanDhcp {
    #[schemars(skip)]
    pub(crate) span: Span,
    /// The host name that the server is told (RFC 2132 section 3.14); without it, none.
    pub(crate) hostname: Field<HostLabel>,
    /// What the server knows the router by (RFC 2132 section 9.14), from the type octet on, or as text; without it, 1 and
    /// the MAC address of the wan.
    pub(crate) client_id: Field<ClientId>,
    /// The vendor class that the server is told (RFC 2132 section 9.13); without it, none.
    pub(crate) vendor_class: Field<VendorClass>,
}

impl WanDhcp {
    pub(super) fn read(mut t: Table<'_, '_>) -> WanDhcp {
        let dhcp = WanDhcp {
            span: t.span(),
            hostname: t.optional("hostname", "\"genkan\""),
            client_id: t.optional("client_id", "\"01:52:54:00:12:34:56\""),
            vendor_class: t.optional("vendor_class", "\"dslforum.org\""),
        };
        t.finish();
        dhcp
    }
}
