//! Where whoever made a request sees this cluster: the origin that stands in a browser's address bar. Behind a load
//! balancer, or a follower that relays to its leader, that is not where a node listens.

use http::header::{HOST, ORIGIN};
use http::uri::Authority;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Uri};

use super::callers::Callers;
use crate::domain::network;

/// The origin at which a follower was asked what it relays.
const RELAYED_SITE: HeaderName = HeaderName::from_static("x-sproxy-site");
/// Browsers send it to origins that they trust alone: over TLS, or on the loopback.
pub(super) const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Finds the origin of requests.
pub struct Sites {
    pub callers: Callers,
    /// Whether this node ends TLS itself.
    pub is_tls: bool,
    /// `http.public_url`.
    pub public_url: Option<String>,
}

/// An origin: scheme, host and, unless it is the scheme's own, port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    is_tls: bool,
    host: String,
}

impl Sites {
    /// The origin at which a request was made, as far as can be told.
    #[must_use]
    pub fn of(&self, uri: &Uri, headers: &HeaderMap, extensions: &Extensions) -> Site {
        let relayed = headers.get(RELAYED_SITE).and_then(|site| Site::read(site.to_str().ok()?));
        if let Some(site) = relayed.filter(|_| self.callers.is_relayed(headers, extensions)) {
            return site;
        }
        let host = uri.authority().map(Authority::as_str);
        let host = host.or_else(|| headers.get(HOST)?.to_str().ok()).unwrap_or_default().to_owned();
        let is_said = |url: &str| Site::read(url).is_some_and(|site| site.is_tls && site.host == host);
        let origin = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok());
        let is_tls = self.is_tls
            || self.callers.is_tls_beyond_proxies(headers, extensions)
            || self.public_url.as_deref().is_some_and(is_said)
            || origin.is_some_and(is_said)
            || (headers.contains_key(SEC_FETCH_SITE) && !is_loopback(&host));
        Site { is_tls, host }
    }

    /// How to reach the cluster from elsewhere: what was configured, or as the one who asks does.
    #[must_use]
    pub fn public_url(&self, asked_at: &Site) -> String {
        self.public_url.clone().unwrap_or_else(|| asked_at.to_string())
    }

    /// Whether a page of `origin` is one of ours.
    pub(super) fn is_own(&self, origin: &str, asked_at: &Site) -> bool {
        let is_there = Site::read(origin).is_some_and(|origin| origin.host == asked_at.host);
        is_there || self.public_url.as_deref() == Some(origin)
    }
}

impl Site {
    fn read(origin: &str) -> Option<Self> {
        let (scheme, host) = origin.split_once("://")?;
        let is_tls = match scheme {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        Some(Self { is_tls, host: host.to_owned() }).filter(|site| !site.host.is_empty())
    }

    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Whether it is this machine itself, over which nothing has to be encrypted.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }

    /// Notes it in a request that goes on to the leader.
    pub(super) fn tell_leader(&self, headers: &mut HeaderMap) {
        match HeaderValue::from_str(&self.to_string()) {
            Ok(site) => headers.insert(RELAYED_SITE, site),
            Err(_) => headers.remove(RELAYED_SITE),
        };
    }
}

impl std::fmt::Display for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}", if self.is_tls { "https" } else { "http" }, self.host)
    }
}

/// Whether a host, with or without a port, is the machine on which whoever names it is.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    // Browsers ask nobody where such a name leads (RFC 6761, 6.3).
    network::is_loopback(name) || name.to_ascii_lowercase().ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::clock::ManualClock;

    fn sites(is_tls: bool, public_url: Option<&str>) -> Sites {
        let clock = Arc::new(ManualClock::new("2026-11-30T10:00:00Z".parse().expect("a time")));
        let callers = Callers { trusted: Vec::new(), secret: None, clock };
        Sites { callers, is_tls, public_url: public_url.map(str::to_owned) }
    }

    #[test]
    fn it_is_under_tls_if_anybody_who_knows_says_so() {
        for (is_tls, public_url, headers, expected) in [
            (false, None, vec![("host", "localhost:9000")], "http://localhost:9000"),
            (true, None, vec![("host", "localhost:9000")], "https://localhost:9000"),
            (false, None, vec![("host", "llm.example")], "http://llm.example"),
            (false, Some("https://llm.example"), vec![("host", "llm.example")], "https://llm.example"),
            (false, Some("https://llm.example"), vec![("host", "10.0.0.1")], "http://10.0.0.1"),
            (
                false,
                None,
                vec![("host", "llm.example"), ("origin", "https://llm.example")],
                "https://llm.example",
            ),
            (
                false,
                None,
                vec![("host", "llm.example"), ("origin", "https://evil.example")],
                "http://llm.example",
            ),
            (false, None, vec![("host", "llm.example"), ("sec-fetch-site", "none")], "https://llm.example"),
            (false, None, vec![("host", "[::1]:9000"), ("sec-fetch-site", "none")], "http://[::1]:9000"),
            (
                false,
                None,
                vec![("host", "llm.example"), ("x-forwarded-proto", "https")],
                "http://llm.example",
            ),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in &headers {
                map.append(*name, value.parse().expect("a value"));
            }
            let site = sites(is_tls, public_url).of(&Uri::from_static("/ui/"), &map, &Extensions::new());
            assert_eq!(site.to_string(), expected, "{headers:?}");
        }
    }

    #[test]
    fn the_loopback_is_known_by_its_names() {
        for (host, expected) in [
            ("localhost", true),
            ("LOCALHOST:9000", true),
            ("sproxy.localhost:1", true),
            ("127.0.0.1:9000", true),
            ("127.8.9.1", true),
            ("[::1]:9000", true),
            ("localhost.example", false),
            ("10.0.0.1:80", false),
            ("[2001:db8::1]:80", false),
            ("", false),
        ] {
            assert_eq!(is_loopback(host), expected, "{host}");
        }
    }
}
