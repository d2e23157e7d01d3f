//! The sections of a single node: `[node]`, `[http]`, `[store]`, `[usage]`, `[auth]` and `[log]`.

use std::path::PathBuf;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::sections::{
    AuthConfig, BackupConfig, Database, Durability, HttpConfig, LogConfig, LogFormat, NodeConfig,
    StoreConfig, Synchronous, UpstreamConfig, UsageConfig,
};
use super::table::{Reading, Table};
use super::{ldap, oidc, origins, scim};
use crate::domain::ids::NodeId;
use crate::domain::network::{Network, NotANetwork};

/// Bytes that request bodies may take at most, whatever is configured: 1 TiB.
const BUFFERED_MAX: usize = 1 << 40;

/// A copy reads all of the database.
const EVERY_MIN: Duration = Duration::from_mins(1);

pub(super) fn node(table: &Table<'_>) -> NodeConfig {
    let data_dir = table.text("data_dir");
    if data_dir.is_empty() {
        table.wrong("data_dir", "has to be set");
    }
    NodeConfig { id: node_id(table), data_dir: data_dir.into() }
}

fn node_id(table: &Table<'_>) -> Option<NodeId> {
    let parsed = table.optional("id")?.parse::<NodeId>();
    parsed.map_err(|error| table.wrong("id", error.to_string())).ok()
}

pub(super) fn http(table: &Table<'_>) -> HttpConfig {
    let max_body_bytes = table.size("max_body_bytes", 1, 1 << 32);
    HttpConfig {
        listen: table.address("listen"),
        tls: table.tls_files(),
        trusted_proxies: trusted_proxies(table),
        cors_origins: origins::read(table, "cors_origins"),
        public_url: origins::public_url(table, "public_url"),
        max_body_bytes,
        max_buffered_bytes: table.size("max_buffered_bytes", max_body_bytes, BUFFERED_MAX),
        max_connections: table.size("max_connections", 1, 10_000_000),
        header_timeout: table.duration("header_timeout", Duration::from_millis(100)),
        idle_timeout: table.duration("idle_timeout", Duration::from_millis(100)),
        stall_timeout: table.duration("stall_timeout", Duration::from_millis(100)),
        shutdown_delay: table.duration("shutdown_delay", Duration::ZERO),
        shutdown_timeout: table.duration("shutdown_timeout", Duration::ZERO),
    }
}

fn trusted_proxies(table: &Table<'_>) -> Vec<Network> {
    let key = "trusted_proxies";
    let entries = table.list(key).into_iter();
    entries
        .filter_map(|text| {
            text.parse().map_err(|error: NotANetwork| table.wrong(key, error.to_string())).ok()
        })
        .collect()
}

pub(super) fn store(table: &Table<'_>, node: &Table<'_>) -> StoreConfig {
    let synchronous = &[("normal", Synchronous::Normal), ("full", Synchronous::Full)];
    StoreConfig { database: database(table, node), synchronous: table.choice("synchronous", synchronous) }
}

fn database(table: &Table<'_>, node: &Table<'_>) -> Database {
    let Ok(Some(given)) = table.secret("url") else {
        return Database::Sqlite(PathBuf::from(node.text("data_dir")).join("sproxy.db"));
    };
    Database::of_url(given.secret.expose()).unwrap_or_else(|| {
        table.wrong(&given.key, "has to begin with postgres:// or sqlite:");
        Database::Sqlite(PathBuf::new())
    })
}

pub(super) fn backup(table: &Table<'_>, node: &Table<'_>, store: &Table<'_>) -> BackupConfig {
    let every = table.duration("every", Duration::ZERO);
    let every = (!every.is_zero()).then_some(every);
    if every.is_some_and(|every| every < EVERY_MIN) {
        table.wrong("every", format!("has to be at least {}, or 0s", humantime::format_duration(EVERY_MIN)));
    }
    if every.is_some() && matches!(database(store, node), Database::Postgres(_)) {
        table.wrong("every", "copies a SQLite database, and store.url is PostgreSQL: back that up with pg_dump or by archiving its log");
    }
    let directory = match table.text("directory") {
        text if text.is_empty() => PathBuf::from(node.text("data_dir")).join("backups"),
        text => PathBuf::from(text),
    };
    BackupConfig { every, directory, keep: table.size("keep", 1, 100_000) }
}

pub(super) fn usage(table: &Table<'_>) -> UsageConfig {
    let durability = &[("committed", Durability::Committed), ("buffered", Durability::Buffered)];
    UsageConfig {
        durability: table.choice("durability", durability),
        queue: table.size("queue", 1, 10_000_000),
        batch: table.size("batch", 1, 1_000),
        commit_timeout: table.duration("commit_timeout", Duration::from_millis(10)),
        retention: table.duration("retention", Duration::from_hours(1)),
    }
}

pub(super) fn auth(table: &Table<'_>, reading: &Reading<'_>, upstream: &UpstreamConfig) -> AuthConfig {
    AuthConfig {
        oidc: oidc::read(table.value("oidc"), reading, upstream),
        ldap: ldap::read(table.value("ldap"), reading),
        scim: scim::read(table.value("scim"), reading),
        access_token_ttl: table.duration("access_token_ttl", Duration::from_secs(1)),
        refresh_token_ttl: table.duration("refresh_token_ttl", Duration::from_secs(1)),
        login_threads: table.size("login_threads", 1, 64),
        login_queue: table.size("login_queue", 1, 10_000),
    }
}

pub(super) fn log(table: &Table<'_>) -> LogConfig {
    let level = table.text("level");
    if let Err(reason) = log_filter(&level) {
        table.wrong("level", reason);
    }
    let format = table.choice("format", &[("text", LogFormat::Text), ("json", LogFormat::Json)]);
    LogConfig { level, format, requests: table.flag("requests") }
}

/// Checks a filter. A single word has to be a level: taken for a module's name, as `EnvFilter` does, every typo would
/// be valid.
fn log_filter(text: &str) -> Result<(), String> {
    let expected = "use error, warn, info, debug, trace or off, or such as info,sproxy::cluster=debug";
    let words = text.split(',').map(str::trim).filter(|part| !part.contains(['=', ':', '[']));
    for word in words {
        if word.is_empty() || word.parse::<LevelFilter>().is_err() {
            return Err(format!("`{word}` is no level: {expected}"));
        }
    }
    EnvFilter::try_new(text)
        .map(|_| ())
        .map_err(|error| format!("`{text}` is no filter ({error}): {expected}"))
}
