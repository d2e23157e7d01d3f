//! Getting over JSON fast, without reading or copying more of it than somebody asks about. Knows no dialect: what a key
//! means is known above.
//!
//! [`object`] finds the members of an object that lies in memory as a whole (a request), and [`edit`] takes some out and
//! puts others in; [`skip`] gets over a container or a string that comes in chunks, too (an answer); `block` is the
//! method of both, 64 bytes at a time.

mod block;
pub mod edit;
pub mod object;
pub mod skip;
