//! Names outside that follow the wan address: RFC 2136 updates signed with TSIG (RFC 8945), update services of the
//! dyndns2 kind, and the Cloudflare API.
//!
//! One [`Client`] keeps the names of one [`Entry`] (one service, one account, one address family) at an address that the
//! caller reports. It gives [`Request`]s, takes [`Outcome`]s, and has one request under way at most. Requests come in
//! rounds: the lookups and updates that one address needs, each asked once. Rounds lie at least the service's minimum
//! interval apart, whatever was answered and across restarts, as long as the caller saves [`Client::state`] before it
//! sends what [`Client::poll`] gave. [`stun`] and [`echo`] find the address behind another NAT.

mod base64;
mod client;
mod cloudflare;
mod dns_message;
mod dns_name;
mod dyndns2;
pub mod echo;
mod entry;
pub mod lookup;
mod providers;
mod reason;
mod request;
mod round;
mod secret;
mod server_clock;
mod state;
pub mod stun;
mod template;
mod tsig;

#[cfg(test)]
mod tests;

pub use client::{Client, Event, NameStatus, Now};
pub use cloudflare::Cloudflare;
pub use dns_name::{DnsName, DnsNameError};
pub use entry::{DnsUpdate, Entry, EntryError, Family, Http, Service};
pub use providers::{Answers, PROVIDERS, Provider, provider};
pub use reason::{Reason, Verdict};
pub use request::{Ask, DnsRequest, HttpRequest, Method, Outcome, Request, RequestId};
pub use secret::Secret;
pub use state::State;
pub use template::{Template, TemplateError, host, is_reachable};
pub use tsig::{TsigAlgorithm, TsigError, TsigKey, TsigKeyError};
