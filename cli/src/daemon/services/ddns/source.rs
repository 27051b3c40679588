//! Where the address comes from: the wan itself, or what somebody outside sees of a router behind another NAT.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use genkan_config::ddns::{AddressSource, Ddns};
use genkan_services::ddns::stun::{self, StunError};
use genkan_services::ddns::{Family, HttpRequest, Method, Secret, echo};
use tokio_rustls::rustls::ClientConfig;

use super::transport::{self, TransportError};

/// How often somebody outside is asked: a STUN server bears more than a web server.
const STUN_EVERY: Duration = Duration::from_secs(5 * 60);
const HTTP_EVERY: Duration = Duration::from_secs(10 * 60);
/// First wait after a failure; doubles up to the interval.
const RETRY: Duration = Duration::from_secs(30);

/// Why nobody outside told the address.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    /// Nobody answered.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The STUN server's answer.
    #[error("the STUN server: {0}")]
    Stun(#[from] StunError),
    /// The web server's answer.
    #[error("the web server: {0}")]
    Echo(#[from] echo::EchoError),
    /// The web server's status.
    #[error("the web server answers with HTTP status {0}")]
    Status(u16),
    /// Of no use here.
    #[error("{0} is no {kind} address", kind = .1.kind())]
    Family(IpAddr, Family),
}

/// How often it is asked; `None`: it is not asked, the plan tells.
pub(super) fn every(source: &AddressSource) -> Option<Duration> {
    match source {
        AddressSource::Wan => None,
        AddressSource::Stun { .. } => Some(STUN_EVERY),
        AddressSource::Http { .. } => Some(HTTP_EVERY),
    }
}

/// When it is asked again after so many failures in a row.
pub(super) fn again(source: &AddressSource, failures: u32) -> Duration {
    let every = every(source).unwrap_or(Duration::MAX);
    RETRY.saturating_mul(1 << failures.saturating_sub(1).min(8)).min(every)
}

/// Whether `address` may be published, and in words why not.
pub(super) fn publishable(address: IpAddr, allow_private: bool) -> Result<(), String> {
    if allow_private || echo::is_public(&address) {
        return Ok(());
    }
    Err(match address {
        IpAddr::V4(_) => format!(
            "{address} cannot be reached from outside, since there is another NAT in front of this router: see `source` \
             and `allow_private` of `[[ddns]]`"
        ),
        IpAddr::V6(_) => {
            format!(
                "{address} cannot be reached from outside: see `source` and `allow_private` of `[[ddns]]`"
            )
        }
    })
}

/// Asks somebody outside, over the family of the names. `random` is what a STUN server's answer is known by.
pub(super) async fn ask(
    settings: &Ddns,
    trust: Arc<ClientConfig>,
    random: [u8; 12],
) -> Result<IpAddr, SourceError> {
    let family = settings.family;
    let address = match &settings.source {
        AddressSource::Wan => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressSource::Stun { host, port } => {
            let first = stun_answer((host, *port), family, random, &[]).await?;
            match (stun::binding_response(&first, random), stun::nonce(&first)) {
                // Whoever can send it back is where he says that he is.
                (Err(StunError::Refused(stun::STALE_NONCE)), Some(nonce)) => {
                    let again = random.map(|octet| !octet);
                    let second = stun_answer((host, *port), family, again, nonce).await?;
                    stun::binding_response(&second, again)?.ip()
                }
                (answer, _) => answer?.ip(),
            }
        }
        AddressSource::Http { url } => {
            let headers = vec![("User-Agent", Secret::new(concat!("Genkan/", env!("CARGO_PKG_VERSION"))))];
            let url = Secret::new(url.clone());
            let request = HttpRequest { method: Method::Get, url, headers, body: Vec::new() };
            let answer = transport::https(trust, &request, family).await?;
            if !(200..300).contains(&answer.status) {
                return Err(SourceError::Status(answer.status));
            }
            echo::address(&answer.body, family, settings.allow_private)?
        }
    };
    if Family::of(address) == family { Ok(address) } else { Err(SourceError::Family(address, family)) }
}

async fn stun_answer(
    server: (&str, u16),
    family: Family,
    transaction_id: [u8; 12],
    nonce: &[u8],
) -> Result<Vec<u8>, TransportError> {
    let is_reply = |octets: &[u8]| {
        let answer = stun::binding_response(octets, transaction_id);
        !matches!(answer, Err(StunError::Malformed | StunError::OtherTransaction))
    };
    transport::datagram(server, family, &stun::binding_request(transaction_id, nonce), is_reply).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_asked_in_vain_is_asked_ever_less() {
        let stun = AddressSource::Stun { host: "stun.example.net".to_owned(), port: 3478 };
        let waits: Vec<u64> = (1..7).map(|failures| again(&stun, failures).as_secs()).collect();
        assert_eq!(waits, [30, 60, 120, 240, 300, 300]);
        assert_eq!(again(&stun, u32::MAX), STUN_EVERY);
    }

    #[test]
    fn private_addresses_are_published_on_demand_only() {
        for private in ["192.168.1.2", "10.0.0.2", "100.64.0.9", "169.254.1.1"] {
            let address = private.parse().expect("an address");
            let reason = publishable(address, false).expect_err("nobody reaches it");
            assert!(reason.contains(private) && reason.contains("another NAT"), "{reason}");
            assert_eq!(publishable(address, true), Ok(()));
        }
        let reason =
            publishable("fd00::1".parse().expect("an address"), false).expect_err("nobody reaches it");
        assert!(reason.contains("fd00::1") && !reason.contains("NAT"), "{reason}");
        for public in ["203.0.113.1", "2001:db8::1"] {
            assert_eq!(publishable(public.parse().expect("an address"), false), Ok(()));
        }
    }
}
