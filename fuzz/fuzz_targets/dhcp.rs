//! Any octets as messages of DHCP clients.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| genkan_fuzz::dhcp::check(octets));
