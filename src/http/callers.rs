//! Whose address a request comes from, where others hand it on: a load balancer that is trusted, or a follower that
//! relays a login to the leader.
//!
//! A follower says whom it speaks for in `x-sproxy-caller`, signed with `cluster.secret`; what is not signed so is not
//! believed. (Where there is no secret, the whole cluster is on the loopback, and whoever is there is.)

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ConnectInfo;
use http::header::FORWARDED;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue};

use crate::crypto::mac;
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::network::Network;

/// The client that a follower relays a request for: address, time in microseconds, signature.
const CALLER: HeaderName = HeaderName::from_static("x-sproxy-caller");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Tells a follower that the leader has ended this session.
pub(super) const SESSION_ENDED: &str = "x-sproxy-session-ended";
/// Marks a relayed request, so that two followers that take each other for the leader do not relay it for ever.
pub(super) const RELAYED: &str = "x-sproxy-relayed";
/// The largest accepted difference between the clocks of two nodes.
const CLOCKS_APART: Duration = Duration::from_mins(10);

/// Determines the client's address of a request.
pub struct Callers {
    /// Peers whose `X-Forwarded-For` and `Forwarded` are trusted.
    pub trusted: Vec<Network>,
    /// The shared secret that nodes authenticate with.
    pub secret: Option<String>,
    pub clock: Arc<dyn Clock>,
}

impl Callers {
    /// The address of the client that made a request.
    #[must_use]
    pub fn address(&self, headers: &HeaderMap, extensions: &Extensions) -> IpAddr {
        let peer = peer(extensions);
        self.relayed(headers, peer).unwrap_or_else(|| beyond_proxies(peer, headers, &self.trusted))
    }

    /// Adds the headers with which a follower relays a request of `address`.
    pub fn speak_for(&self, address: IpAddr, headers: &mut HeaderMap) {
        let now = self.clock.now().as_micros();
        let signature = self.secret.as_ref().map_or_else(String::new, |secret| sign(secret, address, now));
        if let Ok(value) = HeaderValue::from_str(&format!("{address};{now};{signature}")) {
            headers.insert(CALLER, value);
        }
    }

    /// Whether a follower has relayed a request, and is believed.
    #[must_use]
    pub fn is_relayed(&self, headers: &HeaderMap, extensions: &Extensions) -> bool {
        self.relayed(headers, peer(extensions)).is_some()
    }

    /// Whether a proxy that is trusted says that it was asked over TLS.
    #[must_use]
    pub fn is_tls_beyond_proxies(&self, headers: &HeaderMap, extensions: &Extensions) -> bool {
        let peer = peer(extensions);
        let said = headers.get(X_FORWARDED_PROTO).and_then(|value| value.to_str().ok());
        let is_tls = said.is_some_and(|said| said.trim().eq_ignore_ascii_case("https"));
        is_tls && self.trusted.iter().any(|network| network.contains(peer))
    }

    fn relayed(&self, headers: &HeaderMap, peer: IpAddr) -> Option<IpAddr> {
        let said = headers.get(CALLER)?.to_str().ok()?;
        let mut parts = said.split(';');
        let (address, time, signature) = (parts.next()?, parts.next()?, parts.next()?);
        let (address, time): (IpAddr, i64) = (address.parse().ok()?, time.parse().ok()?);
        let is_believed = match &self.secret {
            Some(secret) => {
                let (now, then) = (self.clock.now(), Timestamp::from_micros(time));
                let apart = if now > then { now.since(then) } else { then.since(now) };
                apart <= CLOCKS_APART && mac::is_right(secret.as_bytes(), &message(address, time), signature)
            }
            None => peer.is_loopback(),
        };
        is_believed.then(|| address.to_canonical())
    }
}

/// The other end of the connection.
fn peer(extensions: &Extensions) -> IpAddr {
    let peer = extensions.get::<ConnectInfo<SocketAddr>>();
    peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |info| info.0.ip().to_canonical())
}

fn message(address: IpAddr, time: i64) -> Vec<u8> {
    format!("sproxy relays for {address} at {time}").into_bytes()
}

fn sign(secret: &str, address: IpAddr, time: i64) -> String {
    mac::sign(secret.as_bytes(), &message(address, time))
}

/// The nearest address that is not a trusted proxy's own. Each proxy appends whom it heard from, so that what stands on
/// the right was written by those who are trusted, and only that; what a caller has written itself stands further left.
/// Where both headers are there, `X-Forwarded-For` counts: hardly a proxy writes the other and passes that one on.
fn beyond_proxies(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut nearest = peer;
    if !is_trusted(nearest) {
        return nearest;
    }
    let list = |name: &HeaderName| {
        let values = headers.get_all(name).iter();
        let texts: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
        texts
    };
    let hops: Vec<Option<IpAddr>> = if headers.contains_key(X_FORWARDED_FOR) {
        let texts = list(&X_FORWARDED_FOR);
        texts.iter().flat_map(|text| text.split(',')).map(|hop| address_in(hop.trim())).collect()
    } else {
        let texts = list(&FORWARDED);
        texts.iter().flat_map(|text| text.split(',')).map(forwarded_for).collect()
    };
    for hop in hops.into_iter().rev() {
        // Whoever hides, or writes what is no address, is known as the proxy that heard from him.
        let Some(address) = hop else { break };
        nearest = address;
        if !is_trusted(address) {
            break;
        }
    }
    nearest
}

/// The `for` of one element of `Forwarded` (RFC 7239, section 4).
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, node) = pairs.into_iter().find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    address_in(node.trim().trim_matches('"'))
}

/// An address, with or without brackets and a port.
fn address_in(node: &str) -> Option<IpAddr> {
    let address = node.parse().ok().or_else(|| node.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    let bare = || node.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    address.or_else(bare).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock::ManualClock;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn only_what_trusted_proxies_have_written_is_believed() {
        let trusted: Vec<Network> = ["10.0.0.0/8", "::1"].map(|text| text.parse().expect("a network")).into();
        let xff = "x-forwarded-for";
        for (peer, headers, expected) in [
            ("203.0.113.5", vec![(xff, "192.0.2.1")], "203.0.113.5"),
            ("10.0.0.1", vec![], "10.0.0.1"),
            ("10.0.0.1", vec![(xff, "192.0.2.1")], "192.0.2.1"),
            ("10.0.0.1", vec![(xff, "6.6.6.6, 192.0.2.1, 10.0.0.2")], "192.0.2.1"),
            ("10.0.0.1", vec![(xff, "6.6.6.6"), (xff, "192.0.2.1:4711")], "192.0.2.1"),
            ("10.0.0.1", vec![(xff, "192.0.2.1, unknown")], "10.0.0.1"),
            ("10.0.0.1", vec![(xff, "10.0.0.3, 10.0.0.2")], "10.0.0.3"),
            ("::1", vec![("forwarded", "for=6.6.6.6, for=\"[2001:db8::7]:80\";proto=https")], "2001:db8::7"),
            ("10.0.0.1", vec![("forwarded", "by=10.0.0.1;For=192.0.2.1")], "192.0.2.1"),
            ("10.0.0.1", vec![("forwarded", "for=6.6.6.6"), (xff, "192.0.2.1")], "192.0.2.1"),
            ("10.0.0.1", vec![("forwarded", "for=_hidden")], "10.0.0.1"),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in &headers {
                map.append(*name, value.parse().expect("a value"));
            }
            assert_eq!(beyond_proxies(ip(peer), &map, &trusted), ip(expected), "{peer} {headers:?}");
        }
    }

    #[test]
    fn a_follower_is_believed_by_its_signature_alone() {
        let clock = Arc::new(ManualClock::new("2026-11-22T10:00:00Z".parse().expect("a time")));
        let callers = |secret: &str| Callers {
            trusted: Vec::new(),
            secret: Some(secret.to_owned()),
            clock: Arc::clone(&clock) as _,
        };
        let leader = callers("the secret of this cluster, 32 chars");
        let from = |headers: &HeaderMap| {
            let mut extensions = Extensions::new();
            extensions.insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 5))));
            leader.address(headers, &extensions)
        };
        let mut headers = HeaderMap::new();
        callers("the secret of this cluster, 32 chars").speak_for(ip("192.0.2.9"), &mut headers);
        assert_eq!(from(&headers), ip("192.0.2.9"));
        clock.advance(CLOCKS_APART * 2);
        assert_eq!(from(&headers), ip("127.0.0.1"), "too long ago");
        callers("another secret, which has 32 chars too").speak_for(ip("192.0.2.9"), &mut headers);
        assert_eq!(from(&headers), ip("127.0.0.1"));
        headers.insert(CALLER, HeaderValue::from_static("192.0.2.9;0;"));
        assert_eq!(from(&headers), ip("127.0.0.1"));
    }
}
