//! Limits, and what all share.

mod clock;
mod limits;
mod shares;
