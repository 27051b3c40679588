//! Asks for events, and listens to them.

use hyper::Method;

use super::{Client, ClientError};
use crate::api::{EventPage, EventQuery, EventRow};

/// Longest line of a stream that is taken: an event is a few hundred octets.
const LONGEST_LINE: usize = 1 << 20;

impl Client {
    /// `GET /v1/events`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn events(&self, query: &EventQuery) -> Result<EventPage, ClientError> {
        self.request(Method::GET, &with_query(query)).await
    }

    /// Listens to `GET /v1/events` as a stream: hands each event after `query.since` (without it: each new one) to
    /// `each`, until that says false or the router ends.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn follow_events(
        &self,
        query: &EventQuery,
        mut each: impl FnMut(EventRow) -> bool,
    ) -> Result<(), ClientError> {
        let mut lines = Lines::default();
        self.listen(&with_query(query), "text/event-stream", |octets| {
            let mut rows = lines.rows(octets)?.into_iter();
            // Stops at the first that says so.
            Ok(rows.all(&mut each))
        })
        .await
    }
}

fn with_query(query: &EventQuery) -> String {
    let since = query.since.map(|since| format!("since={since}"));
    let limit = query.limit.map(|limit| format!("limit={limit}"));
    let words: Vec<String> = since.into_iter().chain(limit).collect();
    if words.is_empty() { "/v1/events".to_owned() } else { format!("/v1/events?{}", words.join("&")) }
}

/// Puts the lines of a stream together and reads the events in them. Each of ours is one line of data.
#[derive(Debug, Default)]
struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    fn rows(&mut self, octets: &[u8]) -> Result<Vec<EventRow>, ClientError> {
        self.begun.extend_from_slice(octets);
        let mut rows = Vec::new();
        while let Some(end) = self.begun.iter().position(|octet| *octet == b'\n') {
            let line: Vec<u8> = self.begun.drain(..=end).collect();
            if let Some(data) = line.strip_prefix(b"data:") {
                let row = serde_json::from_slice(data);
                rows.push(row.map_err(|error| ClientError::Answer(error.to_string()))?);
            }
        }
        if self.begun.len() > LONGEST_LINE {
            return Err(ClientError::Answer("a line without end".to_owned()));
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_become_text() {
        assert_eq!(with_query(&EventQuery::default()), "/v1/events");
        let query = EventQuery { since: Some(7), limit: Some(10) };
        assert_eq!(with_query(&query), "/v1/events?since=7&limit=10");
    }

    #[test]
    fn events_may_come_in_pieces() {
        let text = "id: 5\nevent: link\ndata: {\"id\":5,\"time\":\"2026-01-01T00:00:00Z\",\"kind\":\"link\",\
                    \"message\":\"wan: up\"}\n\n:\n\n";
        let mut lines = Lines::default();
        let mut rows = Vec::new();
        for piece in text.as_bytes().chunks(7) {
            rows.extend(lines.rows(piece).expect("well formed"));
        }
        assert_eq!((rows.len(), rows[0].id, rows[0].message.as_str()), (1, 5, "wan: up"));
        assert!(lines.rows(b"data: {\n").is_err());
        assert!(Lines::default().rows(&vec![b'x'; LONGEST_LINE + 1]).is_err());
    }
}
