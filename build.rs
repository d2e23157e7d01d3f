//! Compiles `proto/` with protox, so that nobody needs `protoc`, and keeps the descriptors for gRPC reflection.

use std::path::PathBuf;
use std::{env, error, fs};

use prost::Message;

const PROTOS: [&str; 3] =
    ["proto/sproxy/v1/cluster.proto", "proto/sproxy/v1/stats.proto", "proto/sproxy/v1/usage.proto"];

fn main() -> Result<(), Box<dyn error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("sproxy.v1.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().build_transport(false).compile_fds(descriptors)?;
    Ok(())
}
