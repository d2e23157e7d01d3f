//! `[[alerts]]`, who is told of what happens, and `[alerting]`, when.

use std::collections::BTreeSet;
use std::time::Duration;

use figment::value::{Dict, Value};
use http::Uri;

use super::alert_sections::{AlertConfig, AlertFormat, AlertingConfig};
use super::proxy;
use super::sections::UpstreamConfig;
use super::table::{Reading, Table};
use crate::domain::alert::{EventKind, NotAnEvent};
use crate::domain::secret::Secret;

/// Defaults of a receiver; `defaults.toml` documents the same.
const DEFAULTS: &str = r#"
name = ""
events = ["quota.soft", "quota.spent", "target.down", "target.up", "peer.lost", "backlog", "ledger.stuck", "unmetered", "price.unknown"]
format = "json"
timeout = "10s"
proxy = ""
ca_file = ""
"#;
/// Settings without a default.
const OWN: [&str; 8] =
    ["url", "url_env", "url_file", "secret", "secret_env", "secret_file", "proxy_env", "proxy_file"];
/// The most receivers.
const RECEIVERS_MAX: usize = 32;
const NAME_MAX: usize = 64;
/// The fewest characters of a secret that keep guessing hopeless.
const SECRET_MIN: usize = 16;
/// The longest that a receiver may take to answer: nothing else is sent to it meanwhile.
const TIMEOUT_MAX: Duration = Duration::from_mins(1);

pub(super) fn alerting(table: &Table<'_>) -> AlertingConfig {
    let quota_soft = table.ratio("quota_soft", 1.0);
    // What is no number has been noted.
    if table.text("quota_soft").trim().parse().is_ok_and(|share: f64| (0.0..0.01).contains(&share)) {
        table.wrong("quota_soft", "has to be a share of a limit between 0.01 and 1, such as 0.8");
    }
    AlertingConfig {
        quota_soft,
        target_after: table.duration("target_after", Duration::ZERO),
        ledger_after: table.duration("ledger_after", Duration::ZERO),
        backlog_after: table.duration("backlog_after", Duration::from_secs(1)),
        backlog_count: table.size("backlog_count", 1, 1_000_000_000),
    }
}

/// The configured receivers.
pub(super) fn read(
    reading: &Reading<'_>,
    written: Option<&Value>,
    upstream: &UpstreamConfig,
) -> Vec<AlertConfig> {
    let entries = match written {
        None => return Vec::new(),
        Some(Value::Array(_, entries)) => entries,
        Some(other) => {
            let reason = "has to be a list, in the file: write [[alerts]] above each; when they are told is [alerting]";
            reading.wrong("alerts", other.tag(), reason);
            return Vec::new();
        }
    };
    let defaults: Dict = toml::from_str(DEFAULTS).unwrap_or_default();
    let known: Vec<&str> = OWN.into_iter().chain(defaults.keys().map(String::as_str)).collect();
    let mut receivers = Vec::new();
    let mut names = BTreeSet::new();
    for (at, entry) in entries.iter().enumerate() {
        let place = format!("alerts[{at}]");
        let Value::Dict(tag, written) = entry else {
            reading.wrong(&place, entry.tag(), "has to be a table");
            continue;
        };
        let mut settings = defaults.clone();
        settings.extend(written.clone());
        let table = Table::new(reading, place, &settings, *tag);
        table.check_keys(&known);
        let Some(receiver) = receiver(&table, reading, upstream) else { continue };
        if !names.insert(receiver.name.clone()) {
            let name = &receiver.name;
            table
                .wrong("name", format!("`{name}` is taken by another receiver: give each a name of its own"));
        }
        receivers.push(receiver);
    }
    if entries.len() > RECEIVERS_MAX {
        let tag = entries.get(RECEIVERS_MAX).map_or_else(Default::default, Value::tag);
        reading.wrong("alerts", tag, format!("are more than {RECEIVERS_MAX}"));
    }
    receivers
}

/// None: it has no URL, which has been noted.
fn receiver(table: &Table<'_>, reading: &Reading<'_>, upstream: &UpstreamConfig) -> Option<AlertConfig> {
    let (events, secret) = (events(table), secret(table));
    let name = name(table);
    let format = table.choice("format", &AlertFormat::ALL);
    let timeout = table.duration_within("timeout", Duration::from_millis(100), TIMEOUT_MAX);
    let ca_file = table.file("ca_file");
    let (url, host) = url(table)?;
    Some(AlertConfig {
        proxy: proxy::of_target(table, reading, upstream, url.expose()),
        name: if name.is_empty() { host.clone() } else { name },
        url,
        host,
        secret,
        events,
        format,
        timeout,
        ca_file,
    })
}

/// The URL, and its host. What is wrong with it is said without it.
fn url(table: &Table<'_>) -> Option<(Secret, String)> {
    let given = match table.secret("url") {
        Ok(Some(given)) => given,
        Ok(None) => {
            table.wrong("url", "has to be set, as url, url_env or url_file");
            return None;
        }
        Err(_) => return None,
    };
    let uri = given.secret.expose().parse::<Uri>().ok();
    let uri = uri.filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
    let Some((uri, authority)) = uri.as_ref().and_then(|uri| Some((uri, uri.authority()?))) else {
        table.wrong(&given.key, "has to be a URL such as https://hooks.example.com/services/…");
        return None;
    };
    if authority.as_str().contains('@') {
        table.wrong(&given.key, "must not have a user or password in it: use secret to prove who sends");
        return None;
    }
    if uri.host().is_none_or(str::is_empty) {
        table.wrong(&given.key, "names no host");
        return None;
    }
    Some((given.secret, authority.to_string()))
}

fn name(table: &Table<'_>) -> String {
    let name = table.text("name");
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.: ".contains(c);
    if name.len() > NAME_MAX || !name.chars().all(fits) || name.trim() != name {
        let reason =
            format!("has to be at most {NAME_MAX} letters, digits, spaces, dashes, dots or underscores");
        table.wrong("name", reason);
    }
    name
}

fn secret(table: &Table<'_>) -> Option<Secret> {
    let given = table.secret("secret").ok().flatten()?;
    if given.secret.expose().chars().count() < SECRET_MIN {
        table.wrong(&given.key, format!("has to have at least {SECRET_MIN} characters"));
    }
    Some(given.secret)
}

fn events(table: &Table<'_>) -> Vec<EventKind> {
    let mut events = Vec::new();
    for (at, name) in table.list("events").iter().enumerate() {
        match name.parse() {
            Ok(event) if events.contains(&event) => {}
            Ok(event) => events.push(event),
            Err(error @ NotAnEvent(_)) => table.wrong_at("events", at, error.to_string()),
        }
    }
    if events.is_empty() {
        let all = EventKind::ALL.map(EventKind::as_str).join(", ");
        table.wrong("events", format!("is empty: nothing would be sent. Use some of {all}"));
    }
    events
}

#[cfg(test)]
mod tests {
    use super::super::layers;
    use super::*;

    #[test]
    fn people_are_told_every_key_default_and_event() {
        let told = layers::DEFAULTS.split_once("# [[alerts]]\n").expect("the section").1;
        let told = told.split_once("\n\n").map_or(told, |(told, _)| told);
        let told: Vec<&str> = told.lines().map(|line| line.trim_start_matches("# ")).collect();
        let told: Dict = toml::from_str(&told.join("\n")).expect("TOML once it is no comment");
        let defaults: Dict = toml::from_str(DEFAULTS).expect("TOML");
        for (key, value) in &defaults {
            assert_eq!(told.get(key), Some(value), "{key}");
        }
        for key in told.keys() {
            assert!(defaults.contains_key(key) || OWN.contains(&key.as_str()), "{key}");
        }
        for kind in EventKind::ALL {
            assert!(layers::DEFAULTS.contains(kind.as_str()), "{kind}");
        }
    }
}
