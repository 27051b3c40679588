//! The address as a STUN server sees it (RFC 8489): the binding request and its response, over UDP. No credentials and
//! no FINGERPRINT. A SOFTWARE attribute (§14.14) makes the request about as long as an answer: servers that let nobody be
//! flooded by way of them answer no shorter ones.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use thiserror::Error;

/// RFC 8489 §5.
const MAGIC_COOKIE: [u8; 4] = 0x2112_a442u32.to_be_bytes();
const HEADER: usize = 20;
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;
const NONCE: u16 = 0x0015;
/// The error of servers that want the asker's address proven first, such as `genkan reflector`.
pub const STALE_NONCE: u16 = 438;
const SOFTWARE: u16 = 0x8022;
/// Fewer than 128 characters; a multiple of four octets.
const SOFTWARE_TEXT: &[u8; 72] = b"Genkan, a NAT router; padded so that no answer is longer than its query.";
/// Attributes below must be understood, those above may be skipped (RFC 8489 §14).
const COMPREHENSION_OPTIONAL: u16 = 0x8000;
const MAPPED_ADDRESS: u16 = 0x0001;
const ERROR_CODE: u16 = 0x0009;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
/// With SHA-1 and with SHA-256: a request without credentials has no use for them.
const MESSAGE_INTEGRITY: [u16; 2] = [0x0008, 0x001c];

/// Why a message is no binding response of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum StunError {
    /// Not a STUN message of a right form.
    #[error("not a STUN message")]
    Malformed,
    /// It answers another request.
    #[error("another transaction")]
    OtherTransaction,
    /// The server answered with an error (RFC 8489 §14.8): 300 to 699, 0 when it gave none.
    #[error("the server answered with error {0}")]
    Refused(u16),
    /// An attribute that must be understood and is not (RFC 8489 §6.3.3).
    #[error("an unknown attribute: {0:#06x}")]
    UnknownAttribute(u16),
    /// No XOR-MAPPED-ADDRESS.
    #[error("no address in the response")]
    NoAddress,
}

/// The request. `transaction_id` must be random (RFC 8489 §5): it is what a response is known by. `nonce`: what
/// [`nonce`] found, or nothing.
pub fn binding_request(transaction_id: [u8; 12], nonce: &[u8]) -> Vec<u8> {
    let mut octets = BINDING_REQUEST.to_be_bytes().to_vec();
    octets.extend([0; 2]);
    octets.extend(MAGIC_COOKIE);
    octets.extend(transaction_id);
    for (kind, value) in [(NONCE, nonce), (SOFTWARE, &SOFTWARE_TEXT[..])] {
        if !value.is_empty() {
            octets.extend(kind.to_be_bytes());
            octets.extend((value.len() as u16).to_be_bytes());
            octets.extend(value);
            octets.resize(octets.len().next_multiple_of(4), 0);
        }
    }
    let length = (octets.len() - HEADER) as u16;
    octets[2..4].copy_from_slice(&length.to_be_bytes());
    octets
}

/// The NONCE of a response that refuses with [`STALE_NONCE`], at most 763 octets (RFC 8489 §14.10): the same request with
/// it is answered.
pub fn nonce(octets: &[u8]) -> Option<&[u8]> {
    let mut attributes = octets.get(HEADER..)?;
    loop {
        let (head, rest) = attributes.split_at_checked(4)?;
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        if head[..2] == NONCE.to_be_bytes() {
            return rest.get(..length).filter(|nonce| (1..=763).contains(&nonce.len()));
        }
        attributes = rest.get(length.next_multiple_of(4)..)?;
    }
}

/// Reads a response to [`binding_request`]: the address and port that the server saw.
///
/// # Errors
///
/// See [`StunError`]. [`StunError::Malformed`] and [`StunError::OtherTransaction`] say nothing about the server: wait on.
pub fn binding_response(octets: &[u8], transaction_id: [u8; 12]) -> Result<SocketAddr, StunError> {
    let (header, mut attributes) = octets.split_at_checked(HEADER).ok_or(StunError::Malformed)?;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if length != attributes.len() || length % 4 != 0 || header[4..8] != MAGIC_COOKIE {
        return Err(StunError::Malformed);
    }
    if header[8..] != transaction_id {
        return Err(StunError::OtherTransaction);
    }
    let kind = u16::from_be_bytes([header[0], header[1]]);
    if kind != BINDING_SUCCESS && kind != BINDING_ERROR {
        return Err(StunError::Malformed);
    }
    let mut address = None;
    let mut code = 0;
    while let Some((head, rest)) = attributes.split_at_checked(4) {
        let attribute = u16::from_be_bytes([head[0], head[1]]);
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let value = rest.get(..length).ok_or(StunError::Malformed)?;
        attributes = rest.get(length.next_multiple_of(4)..).ok_or(StunError::Malformed)?;
        match attribute {
            XOR_MAPPED_ADDRESS if address.is_none() => {
                address = Some(xor_address(value, transaction_id).ok_or(StunError::Malformed)?);
            }
            ERROR_CODE => {
                let value: &[u8; 4] = value.first_chunk().ok_or(StunError::Malformed)?;
                code = u16::from(value[2] & 7) * 100 + u16::from(value[3]);
            }
            XOR_MAPPED_ADDRESS | MAPPED_ADDRESS | COMPREHENSION_OPTIONAL.. => {}
            _ if kind == BINDING_ERROR || MESSAGE_INTEGRITY.contains(&attribute) => {}
            _ => return Err(StunError::UnknownAttribute(attribute)),
        }
    }
    if kind == BINDING_ERROR {
        return Err(StunError::Refused(code));
    }
    address.ok_or(StunError::NoAddress)
}

/// RFC 8489 §14.2.
fn xor_address(value: &[u8], transaction_id: [u8; 12]) -> Option<SocketAddr> {
    let (head, address) = value.split_at_checked(4)?;
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&MAGIC_COOKIE);
    mask[4..].copy_from_slice(&transaction_id);
    let port = u16::from_be_bytes([head[2] ^ mask[0], head[3] ^ mask[1]]);
    let ip = match (head[1], address.len()) {
        (1, 4) => IpAddr::V4(Ipv4Addr::from(std::array::from_fn::<u8, 4, _>(|i| address[i] ^ mask[i]))),
        (2, 16) => IpAddr::V6(Ipv6Addr::from(std::array::from_fn::<u8, 16, _>(|i| address[i] ^ mask[i]))),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}
