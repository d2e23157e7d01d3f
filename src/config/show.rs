//! The effective configuration as TOML, with secrets as `***`.

use std::fmt::Write;

use super::origin::{Problem, Problems};
use super::{Config, Database, Durability, HangUp, Http2, LogFormat, Synchronous, TlsFiles};

/// The configuration as it is in effect.
#[must_use]
pub fn show(config: &Config) -> String {
    let mut text = String::new();
    let mut section = |name: &str, settings: Vec<(&str, String)>| {
        let _ = writeln!(text, "[{name}]");
        for (key, value) in settings {
            let _ = writeln!(text, "{key} = {value}");
        }
        text.push('\n');
    };
    let (node, http, cluster) = (&config.node, &config.http, &config.cluster);
    section(
        "node",
        vec![
            ("id", quoted(node.id.as_ref().map_or("", |id| id.as_str()))),
            ("data_dir", quoted(&node.data_dir.display().to_string())),
        ],
    );
    section(
        "http",
        vec![
            ("listen", quoted(&http.listen.to_string())),
            ("tls_cert", cert(http.tls.as_ref())),
            ("tls_key", key(http.tls.as_ref())),
            ("max_body_bytes", http.max_body_bytes.to_string()),
            ("max_buffered_bytes", http.max_buffered_bytes.to_string()),
            ("max_connections", http.max_connections.to_string()),
            ("header_timeout", duration(http.header_timeout)),
            ("shutdown_timeout", duration(http.shutdown_timeout)),
        ],
    );
    let tls = cluster.tls.as_ref();
    let identity = tls.and_then(|tls| tls.identity.as_ref());
    let ca = tls.and_then(|tls| tls.ca.as_ref()).map(|path| path.display().to_string());
    section(
        "cluster",
        vec![
            ("listen", quoted(&cluster.listen.to_string())),
            ("leader", quoted(cluster.leader.as_deref().unwrap_or(""))),
            ("advertise", quoted(cluster.advertise.as_deref().unwrap_or(""))),
            ("weight", cluster.weight.to_string()),
            ("secret", hidden(cluster.secret.is_some())),
            ("heartbeat_interval", duration(cluster.heartbeat_interval)),
            ("sync_interval", duration(cluster.sync_interval)),
            ("sync_batch", cluster.sync_batch.to_string()),
            ("max_staleness", duration(cluster.max_staleness.unwrap_or_default())),
            ("refuse_when_stale", cluster.refuse_when_stale.to_string()),
            ("tls_cert", cert(identity)),
            ("tls_key", key(identity)),
            ("tls_ca", quoted(ca.as_deref().unwrap_or(""))),
            ("tls_client_auth", tls.is_some_and(|tls| tls.client_auth).to_string()),
        ],
    );
    let url = match &config.store.database {
        Database::Sqlite(path) => quoted(&format!("sqlite:{}", path.display())),
        Database::Postgres(_) => hidden(true),
    };
    let synchronous = match config.store.synchronous {
        Synchronous::Normal => "normal",
        Synchronous::Full => "full",
    };
    section("store", vec![("url", url), ("synchronous", quoted(synchronous))]);
    let durability = match config.usage.durability {
        Durability::Committed => "committed",
        Durability::Buffered => "buffered",
    };
    section(
        "usage",
        vec![
            ("durability", quoted(durability)),
            ("queue", config.usage.queue.to_string()),
            ("batch", config.usage.batch.to_string()),
            ("commit_timeout", duration(config.usage.commit_timeout)),
            ("retention", duration(config.usage.retention)),
        ],
    );
    section(
        "auth",
        vec![
            ("access_token_ttl", duration(config.auth.access_token_ttl)),
            ("refresh_token_ttl", duration(config.auth.refresh_token_ttl)),
            ("login_threads", config.auth.login_threads.to_string()),
            ("login_queue", config.auth.login_queue.to_string()),
        ],
    );
    let format = match config.log.format {
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    };
    section("log", vec![("level", quoted(&config.log.level)), ("format", quoted(format))]);
    for target in &config.targets {
        let models: Vec<String> = target.models.iter().map(|glob| quoted(glob)).collect();
        let on_hangup = match target.on_hangup {
            HangUp::Cancel => "cancel",
            HangUp::Drain => "drain",
        };
        section(
            "[targets]",
            vec![
                ("name", quoted(&target.name)),
                ("provider", quoted(target.provider.as_str())),
                ("url", quoted(&target.url)),
                ("api_key", hidden(target.api_key.is_some())),
                ("weight", target.weight.to_string()),
                ("models", format!("[{}]", models.join(", "))),
                ("health_path", quoted(target.health_path.as_deref().unwrap_or(""))),
                ("include_usage", target.include_usage.to_string()),
                ("on_hangup", quoted(on_hangup)),
                ("connect_timeout", duration(target.connect_timeout)),
                ("answer_timeout", duration(target.answer_timeout)),
                ("idle_timeout", duration(target.idle_timeout)),
                ("max_connections", target.max_connections.to_string()),
                ("http2", (target.http2 != Http2::No).to_string()),
                ("http2_only", (target.http2 == Http2::Only).to_string()),
                (
                    "ca_file",
                    quoted(&target.ca_file.as_ref().map(|p| p.display().to_string()).unwrap_or_default()),
                ),
            ],
        );
    }
    text
}

/// A configuration's text as JSON.
///
/// # Errors
/// When it is no TOML.
pub fn json_of(text: &str) -> Result<serde_json::Value, Problems> {
    toml::from_str(text).map_err(|reason| {
        let (key, origin) = ("the file".to_owned(), "configuration".to_owned());
        Problems(vec![Problem { key, origin, reason: reason.message().to_owned() }])
    })
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn hidden(set: bool) -> String {
    quoted(if set { "***" } else { "" })
}

fn duration(duration: std::time::Duration) -> String {
    quoted(&humantime::format_duration(duration).to_string())
}

fn cert(files: Option<&TlsFiles>) -> String {
    quoted(&files.map(|files| files.cert.display().to_string()).unwrap_or_default())
}

fn key(files: Option<&TlsFiles>) -> String {
    quoted(&files.map(|files| files.key.display().to_string()).unwrap_or_default())
}
