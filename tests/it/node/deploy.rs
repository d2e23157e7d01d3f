//! What `deploy/` offers works as it stands: every example configuration passes `sproxy config check`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::SPROXY;

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

#[test]
fn every_example_configuration_is_right() {
    let mut examples: Vec<PathBuf> =
        std::fs::read_dir(deploy().join("config")).unwrap().map(|entry| entry.unwrap().path()).collect();
    examples.sort();
    assert!(examples.len() >= 4, "{examples:?}");
    for example in examples {
        let mut check = Command::new(SPROXY);
        check.args(["config", "check", "--config"]).arg(&example);
        // What the units and the compose file bring along.
        for secret in ["SPROXY_CLUSTER_SECRET", "ANTHROPIC_API_KEY", "OPENAI_API_KEY"] {
            check.env(secret, "0123456789abcdef0123456789abcdef");
        }
        if example.file_name().unwrap().to_string_lossy().starts_with("compose") {
            check.env("SPROXY_CLUSTER__SECRET", "0123456789abcdef0123456789abcdef");
        }
        let output = check.output().unwrap();
        assert!(
            output.status.success(),
            "{}:\n{}",
            example.display(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn the_compose_file_mounts_what_is_there() {
    let compose = std::fs::read_to_string(deploy().join("compose.yaml")).unwrap();
    let mounts = compose.split('"').filter_map(|text| text.strip_prefix("./")?.split_once(':'));
    let mut seen = 0;
    for (file, _) in mounts {
        assert!(deploy().join(file).is_file(), "{file}");
        seen += 1;
    }
    assert_eq!(seen, 3);
}
