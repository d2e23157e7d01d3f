//! Black-box tests: real nodes, real sockets, real databases.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a test says what it skips")]
#![allow(clippy::disallowed_methods, reason = "what a test starts ends with its runtime")]

mod architecture;
mod backup;
mod browsers;
mod bypass;
mod cli;
mod clock;
mod cluster;
mod config;
mod control;
mod crash;
mod credentials;
mod demo;
mod deploy;
mod door;
mod harness;
mod ledger;
mod ledger_crash;
mod limits;
mod logins;
mod metering;
mod mock;
mod one_process;
mod postgres;
mod prices;
mod proxy;
mod routing;
mod sdk;
mod shares;
mod simulation;
mod store_accounts;
mod store_database;
mod store_floor;
mod store_open;
mod store_records;
mod store_sync;
mod store_usage;
mod streams;
mod switch;
mod transport;
mod unwritable;
