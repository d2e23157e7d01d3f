//! What sproxy stands on: floors 0 to 5 of the architecture, which `src/lib.rs` describes. Nouns and pure rules, what
//! each outside thing is like, and the gateway's own rules are here, each as a module of files beside those of `sproxy`.
//!
//! A crate of its own so that cargo compiles the floors above while code is still generated for these. Nothing here may
//! know a flow, a server, a page or a command, not even in a test; what needs one is tested where that is.

pub mod domain;
pub mod json;

pub mod crypto;

pub mod cloud;
pub mod websocket;

pub mod dialect;

pub mod config;
pub mod inbound;
pub mod metering;
pub mod store;
pub mod telemetry;
pub mod transport;
pub mod wire;

pub mod accounts;
pub mod ledger;
pub mod quota;
pub mod upstream;
