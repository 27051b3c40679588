//! Another program in the place of the running one.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /v1/upgrade`, done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UpgradeReport {
    /// Path of the new program.
    pub program: String,
    /// Version of the one that ran so far.
    pub from: String,
    /// Version of the new one.
    pub to: String,
    /// Process id of the new one.
    pub pid: u32,
    /// What [`Status::upgrades`](super::Status::upgrades) of the new one says.
    pub upgrades: u32,
    /// Sessions that went over.
    pub sessions: u64,
    /// Sessions that the new one did not take; its log has the reasons.
    pub not_taken: u64,
    /// How long no packet moved, in microseconds.
    pub pause_micros: u64,
}
