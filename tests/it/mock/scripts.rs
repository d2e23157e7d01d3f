//! What a script makes of the next calls, whoever makes them.

use std::io::ErrorKind;

use http::Request;
use reqwest::StatusCode;
use serde_json::{Value, json};
use sproxy::domain::clock::{Clock, SystemClock, Timestamp};
use sproxy::mock::{Options, ReadScript};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Mock;
use crate::harness;

const MESSAGES: &str = "/v1/messages";

async fn script(mock: &Mock, script: &Value) {
    let set = mock.post("/mock/script", script).send().await.expect("an answer");
    assert_eq!(set.status(), StatusCode::OK, "{}", set.text().await.expect("text"));
}

async fn played(mock: &Mock) -> Vec<u64> {
    let steps = mock.get("/mock/script").await;
    steps.as_array().expect("steps").iter().map(|step| step["played"].as_u64().expect("a number")).collect()
}

fn ask(stream: bool) -> Value {
    json!({ "model": "m", "stream": stream, "messages": [] })
}

#[tokio::test]
async fn steps_are_played_one_call_each_in_order_and_then_all_is_well() {
    let mock = Mock::start().await;
    let steps = json!([
        { "status": 429, "headers": { "retry-after": null, "retry-after-ms": "1250" } },
        { "status": 503, "body": { "own": "words" }, "headers": { "retry-after": "now+30s" } },
        { "status": 529, "name": "odd_error", "message": "say \"when\"",
          "headers": { "anthropic-ratelimit-requests-reset": "now+45s", "retry-after": "now+90s" } },
        { "output": 3, "headers": { "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s" } },
    ]);
    script(&mock, &steps).await;
    let next = async || mock.post(MESSAGES, &ask(false)).send().await.expect("an answer");

    let answer = next().await;
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.headers()["retry-after-ms"], "1250");
    assert!(!answer.headers().contains_key("retry-after"));

    let answer = next().await;
    assert_eq!(answer.status(), 503);
    let after = answer.headers()["retry-after"].to_str().expect("text");
    assert!(httpdate::parse_http_date(after).is_ok(), "{after}");
    assert_eq!(answer.text().await.expect("text"), r#"{"own":"words"}"#);

    let answer = next().await;
    assert_eq!(answer.status(), 529);
    let reset = answer.headers()["anthropic-ratelimit-requests-reset"].to_str().expect("text");
    let reset: Timestamp = reset.parse().expect("a time");
    assert!(reset > SystemClock.now());
    let error: Value = answer.json().await.expect("JSON");
    assert_eq!(error["error"], json!({ "type": "odd_error", "message": "say \"when\"" }));

    let answer = next().await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["x-ratelimit-reset-tokens"], "6m0s");
    assert_eq!(answer.json::<Value>().await.expect("JSON")["usage"]["output_tokens"], 3);

    assert_eq!(next().await.status(), 200);
    assert_eq!(played(&mock).await, [1, 1, 1, 1]);
    assert_eq!(mock.served("m").await["errors"], 3);
}

#[tokio::test]
async fn an_error_event_comes_where_it_is_told_to_and_is_an_error_where_nothing_streams() {
    let mock = Mock::start().await;
    let own = "event: error\ndata: {\"own\":\"words\"}\n\n";
    let steps = json!([
        { "fail": "error-event", "after": 0 },
        { "fail": "error-event", "after": 2, "status": 503, "name": "odd", "message": "m" },
        { "fail": "error-event", "after": 1, "body": own },
        { "fail": "error-event", "after": 0 },
    ]);
    script(&mock, &steps).await;
    let stream =
        async || mock.post(MESSAGES, &ask(true)).send().await.expect("it").text().await.expect("text");
    assert!(
        stream()
            .await
            .starts_with("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded")
    );
    let text = stream().await;
    let events: Vec<&str> = text.split("\n\n").collect();
    assert_eq!(events.len(), 4, "two events, the error and the end: {text}");
    assert!(
        events[0].starts_with("event: message_start") && events[2].contains(r#""type":"odd","message":"m""#)
    );
    assert!(stream().await.ends_with(own));
    let answer = mock.post(MESSAGES, &ask(false)).send().await.expect("an answer");
    assert_eq!(answer.status(), 529);
}

#[tokio::test]
async fn a_step_is_for_the_calls_that_it_matches_as_often_as_it_says() {
    let mock = Mock::start().await;
    let model = |model: &str| json!({ "model": model, "messages": [] });
    let steps = json!([
        { "match": { "key": "bad" }, "status": 401, "times": 100 },
        { "match": { "model": "claude-*" }, "status": 529, "times": 2, "skip": 1 },
        { "match": { "path": "*/chat/completions" }, "status": 503 },
        { "match": { "path": "/v1/models" }, "status": 403 },
        { "status": 429 },
    ]);
    script(&mock, &steps).await;
    let status = async |request: reqwest::RequestBuilder| request.send().await.expect("it").status().as_u16();
    let list = || mock.client.get(format!("http://{}/v1/models", mock.address));
    for (request, expected) in [
        (mock.post(MESSAGES, &model("x")).header("x-api-key", "bad"), 401),
        (mock.post("/v1/responses", &model("x")).bearer_auth("bad"), 401),
        (mock.post("/v1/messages/count_tokens", &model("claude-a")), 200),
        (list(), 403),
        (list(), 200),
        // Let pass by its own step, it is for the last one.
        (mock.post(MESSAGES, &model("claude-a")), 429),
        (mock.post(MESSAGES, &model("claude-a")), 529),
        (mock.post(MESSAGES, &model("gpt-x")), 200),
        (mock.post("/v1/chat/completions", &model("gpt-x")), 503),
        (mock.post(MESSAGES, &model("claude-b")), 529),
        (mock.post(MESSAGES, &model("claude-b")), 200),
    ] {
        let what = format!("{request:?}");
        assert_eq!(status(request).await, expected, "{what}");
    }
    assert_eq!(played(&mock).await, [2, 2, 1, 1, 1]);
}

#[tokio::test]
async fn a_share_of_the_calls_is_the_same_for_the_same_seed() {
    let mock = Mock::start().await;
    let mut runs = Vec::new();
    for seed in [7, 7, 8] {
        script(&mock, &json!({ "seed": seed, "steps": [{ "percent": 30, "status": 529 }] })).await;
        let mut run = Vec::new();
        for _ in 0..100 {
            let answer = mock.post(MESSAGES, &ask(false)).send().await.expect("an answer");
            run.push(answer.status() == 529);
        }
        let failed = run.iter().filter(|failed| **failed).count();
        assert!((15..45).contains(&failed), "{failed} of 100");
        assert_eq!(played(&mock).await, [failed as u64]);
        runs.push(run);
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
}

#[tokio::test]
async fn a_script_that_says_nothing_sensible_is_refused_and_changes_nothing() {
    let mock = Mock::start().await;
    script(&mock, &json!([{ "status": 529 }])).await;
    for (wrong, why) in [
        (json!(7), "a list of steps"),
        (json!({ "steps": [], "sede": 1 }), "`sede`"),
        (json!([{ "stauts": 500 }]), "step 0: `stauts`"),
        (json!([{ "status": 200 }]), "`status`"),
        (json!([{}, { "fail": "badly" }]), "step 1: `fail`"),
        (json!([{ "match": { "modle": "x" } }]), "modle"),
        (json!([{ "percent": 101 }]), "`percent`"),
        (json!([{ "fail": "close-unread", "match": { "model": "x" } }]), "unread"),
        (json!([{ "headers": { "no header": "x" } }]), "`no header`"),
    ] {
        let answer = mock.post("/mock/script", &wrong).send().await.expect("an answer");
        assert_eq!(answer.status(), 400, "{wrong}");
        let text = answer.text().await.expect("text");
        assert!(text.contains(why), "{wrong}: {text}");
    }
    assert_eq!(mock.post(MESSAGES, &ask(false)).send().await.expect("an answer").status(), 529);
}

/// A connection of HTTP/1.1 whose end can be seen.
struct Connection(TcpStream);

/// How a connection has ended, and what came before.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Closed,
    Reset,
}

impl Connection {
    async fn open(mock: &Mock) -> Self {
        Self(TcpStream::connect(mock.address).await.expect("a connection"))
    }

    async fn send(&mut self, stream: bool) {
        let body = ask(stream).to_string();
        let length = body.len();
        let request =
            format!("POST {MESSAGES} HTTP/1.1\r\nhost: mock\r\ncontent-length: {length}\r\n\r\n{body}");
        self.0.write_all(request.as_bytes()).await.expect("sent");
    }

    /// Reads until `until` has come.
    async fn read_until(&mut self, until: &str) -> String {
        let mut read = String::new();
        while !read.contains(until) {
            let mut bytes = [0; 4096];
            let count = self.0.read(&mut bytes).await.expect("bytes");
            assert!(count > 0, "the connection is closed behind {read}");
            read.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        read
    }

    /// Reads to the end.
    async fn end(mut self) -> (String, End) {
        let mut read = Vec::new();
        let end = match self.0.read_to_end(&mut read).await {
            Ok(_) => End::Closed,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => End::Reset,
            Err(error) => panic!("{error}"),
        };
        (String::from_utf8_lossy(&read).into_owned(), end)
    }
}

#[tokio::test]
async fn connections_are_closed_or_reset_where_the_script_says() {
    let mock = Mock::start().await;
    for (step, ended, events) in [
        (json!({ "fail": "before-headers" }), End::Closed, None),
        (json!({ "fail": "reset" }), End::Reset, None),
        (json!({ "fail": "close-unread" }), End::Reset, None),
        (json!({ "fail": "reset", "after": 0 }), End::Reset, Some(0)),
        (json!({ "fail": "reset", "after": 3 }), End::Reset, Some(3)),
        (json!({ "fail": "before-headers", "after": 2 }), End::Closed, Some(2)),
        // Eleven pieces of text, and six events more.
        (json!({ "fail": "mid-stream", "events": 11 }), End::Closed, Some(9)),
    ] {
        script(&mock, &json!([step])).await;
        let mut connection = Connection::open(&mock).await;
        connection.send(true).await;
        let (read, end) = connection.end().await;
        assert_eq!(end, ended, "{step}");
        let expected = (events.is_some(), events.unwrap_or_default());
        assert_eq!(
            (read.starts_with("HTTP/1.1 200"), read.matches("event: ").count()),
            expected,
            "{step}: {read}"
        );
        assert_eq!(played(&mock).await, [1], "{step}");
    }
    assert_eq!(mock.served("m").await, Value::Null, "nothing was answered completely");
}

#[tokio::test]
async fn a_connection_that_was_used_before_is_closed_in_between_or_on_a_request_that_is_not_read() {
    let mock = Mock::start().await;
    script(&mock, &json!([{ "fail": "close-after" }])).await;
    let mut connection = Connection::open(&mock).await;
    connection.send(false).await;
    let (read, end) = connection.end().await;
    assert_eq!(end, End::Closed);
    assert!(read.contains("end_turn") && !read.contains("connection: close"), "{read}");
    assert_eq!(mock.served("m").await["requests"], 1);

    script(&mock, &json!([{ "output": 1 }, { "fail": "close-unread" }])).await;
    let mut connection = Connection::open(&mock).await;
    connection.send(false).await;
    connection.read_until(r#""service_tier":"standard"}}"#).await;
    connection.send(false).await;
    assert_eq!(connection.end().await, (String::new(), End::Reset));
    assert_eq!(played(&mock).await, [1, 1]);
    assert_eq!(mock.served("m").await["requests"], 2);
}

#[tokio::test]
async fn a_stalled_stream_has_its_first_events_and_no_end() {
    let mock = Mock::start().await;
    script(&mock, &json!([{ "fail": "hang", "after": 2 }, { "fail": "hang" }])).await;
    let mut connection = Connection::open(&mock).await;
    connection.send(true).await;
    connection.read_until("event: content_block_start").await;
    let mut other = Connection::open(&mock).await;
    other.send(true).await;
    let (mut one, mut two) = ([0], [0]);
    tokio::select! {
        biased;
        _ = connection.0.read(&mut one) => panic!("nothing more was to come"),
        _ = other.0.read(&mut two) => panic!("nothing was to come"),
        () = harness::until("both steps are played", async || (played(&mock).await == [1, 1]).then_some(())) => {}
    }
}

#[tokio::test]
async fn streams_of_http2_are_refused_and_connections_go_away_while_earlier_streams_go_on() {
    let mock = Mock::start().await;
    let steps = json!([
        { "events": 3, "delay_ms": 50 },
        { "fail": "refused-stream" },
        { "fail": "reset-mid-stream", "times": 0 },
        { "fail": "goaway" },
    ]);
    script(&mock, &steps).await;
    let socket = TcpStream::connect(mock.address).await.expect("a connection");
    let (mut sender, connection) = h2::client::handshake(socket).await.expect("HTTP/2");
    let driver = tokio::spawn(connection);
    let mut send = async || {
        sender = sender.clone().ready().await.expect("room");
        let request =
            Request::post(format!("http://{}{MESSAGES}", mock.address)).body(()).expect("a request");
        let (answer, mut body) = sender.send_request(request, false).expect("sent");
        body.send_data(ask(true).to_string().into(), true).expect("sent");
        answer.await
    };
    let first = send().await.expect("the head of an answer");
    let refused = send().await.expect_err("a refusal");
    assert!(refused.is_remote() && refused.is_reset(), "{refused:?}");
    assert_eq!(refused.reason(), Some(h2::Reason::REFUSED_STREAM));
    let away = send().await.expect_err("nothing processed");
    assert!(away.is_remote() && away.is_go_away(), "{away:?}");
    assert_eq!(away.reason(), Some(h2::Reason::NO_ERROR));
    let mut text = Vec::new();
    let mut body = first.into_body();
    while let Some(bytes) = body.data().await {
        text.extend_from_slice(&bytes.expect("bytes"));
    }
    assert!(String::from_utf8_lossy(&text).contains("message_stop"), "the first stream is whole");
    drop(driver.await);
    assert_eq!(played(&mock).await, [1, 1, 0, 1]);
    assert_eq!(mock.served("m").await["requests"], 1);
}

#[tokio::test]
async fn what_a_provider_does_not_know_is_refused_in_its_words_until_it_is_left_out() {
    let mut script = ReadScript::default();
    script
        .refuse(&["context-*".to_owned()], &["context_management".to_owned(), "tools.*.strict".to_owned()])
        .unwrap();
    let mock = Mock::with(Options { script, ..Options::default() }).await;
    let body = |more: Value| {
        let mut body = json!({ "max_tokens": 1, "messages": [], "tools": [{ "name": "a" }] });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let bedrock = |more: Value| {
        let mut body = body(more);
        body["anthropic_version"] = json!("bedrock-2023-05-31");
        body
    };
    let vertex = "/v1/projects/p/locations/global/publishers/anthropic/models/m:rawPredict";
    let vertex_body = json!({ "anthropic_version": "vertex-2023-10-16", "max_tokens": 1, "messages": [] });
    let unexpected = "Unexpected value(s) `context-1m` for the `anthropic-beta` header. Please consult our documentation \
                      at docs.anthropic.com or try again without the header.";
    let extra = "context_management: Extra inputs are not permitted";
    let strict = json!({ "tools": [{ "name": "a" }, { "name": "b", "strict": true }] });
    for (path, betas, body, pointer, message) in [
        (MESSAGES, "files-api, context-1m", body(json!({})), "/error/message", unexpected),
        ("/v1/messages/count_tokens", "context-1m", body(json!({})), "/error/message", unexpected),
        (vertex, "context-1m", vertex_body.clone(), "/error/message", unexpected),
        (
            "/model/m/invoke",
            "",
            bedrock(json!({ "anthropic_beta": ["context-1m"] })),
            "/message",
            "invalid beta flag",
        ),
        (MESSAGES, "", body(json!({ "context_management": {} })), "/error/message", extra),
        ("/model/m/invoke", "", bedrock(json!({ "context_management": {} })), "/message", extra),
        (MESSAGES, "", body(strict), "/error/message", "tools.1.strict: Extra inputs are not permitted"),
        (
            "/v1/chat/completions",
            "",
            body(json!({ "context_management": {} })),
            "/error/message",
            "Unknown parameter: 'context_management'.",
        ),
    ] {
        let answer = mock.post(path, &body).header("anthropic-beta", betas).send().await.expect("an answer");
        assert_eq!(answer.status(), 400, "{path} {body}");
        let answer: Value = answer.json().await.expect("JSON");
        assert_eq!(answer.pointer(pointer), Some(&json!(message)), "{answer}");
    }
    for (path, body) in
        [(MESSAGES, body(json!({}))), ("/model/m/invoke", bedrock(json!({}))), (vertex, vertex_body)]
    {
        let answer =
            mock.post(path, &body).header("anthropic-beta", "files-api").send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn a_script_and_refusals_can_be_given_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("storm.json");
    std::fs::write(&file, r#"[{ "status": 529, "times": 2 }]"#).unwrap();
    let file = file.to_str().unwrap();
    let arguments = ["--script", file, "--refuse-beta", "b-1", "--credential", "x-api-key: right"];
    let mock = harness::Mock::start_with(&arguments).await;
    let http = reqwest::Client::new();
    let ask = async |key: &str, beta: &str| {
        let request =
            http.post(format!("{}{MESSAGES}", mock.url())).header("x-api-key", key).json(&ask(false));
        request.header("anthropic-beta", beta).send().await.expect("an answer").status().as_u16()
    };
    assert_eq!(ask("right", "b-1").await, 400);
    assert_eq!(ask("right", "").await, 529);
    assert_eq!(ask("wrong", "").await, 401);
    assert_eq!(ask("right", "").await, 200);
}
