//! Limits, and what all share.

pub mod clock;
mod limits;
mod shares;
