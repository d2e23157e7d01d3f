//! Reading single settings, and the rules that they have to keep. Every problem is noted; none stops the reading.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use figment::Figment;
use figment::value::{Tag, Value};

use super::origin::{Problem, Problems, origin};
use super::{
    AuthConfig, ClusterConfig, ClusterTls, Config, Database, Durability, HttpConfig, Secret, StoreConfig,
    Synchronous, TlsFiles, UsageConfig,
};
use crate::domain::ids::NodeId;

/// Reads settings and notes what is wrong with them.
pub(super) struct Reader<'f> {
    figment: &'f Figment,
    problems: Vec<Problem>,
}

impl<'f> Reader<'f> {
    pub(super) fn new(figment: &'f Figment) -> Self {
        Self { figment, problems: Vec::new() }
    }

    pub(super) fn finish(self, config: Config) -> Result<Config, Problems> {
        if self.problems.is_empty() { Ok(config) } else { Err(Problems(self.problems)) }
    }

    /// Notes a problem with a setting.
    pub(super) fn wrong(&mut self, key: &str, reason: impl Into<String>) {
        let origin = self
            .figment
            .find_value(key)
            .map_or_else(|_| "not set".to_owned(), |value| origin(self.figment, value.tag(), key));
        self.problems.push(Problem { key: key.to_owned(), origin, reason: reason.into() });
    }

    /// Notes a problem with a value that has no path of its own, such as one of a target.
    pub(super) fn wrong_at(&mut self, key: &str, tag: Tag, reason: impl Into<String>) {
        let origin = origin(self.figment, tag, key);
        self.problems.push(Problem { key: key.to_owned(), origin, reason: reason.into() });
    }

    /// Notes a key that does not exist, with the one that was probably meant.
    pub(super) fn unknown<'k>(&mut self, key: &str, tag: Tag, known: impl Iterator<Item = &'k str>) {
        let meant = known.min_by_key(|known| distance(key, known)).filter(|known| distance(key, known) <= 3);
        let hint = meant.map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
        self.wrong_at(key, tag, format!("there is no such setting{hint}"));
    }

    pub(super) fn text(&mut self, key: &str) -> String {
        let Ok(value) = self.figment.find_value(key) else { return String::new() };
        text_of(&value).unwrap_or_else(|| {
            self.wrong(key, "has to be a text");
            String::new()
        })
    }

    fn parsed<T: std::str::FromStr>(&mut self, key: &str, fallback: T, expected: &str) -> T {
        let text = self.text(key);
        text.trim().parse().unwrap_or_else(|_| {
            self.wrong(key, format!("`{text}` is not {expected}"));
            fallback
        })
    }

    /// A whole number within bounds.
    pub(super) fn number(&mut self, key: &str, least: usize, most: usize) -> usize {
        let number = self.parsed(key, least, "a whole number");
        if !(least..=most).contains(&number) {
            self.wrong(key, format!("{number} is not between {least} and {most}"));
        }
        number
    }

    pub(super) fn flag(&mut self, key: &str) -> bool {
        self.parsed(key, false, "true or false")
    }

    pub(super) fn duration(&mut self, key: &str, least: Duration) -> Duration {
        let text = self.text(key);
        match duration(&text) {
            Ok(duration) if duration >= least => duration,
            Ok(_) => {
                self.wrong(key, format!("has to be at least {}", humantime::format_duration(least)));
                least
            }
            Err(reason) => {
                self.wrong(key, reason);
                least
            }
        }
    }

    pub(super) fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> T {
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

    /// A text that may be empty, which means that it is not set.
    pub(super) fn optional(&mut self, key: &str) -> Option<String> {
        Some(self.text(key)).filter(|text| !text.is_empty())
    }

    fn file(&mut self, key: &str) -> Option<PathBuf> {
        let path = PathBuf::from(self.optional(key)?);
        if !path.is_file() {
            self.wrong(key, format!("there is no file {}", path.display()));
        }
        Some(path)
    }

    fn address(&mut self, key: &str) -> SocketAddr {
        self.parsed(
            key,
            SocketAddr::from(([127, 0, 0, 1], 0)),
            "an address with a port, such as 127.0.0.1:9000",
        )
    }

    /// A secret given as itself, or as `…_env`, or as `…_file`.
    fn secret(&mut self, key: &str) -> Option<Secret> {
        let own = self.optional(key);
        let by_env = self.optional(&format!("{key}_env"));
        let by_file = self.optional(&format!("{key}_file"));
        match resolve(own, by_env, by_file) {
            Ok(secret) => secret,
            Err((way, reason)) => {
                self.wrong(&format!("{key}{way}"), reason);
                None
            }
        }
    }
}

/// A secret from the three ways in which it may be given; the way that failed, and why.
pub(super) fn resolve(
    own: Option<String>,
    by_env: Option<String>,
    by_file: Option<String>,
) -> Result<Option<Secret>, (&'static str, String)> {
    if let Some(text) = own {
        return Ok(Some(Secret::new(text)));
    }
    if let Some(name) = by_env {
        let text = std::env::var(&name).ok().filter(|text| !text.is_empty());
        let text = text.ok_or_else(|| ("_env", format!("the environment variable {name} is not set")))?;
        return Ok(Some(Secret::new(text)));
    }
    let Some(path) = by_file else { return Ok(None) };
    let text = std::fs::read_to_string(&path).map_err(|e| ("_file", format!("{path}: {e}")))?;
    let text = text.trim();
    if text.is_empty() { Err(("_file", format!("{path} is empty"))) } else { Ok(Some(Secret::new(text))) }
}

/// Any scalar as text: an environment variable does not say whether `9000` is meant as a number.
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

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| format!("`{text}` is no duration: write such as 300ms, 5s, 10m, 1h or 90d"))
}

pub(super) fn node_id(reader: &mut Reader<'_>) -> Option<NodeId> {
    let text = reader.optional("node.id")?;
    text.parse().map_err(|e: crate::domain::ids::NotANodeId| reader.wrong("node.id", e.to_string())).ok()
}

pub(super) fn http(reader: &mut Reader<'_>) -> HttpConfig {
    let max_body_bytes = reader.number("http.max_body_bytes", 1, 1 << 32);
    HttpConfig {
        listen: reader.address("http.listen"),
        tls: tls_files(reader, "http"),
        max_body_bytes,
        max_buffered_bytes: reader.number("http.max_buffered_bytes", max_body_bytes, usize::MAX),
        max_connections: reader.number("http.max_connections", 1, 10_000_000),
        header_timeout: reader.duration("http.header_timeout", Duration::from_millis(100)),
        shutdown_timeout: reader.duration("http.shutdown_timeout", Duration::ZERO),
    }
}

fn tls_files(reader: &mut Reader<'_>, section: &str) -> Option<TlsFiles> {
    let (cert_key, key_key) = (format!("{section}.tls_cert"), format!("{section}.tls_key"));
    match (reader.file(&cert_key), reader.file(&key_key)) {
        (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
        (None, None) => None,
        (Some(_), None) => {
            reader.wrong(&key_key, format!("has to be set beside {cert_key}"));
            None
        }
        (None, Some(_)) => {
            reader.wrong(&cert_key, format!("has to be set beside {key_key}"));
            None
        }
    }
}

/// The least that keeps guessing hopeless.
const SECRET_MIN: usize = 32;

pub(super) fn cluster(reader: &mut Reader<'_>) -> ClusterConfig {
    let listen = reader.address("cluster.listen");
    let leader = reader.optional("cluster.leader");
    let mut beyond_loopback = !listen.ip().is_loopback() && leader.is_none();
    if let Some(url) = &leader {
        match host(url) {
            Some(host) => beyond_loopback |= !is_loopback(&host),
            None => reader.wrong("cluster.leader", format!("`{url}` is no URL such as http://sp-1:9001")),
        }
    }
    let secret = reader.secret("cluster.secret");
    match &secret {
        None if beyond_loopback => reader.wrong(
            "cluster.secret",
            "has to be set as soon as cluster.listen or cluster.leader is not loopback: 32 or more characters, the same on every node",
        ),
        Some(secret) if secret.expose().len() < SECRET_MIN => {
            reader.wrong("cluster.secret", format!("has to have at least {SECRET_MIN} characters"));
        }
        _ => {}
    }
    let max_staleness = reader.duration("cluster.max_staleness", Duration::ZERO);
    ClusterConfig {
        listen,
        leader,
        advertise: advertise(reader),
        weight: u32::try_from(reader.number("cluster.weight", 0, 1_000_000)).unwrap_or(0),
        secret,
        heartbeat_interval: reader.duration("cluster.heartbeat_interval", Duration::from_millis(50)),
        sync_interval: reader.duration("cluster.sync_interval", Duration::from_millis(10)),
        sync_batch: reader.number("cluster.sync_batch", 1, 5_000),
        max_staleness: Some(max_staleness).filter(|limit| !limit.is_zero()),
        refuse_when_stale: reader.flag("cluster.refuse_when_stale"),
        tls: cluster_tls(reader),
    }
}

fn advertise(reader: &mut Reader<'_>) -> Option<String> {
    let url = reader.optional("cluster.advertise")?;
    if host(&url).is_none() {
        reader.wrong("cluster.advertise", format!("`{url}` is no URL such as http://sp-2:9000"));
    }
    Some(url)
}

fn cluster_tls(reader: &mut Reader<'_>) -> Option<ClusterTls> {
    let identity = tls_files(reader, "cluster");
    let ca = reader.file("cluster.tls_ca");
    let client_auth = reader.flag("cluster.tls_client_auth");
    if client_auth && ca.is_none() {
        reader.wrong("cluster.tls_ca", "has to be set when cluster.tls_client_auth is true");
    }
    (identity.is_some() || ca.is_some()).then_some(ClusterTls { identity, ca, client_auth })
}

/// The host of an `http` or `https` URL.
fn host(url: &str) -> Option<String> {
    let uri: http::Uri = url.parse().ok()?;
    matches!(uri.scheme_str(), Some("http" | "https")).then(|| uri.host().map(str::to_owned)).flatten()
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

pub(super) fn store(reader: &mut Reader<'_>) -> StoreConfig {
    let url = reader.secret("store.url");
    let database = match url.as_ref().map(Secret::expose) {
        None => Database::Sqlite(PathBuf::from(reader.text("node.data_dir")).join("sproxy.db")),
        Some(text) if text.starts_with("postgres://") || text.starts_with("postgresql://") => {
            Database::Postgres(Secret::new(text))
        }
        Some(text) => match text.strip_prefix("sqlite://").or_else(|| text.strip_prefix("sqlite:")) {
            Some(path) if !path.is_empty() => Database::Sqlite(path.into()),
            _ => {
                reader.wrong("store.url", "has to begin with postgres:// or sqlite:");
                Database::Sqlite(PathBuf::new())
            }
        },
    };
    let synchronous =
        reader.choice("store.synchronous", &[("normal", Synchronous::Normal), ("full", Synchronous::Full)]);
    StoreConfig { database, synchronous }
}

pub(super) fn usage(reader: &mut Reader<'_>) -> UsageConfig {
    UsageConfig {
        durability: reader.choice(
            "usage.durability",
            &[("committed", Durability::Committed), ("buffered", Durability::Buffered)],
        ),
        queue: reader.number("usage.queue", 1, 10_000_000),
        batch: reader.number("usage.batch", 1, 1_000),
        commit_timeout: reader.duration("usage.commit_timeout", Duration::from_millis(10)),
        retention: reader.duration("usage.retention", Duration::from_hours(1)),
    }
}

pub(super) fn auth(reader: &mut Reader<'_>) -> AuthConfig {
    AuthConfig {
        access_token_ttl: reader.duration("auth.access_token_ttl", Duration::from_secs(1)),
        refresh_token_ttl: reader.duration("auth.refresh_token_ttl", Duration::from_secs(1)),
        login_threads: reader.number("auth.login_threads", 1, 64),
        login_queue: reader.number("auth.login_queue", 1, 10_000),
    }
}

/// Edits between two words (Levenshtein), for the hint at what was meant.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
        for (j, y) in b.bytes().enumerate() {
            let least = (row[j] + 1).min(row[j + 1] + 1).min(diagonal + usize::from(x != y));
            diagonal = std::mem::replace(&mut row[j + 1], least);
        }
    }
    row.last().copied().unwrap_or(0)
}
