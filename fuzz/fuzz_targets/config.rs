//! See `sproxy_fuzz::config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sproxy_fuzz::config::check(input));
