//! What a node needs to work alone, from the leader to its followers, and back to a leader that has lost it: the state and
//! its versions ([`state`]), the changes that watchers are told ([`state_log`]), both as messages ([`snapshot`]), and what a
//! state goes back to ([`adoption`], `provenance`).

pub mod adoption;
pub(super) mod provenance;
pub mod snapshot;
pub mod state;
pub mod state_log;
