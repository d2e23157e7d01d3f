//! What users and groups have used on other nodes, for limits: the leader's sums ([`per_node`]), and what a follower was
//! told of them ([`remote`]).

pub mod per_node;
pub mod refused;
pub mod remote;
