//! Says what a release is built from.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rustc-env=SPROXY_VERSION={} ({})", env!("CARGO_PKG_VERSION"), origin());
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
