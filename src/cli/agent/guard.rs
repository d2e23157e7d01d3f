//! Who may use the agent: a program of this machine that has its key. A page that a browser of this machine shows is not one,
//! whatever it has found out: it names itself as an origin, and a name that leads here is no address of the loopback.

use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use subtle::ConstantTimeEq;

use crate::dialect::credential_headers;
use crate::domain::failure::{Failure, Kind};
use crate::domain::network::is_loopback;
use crate::domain::secret::Secret;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// # Errors
/// `Forbidden` for a page's call, and for one by another name than the loopback's.
pub fn check_source(head: &Parts) -> Result<(), Failure> {
    let host = head.uri.authority().cloned().or_else(|| {
        let host = head.headers.get(header::HOST)?.to_str().ok()?;
        host.parse::<Authority>().ok()
    });
    if !host.as_ref().is_some_and(|host| is_loopback(host.host())) {
        let text = "the agent answers to 127.0.0.1, [::1] and localhost alone: call it by one of these";
        return Err(Failure::new(Kind::Forbidden, text));
    }
    let own = host.map(|host| format!("http://{host}"));
    let is_own = |value: &HeaderValue| own.as_deref().is_some_and(|own| value.as_bytes() == own.as_bytes());
    let is_foreign = head.headers.get(header::ORIGIN).is_some_and(|origin| !is_own(origin));
    let site = head.headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes);
    if is_foreign || site.is_some_and(|site| !matches!(site, b"none" | b"same-origin")) {
        return Err(Failure::new(
            Kind::Forbidden,
            "the agent is for programs of this machine, not for web pages",
        ));
    }
    Ok(())
}

/// # Errors
/// `Unauthenticated` without the agent's key.
pub fn check_key(headers: &HeaderMap, query: Option<&str>, key: &Secret) -> Result<(), Failure> {
    let is_key = |text: &[u8]| bool::from(text.ct_eq(key.expose().as_bytes()));
    let in_headers = credential_headers().iter().any(|(name, scheme)| {
        headers.get_all(name).into_iter().any(|value| {
            let value = value.as_bytes().trim_ascii();
            let (before, text) = value.split_at(scheme.len().min(value.len()));
            before.eq_ignore_ascii_case(scheme.as_bytes()) && is_key(text.trim_ascii())
        })
    });
    let mut pairs = query.into_iter().flat_map(|query| query.split('&'));
    if in_headers || pairs.any(|pair| pair.strip_prefix("key=").is_some_and(|value| is_key(value.as_bytes())))
    {
        return Ok(());
    }
    let text = "this is not the key of this agent, which has another one after every start: it is in agent.key beside your \
                login; connect the client again with `sproxy connect CLIENT --agent`";
    Err(Failure::new(Kind::Unauthenticated, text))
}

/// A query without the key.
pub fn without_key(query: &str) -> String {
    query.split('&').filter(|pair| !pair.starts_with("key=")).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn head(headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri("/v1/messages");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn only_programs_of_this_machine_may_call() {
        for good in [
            &[("host", "127.0.0.1:9009")][..],
            &[("host", "localhost:9009")],
            &[("host", "[::1]:9009"), ("origin", "http://[::1]:9009")],
            &[("host", "127.0.0.1:9009"), ("sec-fetch-site", "none")],
        ] {
            assert!(check_source(&head(good)).is_ok(), "{good:?}");
        }
        for bad in [
            &[][..],
            &[("host", "rebound.example:9009")],
            &[("host", "127.0.0.1.example:9009")],
            &[("host", "127.0.0.1:9009"), ("origin", "https://example.com")],
            &[("host", "127.0.0.1:9009"), ("origin", "null")],
            &[("host", "127.0.0.1:9009"), ("origin", "http://localhost:9009")],
            &[("host", "127.0.0.1:9009"), ("sec-fetch-site", "cross-site")],
        ] {
            assert!(check_source(&head(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_key_is_taken_wherever_a_provider_has_its_own() {
        let key = Secret::new("sp-agent-1");
        let of = |headers: &[(&str, &str)], query| check_key(&head(headers).headers, query, &key).is_ok();
        for headers in [
            [("x-api-key", "sp-agent-1")],
            [("authorization", "bearer sp-agent-1")],
            [("x-goog-api-key", "sp-agent-1")],
        ] {
            assert!(of(&headers, None), "{headers:?}");
        }
        assert!(of(&[], Some("alt=sse&key=sp-agent-1")));
        assert!(!of(&[("x-api-key", "sp-agent-2"), ("authorization", "sp-agent-1")], Some("k=sp-agent-1")));
        assert_eq!(without_key("alt=sse&key=x&a=b"), "alt=sse&a=b");
    }
}
