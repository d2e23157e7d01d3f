//! `[cluster]`: who leads, who follows, and what nodes prove themselves with.

use std::net::SocketAddr;
use std::time::Duration;

use super::sections::{ClusterConfig, ClusterTls, LeaderUrls};
use super::table::Table;
use crate::domain::leader_url::LeaderUrl;
use crate::domain::secret::Secret;

/// The fewest characters of `cluster.secret` that keep guessing hopeless.
const SECRET_MIN: usize = 32;

/// The most addresses in `cluster.leader`.
const LEADERS_MAX: usize = 16;

pub(super) fn read(table: &Table<'_>) -> ClusterConfig {
    let listen = table.address("listen");
    let leader = leaders(table);
    let max_staleness = table.duration("max_staleness", Duration::ZERO);
    ClusterConfig {
        listen,
        secret: secret(table, listen, leader.as_ref()),
        leader,
        advertise: url(table, "advertise", "http://sp-2:9000"),
        advertise_grpc: url(table, "advertise_grpc", "http://sp-2:9001"),
        weight: table.number("weight", 0, 1_000_000),
        heartbeat_interval: table.duration("heartbeat_interval", Duration::from_millis(50)),
        sync_interval: table.duration("sync_interval", Duration::from_millis(10)),
        sync_batch: table.size("sync_batch", 1, 5_000),
        max_staleness: Some(max_staleness).filter(|limit| !limit.is_zero()),
        refuse_when_stale: table.flag("refuse_when_stale"),
        tls: tls(table),
    }
}

/// One address or several, none of them twice.
fn leaders(table: &Table<'_>) -> Option<LeaderUrls> {
    let key = "leader";
    let texts = table.list(key);
    // Alone it need not be said which it is.
    let wrong = |at: usize, reason: String| match texts.len() {
        1 => table.wrong(key, reason),
        _ => table.wrong_at(key, at, reason),
    };
    let mut urls: Vec<LeaderUrl> = Vec::with_capacity(texts.len());
    for (at, text) in texts.iter().enumerate() {
        match text.parse::<LeaderUrl>() {
            Err(error) => wrong(at, error.to_string()),
            Ok(url) if urls.contains(&url) => wrong(at, format!("`{url}` is there twice")),
            Ok(url) => urls.push(url),
        }
    }
    if texts.len() > LEADERS_MAX {
        table.wrong(key, format!("has at most {LEADERS_MAX} addresses"));
    }
    if let Some(plain) = urls.iter().find(|url| !url.is_tls())
        && urls.iter().any(LeaderUrl::is_tls)
    {
        let reason = format!(
            "mixes https:// with http://: whoever listens on the way to {plain} would read cluster.secret. Write \
             all of them with https://, or none"
        );
        table.wrong(key, reason);
    }
    LeaderUrls::new(urls)
}

fn secret(table: &Table<'_>, listen: SocketAddr, leaders: Option<&LeaderUrls>) -> Option<Secret> {
    // A leader's URL that is none has been noted by itself.
    let leaders_are_near = leaders.is_none_or(|urls| urls.iter().all(LeaderUrl::is_loopback));
    let beyond_loopback = !listen.ip().is_loopback() || !leaders_are_near;
    let given = match table.secret("secret") {
        Ok(Some(given)) => given,
        Ok(None) => {
            if beyond_loopback {
                table.wrong(
                    "secret",
                    "has to be set as soon as cluster.listen or cluster.leader is not loopback: 32 or more characters, the same on every node",
                );
            }
            return None;
        }
        Err(_) => return None,
    };
    if given.secret.expose().chars().count() < SECRET_MIN {
        table.wrong(&given.key, format!("has to have at least {SECRET_MIN} characters"));
    }
    if http::HeaderValue::from_str(given.secret.expose()).is_err() {
        table.wrong(&given.key, "cannot be sent in a header: use visible ASCII characters");
    }
    Some(given.secret)
}

fn tls(table: &Table<'_>) -> Option<ClusterTls> {
    let identity = table.tls_files();
    let ca = table.file("tls_ca");
    let client_auth = table.flag("tls_client_auth");
    if client_auth && ca.is_none() {
        table.wrong("tls_ca", "has to be set when cluster.tls_client_auth is true");
    }
    (identity.is_some() || ca.is_some()).then_some(ClusterTls { identity, ca, client_auth })
}

fn url(table: &Table<'_>, key: &str, example: &str) -> Option<String> {
    let url = table.optional(key)?;
    if host(&url).is_none() {
        table.wrong(key, format!("`{url}` is no URL such as {example}"));
    }
    Some(url)
}

/// The host of an `http` or `https` URL.
fn host(url: &str) -> Option<String> {
    let uri: http::Uri = url.parse().ok()?;
    matches!(uri.scheme_str(), Some("http" | "https")).then(|| uri.host().map(str::to_owned)).flatten()
}
