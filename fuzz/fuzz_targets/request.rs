//! See `sproxy_fuzz::request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sproxy_fuzz::request::check(input));
