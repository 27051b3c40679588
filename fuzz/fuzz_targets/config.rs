//! Any text as a configuration.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| genkan_fuzz::config::check(octets));
