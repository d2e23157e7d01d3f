//! The URL of a leader's gRPC side.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::network::is_loopback;

/// Scheme, host and port of a leader; two that are spelled differently and mean the same are equal. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LeaderUrl(Arc<str>);

/// The text is no URL of a leader.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no URL such as http://sp-1:9001")]
pub struct NotALeaderUrl(String);

impl LeaderUrl {
    /// Whether the connection is under TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.0.starts_with("https:")
    }

    /// Whether the leader is on this very machine, whatever names mean elsewhere.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.host_is(is_loopback)
    }

    /// Whether the host is what somebody listens on, `0.0.0.0` or `[::]`, and nobody can be reached at.
    #[must_use]
    pub fn is_unspecified(&self) -> bool {
        self.host_is(|host| ip(host).is_some_and(|ip| ip.is_unspecified()))
    }

    fn host_is(&self, rule: impl Fn(&str) -> bool) -> bool {
        self.0.parse::<http::Uri>().is_ok_and(|url| url.host().is_some_and(rule))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn ip(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

impl FromStr for LeaderUrl {
    type Err = NotALeaderUrl;

    fn from_str(text: &str) -> Result<Self, NotALeaderUrl> {
        canonical(text.trim()).map(|url| Self(url.into())).ok_or_else(|| NotALeaderUrl(text.to_owned()))
    }
}

impl TryFrom<String> for LeaderUrl {
    type Error = NotALeaderUrl;

    fn try_from(text: String) -> Result<Self, NotALeaderUrl> {
        text.parse()
    }
}

impl From<LeaderUrl> for String {
    fn from(url: LeaderUrl) -> Self {
        url.0.as_ref().to_owned()
    }
}

/// Without what says nothing: gRPC has no use for a path, and hosts are the same in capitals.
fn canonical(text: &str) -> Option<String> {
    let url: http::Uri = text.parse().ok()?;
    let scheme = url.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?;
    let authority = url.authority()?;
    let host = authority.host().to_ascii_lowercase();
    // A name and a password before the host would be sent nowhere.
    if host.is_empty()
        || authority.as_str().contains('@')
        || !matches!(url.path(), "" | "/")
        || url.query().is_some()
    {
        return None;
    }
    Some(match authority.port() {
        Some(port) => format!("{scheme}://{host}:{}", port.as_u16()),
        None => format!("{scheme}://{host}"),
    })
}

impl fmt::Display for LeaderUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spelled_differently_and_means_the_same_is_equal() {
        let url = |text: &str| text.parse::<LeaderUrl>().map(|url| url.to_string()).ok();
        for (text, read) in [
            ("http://sp-1:9001", "http://sp-1:9001"),
            (" HTTP://SP-1:9001/ ", "http://sp-1:9001"),
            ("https://sp-1.internal", "https://sp-1.internal"),
            ("http://[::1]:9001", "http://[::1]:9001"),
        ] {
            assert_eq!(url(text).as_deref(), Some(read), "{text:?}");
        }
        for none in [
            "",
            "sp-1:9001",
            "http://",
            "ftp://sp-1:9001",
            "http://:9001",
            "http://a@sp-1:9001",
            "http://sp-1/x",
        ] {
            assert_eq!(url(none), None, "{none:?}");
        }
    }

    #[test]
    fn this_machine_has_several_names() {
        let is_near = |text: &str| text.parse::<LeaderUrl>().is_ok_and(|url| url.is_loopback());
        assert!(is_near("http://127.0.0.9:1") && is_near("http://[::1]:1") && is_near("https://LocalHost"));
        assert!(!is_near("http://10.0.0.1:1") && !is_near("http://localhost.example:1"));
        let is_nowhere = |text: &str| text.parse::<LeaderUrl>().is_ok_and(|url| url.is_unspecified());
        assert!(
            is_nowhere("http://0.0.0.0:1") && is_nowhere("https://[::]:1") && !is_nowhere("http://[::1]:1")
        );
    }
}
