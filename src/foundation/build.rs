//! Compiles `proto/` with protox, so that nobody needs `protoc`, and keeps the descriptors for gRPC reflection.

use std::path::PathBuf;
use std::{env, error, fs};

use prost::Message;

/// From this package's directory, which cargo runs this in.
const PROTO: &str = "../../proto";

const PROTOS: [&str; 3] = ["sproxy/v1/cluster.proto", "sproxy/v1/stats.proto", "sproxy/v1/usage.proto"];

fn main() -> Result<(), Box<dyn error::Error>> {
    println!("cargo::rerun-if-changed={PROTO}");
    let descriptors = protox::compile(PROTOS, [PROTO])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("sproxy.v1.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().build_transport(false).compile_fds(descriptors)?;
    Ok(())
}
