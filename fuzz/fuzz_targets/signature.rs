//! See `sproxy_fuzz::signature`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sproxy_fuzz::signature::check(input));
