//! Packets, answers, errors, fragments, damage, time, plans and links, against the rules of ownership.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| genkan_fuzz::router::check(octets));
