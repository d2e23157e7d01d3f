//! `[[targets]]`: where calls go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use figment::value::{Dict, Tag, Value};
use globset::Glob;

use super::sections::{HangUp, Http2, TargetConfig, UpstreamConfig};
use super::table::{Reading, Table, text_of};
use super::target_platform::Address;
use super::{proxy, target_platform};
use crate::cloud::hosting::Platform;
use crate::dialect;
use crate::domain::provider::Provider;

/// Defaults of a target; `defaults.toml` documents the same.
const DEFAULTS: &str = r#"
platform = ""
region = ""
project = ""
speaks = []
auth = ""
tier = 0
weight = 100
models = ["*"]
health_path = ""
include_usage = true
responses = true
websocket = ""
allow_admin_paths = false
on_hangup = "cancel"
connect_timeout = "5s"
answer_timeout = "10m"
idle_timeout = "5m"
total_timeout = "6h"
max_connections = 16384
http2 = true
http2_only = false
http2_connections = 128
queue_timeout = "10s"
proxy = ""
ca_file = ""
keys = []
rename = {}
"#;
/// Settings without a default.
const OWN: [&str; 8] =
    ["name", "provider", "url", "api_key", "api_key_env", "api_key_file", "proxy_env", "proxy_file"];
/// The least value of a target's timeouts.
const TIMEOUT_MIN: Duration = Duration::from_millis(1);

/// The configured targets.
pub(super) fn read(
    reading: &Reading<'_>,
    written: Option<&Value>,
    upstream: &UpstreamConfig,
) -> Vec<TargetConfig> {
    let entries = match written {
        None => return Vec::new(),
        Some(Value::Array(_, entries)) => entries,
        Some(other) => {
            let tag = tag_within(other);
            reading.wrong("targets", tag, "has to be a list, in the file: write [[targets]] above each");
            return Vec::new();
        }
    };
    let defaults: Dict = toml::from_str(DEFAULTS).unwrap_or_default();
    let known: Vec<&str> = OWN.into_iter().chain(defaults.keys().map(String::as_str)).collect();
    let mut targets = Vec::new();
    let mut names = BTreeSet::new();
    for (at, entry) in entries.iter().enumerate() {
        let name = format!("targets[{at}]");
        let Value::Dict(tag, written) = entry else {
            reading.wrong(&name, entry.tag(), "has to be a table");
            continue;
        };
        let mut settings = defaults.clone();
        settings.extend(written.clone());
        let table = Table::new(reading, name, &settings, *tag);
        table.check_keys(&known);
        let target = target(&table, reading, upstream);
        if !target.name.is_empty() && !names.insert(target.name.clone()) {
            table.wrong("name", format!("`{}` is taken by another target", target.name));
        }
        targets.push(target);
    }
    targets
}

/// A table that several variables made has no origin of its own, but its values have.
fn tag_within(value: &Value) -> Tag {
    let inner = value.as_dict().and_then(|settings| settings.values().next());
    inner.map_or_else(|| value.tag(), tag_within)
}

fn target(table: &Table<'_>, reading: &Reading<'_>, upstream: &UpstreamConfig) -> TargetConfig {
    let name = table.required("name", "has to be set");
    let provider = provider(table);
    let address = target_platform::address(table, provider);
    let keys = target_platform::keys(table, reading, &address);
    let Address { platform, region, url } = address;
    let websocket = match table.optional("websocket") {
        Some(_) => table.flag("websocket"),
        None => has_websocket(provider, platform, &url),
    };
    TargetConfig {
        proxy: proxy::of_target(table, reading, upstream, &url),
        name,
        provider,
        platform,
        region,
        project: keys.project,
        url,
        speaks: speaks(table, provider),
        api_key: keys.api_key,
        keys: keys.several,
        machine: keys.machine,
        auth: keys.auth,
        tier: table.number("tier", 0, 1_000),
        rename: rename(table),
        weight: table.number("weight", 0, 1_000_000),
        models: models(table),
        health_path: health_path(table),
        include_usage: table.flag("include_usage"),
        responses: table.flag("responses"),
        websocket,
        allow_admin_paths: table.flag("allow_admin_paths"),
        on_hangup: table.choice("on_hangup", &[("cancel", HangUp::Cancel), ("drain", HangUp::Drain)]),
        connect_timeout: table.duration("connect_timeout", TIMEOUT_MIN),
        answer_timeout: table.duration("answer_timeout", TIMEOUT_MIN),
        idle_timeout: table.duration("idle_timeout", TIMEOUT_MIN),
        total_timeout: table.duration("total_timeout", TIMEOUT_MIN),
        max_connections: table.size("max_connections", 1, 1_000_000),
        http2: match (table.flag("http2_only"), table.flag("http2")) {
            (true, _) => Http2::Only,
            (false, true) => Http2::Offered,
            (false, false) => Http2::No,
        },
        http2_connections: table.size("http2_connections", 1, 100_000),
        queue_timeout: table.duration("queue_timeout", TIMEOUT_MIN),
        ca_file: table.file("ca_file"),
    }
}

fn provider(table: &Table<'_>) -> Provider {
    let text = table.required("provider", &format!("has to be set: {}", Provider::choices()));
    // Any will do for what is wrong: it is reported, and nobody starts with it.
    let [any, ..] = Provider::ALL;
    if text.is_empty() {
        return any;
    }
    text.parse().unwrap_or_else(|error: <Provider as std::str::FromStr>::Err| {
        table.wrong("provider", error.to_string());
        any
    })
}

/// Whether a server is known to have WebSockets: those of the provider itself, and of Azure.
fn has_websocket(provider: Provider, platform: Platform, url: &str) -> bool {
    match platform {
        Platform::Provider => dialect::is_own_address(provider, url),
        Platform::Azure => true,
        Platform::Bedrock | Platform::Vertex => false,
    }
}

/// The dialects that a target takes as they are.
fn speaks(table: &Table<'_>, provider: Provider) -> Vec<Provider> {
    let mut spoken = vec![provider];
    for name in table.list("speaks") {
        match name.parse() {
            Ok(dialect) if spoken.contains(&dialect) => {}
            Ok(dialect) => spoken.push(dialect),
            Err(error) => table.wrong("speaks", error.to_string()),
        }
    }
    spoken
}

/// Model asked for, and model sent.
fn rename(table: &Table<'_>) -> BTreeMap<String, String> {
    let Some(Value::Dict(_, names)) = table.value("rename") else {
        if table.value("rename").is_some() {
            table.wrong("rename", "has to be a table such as { \"fast\" = \"claude-haiku-4-5\" }");
        }
        return BTreeMap::new();
    };
    let fits = |name: &String| !name.is_empty();
    let pairs =
        names.iter().map(|(asked, sent)| text_of(sent).filter(fits).map(|sent| (asked.clone(), sent)));
    pairs.collect::<Option<_>>().unwrap_or_else(|| {
        table.wrong("rename", "has to name a model for each model");
        BTreeMap::new()
    })
}

fn models(table: &Table<'_>) -> Vec<String> {
    let globs: Option<Vec<String>> = match table.value("models") {
        Some(Value::Array(_, entries)) => entries.iter().map(text_of).collect(),
        _ => None,
    };
    let fits = |glob: &String| !glob.is_empty() && Glob::new(glob).is_ok();
    match globs {
        Some(globs) if globs.is_empty() => table.wrong("models", "is empty: no model would be served"),
        Some(globs) if globs.iter().all(fits) => return globs,
        _ => table.wrong("models", "has to be a list of globs, such as [\"claude-*\"]"),
    }
    Vec::new()
}

fn health_path(table: &Table<'_>) -> Option<String> {
    let path = table.optional("health_path")?;
    if !path.starts_with('/') {
        table.wrong("health_path", "has to begin with a slash");
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::super::layers;
    use super::*;

    #[test]
    fn people_are_told_every_key_and_default() {
        let told = layers::DEFAULTS.split_once("# [[targets]]\n").expect("the section").1;
        let told: Vec<&str> = told.lines().map(|line| line.trim_start_matches("# ")).collect();
        let told: Dict = toml::from_str(&told.join("\n")).expect("TOML once it is no comment");
        let defaults: Dict = toml::from_str(DEFAULTS).expect("TOML");
        for (key, value) in &defaults {
            assert_eq!(told.get(key), Some(value), "{key}");
        }
        let names = Provider::ALL.map(Provider::as_str).join(", ");
        assert!(layers::DEFAULTS.contains(&format!("the dialect: {names}")), "people are told every dialect");
        for key in told.keys() {
            assert!(defaults.contains_key(key) || OWN.contains(&key.as_str()), "{key}");
        }
    }
}
