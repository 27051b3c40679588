//! `dhcp` of `[wan]`: what the DHCP client says of itself.

use schemars::JsonSchema;

use crate::error::Span;
use crate::table::Table;
use crate::value::Field;
use crate::value::name::HostLabel;

/// What the DHCP client on the wan says of itself, for providers that want to hear it.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct WanDhcp {
    #[schemars(skip)]
    pub(crate) span: Span,
    /// The host name that the server is told (RFC 2132 section 3.14); without it, none.
    pub(crate) hostname: Field<HostLabel>,
}

impl WanDhcp {
    pub(super) fn read(mut t: Table<'_, '_>) -> WanDhcp {
        let dhcp = WanDhcp { span: t.span(), hostname: t.optional("hostname", "\"genkan\"") };
        t.finish();
        dhcp
    }
}
