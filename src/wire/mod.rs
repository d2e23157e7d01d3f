//! What goes over the wire between nodes: the generated code, and its conversion to and from the domain.

pub mod account;
pub mod malformed;
pub mod moment;
pub mod summary;
pub mod usage;

/// Messages, clients and servers generated from `proto/sproxy/v1`.
#[allow(clippy::all, clippy::pedantic, reason = "generated code; the .proto files carry the text")]
pub mod v1 {
    tonic::include_proto!("sproxy.v1");
}

/// Beside `FAILED_PRECONDITION`: how many batches of the node's usage the leader's database holds, a decimal number.
pub const BATCHES_HELD: &str = "sproxy-batches-held";

/// The descriptors of `proto/`, for the reflection service.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/sproxy.v1.bin"));
