//! The way of a request, from outside: what passes untouched, what is booked, what is refused and how.

mod agents;
mod bypass;
mod converted;
mod converted_counts;
mod converted_gemini;
mod credentials;
mod failover;
mod realtime;
mod routing;
mod sdk;
mod sticky;
mod storm;
mod streams;
mod untouched;
mod websocket;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Answer, Mock, Node, Scripted, Setup, until};

const MESSAGE: &str = r#"{ "id":"msg_1","type":"message","model":"claude-sonnet-4-5-20250929","content":[{"type":"text","text":"Hé"}],
 "usage":{"input_tokens":10,"cache_creation_input_tokens":5,"cache_read_input_tokens":85,"output_tokens":7} }"#;

fn ask() -> Value {
    json!({ "model": "claude-sonnet-4-5", "max_tokens": 64, "messages": [{ "role": "user", "content": "Hello" }] })
}

async fn before(provider: &Scripted) -> (Node, String) {
    let node = Setup::with_targets_at(&provider.url()).start().await;
    let key = node.user_with_key("alice").await;
    (node, key)
}

async fn started() -> (Scripted, Node, String) {
    let provider = Scripted::start().await;
    let (node, key) = before(&provider).await;
    (provider, node, key)
}

/// A client of either version of HTTP, and its name.
fn clients() -> [(&'static str, reqwest::Client); 2] {
    let http2 = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    [("HTTP/1.1", reqwest::Client::new()), ("HTTP/2", http2)]
}

#[tokio::test]
async fn a_json_answer_passes_byte_for_byte_and_is_booked_with_its_price() {
    let provider = Scripted::start().await;
    let (node, key) = before(&provider).await;
    provider.answer_json(MESSAGE);
    let answer = node.ask(&key, "/v1/messages", &[], &ask()).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, MESSAGE));
    assert_eq!(answer.header("x-sproxy-node"), "sp-1");
    let row = node.usage_of(&answer).await;
    for (field, value) in [
        ("user", json!("alice")),
        ("model", json!("claude-sonnet-4-5")),
        ("actual_model", json!("claude-sonnet-4-5-20250929")),
        ("provider", json!("anthropic")),
        ("target", json!("anthropic")),
        ("input_tokens", json!(100)),
        ("output_tokens", json!(7)),
        ("total_tokens", json!(107)),
        ("cache_read_tokens", json!(85)),
        ("cache_write_tokens", json!(5)),
        ("token_source", json!("reported")),
        ("outcome", json!("ok")),
        ("is_streaming", json!(false)),
        ("status_code", json!(200)),
        ("source_node", json!("sp-1")),
        // 10 x 3000 + 85 x 300 + 5 x 3750 + 7 x 15000 nano-USD
        ("cost_nanousd", json!(30_000 + 25_500 + 18_750 + 105_000)),
    ] {
        assert_eq!(row[field], value, "{field} of {row}");
    }
}

#[tokio::test]
async fn the_request_reaches_the_provider_as_it_was_but_with_the_targets_key() {
    let provider = Scripted::start().await;
    let (node, key) = before(&provider).await;
    provider.answer_json(MESSAGE);
    // Spaces, order and escapes of the body are the caller's own.
    let body = "{\"max_tokens\" :64,  \"model\":\"claude-sonnet-4-5\", \"messages\":[{\"role\":\"user\",\"content\":\"\\u00e9\\n\"}]}";
    let request = node.http.post(node.url("/v1/messages?beta=true&key=another-secret"));
    let request = request
        .header("x-api-key", &key)
        .header("anthropic-beta", "some-beta-2026,other")
        .header("x-anything", "kept")
        .header("cookie", "session=1")
        .body(body);
    let answer = Answer::read(request.send().await.unwrap()).await;
    assert_eq!(answer.status, 200);
    let seen = provider.requests().remove(0);
    assert_eq!(String::from_utf8(seen.body).unwrap(), body);
    let head = seen.head.to_ascii_lowercase();
    assert!(head.starts_with("post /v1/messages?beta=true http/1.1\r\n"), "{head}");
    for line in
        ["x-api-key: upstream-secret-anthropic", "anthropic-beta: some-beta-2026,other", "x-anything: kept"]
    {
        assert!(head.contains(line), "{line} in {head}");
    }
    for secret in [key.as_str(), "another-secret", "session=1"] {
        assert!(!head.contains(&secret.to_ascii_lowercase()), "{secret} must not reach the provider");
    }
}

const START: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-sonnet-4-5\",\"content\":[],\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}\n\n";
const DELTA: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"0123456789abcdef\"}}\n\n";
const STOP: &str = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":15}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

#[tokio::test]
async fn a_stream_passes_chunk_by_chunk_as_it_comes() {
    let provider = Scripted::start().await;
    let (node, key) = before(&provider).await;
    let request = node.http.post(node.url("/v1/messages")).header("x-api-key", &key).json(&ask());
    provider.begin_stream().chunk(START);
    let mut response = request.send().await.unwrap();
    // Each chunk arrives before the provider has said anything more.
    assert_eq!(response.chunk().await.unwrap().unwrap(), START);
    provider.chunk(DELTA);
    assert_eq!(response.chunk().await.unwrap().unwrap(), DELTA);
    provider.chunk(STOP).end();
    let answer = Answer::read(response).await;
    assert!(answer.complete);
    assert_eq!(answer.text(), STOP);
    let row = node.usage_of(&answer).await;
    assert_eq!(
        (&row["input_tokens"], &row["output_tokens"], &row["outcome"], &row["is_streaming"]),
        (&json!(25), &json!(15), &json!("ok"), &json!(true))
    );
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_for_the_caller_and_is_booked_as_far_as_it_came() {
    let provider = Scripted::start().await;
    let (node, key) = before(&provider).await;
    provider.begin_stream().chunk(START).chunk(DELTA).close();
    let answer = node.ask(&key, "/v1/messages", &[], &ask()).await;
    assert!(!answer.complete, "the caller must see that something is missing");
    let row = node.usage_of(&answer).await;
    assert_eq!((&row["outcome"], &row["token_source"]), (&json!("upstream_cut"), &json!("estimated")));
    assert_eq!(
        (&row["input_tokens"], &row["output_tokens"]),
        (&json!(25), &json!(4)),
        "16 bytes are 4 tokens"
    );
}

#[tokio::test]
async fn an_error_event_inside_a_stream_is_a_failure_in_the_books() {
    let provider = Scripted::start().await;
    let (node, key) = before(&provider).await;
    let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
    provider.begin_stream().chunk(START).chunk(error).end();
    let answer = node.ask(&key, "/v1/messages", &[], &ask()).await;
    assert!(answer.complete && answer.text().ends_with(error));
    let row = node.usage_of(&answer).await;
    assert_eq!((&row["outcome"], &row["status_code"]), (&json!("upstream_error"), &json!(200)));
}

#[tokio::test]
async fn an_error_answer_passes_with_its_headers_and_costs_nothing() {
    let provider = Scripted::start().await;
    let (node, key) = before(&provider).await;
    let body = "{\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\",\"message\":\"slow down\"}}";
    provider.write(format!(
        "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\nretry-after: 17\r\n\
         anthropic-ratelimit-requests-remaining: 0\r\nrequest-id: req_1\r\nset-cookie: a=b\r\n\
         access-control-allow-origin: *\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ));
    let answer = node.ask(&key, "/v1/messages", &[], &ask()).await;
    assert_eq!((answer.status, answer.text().as_str()), (429, body));
    assert_eq!((answer.header("retry-after"), answer.header("request-id")), ("17", "req_1"));
    assert_eq!((answer.header("set-cookie"), answer.header("access-control-allow-origin")), ("", ""));
    let row = node.usage_of(&answer).await;
    assert_eq!(
        (&row["outcome"], &row["status_code"], &row["total_tokens"], &row["cost_nanousd"]),
        (&json!("upstream_error"), &json!(429), &json!(0), &json!(0))
    );
}

#[tokio::test]
async fn an_answer_with_nothing_in_it_is_whole_and_in_the_books() {
    let provider = Scripted::start().await;
    let (node, key) = before(&provider).await;
    provider.write("HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n");
    let answer = node.ask(&key, "/v1/messages", &[], &ask()).await;
    assert_eq!((answer.status, answer.body.len(), answer.complete), (202, 0, true));
    let row = node.usage_of(&answer).await;
    assert_eq!((&row["outcome"], &row["status_code"]), (&json!("ok"), &json!(202)));
}

#[tokio::test]
async fn a_caller_that_hangs_up_is_booked_with_what_passed() {
    let provider = Scripted::start().await;
    let (node, key) = before(&provider).await;
    provider.begin_stream().chunk(START).chunk(DELTA);
    let request = node.http.post(node.url("/v1/messages")).header("x-api-key", &key).json(&ask());
    let mut response = request.send().await.unwrap();
    let id = response.headers()["x-sproxy-request-id"].to_str().unwrap().to_owned();
    let mut seen = 0;
    while seen < START.len() + DELTA.len() {
        seen += response.chunk().await.unwrap().unwrap().len();
    }
    drop(response);
    let row = until("the record of the hang-up", async || {
        node.usage().await.into_iter().find(|row| row["request_id"] == json!(id))
    })
    .await;
    assert_eq!((&row["outcome"], &row["token_source"]), (&json!("client_gone"), &json!("estimated")));
    assert_eq!((&row["input_tokens"], &row["output_tokens"]), (&json!(25), &json!(4)));
}

#[tokio::test]
async fn a_caller_that_hangs_up_after_the_final_event_has_an_exact_record() {
    let provider = Scripted::start().await;
    let (node, key) = before(&provider).await;
    provider.begin_stream().chunk(START).chunk(STOP);
    let request = node.http.post(node.url("/v1/messages")).header("x-api-key", &key).json(&ask());
    let mut response = request.send().await.unwrap();
    let id = response.headers()["x-sproxy-request-id"].to_str().unwrap().to_owned();
    let mut text = String::new();
    while !text.contains("message_stop\"}") {
        text.push_str(std::str::from_utf8(&response.chunk().await.unwrap().unwrap()).unwrap());
    }
    // Committed: what the caller has seen is in the books, although the stream is still open.
    let rows = node.usage().await;
    let row = rows.iter().find(|row| row["request_id"] == json!(id)).expect("booked before it was released");
    drop(response);
    assert_eq!((&row["outcome"], &row["output_tokens"]), (&json!("ok"), &json!(15)));
}

#[tokio::test]
async fn with_drain_an_answer_is_counted_exactly_although_its_caller_has_left() {
    let provider = Scripted::start().await;
    let target = format!(
        "[[targets]]\nname = \"a\"\nprovider = \"anthropic\"\nurl = \"{}\"\napi_key = \"k\"\non_hangup = \"drain\"\n",
        provider.url()
    );
    let node = Setup::with_targets(&target).start().await;
    let key = node.user_with_key("alice").await;
    provider.begin_stream().chunk(START);
    let request = node.http.post(node.url("/v1/messages")).header("x-api-key", &key).json(&ask());
    let mut response = request.send().await.unwrap();
    response.chunk().await.unwrap();
    drop(response);
    // Before that the gateway would rightly take the caller for one that has had the whole answer.
    until("the hang-up is noticed", async || node.log().contains("a caller has left").then_some(())).await;
    provider.chunk(DELTA).chunk(STOP).end();
    let row = until("the drained record", async || node.usage().await.pop()).await;
    assert_eq!(
        (&row["outcome"], &row["token_source"], &row["output_tokens"]),
        (&json!("client_gone"), &json!("reported"), &json!(15))
    );
}

#[tokio::test]
async fn the_usage_chunk_that_only_the_gateway_asked_for_is_not_seen_by_the_caller() {
    let provider = Scripted::start().await;
    let (node, key) = before(&provider).await;
    let first =
        "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"}}],\"usage\":null}\n\n";
    let usage = "data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2,\"total_tokens\":11}}\n\n";
    let done = "data: [DONE]\n\n";
    provider.begin_stream().chunk(first).chunk(usage).chunk(done).end();
    let body =
        json!({ "model": "gpt-5-mini", "stream": true, "messages": [{ "role": "user", "content": "Hi" }] });
    let answer = node.ask(&key, "/v1/chat/completions", &[("accept-encoding", "gzip")], &body).await;
    assert_eq!(answer.text(), format!("{first}{done}"));
    let sent: Value = serde_json::from_slice(&provider.requests()[0].body).unwrap();
    assert_eq!(sent["stream_options"], json!({ "include_usage": true }));
    let row = node.usage_of(&answer).await;
    assert_eq!(
        (&row["input_tokens"], &row["output_tokens"], &row["outcome"]),
        (&json!(9), &json!(2), &json!("ok"))
    );
}

#[tokio::test]
async fn each_target_is_asked_for_usage_as_its_own_configuration_says() {
    let mock = Mock::start().await;
    let target = |name: &str, url: &str, include_usage: bool| {
        format!(
            "[[targets]]\nname = \"{name}\"\nprovider = \"openai\"\nurl = \"{url}\"\ninclude_usage = {include_usage}\n"
        )
    };
    let (gone, there) = ("http://127.0.0.1:9", mock.url());
    let targets =
        [target("gone", gone, true), target("asked", &there, true), target("spared", &there, false)];
    let node = Setup::with_targets(&targets.concat()).start().await;
    let key = node.user_with_key("alice").await;
    let mut met = BTreeSet::new();
    for number in 0..12 {
        // Every call begins a conversation of its own: one would stay with one target.
        let text = format!("Hi, {number}");
        let body = json!({ "model": "gpt-5-mini", "stream": true, "messages": [{ "role": "user", "content": text }] });
        let answer = node.ask(&key, "/v1/chat/completions", &[], &body).await;
        assert!(!answer.text().contains("usage\":{"), "the caller has not asked: {}", answer.text());
        let row = node.usage_of(&answer).await;
        let told = if row["target"] == json!("asked") { "reported" } else { "estimated" };
        assert_eq!(row["token_source"], json!(told), "of {}", row["target"]);
        met.insert(row["target"].to_string());
    }
    assert_eq!(met.len(), 2, "both targets that are there were met: {met:?}");
}

#[tokio::test]
async fn refusals_speak_the_callers_dialect() {
    let mock = Mock::start().await;
    let node = Setup::with_targets_at(&mock.url()).start().await;
    let answer = node.ask("sk-sp-nobody", "/v1/messages", &[], &ask()).await;
    assert_eq!((answer.status, &answer.json()["error"]["type"]), (401, &json!("authentication_error")));
    assert_eq!(answer.json()["request_id"], json!(answer.id));
    let answer = node.ask("sk-sp-nobody", "/v1/chat/completions", &[], &ask()).await;
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (401, &json!("invalid_api_key")));
    let answer = node.ask("sk-sp-nobody", "/v1beta/models/g:generateContent", &[], &ask()).await;
    assert_eq!((answer.status, &answer.json()["error"]["status"]), (401, &json!("UNAUTHENTICATED")));
    let answer = node.ask("sk-sp-nobody", "/api/chat", &[], &ask()).await;
    assert!(answer.status == 401 && answer.json()["error"].is_string());
    let nothing = node.http.post(node.url("/v1/messages")).json(&ask()).send().await.unwrap();
    assert_eq!(nothing.status(), 401);
    assert!(node.usage().await.is_empty(), "nobody's call is in nobody's books");
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_anything_is_bought() {
    let mock = Mock::start().await;
    let node = Setup::with_targets_at(&mock.url()).section("http", "max_body_bytes = 1000").start().await;
    let key = node.user_with_key("alice").await;
    let mut body = ask();
    body["padding"] = json!("x".repeat(1000));
    let answer = node.ask(&key, "/v1/messages", &[], &body).await;
    assert_eq!((answer.status, &answer.json()["error"]["type"]), (413, &json!("request_too_large")));
    let row = node.usage_of(&answer).await;
    assert_eq!((&row["outcome"], &row["target"]), (&json!("refused"), &json!("")), "{row}");
}

#[tokio::test]
async fn a_model_that_no_target_serves_is_not_found() {
    let mock = Mock::start().await;
    let target = format!(
        "[[targets]]\nname = \"a\"\nprovider = \"anthropic\"\nurl = \"{}\"\napi_key = \"k\"\nmodels = [\"claude-haiku*\"]\n",
        mock.url()
    );
    let node = Setup::with_targets(&target).start().await;
    let key = node.user_with_key("alice").await;
    let answer = node.ask(&key, "/v1/messages", &[], &ask()).await;
    assert_eq!((answer.status, &answer.json()["error"]["type"]), (404, &json!("not_found_error")));
    assert!(answer.text().contains("claude-sonnet-4-5"), "{}", answer.text());
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_a_502_and_another_target_takes_over_if_there_is_one() {
    let mock = Mock::start().await;
    let target = |name: &str, url: &str| {
        format!(
            "[[targets]]\nname = \"{name}\"\nprovider = \"anthropic\"\nurl = \"{url}\"\napi_key = \"k\"\n"
        )
    };
    let gone = "http://127.0.0.1:9";
    let node = Setup::with_targets(&target("gone", gone)).start().await;
    let key = node.user_with_key("alice").await;
    let answer = node.ask(&key, "/v1/messages", &[], &ask()).await;
    assert_eq!((answer.status, &answer.json()["error"]["type"]), (502, &json!("api_error")));
    let row = node.usage_of(&answer).await;
    assert_eq!((&row["outcome"], &row["total_tokens"]), (&json!("upstream_unreachable"), &json!(0)));
    let both = format!("{}{}", target("gone", gone), target("there", &mock.url()));
    let node = Setup::with_targets(&both).start().await;
    let key = node.user_with_key("alice").await;
    for _ in 0..6 {
        let answer = node.ask(&key, "/v1/messages", &[], &ask()).await;
        assert_eq!(answer.status, 200);
        assert_eq!(node.usage_of(&answer).await["target"], json!("there"));
    }
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_in_time_is_a_504() {
    let mock = Mock::start().await;
    let target = format!(
        "[[targets]]\nname = \"a\"\nprovider = \"anthropic\"\nurl = \"{}\"\napi_key = \"k\"\nanswer_timeout = \"200ms\"\n",
        mock.url()
    );
    let node = Setup::with_targets(&target).start().await;
    let key = node.user_with_key("alice").await;
    let answer = node.ask(&key, "/v1/messages", &[("mock-fail", "hang")], &ask()).await;
    assert_eq!((answer.status, &answer.json()["error"]["type"]), (504, &json!("timeout_error")));
    assert_eq!(node.usage_of(&answer).await["outcome"], json!("upstream_timeout"));
}

#[tokio::test]
async fn a_full_ledger_refuses_before_the_upstream_is_called() {
    let mock = Mock::start().await;
    let node = Setup::with_targets_at(&mock.url()).section("usage", "queue = 1").start().await;
    let key = node.user_with_key("alice").await;
    let hanging = node.http.post(node.url("/v1/messages")).header("x-api-key", &key);
    let hanging = hanging.header("mock-fail", "hang").json(&ask());
    // It takes the one place as soon as it is free.
    let hanging = tokio::spawn(async move {
        while hanging.try_clone().unwrap().send().await.is_ok_and(|answer| answer.status() == 503) {}
    });
    let refused = until("a refusal", async || {
        let answer = node.ask(&key, "/v1/messages", &[], &ask()).await;
        (answer.status == 503).then_some(answer)
    })
    .await;
    assert_eq!(refused.json()["error"]["type"], json!("overloaded_error"));
    let before = mock.served().await;
    assert_eq!(node.ask(&key, "/v1/messages", &[], &ask()).await.status, 503);
    assert_eq!(mock.served().await, before, "nothing was bought");
    hanging.abort();
    until("room again", async || {
        (node.ask(&key, "/v1/messages", &[], &ask()).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn counting_tokens_and_listing_models_are_in_no_book() {
    let mock = Mock::start().await;
    let node = Setup::with_targets_at(&mock.url()).start().await;
    let key = node.user_with_key("alice").await;
    let counted = node.ask(&key, "/v1/messages/count_tokens", &[], &ask()).await;
    assert!(counted.json()["input_tokens"].as_u64().unwrap() > 0);
    let list = |version: bool| {
        let request = node.http.get(node.url("/v1/models")).header("x-api-key", &key);
        if version { request.header("anthropic-version", "2023-06-01") } else { request }
    };
    let anthropic: Value = list(true).send().await.unwrap().json().await.unwrap();
    assert!(anthropic["data"][0]["display_name"].is_string(), "{anthropic}");
    let openai: Value = list(false).send().await.unwrap().json().await.unwrap();
    assert!(openai["object"] == "list" && openai["data"].as_array().unwrap().len() > 1, "{openai}");
    assert!(node.usage().await.is_empty());
}

#[tokio::test]
async fn claude_code_and_codex_find_their_probes_answered() {
    let mock = Mock::start().await;
    let node = Setup::with_targets_at(&mock.url()).start().await;
    let key = node.user_with_key("alice").await;
    assert_eq!(node.http.head(node.url("/")).send().await.unwrap().status(), 200);
    assert_eq!(node.http.get(node.url("/")).send().await.unwrap().status(), 200);
    let mut socket = TcpStream::connect(node.address).await.unwrap();
    let upgrade = format!(
        "GET /v1/responses HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    socket.write_all(upgrade.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    tokio::time::timeout(Duration::from_secs(10), socket.read_exact(&mut head)).await.unwrap().unwrap();
    assert_eq!(&head, b"HTTP/1.1 426");
}
