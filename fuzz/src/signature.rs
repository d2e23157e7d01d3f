//! Signatures of AWS: those of a request are those that the letter of the specification gives it, and requests that say
//! the same have the same.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use sproxy::cloud::aws_credentials::AwsCredentials;
use sproxy::cloud::percent;
use sproxy::cloud::sigv4::{Signer, UnsignedRequest, is_signed};
use sproxy::crypto::digest::{hex, sha256_hex};
use sproxy::crypto::mac;
use sproxy::domain::clock::Timestamp;
use sproxy::domain::secret::Secret;

use super::input::Input;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const REGION: &str = "us-east-1";
const SERVICE: &str = "bedrock";
/// 2015-08-30T12:36:00Z
const AT: i64 = 1_440_938_160_000_000;
const TIME: &str = "20150830T123600Z";
const DAY: &str = "20150830";

/// What is signed, in parts that a test can change one by one.
#[derive(Clone)]
struct Request {
    method: Method,
    host: String,
    path: String,
    query: Option<String>,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// A letter for the method, a line with the host, one with path and query, headers up to an empty line, and the body.
pub fn check(input: &[u8]) {
    percent_encoding(input);
    let mut input = Input::new(input);
    let method = input.choice(&[&Method::POST, &Method::GET, &Method::DELETE]).clone();
    let host = input.text_line();
    let target = input.text_line();
    let (path, query) = target.split_once('?').map_or((&*target, None), |(path, query)| (path, Some(query)));
    let mut headers = HeaderMap::new();
    loop {
        let line = input.line();
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { break };
        let (name, value) =
            (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(&line[colon + 1..]));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let (path, query) = (path.to_owned(), query.map(str::to_owned));
    let request = Request { method, host, path, query, headers, body: input.rest().to_vec() };
    let Some(signature) = request.signature() else { return };
    assert_eq!(signature, request.by_the_letter(), "by the letter of the specification");
    says_the_same(&request, &signature);
    says_something_else(&request, &signature);
}

impl Request {
    /// None where a header cannot carry it.
    fn signature(&self) -> Option<String> {
        let credentials = AwsCredentials {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: Secret::new(SECRET),
            session_token: None,
            expires_at: None,
        };
        let signer = Signer { credentials: &credentials, region: REGION, service: SERVICE };
        let unsigned = UnsignedRequest {
            method: &self.method,
            host: &self.host,
            path: &self.path,
            query: self.query.as_deref(),
            headers: &self.headers,
            body: &self.body,
        };
        let added: HeaderMap = signer.sign(&unsigned, Timestamp::from_micros(AT)).ok()?.into_iter().collect();
        assert_eq!(added["x-amz-date"], TIME);
        assert_eq!(added["x-amz-content-sha256"], sha256_hex(&self.body));
        Some(added["authorization"].to_str().expect("text").to_owned())
    }

    /// "Create a signed AWS API request", step by step.
    fn by_the_letter(&self) -> String {
        let body_hash = sha256_hex(&self.body);
        // 1. The canonical request.
        let mut headers: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        headers.insert("host".to_owned(), vec![self.host.clone().into_bytes()]);
        headers.insert("x-amz-date".to_owned(), vec![TIME.as_bytes().to_vec()]);
        headers.insert("x-amz-content-sha256".to_owned(), vec![body_hash.clone().into_bytes()]);
        for (name, value) in self.headers.iter().filter(|(name, _)| is_signed(name)) {
            headers.entry(name.as_str().to_owned()).or_default().push(value.as_bytes().to_vec());
        }
        let mut canonical =
            format!("{}\n{}\n{}\n", self.method, self.canonical_path(), self.canonical_query()).into_bytes();
        for (name, values) in &headers {
            let values: Vec<Vec<u8>> = values.iter().map(|value| single_spaced(value)).collect();
            canonical.extend(name.bytes().chain(*b":").chain(values.join(&b','.to_owned())).chain(*b"\n"));
        }
        let names = headers.keys().cloned().collect::<Vec<_>>().join(";");
        canonical.extend(format!("\n{names}\n{body_hash}").bytes());
        // 2. and 3. What is signed.
        let scope = format!("{DAY}/{REGION}/{SERVICE}/aws4_request");
        let to_sign = format!("AWS4-HMAC-SHA256\n{TIME}\n{scope}\n{}", sha256_hex(&canonical));
        // 4. The key and the signature.
        let words = [DAY, REGION, SERVICE, "aws4_request"];
        let key = words
            .iter()
            .fold(format!("AWS4{SECRET}").into_bytes(), |key, word| mac::tag(&key, word.as_bytes()).to_vec());
        let signature = hex(&mac::tag(&key, to_sign.as_bytes()));
        format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{scope}, SignedHeaders={names}, Signature={signature}"
        )
    }

    /// RFC 3986's "remove dot segments", without empty ones, and encoded.
    fn canonical_path(&self) -> String {
        let mut kept: Vec<&str> = Vec::new();
        for segment in self.path.split('/').filter(|segment| !segment.is_empty() && *segment != ".") {
            if segment == ".." {
                kept.pop();
            } else {
                kept.push(segment);
            }
        }
        let ends = if self.path.ends_with('/') && !kept.is_empty() { "/" } else { "" };
        let encoded: Vec<String> = kept.iter().map(|segment| uri_encoded(segment.as_bytes())).collect();
        format!("/{}{ends}", encoded.join("/"))
    }

    fn canonical_query(&self) -> String {
        let mut pairs = Vec::new();
        for pair in self.query.as_deref().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            pairs.push([name, value].map(|text| uri_encoded(&uri_decoded(text.as_bytes()))));
        }
        pairs.sort();
        pairs.iter().map(|[name, value]| format!("{name}={value}")).collect::<Vec<_>>().join("&")
    }
}

fn says_the_same(request: &Request, signature: &str) {
    let mut same = request.clone();
    same.path = request.path.replace('/', "//./");
    if !request.path.ends_with('/') && !request.path.ends_with("/.") {
        assert_eq!(same.signature().as_deref(), Some(signature), "{} is {}", same.path, request.path);
    }
    let mut same = request.clone();
    if let Some(query) = &request.query {
        same.query = Some(query.split('&').rev().collect::<Vec<_>>().join("&&"));
        assert_eq!(same.signature().as_deref(), Some(signature), "the query in another order");
    }
    let mut same = request.clone();
    let mut turned: Vec<(HeaderName, HeaderValue)> =
        request.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    // A stable sort: values of one name stay in their order.
    turned.sort_by(|(one, _), (other, _)| other.as_str().cmp(one.as_str()));
    same.headers = HeaderMap::new();
    for (name, value) in turned {
        same.headers.append(name, value);
    }
    same.headers.insert("user-agent", HeaderValue::from_static("another"));
    same.headers.insert("traceparent", HeaderValue::from_static("another"));
    assert_eq!(
        same.signature().as_deref(),
        Some(signature),
        "headers in another order, and others that are not signed"
    );
}

fn says_something_else(request: &Request, signature: &str) {
    let mut other = request.clone();
    other.body.push(b'x');
    assert_ne!(other.signature().as_deref(), Some(signature), "another body");
    let mut other = request.clone();
    other.path.push_str("/more");
    assert_ne!(other.signature().as_deref(), Some(signature), "another path");
    let mut other = request.clone();
    other.query = Some(format!("{}&more=1", request.query.as_deref().unwrap_or_default()));
    assert_ne!(other.signature().as_deref(), Some(signature), "another query");
    let mut other = request.clone();
    other.headers.append("x-more", HeaderValue::from_static("1"));
    assert_ne!(other.signature().as_deref(), Some(signature), "another header");
}

fn percent_encoding(bytes: &[u8]) {
    let encoded = percent::encode(bytes, b"");
    assert_eq!(encoded, uri_encoded(bytes));
    assert_eq!(percent::decode(&encoded), bytes, "what is encoded is decoded");
    let text = String::from_utf8_lossy(bytes);
    assert_eq!(percent::decode(&text), uri_decoded(text.as_bytes()));
}

/// `UriEncode()` of the specification.
fn uri_encoded(bytes: &[u8]) -> String {
    let one = |byte: &u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(*byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    bytes.iter().map(one).collect()
}

fn uri_decoded(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let digits = text.get(at + 1..at + 3).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        if let Some(digits) = digits.filter(|_| text[at] == b'%') {
            let digits = String::from_utf8_lossy(digits);
            bytes.push(u8::from_str_radix(&digits, 16).expect("two digits"));
            at += 3;
        } else {
            bytes.push(text[at]);
            at += 1;
        }
    }
    bytes
}

fn single_spaced(value: &[u8]) -> Vec<u8> {
    let words: Vec<&[u8]> = value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
    words.join(&b' ')
}
