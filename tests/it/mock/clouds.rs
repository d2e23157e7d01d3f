//! The mock as AWS Bedrock and as Google's Vertex AI, and what it demands of callers.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};
use sproxy::cloud::aws_credentials::AwsCredentials;
use sproxy::cloud::bedrock::{count_answer, invoke_call};
use sproxy::cloud::bedrock_events::AnthropicEvents;
use sproxy::cloud::event_stream::FRAME_MAX;
use sproxy::cloud::sigv4::{Signer, UnsignedRequest};
use sproxy::cloud::vertex::{Place, anthropic_call, gemini_path};
use sproxy::domain::clock::{Clock, SystemClock, Timestamp};
use sproxy::domain::secret::Secret;
use sproxy::domain::usage::Tokens;
use sproxy::mock::{Credentials, Options};

use super::{Mock, metered};
use crate::harness::{python_with, run_script};

const BEDROCK_MODEL: &str = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0";
const VERTEX_MODEL: &str = "claude-sonnet-4-5@20250929";
/// As answers name both.
const OWN_MODEL: &str = "claude-sonnet-4-5-20250929";
const PLACE: Place<'_> = Place { project: "p-1", region: "europe-west1" };

fn ask(stream: bool) -> String {
    let message = json!([{ "role": "user", "content": "Hello" }]);
    json!({ "model": "x", "max_tokens": 9, "stream": stream, "messages": message }).to_string()
}

async fn send(mock: &Mock, path: &str, body: impl Into<reqwest::Body>) -> reqwest::Response {
    let query = "mock-input=100&mock-output=7&mock-cache-read=40&mock-cache-write=5";
    let mark = if path.contains('?') { '&' } else { '?' };
    let url = format!("http://{}{path}{mark}{query}", mock.address);
    mock.client.post(url).body(body).send().await.expect("an answer")
}

fn expected() -> Tokens {
    Tokens { input: 100, output: 7, cache_read: 40, cache_write: 5, ..Tokens::default() }
}

#[tokio::test]
async fn bedrock_is_played_whole_in_frames_and_when_it_counts() {
    let mock = Mock::start().await;
    let whole = invoke_call("/v1/messages", &HeaderMap::new(), ask(false).as_bytes(), BEDROCK_MODEL);
    let whole = whole.expect("a call");
    let answer = send(&mock, &whole.path, whole.body).await;
    assert_eq!(answer.headers()["x-amzn-bedrock-output-token-count"], "7");
    let body = answer.bytes().await.expect("a body");
    assert_eq!(metered("application/json", None, &body), expected());
    let message: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(message["model"], OWN_MODEL);

    let stream = invoke_call("/v1/messages", &HeaderMap::new(), ask(true).as_bytes(), BEDROCK_MODEL);
    let stream = stream.expect("a call");
    let answer = send(&mock, &stream.path, stream.body).await;
    assert_eq!(answer.headers()["content-type"], "application/vnd.amazon.eventstream");
    let body = answer.bytes().await.expect("a body");
    let mut events = bytes::BytesMut::new();
    let mut frames = AnthropicEvents::new(FRAME_MAX);
    frames.push(&body, &mut events).expect("frames");
    frames.finish().expect("whole frames");
    assert_eq!(metered("text/event-stream", None, &events), expected());
    assert!(String::from_utf8_lossy(&events).contains("amazon-bedrock-invocationMetrics"));

    let count =
        invoke_call("/v1/messages/count_tokens", &HeaderMap::new(), ask(false).as_bytes(), BEDROCK_MODEL);
    let count = count.expect("a call");
    let answer = send(&mock, &count.path, count.body).await.bytes().await.expect("a body");
    assert_eq!(count_answer(&answer).as_deref(), Some(&br#"{"input_tokens":100}"#[..]));

    let books = json!({ "requests": 2, "input": 200, "output": 14, "errors": 0 });
    assert_eq!(mock.served(BEDROCK_MODEL).await, books);
}

#[tokio::test]
async fn vertex_is_played_for_both_publishers() {
    let mock = Mock::start().await;
    for stream in [false, true] {
        let call =
            anthropic_call("/v1/messages", ask(stream).as_bytes(), VERTEX_MODEL, PLACE).expect("a call");
        let answer = send(&mock, &call.path, call.body).await;
        let content_type = answer.headers()["content-type"].to_str().expect("text").to_owned();
        let body = answer.bytes().await.expect("a body");
        assert_eq!(metered(&content_type, None, &body), expected());
        assert!(String::from_utf8_lossy(&body).contains(OWN_MODEL));
    }
    let counted = anthropic_call("/v1/messages/count_tokens", ask(false).as_bytes(), VERTEX_MODEL, PLACE);
    let counted = counted.expect("a call");
    let counted: Value = send(&mock, &counted.path, counted.body).await.json().await.expect("JSON");
    assert_eq!(counted, json!({ "input_tokens": 100 }));
    let books = json!({ "requests": 2, "input": 200, "output": 14, "errors": 0 });
    assert_eq!(mock.served(VERTEX_MODEL).await, books);

    for verb in ["generateContent", "streamGenerateContent?alt=sse", "streamGenerateContent", "countTokens"] {
        let (bare, query) = verb.split_once('?').unwrap_or((verb, ""));
        let path = gemini_path(&format!("/v1beta/models/x:{bare}"), "gemini-2.5-pro", PLACE).expect("a path");
        let answer = send(&mock, &format!("{path}?{query}"), r#"{"contents":[]}"#).await;
        assert_eq!(answer.status(), StatusCode::OK, "{verb}");
        let content_type = answer.headers()["content-type"].to_str().expect("text").to_owned();
        let body = answer.bytes().await.expect("a body");
        if bare != "countTokens" {
            let tokens = Tokens { input: 100, output: 7, cache_read: 40, ..Tokens::default() };
            assert_eq!(metered(&content_type, None, &body), tokens, "{verb}");
        }
    }
    let books = json!({ "requests": 3, "input": 300, "output": 21, "errors": 0 });
    assert_eq!(mock.served("gemini-2.5-pro").await, books);
}

#[tokio::test]
async fn clouds_refuse_what_only_anthropics_own_api_takes() {
    let mock = Mock::start().await;
    let predict = "/v1/projects/p/locations/global/publishers/anthropic/models/m:rawPredict";
    let count = "/v1/projects/p/locations/global/publishers/anthropic/models/count-tokens:rawPredict";
    for (path, body, pointer, message) in [
        ("/model/m/invoke", json!({}), "/message", "anthropic_version: Field required"),
        (
            "/model/m/invoke",
            json!({ "anthropic_version": "vertex-2023-10-16" }),
            "/message",
            "anthropic_version: Input should be 'bedrock-2023-05-31'",
        ),
        (
            "/model/m/invoke",
            json!({ "anthropic_version": "bedrock-2023-05-31", "model": "m" }),
            "/message",
            "model: Extra inputs are not permitted",
        ),
        (
            "/model/m/invoke-with-response-stream",
            json!({ "anthropic_version": "bedrock-2023-05-31", "stream": true }),
            "/message",
            "stream: Extra inputs are not permitted",
        ),
        (predict, json!({ "stream": true }), "/error/message", "anthropic_version: Field required"),
        (
            predict,
            json!({ "anthropic_version": "vertex-2023-10-16", "model": "m" }),
            "/error/message",
            "model: Extra inputs are not permitted",
        ),
        (
            count,
            json!({ "anthropic_version": "vertex-2023-10-16", "messages": [] }),
            "/error/message",
            "model: Field required",
        ),
    ] {
        let answer = mock.post(path, &body).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{path} {body}");
        let answer: Value = answer.json().await.expect("JSON");
        assert_eq!(answer.pointer(pointer), Some(&json!(message)), "{path} {body}");
    }
}

#[tokio::test]
async fn errors_of_clouds_are_in_their_words() {
    let mock = Mock::start().await;
    let body = json!({ "anthropic_version": "bedrock-2023-05-31", "max_tokens": 1, "messages": [] });
    let throttled = mock.post("/model/m/invoke?mock-status=429", &body).send().await.expect("an answer");
    assert_eq!(throttled.status(), StatusCode::TOO_MANY_REQUESTS);
    let kind = throttled.headers()["x-amzn-errortype"].to_str().expect("text");
    assert!(kind.starts_with("ThrottlingException:"), "{kind}");
    assert!(throttled.json::<Value>().await.expect("JSON")["message"].is_string());

    let path = "/model/m/invoke-with-response-stream?mock-fail=error-event";
    let cut = mock.post(path, &body).send().await.expect("an answer").bytes().await.expect("a body");
    let mut events = bytes::BytesMut::new();
    AnthropicEvents::new(FRAME_MAX).push(&cut, &mut events).expect("frames");
    let events = String::from_utf8_lossy(&events).into_owned();
    assert!(
        events.contains(r#"{"type":"overloaded_error","message":"the mock provider was asked to fail"}"#)
    );

    let path = "/v1/projects/p/locations/global/publishers/anthropic/models/m:rawPredict";
    for (status, pointer, expected) in
        [("429", "/error/status", "RESOURCE_EXHAUSTED"), ("529", "/error/type", "overloaded_error")]
    {
        let path = format!("{path}?mock-status={status}");
        let answer: Value = mock.post(&path, &body).send().await.expect("it").json().await.expect("JSON");
        assert_eq!(answer.pointer(pointer), Some(&json!(expected)), "{answer}");
    }
}

async fn status(request: RequestBuilder) -> u16 {
    request.send().await.expect("an answer").status().as_u16()
}

#[tokio::test]
async fn a_key_or_a_token_is_demanded_where_one_is_set() {
    let mut credentials = Credentials::default();
    for header in ["x-api-key: right", "authorization: Bearer token", "x-goog-api-key:g"] {
        credentials.add_header(header).expect("a header");
    }
    assert!(credentials.add_header("no header").is_err());
    let mock = Mock::with(Options { credentials, ..Options::default() }).await;
    let body = json!({ "model": "m", "messages": [] });
    let ask = |path: &str| mock.post(path, &body);
    for (request, expected) in [
        (ask("/v1/messages"), 401),
        (ask("/v1/messages").header("x-api-key", "wrong"), 401),
        (ask("/v1/messages").header("x-api-key", "right"), 200),
        (ask("/v1/chat/completions").bearer_auth("right"), 401),
        (ask("/v1/chat/completions").bearer_auth("token"), 200),
        (ask("/v1beta/models/m:generateContent?key=x"), 400),
        (ask("/v1beta/models/m:generateContent?key=g"), 200),
        (ask("/model/m/invoke"), 403),
        (mock.client.get(format!("http://{}/v1/models", mock.address)), 401),
        (mock.client.get(format!("http://{}/", mock.address)), 200),
    ] {
        let what = format!("{request:?}");
        assert_eq!(status(request).await, expected, "{what}");
    }
    let refused: Value = ask("/v1/messages").send().await.expect("it").json().await.expect("JSON");
    assert_eq!(refused["error"]["type"], "authentication_error");
    let served = mock.served("m").await;
    assert_eq!((&served["requests"], &served["errors"]), (&json!(3), &json!(6)));
}

const KEY: &str = "AKIDEXAMPLE:wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY:session";

fn aws() -> AwsCredentials {
    let (id, rest) = KEY.split_once(':').expect("an id");
    let (secret, token) = rest.split_once(':').expect("a token");
    AwsCredentials {
        access_key_id: id.to_owned(),
        secret_access_key: Secret::new(secret),
        session_token: Some(Secret::new(token)),
        expires_at: None,
    }
}

/// The headers of a signed call.
fn signed(
    mock: &Mock,
    aws: &AwsCredentials,
    region: &str,
    path: &str,
    body: &[u8],
    at: Timestamp,
) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    let host = mock.address.to_string();
    let request = UnsignedRequest {
        method: &http::Method::POST,
        host: &host,
        path,
        query: Some("a=b%20c"),
        headers: &headers,
        body,
    };
    let signer = Signer { credentials: aws, region, service: "bedrock" };
    let added = signer.sign(&request, at).expect("headers");
    headers.extend(added);
    headers
}

#[tokio::test]
async fn signatures_of_aws_are_verified() {
    let mut credentials = Credentials::default();
    credentials.add_aws(KEY).expect("a key");
    credentials.only_region("eu-west-1");
    let mock = Mock::with(Options { credentials, ..Options::default() }).await;
    let call = invoke_call("/v1/messages", &HeaderMap::new(), ask(false).as_bytes(), BEDROCK_MODEL);
    let call = call.expect("a call");
    let now = SystemClock.now();
    let send = async |headers: HeaderMap, body: &[u8]| {
        let url = format!("http://{}{}?a=b%20c", mock.address, call.path);
        let answer = mock.client.post(url).headers(headers).body(body.to_vec()).send().await.expect("it");
        let kind = answer.headers().get("x-amzn-errortype").cloned();
        let kind = kind.map(|kind| kind.to_str().expect("text").split(':').next().expect("it").to_owned());
        (answer.status().as_u16(), kind.unwrap_or_default())
    };
    let sign = |aws: &AwsCredentials, region, at| signed(&mock, aws, region, &call.path, &call.body, at);
    assert_eq!(send(sign(&aws(), "eu-west-1", now), &call.body).await, (200, String::new()));

    let wrong = (403, "InvalidSignatureException".to_owned());
    assert_eq!(send(sign(&aws(), "eu-west-1", now), b"{}").await, wrong, "another body");
    let other = AwsCredentials { secret_access_key: Secret::new("other"), ..aws() };
    assert_eq!(send(sign(&other, "eu-west-1", now), &call.body).await, wrong, "another secret");
    assert_eq!(send(sign(&aws(), "us-east-1", now), &call.body).await, wrong, "another region");
    let late = now.minus(Duration::from_mins(6));
    assert_eq!(send(sign(&aws(), "eu-west-1", late), &call.body).await, wrong, "another time");
    let mut changed = sign(&aws(), "eu-west-1", now);
    changed.insert("content-type", HeaderValue::from_static("text/plain"));
    assert_eq!(send(changed, &call.body).await, wrong, "another header");

    let unknown = (403, "UnrecognizedClientException".to_owned());
    let other = AwsCredentials { session_token: None, ..aws() };
    assert_eq!(send(sign(&other, "eu-west-1", now), &call.body).await, unknown, "without its token");
    let missing = (403, "MissingAuthenticationTokenException".to_owned());
    assert_eq!(send(HeaderMap::new(), &call.body).await, missing);
}

/// What they make of it shows whether the mock is what it plays.
#[tokio::test]
async fn the_clouds_own_clients_work_with_it() {
    let modules = "boto3, anthropic.lib.bedrock, anthropic.lib.vertex, google.auth, google.genai";
    let Some(python) = python_with(modules).await else { return };
    let mut credentials = Credentials::default();
    credentials.add_aws("AKIDEXAMPLE:secret").expect("a key");
    credentials.add_header("authorization: Bearer token").expect("a header");
    let mock = Mock::with(Options { credentials, ..Options::default() }).await;
    let expected = run_script(&python, "mock_clouds.py", &[&format!("http://{}", mock.address)]).await;
    let served = mock.get("/mock/served").await;
    let sum = |name: &str| -> u64 {
        served.as_object().expect("models").values().map(|sums| sums[name].as_u64().expect("a number")).sum()
    };
    for name in ["requests", "input", "output", "errors"] {
        assert_eq!(json!(sum(name)), expected[name], "{name} of {served}");
    }
}
