//! The layers of a configuration, lowest first: the defaults, one file, the environment, flags.

use std::path::{Path, PathBuf};

use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider, Source};

use super::environment::Environment;
use super::keys::Known;
use super::problems::Problem;
use crate::dialect::{DefaultAddress, default_target};
use crate::domain::provider::Provider as Dialect;

/// The commented defaults: the reference of every setting.
pub const DEFAULTS: &str = include_str!("defaults.toml");

/// The origin of defaults, as problems name it.
pub(super) const DEFAULTS_ORIGIN: &str = "defaults";

/// The file that is read when none is named, if it is there.
const DEFAULT_FILE: &str = "sproxy.toml";

/// Where a configuration may come from, beside the defaults and the environment.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--config`; `None` for `./sproxy.toml`, if that exists.
    pub file: Option<PathBuf>,
    /// Settings given as flags: key (`http.listen`) and text.
    pub flags: Vec<(&'static str, String)>,
}

pub(super) struct Layers {
    pub(super) figment: Figment,
    /// Unreadable files and unknown settings.
    pub(super) problems: Vec<Problem>,
    /// The file could not be read: what it may have set is missing.
    pub(super) file_is_missing: bool,
    /// The file as it was read.
    pub(super) text: Option<String>,
}

impl Layers {
    /// `text`: the file as it was read before; it is not read again.
    pub(super) fn of(sources: &Sources, environment: &Environment, text: Option<String>) -> Self {
        let defaults: Dict = toml::from_str(DEFAULTS).unwrap_or_default();
        let known = Known::of(&defaults);
        let figment = Figment::from(Layer {
            origin: DEFAULTS_ORIGIN.to_owned(),
            level: Level::Defaults,
            data: defaults,
        });
        let mut layers = Self { figment, problems: Vec::new(), file_is_missing: false, text };
        layers.file(sources.file.as_deref(), &known);
        for (path, name, text) in environment.settings() {
            match text {
                Some(text) => layers.merge(Layer::setting(name, Level::Environment, &path, text), &known),
                None => layers.problem(&path.join("."), name, "is no UTF-8"),
            }
        }
        for (key, text) in &sources.flags {
            let path: Vec<String> = key.split('.').map(str::to_owned).collect();
            let origin = format!("the flag for {key}");
            layers.merge(Layer::setting(&origin, Level::Flags, &path, text), &known);
        }
        if !layers.figment.contains("targets") && !layers.file_is_missing {
            layers.obvious_targets(environment);
        }
        layers
    }

    fn file(&mut self, named: Option<&Path>, known: &Known) {
        let path = match named {
            Some(path) => path,
            None if Path::new(DEFAULT_FILE).exists() => Path::new(DEFAULT_FILE),
            None => return,
        };
        let origin = path.display().to_string();
        let read = self.text.take().map_or_else(|| std::fs::read_to_string(path), Ok).map_err(|error| {
            let asked_by = if named.is_some() { "--config" } else { "working directory" };
            (origin.clone(), asked_by.to_owned(), format!("cannot be read: {error}"))
        });
        self.text = read.as_ref().ok().cloned();
        // The error's own text would quote the line, and with it perhaps a secret.
        let parsed = read.and_then(|text| {
            toml::from_str::<Dict>(&text).map_err(|error| {
                let at = error.span().map_or(0, |span| span.start);
                (
                    format!("line {}", line_at(&text, at)),
                    origin.clone(),
                    format!("is no TOML: {}", error.message()),
                )
            })
        });
        match parsed {
            Ok(data) => self.merge(Layer { origin, level: Level::File, data }, known),
            Err((key, origin, reason)) => {
                self.file_is_missing = true;
                self.problem(&key, &origin, &reason);
            }
        }
    }

    fn merge(&mut self, mut layer: Layer, known: &Known) {
        for (key, reason) in known.take_unknown(&mut layer.data) {
            self.problem(&key, &layer.origin, &reason);
        }
        self.figment = std::mem::take(&mut self.figment).merge(layer);
    }

    fn problem(&mut self, key: &str, origin: &str, reason: &str) {
        self.problems.push(Problem {
            key: key.to_owned(),
            origin: origin.to_owned(),
            reason: reason.to_owned(),
        });
    }

    /// Adds the targets that the providers' own variables imply.
    fn obvious_targets(&mut self, environment: &Environment) {
        for provider in Dialect::ALL {
            let obvious = default_target(provider);
            let variable = obvious.variable;
            let Some(text) = environment.get(variable) else { continue };
            let (url, has_key) = match obvious.address {
                DefaultAddress::Fixed(url) => (url.to_owned(), true),
                DefaultAddress::InVariable(url_of) => (url_of(text), false),
            };
            let mut target = Dict::from([
                ("name".to_owned(), Value::from(provider.as_str())),
                ("provider".to_owned(), Value::from(provider.as_str())),
                ("url".to_owned(), Value::from(url)),
            ]);
            if has_key {
                target.insert("api_key_env".to_owned(), Value::from(variable));
            }
            let data = Dict::from([("targets".to_owned(), Value::from(vec![Value::from(target)]))]);
            let layer = Layer { origin: variable.to_owned(), level: Level::Environment, data };
            self.figment = std::mem::take(&mut self.figment).adjoin(layer);
        }
    }
}

fn line_at(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

/// The precedence of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Defaults,
    File,
    Environment,
    Flags,
}

impl Level {
    const NAMED: [(&str, Self); 3] =
        [("file", Self::File), ("environment", Self::Environment), ("flags", Self::Flags)];

    /// The level of the layer that a value came from.
    pub(super) fn of(metadata: Option<&Metadata>) -> Self {
        let name = metadata.and_then(|metadata| metadata.source.as_ref()).and_then(Source::custom);
        Self::NAMED.iter().find(|(known, _)| Some(*known) == name).map_or(Self::Defaults, |(_, level)| *level)
    }
}

/// The settings of one origin. A variable is a layer of its own, so that each of its values knows its name; what it
/// holds stays the text that it is.
struct Layer {
    origin: String,
    level: Level,
    data: Dict,
}

impl Layer {
    fn setting(origin: &str, level: Level, path: &[String], text: &str) -> Self {
        let mut data = Dict::new();
        if let Some((first, rest)) = path.split_first() {
            let nest = |inner, key: &String| Value::from(Dict::from([(key.clone(), inner)]));
            data.insert(first.clone(), rest.iter().rev().fold(Value::from(text), nest));
        }
        Self { origin: origin.to_owned(), level, data }
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        let metadata = Metadata::named(self.origin.clone());
        match Level::NAMED.iter().find(|(_, level)| *level == self.level) {
            Some((name, _)) => metadata.source(Source::Custom((*name).to_owned())),
            None => metadata,
        }
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.data.clone()))
    }
}
