//! `[auth.oidc]`: the identity provider at which people sign in.

use std::time::Duration;

use figment::value::{Tag, Value};
use http::Uri;

use super::nested::Nested;
use super::oidc_section::{OidcConfig, WhenRefused};
use super::sections::UpstreamConfig;
use super::table::{Reading, Table};
use super::{group_mapping, proxy};
use crate::domain::network::is_loopback;
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
const NESTED: Nested = Nested {
    path: "auth.oidc",
    defaults: DEFAULTS,
    own: &["client_secret", "client_secret_env", "client_secret_file", "groups", "proxy_env", "proxy_file"],
};
/// The shortest time between two questions about one person.
pub(super) const CHECK_MIN: Duration = Duration::from_mins(1);
const OPENID: &str = "openid";

pub(super) fn read(
    written: Option<&Value>,
    reading: &Reading<'_>,
    upstream: &UpstreamConfig,
) -> Option<OidcConfig> {
    NESTED.read(written, reading, |table, tag| section(table, reading, upstream, tag))
}

/// None: it has no secret, which has been noted.
fn section(
    table: &Table<'_>,
    reading: &Reading<'_>,
    upstream: &UpstreamConfig,
    tag: Tag,
) -> Option<OidcConfig> {
    let issuer = issuer(table);
    let client_id = table.required("client_id", "has to be set: the provider gives one to each application");
    let client_secret = client_secret(table);
    let scopes = scopes(table);
    let check_interval = table.duration("check_interval", CHECK_MIN);
    let host = issuer.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned)).unwrap_or_default();
    Some(OidcConfig {
        proxy: proxy::of_target(table, reading, upstream, &issuer),
        ca_file: table.file("ca_file"),
        name: table.optional("name").unwrap_or(host),
        issuer,
        client_id,
        client_secret: client_secret?,
        scopes,
        username_claim: table.required("username_claim", "has to be set, such as to \"email\""),
        groups_claim: table.required("groups_claim", "has to be set, such as to \"groups\""),
        mapping: group_mapping::read(table, reading, tag),
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
    if uri.scheme_str() == Some("http") && !is_loopback(uri.host().unwrap_or_default()) {
        table.wrong("issuer", "has to begin with https://: http is for a provider on this machine alone");
    }
    text
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
    use super::NESTED;

    #[test]
    fn people_are_told_every_key_and_default() {
        NESTED.assert_told(&["issuer", "client_id", "name"]);
    }
}
