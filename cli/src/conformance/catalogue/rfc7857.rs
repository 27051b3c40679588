//! RFC 7857, with its sections as numbers.

use super::Test::{Live, NotLive};
use super::{Document, Keyword, Requirement};
use crate::conformance::device::Variant::{Brief, Chosen, Plain};
use crate::conformance::finding::Verdict::Met;
use crate::conformance::probes::{icmp_errors, icmp_queries, limits, mapping, tcp_timers, timers};
use crate::conformance::site::Kind;

pub(super) const DOCUMENT: Document = Document {
    rfc: 7857,
    title: "updates",
    preface: "It numbers no requirements; these are its sections. Where no level is given, its words have not been \
              compared with the text.",
    unit: "section",
    for_every_nat: true,
    requirements: &[
        Requirement {
            id: "2.1",
            keyword: Keyword::Should,
            asks: "transitory timeout of at least 4 minutes for opening and closing",
            how: "one value for both phases",
            shown_by: &["rfc7857::section_2_1_both_transitory_phases_are_at_least_four_minutes"],
            test: Live(Brief, tcp_timers::transitory_timeouts),
        },
        Requirement {
            id: "2.2",
            keyword: Keyword::Should,
            asks: "RST starts the closing timeout, traffic from inside brings the session back",
            how: "sequence numbers are not tracked, so a RST is not validated; it ends nothing at once",
            shown_by: &[
                "rfc7857::section_2_2_a_rst_starts_the_four_minutes_and_ends_nothing_at_once",
                "rfc7857::section_2_2_traffic_from_inside_brings_the_connection_back",
            ],
            test: Live(Brief, tcp_timers::reset),
        },
        Requirement {
            id: "3",
            keyword: Keyword::None,
            asks: "no overlapping of ports with endpoint-independent mapping",
            how: "",
            shown_by: &["rfc7857::section_3_ports_do_not_overlap_even_toward_different_remotes"],
            test: Live(Plain, |site| mapping::no_port_overloading(site, Kind::Udp)),
        },
        Requirement {
            id: "4",
            keyword: Keyword::None,
            asks: "\"paired\" also when the address has no ports left",
            how: "the flow is refused",
            shown_by: &["rfc7857::section_4_a_host_without_ports_left_stays_with_its_address"],
            test: NotLive(Met, "it takes every port of an address"),
        },
        Requirement {
            id: "5",
            keyword: Keyword::None,
            asks: "mappings of protocols independent",
            how: "",
            shown_by: &["rfc7857::section_5_mappings_of_udp_and_tcp_are_independent"],
            test: Live(Plain, mapping::protocols_map_apart),
        },
        Requirement {
            id: "6",
            keyword: Keyword::None,
            asks: "filters of protocols independent",
            how: "",
            shown_by: &["rfc7857::section_6_filters_of_udp_and_tcp_are_independent"],
            test: Live(Plain, mapping::protocols_filter_apart),
        },
        Requirement {
            id: "7",
            keyword: Keyword::None,
            asks: "packets that the filter refuses refresh nothing",
            how: "",
            shown_by: &["rfc7857::section_7_packets_that_the_filter_refuses_refresh_nothing"],
            test: Live(Brief, timers::refused_packets_do_not_refresh),
        },
        Requirement {
            id: "7.1",
            keyword: Keyword::Should,
            asks: "ICMP errors refresh nothing",
            how: "",
            shown_by: &["rfc7857::section_7_1_icmp_errors_refresh_nothing"],
            test: Live(Brief, timers::errors_do_not_refresh),
        },
        Requirement {
            id: "8",
            keyword: Keyword::None,
            asks: "parity may be off",
            how: "an option, off by default",
            shown_by: &["rfc7857::section_8_port_parity_is_off_by_default"],
            test: Live(Plain, mapping::parity_is_off),
        },
        Requirement {
            id: "9",
            keyword: Keyword::None,
            asks: "ports chosen at random",
            how: "simple randomisation (RFC 6056 §3.3.1) over a bitmap",
            shown_by: &["rfc7857::section_9_ports_that_cannot_be_kept_are_random"],
            test: Live(Chosen, limits::random_where_not_kept),
        },
        Requirement {
            id: "10",
            keyword: Keyword::Should,
            asks: "IPv4 identification",
            how: "passes unchanged: unique per inside host, not per external address (RFC 6864 §5.3.1 asks for that only where packets may be fragmented)",
            shown_by: &["rfc7857::section_10_identifications_of_whole_packets_pass_unchanged"],
            test: Live(Plain, mapping::identification),
        },
        Requirement {
            id: "11",
            keyword: Keyword::May,
            asks: "query mappings end with their session",
            how: "",
            shown_by: &["rfc7857::section_11_query_mappings_live_as_long_as_their_sessions"],
            test: Live(Brief, icmp_queries::mappings_end_with_their_sessions),
        },
        Requirement {
            id: "12",
            keyword: Keyword::None,
            asks: "hairpinned queries",
            how: "those to a 1:1 host's address reach the host; the router answers for its other addresses",
            shown_by: &[
                "rfc5508::req_7_hairpinned_queries_reach_a_one_to_one_host",
                "rfc7857::section_12_the_external_address_answers_pings_from_inside",
                "rfc7857::section_12_a_reply_to_an_own_ping_does_not_hit_a_mapping_of_another",
            ],
            test: Live(Chosen, icmp_errors::hairpinning),
        },
    ],
};
