//! Any octets through parsers and rewriters.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| genkan_fuzz::parse::check(octets));
