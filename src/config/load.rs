//! Putting the layers together, and reading every setting out of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use figment::value::{Dict, Value};

use super::checks::{self, Reader};
use super::origin::{Problem, Problems};
use super::{Config, DEFAULTS, LogConfig, LogFormat, NodeConfig, prices, targets};

/// Where a configuration may come from, beside the defaults and the environment.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--config`; none: `./sproxy.toml`, if it is there.
    pub file: Option<PathBuf>,
    /// Settings given as flags: key (`http.listen`) and text.
    pub flags: Vec<(&'static str, String)>,
}

/// Reads and checks a configuration.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(sources: &Sources) -> Result<Config, Problems> {
    let figment = layers(sources)?;
    let merged: Dict = figment.extract().map_err(unreadable)?;
    let mut reader = Reader::new(&figment);
    unknown_keys(&mut reader, &merged);
    let cluster = checks::cluster(&mut reader);
    let config = Config {
        node: NodeConfig { id: checks::node_id(&mut reader), data_dir: reader.text("node.data_dir").into() },
        http: checks::http(&mut reader),
        store: checks::store(&mut reader),
        usage: checks::usage(&mut reader),
        auth: checks::auth(&mut reader),
        log: LogConfig {
            level: reader.text("log.level"),
            format: reader.choice("log.format", &[("text", LogFormat::Text), ("json", LogFormat::Json)]),
        },
        targets: targets::read(&mut reader, merged.get("targets")),
        prices: prices::read(&mut reader, merged.get("prices")),
        cluster,
    };
    reader.finish(config)
}

/// `node.data_dir` alone, as far as it can be read: who only looks for a node's files here does not need its secrets.
#[must_use]
pub fn data_dir() -> PathBuf {
    let layers = layers(&Sources::default()).ok();
    let value = layers.and_then(|layers| layers.find_value("node.data_dir").ok());
    value.and_then(|value| checks::text_of(&value)).map_or_else(|| PathBuf::from("./data"), PathBuf::from)
}

fn layers(sources: &Sources) -> Result<Figment, Problems> {
    let mut figment = Figment::from(Toml::string(DEFAULTS));
    let default_file = Path::new("sproxy.toml");
    match &sources.file {
        Some(path) if !path.is_file() => {
            let reason = "no such file".to_owned();
            return Err(Problems(vec![Problem {
                key: path.display().to_string(),
                origin: "--config".into(),
                reason,
            }]));
        }
        Some(path) => figment = figment.merge(Toml::file_exact(path)),
        None if default_file.is_file() => figment = figment.merge(Toml::file_exact(default_file)),
        None => {}
    }
    // Only names with the double underscore are configuration; SPROXY_TOKEN and the like are not.
    let environment = Env::prefixed("SPROXY_").filter(|name| name.as_str().contains("__")).split("__");
    figment = figment.merge(environment);
    for (key, value) in &sources.flags {
        let layer = Serialized::default(key, value.clone());
        figment = figment.merge(Named { name: format!("the flag for {key}"), layer });
    }
    Ok(figment)
}

/// A layer that knows what to call itself.
struct Named<T> {
    name: String,
    layer: Serialized<T>,
}

impl<T: serde::Serialize> figment::Provider for Named<T> {
    fn metadata(&self) -> figment::Metadata {
        figment::Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<figment::value::Map<figment::Profile, Dict>, figment::Error> {
        self.layer.data()
    }
}

fn unreadable(errors: figment::Error) -> Problems {
    let problem = |error: figment::Error| {
        let from =
            error.metadata.as_ref().and_then(|metadata| metadata.source.as_ref()).map(ToString::to_string);
        let key = if error.path.is_empty() { "the file".to_owned() } else { error.path.join(".") };
        Problem {
            key,
            origin: from.unwrap_or_else(|| "configuration".to_owned()),
            reason: error.kind.to_string(),
        }
    };
    Problems(errors.into_iter().map(problem).collect())
}

/// Every key of the defaults, dotted.
fn known_keys() -> BTreeSet<String> {
    let table: toml::Table = DEFAULTS.parse().unwrap_or_default();
    let sections = table.iter().filter_map(|(section, keys)| Some((section, keys.as_table()?)));
    sections.flat_map(|(section, keys)| keys.keys().map(move |key| format!("{section}.{key}"))).collect()
}

/// Settings that may also be given as `…_env` and `…_file`.
const SECRETS: [&str; 2] = ["cluster.secret", "store.url"];

fn unknown_keys(reader: &mut Reader<'_>, merged: &Dict) {
    let mut known = known_keys();
    for secret in SECRETS {
        known.extend(["env", "file"].map(|way| format!("{secret}_{way}")));
    }
    for (section, value) in merged {
        let Value::Dict(_, keys) = value else {
            if section != "targets" {
                reader.unknown(section, value.tag(), known.iter().map(String::as_str));
            }
            continue;
        };
        for (key, value) in keys.iter().filter(|_| section != "prices") {
            let dotted = format!("{section}.{key}");
            if !known.contains(&dotted) {
                reader.unknown(&dotted, value.tag(), known.iter().map(String::as_str));
            }
        }
    }
}
