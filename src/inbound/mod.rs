//! Connections that come in: who gets a place, what has to have arrived by when, and how one ends.
//!
//! | what | is held no longer than |
//! |---|---|
//! | a connection that says nothing, or half of a TLS handshake, of HTTP/2's opening or of a request's head | `header_timeout` |
//! | a connection without a request | `idle_timeout` |
//! | a connection that takes nothing of what is sent | `stall_timeout` |
//! | a body that goes on coming after its request was refused | `request_body`'s bounds of bytes and seconds |
//! | a connection that is told that there is no place for it | a few seconds, and few of them at once |
//! | a connection without a request when the node stops accepting | a second |
//!
//! No address gets all the places: see `connection_limit`. Both ports, HTTP and gRPC, are a [`Server`] with a [`Handler`].

mod activity;
mod connection;
mod connection_limit;
mod preface;
mod request_body;
mod send_timeout;
mod server;
mod stream;
pub mod tls;
mod upgrade;

pub use request_body::RequestBody;
pub use server::{Handler, Limits, Protocols, Server, Shutdown, bind};
pub use upgrade::{Place, Upgrade, UpgradedConnection};
