//! RFC 8158, with its events as numbers.

use super::Test::NotLive;
use super::{Document, Keyword, Requirement};
use crate::conformance::finding::Verdict::{Met, NotMet, Partly};

pub(super) const DOCUMENT: Document = Document {
    rfc: 8158,
    title: "logging of NAT events",
    preface: "As JSON lines in the fields of the RFC, not as IPFIX messages; off by default. [docs/nat-log.md](nat-log.md) has the\n\
              fields. They include what RFC 6888 section 4 asks a record to have: protocol, inside address, external address and port,\n\
              time.",
    unit: "event",
    for_every_nat: true,
    requirements: &[
        Requirement {
            id: "4, 5",
            keyword: Keyword::None,
            asks: "NAT44 session",
            how: "those that have a mapping only with `nat_destinations = true`; none between lans, where nothing is translated",
            shown_by: &[
                "rfc8158::a_mapping_and_its_sessions_begin_and_end",
                "rfc8158::sessions_without_a_mapping_are_told_by_themselves",
                "rfc8158::a_hairpin_is_two_sessions",
                "rfc8158::icmp_queries_have_their_identifier_for_a_port",
                "rfc8158::between_lans_nothing_is_translated",
            ],
            test: NotLive(Met, "no traffic shows it"),
        },
        Requirement {
            id: "8, 9",
            keyword: Keyword::None,
            asks: "NAT44 BIB entry",
            how: "",
            shown_by: &[
                "rfc8158::a_mapping_and_its_sessions_begin_and_end",
                "rfc8158::a_mapping_that_a_plan_takes_away_ends_at_once_and_once",
            ],
            test: NotLive(Met, "no traffic shows it"),
        },
        Requirement {
            id: "12",
            keyword: Keyword::None,
            asks: "ports exhausted",
            how: "at most ten a second, with 13",
            shown_by: &["rfc8158::limits_that_are_met_are_told_of_a_few_times_a_second"],
            test: NotLive(Met, "no traffic shows it"),
        },
        Requirement {
            id: "13",
            keyword: Keyword::None,
            asks: "quota exceeded",
            how: "all sessions, and those or the ports of a host; the bound of fragments is a counter only (`docs/counters.md`)",
            shown_by: &["rfc8158::limits_that_are_met_are_told_of_a_few_times_a_second"],
            test: NotLive(Partly, "no traffic shows it"),
        },
        Requirement {
            id: "3, 14 to 18",
            keyword: Keyword::None,
            asks: "addresses, port blocks, thresholds",
            how: "addresses are shared, ports are handed out one by one, and there are no thresholds",
            shown_by: &[],
            test: NotLive(NotMet, "no traffic shows it"),
        },
    ],
};
