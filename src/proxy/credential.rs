//! Where callers put their credential: any provider's customary place, on every path.

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const X_GOOG_API_KEY: HeaderName = HeaderName::from_static("x-goog-api-key");

/// The credential of a request, if it brings one: `x-api-key`, `authorization: Bearer`, `x-goog-api-key`,
/// or `?key=`, in this order.
pub(super) fn find<'r>(headers: &'r HeaderMap, query: Option<&'r str>) -> Option<&'r str> {
    let header = |name: &HeaderName| filled(headers.get(name)?.to_str().ok()?.trim());
    let bearer = || {
        let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
        filled(token.trim()).filter(|_| scheme.eq_ignore_ascii_case("bearer"))
    };
    header(&X_API_KEY)
        .or_else(bearer)
        .or_else(|| header(&X_GOOG_API_KEY))
        .or_else(|| query?.split('&').find_map(|pair| filled(pair.strip_prefix("key=")?)))
}

/// Clients send headers for settings that nobody has made; such a place is empty, and another may not be.
fn filled(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// The query without `key=…`; none if nothing is left.
pub(super) fn without_key(query: &str) -> Option<String> {
    let kept: Vec<&str> = query.split('&').filter(|pair| !is_key(pair)).collect();
    (!kept.is_empty()).then(|| kept.join("&"))
}

/// Whether a query carries a credential.
pub(super) fn has_key(query: &str) -> bool {
    query.split('&').any(is_key)
}

fn is_key(pair: &str) -> bool {
    pair == "key" || pair.starts_with("key=")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_providers_place_is_accepted() {
        let with = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            find(&headers, None).map(str::to_owned)
        };
        assert_eq!(with("x-api-key", "k").as_deref(), Some("k"));
        assert_eq!(with("authorization", "bearer k").as_deref(), Some("k"));
        assert_eq!(with("x-goog-api-key", "k").as_deref(), Some("k"));
        assert_eq!(with("authorization", "Basic k"), None);
        assert_eq!(find(&HeaderMap::new(), Some("alt=sse&key=k")), Some("k"));
        assert_eq!(find(&HeaderMap::new(), Some("monkey=k")), None);
    }

    #[test]
    fn an_empty_place_does_not_hide_another_one() {
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", " ".parse().unwrap());
        assert_eq!(find(&headers, Some("key=")), None);
        assert_eq!(find(&headers, Some("key=&key=k")), Some("k"));
        headers.insert("x-goog-api-key", "k".parse().unwrap());
        assert_eq!(find(&headers, None), Some("k"));
        headers.insert("authorization", "Bearer b".parse().unwrap());
        assert_eq!(find(&headers, None), Some("b"));
    }

    #[test]
    fn the_rest_of_the_query_stays_as_it_is() {
        assert_eq!(without_key("alt=sse&key=secret&x=%20").as_deref(), Some("alt=sse&x=%20"));
        assert_eq!(without_key("key=secret"), None);
        assert!(has_key("a=b&key=") && !has_key("monkey=1"));
    }
}
