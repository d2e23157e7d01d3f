//! What a node says about itself: the log, and what `prometheus-client` lacks for metrics. Nothing here knows what is
//! counted: each part of the gateway names its metrics where it counts, and registers them when the node is put
//! together.

mod counter_array;
mod histogram;
pub mod log;
pub mod scrape;

pub use counter_array::CounterArray;
pub use histogram::Histogram;
