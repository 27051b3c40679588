//! Any octets as answers of those who keep names outside.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| genkan_fuzz::ddns::check(octets));
