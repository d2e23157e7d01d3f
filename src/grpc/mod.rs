//! The server for nodes and for programs that read statistics: gRPC, on the leader.

mod access;
mod cluster;
mod serve;
mod stats;
mod status;
mod watch;

pub use access::Access;
pub use cluster::ClusterService;
pub use serve::{Error, Services, server, tls};
pub use stats::StatsService;
pub use status::status;
