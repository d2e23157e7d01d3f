//! Which headers pass. Lists are open: what is not known to be somebody else's business goes through.

use std::collections::HashSet;
use std::sync::LazyLock;

use foldhash::fast::RandomState;
use http::HeaderValue;
use http::header::{self, HeaderMap, HeaderName};

use crate::dialect::{Unknown, credential_headers};
use crate::upstream::Target;

/// Connection-level headers (RFC 9110, section 7.6.1); whatever `connection` names joins them.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// What else than the dialects' credentials is a caller's: it is ours, and never the provider's. `api-key` is Azure's.
const CALLER_CREDENTIALS: [HeaderName; 4] =
    [header::AUTHORIZATION, HeaderName::from_static("api-key"), header::COOKIE, header::PROXY_AUTHORIZATION];

/// Set anew for the next hop, telling the provider about the inside of the company's network, or, the last, making
/// another call of this one than the books know: Google takes it for the method. Which pages may call is decided here:
/// Ollama refuses origins that it does not know, and Anthropic those that do not ask for it.
const NOT_FOR_UPSTREAM: [HeaderName; 10] = [
    header::ORIGIN,
    header::HOST,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-http-method-override"),
];

/// The provider's word to a browser about its own origin; from ours it would be wrong.
const NOT_FOR_CALLER: [HeaderName; 10] = [
    header::SET_COOKIE,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ACCESS_CONTROL_MAX_AGE,
    HeaderName::from_static("access-control-allow-private-network"),
    header::STRICT_TRANSPORT_SECURITY,
    header::ALT_SVC,
];

/// Names that a head is gone through for. A look at each header that is there costs less than one for each name.
type Names = HashSet<HeaderName, RandomState>;

/// Leaves of a caller's headers what a provider should see.
pub(super) fn for_upstream(headers: &mut HeaderMap) {
    static GO: LazyLock<Names> = LazyLock::new(|| {
        let credentials = credential_headers().iter().map(|(name, _)| name);
        credentials.chain(&HOP_BY_HOP).chain(&CALLER_CREDENTIALS).chain(&NOT_FOR_UPSTREAM).cloned().collect()
    });
    remove(headers, &GO);
}

/// Leaves of a provider's headers what a caller should see. Where a length stands beside a transfer coding, the coding
/// says where the body ends (RFC 9112, section 6.3), and the length would end it elsewhere.
pub(super) fn for_caller(headers: &mut HeaderMap) {
    static GO: LazyLock<Names> =
        LazyLock::new(|| HOP_BY_HOP.iter().chain(&NOT_FOR_CALLER).cloned().collect());
    if headers.contains_key(header::TRANSFER_ENCODING) {
        headers.remove(header::CONTENT_LENGTH);
    }
    remove(headers, &GO);
}

/// Leaves what is for the other end, and takes away what was for this connection (RFC 9110, section 7.6.1).
pub fn drop_hop_by_hop(headers: &mut HeaderMap) {
    static GO: LazyLock<Names> = LazyLock::new(|| HOP_BY_HOP.iter().cloned().collect());
    remove(headers, &GO);
}

/// Takes away these, which the connection's own are among, and those that `connection` names.
fn remove(headers: &mut HeaderMap, unwanted: &Names) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // A caller must not be able to have the frame of the message itself taken away.
        .filter(|name| !matches!(*name, header::CONTENT_LENGTH | header::HOST | header::CONTENT_TYPE))
        .collect();
    let there: Vec<HeaderName> = headers.keys().filter(|name| unwanted.contains(*name)).cloned().collect();
    for name in there.iter().chain(&named) {
        headers.remove(name);
    }
}

/// Says which target an answer comes from; a provider's own header of that name is no such thing.
pub(super) fn say_target(headers: &mut HeaderMap, target: &Target) {
    headers.remove(X_SPROXY_TARGET);
    if let Some(name) = target.header() {
        headers.insert(X_SPROXY_TARGET, name.clone());
    }
}

/// Says what was left out of the call, because its target's host does not know it.
pub(super) fn say_dropped(headers: &mut HeaderMap, dropped: &[Unknown]) {
    headers.remove(X_SPROXY_DROPPED);
    let names = dropped.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if let Some(names) = HeaderValue::from_str(&names).ok().filter(|names| !names.is_empty()) {
        headers.insert(X_SPROXY_DROPPED, names);
    }
}

const X_SPROXY_DROPPED: HeaderName = HeaderName::from_static("x-sproxy-dropped");
const X_SPROXY_TARGET: HeaderName = HeaderName::from_static("x-sproxy-target");

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(n, v)| (n.parse::<HeaderName>().unwrap(), v.parse().unwrap()));
        pairs.collect()
    }

    #[test]
    fn what_is_unknown_passes_and_what_belongs_to_a_hop_or_a_caller_does_not() {
        let mut headers = map(&[
            ("connection", "keep-alive, x-hop"),
            ("x-hop", "1"),
            ("authorization", "Bearer secret"),
            ("x-api-key", "secret"),
            ("cookie", "secret"),
            ("host", "gateway"),
            ("x-http-method-override", "POST"),
            ("anthropic-beta", "a,b"),
            ("x-anything", "kept"),
        ]);
        for_upstream(&mut headers);
        assert_eq!(headers, map(&[("anthropic-beta", "a,b"), ("x-anything", "kept")]));
    }

    #[test]
    fn a_caller_sees_rate_limits_and_ids_but_no_cookies_and_no_cors_of_the_provider() {
        let mut headers = map(&[
            ("set-cookie", "a=b"),
            ("access-control-allow-origin", "*"),
            ("transfer-encoding", "chunked"),
            ("content-length", "3"),
            ("request-id", "req_1"),
            ("retry-after", "7"),
        ]);
        for_caller(&mut headers);
        assert_eq!(headers, map(&[("request-id", "req_1"), ("retry-after", "7")]));
    }
}
