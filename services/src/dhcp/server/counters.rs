//! What a server has counted.

use dhcproto::v4::MessageType;

use super::Reason;

/// Counters since the server was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    received: [u64; RECEIVED.len()],
    sent: [u64; SENT.len()],
    dropped: [u64; Reason::COUNT],
    /// Probes that were answered: the address is in use by a stranger.
    pub conflicts: u64,
}

const RECEIVED: [(MessageType, &str); 5] = [
    (MessageType::Discover, "discover"),
    (MessageType::Request, "request"),
    (MessageType::Decline, "decline"),
    (MessageType::Release, "release"),
    (MessageType::Inform, "inform"),
];

const SENT: [(MessageType, &str); 3] =
    [(MessageType::Offer, "offer"), (MessageType::Ack, "ack"), (MessageType::Nak, "nak")];

impl Counters {
    pub(super) fn receive(&mut self, kind: MessageType) {
        if let Some(at) = RECEIVED.iter().position(|(known, _)| *known == kind) {
            self.received[at] += 1;
        }
    }

    pub(super) fn send(&mut self, kind: MessageType) {
        if let Some(at) = SENT.iter().position(|(known, _)| *known == kind) {
            self.sent[at] += 1;
        }
    }

    pub(super) fn drop(&mut self, reason: Reason) {
        self.dropped[reason.index()] += 1;
    }

    /// Well-formed messages of clients within their rate, by kind.
    pub fn received(&self) -> impl Iterator<Item = (&'static str, u64)> {
        RECEIVED.iter().zip(self.received).map(|((_, name), count)| (*name, count))
    }

    /// Replies that were made, by kind.
    pub fn sent(&self) -> impl Iterator<Item = (&'static str, u64)> {
        SENT.iter().zip(self.sent).map(|((_, name), count)| (*name, count))
    }

    /// Messages that got no answer, or not the one they asked for, by reason.
    pub fn dropped(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Reason::NAMES.into_iter().zip(self.dropped)
    }
}

impl Reason {
    const COUNT: usize = Self::NAMES.len();

    const NAMES: [&str; 8] = [
        "malformed",
        "rate_limited",
        "unknown_network",
        "other_server",
        "unknown_client",
        "overloaded",
        "outlived",
        "name_taken",
    ];

    fn index(self) -> usize {
        match self {
            Reason::Malformed(_) => 0,
            Reason::RateLimited => 1,
            Reason::UnknownNetwork => 2,
            Reason::OtherServer => 3,
            Reason::UnknownClient => 4,
            Reason::Overloaded => 5,
            Reason::Outlived => 6,
            Reason::NameTaken => 7,
        }
    }

    /// The name in counters.
    pub fn name(self) -> &'static str {
        Self::NAMES[self.index()]
    }
}
