//! Any octets, as a frame.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| genkan_fuzz::parse(bytes));
