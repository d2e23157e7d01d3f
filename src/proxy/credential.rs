//! Who calls: the credentials of a request, in any provider's customary place on every path. Whichever of them is known
//! decides; none of them goes any further.

use std::borrow::Cow;

use http::header::{COOKIE, HeaderName, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderValue};
use memchr::memmem;

use crate::accounts::{self, Accounts};
use crate::dialect::credential_headers;
use crate::dialect::websocket::KEY_PROTOCOL;
use crate::domain::clock::Timestamp;
use crate::domain::failure::{Failure, Kind};
use crate::domain::principal::Principal;
use crate::domain::provider::one_of;

/// Finds out who calls, and takes the credential that proved it out of the head wherever it stands. A client that was
/// set up for a provider before sends that provider's key along, so a credential that is not known hides no other.
///
/// # Errors
/// `Unauthenticated` without a credential; if none that is there is good, what is wrong with the one of which most is
/// known; `Invalid` if the path holds the credential, which cannot be taken out of there.
pub(super) fn authenticate(
    accounts: &Accounts,
    path: &str,
    headers: &mut HeaderMap,
    query: &mut Option<Cow<'_, str>>,
    now: Timestamp,
) -> Result<Principal, Failure> {
    let asked = query.as_deref();
    let mut refused = None;
    let mut known = None;
    // One in each header and one in the query: each may cost the check of a signature. A browser has one instead of those.
    let tried_max = credential_headers().len() + 1;
    for credential in candidates(headers, asked).take(tried_max) {
        match accounts.authenticate(&credential, now) {
            Ok(principal) => {
                known = Some((principal, credential));
                break;
            }
            Err(error) if refused.is_none() || is_telling(&error) => refused = Some(error),
            Err(_) => {}
        }
    }
    let Some((principal, credential)) = known else {
        return Err(refused.map_or_else(no_credential, Failure::from));
    };
    let held = credential.as_bytes();
    if holds(held, path.as_bytes()) {
        return Err(Failure::new(Kind::Invalid, "the path holds your credential: send it in a header"));
    }
    let strays = strays(headers, held);
    let cleaned = asked.and_then(|query| without_credentials(query, held));
    for name in strays {
        headers.remove(name);
    }
    if let Some(cleaned) = cleaned {
        *query = (!cleaned.is_empty()).then_some(Cow::Owned(cleaned));
    }
    Ok(principal)
}

/// Says more than that nobody knows it.
fn is_telling(error: &accounts::Error) -> bool {
    !matches!(error, accounts::Error::UnknownCredential)
}

/// The credentials of a request: in the dialects' headers, in their order, and behind `?key=`.
fn candidates<'r>(headers: &'r HeaderMap, query: Option<&'r str>) -> impl Iterator<Item = Cow<'r, str>> {
    let in_headers = credential_headers().iter().flat_map(move |(name, scheme)| {
        let texts = headers.get_all(name).into_iter();
        texts.filter_map(|value| credential_in(value.to_str().ok()?.trim(), scheme)).map(Cow::Borrowed)
    });
    let in_query = query.into_iter().flat_map(|query| query.split('&')).filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        Some(decoded(value)).filter(|value| is_key(name) && !value.is_empty())
    });
    // Browsers open WebSockets without a header of their own.
    let protocols = headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter();
    let in_protocols = protocols.filter_map(|value| value.to_str().ok()).flat_map(|list| {
        let keys = list.split(',').filter_map(|protocol| protocol.trim().strip_prefix(KEY_PROTOCOL));
        keys.filter_map(filled).map(Cow::Borrowed)
    });
    in_headers.chain(in_query).chain(in_protocols)
}

/// The credential behind a scheme such as `Bearer `; the whole text where there is none.
fn credential_in<'t>(text: &'t str, scheme: &str) -> Option<&'t str> {
    if scheme.is_empty() {
        return filled(text);
    }
    let (own, token) = text.split_once(' ')?;
    filled(token.trim()).filter(|_| own.eq_ignore_ascii_case(scheme.trim()))
}

/// Clients send headers for settings that nobody has made; such a place is empty, and another may not be.
fn filled(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// Headers that hold a credential and are not among those that never go upstream.
fn strays(headers: &HeaderMap, credential: &[u8]) -> Vec<HeaderName> {
    let may_hold = |name: &HeaderName| {
        *name != COOKIE && credential_headers().iter().all(|(credential, _)| name != credential)
    };
    let is_stray = |(name, value): &(&HeaderName, &HeaderValue)| {
        value.len() >= credential.len() && may_hold(name) && holds(credential, value.as_bytes())
    };
    headers.iter().filter(is_stray).map(|(name, _)| name.clone()).collect()
}

/// A query without `key=…` and without whatever else holds the credential; none if all of it may stay.
fn without_credentials(query: &str, credential: &[u8]) -> Option<String> {
    let goes = |pair: &&str| {
        is_key(pair.split_once('=').map_or(*pair, |(name, _)| name)) || holds(credential, pair.as_bytes())
    };
    query.split('&').any(|pair| goes(&pair)).then(|| {
        let kept: Vec<&str> = query.split('&').filter(|pair| !goes(pair)).collect();
        kept.join("&")
    })
}

fn is_key(name: &str) -> bool {
    name == "key" || (name.contains('%') && decoded(name) == "key")
}

/// Whether a text holds a credential, as it is or percent-encoded. Almost every text of a request is too short to, and
/// nothing else is looked at then: preparing a search costs as much as a short one.
fn holds(credential: &[u8], text: &[u8]) -> bool {
    text.len() >= credential.len()
        && (memmem::find(text, credential).is_some()
            || (text.contains(&b'%') && memmem::find(&percent_decoded(text), credential).is_some()))
}

/// A value of a query; what is no text stays as it is, and is no credential of ours.
fn decoded(value: &str) -> Cow<'_, str> {
    if !value.contains('%') {
        return Cow::Borrowed(value);
    }
    String::from_utf8(percent_decoded(value.as_bytes())).map_or(Cow::Borrowed(value), Cow::Owned)
}

pub(super) fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, behind)) = rest.split_first() {
        let escaped = || {
            let digits = std::str::from_utf8(behind.get(..2)?).ok()?;
            u8::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))
        };
        let escaped = (byte == b'%').then(escaped).flatten();
        decoded.push(escaped.unwrap_or(byte));
        rest = if escaped.is_some() { behind.get(2..).unwrap_or_default() } else { behind };
    }
    decoded
}

fn no_credential() -> Failure {
    let headers = credential_headers().iter().map(|(name, scheme)| match scheme.trim() {
        "" => format!("`{name}`"),
        scheme => format!("`{name}: {scheme}`"),
    });
    let places: Vec<String> = headers.chain(["`?key=`".to_owned()]).collect();
    let places: Vec<&str> = places.iter().map(String::as_str).collect();
    Failure::new(Kind::Unauthenticated, format!("no credential: send your sproxy key as {}", one_of(&places)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(headers: &[(&str, &str)], query: Option<&str>) -> Vec<String> {
        let pairs = headers.iter().map(|(n, v)| (n.parse::<HeaderName>().unwrap(), v.parse().unwrap()));
        candidates(&pairs.collect(), query).map(Cow::into_owned).collect()
    }

    #[test]
    fn every_providers_place_is_looked_at() {
        assert_eq!(found(&[("x-api-key", "k")], None), ["k"]);
        assert_eq!(found(&[("authorization", "bearer  k")], None), ["k"]);
        assert_eq!(found(&[("x-goog-api-key", "k")], None), ["k"]);
        assert_eq!(found(&[], Some("alt=sse&key=k")), ["k"]);
        assert_eq!(found(&[], Some("k%65y=sk%2Dsp")), ["sk-sp"]);
        assert!(found(&[("authorization", "Basic k")], Some("monkey=k")).is_empty());
    }

    #[test]
    fn an_empty_place_is_none_and_all_others_are_found_in_order() {
        assert!(found(&[("x-api-key", " ")], Some("key=")).is_empty());
        let mut pairs = HeaderMap::new();
        pairs.append("x-api-key", "a".parse().unwrap());
        pairs.append("x-api-key", "b".parse().unwrap());
        pairs.append("authorization", "Bearer c".parse().unwrap());
        pairs.append("x-goog-api-key", "d".parse().unwrap());
        let all: Vec<_> = candidates(&pairs, Some("key=&key=e")).collect();
        assert_eq!(all, ["a", "b", "c", "d", "e"]);
    }

    #[test]
    fn the_credential_is_taken_out_of_a_query_and_the_rest_stays_as_it_is() {
        let credential = b"s3cr-et";
        for (query, left) in [
            ("alt=sse&key=other&x=%20", Some("alt=sse&x=%20")),
            ("key=s3cr-et", Some("")),
            ("%6Bey=other&a=b", Some("a=b")),
            ("api_key=s3cr-et&a=b", Some("a=b")),
            ("a=b&x=Bearer+s3cr%2det", Some("a=b")),
            ("a=b&monkey=1&x=%2B1%zz%", None),
        ] {
            assert_eq!(without_credentials(query, credential).as_deref(), left, "{query}");
        }
    }

    #[test]
    fn headers_that_hold_the_credential_are_found_however_it_is_written() {
        let credential = b"s3cr-et";
        let pairs = [
            ("x-api-key", "s3cr-et"),
            ("x-litellm-api-key", "Bearer s3cr-et"),
            ("referer", "http://a/?k=s3cr%2Det"),
            ("user-agent", "secret 100%"),
        ];
        let pairs = pairs.iter().map(|(n, v)| (n.parse::<HeaderName>().unwrap(), v.parse().unwrap()));
        let found = strays(&pairs.collect(), credential);
        assert_eq!(found, ["x-litellm-api-key", "referer"]);
    }
}
