//! Behaviour as the RFCs and the fine print of the design ask for it, one test per requirement.
//!
//! Tests are named after what they show: `req_9a_...` in the file of its RFC, `drop_REASON` for the one
//! test that every drop reason has. `documents` checks that the lists in `docs/` and these names agree.

mod behaviors;
mod common;
mod corners;
mod devices;
mod documents;
mod drops_nat;
mod drops_sanity;
mod forward_counts;
mod forward_limits;
mod forwards;
mod fragments;
mod hairpin;
mod icmp;
mod lans;
mod limits;
mod local_services;
mod meeting_rules;
mod mtu;
mod neighbors;
mod openings;
mod other_protocols;
mod plan_changes;
mod ports;
mod rfc4787;
mod rfc5382;
mod rfc5508;
mod rfc6888;
mod rfc7857;
mod rfc8158;
mod sanity;
mod static_mappings;
mod tcp;
mod wan_routes;
