//! The DNS forwarder of the lans: local names, block lists, a cache, and upstreams behind them.
//!
//! Read RFC 1035 section 4 and RFC 5625 first. The parts, each of which knows only those above it:
//! - `name`, `message`, `answer`: octets of names, queries and answers;
//! - `authored`: answers that are written here, by way of the codec;
//! - `local` (with `private_zones`), `block_list`, `cache`, `rebinding`: who answers instead of an upstream, and what may
//!   not be answered;
//! - `upstream`, `exchange`: who is asked, and what is outstanding;
//! - `forwarder`, `forwarding`: the order of these for a query, and for an answer.
//!
//! Answers of upstreams are not decoded: they are walked once for their bounds, TTLs and addresses, and kept as they are,
//! so that types which nobody here knows pass (RFC 3597).

mod answer;
mod authored;
mod block_list;
mod cache;
mod check;
mod exchange;
mod forwarder;
mod forwarding;
mod hash;
mod local;
mod message;
mod name;
mod private_zones;
mod rebinding;
mod split;
mod statistics;
#[cfg(test)]
mod tests;
mod upstream;

pub use block_list::{BlockList, BlockListBuilder, BlockListError};
pub use exchange::Client;
pub use forwarder::{Action, Event, Forwarder, Settings, SettingsError};
pub use message::ClientTransport;
pub use split::{ForwardTarget, direct_target};
pub use statistics::{QueryCounters, Statistics};
pub use upstream::{MAX_UPSTREAMS, Protocol, Strategy, Transport, Upstream, UpstreamId, UpstreamReport};
