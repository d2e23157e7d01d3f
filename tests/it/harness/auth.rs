//! `[auth]` for tests that open accounts themselves.

use std::time::Duration;

use sproxy::config::AuthConfig;

/// Nobody but this gateway knows passwords, and they are checked one at a time.
pub fn auth() -> AuthConfig {
    AuthConfig {
        access_token_ttl: Duration::from_hours(1),
        refresh_token_ttl: Duration::from_hours(24),
        login_threads: 1,
        login_queue: 8,
        oidc: None,
        ldap: None,
        scim: None,
    }
}
