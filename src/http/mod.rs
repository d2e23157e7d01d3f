//! The HTTP door: data plane, control plane, health and metrics on one port.

mod audit;
mod auth;
mod backup;
pub mod body;
pub mod callers;
pub mod control;
pub mod dispatch;
mod groups;
pub mod health;
mod input;
mod keys;
mod limits;
pub mod listen;
mod me;
mod openapi;
mod paging;
mod peers;
pub mod problem;
pub mod relay;
pub mod stall;
mod state;
mod stats;
mod targets;
mod usage;
mod usage_price;
mod users;
pub mod waiting;
