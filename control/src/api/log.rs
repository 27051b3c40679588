//! How much the router logs.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Body of `PUT /v1/log-level`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewLogLevel {
    /// As `[log] level` takes it: `debug`, or `info,genkan_control=debug`.
    pub level: String,
}

/// Answer about the level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLevelReport {
    /// How much is logged.
    pub level: String,
    /// Who says so.
    pub set_by: LogLevelSource,
    /// What holds again after a reload or restart, as far as the configuration stays as it is.
    pub otherwise: String,
}

/// Who says how much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevelSource {
    /// `[log] level`.
    Configuration,
    /// The variable `GENKAN_LOG` of the router.
    Environment,
    /// A request to the running router.
    Request,
}
