//! The HTTP door: data plane, control plane, health and metrics on one port.

pub mod body;
pub mod dispatch;
pub mod health;
pub mod listen;
