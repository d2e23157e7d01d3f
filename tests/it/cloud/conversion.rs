//! Calls of Anthropic's API become the calls that Anthropic's own clients for the clouds make, and AWS's own.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use sproxy::cloud::bedrock::{Api, base_url as bedrock_url, invoke_call, service};
use sproxy::cloud::vertex::{Place, anthropic_call, base_url};

use super::ask;
use crate::harness::python_with;

/// What a client is asked for: each body, whether it streams, and the betas it is sent with.
fn calls() -> Vec<Value> {
    let mut calls = Vec::new();
    for model in
        ["anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-opus-4@20250514", "us.anthropic.claude-x"]
    {
        for stream in [false, true] {
            for betas in [vec![], vec!["context-1m-2025-08-07"], vec!["a-1", "b-2"]] {
                calls.push(json!({
                    "model": model, "stream": stream, "betas": betas,
                    "body": {
                        "max_tokens": 16, "model": model, "messages": [{ "role": "user", "content": "Hé \"you\"" }],
                        "metadata": { "user_id": "u", "model": "inner" }
                    }
                }));
            }
        }
    }
    calls
}

/// A caller's request to the gateway; the version is a header there, which the clients have in the body.
fn request(call: &Value) -> (HeaderMap, Vec<u8>) {
    let mut body = call["body"].clone();
    if call["stream"] == true {
        body["stream"] = true.into();
    }
    let betas: Vec<&str> = call["betas"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let mut headers = HeaderMap::new();
    if !betas.is_empty() {
        headers.insert("anthropic-beta", HeaderValue::from_str(&betas.join(",")).unwrap());
    }
    (headers, body.to_string().into_bytes())
}

fn json_of(body: &[u8]) -> Value {
    let mut body: Value = serde_json::from_slice(body).unwrap();
    // Their clients say the version of Anthropic's API, where this gateway says the cloud's.
    assert!(body["anthropic_version"].is_string());
    body.as_object_mut().unwrap().remove("anthropic_version");
    body
}

#[tokio::test]
async fn a_message_is_invoked_at_bedrock_as_anthropics_client_does() {
    let Some(python) = python_with("anthropic.lib.bedrock, boto3").await else { return };
    let calls = calls();
    let theirs = ask(&python, "cloud_calls.py", &json!({ "cloud": "bedrock", "calls": calls })).await;
    for (call, theirs) in calls.iter().zip(theirs.as_array().unwrap()) {
        let (headers, body) = request(call);
        let ours = invoke_call("/v1/messages", &headers, &body, call["model"].as_str().unwrap()).unwrap();
        // They leave colons as they are; AWS reads both the same.
        assert_eq!(theirs["path"], ours.path.replace("%3A", ":"));
        assert_eq!(json_of(theirs["body"].as_str().unwrap().as_bytes()), json_of(&ours.body));
    }
}

#[tokio::test]
async fn a_message_is_predicted_and_counted_at_vertex_as_anthropics_client_does() {
    let Some(python) = python_with("anthropic.lib.vertex, google.auth").await else { return };
    let calls = calls();
    for region in ["global", "us", "eu", "europe-west1"] {
        let input = json!({ "cloud": "vertex", "calls": calls, "region": region, "project": "p-1" });
        let theirs = ask(&python, "cloud_calls.py", &input).await;
        let place = Place { project: "p-1", region };
        for (call, theirs) in calls.iter().zip(theirs.as_array().unwrap()) {
            let (_, body) = request(call);
            let model = call["model"].as_str().unwrap();
            let ours = anthropic_call("/v1/messages", &body, model, place).unwrap();
            let path = ours.path.replace("%3A", ":");
            assert_eq!(theirs["url"], format!("{}{path}", base_url(region)));
            assert_eq!(json_of(theirs["body"].as_str().unwrap().as_bytes()), json_of(&ours.body));
            let ours = anthropic_call("/v1/messages/count_tokens", &body, model, place).unwrap();
            assert_eq!(theirs["count_url"], format!("{}{}", base_url(region), ours.path));
            let mut ours = json_of(&ours.body);
            // Their caller does not give what has no bearing on a count.
            for name in ["max_tokens", "metadata", "stream"] {
                ours.as_object_mut().unwrap().remove(name);
            }
            assert_eq!(json_of(theirs["count_body"].as_str().unwrap().as_bytes()), ours);
        }
    }
}

/// Path, body and the name that is signed for are those that AWS's client sends for the same.
#[tokio::test]
async fn a_call_at_bedrock_is_made_as_awss_client_makes_it() {
    let Some(python) = python_with("boto3").await else { return };
    let body = r#"{"max_tokens":1,"messages":[{"role":"user","content":"Hé"}],"stream":false}"#;
    let stream = body.replace("false", "true");
    let models = [
        "anthropic.claude-sonnet-4-5-20250929-v1:0",
        "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.anthropic.claude-sonnet-4-v1:0",
    ];
    let (mut ours, mut asked) = (Vec::new(), Vec::new());
    for model in models {
        for (what, path, body) in [
            ("invoke", "/v1/messages", body),
            ("events", "/v1/messages", &stream),
            ("count", "/v1/messages/count_tokens", body),
        ] {
            let call = invoke_call(path, &HeaderMap::new(), body.as_bytes(), model).unwrap();
            let inner = match what {
                "count" => {
                    let body: Value = serde_json::from_slice(&call.body).unwrap();
                    body["input"]["invokeModel"]["body"].as_str().unwrap().to_owned()
                }
                _ => STANDARD.encode(&call.body),
            };
            // A profile for several regions counts no tokens.
            let model = if what == "count" { model.rsplit("/eu.").next().unwrap() } else { model };
            asked.push(json!({ "what": what, "model": model, "body": inner }));
            ours.push((what, call));
        }
    }
    assert_eq!(bedrock_url(Api::Invoke, "eu-west-1"), "https://bedrock-runtime.eu-west-1.amazonaws.com");
    let theirs = ask(&python, "cloud_calls.py", &json!({ "cloud": "aws", "calls": asked })).await;
    assert_eq!(theirs.as_array().unwrap().len(), ours.len());
    for ((what, ours), theirs) in ours.iter().zip(theirs.as_array().unwrap()) {
        assert_eq!(theirs["path"], ours.path);
        let body = STANDARD.decode(theirs["body"].as_str().unwrap()).unwrap();
        if *what == "count" {
            let (theirs, ours): (Value, Value) =
                (serde_json::from_slice(&body).unwrap(), serde_json::from_slice(&ours.body).unwrap());
            assert_eq!(theirs, ours);
        } else {
            assert_eq!(body, ours.body);
        }
        let scope = format!("/eu-west-1/{}/aws4_request", service(&bedrock_url(Api::Invoke, "eu-west-1")));
        assert!(theirs["signed"].as_str().unwrap().contains(&scope), "{theirs}");
    }
}
