//! The JSON of the control API: types that go over the socket, and how engine views become them.
//!
//! Addresses are text (`"192.168.0.10:4000"`), times are seconds, counts are plain numbers. Fields are only ever
//! added within `/v1`.
//!
//! One file for each group of requests: `status`, `tables`, `counters`, `events`, `changes`; `error` for what is no success.

mod audit;
mod capture;
mod changes;
mod counters;
mod ddns;
mod dns;
mod error;
mod events;
mod follow;
mod forwards;
mod hosts;
mod leases;
mod list_query;
mod log;
mod probes;
mod status;
mod tables;
mod trace;
mod upgrade;
mod wan;

pub use self::audit::*;
pub use self::capture::CaptureQuery;
pub use self::changes::*;
pub use self::counters::*;
pub use self::ddns::{DdnsFamily, DdnsFault, DdnsRow, DdnsState};
pub use self::dns::*;
pub use self::error::*;
pub use self::events::{EventKind, EventPage, EventQuery, EventRow};
pub use self::follow::*;
pub use self::forwards::{ForwardCounts, SourceHits};
pub use self::hosts::{HostQuery, HostRow, HostSort};
pub use self::leases::{DhcpFault, DhcpRow, LeaseQuery, LeaseRow, LeaseState};
pub use self::list_query::*;
pub use self::log::{LogLevelReport, LogLevelSource, NewLogLevel};
pub use self::probes::*;
pub use self::status::*;
pub use self::tables::*;
pub use self::trace::*;
pub use self::upgrade::*;
pub use self::wan::*;
