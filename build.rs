//! Compiles `proto/` with protox, so that nobody needs `protoc`, and keeps the descriptors for gRPC reflection. Says what a
//! release is built from.

use std::path::{Path, PathBuf};
use std::process::Command;
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
    println!("cargo::rustc-env=SPROXY_VERSION={} ({})", env::var("CARGO_PKG_VERSION")?, origin());
    Ok(())
}

/// The commit, where a release is built from one. A build for development does not say: it would be built anew for each.
fn origin() -> String {
    println!("cargo::rerun-if-env-changed=SPROXY_COMMIT");
    if let Ok(commit) = env::var("SPROXY_COMMIT") {
        return commit;
    }
    if env::var("PROFILE").as_deref() != Ok("release") {
        return "debug build".to_owned();
    }
    // Where this is a checkout; what is packed has no history.
    if !Path::new(".git").exists() {
        return "no commit".to_owned();
    }
    println!("cargo::rerun-if-changed=.git/logs/HEAD");
    let git = |arguments: &[&str]| {
        let done = Command::new("git").args(arguments).output().ok().filter(|done| done.status.success())?;
        Some(String::from_utf8_lossy(&done.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["log", "-1", "--format=%h %cs"]) else { return "no commit".to_owned() };
    let is_changed =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_none_or(|said| !said.is_empty());
    if is_changed { format!("{commit}, changed") } else { commit }
}
