//! Ways around limits and books that callers may try, and what is not to be taken for one.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::started;
use crate::harness::{Answer, Mock, Node, Scripted, Setup, until};

const CHAT: &str = r#"{"id":"c","object":"chat.completion","model":"gpt-5","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}"#;

/// A user with limits, and a key.
async fn limited(node: &Node, name: &str, mut limits: Value) -> String {
    limits["name"] = json!(name);
    node.post("/admin/v1/users", limits).await;
    node.key_of(name).await
}

/// Sends a request as it stands, which no client library would; the whole answer.
async fn raw(node: &Node, key: &str, method_and_path: &str, headers: &str, body: &str) -> String {
    let mut socket = TcpStream::connect(node.address).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method_and_path} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn send(node: &Node, key: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut request = node.http.post(node.url(path)).header("x-api-key", key).body(body.to_vec());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::read(request.send().await.unwrap()).await
}

#[tokio::test]
async fn a_path_that_could_mean_another_one_is_refused_in_the_callers_dialect() {
    let (provider, node, key) = started().await;
    let body = r#"{"model":"gpt-5","messages":[]}"#;
    for (path, shape) in [
        ("/openai/v1/models/../chat/completions", r#""code":"invalid_request""#),
        ("/openai/v1/models/./../chat/completions", r#""code":"invalid_request""#),
        ("/openai/v1/models/%2e%2E/chat/completions", r#""code":"invalid_request""#),
        ("/openai/v1/models/x%2f..%2F..%2fchat/completions", r#""code":"invalid_request""#),
        ("/openai/v1/models/..%5cchat/completions", r#""code":"invalid_request""#),
        ("/openai/v1/models/..\\chat/completions", r#""code":"invalid_request""#),
        ("/openai/v1/models/%252e%252e/chat/completions", r#""code":"invalid_request""#),
        ("/v1/files/../chat/completions", r#""code":"invalid_request""#),
        ("/anthropic/v1//messages", r#""type":"invalid_request_error""#),
        ("/gemini//v1beta/models/g:generateContent", r#""status":"INVALID_ARGUMENT""#),
        ("/api/tags/../chat", r#"{"error":""#),
    ] {
        let answer = raw(&node, &key, &format!("POST {path}"), "", body).await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains(shape), "{path}: {answer}");
        assert!(answer.contains("path"), "it says what is wrong: {answer}");
    }
    assert!(provider.requests().is_empty(), "nothing was bought");
    // Names with a slash or a dot in them are no such thing.
    provider.answer_json_and_close(r#"{"id":"m"}"#);
    let found = raw(&node, &key, "GET /v1/models/org%2Fmodel-1.5", "", "").await;
    assert!(found.starts_with("HTTP/1.1 200 "), "{found}");
    assert!(provider.requests()[0].head.starts_with("GET /v1/models/org%2Fmodel-1.5 "));
}

#[tokio::test]
async fn no_provider_is_asked_to_send_back_what_it_was_sent() {
    let (provider, node, key) = started().await;
    let answer = raw(&node, &key, "TRACE /v1/messages", "", "").await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("TRACE"), "{answer}");
    assert!(provider.requests().is_empty());
}

#[tokio::test]
async fn only_reading_lists_of_models_is_free() {
    let (provider, node, key) = started().await;
    for (number, call) in ["POST /v1/models/m", "POST /v1/models", "POST /api/tags"].iter().enumerate() {
        provider.answer_json_and_close(r#"{"id":"m","deleted":true}"#);
        let answer = raw(&node, &key, call, "", "").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{call}: {answer}");
        assert_eq!(node.usage().await.len(), number + 1, "{call} is in the books");
    }
}

#[tokio::test]
async fn what_is_posted_to_a_place_that_nobody_knows_is_metered_in_every_dialect() {
    let (provider, node, key) = started().await;
    let anthropic = r#"{"type":"message","usage":{"input_tokens":10,"output_tokens":7}}"#;
    let interaction = r#"{"id":"i","status":"completed","model":"gemini-3-pro","outputs":[{"type":"text","text":"Hi"}],"usage":{"total_input_tokens":8,"total_cached_tokens":3,"total_output_tokens":4,"total_thought_tokens":5,"total_tokens":17}}"#;
    let run = r#"{"id":"run_1","object":"thread.run","status":"completed","usage":{"prompt_tokens":6,"completion_tokens":5,"total_tokens":11}}"#;
    for (path, body, tokens) in [
        ("/anthropic/v1/brand/new", anthropic, (10, 7)),
        ("/v1beta/interactions", interaction, (8, 9)),
        ("/v1/threads/runs", run, (6, 5)),
        ("/v1/threads/thread_1/runs", run, (6, 5)),
        ("/v1beta/openai/brand/new", CHAT, (9, 2)),
        ("/api/brand-new", r#"{"done":true,"prompt_eval_count":3,"eval_count":2}"#, (3, 2)),
        ("/v1/files%20x", CHAT, (9, 2)),
    ] {
        provider.answer_json_and_close(body);
        let answered = node.ask(&key, path, &[], &json!({"model": "m"})).await;
        assert_eq!(answered.status, 200, "{path}: {}", answered.text());
        let row = node.usage_of(&answered).await;
        let booked = (&row["input_tokens"], &row["output_tokens"], &row["token_source"]);
        assert_eq!(booked, (&json!(tokens.0), &json!(tokens.1), &json!("reported")), "{path}");
    }
}

#[tokio::test]
async fn what_is_done_in_the_background_is_booked_with_the_most_that_it_was_allowed() {
    let (provider, node, key) = started().await;
    let queued = r#"{"id":"resp_1","object":"response","status":"queued","background":true,"model":"gpt-5","output":[],"usage":null}"#;
    provider.answer_json_and_close(queued);
    let body =
        json!({"model": "gpt-5", "input": "x".repeat(400), "background": true, "max_output_tokens": 5000});
    let answered = node.ask(&key, "/v1/responses", &[], &body).await;
    assert_eq!(answered.text(), queued);
    let row = node.usage_of(&answered).await;
    assert_eq!((&row["token_source"], &row["output_tokens"]), (&json!("estimated"), &json!(5000)), "{row}");
    assert!(row["input_tokens"].as_u64() >= Some(100), "{row}");
    // Where it counts against a limit, it has to say how much that may be.
    for limits in [json!({"daily_tokens": 100_000}), json!({"monthly_usd": 5})] {
        let key = limited(&node, &format!("limited-{}", limits.to_string().len()), limits).await;
        let body = json!({"model": "gpt-5", "input": "x", "background": true});
        let refused = node.ask(&key, "/v1/responses", &[], &body).await;
        assert_eq!(refused.status, 400, "{}", refused.text());
        assert!(refused.text().contains("max_output_tokens"), "{}", refused.text());
    }
    assert_eq!(provider.requests().len(), 1, "nothing more was bought");
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// A call as a client could make it.
struct Call {
    what: &'static str,
    path: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    body: Vec<u8>,
}

const CHATS: &str = "/v1/chat/completions";
const SPEECH: &str = "/v1/audio/transcriptions";
const JSON: (&str, &str) = ("content-type", "application/json");
const FORM: (&str, &str) = ("content-type", "multipart/form-data; boundary=b");

fn call(
    what: &'static str,
    path: &'static str,
    kind: (&'static str, &'static str),
    body: impl Into<Vec<u8>>,
) -> Call {
    Call { what, path, headers: vec![kind], body: body.into() }
}

fn field(head: &str, value: &str) -> String {
    format!("--b\r\ncontent-disposition: form-data; {head}\r\n\r\n{value}\r\n")
}

/// Calls of which the gateway cannot be certain which model the provider will see.
fn unclear() -> Vec<Call> {
    let asked = r#"{"model":"gpt-5","max_tokens":9999,"messages":[]}"#;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, asked.as_bytes()).unwrap();
    let mut compressed = call("compression", CHATS, JSON, gzip.finish().unwrap());
    compressed.headers.push(("content-encoding", "gzip"));
    let charset = ("content-type", "application/json; charset=utf-7");
    let query = ("content-type", "application/x-www-form-urlencoded");
    vec![
        compressed,
        call("a byte order mark", CHATS, JSON, format!("\u{feff}{asked}")),
        call("UTF-16", CHATS, JSON, utf16(asked)),
        call("a charset", CHATS, charset, r#"{"model":"gpt-4o-mini"}"#),
        call("two models", CHATS, JSON, r#"{"model":"gpt-5","model":"gpt-4o-mini"}"#),
        call("one of two escaped", CHATS, JSON, r#"{"model":"gpt-5","mod\u0065l":"gpt-4o-mini"}"#),
        call("another case", "/api/chat", JSON, r#"{"model":"gpt-4o-mini","Model":"gpt-5"}"#),
        call("a list of models", CHATS, JSON, r#"{"model":"gpt-4o-mini","models":["gpt-5"]}"#),
        call("no model", CHATS, JSON, r#"{"messages":[]}"#),
        call("a model that is no text", CHATS, JSON, r#"{"model":["gpt-5"]}"#),
        call("no object", CHATS, JSON, r#"[{"model":"gpt-5"}]"#),
        call("broken JSON", CHATS, JSON, r#"{"model":"gpt-4o-mini",/*"*/"model":"gpt-5"}"#),
        call("more behind the object", CHATS, JSON, r#"{"model":"gpt-4o-mini"}{"model":"gpt-5"}"#),
        call("JSON that is called a query", CHATS, query, r#"{"model":"gpt-4o-mini","x":"&model=gpt-5&"}"#),
        call("JSON that is called a form", CHATS, FORM, r#"{"model":"gpt-4o-mini","x":"--b"}"#),
        call("a batch", "/v1/batches", JSON, r#"{"input_file_id":"file_1"}"#),
    ]
}

/// The same of forms and of paths.
fn unclear_forms_and_paths() -> Vec<Call> {
    let decoy = field("name=\"prompt\"", "\r\nname=\"model\"\r\n\r\ngpt-4o-mini");
    let (unquoted, allowed) = (field("name=model", "gpt-5"), field("name=\"model\"", "gpt-4o-mini"));
    let two = format!("{allowed}{}--b--\r\n", field("name=\"model\"", "gpt-5"));
    let other = ("content-type", "multipart/form-data; boundary=c");
    let mini = r#"{"model":"gpt-4o-mini"}"#;
    vec![
        call("a name without quotes", SPEECH, FORM, format!("{unquoted}--b--\r\n")),
        call("a decoy in another field", SPEECH, FORM, format!("{decoy}{unquoted}--b--\r\n")),
        call("two models in a form", SPEECH, FORM, two),
        call("a form that is not the one", SPEECH, other, format!("{allowed}--b--\r\n")),
        call("a deployment", "/openai/deployments/gpt-5/chat/completions", JSON, mini),
        call("an engine", "/v1/engines/gpt-5/completions", JSON, mini),
        call("a tuned model", "/v1beta/tunedModels/gpt-5:generateContent", JSON, mini),
        call("an encoded model", "/v1beta/models/gpt-5%2Fgpt-4o-mini:generateContent", JSON, "{}"),
    ]
}

#[tokio::test]
async fn a_limit_on_models_is_not_got_around_by_a_model_that_cannot_be_read_for_certain() {
    let (provider, node, free) = started().await;
    let key = limited(&node, "bob", json!({"models": ["gpt-4o-mini*"]})).await;
    let calls = || unclear().into_iter().chain(unclear_forms_and_paths());
    for Call { what, path, headers, body } in calls() {
        let refused = send(&node, &key, path, &headers, &body).await;
        assert_eq!(refused.status, 403, "{what}: {}", refused.text());
        assert!(refused.text().contains("models limit of user bob"), "{what}: {}", refused.text());
    }
    assert!(provider.requests().is_empty(), "nothing was bought");
    for (number, Call { what, path, headers, body }) in calls().enumerate() {
        provider.answer_json_and_close(CHAT);
        let passed = send(&node, &free, path, &headers, &body).await;
        assert_eq!(passed.status, 200, "{what} is no concern without such a limit: {}", passed.text());
        assert_eq!(provider.requests()[number].body, body, "{what}");
    }
}

#[tokio::test]
async fn who_is_limited_to_some_models_can_call_them_in_every_usual_way() {
    let (provider, node, _) = started().await;
    let key = limited(&node, "bob", json!({"models": ["gpt-4o-mini*"], "max_tokens": 100})).await;
    let utf8 = ("content-type", "application/json; charset=UTF-8");
    let quoted = ("content-type", "multipart/form-data; boundary=\"b\"");
    let hand = ("content-type", "application/x-www-form-urlencoded");
    let file = field(
        "name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav",
        "\0name=\"model\"\r\n\r\ngpt-5\r\n",
    );
    let form = format!("{file}{}--b--\r\n", field("name=\"model\"", "gpt-4o-mini-transcribe"));
    let mini = r#"{"model":"gpt-4o-mini"}"#;
    let mut untold = call("no content type", CHATS, JSON, r#"{"model":"gpt-4o-mini","max_tokens":null}"#);
    untold.headers.clear();
    for Call { what, path, headers, body } in [
        untold,
        call("JSON", CHATS, utf8, r#" {"messages":[], "model" : "gpt-4o-mini", "max_tokens":100} "#),
        call("a form", SPEECH, quoted, form),
        call("curl to Ollama", "/api/chat", hand, mini),
        call("Gemini", "/v1beta/models/gpt-4o-mini:generateContent", JSON, "{\"generationConfig\":{}}"),
        call("Azure", "/openai/deployments/gpt-4o-mini/chat/completions", JSON, mini),
        call("a file", "/v1/files", JSON, "anything"),
    ] {
        provider.answer_json_and_close(CHAT);
        let passed = send(&node, &key, path, &headers, &body).await;
        assert_eq!(passed.status, 200, "{what}: {}", passed.text());
    }
}

#[tokio::test]
async fn a_limit_on_max_tokens_is_not_got_around_by_a_number_that_cannot_be_read_for_certain() {
    let (provider, node, _) = started().await;
    let key = limited(&node, "bob", json!({"max_tokens": 100})).await;
    let json = [("content-type", "application/json")];
    for (path, body) in [
        ("/v1/chat/completions", r#"{"model":"m","max_tokens":1e4}"#),
        ("/v1/chat/completions", r#"{"model":"m","max_tokens":"9999"}"#),
        ("/v1/chat/completions", r#"{"model":"m","max_tokens":9999,"max_tokens":1}"#),
        ("/v1/chat/completions", r#"{"model":"m","max_completion_tokens":9999,"max_tokens":1}"#),
        ("/api/chat", r#"{"model":"m","options":{"num_predict":9999},"options":{"num_predict":1}}"#),
        ("/api/chat", r#"{"model":"m","options":{"num_predict":-1}}"#),
        ("/api/chat", r#"{"model":"m","Options":{"num_predict":9999}}"#),
        ("/api/chat", r#"{"model":"m","options":{"Num_Predict":9999}}"#),
        ("/v1/chat/completions", "\u{feff}{\"model\":\"m\",\"max_tokens\":9999}"),
    ] {
        let refused = send(&node, &key, path, &json, body.as_bytes()).await;
        assert_eq!(refused.status, 400, "{body}: {}", refused.text());
        assert!(refused.text().contains("max_tokens limit of user bob"), "{body}: {}", refused.text());
    }
    assert!(provider.requests().is_empty(), "nothing was bought");
}

#[tokio::test]
async fn only_websockets_are_refused_as_upgrades_and_in_the_callers_dialect() {
    let mock = Mock::start().await;
    let node = Setup::with_targets_at(&mock.url()).start().await;
    let key = node.user_with_key("alice").await;
    for (path, shape) in [
        ("/v1/responses", r#""code":"upgrade_required""#),
        ("/v1/messages", r#""type":"invalid_request_error""#),
        ("/v1beta/live", r#""code":426"#),
        ("/api/chat", r#"{"error":""#),
    ] {
        let answer = raw(
            &node,
            &key,
            &format!("GET {path}"),
            "connection: upgrade\r\nupgrade: foo, WebSocket\r\n",
            "",
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 426 ") && answer.contains(shape), "{path}: {answer}");
        let names_another = answer.to_ascii_lowercase().contains("\r\nupgrade: ");
        assert!(names_another, "RFC 9110, section 15.5.22: {answer}");
    }
    // What Java's client sends by itself.
    let h2c =
        "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\n";
    let body = r#"{"model":"claude-sonnet-4-5","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}"#;
    let answer = raw(&node, &key, "POST /v1/messages", h2c, body).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn a_body_that_is_still_on_its_way_upstream_counts_although_its_caller_has_left() {
    let provider = Scripted::start().await;
    let target = format!(
        "[[targets]]\nname = \"a\"\nprovider = \"anthropic\"\nurl = \"{}\"\napi_key = \"k\"\non_hangup = \"drain\"\n",
        provider.url()
    );
    let limits = "max_body_bytes = 1000\nmax_buffered_bytes = 1500";
    let node = Setup::with_targets(&target).section("http", limits).start().await;
    let key = node.user_with_key("alice").await;
    let body = json!({"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": [], "x": "x".repeat(800)});
    let leaving = node.http.post(node.url("/v1/messages")).header("x-api-key", &key).json(&body).send();
    tokio::select! {
        answered = leaving => panic!("nobody answers: {answered:?}"),
        () = until("the request upstream", async || (!provider.requests().is_empty()).then_some(())) => {}
    }
    until("the hang-up is noticed", async || node.log().contains("a caller has left").then_some(())).await;
    let refused = node.ask(&key, "/v1/messages", &[], &body).await;
    assert_eq!(refused.status, 503, "the first body is still held: {}", refused.text());
    for _ in 0..2 {
        provider.answer_json_and_close(r#"{"type":"message","usage":{"input_tokens":10,"output_tokens":7}}"#);
    }
    until("room again", async || {
        (node.ask(&key, "/v1/messages", &[], &body).await.status == 200).then_some(())
    })
    .await;
}
