//! The settings of a client, whatever they are written in: values set and taken out, and put back as they were.

use serde::{Deserialize, Serialize};

use super::env_file::EnvFile;
use super::jsonc::Jsonc;
use super::toml_file::TomlFile;

/// What a file is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// With or without comments.
    Json,
    Toml,
    Env,
    /// The file is one value.
    Whole,
}

/// A value that a client needs, or must not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub path: Vec<String>,
    /// As it is written; none: it has to go.
    pub raw: Option<String>,
}

/// What was done to one value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    path: Vec<String>,
    /// As they are written; none: it was not there, or is not any more.
    before: Option<String>,
    after: Option<String>,
    /// The outermost objects or tables on the way to it that had been there.
    parents: usize,
}

/// A file of settings in memory.
pub enum Settings {
    Json(Jsonc),
    Toml(TomlFile),
    Env(EnvFile),
    Whole(String),
}

impl Change {
    /// Which value it is about.
    pub fn name(&self) -> String {
        if self.path.is_empty() { "all of it".to_owned() } else { self.path.join(".") }
    }
}

impl Wanted {
    /// A text at a path that is divided by dots.
    pub fn text(path: &str, text: &str) -> Self {
        // JSON's way to write a text is one of TOML's.
        Self { path: split(path), raw: Some(serde_json::Value::from(text).to_string()) }
    }

    pub fn texts(path: &str, texts: &[&str]) -> Self {
        let quoted: Vec<_> = texts.iter().map(|text| serde_json::Value::from(*text).to_string()).collect();
        Self { path: split(path), raw: Some(format!("[{}]", quoted.join(", "))) }
    }

    /// A number or a truth value.
    pub fn plain(path: &str, raw: &str) -> Self {
        Self { path: split(path), raw: Some(raw.to_owned()) }
    }

    /// All of a file.
    pub fn whole(text: &str) -> Self {
        Self { path: Vec::new(), raw: Some(text.to_owned()) }
    }

    pub fn nothing(path: &str) -> Self {
        Self { path: split(path), raw: None }
    }
}

fn split(path: &str) -> Vec<String> {
    path.split('.').map(str::to_owned).collect()
}

impl Settings {
    /// # Errors
    /// Why the text cannot be edited safely.
    pub fn parse(format: Format, text: &str) -> Result<Self, String> {
        Ok(match format {
            Format::Json => Self::Json(Jsonc::parse(text)?),
            Format::Toml => Self::Toml(TomlFile::parse(text)?),
            Format::Env => Self::Env(EnvFile::parse(text)),
            Format::Whole => Self::Whole(text.to_owned()),
        })
    }

    pub fn text(&self) -> String {
        match self {
            Self::Json(json) => json.text().to_owned(),
            Self::Toml(toml) => toml.text(),
            Self::Env(env) => env.text().to_owned(),
            Self::Whole(text) => text.clone(),
        }
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Json(json) => json.is_empty(),
            Self::Toml(toml) => toml.is_empty(),
            Self::Env(env) => env.is_empty(),
            Self::Whole(text) => text.is_empty(),
        }
    }

    /// Sets what is wanted; returns what was done.
    ///
    /// # Errors
    /// Why it cannot be done safely.
    pub fn apply(&mut self, wanted: &[Wanted]) -> Result<Vec<Change>, String> {
        let mut changes = Vec::new();
        for Wanted { path, raw } in wanted {
            let before = self.get(path)?;
            if before == *raw {
                continue;
            }
            let parents = self.parents(path)?;
            match raw {
                Some(raw) => self.set(path, raw)?,
                None => self.remove(path)?,
            }
            changes.push(Change { path: path.clone(), before, after: raw.clone(), parents });
        }
        Ok(changes)
    }

    /// Takes back what was done, but for what somebody has changed since then.
    ///
    /// # Errors
    /// Why it cannot be done safely.
    pub fn take_back(&mut self, changes: &[Change]) -> Result<(), String> {
        for change in changes.iter().rev() {
            if self.get(&change.path)? != change.after {
                continue;
            }
            match &change.before {
                Some(before) => self.set(&change.path, before)?,
                None => self.remove(&change.path)?,
            }
            for depth in (change.parents + 1..change.path.len()).rev() {
                self.remove_if_empty(&change.path[..depth])?;
            }
        }
        Ok(())
    }

    /// Whether a value is as it was written.
    pub fn is_done(&self, change: &Change) -> bool {
        self.get(&change.path).is_ok_and(|present| present == change.after)
    }

    fn get(&self, path: &[String]) -> Result<Option<String>, String> {
        Ok(match self {
            Self::Json(json) => json.get(path)?.map(str::to_owned),
            Self::Toml(toml) => toml.get(path),
            // Its values are written as they are.
            Self::Env(env) => {
                env.get(&path.join(".")).map(|value| serde_json::Value::from(value).to_string())
            }
            Self::Whole(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        })
    }

    fn parents(&self, path: &[String]) -> Result<usize, String> {
        match self {
            Self::Json(json) => json.parents(path),
            Self::Toml(toml) => Ok(toml.parents(path)),
            Self::Env(_) | Self::Whole(_) => Ok(0),
        }
    }

    fn set(&mut self, path: &[String], raw: &str) -> Result<(), String> {
        match self {
            Self::Json(json) => json.set(path, raw),
            Self::Toml(toml) => toml.set(path, raw),
            Self::Env(env) => {
                let value: String = serde_json::from_str(raw).map_err(|_| format!("`{raw}` is no text"))?;
                env.set(&path.join("."), &value);
                Ok(())
            }
            Self::Whole(text) => {
                raw.clone_into(text);
                Ok(())
            }
        }
    }

    fn remove(&mut self, path: &[String]) -> Result<(), String> {
        match self {
            Self::Json(json) => json.remove(path),
            Self::Toml(toml) => {
                toml.remove(path);
                Ok(())
            }
            Self::Env(env) => {
                env.remove(&path.join("."));
                Ok(())
            }
            Self::Whole(text) => {
                text.clear();
                Ok(())
            }
        }
    }

    fn remove_if_empty(&mut self, path: &[String]) -> Result<(), String> {
        match self {
            Self::Json(json) => json.remove_if_empty(path),
            Self::Toml(toml) => {
                toml.remove_if_empty(path);
                Ok(())
            }
            Self::Env(_) | Self::Whole(_) => Ok(()),
        }
    }

    /// The text at a path that is divided by dots.
    pub fn text_at(&self, path: &str) -> Option<String> {
        match self {
            Self::Toml(toml) => toml.text_at(&split(path)),
            Self::Json(_) | Self::Env(_) | Self::Whole(_) => {
                serde_json::from_str(&self.get(&split(path)).ok()??).ok()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn to_take_back_leaves_what_somebody_has_changed_since() {
        let wanted =
            [Wanted::text("env.URL", "http://x"), Wanted::text("helper", "h"), Wanted::nothing("env.KEY")];
        let mut settings = Settings::parse(Format::Json, "{\"env\": {\"KEY\": \"k\"}}").expect("JSON");
        let changes = settings.apply(&wanted).expect("applied");
        assert!(changes.iter().all(|change| settings.is_done(change)));
        assert_eq!(settings.apply(&wanted).expect("applied"), [], "twice is once");
        let edited =
            settings.text().replace("\"h\"", "\"mine\"").replace("{\"env\"", "{\"more\": 1, \"env\"");
        let mut settings = Settings::parse(Format::Json, &edited).expect("JSON");
        settings.take_back(&changes).expect("taken back");
        let squeezed: String = settings.text().split_whitespace().collect();
        assert_eq!(squeezed, "{\"more\":1,\"env\":{\"KEY\":\"k\"},\"helper\":\"mine\"}");
    }

    #[test]
    fn what_was_made_for_it_goes_with_it() {
        for (format, text) in [(Format::Json, "{}"), (Format::Toml, "# mine\n"), (Format::Env, "# mine\n")] {
            let mut settings = Settings::parse(format, text).expect("settings");
            let wanted = [Wanted::text("a.b.c", "x"), Wanted::text("a.b.d", "y")];
            let changes = settings.apply(&wanted).expect("applied");
            settings.take_back(&changes).expect("taken back");
            assert_eq!(
                settings.text().trim().replace(char::is_whitespace, ""),
                text.replace(char::is_whitespace, "")
            );
        }
    }
}
