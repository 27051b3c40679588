//! Packets that are nearly right, time, reloads and links, in the simulated internet.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| genkan_fuzz::lab::check(octets));
