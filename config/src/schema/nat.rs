//! `[nat]`: behaviours, ports, limits and timeouts.

use genkan_engine::plan::{FilteringBehavior, MappingBehavior};
use schemars::JsonSchema;

use crate::schema::{PortCount, Sessions};
use crate::table::Table;
use crate::value::Field;
use crate::value::duration::Humane;
use crate::value::ports::PortSpan;
use crate::value::word::Word;

/// Address translation.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Nat {
    /// When an internal endpoint keeps its external endpoint (RFC 4787 section 4.1).
    #[schemars(extend("default" = "endpoint-independent"))]
    pub(crate) mapping: Field<Word<MappingBehavior>>,
    /// From whom a mapping takes packets (RFC 4787 section 5).
    #[schemars(extend("default" = "address-dependent"))]
    pub(crate) filtering: Field<Word<FilteringBehavior>>,
    /// Whether inside hosts reach external endpoints of inside hosts (RFC 4787 REQ-9).
    #[schemars(extend("default" = true))]
    pub(crate) hairpin: Field<bool>,
    /// Keep the parity of a port that cannot be kept itself (RFC 4787 REQ-4).
    #[schemars(extend("default" = false))]
    pub(crate) port_parity: Field<bool>,
    /// Whether packets from outside keep a session alive too (RFC 4787 REQ-6b).
    #[schemars(extend("default" = false))]
    pub(crate) inbound_refresh: Field<bool>,
    /// Dynamic external ports of TCP and UDP.
    #[schemars(extend("default" = "1024-65535"))]
    pub(crate) ports: Field<PortSpan>,
    /// Most sessions at once. Their table is allocated at start.
    #[schemars(extend("default" = 1_000_000))]
    pub(crate) max_sessions: Field<Sessions>,
    /// Most sessions of one inside host.
    #[schemars(extend("default" = 65_536))]
    pub(crate) max_sessions_per_host: Field<Sessions>,
    /// Most dynamic external ports of one inside host, per protocol and address, so that one host cannot
    /// starve the others.
    #[schemars(extend("default" = 16_384))]
    pub(crate) max_ports_per_host: Field<PortCount>,
    /// Idle timeouts.
    pub(crate) timeouts: Option<Timeouts>,
}

/// Idle timeouts of sessions. A value below the floor of its RFC is accepted with a warning.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Timeouts {
    /// UDP (RFC 4787 REQ-5: at least 2 minutes, 5 are recommended).
    #[schemars(extend("default" = "5m"))]
    pub(crate) udp: Field<Humane>,
    /// Established TCP connections (RFC 5382 REQ-5: at least 2 hours 4 minutes).
    #[schemars(extend("default" = "2h4m"))]
    pub(crate) tcp_established: Field<Humane>,
    /// TCP connections that open or close (RFC 5382 REQ-5: at least 4 minutes).
    #[schemars(extend("default" = "4m"))]
    pub(crate) tcp_transitory: Field<Humane>,
    /// ICMP queries such as ping (RFC 5508 REQ-2: at least 60 seconds).
    #[schemars(extend("default" = "60s"))]
    pub(crate) icmp: Field<Humane>,
    /// Every other protocol: ESP, AH, GRE, SCTP, ...
    #[schemars(extend("default" = "10m"))]
    pub(crate) other: Field<Humane>,
}

impl Nat {
    pub(super) fn read(mut t: Table<'_, '_>) -> Nat {
        let nat = Nat {
            mapping: t.optional("mapping", "\"endpoint-independent\""),
            filtering: t.optional("filtering", "\"address-dependent\""),
            hairpin: t.optional("hairpin", "true"),
            port_parity: t.optional("port_parity", "false"),
            inbound_refresh: t.optional("inbound_refresh", "false"),
            ports: t.optional("ports", "\"1024-65535\""),
            max_sessions: t.optional("max_sessions", "1_000_000"),
            max_sessions_per_host: t.optional("max_sessions_per_host", "65_536"),
            max_ports_per_host: t.optional("max_ports_per_host", "16_384"),
            timeouts: t.table("nat.timeouts", "timeouts", Timeouts::read),
        };
        t.finish();
        nat
    }
}

impl Timeouts {
    fn read(mut t: Table<'_, '_>) -> Timeouts {
        let timeouts = Timeouts {
            udp: t.optional("udp", "\"5m\""),
            tcp_established: t.optional("tcp_established", "\"2h4m\""),
            tcp_transitory: t.optional("tcp_transitory", "\"4m\""),
            icmp: t.optional("icmp", "\"60s\""),
            other: t.optional("other", "\"10m\""),
        };
        t.finish();
        timeouts
    }
}
