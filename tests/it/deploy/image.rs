//! What the Dockerfile copies is enough for cargo: it names no target whose file stays outside.

use std::path::Path;
use std::process::Command;

use super::{deploy, read, succeeds};

/// What the build stage copies, each to where it was.
fn copied() -> Vec<String> {
    let dockerfile = read("Dockerfile");
    let copies = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "))
        .filter(|copy| !copy.starts_with("--"));
    let words = copies.flat_map(|copy| {
        let mut words: Vec<&str> = copy.split_whitespace().collect();
        words.pop();
        words
    });
    words.map(str::to_owned).collect()
}

#[test]
fn what_the_image_is_built_from_is_a_whole_workspace() {
    let from = Path::new(env!("CARGO_MANIFEST_DIR"));
    let to = tempfile::tempdir().unwrap();
    let copied = copied();
    assert!(
        copied.iter().any(|name| name == "src") && copied.iter().all(|name| from.join(name).exists()),
        "{copied:?}"
    );
    let sources = copied.iter().map(|name| from.join(name));
    succeeds(Command::new("cp").arg("-r").args(sources).arg(to.path()));
    let metadata = ["metadata", "--locked", "--offline", "--format-version", "1"];
    succeeds(Command::new(env!("CARGO")).args(metadata).current_dir(to.path()));
    // What the source takes into the binary was copied, too.
    let grep = ["-roE", r#"include_(str|bytes)!\("[^"]+"#, "src", "migrations"];
    let found = succeeds(Command::new("grep").args(grep).current_dir(to.path()));
    for line in found.lines() {
        let (file, taken) = line.split_once(':').unwrap();
        let taken = taken.split_once('"').unwrap().1;
        assert!(to.path().join(file).parent().unwrap().join(taken).is_file(), "{line}");
    }
}

#[test]
fn the_build_context_lets_in_what_is_copied_and_nothing_else() {
    let ignored = std::fs::read_to_string(deploy("Dockerfile.dockerignore")).unwrap();
    let let_in: Vec<&str> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert!(ignored.lines().any(|line| line == "*"), "{ignored}");
    assert_eq!(let_in, copied());
}

/// A profile inherits what another says of single packages, and what it says of all does not undo that.
#[test]
fn what_a_newcomer_builds_unoptimised_is_optimised_in_what_is_shipped_and_measured() {
    let manifest = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let profiles = &manifest.parse::<toml::Table>().unwrap()["profile"];
    let packages = |profile: &str| profiles[profile]["package"].as_table().unwrap();
    let unoptimised: Vec<&String> = packages("release").keys().collect();
    let optimised: Vec<&String> = packages("dist").keys().collect();
    assert_eq!(unoptimised, optimised);
    let own = &profiles["dist"]["opt-level"];
    assert!(packages("dist").values().all(|package| &package["opt-level"] == own), "{own}");
    assert_eq!(profiles["bench"]["inherits"].as_str(), Some("dist"));
}
