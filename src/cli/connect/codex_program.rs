//! The Codex of this machine, asked what it knows of models, and whether it can read a catalogue: for a while, apart from
//! its user's settings, and without a way to the network.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::timeout;

use super::codex_models::Known;
use crate::cli::error::Error;
use crate::cli::logins::config_dir;
use crate::cli::whole_file;
use crate::crypto::secret_text;

const PROGRAM: &str = "codex";
/// For one answer, which takes it a fraction of a second.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of one answer.
const PRINTED_MAX: u64 = 32 << 20;

/// Codex, in a home where nobody lives.
pub struct Codex {
    home: PathBuf,
}

/// Why it does not say what it knows.
#[derive(Debug)]
pub enum Silent {
    /// It is not on this machine, or not where programs are looked for.
    Absent,
    /// It is, but this came of it.
    Failed(String),
}

impl Codex {
    /// # Errors
    /// What the file system says.
    pub fn new() -> Result<Self, Error> {
        let random = secret_text::random(8).map_err(|reason| Error::Refused(reason.to_string()))?;
        let home = config_dir()?.join(format!("codex-{random}"));
        let failed = Error::io(format!("writing {}", home.display()));
        whole_file::private_directory(&home).map_err(failed)?;
        Ok(Self { home })
    }

    /// The models that it knows by itself.
    ///
    /// # Errors
    /// [`Silent`].
    pub async fn known(&self) -> Result<Known, Silent> {
        let mut printed = self.run(&["debug", "models", "--bundled"]).await;
        if matches!(printed, Err(Silent::Failed(_))) {
            // Without a session it has no others.
            printed = self.run(&["debug", "models"]).await;
        }
        let unreadable = || Silent::Failed("`codex debug models` prints no catalogue".to_owned());
        Known::read(&printed?).ok_or_else(unreadable)
    }

    /// Whether it reads a catalogue, with an entry for `model` in it.
    ///
    /// # Errors
    /// Why not.
    pub async fn reads(&self, catalogue: &str, model: &str) -> Result<(), String> {
        let path = self.home.join("catalogue.json");
        std::fs::write(&path, catalogue).map_err(|reason| reason.to_string())?;
        let setting = format!("model_catalog_json={}", quoted(&path));
        match self.run(&["-c", &setting, "debug", "models"]).await {
            Ok(printed) if Known::read(&printed).is_some_and(|known| known.has(model)) => Ok(()),
            Ok(_) => Err("it takes no notice of it".to_owned()),
            Err(Silent::Absent) => Err("it is away".to_owned()),
            Err(Silent::Failed(reason)) => Err(reason),
        }
    }

    async fn run(&self, arguments: &[&str]) -> Result<Vec<u8>, Silent> {
        let home = &self.home;
        let mut command = Command::new(PROGRAM);
        command.args(arguments).current_dir(home).env("CODEX_HOME", home).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let failed = |reason: &io::Error| Silent::Failed(reason.to_string());
        let mut child = command.spawn().map_err(|reason| match reason.kind() {
            io::ErrorKind::NotFound => Silent::Absent,
            _ => failed(&reason),
        })?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let ended = async {
            let (out, err) = tokio::join!(read(out), read(err));
            Ok((child.wait().await?, out?, err?))
        };
        let ended: io::Result<_> = timeout(PATIENCE, ended)
            .await
            .map_err(|_| Silent::Failed(format!("it has not answered for {} s", PATIENCE.as_secs())))?;
        let (status, out, err) = ended.map_err(|reason| failed(&reason))?;
        if status.success() { Ok(out) } else { Err(Silent::Failed(complaint(&err))) }
    }
}

impl Drop for Codex {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

async fn read(pipe: Option<impl tokio::io::AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut printed = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(PRINTED_MAX).read_to_end(&mut printed).await?;
    }
    Ok(printed)
}

/// What a program complained about, in a line.
fn complaint(printed: &[u8]) -> String {
    let printed = String::from_utf8_lossy(printed);
    let mut lines = printed.lines().map(str::trim).filter(|line| !line.is_empty());
    let said = lines.clone().find(|line| line.starts_with("Error") || line.starts_with("error"));
    said.or_else(|| lines.next()).unwrap_or("it failed and does not say why").chars().take(300).collect()
}

/// A path as TOML has it.
fn quoted(path: &Path) -> String {
    serde_json::Value::from(path.to_string_lossy()).to_string()
}
