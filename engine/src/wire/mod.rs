//! Wire formats: one header per file.
//!
//! A header comes as a *view*, which looks at bytes in place: `new_checked` is the only gate, after it no
//! accessor can fail or panic. Where the router also makes such headers, a `Repr` holds the same fields as
//! plain values, parses from bytes and emits into them. Accessors return host order.

pub mod arp;
pub mod checksum;
pub mod ethernet;
pub mod icmpv4;
pub mod ipv4;
pub mod pretty_print;
pub mod tcp;
pub mod udp;

/// Why bytes are not the header they were taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// Fewer octets than the header needs.
    #[error("cut short")]
    Truncated,
    /// A version, hardware type or protocol type other than the one this header is defined for.
    #[error("not of this version or type")]
    Version,
    /// A header length field that is too small, or reaches past the bytes.
    #[error("header length out of bounds")]
    HeaderLength,
    /// A total length field that is smaller than the header, or reaches past the bytes.
    #[error("total length out of bounds")]
    TotalLength,
    /// An operation code that the router does not know.
    #[error("unknown operation")]
    Operation,
}

/// The big-endian 16-bit field at `offset` of a fixed-size header.
macro_rules! be16 {
    ($header:expr, $offset:expr) => {
        u16::from_be_bytes([$header[$offset], $header[$offset + 1]])
    };
}

/// The big-endian 32-bit field at `offset` of a fixed-size header.
macro_rules! be32 {
    ($header:expr, $offset:expr) => {
        u32::from_be_bytes([
            $header[$offset],
            $header[$offset + 1],
            $header[$offset + 2],
            $header[$offset + 3],
        ])
    };
}

pub(crate) use {be16, be32};
