//! What is open to the outside, and how risky that is: `GET /v1/audit`.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{ClosedBy, Opened, SourceHits};

/// Query of an audit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    /// Of the sentences: `en`, as without it, or `ja`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(pattern = "^(en|ja)$")]
    pub language: Option<String>,
}

/// All openings, the riskiest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditReport {
    /// When, in seconds since 1970.
    pub at: i64,
    /// Them.
    pub openings: Vec<AuditOpening>,
    /// What could not be looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<AuditFinding>,
}

/// One opening.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditOpening {
    /// What opens it.
    pub kind: AuditKind,
    /// The name of the forward or host; of the DMZ its host.
    pub name: String,
    /// How risky it is: as its worst finding.
    pub risk: AuditRisk,
    /// `tcp`, `udp`; empty for all.
    pub protocols: Vec<String>,
    /// External ports and runs of them; empty for all.
    pub ports: Vec<String>,
    /// Where it leads.
    pub to: String,
    /// Only these sources; empty for everybody.
    pub from: Vec<String>,
    /// Why packets do not pass now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_by: Option<ClosedBy>,
    /// Since when it is open and who opened it, as far as the history knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened: Option<Opened>,
    /// Sessions that it has admitted, as far as that is counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hits: Option<u64>,
    /// When the last one came, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_hit: Option<i64>,
    /// Who came most often.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceHits>,
    /// Closed from then on, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<i64>,
    /// Open in these hours only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// What speaks against it, the worst first.
    pub findings: Vec<AuditFinding>,
    /// What would close it, or narrow it.
    pub commands: Vec<String>,
    /// `FILE:LINE:COLUMN` of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

/// What opens something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AuditKind {
    /// A `[[forward]]`.
    Forward,
    /// The `[dmz]`.
    Dmz,
    /// A `[[host]]` with an external address of its own.
    OneToOne,
}

/// How risky something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AuditRisk {
    /// Not by any of the rules.
    #[default]
    None,
    /// Worth knowing.
    Low,
    /// Worth changing.
    Medium,
    /// To be changed.
    High,
}

/// One reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditFinding {
    /// Which rule it is by: a name that stays.
    pub id: String,
    /// How bad that is.
    pub risk: AuditRisk,
    /// Why, as a sentence.
    pub text: String,
}
