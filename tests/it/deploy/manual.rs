//! The operator's manual is true: the steps of its cluster on one machine are run as they are written, by somebody who is
//! not root, and, where the machine allows it, on a network of their own.

use std::fmt::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{deploy, has, read, said};
use crate::harness::SPROXY;
use crate::harness::postgres::Postgres;

/// What a shell is told to do in a document: its blocks that begin with `sh`.
fn commands(text: &str) -> String {
    let mut commands = String::new();
    let mut is_inside = false;
    for line in text.lines() {
        match line {
            "```sh" => is_inside = true,
            "```" => is_inside = false,
            line if is_inside => {
                commands.push_str(line);
                commands.push('\n');
            }
            _ => {}
        }
    }
    commands
}

fn for_all(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
}

/// A network of one's own, which nobody else's ports are on; none where the system gives none.
fn isolated() -> Option<Command> {
    let mut probe = Command::new("unshare");
    probe.args(["--net", "--pid", "--fork", "ip", "link", "set", "lo", "up"]);
    let can = probe.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !can {
        eprintln!("without a network of its own");
        return None;
    }
    let mut unshare = Command::new("unshare");
    let inside = "ip link set lo up; exec \"$@\"";
    unshare.args(["--net", "--pid", "--fork", "--kill-child", "sh", "-c", inside, "sh"]);
    Some(unshare)
}

#[test]
fn the_cluster_on_one_machine_works_as_it_is_written() {
    let there = ["prometheus", "curl", "python3"].iter().all(|tool| has(tool, &["--version"]))
        && has("openssl", &["version"]);
    let Some(_server) = Postgres::shared().filter(|_| there) else { return };
    let directory = tempfile::tempdir().unwrap();
    let [work, bin, source] =
        ["work", "bin", "source/deploy/prometheus"].map(|name| directory.path().join(name));
    for path in [&work, &bin, &source] {
        std::fs::create_dir_all(path).unwrap();
        for_all(path);
    }
    for_all(directory.path());
    std::fs::copy(SPROXY, bin.join("sproxy")).unwrap();
    for_all(&bin.join("sproxy"));
    std::fs::copy(deploy("prometheus/rules.yml"), source.join("rules.yml")).unwrap();
    let steps = commands(&read("README.md"));
    assert!(steps.contains("pg_restore") && steps.lines().count() > 80, "{steps}");
    // Whatever goes wrong, nothing stays.
    let cleanup = "trap 'kill $(jobs -p) 2> /dev/null; $pg/pg_ctl -D pg -m immediate stop > /dev/null 2>&1 || true' EXIT";
    let script = directory.path().join("script.sh");
    std::fs::write(&script, format!("set -euo pipefail\n{cleanup}\n{steps}")).unwrap();

    let mut command = isolated().unwrap_or_else(|| Command::new("env"));
    if rustix::process::getuid().is_root() {
        command.args(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
    }
    command.args(["timeout", "240", "bash"]).arg(&script).current_dir(&work).env_clear();
    command
        .env("HOME", &work)
        .env("SPROXY_SOURCE", directory.path().join("source"))
        .env("PATH", format!("{}:/usr/bin:/bin:/usr/sbin:/sbin", bin.display()));
    let ended = command.output().unwrap();
    let told = said(&ended);
    assert!(ended.status.success(), "{}\n{told}\n{}", ended.status, last_words(&work));
    assert!(told.contains("\"event\": \"peer.lost\""), "{told}");
}

/// The ends of the logs.
fn last_words(directory: &Path) -> String {
    let mut words = String::new();
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "log") {
            let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
            let from = text.lines().count().saturating_sub(15);
            let last: Vec<_> = text.lines().skip(from).collect();
            writeln!(words, "{}:\n{}", entry.path().display(), last.join("\n")).unwrap();
        }
    }
    words
}

/// What is named in it exists.
#[test]
fn alerts_commands_and_files_that_are_named_exist() {
    let (manual, rules) = (read("README.md"), read("prometheus/rules.yml"));
    let words = manual.split(|c: char| !c.is_ascii_alphanumeric());
    let alerts: Vec<_> = words.filter(|word| word.starts_with("Sproxy")).collect();
    assert!(alerts.len() >= 5, "{alerts:?}");
    for alert in alerts {
        assert!(rules.contains(&format!("alert: {alert}\n")), "{alert}");
    }
    let commands: Vec<Vec<_>> = manual
        .split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|code| code.strip_prefix("sproxy "))
        .map(|code| {
            code.split(' ')
                .take_while(|word| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))
                .collect()
        })
        .collect();
    assert!(commands.len() >= 10, "{commands:?}");
    for command in commands {
        let shown = Command::new(SPROXY).args(&command).arg("--help").output().unwrap();
        assert!(shown.status.success(), "{command:?}: {}", said(&shown));
    }
    let links = manual.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    for link in links.filter(|link| !link.starts_with('#')) {
        let path = link.split('#').next().unwrap();
        assert!(deploy(path).exists(), "{link}");
    }
}
