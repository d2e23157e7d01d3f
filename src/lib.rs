//! sproxy.

pub mod domain;

pub mod config;
pub mod crypto;
pub mod metering;
pub mod store;
pub mod telemetry;
pub mod wire;

pub mod accounts;
pub mod ledger;
pub mod quota;
pub mod upstream;

pub mod cluster;
pub mod proxy;

pub mod grpc;
pub mod http;
pub mod mock;

pub mod node;

pub mod cli;
