//! HTTP/2: several connections to one endpoint, each with as many streams as the other side allows.
//!
//! This speaks the `h2` crate and not hyper's client on top of it. hyper queues what is above the other side's stream
//! limit in silence and tells nobody when that limit arrives or changes; it takes a stream that the other side
//! cancelled for one that ended well; and its errors would have to be taken apart for h2's own anyway. With h2 the
//! connection's driver is here (`connection`), so that the pool hears of every SETTINGS frame, and the answer's body
//! reads its stream without a task or a channel between them.

mod connection;
mod exchange;
mod pool;

pub(super) use exchange::{Failed, Http2Body, exchange};
pub(super) use pool::{Acquired, Http2Pool, StreamPermit};
