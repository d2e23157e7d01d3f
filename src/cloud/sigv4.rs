//! AWS Signature Version 4: proof that a request comes from who has a secret key, over the whole of the request.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>
//!
//! Paths are encoded twice, as every service but S3 wants it.

use http::header::{
    AUTHORIZATION, CONNECTION, EXPECT, HOST, InvalidHeaderValue, TE, TRAILER, TRANSFER_ENCODING,
};
use http::header::{PROXY_AUTHORIZATION, UPGRADE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::aws_credentials::AwsCredentials;
use super::percent;
use crate::crypto::digest::{hex, sha256_hex};
use crate::crypto::mac;
use crate::domain::clock::Timestamp;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const X_AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");
const X_AMZ_SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
const X_AMZ_CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");

/// Who signs, and for what.
#[derive(Clone, Copy, Debug)]
pub struct Signer<'a> {
    pub credentials: &'a AwsCredentials,
    /// Such as `us-east-1`.
    pub region: &'a str,
    /// The service's name in signatures, such as `bedrock`.
    pub service: &'a str,
}

/// A request as it will be sent.
#[derive(Clone, Copy, Debug)]
pub struct UnsignedRequest<'a> {
    pub method: &'a Method,
    /// The `host` header's value, with the port if it is sent with one.
    pub host: &'a str,
    /// The path as it is sent: percent-encoded once.
    pub path: &'a str,
    /// What stands behind the `?`, as it is sent.
    pub query: Option<&'a str>,
    /// They are signed, so none may change afterwards; but those that [`is_signed`] does not want are left out.
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
}

/// Whether a header is signed. Left out is what belongs to one connection, what the signature itself is, and what
/// gateways on the way like to add or to change.
#[must_use]
pub fn is_signed(name: &HeaderName) -> bool {
    let hop = [CONNECTION, EXPECT, TE, TRAILER, TRANSFER_ENCODING, PROXY_AUTHORIZATION, UPGRADE, USER_AGENT];
    let others = [
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "content-length",
        "accept-encoding",
        "x-amzn-trace-id",
        "x-forwarded-for",
        "forwarded",
        "via",
        "baggage",
        "traceparent",
        "tracestate",
    ];
    let replaced = [HOST, AUTHORIZATION, X_AMZ_DATE, X_AMZ_SECURITY_TOKEN, X_AMZ_CONTENT_SHA256];
    !hop.contains(name) && !replaced.contains(name) && !others.contains(&name.as_str())
}

impl Signer<'_> {
    /// The headers that have to be set to make `request` a signed one, in place of any of the same names.
    ///
    /// # Errors
    /// Credentials with characters that no header can carry.
    pub fn sign(
        &self,
        request: &UnsignedRequest<'_>,
        at: Timestamp,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, InvalidHeaderValue> {
        let body_hash = sha256_hex(request.body);
        let time = timestamp(at);
        let mut added = vec![
            (X_AMZ_DATE, HeaderValue::from_str(&time)?),
            (X_AMZ_CONTENT_SHA256, HeaderValue::from_str(&body_hash)?),
        ];
        if let Some(token) = &self.credentials.session_token {
            let mut value = HeaderValue::from_str(token.expose())?;
            value.set_sensitive(true);
            added.push((X_AMZ_SECURITY_TOKEN, value));
        }
        let mut headers: Vec<(&str, &[u8])> = vec![(HOST.as_str(), request.host.as_bytes())];
        headers.extend(
            request
                .headers
                .iter()
                .filter_map(|(name, value)| is_signed(name).then_some((name.as_str(), value.as_bytes()))),
        );
        headers.extend(added.iter().map(|(name, value)| (name.as_str(), value.as_bytes())));
        let mut value = HeaderValue::from_str(&self.authorization(request, &headers, &body_hash, &time))?;
        value.set_sensitive(true);
        added.push((AUTHORIZATION, value));
        Ok(added)
    }

    /// The value of `authorization` for a request of which these headers are signed, `x-amz-date` among them with `time`.
    #[must_use]
    pub fn authorization(
        &self,
        request: &UnsignedRequest<'_>,
        headers: &[(&str, &[u8])],
        body_hash: &str,
        time: &str,
    ) -> String {
        let (header_lines, names) = canonical_headers(headers);
        let mut canonical = Vec::with_capacity(512);
        for part in [
            request.method.as_str(),
            "\n",
            &canonical_path(request.path),
            "\n",
            &canonical_query(request.query.unwrap_or_default()),
            "\n",
        ] {
            canonical.extend_from_slice(part.as_bytes());
        }
        canonical.extend_from_slice(&header_lines);
        for part in ["\n", &names, "\n", body_hash] {
            canonical.extend_from_slice(part.as_bytes());
        }
        let day = time.get(..8).unwrap_or_default();
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let to_sign = format!("{ALGORITHM}\n{time}\n{scope}\n{}", sha256_hex(&canonical));
        let mut key = mac::tag(
            format!("AWS4{}", self.credentials.secret_access_key.expose()).as_bytes(),
            day.as_bytes(),
        );
        for part in [self.region, self.service, "aws4_request"] {
            key = mac::tag(&key, part.as_bytes());
        }
        let signature = hex(&mac::tag(&key, to_sign.as_bytes()));
        let key_id = &self.credentials.access_key_id;
        format!("{ALGORITHM} Credential={key_id}/{scope}, SignedHeaders={names}, Signature={signature}")
    }
}

/// `20150830T123600Z`.
fn timestamp(at: Timestamp) -> String {
    let text = Timestamp::from_micros(at.as_secs().saturating_mul(1_000_000)).to_string();
    text.chars().filter(|letter| !matches!(letter, '-' | ':')).collect()
}

/// Without dot segments and doubled slashes, and encoded once more.
fn canonical_path(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    let mut normal = String::from("/");
    normal.push_str(&segments.join("/"));
    if path.ends_with('/') && !segments.is_empty() {
        normal.push('/');
    }
    percent::encode(normal.as_bytes(), b"/")
}

/// Sorted by name and value, encoded in one way however they came.
fn canonical_query(query: &str) -> String {
    let encoded = |text: &str| percent::encode(&percent::decode(text), b"");
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (encoded(name), encoded(value))
        })
        .collect();
    pairs.sort_unstable();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// One line for each name, in order, its values trimmed and joined; and the names.
fn canonical_headers(headers: &[(&str, &[u8])]) -> (Vec<u8>, String) {
    let mut headers = headers.to_vec();
    // A stable sort: several values of one name keep their order.
    headers.sort_by(|one, other| one.0.cmp(other.0));
    let (mut lines, mut names) = (Vec::new(), String::new());
    for same in headers.chunk_by(|one, other| one.0 == other.0) {
        let Some((name, _)) = same.first() else { continue };
        lines.extend_from_slice(name.as_bytes());
        for (at, (_, value)) in same.iter().enumerate() {
            lines.push(if at == 0 { b':' } else { b',' });
            push_trimmed(&mut lines, value);
        }
        lines.push(b'\n');
        if !names.is_empty() {
            names.push(';');
        }
        names.push_str(name);
    }
    (lines, names)
}

/// A header's value without spaces at its ends, and single spaces within.
fn push_trimmed(line: &mut Vec<u8>, value: &[u8]) {
    let words = value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    for (at, word) in words.enumerate() {
        if at > 0 {
            line.push(b' ');
        }
        line.extend_from_slice(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::secret::Secret;

    fn credentials() -> AwsCredentials {
        AwsCredentials {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            session_token: None,
            expires_at: None,
        }
    }

    /// The signature of a request of AWS's test suite, all of which are for this service at this time.
    fn signature_in_the_suite(
        method: &Method,
        path: &str,
        query: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> String {
        let credentials = credentials();
        let signer = Signer { credentials: &credentials, region: "us-east-1", service: "service" };
        let mut all: Vec<(&str, &[u8])> =
            vec![("host", b"example.amazonaws.com"), ("x-amz-date", b"20150830T123600Z")];
        all.extend(headers.iter().map(|(name, value)| (*name, value.as_bytes())));
        let request = UnsignedRequest {
            method,
            host: "example.amazonaws.com",
            path,
            query: Some(query),
            headers: &HeaderMap::new(),
            body,
        };
        let text = signer.authorization(&request, &all, &sha256_hex(body), "20150830T123600Z");
        text.rsplit_once("Signature=").expect("a signature").1.to_owned()
    }

    /// From the signature test suite that AWS publishes (get-vanilla and its neighbours).
    #[test]
    fn signatures_are_those_of_aws_own_test_suite() {
        for (method, path, query, headers, body, expected) in [
            (
                Method::GET,
                "/",
                "",
                &[][..],
                &b""[..],
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                Method::GET,
                "/",
                "Param2=value2&Param1=value1",
                &[],
                b"",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                Method::POST,
                "/",
                "",
                &[],
                b"",
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                Method::POST,
                "/",
                "",
                &[("content-type", "application/x-www-form-urlencoded")],
                b"Param1=value1",
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
            (
                Method::GET,
                "/example/..",
                "",
                &[],
                b"",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
        ] {
            assert_eq!(
                signature_in_the_suite(&method, path, query, headers, body),
                expected,
                "{method} {path}?{query}"
            );
        }
    }

    #[test]
    fn a_signature_covers_what_arrives_and_not_what_may_change_on_the_way() {
        let credentials = AwsCredentials { session_token: Some(Secret::new("session")), ..credentials() };
        let signer = Signer { credentials: &credentials, region: "eu-central-1", service: "bedrock" };
        let at: Timestamp = "2026-11-28T21:09:06.7Z".parse().expect("a time");
        let added_for = |change: &dyn Fn(&mut HeaderMap)| {
            let mut headers = HeaderMap::new();
            headers.insert("content-type", HeaderValue::from_static("application/json"));
            change(&mut headers);
            let request = UnsignedRequest {
                method: &Method::POST,
                host: "h",
                path: "/model/a%3A0/invoke",
                query: None,
                headers: &headers,
                body: b"{}",
            };
            let added: HeaderMap = signer.sign(&request, at).expect("headers").into_iter().collect();
            added
        };
        let plain = added_for(&|_| {});
        assert_eq!(plain["x-amz-date"], "20261128T210906Z");
        assert_eq!(plain["x-amz-security-token"], "session");
        assert_eq!(plain["x-amz-content-sha256"], sha256_hex(b"{}"));
        let text = plain["authorization"].to_str().expect("text");
        let scope = "Credential=AKIDEXAMPLE/20261128/eu-central-1/bedrock/aws4_request";
        let names = "SignedHeaders=content-type;host;x-amz-content-sha256;x-amz-date;x-amz-security-token";
        assert!(text.contains(scope) && text.contains(names), "{text}");
        for name in ["user-agent", "connection", "authorization", "x-amz-date", "host"] {
            let changed = added_for(&|headers| {
                headers.insert(HeaderName::from_static(name), HeaderValue::from_static("other"));
            });
            assert_eq!(changed["authorization"], plain["authorization"], "{name}");
        }
        let changed = added_for(&|headers| {
            headers.insert("x-amz-meta", HeaderValue::from_static("other"));
        });
        assert_ne!(changed["authorization"], plain["authorization"]);
        assert!(!format!("{plain:?}{signer:?}").contains("session\""), "a token does not show");
    }
}
