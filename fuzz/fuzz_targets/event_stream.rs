//! See `sproxy_fuzz::event_stream`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sproxy_fuzz::event_stream::check(input));
