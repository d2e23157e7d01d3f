//! One file of a client's settings: what it was before sproxy wrote into it, what sproxy wrote, and the way back.
//!
//! The way back is byte for byte as long as nobody else has written meanwhile; otherwise what is sproxy's is taken out and
//! everything else stays. It is kept before the file is written, so that no death in between loses it.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::settings::{Change, Format, Settings, Wanted};
use crate::cli::error::Error;
use crate::cli::logins::config_dir;
use crate::cli::whole_file;
use crate::crypto::secret_text::sha256;

/// The largest file that is edited, or written as a whole.
const BYTES_MAX: u64 = 16 << 20;

/// A file that a client reads.
#[derive(Clone, Debug)]
pub struct Managed {
    pub path: PathBuf,
    pub format: Format,
    pub by: By,
    pub wanted: Vec<Wanted>,
}

/// What a client proves itself with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    Login,
    Key,
    Agent,
}

/// How it stands with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// sproxy has written nothing there.
    Untouched,
    /// What sproxy wrote is there.
    Connected(By),
    /// Somebody has changed these values since.
    Changed(By, Vec<String>),
}

/// What was there, and what was done.
#[derive(Serialize, Deserialize)]
struct Record {
    path: PathBuf,
    by: By,
    /// What the file had; none: there was no file.
    original: Option<String>,
    /// The first half of the SHA-256 of what was written.
    written: String,
    changes: Vec<Change>,
}

/// What is to be written.
pub struct Planned {
    pub path: PathBuf,
    /// It is sproxy's altogether.
    pub is_whole: bool,
    /// None: there is none, or there will be none.
    pub present: Option<String>,
    pub next: Option<String>,
    record: Option<Record>,
}

impl Managed {
    /// What connecting writes. Twice is once: what sproxy wrote before is taken back first.
    ///
    /// # Errors
    /// [`Error::Refused`] with the lines to add by hand when the file cannot be edited safely.
    pub fn connect(&self) -> Result<Planned, Error> {
        let present = read(&self.path)?;
        let base = self.before(present.as_deref())?;
        let edit = || {
            let mut settings = Settings::parse(self.format, base.as_deref().unwrap_or(""))?;
            let changes = settings.apply(&self.wanted)?;
            Ok((settings.text(), changes))
        };
        let (next, changes) = edit().map_err(|reason: String| self.by_hand(&reason))?;
        let original = base.as_deref().map(|text| STANDARD.encode(text));
        let record =
            Record { path: self.path.clone(), by: self.by, original, written: digest(&next), changes };
        Ok(self.planned(present, Some(next), Some(record)))
    }

    /// What taking it back writes; none: sproxy has written nothing there.
    ///
    /// # Errors
    /// [`Error::Refused`] when the file cannot be edited safely.
    pub fn undo(&self) -> Result<Option<Planned>, Error> {
        let Some(record) = self.record()? else { return Ok(None) };
        let present = read(&self.path)?;
        let next = self.without(&record, present.as_deref())?;
        Ok(Some(self.planned(present, next, None)))
    }

    /// Whether the file is sproxy's altogether, and no settings.
    pub fn is_whole(&self) -> bool {
        self.format == Format::Whole
    }

    /// A text that somebody else has set, at a path that is divided by dots.
    ///
    /// # Errors
    /// What keeps the file from being read.
    pub fn own_text(&self, path: &str) -> Result<Option<String>, Error> {
        let base = self.before(read(&self.path)?.as_deref())?;
        let settings = Settings::parse(self.format, base.as_deref().unwrap_or("")).ok();
        Ok(settings.and_then(|settings| settings.text_at(path)))
    }

    /// What the file would be without sproxy.
    fn before(&self, present: Option<&str>) -> Result<Option<String>, Error> {
        match self.record()? {
            Some(record) => self.without(&record, present),
            None => Ok(present.map(str::to_owned)),
        }
    }

    fn planned(&self, present: Option<String>, next: Option<String>, record: Option<Record>) -> Planned {
        Planned { path: self.path.clone(), is_whole: self.is_whole(), present, next, record }
    }

    /// What has become of what sproxy wrote.
    ///
    /// # Errors
    /// What keeps the files from being read.
    pub fn standing(&self) -> Result<Standing, Error> {
        let Some(record) = self.record()? else { return Ok(Standing::Untouched) };
        let text = read(&self.path)?.unwrap_or_default();
        let settings = Settings::parse(self.format, &text);
        let is_there = |change: &Change| settings.as_ref().is_ok_and(|settings| settings.is_done(change));
        let changed: Vec<_> =
            record.changes.iter().filter(|change| !is_there(change)).map(Change::name).collect();
        Ok(if changed.is_empty() {
            Standing::Connected(record.by)
        } else {
            Standing::Changed(record.by, changed)
        })
    }

    fn without(&self, record: &Record, present: Option<&str>) -> Result<Option<String>, Error> {
        let Some(present) = present else { return Ok(None) };
        let original = || -> Option<String> {
            String::from_utf8(STANDARD.decode(record.original.as_deref()?).ok()?).ok()
        };
        if digest(present) == record.written {
            return Ok(original());
        }
        let edit = || {
            let mut settings = Settings::parse(self.format, present)?;
            settings.take_back(&record.changes)?;
            Ok(settings)
        };
        let settings = edit().map_err(|reason: String| {
            let path = self.path.display();
            let lines = record.changes.iter().map(Change::name).collect::<Vec<_>>().join(", ");
            Error::Refused(format!("{path} cannot be edited safely ({reason}); take out by hand: {lines}"))
        })?;
        let is_ours = record.original.is_none() && settings.is_empty();
        Ok(Some(settings.text()).filter(|_| !is_ours))
    }

    fn by_hand(&self, reason: &str) -> Error {
        let mut settings = Settings::parse(self.format, "");
        let lines = settings.as_mut().map_or(String::new(), |settings| {
            let _ = settings.apply(&self.wanted);
            settings.text()
        });
        let path = self.path.display();
        Error::Refused(format!("{path} cannot be edited safely ({reason}); add this by hand:\n\n{lines}"))
    }

    fn record(&self) -> Result<Option<Record>, Error> {
        let path = record_path(&self.path)?;
        let failed = |reason: io::Error| Error::io(format!("reading {}", path.display()))(reason);
        match fs::read(&path) {
            Err(reason) if reason.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(reason) => Err(failed(reason)),
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|reason| failed(reason.into())),
        }
    }
}

impl Planned {
    /// Whether anything is to be written.
    #[must_use]
    pub fn changes(&self) -> bool {
        self.present != self.next
    }

    /// # Errors
    /// What the file system says.
    pub fn write(self) -> Result<(), Error> {
        let failed = |path: &Path| Error::io(format!("writing {}", path.display()));
        let record_path = record_path(&self.path)?;
        if let Some(record) = &self.record {
            let text = serde_json::to_vec_pretty(record).map_err(io::Error::other);
            let directory = record_path.parent().map_or(Ok(()), whole_file::private_directory);
            let written = text.and_then(|text| {
                directory?;
                whole_file::write(&record_path, &text, whole_file::PRIVATE)
            });
            written.map_err(failed(&record_path))?;
        }
        if self.changes() {
            let written = match &self.next {
                Some(text) => {
                    let mode = whole_file::mode(&self.path);
                    let directory = self.path.parent().map_or(Ok(()), whole_file::private_directory);
                    directory.and_then(|()| whole_file::write(&self.path, text.as_bytes(), mode))
                }
                None => fs::remove_file(&self.path),
            };
            written.map_err(failed(&self.path))?;
        }
        if self.record.is_none() {
            match fs::remove_file(&record_path) {
                Err(reason) if reason.kind() != io::ErrorKind::NotFound => {
                    return Err(failed(&record_path)(reason));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Where it is kept what was in a file.
fn record_path(path: &Path) -> Result<PathBuf, Error> {
    let digest = digest(&path.to_string_lossy());
    Ok(config_dir()?.join("connected").join(format!("{}.json", &digest[..16])))
}

fn digest(text: &str) -> String {
    let digest = sha256(text.as_bytes());
    let mut first = [0; 16];
    first.copy_from_slice(&digest[..16]);
    format!("{:032x}", u128::from_be_bytes(first))
}

fn read(path: &Path) -> Result<Option<String>, Error> {
    let failed = |reason| Error::io(format!("reading {}", path.display()))(reason);
    let file = match fs::File::open(path) {
        Err(reason) if reason.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let mut text = String::new();
    file.take(BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > BYTES_MAX {
        return Err(Error::Refused(format!("{} is larger than {BYTES_MAX} bytes", path.display())));
    }
    Ok(Some(text))
}
