//! `[auth.oidc]`: the identity provider at which people sign in.

use std::time::Duration;

use figment::value::{Dict, Value};
use http::Uri;

use super::oidc_section::{OidcConfig, WhenRefused};
use super::sections::UpstreamConfig;
use super::table::{Reading, Table};
use super::{group_mapping, proxy};
use crate::domain::secret::Secret;

/// Defaults; `defaults.toml` documents the same.
const DEFAULTS: &str = r#"
issuer = ""
client_id = ""
name = ""
scopes = ["openid", "profile", "email"]
username_claim = "preferred_username"
groups_claim = "groups"
admin_groups = []
allowed_groups = []
create_users = true
link_by_name = false
when_refused = "sign-out"
check_interval = "15m"
proxy = ""
ca_file = ""
"#;
/// Settings without a default.
const OWN: [&str; 6] =
    ["client_secret", "client_secret_env", "client_secret_file", "groups", "proxy_env", "proxy_file"];
/// The shortest time between two questions about one person.
pub(super) const CHECK_MIN: Duration = Duration::from_mins(1);
const OPENID: &str = "openid";

pub(super) fn read(
    written: Option<&Value>,
    reading: &Reading<'_>,
    upstream: &UpstreamConfig,
) -> Option<OidcConfig> {
    let path = "auth.oidc";
    let (tag, written) = match written? {
        Value::Dict(tag, written) => (*tag, written),
        other => {
            reading.wrong(path, other.tag(), "has to be a table: write [auth.oidc]");
            return None;
        }
    };
    let defaults: Dict = toml::from_str(DEFAULTS).unwrap_or_default();
    let known: Vec<&str> = OWN.into_iter().chain(defaults.keys().map(String::as_str)).collect();
    let mut settings = defaults.clone();
    settings.extend(written.clone());
    let table = Table::new(reading, path, &settings, tag);
    table.check_keys(&known);
    let issuer = issuer(&table);
    let client_id = table.required("client_id", "has to be set: the provider gives one to each application");
    let client_secret = client_secret(&table);
    let scopes = scopes(&table);
    let check_interval = table.duration("check_interval", CHECK_MIN);
    let host = issuer.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned)).unwrap_or_default();
    Some(OidcConfig {
        proxy: proxy::of_target(&table, reading, upstream, &issuer),
        ca_file: table.file("ca_file"),
        name: table.optional("name").unwrap_or(host),
        issuer,
        client_id,
        client_secret: client_secret?,
        scopes,
        username_claim: table.required("username_claim", "has to be set, such as to \"email\""),
        groups_claim: table.required("groups_claim", "has to be set, such as to \"groups\""),
        mapping: group_mapping::read(&table, reading, tag),
        create_users: table.flag("create_users"),
        link_by_name: table.flag("link_by_name"),
        when_refused: table.choice("when_refused", &WhenRefused::ALL),
        check_interval,
    })
}

/// The provider's address. What is said on the way to it decides who is an admin here, so it goes over TLS.
fn issuer(table: &Table<'_>) -> String {
    let text = table.required("issuer", "has to be set, such as to \"https://login.example.com\"");
    if text.is_empty() {
        return text;
    }
    let uri = text.parse::<Uri>().ok().filter(|uri| uri.host().is_some_and(|host| !host.is_empty()));
    let Some(uri) = uri.filter(|uri| matches!(uri.scheme_str(), Some("https" | "http"))) else {
        table.wrong("issuer", format!("`{text}` is no URL such as https://login.example.com"));
        return text;
    };
    if uri.query().is_some() || uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        table.wrong("issuer", "has neither a query nor a user in it");
    }
    if uri.scheme_str() == Some("http") && !proxy::is_loopback(bare(uri.host().unwrap_or_default())) {
        table.wrong("issuer", "has to begin with https://: http is for a provider on this machine alone");
    }
    text
}

/// A host without the brackets of an address of IPv6.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// None, with a problem that has been noted, where there is none: it also encrypts what is kept of people's sessions.
fn client_secret(table: &Table<'_>) -> Option<Secret> {
    match table.secret("client_secret") {
        Ok(Some(given)) => Some(given.secret),
        Ok(None) => {
            table.wrong(
                "client_secret",
                "has to be set, as client_secret, client_secret_env or client_secret_file",
            );
            None
        }
        Err(_) => None,
    }
}

fn scopes(table: &Table<'_>) -> Vec<String> {
    let scopes = table.list("scopes");
    if !scopes.iter().any(|scope| scope == OPENID) {
        table.wrong("scopes", "lacks \"openid\", without which a provider says nothing of anybody");
    }
    if let Some(at) = scopes.iter().position(|scope| scope.is_empty() || scope.contains(char::is_whitespace))
    {
        table.wrong_at("scopes", at, "is no single word");
    }
    scopes
}

#[cfg(test)]
mod tests {
    use super::super::layers;
    use super::*;

    #[test]
    fn people_are_told_every_key_and_default() {
        let told = layers::DEFAULTS.split_once("# [auth.oidc]\n").expect("the section").1;
        let told = told.split_once("\n\n").map_or(told, |(told, _)| told);
        let told: Vec<&str> = told.lines().map(|line| line.trim_start_matches("# ")).collect();
        let told: Dict = toml::from_str(&told.join("\n")).expect("TOML once it is no comment");
        let defaults: Dict = toml::from_str(DEFAULTS).expect("TOML");
        for (key, value) in &defaults {
            let is_example = ["issuer", "client_id", "name"].contains(&key.as_str());
            assert!(told.get(key) == Some(value) || is_example && told.contains_key(key), "{key}");
        }
        for key in told.keys() {
            assert!(defaults.contains_key(key) || OWN.contains(&key.as_str()), "{key}");
        }
    }
}
