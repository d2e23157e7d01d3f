//! The database behind a node, SQLite and PostgreSQL alike.

mod accounts;
mod concurrent;
mod copy;
mod floor;
mod open;
mod provisioning;
mod sync;
mod usage;
