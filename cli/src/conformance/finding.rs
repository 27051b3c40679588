//! What a probe finds.

use serde::Serialize;

/// How a device stands to a requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// As the RFC says.
    Met,
    /// With a difference.
    Partly,
    /// Otherwise.
    NotMet,
    /// It asks for something about a function that is not there.
    NotApplicable,
}

impl Verdict {
    /// Its name in the catalogue of words and in the document.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Verdict::Met => "met",
            Verdict::Partly => "partly",
            Verdict::NotMet => "not met",
            Verdict::NotApplicable => "not applicable",
        }
    }
}

/// A verdict and what was seen. The text holds nothing that another run would see otherwise, as drawn ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) verdict: Verdict,
    pub(crate) observed: String,
}

/// `Err` ends a probe early with what it has found by then.
pub(crate) type Outcome = Result<Finding, Finding>;

pub(crate) fn met(observed: impl Into<String>) -> Finding {
    Finding { verdict: Verdict::Met, observed: observed.into() }
}

pub(crate) fn partly(observed: impl Into<String>) -> Finding {
    Finding { verdict: Verdict::Partly, observed: observed.into() }
}

pub(crate) fn not_met(observed: impl Into<String>) -> Finding {
    Finding { verdict: Verdict::NotMet, observed: observed.into() }
}

/// Met if `yes`, with what each of them looks like.
pub(crate) fn judge(yes: bool, met_by: &str, not_met_by: &str) -> Finding {
    if yes { met(met_by) } else { not_met(not_met_by) }
}

/// Goes on only if `yes`.
pub(crate) fn require(yes: bool, else_observed: &str) -> Result<(), Finding> {
    if yes { Ok(()) } else { Err(not_met(else_observed)) }
}
