//! Listens to packets that are explained.

use super::lines::Lines;
use super::{Client, ClientError, with_query};
use crate::api::{FollowLine, FollowQuery};

impl Client {
    /// Listens to `GET /v1/trace`: hands each line to `each`, until that says false or the router ends.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn follow_packets(
        &self,
        query: &FollowQuery,
        mut each: impl FnMut(FollowLine) -> bool,
    ) -> Result<(), ClientError> {
        let mut lines = Lines::default();
        self.listen(&with_query("/v1/trace", query), "application/x-ndjson", |octets| {
            for line in lines.take(octets)? {
                let line = serde_json::from_slice(&line);
                if !each(line.map_err(|error| ClientError::Answer(error.to_string()))?) {
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{FollowedPacket, TraceAnswer, TraceFate};

    #[test]
    fn queries_become_text() {
        let query = FollowQuery {
            filter: Some("tcp port 80 && !arp".to_owned()),
            count: Some(5),
            ..FollowQuery::default()
        };
        assert_eq!(
            with_query("/v1/trace", &query),
            "/v1/trace?count=5&match=tcp%20port%2080%20%26%26%20%21arp"
        );
    }

    #[test]
    fn a_line_is_what_was_told() {
        let told = TraceAnswer {
            packet: "udp".to_owned(),
            port: "wan".to_owned(),
            now: Vec::new(),
            steps: Vec::new(),
            fate: TraceFate::Kept,
            reason: None,
            left: Vec::new(),
            remedies: Vec::new(),
            answer: None,
        };
        let packet = FollowedPacket { time: "2026-01-01T00:00:00Z".to_owned(), told };
        for (line, text) in [
            (FollowLine::Following, "{\"kind\":\"following\"}"),
            (FollowLine::Lost { packets: 12 }, "{\"kind\":\"lost\",\"packets\":12}"),
            (
                FollowLine::Packet(Box::new(packet)),
                "{\"kind\":\"packet\",\"time\":\"2026-01-01T00:00:00Z\",\"packet\":\"udp\",\"port\":\"wan\",\
                 \"steps\":[],\"fate\":\"kept\",\"left\":[],\"remedies\":[]}",
            ),
        ] {
            assert_eq!(serde_json::to_string(&line).expect("JSON"), text);
            assert_eq!(serde_json::from_str::<FollowLine>(text).expect("a line"), line);
        }
    }
}
