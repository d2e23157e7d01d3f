//! The cluster's books: followers push what the leader has not seen, the leader takes each record once, and what a
//! node needs to work alone comes back.
//!
//! How a node uses it (`stop` is cancelled when the background is to leave; every task returns soon after):
//!
//! ```text
//! leader::start(leader::Parts { .. }) -> Result<(Leader, Vec<Task>), Error>
//!     Leader: peers, drain, forget, complete_through, ledger_id, state; grpc::Services::new takes one
//! follower::join(&follower::Parts { .. }) -> Result<NodeId, Error>      the id, asked of the leader if nobody knows it
//! follower::start(follower::Parts { .. }) -> Result<(Follower, Vec<Task>), Error>
//!     Follower: peers, status (last heard, stale, draining, refuses), metrics
//! grpc::serve(listener, services, stop) -> Result<(), grpc::Error>
//! ```
//! A `Task` is a name and a boxed future for the supervisor; nothing is spawned here.

pub mod adoption;
pub mod calls;
pub mod elsewhere;
pub mod follower;
pub mod leader;
pub mod pieces;
pub mod publisher;
pub mod registry;
pub mod retry;
pub mod state;
pub mod sync;
