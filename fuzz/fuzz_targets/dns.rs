//! Queries, answers, time, names and settings of the DNS forwarder.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| genkan_fuzz::dns::check(octets));
