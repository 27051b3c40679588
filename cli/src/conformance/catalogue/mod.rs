//! The requirements, RFC by RFC: what each asks for, what Genkan does about it, the simulated tests that show it, and
//! the probe that shows it live.

mod rfc4787;
mod rfc5382;
mod rfc5508;
mod rfc6888;
mod rfc7857;
mod rfc8158;

use super::device::Variant;
use super::finding::{Outcome, Verdict};
use super::site::Site;

/// One RFC.
pub(crate) struct Document {
    /// Its number.
    pub(crate) rfc: u16,
    /// What it is about.
    pub(crate) title: &'static str,
    /// What there is to say before its requirements; may be empty.
    pub(crate) preface: &'static str,
    /// What it calls what it asks for.
    pub(crate) unit: &'static str,
    /// Whether it is about every NAT, not about those of carriers only: then its MUSTs count.
    pub(crate) for_every_nat: bool,
    /// In its order.
    pub(crate) requirements: &'static [Requirement],
}

/// One requirement, its text shortened.
pub(crate) struct Requirement {
    /// Its number.
    pub(crate) id: &'static str,
    /// How strongly it is asked for.
    pub(crate) keyword: Keyword,
    /// What it asks for.
    pub(crate) asks: &'static str,
    /// How Genkan does it, or why not.
    pub(crate) how: &'static str,
    /// The simulated tests: file and test. A sentence where there are none.
    pub(crate) shown_by: &'static [&'static str],
    /// How it is tested live.
    pub(crate) test: Test,
}

/// RFC 2119; RECOMMENDED is SHOULD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keyword {
    Must,
    Should,
    May,
    /// The RFC describes instead of asking, or nobody has compared its words.
    None,
}

/// How a requirement is tested live.
#[derive(Clone, Copy)]
pub(crate) enum Test {
    /// By this probe, with a device set up like this.
    Live(Variant, fn(&Site) -> Outcome),
    /// Not; Genkan's verdict, and why not live.
    NotLive(Verdict, &'static str),
}

impl Keyword {
    /// As the RFCs write it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Keyword::Must => "MUST",
            Keyword::Should => "SHOULD",
            Keyword::May => "MAY",
            Keyword::None => "-",
        }
    }
}

/// Every RFC.
pub(crate) const DOCUMENTS: &[Document] = &[
    rfc4787::DOCUMENT,
    rfc5382::DOCUMENT,
    rfc5508::DOCUMENT,
    rfc6888::DOCUMENT,
    rfc7857::DOCUMENT,
    rfc8158::DOCUMENT,
];
