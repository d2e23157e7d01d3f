//! What `deploy/` offers is taken by the tools that operators will use: Prometheus, Docker's compose, systemd, Helm.

mod alerts;
mod chart;
mod compose;
mod examples;
mod image;
mod manual;
mod promql;
mod queries;
mod units;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::harness::SPROXY;

/// Set, a machine without one of the tools fails the tests that need it instead of leaving them out.
const REQUIRED: &str = "SPROXY_REQUIRE_DEPLOY_TOOLS";

/// What examples need of an environment; long enough for `cluster.secret`.
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A file or folder of `deploy/`.
fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(deploy(path)).unwrap()
}

/// Whether this machine has a tool, which `probe` makes it show; a note, where it is left out.
fn has(tool: &str, probe: &[&str]) -> bool {
    let there = Command::new(tool).args(probe).output().is_ok_and(|output| output.status.success());
    assert!(there || std::env::var_os(REQUIRED).is_none(), "{REQUIRED} is set, but there is no {tool} here");
    if !there {
        eprintln!("left out: no {tool} on this machine");
    }
    there
}

/// What a command said, both ways.
fn said(output: &Output) -> String {
    [&*output.stdout, &*output.stderr].map(String::from_utf8_lossy).concat()
}

/// Runs a command that has to succeed; what it said.
fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, said(&output));
    said(&output)
}

/// `sproxy config COMMAND`, with nothing in its environment but what is given.
fn config(command: &str, file: &Path, environment: &[(&str, &str)]) -> Output {
    Command::new(SPROXY)
        .args(["config", command, "--config"])
        .arg(file)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}
