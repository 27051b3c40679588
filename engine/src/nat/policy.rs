//! NAT behaviours in the words of RFC 4787 §4.1 and §5.

/// When an internal endpoint keeps its external endpoint (RFC 4787 §4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MappingBehavior {
    /// For every remote (REQ-1).
    #[default]
    EndpointIndependent,
    /// For every port of one remote address.
    AddressDependent,
    /// For one remote endpoint.
    AddressAndPortDependent,
}

/// From whom a mapping takes packets (RFC 4787 §5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FilteringBehavior {
    /// From everybody (REQ-8a).
    EndpointIndependent,
    /// From addresses that the internal endpoint has sent to (REQ-8b).
    #[default]
    AddressDependent,
    /// From endpoints that the internal endpoint has sent to.
    AddressAndPortDependent,
}

/// Which way a packet crosses the NAT (RFC 2663 §2: from the internal realm to the external one, or back).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From inside to outside.
    Outbound,
    /// From outside to inside.
    Inbound,
}
