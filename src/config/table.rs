//! Reading single settings. Every problem is noted with its key and origin; none stops the reading.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::Figment;
use figment::value::{Dict, Tag, Value};

use super::environment::Environment;
use super::keys::no_such;
use super::layers::{DEFAULTS_ORIGIN, Level};
use super::problems::Problem;
use super::sections::TlsFiles;
use crate::domain::secret::Secret;

/// No duration is longer than 100 years: sums with the time of day stay far from any overflow.
const DURATION_MAX: Duration = Duration::from_hours(100 * 365 * 24);

/// What one reading of a configuration needs, and the problems it has met.
pub(super) struct Reading<'a> {
    pub(super) figment: &'a Figment,
    pub(super) environment: &'a Environment,
    problems: RefCell<Vec<Problem>>,
    files: RefCell<Vec<PathBuf>>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(figment: &'a Figment, environment: &'a Environment) -> Self {
        Self { figment, environment, problems: RefCell::default(), files: RefCell::default() }
    }

    /// Notes a problem with a value that carries `tag`.
    pub(super) fn wrong(&self, key: &str, tag: Tag, reason: impl Into<String>) {
        let metadata = self.figment.get_metadata(tag);
        let origin = metadata.map_or(DEFAULTS_ORIGIN, |metadata| &metadata.name).to_owned();
        self.problems.borrow_mut().push(Problem { key: key.to_owned(), origin, reason: reason.into() });
    }

    /// The files that settings name.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        self.files.borrow().clone()
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems.into_inner()
    }
}

/// A secret, and the setting that gave it: `x`, `x_env` or `x_file`.
pub(super) struct SecretSetting {
    pub(super) secret: Secret,
    pub(super) key: String,
}

/// What should be there could not be read; the problem has been noted.
pub(super) struct ProblemReported;

/// A table of settings.
pub(super) struct Table<'a> {
    reading: &'a Reading<'a>,
    /// How its keys begin in problems, such as `http` or `targets[0]`.
    name: String,
    settings: &'a Dict,
    /// The origin of the table itself, for settings that it lacks.
    tag: Tag,
}

impl<'a> Table<'a> {
    pub(super) fn new(
        reading: &'a Reading<'a>,
        name: impl Into<String>,
        settings: &'a Dict,
        tag: Tag,
    ) -> Self {
        Self { reading, name: name.into(), settings, tag }
    }

    /// Notes a problem with a setting.
    pub(super) fn wrong(&self, key: &str, reason: impl Into<String>) {
        self.reading.wrong(&self.path(key), self.tag(key), reason);
    }

    /// Notes a problem with one entry of a list.
    pub(super) fn wrong_at(&self, key: &str, index: usize, reason: impl Into<String>) {
        self.reading.wrong(&format!("{}[{index}]", self.path(key)), self.tag(key), reason);
    }

    /// Notes a problem with every setting that is not `known`.
    pub(super) fn check_keys(&self, known: &[&str]) {
        for key in self.settings.keys().filter(|key| !known.contains(&key.as_str())) {
            self.wrong(key, no_such(key, known.iter().copied()));
        }
    }

    pub(super) fn path(&self, key: &str) -> String {
        format!("{}.{key}", self.name)
    }

    fn tag(&self, key: &str) -> Tag {
        self.settings.get(key).map_or(self.tag, Value::tag)
    }

    pub(super) fn value(&self, key: &str) -> Option<&'a Value> {
        self.settings.get(key)
    }

    /// A text; empty where it is not set.
    pub(super) fn text(&self, key: &str) -> String {
        let Some(value) = self.settings.get(key) else { return String::new() };
        text_of(value).unwrap_or_else(|| {
            self.wrong(key, "has to be a text");
            String::new()
        })
    }

    /// A text that has to be set; `otherwise` says so.
    pub(super) fn required(&self, key: &str, otherwise: &str) -> String {
        // A value that is no text is noted as that.
        if self.value(key).is_none_or(|value| text_of(value).is_some_and(|text| text.is_empty())) {
            self.wrong(key, otherwise);
        }
        self.text(key)
    }

    /// A text that may be empty, which means that it is not set.
    pub(super) fn optional(&self, key: &str) -> Option<String> {
        Some(self.text(key)).filter(|text| !text.is_empty())
    }

    /// A list of texts; in the environment they are separated by commas.
    pub(super) fn list(&self, key: &str) -> Vec<String> {
        let texts = match self.settings.get(key) {
            None => return Vec::new(),
            Some(Value::Array(_, entries)) => entries.iter().map(text_of).collect(),
            Some(Value::String(_, text)) => {
                let text = text.trim();
                // As TOML has it; an address of IPv6 may end with a bracket, too.
                let text = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
                let parts = text.split(',').map(|part| part.trim().trim_matches('"').to_owned());
                Some(parts.filter(|part| !part.is_empty()).collect())
            }
            Some(_) => None,
        };
        texts.unwrap_or_else(|| {
            self.wrong(key, "has to be a list of texts");
            Vec::new()
        })
    }

    /// A whole number within bounds.
    pub(super) fn number(&self, key: &str, least: u32, most: u32) -> u32 {
        let size = self.size(key, least as usize, most as usize);
        u32::try_from(size).unwrap_or(most)
    }

    /// A number of things or bytes within bounds.
    pub(super) fn size(&self, key: &str, least: usize, most: usize) -> usize {
        let text = self.text(key);
        let number = text.trim().parse().ok().filter(|number| (least..=most).contains(number));
        number.unwrap_or_else(|| {
            self.wrong(key, format!("`{text}` is not a whole number between {least} and {most}"));
            least
        })
    }

    /// A share between 0 and `most`.
    pub(super) fn ratio(&self, key: &str, most: f64) -> f64 {
        let text = self.text(key);
        let ratio = text.trim().parse().ok().filter(|ratio| (0.0..=most).contains(ratio));
        ratio.unwrap_or_else(|| {
            self.wrong(key, format!("`{text}` is not a number between 0 and {most}, such as 0.1"));
            0.0
        })
    }

    pub(super) fn flag(&self, key: &str) -> bool {
        let text = self.text(key);
        text.trim().parse().unwrap_or_else(|_| {
            self.wrong(key, format!("`{text}` is neither true nor false"));
            false
        })
    }

    pub(super) fn duration(&self, key: &str, least: Duration) -> Duration {
        let text = self.text(key);
        let reason = match humantime::parse_duration(text.trim()) {
            Ok(duration) if duration < least => {
                format!("has to be at least {}", humantime::format_duration(least))
            }
            Ok(duration) if duration > DURATION_MAX => "has to be at most 100 years".to_owned(),
            Ok(duration) => return duration,
            Err(_) => format!("`{text}` is no duration: write such as 300ms, 5s, 10m, 1h or 90d"),
        };
        self.wrong(key, reason);
        least
    }

    /// A duration of at most `most`.
    pub(super) fn duration_within(&self, key: &str, least: Duration, most: Duration) -> Duration {
        let duration = self.duration(key, least);
        if duration > most {
            self.wrong(key, format!("has to be at most {}", humantime::format_duration(most)));
        }
        duration
    }

    pub(super) fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> T {
        let text = self.text(key);
        choices.iter().find(|(name, _)| *name == text).map_or_else(
            || {
                let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
                self.wrong(key, format!("`{text}` is none of {}", names.join(", ")));
                choices[0].1
            },
            |(_, value)| *value,
        )
    }

    pub(super) fn address(&self, key: &str) -> SocketAddr {
        let text = self.text(key);
        text.trim().parse().unwrap_or_else(|_| {
            self.wrong(key, format!("`{text}` is not an address with a port, such as 127.0.0.1:9000"));
            SocketAddr::from(([127, 0, 0, 1], 0))
        })
    }

    /// A file that is there.
    pub(super) fn file(&self, key: &str) -> Option<PathBuf> {
        let path = PathBuf::from(self.optional(key)?);
        self.reading.files.borrow_mut().push(path.clone());
        if !path.is_file() {
            self.wrong(key, format!("there is no file {}", path.display()));
        }
        Some(path)
    }

    /// `tls_cert` and `tls_key`: both or none.
    pub(super) fn tls_files(&self) -> Option<TlsFiles> {
        let (cert_key, key_key) = ("tls_cert", "tls_key");
        match (self.file(cert_key), self.file(key_key)) {
            (Some(cert), Some(key)) => return Some(TlsFiles { cert, key }),
            (None, None) => {}
            (Some(_), None) => self.wrong(key_key, format!("has to be set beside {}", self.path(cert_key))),
            (None, Some(_)) => self.wrong(cert_key, format!("has to be set beside {}", self.path(key_key))),
        }
        None
    }

    /// A secret given as itself, or as `…_env`, or as `…_file`. A higher layer's way takes the place of a lower one's;
    /// two ways in one layer are a problem.
    pub(super) fn secret(&self, key: &str) -> Result<Option<SecretSetting>, ProblemReported> {
        let Some(given) = self.secret_text(key)? else { return Ok(None) };
        // Every secret but a database's URL travels in a header; none has a control character.
        if given.secret.expose().chars().any(char::is_control) {
            self.wrong(&given.key, "holds a control character");
            return Err(ProblemReported);
        }
        Ok(Some(given))
    }

    /// The same for a secret that may have several lines.
    pub(super) fn secret_text(&self, key: &str) -> Result<Option<SecretSetting>, ProblemReported> {
        let ways = ["", "_env", "_file"].map(|way| format!("{key}{way}"));
        let given = ways.iter().filter_map(|way| Some((way, self.optional(way)?, self.level(way))));
        let mut given: Vec<_> = given.collect();
        let Some(top) = given.iter().map(|(_, _, level)| *level).max() else { return Ok(None) };
        given.retain(|(_, _, level)| *level == top);
        if let [(first, ..), (second, ..), ..] = given.as_slice() {
            self.wrong(second, format!("stands beside {}: give one of them", self.path(first)));
            return Err(ProblemReported);
        }
        let Some((way, text, _)) = given.pop() else { return Ok(None) };
        match self.resolve(way.strip_prefix(key).unwrap_or_default(), text) {
            Ok(text) => Ok(Some(SecretSetting { secret: Secret::new(text), key: way.clone() })),
            Err(reason) => {
                self.wrong(way, reason);
                Err(ProblemReported)
            }
        }
    }

    /// Notes that a setting was read from a file.
    pub(super) fn uses_file(&self, path: &Path) {
        self.reading.files.borrow_mut().push(path.to_owned());
    }

    /// A variable of the environment.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        self.reading.environment.get(name).map(str::to_owned)
    }

    fn resolve(&self, way: &str, text: String) -> Result<String, String> {
        match way {
            "_env" => {
                let set = self.reading.environment.get(&text).map(str::to_owned);
                set.ok_or_else(|| format!("the environment variable {text} is not set"))
            }
            "_file" => {
                self.reading.files.borrow_mut().push(PathBuf::from(&text));
                let read = std::fs::read_to_string(&text).map_err(|error| format!("{text}: {error}"))?;
                let secret = read.trim();
                if secret.is_empty() { Err(format!("{text} is empty")) } else { Ok(secret.to_owned()) }
            }
            _ => Ok(text),
        }
    }

    fn level(&self, key: &str) -> Level {
        Level::of(self.reading.figment.get_metadata(self.tag(key)))
    }
}

/// Any scalar as text: in the environment `9000` is one, in a file it is a number.
pub(super) fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(_, text) => Some(text.clone()),
        Value::Char(_, char) => Some(char.to_string()),
        Value::Bool(_, flag) => Some(flag.to_string()),
        Value::Num(_, number) => number
            .to_u128()
            .map(|n| n.to_string())
            .or_else(|| number.to_i128().map(|n| n.to_string()))
            .or_else(|| number.to_f64().map(|n| n.to_string())),
        Value::Empty(..) | Value::Dict(..) | Value::Array(..) => None,
    }
}
