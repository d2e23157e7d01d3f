//! The HTTP door: data plane, control plane, health and metrics on one port.

mod audit;
mod auth;
mod backup;
pub mod control;
mod groups;
mod input;
mod keys;
mod limits;
mod me;
mod openapi;
mod paging;
mod peers;
pub mod problem;
mod stats;
mod targets;
mod usage;
mod users;
