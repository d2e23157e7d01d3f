//! `[auth.ldap]`: the directory whose passwords are good here, too.

use std::time::Duration;

use figment::value::{Tag, Value};
use http::Uri;

use super::group_mapping;
use super::ldap_section::{LdapConfig, USERNAME};
use super::nested::Nested;
use super::oidc::CHECK_MIN;
use super::oidc_section::WhenRefused;
use super::table::{Reading, Table};
use crate::domain::network::is_loopback;

/// Defaults; `defaults.toml` documents the same.
const DEFAULTS: &str = r#"
url = ""
start_tls = false
bind_dn = ""
base_dn = ""
user_filter = "(&(objectClass=person)(uid={username}))"
username_attribute = "uid"
id_attribute = "entryUUID"
groups_attribute = "memberOf"
admin_groups = []
allowed_groups = []
create_users = true
link_by_name = false
when_refused = "sign-out"
check_interval = "15m"
timeout = "5s"
ca_file = ""
"#;
const NESTED: Nested = Nested {
    path: "auth.ldap",
    defaults: DEFAULTS,
    own: &["bind_password", "bind_password_env", "bind_password_file", "groups"],
};
const TIMEOUT_MAX: Duration = Duration::from_mins(1);

pub(super) fn read(written: Option<&Value>, reading: &Reading<'_>) -> Option<LdapConfig> {
    NESTED.read(written, reading, |table, tag| Some(section(table, reading, tag)))
}

fn section(table: &Table<'_>, reading: &Reading<'_>, tag: Tag) -> LdapConfig {
    let start_tls = table.flag("start_tls");
    let bind_dn = table.text("bind_dn");
    let bind_password = table.secret("bind_password").ok().flatten().map(|given| given.secret);
    if bind_dn.is_empty() != bind_password.is_none() {
        table.wrong(
            "bind_password",
            "has to be set beside bind_dn, and only then: without both, anybody may look people up",
        );
    }
    let timeout = table.duration_within("timeout", Duration::from_millis(100), TIMEOUT_MAX);
    LdapConfig {
        url: url(table, start_tls),
        start_tls,
        bind_dn,
        bind_password,
        base_dn: table.required("base_dn", "has to be set, such as to \"ou=people,dc=example,dc=com\""),
        user_filter: user_filter(table),
        username_attribute: table.required("username_attribute", "has to be set, such as to \"uid\""),
        id_attribute: table.required("id_attribute", "has to be set, such as to \"entryUUID\""),
        groups_attribute: table.required("groups_attribute", "has to be set, such as to \"memberOf\""),
        mapping: group_mapping::read(table, reading, tag),
        create_users: table.flag("create_users"),
        link_by_name: table.flag("link_by_name"),
        when_refused: table.choice("when_refused", &WhenRefused::ALL),
        check_interval: table.duration("check_interval", CHECK_MIN),
        timeout,
        ca_file: table.file("ca_file"),
    }
}

/// The directory's address. Passwords are sent there, so it goes over TLS.
fn url(table: &Table<'_>, start_tls: bool) -> String {
    let text = table.required("url", "has to be set, such as to \"ldaps://ldap.example.com\"");
    if text.is_empty() {
        return text;
    }
    let uri = text.parse::<Uri>().ok().filter(|uri| uri.host().is_some_and(|host| !host.is_empty()));
    let scheme = uri.as_ref().and_then(Uri::scheme_str);
    let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
    match scheme {
        Some("ldaps") if start_tls => {
            table.wrong("start_tls", "is for ldap://: a connection of ldaps:// has TLS from its beginning");
        }
        Some("ldaps") => {}
        Some("ldap") if start_tls || is_loopback(host) => {}
        Some("ldap") => {
            table.wrong("url", "would send passwords in the clear: write ldaps://, or set start_tls = true");
        }
        _ => table.wrong("url", format!("`{text}` is no URL such as ldaps://ldap.example.com:636")),
    }
    text
}

fn user_filter(table: &Table<'_>) -> String {
    let filter = table.required("user_filter", "has to be set, such as to \"(uid={username})\"");
    let is_balanced = filter.matches('(').count() == filter.matches(')').count();
    if !filter.contains(USERNAME) {
        table.wrong("user_filter", format!("lacks {USERNAME}, which stands for the name that was typed"));
    } else if !filter.starts_with('(') || !filter.ends_with(')') || !is_balanced {
        table.wrong("user_filter", "is no filter in brackets such as \"(uid={username})\"");
    }
    filter
}

#[cfg(test)]
mod tests {
    use super::NESTED;

    #[test]
    fn people_are_told_every_key_and_default() {
        NESTED.assert_told(&["url", "bind_dn", "base_dn"]);
    }
}
