//! Any octets on any port, mixed with packets that are nearly right, time, reloads and links.
#![no_main]

use genkan_fuzz::Timeline;

libfuzzer_sys::fuzz_target!(|timeline: Timeline| timeline.run());
