//! What is fuzzed: for each target a function of bytes, which panics where something does not hold that always has to.
//! The binaries in `fuzz_targets/` call these functions with what libFuzzer makes up, and `tests/it/fuzz_corpus.rs` calls
//! them with the corpora, which needs nothing but `cargo test`.
//!
//! Inputs are text as far as what is read is text: options are letters at the beginning, and a [`input::CUT`] is where a
//! body is cut in pieces.

pub mod coded;
pub mod config;
pub mod errors;
pub mod event_stream;
pub mod input;
pub mod json;
pub mod meter;
pub mod reading;
pub mod request;
pub mod seeds;
pub mod signature;
pub mod usage;
pub mod usage_chunk;

/// What a target checks of an input.
pub type Check = fn(&[u8]);

/// Every target by its name, which is that of its binary and of its corpus.
pub const TARGETS: [(&str, Check); 9] = [
    ("meter", meter::check),
    ("usage", usage::check),
    ("coded", coded::check),
    ("usage_chunk", usage_chunk::check),
    ("request", request::check),
    ("event_stream", event_stream::check),
    ("errors", errors::check),
    ("signature", signature::check),
    ("config", config::check),
];
