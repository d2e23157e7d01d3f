//! What a node says about itself: the log, and what `prometheus-client` lacks for metrics. Nothing here knows what is
//! counted: each part of the gateway names its metrics where it counts, and registers them when the node is put
//! together.

mod buckets;
mod call_line;
mod counter_array;
pub mod genai;
mod histogram;
pub mod log;
mod named_counters;
pub mod process;
pub mod scrape;
mod span_data;
pub mod spans;

pub use call_line::log_call;
pub use counter_array::CounterArray;
pub use histogram::Histogram;
pub use named_counters::{NamedCounters, OTHER};
pub use span_data::{CallSpan, CallSpanId, PushSpan};
