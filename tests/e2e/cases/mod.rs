//! The tests, by what they are about.

mod api;
mod audit;
mod backend;
mod bench;
mod bursts;
mod capture;
mod chain;
mod changes;
mod changes_beside_traffic;
mod changes_under_load;
mod conformance;
mod ddns;
mod ddns_bind;
mod ddns_v6;
mod devices;
mod devices_leased;
mod dhcp;
mod dhcp_clients;
mod dhcp_full_disk;
mod dhcp_kills;
mod dns;
mod dns_inside;
mod dns_resolvers;
mod doctor;
mod doctor_box;
mod doctor_evidence;
mod doctor_ports;
mod doctor_rules;
mod doctor_services;
mod doctor_targets;
mod flood;
mod forward;
mod lab;
mod labs;
mod lans;
mod lifecycle;
mod listing;
mod log;
mod metrics;
mod nat_log;
mod outbound;
mod persistence;
mod programs;
mod reflector;
mod rule_tests;
mod sandbox;
mod service;
mod services_reload;
mod tables;
mod tap;
mod top;
mod trace_follow;
mod trace_live;
mod upgrade;
mod upgrade_services;
mod upgrade_trouble;
mod wan_dhcp;

use crate::outcome::Case;

/// Every test.
pub(crate) fn all() -> Vec<Case> {
    [
        audit::all(),
        chain::all(),
        outbound::all(),
        forward::all(),
        lans::all(),
        programs::all(),
        reflector::all(),
        rule_tests::all(),
        lifecycle::all(),
        listing::all(),
        log::all(),
        metrics::all(),
        nat_log::all(),
        persistence::all(),
        upgrade::all(),
        upgrade_services::all(),
        upgrade_trouble::all(),
        changes::all(),
        changes_beside_traffic::all(),
        changes_under_load::all(),
        api::all(),
        conformance::all(),
        dns::all(),
        dns_inside::all(),
        dns_resolvers::all(),
        ddns::all(),
        ddns_bind::all(),
        ddns_v6::all(),
        capture::all(),
        devices::all(),
        devices_leased::all(),
        dhcp::all(),
        dhcp_clients::all(),
        dhcp_full_disk::all(),
        dhcp_kills::all(),
        doctor::all(),
        doctor_rules::all(),
        doctor_targets::all(),
        doctor_box::all(),
        doctor_evidence::all(),
        doctor_ports::all(),
        doctor_services::all(),
        sandbox::all(),
        service::all(),
        services_reload::all(),
        flood::all(),
        lab::all(),
        labs::all(),
        tables::all(),
        tap::all(),
        top::all(),
        trace_follow::all(),
        trace_live::all(),
        backend::all(),
        bench::all(),
        bursts::all(),
        wan_dhcp::all(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
