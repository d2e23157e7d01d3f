//! The effective configuration as TOML, with secrets as `***`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use super::alert_sections::{AlertConfig, AlertingConfig};
use super::layers::DEFAULTS;
use super::ldap_section::LdapConfig;
use super::oidc_section::OidcConfig;
use super::problems::{Problem, Problems};
use super::proxy::{NONE, shown};
use super::sections::{
    AuthConfig, BackupConfig, ClusterConfig, Config, CorsOrigins, Database, Durability, HangUp, Http2,
    HttpConfig, KeyConfig, LeaderUrls, LogConfig, LogFormat, NodeConfig, SpanProtocol, StoreConfig,
    Synchronous, TargetConfig, TelemetryConfig, UpstreamConfig, UsageConfig,
};
use super::{capabilities, prices};
use crate::domain::group_mapping::GroupMapping;

/// The commented defaults, the price list among them: a file that changes nothing until a line of it is changed.
#[must_use]
pub fn defaults() -> String {
    let (prices, capabilities) = (prices::built_in_as_comments(), capabilities::built_in_as_comments());
    format!("{DEFAULTS}\n{prices}\n{capabilities}")
}

/// Every setting of the sections that are read only when a node starts, by its key; what differs between two
/// configurations needs a restart. Secrets are shown as `***`.
#[must_use]
pub fn show_sections(config: &Config) -> BTreeMap<String, String> {
    let sections = [
        ("node", node(&config.node)),
        ("http", http(&config.http)),
        ("cluster", cluster(&config.cluster)),
        ("store", store(&config.store)),
        ("usage", usage(&config.usage)),
        ("auth", auth(&config.auth)),
        ("backup", backup(&config.backup)),
        ("telemetry", telemetry(&config.telemetry)),
    ];
    let settings = sections.into_iter().flat_map(|(section, settings)| {
        settings.into_iter().map(move |(key, value)| (format!("{section}.{key}"), value))
    });
    settings.collect()
}

/// The configuration as it is in effect, at the end the price list: the most specific glob first, each entry with
/// where it was written.
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
    section("node", node(&config.node));
    section("http", http(&config.http));
    section("cluster", cluster(&config.cluster));
    section("store", store(&config.store));
    section("usage", usage(&config.usage));
    section("auth", auth(&config.auth));
    section("backup", backup(&config.backup));
    section("log", log(&config.log));
    section("telemetry", telemetry(&config.telemetry));
    section("upstream", upstream(&config.upstream));
    section("alerting", alerting(&config.alerting));
    for one in &config.alerts {
        section("[alerts]", alert(one));
    }
    for one in &config.targets {
        section("[targets]", target(one));
    }
    for one in &config.models {
        section("[models]", vec![("name", quoted(&one.name)), ("route", list(&one.route))]);
    }
    let _ = writeln!(text, "[prices]");
    for entry in config.prices.entries() {
        let _ = writeln!(text, "{}  # {}", prices::toml_line(entry), entry.source.as_str());
    }
    let _ = writeln!(text, "\n[capabilities]");
    for (glob, traits) in config.capabilities.entries() {
        let _ = writeln!(text, "{}", capabilities::toml_line(glob, traits));
    }
    text
}

type Settings = Vec<(&'static str, String)>;

fn node(node: &NodeConfig) -> Settings {
    let id = node.id.as_ref().map_or("", |id| id.as_str());
    vec![("id", quoted(id)), ("data_dir", quoted(&node.data_dir.display().to_string()))]
}

fn http(http: &HttpConfig) -> Settings {
    vec![
        ("listen", quoted(&http.listen.to_string())),
        ("tls_cert", path(http.tls.as_ref().map(|tls| &tls.cert))),
        ("tls_key", path(http.tls.as_ref().map(|tls| &tls.key))),
        ("trusted_proxies", list(&http.trusted_proxies)),
        ("cors_origins", origins(&http.cors_origins)),
        ("public_url", quoted(http.public_url.as_deref().unwrap_or(""))),
        ("max_body_bytes", http.max_body_bytes.to_string()),
        ("max_buffered_bytes", http.max_buffered_bytes.to_string()),
        ("max_connections", http.max_connections.to_string()),
        ("header_timeout", duration(http.header_timeout)),
        ("idle_timeout", duration(http.idle_timeout)),
        ("stall_timeout", duration(http.stall_timeout)),
        ("shutdown_delay", duration(http.shutdown_delay)),
        ("shutdown_timeout", duration(http.shutdown_timeout)),
    ]
}

fn origins(origins: &CorsOrigins) -> String {
    match origins {
        CorsOrigins::Any => list(&["*"]),
        CorsOrigins::Only(origins) => list(origins),
    }
}

fn cluster(cluster: &ClusterConfig) -> Settings {
    let tls = cluster.tls.as_ref();
    let identity = tls.and_then(|tls| tls.identity.as_ref());
    vec![
        ("listen", quoted(&cluster.listen.to_string())),
        ("leader", leaders(cluster.leader.as_ref())),
        ("advertise", quoted(cluster.advertise.as_deref().unwrap_or(""))),
        ("advertise_grpc", quoted(cluster.advertise_grpc.as_deref().unwrap_or(""))),
        ("weight", cluster.weight.to_string()),
        ("secret", hidden(cluster.secret.is_some())),
        ("heartbeat_interval", duration(cluster.heartbeat_interval)),
        ("sync_interval", duration(cluster.sync_interval)),
        ("sync_batch", cluster.sync_batch.to_string()),
        ("max_staleness", duration(cluster.max_staleness.unwrap_or_default())),
        ("refuse_when_stale", cluster.refuse_when_stale.to_string()),
        ("tls_cert", path(identity.map(|files| &files.cert))),
        ("tls_key", path(identity.map(|files| &files.key))),
        ("tls_ca", path(tls.and_then(|tls| tls.ca.as_ref()))),
        ("tls_client_auth", tls.is_some_and(|tls| tls.client_auth).to_string()),
    ]
}

fn leaders(leaders: Option<&LeaderUrls>) -> String {
    let urls: Vec<_> = leaders.into_iter().flat_map(LeaderUrls::iter).collect();
    match urls.as_slice() {
        [] => quoted(""),
        [one] => quoted(one.as_str()),
        several => list(several),
    }
}

fn store(store: &StoreConfig) -> Settings {
    let url = match &store.database {
        Database::Sqlite(path) => quoted(&format!("sqlite:{}", path.display())),
        Database::Postgres(_) => hidden(true),
    };
    let synchronous = match store.synchronous {
        Synchronous::Normal => "normal",
        Synchronous::Full => "full",
    };
    vec![("url", url), ("synchronous", quoted(synchronous))]
}

fn usage(usage: &UsageConfig) -> Settings {
    let durability = match usage.durability {
        Durability::Committed => "committed",
        Durability::Buffered => "buffered",
    };
    vec![
        ("durability", quoted(durability)),
        ("queue", usage.queue.to_string()),
        ("batch", usage.batch.to_string()),
        ("commit_timeout", duration(usage.commit_timeout)),
        ("retention", duration(usage.retention)),
    ]
}

fn auth(auth: &AuthConfig) -> Settings {
    let mut settings = vec![
        ("access_token_ttl", duration(auth.access_token_ttl)),
        ("refresh_token_ttl", duration(auth.refresh_token_ttl)),
        ("login_threads", auth.login_threads.to_string()),
        ("login_queue", auth.login_queue.to_string()),
    ];
    settings.extend(auth.oidc.as_ref().map(oidc).unwrap_or_default());
    settings.extend(auth.ldap.as_ref().map(ldap).unwrap_or_default());
    settings.extend(auth.scim.as_ref().map(|_| ("scim.token", hidden(true))));
    settings
}

fn groups(mapping: &GroupMapping) -> String {
    let groups = mapping.groups.iter().map(|(theirs, ours)| format!("{} = {}", quoted(theirs), quoted(ours)));
    format!("{{ {} }}", groups.collect::<Vec<_>>().join(", "))
}

fn ldap(ldap: &LdapConfig) -> Settings {
    vec![
        ("ldap.url", quoted(&ldap.url)),
        ("ldap.start_tls", ldap.start_tls.to_string()),
        ("ldap.bind_dn", quoted(&ldap.bind_dn)),
        ("ldap.bind_password", hidden(ldap.bind_password.is_some())),
        ("ldap.base_dn", quoted(&ldap.base_dn)),
        ("ldap.user_filter", quoted(&ldap.user_filter)),
        ("ldap.username_attribute", quoted(&ldap.username_attribute)),
        ("ldap.id_attribute", quoted(&ldap.id_attribute)),
        ("ldap.groups_attribute", quoted(&ldap.groups_attribute)),
        ("ldap.groups", groups(&ldap.mapping)),
        ("ldap.admin_groups", list(&ldap.mapping.admin_groups)),
        ("ldap.allowed_groups", list(&ldap.mapping.allowed_groups)),
        ("ldap.create_users", ldap.create_users.to_string()),
        ("ldap.link_by_name", ldap.link_by_name.to_string()),
        ("ldap.when_refused", quoted(ldap.when_refused.as_str())),
        ("ldap.check_interval", duration(ldap.check_interval)),
        ("ldap.timeout", duration(ldap.timeout)),
        ("ldap.ca_file", path(ldap.ca_file.as_ref())),
    ]
}

/// In the table of what it belongs to: `oidc.issuer`.
fn oidc(oidc: &OidcConfig) -> Settings {
    vec![
        ("oidc.issuer", quoted(&oidc.issuer)),
        ("oidc.client_id", quoted(&oidc.client_id)),
        ("oidc.client_secret", hidden(true)),
        ("oidc.name", quoted(&oidc.name)),
        ("oidc.scopes", list(&oidc.scopes)),
        ("oidc.username_claim", quoted(&oidc.username_claim)),
        ("oidc.groups_claim", quoted(&oidc.groups_claim)),
        ("oidc.groups", groups(&oidc.mapping)),
        ("oidc.admin_groups", list(&oidc.mapping.admin_groups)),
        ("oidc.allowed_groups", list(&oidc.mapping.allowed_groups)),
        ("oidc.create_users", oidc.create_users.to_string()),
        ("oidc.link_by_name", oidc.link_by_name.to_string()),
        ("oidc.when_refused", quoted(oidc.when_refused.as_str())),
        ("oidc.check_interval", duration(oidc.check_interval)),
        ("oidc.proxy", shown(oidc.proxy.as_ref())),
        ("oidc.ca_file", path(oidc.ca_file.as_ref())),
    ]
}

fn log(log: &LogConfig) -> Settings {
    let format = match log.format {
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    };
    vec![("level", quoted(&log.level)), ("format", quoted(format)), ("requests", log.requests.to_string())]
}

fn backup(backup: &BackupConfig) -> Settings {
    vec![
        ("every", duration(backup.every.unwrap_or_default())),
        ("directory", quoted(&backup.directory.display().to_string())),
        ("keep", backup.keep.to_string()),
    ]
}

fn telemetry(telemetry: &TelemetryConfig) -> Settings {
    let TelemetryConfig { spans, user_metrics, genai_metrics } = telemetry;
    let (endpoint, protocol, sample) = match spans {
        Some(spans) => (spans.endpoint.as_str(), spans.protocol, spans.sample),
        None => ("", SpanProtocol::Grpc, 1.0),
    };
    let protocol = match protocol {
        SpanProtocol::Grpc => "grpc",
        SpanProtocol::Http => "http",
    };
    vec![
        ("otlp_endpoint", quoted(endpoint)),
        ("otlp_protocol", quoted(protocol)),
        ("sample", format!("{sample:?}")),
        ("user_metrics", user_metrics.to_string()),
        ("genai_metrics", genai_metrics.to_string()),
    ]
}

fn upstream(upstream: &UpstreamConfig) -> Settings {
    vec![
        ("proxy", quoted(&shown(upstream.proxy.as_ref()))),
        ("no_proxy", quoted(&upstream.no_proxy)),
        ("max_attempts", upstream.max_attempts.to_string()),
        ("retry_ratio", upstream.retry_ratio.to_string()),
        ("retry_uncertain", upstream.retry_uncertain.to_string()),
        ("on_loss", quoted(upstream.on_loss.as_str())),
        ("max_wait", duration(upstream.max_wait)),
    ]
}

fn alerting(alerting: &AlertingConfig) -> Settings {
    vec![
        ("quota_soft", alerting.quota_soft.to_string()),
        ("target_after", duration(alerting.target_after)),
        ("ledger_after", duration(alerting.ledger_after)),
        ("backlog_after", duration(alerting.backlog_after)),
        ("backlog_count", alerting.backlog_count.to_string()),
    ]
}

fn alert(alert: &AlertConfig) -> Settings {
    let scheme = alert.url.expose().split("://").next().unwrap_or_default();
    vec![
        ("name", quoted(&alert.name)),
        // What comes behind the host is a credential at most services.
        ("url", quoted(&format!("{scheme}://{}/***", alert.host))),
        ("secret", hidden(alert.secret.is_some())),
        ("events", list(&alert.events)),
        ("format", quoted(alert.format.as_str())),
        ("timeout", duration(alert.timeout)),
        ("proxy", quoted(&alert.proxy.as_ref().map_or(NONE.to_owned(), |proxy| shown(Some(proxy))))),
        ("ca_file", path(alert.ca_file.as_ref())),
    ]
}

fn keys(keys: &[KeyConfig]) -> String {
    let key = |key: &KeyConfig| {
        let (name, hidden) = (quoted(&key.name), hidden(true));
        format!("{{ name = {name}, api_key = {hidden}, weight = {} }}", key.weight)
    };
    format!("[{}]", keys.iter().map(key).collect::<Vec<_>>().join(", "))
}

fn rename(names: &BTreeMap<String, String>) -> String {
    let pair = |(asked, sent): (&String, &String)| format!("{} = {}", quoted(asked), quoted(sent));
    format!("{{ {} }}", names.iter().map(pair).collect::<Vec<_>>().join(", "))
}

fn target(target: &TargetConfig) -> Settings {
    let models: Vec<String> = target.models.iter().map(|glob| quoted(glob)).collect();
    let on_hangup = match target.on_hangup {
        HangUp::Cancel => "cancel",
        HangUp::Drain => "drain",
    };
    vec![
        ("name", quoted(&target.name)),
        ("provider", quoted(target.provider.as_str())),
        ("platform", quoted(target.platform.as_str())),
        ("region", quoted(&target.region)),
        ("project", quoted(&target.project)),
        ("url", quoted(&target.url)),
        ("speaks", list(&target.speaks)),
        ("api_key", hidden(target.api_key.is_some())),
        ("keys", keys(&target.keys)),
        ("auth", quoted(target.auth.as_str())),
        ("tier", target.tier.to_string()),
        ("rename", rename(&target.rename)),
        ("weight", target.weight.to_string()),
        ("models", format!("[{}]", models.join(", "))),
        ("health_path", quoted(target.health_path.as_deref().unwrap_or(""))),
        ("include_usage", target.include_usage.to_string()),
        ("responses", target.responses.to_string()),
        ("websocket", target.websocket.to_string()),
        ("allow_admin_paths", target.allow_admin_paths.to_string()),
        ("on_hangup", quoted(on_hangup)),
        ("connect_timeout", duration(target.connect_timeout)),
        ("answer_timeout", duration(target.answer_timeout)),
        ("idle_timeout", duration(target.idle_timeout)),
        ("total_timeout", duration(target.total_timeout)),
        ("max_connections", target.max_connections.to_string()),
        ("http2", (target.http2 != Http2::No).to_string()),
        ("http2_only", (target.http2 == Http2::Only).to_string()),
        ("http2_connections", target.http2_connections.to_string()),
        ("queue_timeout", duration(target.queue_timeout)),
        ("proxy", quoted(&target.proxy.as_ref().map_or(NONE.to_owned(), |proxy| shown(Some(proxy))))),
        ("ca_file", path(target.ca_file.as_ref())),
    ]
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

fn list(items: &[impl ToString]) -> String {
    let items: Vec<String> = items.iter().map(|item| quoted(&item.to_string())).collect();
    format!("[{}]", items.join(", "))
}

fn hidden(set: bool) -> String {
    quoted(if set { "***" } else { "" })
}

/// As people write it, `90d`, in the largest unit that leaves no rest.
fn duration(duration: std::time::Duration) -> String {
    const UNITS: [(&str, u128); 4] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
    let millis = duration.as_millis();
    let whole = UNITS.iter().find(|(_, unit)| millis > 0 && millis.is_multiple_of(*unit));
    let text = match whole {
        _ if millis * 1_000_000 != duration.as_nanos() => humantime::format_duration(duration).to_string(),
        _ if millis == 0 => "0s".to_owned(),
        Some((name, unit)) => format!("{}{name}", millis / unit),
        None => format!("{millis}ms"),
    };
    quoted(&text)
}

fn path(path: Option<&PathBuf>) -> String {
    quoted(&path.map(|path| path.display().to_string()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::duration;

    #[test]
    fn a_duration_is_shown_as_people_write_it_and_reads_back() {
        for (millis, shown) in [
            (90 * 86_400_000, "90d"),
            (7 * 86_400_000, "7d"),
            (3_600_000, "1h"),
            (90 * 60_000, "90m"),
            (30_000, "30s"),
            (300, "300ms"),
            (1_500, "1500ms"),
            (0, "0s"),
        ] {
            let length = Duration::from_millis(millis);
            assert_eq!(duration(length), format!("\"{shown}\""));
            assert_eq!(humantime::parse_duration(shown).ok(), Some(length));
        }
    }
}
