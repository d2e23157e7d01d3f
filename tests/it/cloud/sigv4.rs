//! Requests are signed as AWS's own client for Python signs them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Value, json};
use sproxy::cloud::aws_credentials::AwsCredentials;
use sproxy::cloud::percent;
use sproxy::cloud::sigv4::{Signer, UnsignedRequest};
use sproxy::domain::clock::Timestamp;
use sproxy::domain::secret::Secret;

use super::{Random, ask};
use crate::harness::python_with;

const LETTERS: &str = "abcXYZ019-._~ :/%+&=?#,;!*'()@$ü€";

struct Case {
    method: Method,
    host: &'static str,
    path: String,
    query: Option<String>,
    headers: HeaderMap,
    body: Vec<u8>,
    credentials: AwsCredentials,
    region: &'static str,
    service: &'static str,
    at: Timestamp,
}

fn case(random: &mut Random) -> Case {
    let segment = |random: &mut Random| match random.below(8) {
        0 => String::new(),
        1 => ".".to_owned(),
        2 => "..".to_owned(),
        3 => "anthropic.claude-sonnet-4-5-20250929-v1%3A0".to_owned(),
        _ => percent::encode(random.text(LETTERS, 12).as_bytes(), random.one_of(&[&b""[..], b":", b":@$"])),
    };
    let mut path = String::new();
    for _ in 0..=random.below(5) {
        path.push('/');
        path.push_str(&segment(random));
    }
    let query = (random.below(2) == 0).then(|| {
        let pairs: Vec<String> = (0..random.below(5))
            .map(|_| {
                let name =
                    percent::encode(random.one_of(&["a", "B", "a-b", "ü", "x y", "a"]).as_bytes(), b"");
                let value = percent::encode(random.text(LETTERS, 6).as_bytes(), b"");
                if random.below(6) == 0 { name } else { format!("{name}={value}") }
            })
            .collect();
        pairs.join("&")
    });
    let mut headers = HeaderMap::new();
    for _ in 0..random.below(6) {
        let names =
            ["content-type", "x-amz-meta", "accept", "x-custom-header", "user-agent", "anthropic-beta"];
        let name = HeaderName::from_static(random.one_of(&names));
        let value = random.text("abc,;=\"  \t/*.", 20);
        headers.append(name, HeaderValue::from_str(&value).unwrap());
    }
    let seconds = i64::try_from(random.below(2_000_000_000)).unwrap();
    Case {
        method: random.one_of(&[&Method::POST, &Method::GET, &Method::PUT]).clone(),
        host: random.one_of(&["bedrock-runtime.eu-central-1.amazonaws.com", "127.0.0.1:8443"]),
        path,
        query,
        headers,
        body: random.text(LETTERS, 200).into_bytes(),
        credentials: AwsCredentials {
            access_key_id: format!("AKIA{}", random.text("ABCDEF0123", 16)),
            secret_access_key: Secret::new(random.text("abcDEF/+123=", 40)),
            session_token: (random.below(2) == 0)
                .then(|| Secret::new(format!("t{}", random.text("aB/+=", 80)))),
            expires_at: None,
        },
        region: random.one_of(&["us-east-1", "ap-southeast-2"]),
        service: random.one_of(&["bedrock", "sts", "bedrock-mantle"]),
        at: Timestamp::from_micros(seconds * 1_000_000 + 999_999),
    }
}

fn for_python(case: &Case) -> Value {
    let question = case.query.as_ref().map_or(String::new(), |query| format!("?{query}"));
    let headers: Vec<(&str, &str)> =
        case.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    json!({
        "method": case.method.as_str(),
        "url": format!("https://{}{}{question}", case.host, case.path),
        "headers": headers,
        "body": STANDARD.encode(&case.body),
        "access_key_id": case.credentials.access_key_id,
        "secret_access_key": case.credentials.secret_access_key.expose(),
        "session_token": case.credentials.session_token.as_ref().map(Secret::expose),
        "region": case.region,
        "service": case.service,
        "at": case.at.as_secs(),
    })
}

#[tokio::test]
async fn a_request_is_signed_as_botocore_signs_it() {
    let Some(python) = python_with("botocore.auth").await else { return };
    let mut random = Random(1);
    let cases: Vec<Case> = (0..2_000).map(|_| case(&mut random)).collect();
    let theirs = ask(&python, "sigv4.py", &cases.iter().map(for_python).collect()).await;
    assert_eq!(theirs.as_array().unwrap().len(), cases.len());
    for (case, theirs) in cases.iter().zip(theirs.as_array().unwrap()) {
        let signer = Signer { credentials: &case.credentials, region: case.region, service: case.service };
        let request = UnsignedRequest {
            method: &case.method,
            host: case.host,
            path: &case.path,
            query: case.query.as_deref(),
            headers: &case.headers,
            body: &case.body,
        };
        for (name, value) in signer.sign(&request, case.at).unwrap() {
            assert_eq!(theirs[name.as_str()], value.to_str().unwrap(), "{name} of {}", for_python(case));
        }
    }
}
