//! Targets in clouds, from outside: what arrives there, what its caller gets, and what is in the books.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Value, json};
use sproxy::cloud::aws_credentials::AwsCredentials;
use sproxy::cloud::sigv4::{Signer, UnsignedRequest};
use sproxy::domain::clock::Timestamp;
use sproxy::domain::secret::Secret;

use super::event_stream::{chunk, exception};
use crate::harness::{Answer, Mock, Node, Scripted, Setup};

const MESSAGES: &str = "/v1/messages";
const MODEL: &str = "anthropic.claude-haiku-4-5-20251001-v1:0";
const ANSWER: &str = r#"{"id":"m","type":"message","role":"assistant","model":"claude-haiku-4-5","content":[{"type":"text","text":"Hi"}],"usage":{"input_tokens":11,"output_tokens":7}}"#;

fn target(name: &str, url: &str, more: &str) -> String {
    format!("[[targets]]\nname = \"{name}\"\nprovider = \"anthropic\"\nurl = \"{url}\"\n{more}\n")
}

fn bedrock(provider: &Scripted) -> String {
    let more = format!(
        "platform = \"bedrock\"\nregion = \"eu-west-1\"\nauth = \"sigv4\"\napi_key = \"AKIATEST:very/secret+key\"\n\
         rename = {{ \"claude-haiku-4-5\" = \"{MODEL}\" }}"
    );
    target("aws", &provider.url(), &more)
}

fn body(more: &Value) -> Value {
    let mut body = json!({ "model": "claude-haiku-4-5", "max_tokens": 16, "messages": [{ "role": "user", "content": "Hi" }] });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// The header of a request as it arrived.
fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().skip(1).find_map(|line| {
        let (named, value) = line.split_once(": ")?;
        named.eq_ignore_ascii_case(name).then_some(value)
    })
}

/// Whether the request is signed with the key of [`bedrock`], as it arrived.
fn is_signed(head: &str, body: &[u8]) -> bool {
    let mut words = head.lines().next().unwrap().split(' ');
    let method: Method = words.next().unwrap().parse().unwrap();
    let (path, query) = words
        .next()
        .unwrap()
        .split_once('?')
        .map_or_else(|| (head.split(' ').nth(1).unwrap(), None), |(path, query)| (path, Some(query)));
    let sent = header(head, "authorization").unwrap();
    let names = sent.split("SignedHeaders=").nth(1).unwrap().split(',').next().unwrap();
    let mut headers = HeaderMap::new();
    for name in names.split(';') {
        let value = HeaderValue::from_str(header(head, name).unwrap()).unwrap();
        headers.append(name.parse::<HeaderName>().unwrap(), value);
    }
    let credentials = AwsCredentials {
        access_key_id: "AKIATEST".to_owned(),
        secret_access_key: Secret::new("very/secret+key"),
        session_token: None,
        expires_at: None,
    };
    let signer = Signer { credentials: &credentials, region: "eu-west-1", service: "bedrock" };
    let date = header(head, "x-amz-date").unwrap();
    let at = format!(
        "{}-{}-{}T{}:{}:{}Z",
        &date[..4],
        &date[4..6],
        &date[6..8],
        &date[9..11],
        &date[11..13],
        &date[13..15]
    );
    let at: Timestamp = serde_json::from_value(json!(at)).unwrap();
    let host = header(head, "host").unwrap();
    let request = UnsignedRequest { method: &method, host, path, query, headers: &headers, body };
    let added = signer.sign(&request, at).unwrap();
    let (_, expected) = added.iter().find(|(name, _)| name == "authorization").unwrap();
    expected.to_str().unwrap() == sent
}

fn events() -> Vec<Value> {
    vec![
        json!({"type":"message_start","message":{"id":"m","type":"message","role":"assistant","model":"claude-haiku-4-5","content":[],"usage":{"input_tokens":11,"output_tokens":1}}}),
        json!({"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}),
        json!({"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}),
        json!({"type":"content_block_stop","index":0}),
        json!({"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":7}}),
        json!({"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":11,"outputTokenCount":7}}),
    ]
}

fn stream(provider: &Scripted, frames: &[Vec<u8>]) {
    provider.write("HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\ntransfer-encoding: chunked\r\n\r\n");
    for frame in frames {
        // Cut where no frame is.
        let (first, second) = frame.split_at(frame.len() / 3);
        for piece in [first, second] {
            let mut bytes = format!("{:x}\r\n", piece.len()).into_bytes();
            bytes.extend(piece);
            bytes.extend(b"\r\n");
            provider.write(bytes);
        }
    }
}

fn answer(provider: &Scripted, status: u16, headers: &str, body: &str) {
    provider
        .write(format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}",
            body.len()
        ))
        .close();
}

async fn ask(node: &Node, key: &str, body: &Value) -> Answer {
    let headers = [("anthropic-version", "2023-06-01"), ("anthropic-beta", "a-1,b-2")];
    node.ask(key, "/v1/messages?beta=true", &headers, body).await
}

#[tokio::test]
async fn a_message_is_invoked_at_bedrock_signed_and_booked() {
    let provider = Scripted::start().await;
    let node = Setup::with_targets(&bedrock(&provider)).start().await;
    let key = node.user_with_key("alice").await;
    answer(&provider, 200, "", ANSWER);
    let message = ask(&node, &key, &body(&json!({ "z": 1.0 }))).await;
    assert_eq!((message.status, message.text()), (200, ANSWER.to_owned()));
    assert_eq!(message.header("x-sproxy-target"), "aws");
    let sent = &provider.requests()[0];
    assert!(
        sent.head.starts_with("POST /model/anthropic.claude-haiku-4-5-20251001-v1%3A0/invoke HTTP/1.1\r\n"),
        "{}",
        sent.head
    );
    for gone in ["anthropic-version", "anthropic-beta", "x-api-key"] {
        assert_eq!(header(&sent.head, gone), None, "{gone}");
    }
    assert!(is_signed(&sent.head, &sent.body), "{}", sent.head);
    let arrived: Value = serde_json::from_slice(&sent.body).unwrap();
    assert_eq!(
        (&arrived["anthropic_version"], &arrived["anthropic_beta"], &arrived["model"]),
        (&json!("bedrock-2023-05-31"), &json!(["a-1", "b-2"]), &Value::Null)
    );
    assert!(String::from_utf8_lossy(&sent.body).contains("\"z\":1.0"));
    let row = node.usage_of(&message).await;
    assert_eq!(
        (&row["model"], &row["actual_model"], &row["input_tokens"], &row["output_tokens"], &row["outcome"]),
        (&json!("claude-haiku-4-5"), &json!("claude-haiku-4-5"), &json!(11), &json!(7), &json!("ok"))
    );
    assert!(!node.log().contains("very/secret"));
}

#[tokio::test]
async fn bedrocks_frames_become_anthropics_events_and_are_metered() {
    let provider = Scripted::start().await;
    let node = Setup::with_targets(&bedrock(&provider)).start().await;
    let key = node.user_with_key("alice").await;
    stream(&provider, &events().iter().map(chunk).collect::<Vec<_>>());
    provider.end();
    let message = ask(&node, &key, &body(&json!({ "stream": true }))).await;
    let expected: Vec<String> = events()
        .iter()
        .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()))
        .collect();
    assert_eq!((message.status, message.text()), (200, expected.concat()));
    assert!(message.header("content-type").starts_with("text/event-stream"));
    let sent = &provider.requests()[0];
    assert!(sent.head.contains("/invoke-with-response-stream HTTP/1.1"), "{}", sent.head);
    assert_eq!(header(&sent.head, "accept-encoding"), Some("identity"));
    let row = node.usage_of(&message).await;
    assert_eq!(
        (&row["input_tokens"], &row["output_tokens"], &row["outcome"], &row["is_streaming"]),
        (&json!(11), &json!(7), &json!("ok"), &json!(true)),
        "{row}"
    );
}

#[tokio::test]
async fn a_stream_that_bedrock_breaks_off_is_booked_for_what_it_said() {
    let broken: [(&str, Vec<u8>); 2] = [
        ("upstream_error", exception("modelStreamErrorException", &json!({ "message": "lost" }))),
        ("upstream_cut", b"no frame at all, and long enough to be taken for a prelude".to_vec()),
    ];
    for (outcome, last) in broken {
        let provider = Scripted::start().await;
        let node = Setup::with_targets(&bedrock(&provider)).start().await;
        let key = node.user_with_key("alice").await;
        let mut frames: Vec<_> = events().iter().take(3).map(chunk).collect();
        frames.push(last);
        stream(&provider, &frames);
        provider.end();
        let message = ask(&node, &key, &body(&json!({ "stream": true }))).await;
        assert!(message.text().contains("text_delta"), "{}", message.text());
        assert_eq!(message.complete, outcome == "upstream_error");
        let row = node.usage_of(&message).await;
        assert_eq!((&row["outcome"], &row["input_tokens"]), (&json!(outcome), &json!(11)), "{row}");
    }
}

#[tokio::test]
async fn bedrocks_refusals_are_in_anthropics_words_and_another_target_is_asked() {
    let (provider, other) = (Scripted::start().await, Mock::start().await);
    let both = bedrock(&provider) + &target("b", &other.url(), "api_key = \"k\"\ntier = 1");
    let throttled = "x-amzn-errortype: ThrottlingException:http://internal.amazon.com/\r\n";
    let node = Setup::with_targets(&both).start().await;
    let key = node.user_with_key("alice").await;
    answer(&provider, 429, throttled, r#"{"message":"Too many tokens"}"#);
    let message = ask(&node, &key, &body(&json!({}))).await;
    assert_eq!((message.status, message.header("x-sproxy-target")), (200, "b"));
    assert_eq!(node.usage_of(&message).await["attempts"][0]["reason"], "rate_limited");

    let node = Setup::with_targets(&bedrock(&provider)).start().await;
    let key = node.user_with_key("alice").await;
    answer(&provider, 429, throttled, r#"{"message":"Too many tokens"}"#);
    let message = ask(&node, &key, &body(&json!({}))).await;
    assert_eq!(
        (message.status, message.json()),
        (429, json!({"type":"error","error":{"type":"rate_limit_error","message":"Too many tokens"}}))
    );
}

#[tokio::test]
async fn a_model_that_the_account_may_not_use_is_left_alone_for_a_while() {
    let (provider, other) = (Scripted::start().await, Mock::start().await);
    let both = bedrock(&provider) + &target("b", &other.url(), "api_key = \"k\"\ntier = 1");
    let node = Setup::with_targets(&both).start().await;
    let key = node.user_with_key("alice").await;
    answer(
        &provider,
        403,
        "x-amzn-errortype: AccessDeniedException\r\n",
        r#"{"message":"no access to the model"}"#,
    );
    let message = ask(&node, &key, &body(&json!({}))).await;
    assert_eq!((message.status, message.header("x-sproxy-target")), (200, "b"));
    let message = ask(&node, &key, &body(&json!({}))).await;
    assert_eq!((message.status, message.header("x-sproxy-target")), (200, "b"));
    assert_eq!(node.usage_of(&message).await["attempts"], json!([]), "it was not asked again");
    assert_eq!(provider.requests().len(), 1);
}

#[tokio::test]
async fn tokens_are_counted_at_bedrock_and_what_it_has_not_is_told() {
    let provider = Scripted::start().await;
    let node = Setup::with_targets(&bedrock(&provider)).start().await;
    let key = node.user_with_key("alice").await;
    answer(&provider, 200, "", r#"{"inputTokens":42}"#);
    let counted = node.ask(&key, "/v1/messages/count_tokens", &[], &body(&json!({}))).await;
    assert_eq!((counted.status, counted.json()), (200, json!({"input_tokens": 42})));
    let sent = &provider.requests()[0];
    assert!(
        sent.head.starts_with("POST /model/anthropic.claude-haiku-4-5-20251001-v1%3A0/count-tokens "),
        "{}",
        sent.head
    );
    assert!(is_signed(&sent.head, &sent.body));

    let missing = node.ask(&key, "/v1/messages/batches", &[], &json!({ "requests": [] })).await;
    assert_eq!((missing.status, &missing.json()["error"]["type"]), (404, &json!("not_found_error")));
    let message = missing.json()["error"]["message"].to_string();
    assert!(message.contains("bedrock") && message.contains("no such call"), "{message}");
    assert_eq!(provider.requests().len(), 1);
    let models = node
        .http
        .get(node.url("/v1/models"))
        .header("x-api-key", &key)
        .header("anthropic-version", "2023-06-01");
    let models: Value = models.send().await.unwrap().json().await.unwrap();
    assert_eq!(models["data"][0]["id"], "claude-haiku-4-5", "{models}");
}

#[tokio::test]
async fn a_bedrock_key_is_a_bearer_token_and_its_own_api_is_below_anthropic() {
    let provider = Scripted::start().await;
    let more = "platform = \"bedrock\"\nregion = \"us-east-1\"\napi_key = \"bedrock-api-key-x\"";
    let node =
        Setup::with_targets(&target("aws", &format!("{}/anthropic", provider.url()), more)).start().await;
    let key = node.user_with_key("alice").await;
    answer(&provider, 200, "", ANSWER);
    let message = ask(&node, &key, &body(&json!({}))).await;
    assert_eq!((message.status, message.text()), (200, ANSWER.to_owned()));
    let sent = &provider.requests()[0];
    assert!(sent.head.starts_with("POST /anthropic/v1/messages?beta=true "), "{}", sent.head);
    assert_eq!(header(&sent.head, "authorization"), Some("Bearer bedrock-api-key-x"));
    assert_eq!(header(&sent.head, "anthropic-beta"), Some("a-1,b-2"));
}

#[tokio::test]
async fn azure_has_its_paths_and_its_header() {
    let provider = Scripted::start().await;
    let claude = target("claude", &provider.url(), "platform = \"azure\"\napi_key = \"azure-key\"");
    let gpt = claude.replace("claude", "gpt").replace("\"anthropic\"", "\"openai\"");
    let node = Setup::with_targets(&(claude + &gpt)).start().await;
    let key = node.user_with_key("alice").await;
    answer(&provider, 200, "", ANSWER);
    assert_eq!(ask(&node, &key, &body(&json!({}))).await.status, 200);
    answer(
        &provider,
        200,
        "",
        r#"{"id":"x","model":"gpt-5","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#,
    );
    let chat = json!({ "model": "my-deployment", "messages": [] });
    let chat = node.ask(&key, "/v1/chat/completions", &[], &chat).await;
    assert_eq!(chat.status, 200, "{}", chat.text());
    let lines: Vec<String> =
        provider.requests().iter().map(|sent| sent.head.lines().next().unwrap().to_owned()).collect();
    assert_eq!(
        lines,
        ["POST /anthropic/v1/messages?beta=true HTTP/1.1", "POST /openai/v1/chat/completions HTTP/1.1"]
    );
    assert!(provider.requests().iter().all(|sent| header(&sent.head, "api-key") == Some("azure-key")));
}

/// A file of a person's credentials, whose tokens `issuer` gives.
fn person(node: &Setup, issuer: &Scripted) -> String {
    let file = node.data_dir().parent().unwrap().join("person.json");
    let credentials = json!({
        "type": "authorized_user", "client_id": "c", "client_secret": "client-secret", "refresh_token": "refresh-token",
        "quota_project_id": "payer", "token_uri": format!("{}/token", issuer.url())
    });
    std::fs::write(&file, serde_json::to_string_pretty(&credentials).unwrap()).unwrap();
    file.display().to_string()
}

#[tokio::test]
async fn claude_and_gemini_are_called_at_vertex_with_a_token_that_is_exchanged_once() {
    let (provider, issuer) = (Scripted::start().await, Scripted::start().await);
    let setup = Setup::with_targets("");
    let file = person(&setup, &issuer);
    let vertex = target(
        "google",
        &provider.url(),
        &format!(
            "speaks = [\"gemini\"]\nplatform = \"vertex\"\nproject = \"p-1\"\nregion = \"europe-west1\"\napi_key_file = \"{file}\""
        ),
    );
    issuer.answer_json(r#"{"access_token":"ya29.token","expires_in":3600,"token_type":"Bearer"}"#);
    let node = setup.targets(&vertex).start().await;
    let key = node.user_with_key("alice").await;
    answer(&provider, 200, "", ANSWER);
    let message = ask(&node, &key, &body(&json!({}))).await;
    assert_eq!((message.status, message.text()), (200, ANSWER.to_owned()));
    answer(
        &provider,
        200,
        "",
        r#"{"candidates":[],"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":3},"modelVersion":"gemini-2.5-pro"}"#,
    );
    let gemini = json!({ "contents": [] });
    let gemini = node.ask(&key, "/v1beta/models/gemini-2.5-pro:generateContent", &[], &gemini).await;
    assert_eq!(gemini.status, 200, "{}", gemini.text());
    assert_eq!(node.usage_of(&gemini).await["input_tokens"], 5);
    let below = "/v1/projects/p-1/locations/europe-west1/publishers";
    let lines: Vec<String> =
        provider.requests().iter().map(|sent| sent.head.lines().next().unwrap().to_owned()).collect();
    assert_eq!(
        lines,
        [
            format!("POST {below}/anthropic/models/claude-haiku-4-5:rawPredict HTTP/1.1"),
            format!("POST {below}/google/models/gemini-2.5-pro:generateContent HTTP/1.1"),
        ]
    );
    for sent in provider.requests() {
        assert_eq!(header(&sent.head, "authorization"), Some("Bearer ya29.token"));
        assert_eq!(header(&sent.head, "x-goog-user-project"), Some("payer"));
    }
    assert_eq!(issuer.requests().len(), 1);
    let shown = node.get("/admin/v1/targets").await.to_string();
    assert!(
        shown.contains("\"available\":true") && !shown.contains("ya29") && !shown.contains("refresh-token"),
        "{shown}"
    );

    // What Google itself says is told in the words of the dialect.
    answer(
        &provider,
        429,
        "",
        r#"{"error":{"code":429,"message":"Quota exceeded","status":"RESOURCE_EXHAUSTED"}}"#,
    );
    let refused = ask(&node, &key, &body(&json!({}))).await;
    assert_eq!(
        (refused.status, refused.json()),
        (429, json!({"type":"error","error":{"type":"rate_limit_error","message":"Quota exceeded"}}))
    );
}

#[tokio::test]
async fn without_credentials_another_target_is_asked_and_the_operator_sees_why() {
    let (provider, issuer, other) = (Scripted::start().await, Scripted::start().await, Mock::start().await);
    let setup = Setup::with_targets("");
    let file = person(&setup, &issuer);
    let vertex = target(
        "google",
        &provider.url(),
        &format!("platform = \"vertex\"\nproject = \"p-1\"\nregion = \"global\"\napi_key_file = \"{file}\""),
    );
    answer(&issuer, 400, "", r#"{"error":"invalid_grant","error_description":"Token has been revoked."}"#);
    let both = vertex + &target("b", &other.url(), "api_key = \"k\"\ntier = 1");
    let node = setup.targets(&both).start().await;
    let key = node.user_with_key("alice").await;
    let message = ask(&node, &key, &body(&json!({}))).await;
    assert_eq!((message.status, message.header("x-sproxy-target")), (200, "b"));
    assert_eq!(node.usage_of(&message).await["attempts"], json!([]), "nothing was sent");
    assert!(provider.requests().is_empty());
    let shown = node.get("/admin/v1/targets").await.to_string();
    assert!(shown.contains("invalid_grant") && shown.contains("no_credentials"), "{shown}");
}

#[tokio::test]
async fn what_a_host_does_not_know_is_left_out_once_it_has_said_so() {
    let provider = Scripted::start().await;
    let more = "platform = \"azure\"\napi_key = \"k\"";
    let node = Setup::with_targets(&target("azure", &provider.url(), more)).start().await;
    let key = node.user_with_key("alice").await;
    let refusal = |message: &str| {
        json!({"type":"error","error":{"type":"invalid_request_error","message":message}}).to_string()
    };
    answer(
        &provider,
        400,
        "",
        &refusal("Unexpected value(s) `b-2` for the `anthropic-beta` header. Please consult"),
    );
    answer(&provider, 400, "", &refusal("context_management: Extra inputs are not permitted"));
    answer(&provider, 200, "", ANSWER);
    let call = body(&json!({ "context_management": { "edits": [] }, "temperature": 1.0 }));
    let message = ask(&node, &key, &call).await;
    assert_eq!((message.status, message.text()), (200, ANSWER.to_owned()));
    let dropped: Vec<&str> = message.header("x-sproxy-dropped").split(", ").collect();
    assert!(dropped.len() == 2 && dropped.contains(&"anthropic-beta=b-2"), "{dropped:?}");
    assert!(dropped.contains(&"context_management"), "{dropped:?}");
    let last = &provider.requests()[2];
    assert_eq!(header(&last.head, "anthropic-beta"), Some("a-1"));
    let arrived: Value = serde_json::from_slice(&last.body).unwrap();
    assert_eq!((&arrived["context_management"], &arrived["temperature"]), (&Value::Null, &json!(1.0)));
    let row = node.usage_of(&message).await;
    let reasons: Vec<_> =
        row["attempts"].as_array().unwrap().iter().map(|attempt| &attempt["reason"]).collect();
    assert_eq!(reasons, ["unknown_field", "unknown_field"], "begun calls are the record and its attempts");

    // It is remembered, and counted.
    answer(&provider, 200, "", ANSWER);
    let message = ask(&node, &key, &call).await;
    assert_eq!((message.status, provider.requests().len()), (200, 4));
    assert_eq!(node.usage_of(&message).await["attempts"], json!([]));
    let metrics = node.http.get(node.url("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("sproxy_dropped_fields_total{field=\"context_management\"} 2"), "{metrics}");

    // What is meant is the caller's to change, and so is everything at the provider itself.
    let meant = refusal("mcp_servers: Extra inputs are not permitted");
    answer(&provider, 400, "", &meant);
    let refused = ask(&node, &key, &body(&json!({ "mcp_servers": [] }))).await;
    assert_eq!((refused.status, refused.text()), (400, meant));
    let plain = Setup::with_targets(&target("own", &provider.url(), "api_key = \"k\"")).start().await;
    let key = plain.user_with_key("alice").await;
    let said = refusal("context_management: Extra inputs are not permitted");
    answer(&provider, 400, "", &said);
    let refused = ask(&plain, &key, &call).await;
    assert_eq!((refused.status, refused.text(), refused.header("x-sproxy-dropped")), (400, said, ""));
}

#[tokio::test]
async fn where_bedrock_does_not_say_which_beta_it_means_others_keep_theirs() {
    let provider = Scripted::start().await;
    let node = Setup::with_targets(&bedrock(&provider)).start().await;
    let key = node.user_with_key("alice").await;
    let call = body(&json!({}));
    answer(&provider, 400, "x-amzn-errortype: ValidationException\r\n", r#"{"message":"invalid beta flag"}"#);
    answer(&provider, 200, "", ANSWER);
    let message = node.ask(&key, MESSAGES, &[("anthropic-beta", "good,bogus")], &call).await;
    assert_eq!(
        (message.status, message.header("x-sproxy-dropped")),
        (200, "anthropic-beta=good, anthropic-beta=bogus")
    );
    answer(&provider, 200, "", ANSWER);
    let message = node.ask(&key, MESSAGES, &[("anthropic-beta", "good")], &call).await;
    assert_eq!((message.status, message.header("x-sproxy-dropped")), (200, ""));
    answer(&provider, 200, "", ANSWER);
    let message = node.ask(&key, MESSAGES, &[("anthropic-beta", "bogus, good")], &call).await;
    assert_eq!((message.status, message.header("x-sproxy-dropped")), (200, "anthropic-beta=bogus"));
    let betas: Vec<Value> = provider
        .requests()
        .iter()
        .map(|sent| serde_json::from_slice::<Value>(&sent.body).unwrap()["anthropic_beta"].clone())
        .collect();
    assert_eq!(betas, [json!(["good", "bogus"]), Value::Null, json!(["good"]), json!(["good"])]);
}

fn gzip(text: &str) -> Vec<u8> {
    use std::io::Write as _;
    let mut coded = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    coded.write_all(text.as_bytes()).unwrap();
    coded.finish().unwrap()
}

/// Providers compress what they say for whoever accepts it, refusals too.
#[tokio::test]
async fn a_compressed_refusal_is_read_like_any_other() {
    let say = |provider: &Scripted, status: u16, text: &str| {
        let body = gzip(text);
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        provider.write([head.as_bytes(), &body].concat()).close();
    };
    let (provider, other) = (Scripted::start().await, Mock::start().await);
    let first = target("a", &provider.url(), "platform = \"azure\"\napi_key = \"k\"");
    let both = first + &target("b", &other.url(), "api_key = \"k\"\ntier = 1");
    let node = Setup::with_targets(&both).start().await;
    let key = node.user_with_key("alice").await;
    say(
        &provider,
        400,
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"context_management: Extra inputs are not permitted"}}"#,
    );
    answer(&provider, 200, "", ANSWER);
    let message = ask(&node, &key, &body(&json!({ "context_management": {} }))).await;
    assert_eq!((message.status, message.header("x-sproxy-dropped")), (200, "context_management"));
    say(
        &provider,
        404,
        r#"{"type":"error","error":{"type":"not_found_error","message":"model: claude-haiku-4-5"}}"#,
    );
    let message = ask(&node, &key, &body(&json!({}))).await;
    assert_eq!((message.status, message.header("x-sproxy-target")), (200, "b"));

    let node = Setup::with_targets(&bedrock(&provider)).start().await;
    let key = node.user_with_key("alice").await;
    say(&provider, 400, r#"{"message":"too long"}"#);
    let refused = ask(&node, &key, &body(&json!({}))).await;
    let told = json!({"type":"error","error":{"type":"invalid_request_error","message":"too long"}});
    assert_eq!((refused.status, refused.json(), refused.header("content-encoding")), (400, told, ""));
}

#[tokio::test]
async fn a_caller_who_writes_ever_new_betas_has_not_every_call_sent_twice() {
    let provider = Scripted::start().await;
    let more = "platform = \"azure\"\napi_key = \"k\"";
    let node = Setup::with_targets(&target("azure", &provider.url(), more))
        .section("upstream", "retry_ratio = 0.0")
        .start()
        .await;
    let key = node.user_with_key("mallory").await;
    let mut statuses = Vec::new();
    for n in 0..40 {
        let said = format!("Unexpected value(s) `x-{n}` for the `anthropic-beta` header.");
        let said =
            json!({"type":"error","error":{"type":"invalid_request_error","message":said}}).to_string();
        answer(&provider, 400, "", &said);
        let beta = format!("x-{n}");
        let (headers, call) = ([("anthropic-beta", &*beta)], body(&json!({})));
        let asked = node.ask(&key, MESSAGES, &headers, &call);
        // A repeated call is answered by what is written next.
        let answered = tokio::select! {
            answered = asked => answered,
            () = repeated(&provider, 2 + statuses.len()) => unreachable!(),
        };
        statuses.push(answered.status);
        if answered.status == 400 {
            break;
        }
    }
    assert_eq!(statuses.last(), Some(&400), "the budget for repeated calls is used up: {statuses:?}");
}

/// Writes a good answer once so many requests have come, and never ends.
async fn repeated(provider: &Scripted, requests: usize) {
    crate::harness::until("a further request", async || {
        (provider.requests().len() >= requests).then_some(())
    })
    .await;
    answer(provider, 200, "", ANSWER);
    std::future::pending::<()>().await;
}
