//! See `sproxy_fuzz::usage`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sproxy_fuzz::usage::check(input));
