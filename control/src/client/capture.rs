//! Listens to packets.

use super::{Client, ClientError};
use crate::api::CaptureQuery;

impl Client {
    /// Listens to `GET /v1/capture`: hands the pcapng octets to `each`, in pieces of whatever length, until that says
    /// false or the capture ends.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn capture(
        &self,
        query: &CaptureQuery,
        mut each: impl FnMut(&[u8]) -> Result<bool, ClientError>,
    ) -> Result<(), ClientError> {
        self.listen(&with_query(query), "application/x-pcapng", &mut each).await
    }
}

fn with_query(query: &CaptureQuery) -> String {
    let words = [
        query.port.as_deref().map(|port| format!("port={}", encoded(port))),
        query.filter.as_deref().map(|filter| format!("filter={}", encoded(filter))),
        query.count.map(|count| format!("count={count}")),
        query.seconds.map(|seconds| format!("seconds={seconds}")),
        query.snaplen.map(|snaplen| format!("snaplen={snaplen}")),
    ];
    let words: Vec<String> = words.into_iter().flatten().collect();
    if words.is_empty() { "/v1/capture".to_owned() } else { format!("/v1/capture?{}", words.join("&")) }
}

/// Percent-encoded (RFC 3986 §2.1), all but what is reserved for nothing.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for octet in text.bytes() {
        match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(octet));
            }
            _ => encoded.push_str(&format!("%{octet:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_become_text() {
        assert_eq!(with_query(&CaptureQuery::default()), "/v1/capture");
        let query = CaptureQuery {
            port: Some("wan".to_owned()),
            filter: Some("tcp port 80 && !arp".to_owned()),
            count: Some(5),
            seconds: Some(10),
            snaplen: Some(64),
        };
        let expected =
            "/v1/capture?port=wan&filter=tcp%20port%2080%20%26%26%20%21arp&count=5&seconds=10&snaplen=64";
        assert_eq!(with_query(&query), expected);
    }
}
