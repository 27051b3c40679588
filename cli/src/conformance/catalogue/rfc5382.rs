//! RFC 5382, with the numbers of its section 8.

use super::Keyword::{May, Must, Should};
use super::Test::Live;
use super::{Document, Requirement};
use crate::conformance::device::Variant::{Brief, Chosen, Plain};
use crate::conformance::probes::{mapping, tcp, tcp_timers};
use crate::conformance::site::Kind;

pub(super) const DOCUMENT: Document = Document {
    rfc: 5382,
    title: "TCP (updated by RFC 7857)",
    preface: "",
    unit: "REQ",
    for_every_nat: true,
    requirements: &[
        Requirement {
            id: "1",
            keyword: Must,
            asks: "endpoint-independent mapping",
            how: "",
            shown_by: &["rfc5382::req_1_endpoint_independent_mapping"],
            test: Live(Plain, |site| mapping::endpoint_independent_mapping(site, Kind::Tcp)),
        },
        Requirement {
            id: "2",
            keyword: Must,
            asks: "all valid sequences of TCP",
            how: "sessions start by a SYN; anything else without a session is dropped, with a RST to inside hosts",
            shown_by: &[
                "rfc5382::req_2_a_whole_connection_from_inside",
                "rfc5382::req_2_a_whole_connection_from_outside",
            ],
            test: Live(Plain, tcp::whole_connections),
        },
        Requirement {
            id: "2a",
            keyword: Must,
            asks: "the three-way handshake, and simultaneous open",
            how: "retransmissions included",
            shown_by: &["rfc5382::req_2a_retransmitted_syns_pass", "rfc5382::req_2a_simultaneous_open"],
            test: Live(Plain, tcp::openings),
        },
        Requirement {
            id: "3",
            keyword: Should,
            asks: "endpoint-independent or address-dependent filtering",
            how: "as for UDP",
            shown_by: &["rfc5382::req_3_filtering_admits_other_ports_of_the_same_address"],
            test: Live(Plain, |site| mapping::filtering(site, Kind::Tcp)),
        },
        Requirement {
            id: "3a, 3b",
            keyword: May,
            asks: "filtering configurable, for TCP apart from UDP",
            how: "configurable, but one setting for both protocols",
            shown_by: &[
                "rfc5382::req_3a_filtering_is_configurable",
                "behaviors::tcp_maps_and_filters_like_udp",
            ],
            test: Live(Chosen, mapping::filtering_of_tcp_is_configurable),
        },
        Requirement {
            id: "4",
            keyword: Must,
            asks: "no answer to an unsolicited SYN for 6 seconds",
            how: "there never is one",
            shown_by: &["rfc5382::req_4_no_answer_to_an_unsolicited_syn"],
            test: Live(Brief, tcp::unsolicited_syn),
        },
        Requirement {
            id: "4a",
            keyword: Must,
            asks: "silence where policy asks for it",
            how: "the policy is silence",
            shown_by: &["rfc5382::req_4a_unsolicited_syns_are_dropped_in_silence"],
            test: Live(Brief, tcp::unsolicited_syn_in_silence),
        },
        Requirement {
            id: "5",
            keyword: Must,
            asks: "established 2 h 4 min, transitory 4 min",
            how: "the defaults; lower values are accepted with a warning",
            shown_by: &[
                "rfc5382::req_5_established_sessions_live_two_hours_and_four_minutes",
                "rfc5382::req_5_opening_sessions_live_four_minutes",
                "rfc5382::req_5_closing_sessions_live_four_minutes",
                "rfc5382::req_5_a_half_closed_session_keeps_the_established_timeout",
            ],
            test: Live(Brief, tcp_timers::connection_timeouts),
        },
        Requirement {
            id: "5a",
            keyword: May,
            asks: "configurable",
            how: "",
            shown_by: &["rfc5382::req_5a_timeouts_are_configurable"],
            test: Live(Brief, tcp_timers::timeouts_are_configurable),
        },
        Requirement {
            id: "6",
            keyword: Should,
            asks: "ALGs off, FTP excepted",
            how: "there are none, so active FTP needs passive mode or a forward",
            shown_by: &["rfc4787::req_10_payloads_pass_untouched"],
            test: Live(Plain, tcp::payloads_untouched),
        },
        Requirement {
            id: "7",
            keyword: Must,
            asks: "no port overloading",
            how: "",
            shown_by: &["rfc5382::req_7_no_port_overloading"],
            test: Live(Plain, |site| mapping::no_port_overloading(site, Kind::Tcp)),
        },
        Requirement {
            id: "8",
            keyword: Must,
            asks: "hairpinning",
            how: "",
            shown_by: &["rfc5382::req_8_hairpinning"],
            test: Live(Plain, |site| mapping::hairpinning(site, Kind::Tcp)),
        },
        Requirement {
            id: "8a",
            keyword: Must,
            asks: "from the external source address and port",
            how: "",
            shown_by: &["rfc5382::req_8a_hairpinned_connections_come_from_the_external_endpoint"],
            test: Live(Plain, |site| mapping::hairpinning_from_the_external_endpoint(site, Kind::Tcp)),
        },
        Requirement {
            id: "9",
            keyword: Should,
            asks: "destination unreachable translated",
            how: "every code, eight octets of TCP are enough",
            shown_by: &["rfc5382::req_9_destination_unreachable_is_translated"],
            test: Live(Plain, tcp::unreachable),
        },
        Requirement {
            id: "10",
            keyword: Must,
            asks: "ICMP never ends a connection",
            how: "",
            shown_by: &["rfc5382::req_10_icmp_does_not_end_a_connection"],
            test: Live(Plain, tcp::errors_do_not_end_a_connection),
        },
    ],
};
