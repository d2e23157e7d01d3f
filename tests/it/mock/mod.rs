//! The mock provider: it answers as steered, fails as told, and knows what it has answered completely.

mod clouds;
mod scripts;

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use sproxy::dialect::Billing;
use sproxy::domain::tokens::Estimate;
use sproxy::domain::usage::Tokens;
use sproxy::metering::{AnswerHead, End, open};
use sproxy::mock::Options;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Waits for what must become true, at most this long.
const PATIENCE: Duration = Duration::from_secs(10);

/// A mock on a port of its own; ends with the test.
struct Mock {
    address: SocketAddr,
    client: Client,
    task: JoinHandle<std::io::Result<()>>,
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Mock {
    async fn start() -> Self {
        Self::with(Options::default()).await
    }

    async fn with(options: Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let task = tokio::spawn(sproxy::mock::serve(listener, options, std::future::pending()));
        Self { address, client: Client::new(), task }
    }

    fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.client.post(format!("http://{}{path}", self.address)).json(body)
    }

    async fn get(&self, path: &str) -> Value {
        let url = format!("http://{}{path}", self.address);
        self.client.get(url).send().await.expect("an answer").json().await.expect("JSON")
    }

    async fn served(&self, model: &str) -> Value {
        self.get("/mock/served").await.get(model).cloned().unwrap_or(Value::Null)
    }
}

/// Every way to ask for an answer: path and body.
fn calls() -> Vec<(&'static str, Value)> {
    let chat = |stream: bool| json!({"model": "m", "stream": stream, "messages": []});
    let asking =
        json!({"model": "m", "stream": true, "stream_options": {"include_usage": true}, "messages": []});
    vec![
        ("/v1/messages", chat(false)),
        ("/v1/messages?beta=true", chat(true)),
        ("/v1/chat/completions", chat(false)),
        ("/v1/chat/completions", asking.clone()),
        ("/v1/completions", json!({"model": "m", "prompt": "x"})),
        ("/v1/completions", asking),
        ("/v1/responses", json!({"model": "m", "input": "x"})),
        ("/v1/responses", json!({"model": "m", "input": "x", "stream": true})),
        ("/v1beta/models/m:generateContent", json!({"contents": []})),
        ("/v1/models/m:generateContent", json!({"contents": []})),
        ("/v1beta/models/m:streamGenerateContent", json!({"contents": []})),
        ("/v1beta/models/m:streamGenerateContent?alt=sse", json!({"contents": []})),
        ("/api/chat", chat(false)),
        ("/api/chat", json!({"model": "m", "messages": []})),
        ("/api/generate", json!({"model": "m", "prompt": "x"})),
    ]
}

fn metered(content_type: &str, content_encoding: Option<&str>, body: &[u8]) -> Tokens {
    let mut meter = open(&AnswerHead {
        billing: Billing::Inference,
        status: 200,
        content_type: Some(content_type),
        content_encoding,
        estimate: Estimate::of_input(0),
    });
    meter.feed(body);
    let result = meter.result(End::Body);
    assert!(result.complete && result.readable, "{result:?}");
    result.tokens
}

#[tokio::test]
async fn every_dialect_answers_the_counts_it_was_told_and_books_them() {
    let mock = Mock::start().await;
    for (path, body) in calls() {
        let answer = mock.post(path, &body).header("mock-input", "1000").header("mock-output", "77");
        let answer = answer.header("mock-cache-read", "400").send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        let content_type = answer.headers()["content-type"].to_str().expect("text").to_owned();
        let bytes = answer.bytes().await.expect("a body");
        let tokens = metered(&content_type, None, &bytes);
        assert_eq!((tokens.input, tokens.output), (1_000, 77), "{path}");
        let caches = !path.starts_with("/api/");
        assert_eq!(tokens.cache_read, if caches { 400 } else { 0 }, "{path}");
    }
    let calls = calls().len();
    let expected = json!({"requests": calls, "input": 1_000 * calls, "output": 77 * calls, "errors": 0});
    assert_eq!(mock.served("m").await, expected);
}

#[tokio::test]
async fn embeddings_have_input_alone_and_counting_tokens_is_free() {
    let mock = Mock::start().await;
    for path in ["/v1/embeddings", "/api/embed", "/v1beta/models/m:embedContent"] {
        let body = json!({"model": "m", "input": "x"});
        let answer = mock.post(&format!("{path}?mock-input=9"), &body).send().await.expect("an answer");
        let tokens = metered("application/json", None, &answer.bytes().await.expect("a body"));
        assert_eq!((tokens.input, tokens.output), (9, 0), "{path}");
    }
    let counted = mock.post("/v1/messages/count_tokens?mock-input=33", &json!({"model": "m"}));
    let counted: Value = counted.send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!(counted, json!({"input_tokens": 33}));
    assert_eq!(mock.served("m").await["requests"], 3);
}

#[tokio::test]
async fn a_query_steers_like_a_header_and_a_header_wins() {
    let mock = Mock::start().await;
    let body = json!({"model": "m", "messages": []});
    let path = "/v1/messages?mock-input=5&mock-output=6&mock-cache-write=2&mock-cache-write-1h=1";
    let answer = mock.post(path, &body).header("mock-output", "8").send().await.expect("an answer");
    let tokens = metered("application/json", None, &answer.bytes().await.expect("a body"));
    let expected = Tokens { input: 5, output: 8, cache_write: 2, cache_write_1h: 1, ..Tokens::default() };
    assert_eq!(tokens, expected);
}

#[tokio::test]
async fn errors_come_in_the_dialects_shape_with_the_providers_headers() {
    let mock = Mock::start().await;
    for (path, pointer, expected) in [
        ("/v1/messages", "/error/type", json!("rate_limit_error")),
        ("/v1/chat/completions", "/error/code", json!("rate_limit_exceeded")),
        ("/v1beta/models/m:generateContent", "/error/status", json!("RESOURCE_EXHAUSTED")),
        ("/api/chat", "/error", json!("the mock provider was asked to fail")),
    ] {
        let answer = mock.post(path, &json!({"model": "m"})).header("mock-status", "429");
        let answer = answer.send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
        let retry = answer.headers().contains_key("retry-after");
        assert_eq!(retry, path != "/api/chat", "{path}");
        let body: Value = answer.json().await.expect("JSON");
        assert_eq!(body.pointer(pointer), Some(&expected), "{path}");
    }
    assert_eq!(mock.served("m").await, json!({"requests": 0, "input": 0, "output": 0, "errors": 4}));
    let answer = mock.post("/v1/messages", &json!({"model": "m"})).send().await.expect("an answer");
    assert!(answer.headers().contains_key("request-id"));
    assert!(answer.headers().contains_key("anthropic-ratelimit-requests-remaining"));
}

#[tokio::test]
async fn failures_on_purpose_are_never_booked_as_complete() {
    let mock = Mock::start().await;
    let body = json!({"model": "m", "stream": true, "messages": []});
    let refused = mock.post("/v1/messages?mock-fail=before-headers", &body).send().await;
    assert!(refused.is_err(), "no answer at all");
    for (path, body) in [("/v1/messages", &body), ("/v1/chat/completions", &json!({"model": "m"}))] {
        let cut = mock.post(&format!("{path}?mock-fail=mid-stream"), body).send().await.expect("a head");
        let mut cut = cut;
        let first = cut.chunk().await.expect("half a body").expect("bytes");
        assert!(!first.is_empty());
        while let Ok(chunk) = cut.chunk().await {
            assert!(chunk.is_some(), "{path}: the body has to break, not to end");
        }
    }
    let hanging = mock.post("/v1/messages?mock-fail=hang", &body).timeout(Duration::from_millis(300));
    assert!(hanging.send().await.is_err_and(|error| error.is_timeout()));
    let failed = mock.post("/v1/messages?mock-fail=error-event", &body).send().await.expect("an answer");
    let text = failed.text().await.expect("a body");
    assert!(text.contains("event: error\ndata: {\"type\":\"error\""), "{text}");
    assert!(!text.contains("message_stop"));
    assert_eq!(mock.served("m").await, json!({"requests": 0, "input": 0, "output": 0, "errors": 1}));
}

#[tokio::test]
async fn an_answer_is_booked_once_its_last_byte_is_out_and_not_if_the_caller_left() {
    let mock = Mock::start().await;
    let body = json!({"model": "m", "stream": true, "messages": []});
    let paced = "/v1/messages?mock-events=1000&mock-delay-ms=20";
    let mut left = mock.post(paced, &body).send().await.expect("a head");
    assert!(left.chunk().await.expect("a first event").is_some());
    drop(left);
    let stays = mock.post("/v1/messages?mock-events=3&mock-delay-ms=5", &body).send().await.expect("a head");
    let text = stays.text().await.expect("a body");
    assert!(text.contains("message_stop"));
    assert_eq!(mock.served("m").await["requests"], 1);
}

#[tokio::test]
async fn events_are_paced_and_arrive_one_by_one() {
    let mock = Mock::start().await;
    let body = json!({"model": "m", "stream": true, "messages": []});
    let path = "/v1/messages?mock-events=4&mock-delay-ms=30";
    let mut answer = mock.post(path, &body).send().await.expect("a head");
    let mut chunks = 0;
    while let Some(chunk) = answer.chunk().await.expect("a chunk") {
        assert!(chunk.ends_with(b"\n\n"), "whole events");
        chunks += 1;
    }
    assert!(chunks >= 5, "{chunks} chunks of 10 events: they were not paced");
}

#[tokio::test]
async fn compressed_answers_decode_to_the_same_counts() {
    let mock = Mock::start().await;
    for (path, body) in calls() {
        for coding in ["gzip", "deflate", "br", "zstd"] {
            let request = mock.post(path, &body).header("mock-encoding", coding);
            let answer = request.header("mock-input", "50").header("mock-output", "60");
            let answer = answer.send().await.expect("an answer");
            assert_eq!(answer.headers()["content-encoding"], coding);
            let content_type = answer.headers()["content-type"].to_str().expect("text").to_owned();
            let tokens = metered(&content_type, Some(coding), &answer.bytes().await.expect("a body"));
            assert_eq!((tokens.input, tokens.output), (50, 60), "{path} {coding}");
        }
    }
}

#[tokio::test]
async fn usage_is_streamed_only_to_those_who_ask() {
    let mock = Mock::start().await;
    let body = json!({"model": "m", "stream": true, "messages": []});
    let answer = mock.post("/v1/chat/completions", &body).send().await.expect("an answer");
    assert!(!answer.text().await.expect("a body").contains("usage"));
}

#[tokio::test]
async fn models_are_listed_in_the_dialect_that_is_spoken() {
    let mock = Mock::start().await;
    assert_eq!(mock.get("/v1/models").await["object"], "list");
    assert!(mock.get("/v1beta/models").await["models"][0]["supportedGenerationMethods"].is_array());
    assert!(mock.get("/api/tags").await["models"][0]["digest"].is_string());
    let url = format!("http://{}/v1/models?limit=1000", mock.address);
    let anthropic =
        mock.client.get(url).header("anthropic-version", "2023-06-01").send().await.expect("a list");
    let anthropic: Value = anthropic.json().await.expect("JSON");
    assert!(anthropic["data"][0]["display_name"].is_string());
    assert_eq!(anthropic["has_more"], false);
}

#[tokio::test]
async fn the_last_request_can_be_looked_at_byte_for_byte() {
    let mock = Mock::start().await;
    let url = format!("http://{}/v1/messages?beta=true", mock.address);
    let body = "{ \"model\":\"m\",\n \"x\" : 1.0}";
    let sent = mock.client.post(url).header("x-api-key", "seen").body(body).send().await.expect("an answer");
    drop(sent.bytes().await);
    let last = mock.get("/mock/last").await;
    assert_eq!((&last["method"], &last["query"]), (&json!("POST"), &json!("beta=true")));
    assert_eq!(last["headers"]["x-api-key"], json!(["seen"]));
    let url = format!("http://{}/mock/last/body", mock.address);
    assert_eq!(mock.client.get(url).send().await.expect("it").text().await.expect("text"), body);
}

#[tokio::test]
async fn defaults_hold_for_requests_that_steer_nothing() {
    let mock = Mock::start().await;
    let steer = mock.post("/mock/defaults?mock-status=503", &Value::Null).send().await.expect("done");
    assert_eq!(steer.status(), StatusCode::OK);
    let answer = mock.post("/v1/messages", &json!({"model": "m"})).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    mock.post("/mock/defaults", &Value::Null).send().await.expect("done");
    let answer = mock.post("/v1/messages", &json!({"model": "m"})).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn http2_with_prior_knowledge_is_spoken_too() {
    let mock = Mock::start().await;
    let client = Client::builder().http2_prior_knowledge().build().expect("a client");
    let url = format!("http://{}/v1/messages", mock.address);
    let body = json!({"model": "m", "stream": true, "messages": []});
    let answer = client.post(url).json(&body).send().await.expect("an answer");
    assert_eq!(answer.version(), reqwest::Version::HTTP_2);
    assert!(answer.text().await.expect("a body").contains("message_stop"));
    assert_eq!(mock.served("m").await["requests"], 1);
}

#[tokio::test]
async fn a_websocket_is_turned_away_and_the_root_answers_everyone() {
    let mock = Mock::start().await;
    let url = format!("http://{}", mock.address);
    let upgrade = mock.client.get(format!("{url}/v1/responses")).header("upgrade", "websocket");
    let upgrade = upgrade.header("connection", "upgrade").send().await.expect("an answer");
    assert_eq!(upgrade.status(), StatusCode::UPGRADE_REQUIRED);
    assert_eq!(mock.client.head(&url).send().await.expect("an answer").status(), StatusCode::OK);
}

#[tokio::test]
async fn it_stops_when_it_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let task = tokio::spawn(sproxy::mock::serve(listener, Options::default(), async { drop(stopped.await) }));
    drop(stop);
    let ended = tokio::time::timeout(PATIENCE, task).await.expect("in time").expect("no panic");
    assert!(ended.is_ok());
}

/// The name and arguments of the first tool call in an answer, whatever its dialect, stream or not.
fn tool_call(body: &str) -> Option<(String, Value)> {
    let objects: Vec<Value> = match serde_json::from_str::<Value>(body) {
        Ok(Value::Array(elements)) => elements,
        Ok(whole) => vec![whole],
        Err(_) => {
            let lines = body.lines().map(|line| line.strip_prefix("data: ").unwrap_or(line));
            lines.filter_map(|line| serde_json::from_str(line).ok()).collect()
        }
    };
    let (mut name, mut pieces) = (None, String::new());
    for object in &objects {
        collect(object, &mut name, &mut pieces);
    }
    // What a stream repeats at its end is there whole already.
    let arguments = serde_json::Deserializer::from_str(&pieces).into_iter().next()?.ok()?;
    Some((name?, arguments))
}

/// Finds the parts of a tool call, wherever a dialect has them.
fn collect(value: &Value, name: &mut Option<String>, pieces: &mut String) {
    let members = match value {
        Value::Object(members) => members,
        Value::Array(elements) => return elements.iter().for_each(|element| collect(element, name, pieces)),
        _ => return,
    };
    let is_call = ["arguments", "input", "args"].iter().any(|key| members.contains_key(*key));
    if is_call && let Some(called) = members.get("name").and_then(Value::as_str) {
        name.get_or_insert_with(|| called.to_owned());
    }
    let is_delta =
        members.get("type").and_then(Value::as_str) == Some("response.function_call_arguments.delta");
    for (key, value) in members {
        match (key.as_str(), value) {
            ("arguments" | "partial_json", Value::String(piece)) => pieces.push_str(piece),
            ("delta", Value::String(piece)) if is_delta => pieces.push_str(piece),
            ("arguments" | "input" | "args", Value::Object(whole)) if !whole.is_empty() => {
                pieces.push_str(&value.to_string());
            }
            _ => collect(value, name, pieces),
        }
    }
}

#[tokio::test]
async fn a_tool_is_called_when_asked_for_in_every_dialect_whole_and_as_a_stream() {
    let mock = Mock::start().await;
    let schema =
        json!({ "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"] });
    let function = json!({ "name": "weather", "parameters": schema });
    let mut cases = Vec::new();
    for stream in [false, true] {
        let chat = json!({ "model": "m", "stream": stream, "messages": [], "tool_choice": "required",
            "tools": [{ "type": "function", "function": function }] });
        let messages = json!({ "model": "m", "stream": stream, "messages": [], "tool_choice": { "type": "any" },
            "tools": [{ "name": "weather", "input_schema": schema }] });
        let response = json!({ "model": "m", "stream": stream, "input": "x", "tool_choice": "required",
            "tools": [{ "type": "function", "name": "weather", "parameters": schema }] });
        let contents = json!({ "contents": [], "toolConfig": { "functionCallingConfig": { "mode": "ANY" } },
            "tools": [{ "functionDeclarations": [function] }] });
        let verb = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
        cases.push((format!("/v1beta/models/m:{verb}"), contents));
        cases.push(("/v1/messages".to_owned(), messages));
        cases.push(("/v1/chat/completions".to_owned(), chat.clone()));
        cases.push(("/v1/responses".to_owned(), response));
        // Ollama has no word to force a tool.
        cases.push(("/api/chat?mock-tool=weather".to_owned(), chat));
    }
    for (path, body) in cases {
        let answer = mock.post(&path, &body).send().await.expect("an answer").text().await.expect("text");
        let expected = Some(("weather".to_owned(), json!({ "city": "mock" })));
        assert_eq!(tool_call(&answer), expected, "{path} {body}: {answer}");
    }
}

#[tokio::test]
async fn an_unknown_path_is_told_from_a_failure_on_purpose() {
    let mock = Mock::start().await;
    let said = |path: &'static str| {
        let request = mock.post(path, &json!({}));
        async move { request.send().await.expect("an answer").text().await.expect("text") }
    };
    assert!(said("/v1/nothing").await.contains("does not know this path"));
    assert!(said("/v1/messages?mock-status=404").await.contains("was asked to fail"));
}
