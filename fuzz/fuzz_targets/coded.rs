//! See `sproxy_fuzz::coded`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sproxy_fuzz::coded::check(input));
