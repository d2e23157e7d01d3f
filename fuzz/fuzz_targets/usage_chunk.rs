//! See `sproxy_fuzz::usage_chunk`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sproxy_fuzz::usage_chunk::check(input));
