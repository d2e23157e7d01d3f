//! The systemd units are what systemd takes them for, run what they say, and keep the process in its place.

use std::process::Command;

use super::{deploy, has, read, succeeds};
use crate::harness::SPROXY;

const UNITS: [&str; 2] = ["sproxy-leader.service", "sproxy-follower.service"];
/// Most exposure that systemd may find, in tenths. What is left is the network, to anybody, and the machine's memory.
const EXPOSURE_MAX: &str = "15";

/// The unit with the program of this build in the place of the one that is installed.
fn with_this_program(unit: &str) -> tempfile::TempDir {
    let text = read(&format!("systemd/{unit}"));
    assert!(text.contains("/usr/local/bin/sproxy "), "{text}");
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join(unit),
        text.replace("/usr/local/bin/sproxy ", &format!("{SPROXY} ")),
    )
    .unwrap();
    directory
}

#[test]
fn systemd_takes_the_units_without_a_word() {
    if !has("systemd-analyze", &["--version"]) {
        return;
    }
    for unit in UNITS {
        let directory = with_this_program(unit);
        let verify = ["verify", "--recursive-errors=one", "--man=no"];
        let said = succeeds(Command::new("systemd-analyze").args(verify).arg(directory.path().join(unit)));
        let about_it: Vec<&str> = said.lines().filter(|line| line.contains(unit)).collect();
        assert!(about_it.is_empty(), "{about_it:#?}");
    }
}

#[test]
fn systemd_finds_little_that_a_unit_leaves_exposed() {
    if !has("systemd-analyze", &["--version"]) {
        return;
    }
    for unit in UNITS {
        let threshold = format!("--threshold={EXPOSURE_MAX}");
        let arguments = ["security", "--offline=true", "--no-pager", &threshold];
        succeeds(Command::new("systemd-analyze").args(arguments).arg(deploy(&format!("systemd/{unit}"))));
    }
}

#[test]
fn the_units_differ_in_their_names_alone() {
    let [leader, follower] = UNITS.map(|unit| read(&format!("systemd/{unit}")));
    let settings = |unit: &str| unit.split_once("\n[Unit]\n").unwrap().1.to_owned();
    assert_eq!(settings(&leader).replace("leader", "follower"), settings(&follower));
}

/// As the units read it: with what it leaves blank, nothing is set.
#[test]
fn the_secrets_that_are_offered_are_those_that_examples_ask_for() {
    let offered = read("systemd/secrets.env");
    let names: Vec<&str> = offered
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.strip_suffix('='))
        .collect();
    for example in ["leader.toml", "leader-postgres.toml", "follower.toml"] {
        let text = read(&format!("config/{example}"));
        let asked: Vec<&str> =
            text.lines().filter_map(|line| line.split_once("_env = \"")?.1.split('"').next()).collect();
        assert!(
            !asked.is_empty() && asked.iter().all(|name| names.contains(name)),
            "{example}: {asked:?} of {names:?}"
        );
    }
}
