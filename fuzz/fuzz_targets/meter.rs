//! See `sproxy_fuzz::meter`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sproxy_fuzz::meter::check(input));
