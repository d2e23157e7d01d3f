//! The keychain of macOS, by way of `/usr/bin/security`. Secrets go through standard input and output, never into
//! arguments, which others can read.

use std::path::PathBuf;
use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::failure::Failure;
use crate::domain::secret::Secret;

/// What it reads of a line has an end.
const SECRET_CHARS_MAX: usize = 2048;
/// More than the secrets that a session leaves behind by crashes.
const REMOVED_MAX: usize = 64;
/// The program's exit codes are the last eight bits of the system's: `errSecItemNotFound`, -25300;
const NOT_FOUND: i32 = 44;
/// `errSecInteractionNotAllowed`, -25308; `errSecAuthFailed`, -25293; `userCanceledErr`, -128.
const LOCKED: [i32; 3] = [36, 51, 128];

pub(super) struct Store {
    security: PathBuf,
}

impl Store {
    #[allow(clippy::unused_async, reason = "other systems' keychains wait")]
    #[cfg_attr(test, allow(dead_code, reason = "tests bring a program of their own"))]
    pub(super) async fn open() -> Result<Self, Failure> {
        Ok(Self { security: "/usr/bin/security".into() })
    }

    pub(super) async fn check(&self) -> Result<(), Failure> {
        let answer = self.run(&["default-keychain"], "").await?;
        if answer.status.success() { Ok(()) } else { Err(Failure::Absent("no default keychain".to_owned())) }
    }

    pub(super) async fn put(&self, owner: &str, id: &str, label: &str, secret: &str) -> Result<(), Failure> {
        if secret.len() > SECRET_CHARS_MAX {
            return Err(Failure::Failed("the token is too long for it".to_owned()));
        }
        let words = ["add-generic-password", "-s", &service(owner), "-a", id, "-l", label, "-w", secret];
        let line = words.into_iter().map(quoted).collect::<Result<Vec<_>, _>>()?.join(" ");
        self.run(&["-i"], &format!("{line}\n")).await?;
        // Reading commands, it does not say by its exit code how they have ended.
        match self.get(owner, id).await? {
            kept if kept.expose() == secret => Ok(()),
            _ => Err(Failure::Failed("it has something else than what was put into it".to_owned())),
        }
    }

    pub(super) async fn get(&self, owner: &str, id: &str) -> Result<Secret, Failure> {
        let answer = self.run(&["find-generic-password", "-s", &service(owner), "-a", id, "-w"], "").await?;
        done(&answer)?;
        Ok(Secret::new(String::from_utf8_lossy(&answer.stdout).trim_end()))
    }

    pub(super) async fn remove(&self, owner: &str, id: Option<&str>) -> Result<(), Failure> {
        let service = service(owner);
        let mut arguments = vec!["delete-generic-password", "-s", &service];
        arguments.extend(id.into_iter().flat_map(|id| ["-a", id]));
        for _ in 0..REMOVED_MAX {
            match done(&self.run(&arguments, "").await?) {
                Ok(()) => {}
                Err(Failure::Missing) => break,
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    async fn run(&self, arguments: &[&str], input: &str) -> Result<Output, Failure> {
        let failed =
            |reason: std::io::Error| Failure::Failed(format!("{}: {reason}", self.security.display()));
        let mut command = Command::new(&self.security);
        command.args(arguments).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that reads nothing says by its exit code what is wrong.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        child.wait_with_output().await.map_err(failed)
    }
}

fn service(owner: &str) -> String {
    format!("sproxy-{owner}")
}

fn done(answer: &Output) -> Result<(), Failure> {
    match answer.status.code() {
        Some(0) => Ok(()),
        Some(NOT_FOUND) => Err(Failure::Missing),
        Some(code) if LOCKED.contains(&code) => Err(Failure::Locked),
        _ => Err(Failure::Failed(format!("`security` ended with {}", answer.status))),
    }
}

/// A word of a line of commands. What would end it, or the line, is in no token and in no address.
fn quoted(word: &str) -> Result<String, Failure> {
    if word.chars().any(|c| c.is_control() || matches!(c, '"' | '\\')) {
        return Err(Failure::Failed("the token has signs that it does not take".to_owned()));
    }
    Ok(format!("\"{word}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In place of the system's program one that keeps secrets in files beside it, and writes down its arguments.
    fn store(directory: &std::path::Path) -> Store {
        let security = directory.join("security");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/keychain/security");
        std::os::unix::fs::symlink(script, &security).expect("a link");
        Store { security }
    }

    #[tokio::test]
    async fn secrets_come_and_go_and_are_in_nobodys_arguments() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = store(directory.path());
        store.check().await.expect("there");
        for (id, secret) in [("one", "sp-rt-1"), ("two", "sp-rt-2"), ("three", "sp-rt-3")] {
            store.put("owner", id, "sproxy: http://[::1]:9000", secret).await.expect("taken");
        }
        store.put("somebody", "one", "label", "theirs").await.expect("taken");
        assert_eq!(store.get("owner", "two").await.expect("there").expose(), "sp-rt-2");
        store.remove("owner", Some("two")).await.expect("removed");
        assert!(matches!(store.get("owner", "two").await, Err(Failure::Missing)));
        assert_eq!(store.get("owner", "one").await.expect("there").expose(), "sp-rt-1");
        store.remove("owner", None).await.expect("removed");
        for id in ["one", "three"] {
            assert!(matches!(store.get("owner", id).await, Err(Failure::Missing)), "{id}");
        }
        assert_eq!(store.get("somebody", "one").await.expect("there").expose(), "theirs");
        let arguments = std::fs::read_to_string(directory.path().join("arguments")).expect("written");
        assert!(arguments.contains("add") || arguments.contains("-i"), "{arguments}");
        assert!(!arguments.contains("sp-rt") && !arguments.contains("theirs"), "{arguments}");
    }

    #[tokio::test]
    async fn what_it_cannot_take_is_not_given_to_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = store(directory.path());
        for secret in ["a\" -a \"b", "two\nlines", &"long".repeat(1000)] {
            assert!(matches!(store.put("owner", "one", "label", secret).await, Err(Failure::Failed(_))));
        }
        assert!(!directory.path().join("arguments").exists());
        std::fs::write(directory.path().join("locked"), "").expect("written");
        assert!(matches!(store.put("owner", "one", "label", "secret").await, Err(Failure::Locked)));
        assert!(matches!(store.remove("owner", None).await, Err(Failure::Locked)));
    }
}
