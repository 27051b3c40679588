//! Signatures of DNS messages with a shared key (RFC 8945).

use super::base64;
use super::dns_message::{self, CLASS_ANY, Reply, TYPE_TSIG, TsigRecord};
use super::dns_name::{DnsName, DnsNameError};
use genkan_engine::UnixTime;
use ring::hmac;
use serde::{Deserialize, Serialize};
use std::fmt;
use thiserror::Error;

/// Seconds that the clocks of both sides may differ (RFC 8945 §10: 300 recommended).
pub(super) const FUDGE: u16 = 300;
const ARCOUNT: usize = 10;

/// What this crate signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TsigAlgorithm {
    /// `hmac-sha256`
    HmacSha256,
    /// `hmac-sha512`
    HmacSha512,
}

impl TsigAlgorithm {
    fn name(self) -> DnsName {
        let text = match self {
            TsigAlgorithm::HmacSha256 => "hmac-sha256",
            TsigAlgorithm::HmacSha512 => "hmac-sha512",
        };
        DnsName::parse(text).expect("algorithm names are domain names")
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            TsigAlgorithm::HmacSha256 => hmac::HMAC_SHA256,
            TsigAlgorithm::HmacSha512 => hmac::HMAC_SHA512,
        }
    }
}

/// Why a key is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TsigKeyError {
    /// Its name is no domain name.
    #[error("the key's name: {0}")]
    Name(#[from] DnsNameError),
    /// The secret is not base64, or empty.
    #[error("the key's secret is not in base64")]
    Secret,
}

/// A key and its name, known to both sides. `Debug` does not show the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct TsigKey {
    name: DnsName,
    algorithm: TsigAlgorithm,
    secret: Vec<u8>,
}

impl TsigKey {
    /// `secret` in base64, as `tsig-keygen` prints it.
    ///
    /// # Errors
    ///
    /// See [`TsigKeyError`].
    pub fn new(name: &str, algorithm: TsigAlgorithm, secret: &str) -> Result<TsigKey, TsigKeyError> {
        let name = DnsName::parse(name)?;
        let secret = base64::decode(secret).filter(|s| !s.is_empty()).ok_or(TsigKeyError::Secret)?;
        Ok(TsigKey { name, algorithm, secret })
    }

    pub(super) fn digest_into(&self, mut part: impl FnMut(&[u8])) {
        part(self.name.wire());
        part(self.algorithm.name().wire());
        part(&self.secret);
    }
}

impl fmt::Debug for TsigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TsigKey").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

const BADTIME: u16 = 18;

/// What is wrong with a signature (RFC 8945 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum TsigError {
    /// BADSIG, 16
    #[error("BADSIG")]
    BadSig,
    /// BADKEY, 17
    #[error("BADKEY")]
    BadKey,
    /// BADTIME, 18
    #[error("BADTIME")]
    BadTime,
    /// BADTRUNC, 22
    #[error("BADTRUNC")]
    BadTrunc,
    /// Another code of the server.
    #[error("TSIG error {0}")]
    Other(u16),
}

impl From<u16> for TsigError {
    fn from(code: u16) -> TsigError {
        match code {
            16 => TsigError::BadSig,
            17 => TsigError::BadKey,
            BADTIME => TsigError::BadTime,
            22 => TsigError::BadTrunc,
            code => TsigError::Other(code),
        }
    }
}

/// What the MAC covers of a TSIG record (RFC 8945 §4.3.3).
fn variables(record: &TsigRecord<'_>) -> Vec<u8> {
    let mut octets = record.key.wire().to_vec();
    octets.extend_from_slice(&CLASS_ANY.to_be_bytes());
    octets.extend_from_slice(&0u32.to_be_bytes());
    octets.extend_from_slice(record.algorithm.wire());
    octets.extend_from_slice(&record.time.to_be_bytes()[2..]);
    octets.extend_from_slice(&record.fudge.to_be_bytes());
    octets.extend_from_slice(&record.error.to_be_bytes());
    octets.extend_from_slice(&(record.other.len() as u16).to_be_bytes());
    octets.extend_from_slice(record.other);
    octets
}

/// Appends a TSIG record to `message`, which has none yet; gives the MAC, needed for [`verify`].
pub(super) fn sign(message: &mut Vec<u8>, key: &TsigKey, now: UnixTime) -> Vec<u8> {
    let mut record = TsigRecord {
        start: message.len(),
        key: key.name.clone(),
        algorithm: key.algorithm.name(),
        time: u64::try_from(now.0).unwrap_or(0),
        fudge: FUDGE,
        mac: &[],
        original_id: u16::from_be_bytes([message[0], message[1]]),
        error: 0,
        other: &[],
    };
    let mut context = hmac::Context::with_key(&hmac::Key::new(key.algorithm.hmac(), &key.secret));
    context.update(message);
    context.update(&variables(&record));
    let mac = context.sign();
    record.mac = mac.as_ref();
    append(message, &record);
    mac.as_ref().to_vec()
}

/// Appends `record` to `message` and counts it.
pub(super) fn append(message: &mut Vec<u8>, record: &TsigRecord<'_>) {
    let mut rdata = record.algorithm.wire().to_vec();
    rdata.extend_from_slice(&record.time.to_be_bytes()[2..]);
    rdata.extend_from_slice(&record.fudge.to_be_bytes());
    rdata.extend_from_slice(&(record.mac.len() as u16).to_be_bytes());
    rdata.extend_from_slice(record.mac);
    rdata.extend_from_slice(&record.original_id.to_be_bytes());
    rdata.extend_from_slice(&record.error.to_be_bytes());
    rdata.extend_from_slice(&(record.other.len() as u16).to_be_bytes());
    rdata.extend_from_slice(record.other);
    dns_message::record(message, &record.key, TYPE_TSIG, CLASS_ANY, 0, &rdata);
    let count = u16::from_be_bytes([message[ARCOUNT], message[ARCOUNT + 1]]) + 1;
    message[ARCOUNT..ARCOUNT + 2].copy_from_slice(&count.to_be_bytes());
}

/// Whether the MAC of a reply is right; `request_mac` is what [`sign`] gave (RFC 8945 §5.3, §5.4). Truncated MACs are
/// not accepted.
fn mac_is_right(reply: &Reply<'_>, record: &TsigRecord<'_>, key: &TsigKey, request_mac: &[u8]) -> bool {
    let mut message = Vec::with_capacity(reply.octets.len() + 512);
    message.extend_from_slice(&(request_mac.len() as u16).to_be_bytes());
    message.extend_from_slice(request_mac);
    let begin = message.len();
    message.extend_from_slice(&reply.octets[..record.start]);
    message[begin..begin + 2].copy_from_slice(&record.original_id.to_be_bytes());
    // A message with a TSIG record has at least one additional record.
    let count = u16::from_be_bytes([message[begin + ARCOUNT], message[begin + ARCOUNT + 1]]) - 1;
    message[begin + ARCOUNT..begin + ARCOUNT + 2].copy_from_slice(&count.to_be_bytes());
    message.extend_from_slice(&variables(record));
    hmac::verify(&hmac::Key::new(key.algorithm.hmac(), &key.secret), &message, record.mac).is_ok()
}

/// Verifies a reply that carries `record`.
///
/// # Errors
///
/// The error that the server reports, or what is wrong with its signature. BADSIG and BADKEY come unsigned from the
/// server (RFC 8945 §5.2), so anybody can have made them.
pub(super) fn verify(
    reply: &Reply<'_>,
    record: &TsigRecord<'_>,
    key: &TsigKey,
    request_mac: &[u8],
    now: UnixTime,
) -> Result<(), TsigError> {
    if record.mac.is_empty() && record.error != 0 {
        return Err(TsigError::from(record.error));
    }
    if record.key != key.name || record.algorithm != key.algorithm.name() {
        return Err(TsigError::BadKey);
    }
    if !mac_is_right(reply, record, key, request_mac) {
        return Err(TsigError::BadSig);
    }
    if record.error != 0 {
        return Err(TsigError::from(record.error));
    }
    let now = u64::try_from(now.0).unwrap_or(0);
    if now.abs_diff(record.time) > u64::from(record.fudge) { Err(TsigError::BadTime) } else { Ok(()) }
}

/// The server's clock, as a reply tells it for which [`verify`] gave `error`: one that the server has signed, which says
/// BADTIME (RFC 8945 §5.2.3).
pub(super) fn server_time(record: &TsigRecord<'_>, error: TsigError) -> Option<UnixTime> {
    // Without a MAC, or without an error of the server's, nobody knows who says so.
    if error != TsigError::BadTime || record.error != BADTIME || record.mac.is_empty() {
        return None;
    }
    let octets: [u8; 6] = record.other.try_into().ok()?;
    Some(UnixTime(octets.iter().fold(0, |time, octet| time << 8 | i64::from(*octet))))
}
