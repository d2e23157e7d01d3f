//! See `sproxy_fuzz::errors`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sproxy_fuzz::errors::check(input));
