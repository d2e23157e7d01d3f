//! `[[targets]]`: where calls go.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use figment::value::{Dict, Tag, Value};
use globset::Glob;

use super::checks::{Reader, duration, resolve, text_of};
use super::{HangUp, Http2, Secret, TargetConfig};
use crate::domain::provider::Provider;

const KEYS: [&str; 18] = [
    "name",
    "provider",
    "url",
    "api_key",
    "api_key_env",
    "api_key_file",
    "weight",
    "models",
    "health_path",
    "include_usage",
    "on_hangup",
    "connect_timeout",
    "answer_timeout",
    "idle_timeout",
    "max_connections",
    "http2",
    "http2_only",
    "ca_file",
];

/// The targets as written; without any, those that the providers' own environment variables make obvious.
pub(super) fn read(reader: &mut Reader<'_>, written: Option<&Value>) -> Vec<TargetConfig> {
    let entries = match written {
        None => return obvious(),
        Some(Value::Array(_, entries)) => entries,
        Some(other) => {
            reader.wrong_at("targets", other.tag(), "has to be a list: write [[targets]] above each");
            return Vec::new();
        }
    };
    let mut targets = Vec::new();
    let mut names = BTreeSet::new();
    for (at, entry) in entries.iter().enumerate() {
        let Value::Dict(tag, keys) = entry else {
            reader.wrong_at(&format!("targets[{at}]"), entry.tag(), "has to be a table");
            continue;
        };
        let target = Entry { reader, keys, prefix: format!("targets[{at}]"), tag: *tag }.read();
        if !names.insert(target.name.clone()) {
            reader.wrong_at(
                &format!("targets[{at}].name"),
                *tag,
                format!("`{}` is taken by another target", target.name),
            );
        }
        targets.push(target);
    }
    targets
}

struct Entry<'r, 'f, 'v> {
    reader: &'r mut Reader<'f>,
    keys: &'v Dict,
    prefix: String,
    tag: Tag,
}

impl Entry<'_, '_, '_> {
    fn read(mut self) -> TargetConfig {
        for (key, value) in self.keys {
            if !KEYS.contains(&key.as_str()) {
                self.reader.unknown(&self.path(key), value.tag(), KEYS.iter().copied());
            }
        }
        let provider: Option<Provider> = self.parsed("provider", None);
        if provider.is_none() && !self.keys.contains_key("provider") {
            self.wrong("provider", "has to be set: anthropic, openai, gemini or ollama");
        }
        let provider = provider.unwrap_or(Provider::Openai);
        let name = self.text("name").unwrap_or_default();
        if name.is_empty() {
            self.wrong("name", "has to be set");
        }
        TargetConfig {
            name,
            provider,
            url: self.url(),
            api_key: self.api_key(),
            weight: self.parsed("weight", Some(100)).unwrap_or(0),
            models: self.models(),
            health_path: self.health_path(),
            include_usage: self.parsed("include_usage", Some(true)).unwrap_or(true),
            on_hangup: match self.text("on_hangup").as_deref() {
                None | Some("cancel") => HangUp::Cancel,
                Some("drain") => HangUp::Drain,
                Some(other) => {
                    self.wrong("on_hangup", &format!("`{other}` is none of cancel, drain"));
                    HangUp::Cancel
                }
            },
            connect_timeout: self.duration("connect_timeout", Duration::from_secs(5)),
            answer_timeout: self.duration("answer_timeout", Duration::from_mins(10)),
            idle_timeout: self.duration("idle_timeout", Duration::from_mins(5)),
            max_connections: self.parsed("max_connections", Some(16_384)).unwrap_or(1),
            http2: self.http2(),
            ca_file: self.ca_file(),
        }
    }

    fn path(&self, key: &str) -> String {
        format!("{}.{key}", self.prefix)
    }

    fn wrong(&mut self, key: &str, reason: &str) {
        let tag = self.keys.get(key).map_or(self.tag, Value::tag);
        self.reader.wrong_at(&self.path(key), tag, reason);
    }

    fn text(&mut self, key: &str) -> Option<String> {
        let value = self.keys.get(key)?;
        let text = text_of(value);
        if text.is_none() {
            self.wrong(key, "has to be a text");
        }
        text.filter(|text| !text.is_empty())
    }

    fn parsed<T: FromStr>(&mut self, key: &str, default: Option<T>) -> Option<T> {
        let Some(text) = self.text(key) else { return default };
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.wrong(key, &format!("`{text}` is not what can stand here"));
        }
        parsed
    }

    fn duration(&mut self, key: &str, default: Duration) -> Duration {
        let Some(text) = self.text(key) else { return default };
        match duration(&text) {
            Ok(duration) if !duration.is_zero() => duration,
            Ok(_) => {
                self.wrong(key, "has to be longer than nothing");
                default
            }
            Err(reason) => {
                self.wrong(key, &reason);
                default
            }
        }
    }

    fn url(&mut self) -> String {
        let Some(url) = self.text("url") else {
            self.wrong("url", "has to be set");
            return String::new();
        };
        let uri: Option<http::Uri> = url.parse().ok();
        let fits = uri.as_ref().is_some_and(|uri| {
            let plain = uri.query().is_none() && uri.authority().is_some_and(|a| !a.as_str().contains('@'));
            matches!(uri.scheme_str(), Some("http" | "https")) && plain
        });
        if !fits {
            self.wrong("url", "has to be an http or https URL, without credentials and without a query");
        }
        url
    }

    fn api_key(&mut self) -> Option<Secret> {
        let (own, env, file) = (self.text("api_key"), self.text("api_key_env"), self.text("api_key_file"));
        resolve(own, env, file).unwrap_or_else(|(way, reason)| {
            self.wrong(&format!("api_key{way}"), &reason);
            None
        })
    }

    fn models(&mut self) -> Vec<String> {
        let all = || vec!["*".to_owned()];
        let Some(value) = self.keys.get("models") else { return all() };
        let Value::Array(_, entries) = value else {
            self.wrong("models", "has to be a list of globs, such as [\"claude-*\"]");
            return all();
        };
        let globs: Option<Vec<String>> = entries.iter().map(text_of).collect();
        let Some(globs) = globs.filter(|globs| globs.iter().all(|glob| Glob::new(glob).is_ok())) else {
            self.wrong("models", "has to be a list of globs, such as [\"claude-*\"]");
            return all();
        };
        globs
    }

    fn health_path(&mut self) -> Option<String> {
        let path = self.text("health_path")?;
        if !path.starts_with('/') {
            self.wrong("health_path", "has to begin with a slash");
        }
        Some(path)
    }

    fn http2(&mut self) -> Http2 {
        let offered = self.parsed("http2", Some(true)).unwrap_or(true);
        let only = self.parsed("http2_only", Some(false)).unwrap_or(false);
        match (only, offered) {
            (true, _) => Http2::Only,
            (false, true) => Http2::Offered,
            (false, false) => Http2::No,
        }
    }

    fn ca_file(&mut self) -> Option<PathBuf> {
        let path = PathBuf::from(self.text("ca_file")?);
        if !path.is_file() {
            self.wrong("ca_file", &format!("there is no file {}", path.display()));
        }
        Some(path)
    }
}

/// What the providers' own environment variables stand for.
fn obvious() -> Vec<TargetConfig> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let keyed = [
        (Provider::Anthropic, "ANTHROPIC_API_KEY", "https://api.anthropic.com"),
        (Provider::Openai, "OPENAI_API_KEY", "https://api.openai.com"),
        (Provider::Gemini, "GEMINI_API_KEY", "https://generativelanguage.googleapis.com"),
    ];
    let mut targets: Vec<TargetConfig> = keyed
        .into_iter()
        .filter_map(|(provider, name, url)| {
            Some(plain(provider, url.to_owned(), Some(Secret::new(set(name)?))))
        })
        .collect();
    if let Some(host) = set("OLLAMA_HOST") {
        let url = if host.contains("://") { host } else { format!("http://{host}") };
        // Ollama itself understands a host without a port.
        let bare = url.parse::<http::Uri>().is_ok_and(|uri| uri.port().is_none());
        let url = if bare { format!("{}:11434", url.trim_end_matches('/')) } else { url };
        targets.push(plain(Provider::Ollama, url, None));
    }
    targets
}

fn plain(provider: Provider, url: String, api_key: Option<Secret>) -> TargetConfig {
    TargetConfig {
        name: provider.as_str().to_owned(),
        provider,
        url,
        api_key,
        weight: 100,
        models: vec!["*".to_owned()],
        health_path: None,
        include_usage: true,
        on_hangup: HangUp::Cancel,
        connect_timeout: Duration::from_secs(5),
        answer_timeout: Duration::from_mins(10),
        idle_timeout: Duration::from_mins(5),
        max_connections: 16_384,
        http2: Http2::Offered,
        ca_file: None,
    }
}
