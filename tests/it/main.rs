//! Black-box tests: real nodes, real sockets, real databases.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a test says what it skips")]
#![allow(clippy::disallowed_methods, reason = "what a test starts ends with its runtime")]

mod accounts;
mod alerts;
mod architecture;
mod cli;
mod cloud;
mod cluster;
mod config;
mod deploy;
mod fuzz_corpus;
mod harness;
mod http;
mod inbound;
mod ldap;
mod ledger;
mod metering;
mod mock;
mod node;
mod oidc;
mod proxy;
mod quota;
mod simulation;
mod store;
mod telemetry;
mod transport;
mod ui;
