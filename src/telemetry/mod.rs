//! What a node says about itself: plain counters and histograms, their Prometheus text, and the log.
//!
//! Each part of the gateway keeps its own small struct of these; nothing here knows what is counted.

mod exposition;
pub mod log;
mod numbers;

pub use exposition::Exposition;
pub use numbers::{Counter, Gauge, Histogram};
