//! Calls over WebSockets: what passes, what is booked and when, what is refused, and how such connections end.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::{Mock, Node, Scripted, Setup, Socket, until};

const RESPONSES: &str = "/v1/responses";

fn create(text: &str) -> Value {
    json!({ "type": "response.create", "model": "gpt-5-mini", "store": false, "input": text })
}

fn at(url: &str, more: &str) -> String {
    format!(
        "[[targets]]\nname = \"openai\"\nprovider = \"openai\"\nurl = \"{url}\"\napi_key = \"sk-up\"\nwebsocket = true\n{more}\n"
    )
}

async fn started() -> (Mock, Node, String) {
    started_with("").await
}

async fn started_with(more: &str) -> (Mock, Node, String) {
    let mock = Mock::start().await;
    let node = Setup::with_targets(&at(&mock.url(), more)).start().await;
    let key = node.user_with_key("alice").await;
    (mock, node, key)
}

async fn open(node: &Node, key: &str, headers: &[(&str, &str)]) -> Socket {
    Socket::open(node, key, RESPONSES, headers).await.expect("a WebSocket")
}

fn kind(event: &Value) -> &str {
    event["type"].as_str().unwrap()
}

#[tokio::test]
async fn each_response_of_a_connection_is_a_record_before_its_last_event_is_there() {
    let (mock, node, key) = started().await;
    let headers =
        [("mock-input", "100"), ("mock-output", "10"), ("mock-cache-read", "60"), ("session_id", "s")];
    let mut socket = open(&node, &key, &headers).await;
    assert!(socket.opened.headers().contains_key("x-sproxy-request-id"));

    let mut previous = Value::Null;
    for turn in 1..=3 {
        let mut message = create("Hé \"there\"");
        if !previous.is_null() {
            message["previous_response_id"] = previous;
        }
        let events = socket.respond(&message).await;
        // Nothing is waited for: it is in the books by now.
        let rows = node.usage().await;
        assert_eq!(rows.len(), turn, "{rows:?}");
        let (first, last) = (events.first().unwrap(), events.last().unwrap());
        assert_eq!((kind(first), kind(last)), ("response.created", "response.completed"), "{events:?}");
        previous = last["response"]["id"].clone();
        let usage = &last["response"]["usage"];
        let row = rows.last().unwrap();
        assert_eq!(
            (&row["input_tokens"], &row["output_tokens"]),
            (&usage["input_tokens"], &usage["output_tokens"])
        );
        assert_eq!((&row["cache_read_tokens"], &row["token_source"]), (&json!(60), &json!("reported")));
        assert_eq!((&row["outcome"], &row["is_streaming"]), (&json!("ok"), &json!(true)));
        assert_eq!(
            (&row["model"], &row["target"], &row["user"]),
            (&json!("gpt-5-mini"), &json!("openai"), &json!("alice"))
        );
        // The provider got the message as it was, by the target's key and over one connection.
        let sent = node.http.get(format!("{}/mock/last/body", mock.url())).send().await.unwrap();
        assert_eq!(sent.text().await.unwrap(), message.to_string());
    }
    let asked = mock_last(&mock).await;
    assert_eq!(asked["headers"]["authorization"], json!(["Bearer sk-up"]));
    assert_eq!(asked["headers"]["session_id"], json!(["s"]));
    assert!(!asked.to_string().contains(&key));
    assert_eq!(mock.served().await["gpt-5-mini"]["requests"], 3);
    socket.close().await;
    assert_eq!(node.usage().await.len(), 3);
}

async fn change(node: &Node, change: Value) {
    let changed = node.call(reqwest::Method::PATCH, "/admin/v1/users/alice", Some(change)).await;
    assert!(changed.status().is_success(), "{}", changed.text().await.unwrap());
}

async fn mock_last(mock: &Mock) -> Value {
    reqwest::get(format!("{}/mock/last", mock.url())).await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn what_only_makes_ready_costs_what_the_provider_says() {
    let (_mock, node, key) = started().await;
    let mut socket = open(&node, &key, &[]).await;
    let mut message = create("a long time ago in a galaxy far, far away");
    message["generate"] = json!(false);
    let ready = socket.respond(&message).await.pop().unwrap();
    let row = node.usage().await.pop().unwrap();
    assert_eq!(
        (&row["input_tokens"], &row["output_tokens"], &row["outcome"]),
        (&json!(0), &json!(0), &json!("ok")),
        "{row}"
    );
    let mut next = create("go on");
    next["previous_response_id"] = ready["response"]["id"].clone();
    assert_eq!(kind(socket.respond(&next).await.last().unwrap()), "response.completed");
}

#[tokio::test]
async fn responses_of_several_streams_come_at_the_same_time_and_those_of_one_in_their_order() {
    let (_mock, node, key) = started().await;
    let mut socket = open(&node, &key, &[("mock-delay-ms", "5"), ("mock-events", "8")]).await;
    for text in ["one", "two"] {
        for stream in ["a", "b"] {
            let mut message = create(text);
            message["stream_id"] = json!(stream);
            socket.send(&message).await;
        }
    }
    let mut under_way: BTreeMap<String, bool> = BTreeMap::new();
    let (mut ended, mut overlapped) = (0, false);
    while ended < 4 {
        let event = socket.next().await.unwrap();
        let stream = event["stream_id"].as_str().unwrap_or_else(|| panic!("{event}")).to_owned();
        match kind(&event) {
            "response.created" => {
                let begun = under_way.insert(stream, true);
                assert_ne!(begun, Some(true), "one at a time");
            }
            "response.completed" => {
                overlapped |= under_way.values().filter(|is| **is).count() == 2;
                under_way.insert(stream, false);
                ended += 1;
            }
            _ => {}
        }
    }
    assert!(overlapped, "two streams are two at a time");
    assert_eq!(node.usage().await.len(), 4);
}

#[tokio::test]
async fn a_connection_has_so_many_responses_and_what_is_more_is_refused() {
    let (_mock, node, key) = started().await;
    let mut socket = open(&node, &key, &[("mock-fail", "hang")]).await;
    for _ in 0..17 {
        socket.send(&create("x")).await;
    }
    let refused = socket.next().await.unwrap();
    assert_eq!((&refused["type"], &refused["status"]), (&json!("error"), &json!(429)), "{refused}");
    assert_eq!(refused["error"]["code"], "too_many_responses");
}

#[tokio::test]
async fn limits_hold_for_each_response_and_the_connection_survives_their_refusal() {
    let (mock, node, key) = started().await;
    change(&node, json!({ "rpm": 2 })).await;
    let mut socket = open(&node, &key, &[]).await;
    for _ in 0..2 {
        assert_eq!(kind(socket.respond(&create("x")).await.last().unwrap()), "response.completed");
    }
    for _ in 0..2 {
        let refused = socket.respond(&create("x")).await.pop().unwrap();
        assert_eq!((&refused["type"], &refused["status"]), (&json!("error"), &json!(429)), "{refused}");
        assert_eq!(refused["error"]["code"], "rate_limit_exceeded");
        assert!(refused["headers"]["retry-after"].is_string(), "{refused}");
    }
    assert_eq!(mock.served().await["gpt-5-mini"]["requests"], 2, "nothing of it went out");
    let rows = node.usage().await;
    let ok = rows.iter().filter(|row| row["outcome"] == "ok").count();
    assert_eq!(ok, 2, "{rows:?}");
}

#[tokio::test]
async fn whoever_is_disabled_meanwhile_gets_no_further_response() {
    let (_mock, node, key) = started().await;
    let mut socket = open(&node, &key, &[]).await;
    assert_eq!(kind(socket.respond(&create("x")).await.last().unwrap()), "response.completed");
    change(&node, json!({ "active": false })).await;
    let refused = socket.respond(&create("x")).await.pop().unwrap();
    assert_eq!((&refused["type"], &refused["status"]), (&json!("error"), &json!(403)), "{refused}");
    assert_eq!(node.usage().await.iter().filter(|row| row["outcome"] == "ok").count(), 1);
}

#[tokio::test]
async fn a_caller_that_hangs_up_pays_for_what_it_got_or_for_all_where_that_is_configured() {
    for (more, outcome, source) in [
        ("on_hangup = \"cancel\"", "client_gone", "estimated"),
        ("on_hangup = \"drain\"", "client_gone", "reported"),
    ] {
        let (mock, node, key) = started_with(more).await;
        let mut socket = open(&node, &key, &[("mock-delay-ms", "20"), ("mock-events", "20")]).await;
        socket.send(&create("tell me a lot")).await;
        let _begun = socket.until(&["response.output_text.delta"]).await;
        drop(socket);
        let row = until("its record", async || node.usage().await.pop()).await;
        assert_eq!(
            (&row["outcome"], &row["token_source"]),
            (&json!(outcome), &json!(source)),
            "{more}: {row}"
        );
        assert!(row["input_tokens"].as_u64().unwrap() > 0, "{row}");
        let served = mock.served().await;
        let whole = served["gpt-5-mini"]["requests"] == 1;
        assert_eq!(whole, source == "reported", "{more}: what is cancelled is not made: {served}");
        assert_eq!(node.usage().await.len(), 1);
    }
}

#[tokio::test]
async fn a_provider_that_hangs_up_ends_the_response_and_the_connection_that_would_go_on_from_it() {
    let (mock, node, key) = started().await;
    let mut socket = open(&node, &key, &[]).await;
    mock.script(&[json!({ "times": 1, "fail": "mid-stream" })]).await;
    let cut = socket.respond(&create("x")).await.pop().unwrap();
    assert_eq!((&cut["type"], &cut["status"]), (&json!("error"), &json!(502)), "{cut}");
    let end = socket.next().await.expect_err("its end").expect("a reason");
    assert_eq!(u16::from(end.code), 1001, "{end:?}");
    let row = until("its record", async || node.usage().await.pop()).await;
    assert_eq!(
        (&row["outcome"], &row["token_source"]),
        (&json!("upstream_cut"), &json!("estimated")),
        "{row}"
    );
}

#[tokio::test]
async fn a_providers_errors_are_its_own_words_and_the_connection_goes_on() {
    let (mock, node, key) = started().await;
    let mut socket = open(&node, &key, &[]).await;
    mock.script(&[json!({ "times": 1, "status": 400, "message": "no such tool" })]).await;
    let refused = socket.respond(&create("x")).await.pop().unwrap();
    assert_eq!(
        (&refused["status"], &refused["error"]["message"]),
        (&json!(400), &json!("no such tool")),
        "{refused}"
    );
    until("its record", async || {
        node.usage().await.pop().filter(|row| row["outcome"] == "upstream_error" && row["input_tokens"] == 0)
    })
    .await;
    let mut unknown = create("x");
    unknown["previous_response_id"] = json!("resp_of_another_connection");
    let refused = socket.respond(&unknown).await.pop().unwrap();
    assert_eq!(refused["error"]["code"], "previous_response_not_found", "{refused}");
    assert_eq!(kind(socket.respond(&create("x")).await.last().unwrap()), "response.completed");
}

#[tokio::test]
async fn what_is_no_message_is_refused_in_words_and_passes_nowhere() {
    let (mock, node, key) = started_with("").await;
    let mut socket = open(&node, &key, &[]).await;
    for (text, code) in [
        ("garbage", "invalid_message"),
        ("[1]", "invalid_message"),
        ("{\"type\":\"response.create\"", "invalid_message"),
        (r#"{"type":"response.steer","input":[]}"#, "unsupported_message"),
        (r#"{"type":"response.cancel"}"#, "nothing_under_way"),
    ] {
        socket.send_text(text).await;
        let refused = socket.next().await.unwrap();
        assert_eq!(
            (&refused["type"], &refused["error"]["code"]),
            (&json!("error"), &json!(code)),
            "{refused}"
        );
    }
    let nameless = socket.respond(&json!({ "type": "response.create", "input": "x" })).await.pop().unwrap();
    assert_eq!(kind(&nameless), "response.completed", "one target serves everything: {nameless}");
    assert_eq!(mock.served().await.as_object().unwrap().len(), 1);
    assert_eq!(kind(socket.respond(&create("x")).await.last().unwrap()), "response.completed");
}

#[tokio::test]
async fn a_message_larger_than_any_body_ends_the_connection() {
    let mock = Mock::start().await;
    let node =
        Setup::with_targets(&at(&mock.url(), "")).section("http", "max_body_bytes = 65536").start().await;
    let key = node.user_with_key("alice").await;
    let mut socket = open(&node, &key, &[]).await;
    socket.send(&create(&"x".repeat(100_000))).await;
    let end = socket.next().await.expect_err("its end").expect("a reason");
    assert_eq!(u16::from(end.code), 1009, "{end:?}");
    assert!(node.usage().await.is_empty());
}

#[tokio::test]
async fn a_model_of_a_target_without_websockets_is_posted_and_converted_on_the_same_connection() {
    let (openai, anthropic) = (Mock::start().await, Mock::start().await);
    let claude = format!(
        "[[targets]]\nname = \"anthropic\"\nprovider = \"anthropic\"\nurl = \"{}\"\napi_key = \"k\"\nmodels = [\"claude-*\"]\n",
        anthropic.url()
    );
    let node = Setup::with_targets(&(at(&openai.url(), "models = [\"gpt-*\"]") + &claude)).start().await;
    let key = node.user_with_key("alice").await;
    let mut socket = open(&node, &key, &[]).await;
    let mut message = create("x");
    message["model"] = json!("claude-sonnet-4-5");
    let events = socket.respond(&message).await;
    assert_eq!(kind(&events[0]), "response.created", "{events:?}");
    let row = node.usage().await.pop().unwrap();
    let usage = &events.last().unwrap()["response"]["usage"];
    assert_eq!(
        (&usage["input_tokens"], &usage["output_tokens"]),
        (&row["input_tokens"], &row["output_tokens"])
    );
    assert_eq!((&row["converted_from"], &row["target"]), (&json!("openai-responses"), &json!("anthropic")));
    assert_eq!(kind(socket.respond(&create("x")).await.last().unwrap()), "response.completed");
    assert_eq!(node.usage().await.pop().unwrap()["target"], "openai");

    // Nothing can be made ready there, and what was said stays here: callers go on as they do with OpenAI.
    message["generate"] = json!(false);
    let ready = socket.respond(&message).await;
    assert_eq!(ready.iter().map(kind).collect::<Vec<_>>(), ["response.created", "response.completed"]);
    assert_eq!(ready[1]["response"]["usage"]["total_tokens"], 0);
    let mut previous = ready[1]["response"]["id"].clone();
    let booked = node.usage().await.len();
    for turn in 1..=3 {
        let mut message = create(&format!("turn {turn}"));
        message["model"] = json!("claude-sonnet-4-5");
        message["previous_response_id"] = previous;
        let events = socket.respond(&message).await;
        previous = events.last().unwrap()["response"]["id"].clone();
        let asked: Value =
            reqwest::get(format!("{}/mock/last/body", anthropic.url())).await.unwrap().json().await.unwrap();
        let roles: Vec<&str> =
            asked["messages"].as_array().unwrap().iter().map(|one| one["role"].as_str().unwrap()).collect();
        // What only made ready and the first turn are two messages of the user's in a row.
        let expected = [
            &["user"][..],
            &["user", "assistant", "user"],
            &["user", "assistant", "user", "assistant", "user"],
        ];
        assert_eq!(roles, expected[turn - 1], "{asked}");
        assert_eq!(node.usage().await.len(), booked + turn, "what made ready is no call");
    }
    let mut streamed = create("x");
    streamed["model"] = json!("claude-sonnet-4-5");
    streamed["stream_id"] = json!("a");
    let events = socket.respond(&streamed).await;
    assert!(events.iter().all(|event| event["stream_id"] == "a"), "{events:?}");
    let mut unknown = create("x");
    unknown["model"] = json!("claude-sonnet-4-5");
    unknown["previous_response_id"] = json!("resp_of_somebody_else");
    let refused = socket.respond(&unknown).await.pop().unwrap();
    assert!(refused["error"]["message"].as_str().unwrap().contains("previous_response_id"), "{refused}");
}

#[tokio::test]
async fn a_target_that_turns_out_to_have_none_is_posted_to_and_other_refusals_are_passed_on() {
    let provider = Scripted::start().await;
    let node = Setup::with_targets(&at(&provider.url(), "")).start().await;
    let key = node.user_with_key("alice").await;
    let refuse = |status: &str, body: &str| {
        let length = body.len();
        provider
            .write(format!("HTTP/1.1 {status}\r\nconnection: close\r\nretry-after: 9\r\ncontent-length: {length}\r\n\r\n{body}"))
            .close();
    };
    let mut socket = open(&node, &key, &[]).await;
    refuse("404 Not Found", "{}");
    provider.begin_stream();
    let ended = r#"{"type":"response.completed","response":{"id":"r","model":"gpt-5-mini","usage":{"input_tokens":7,"output_tokens":3}}}"#;
    provider.chunk(&format!("event: response.completed\ndata: {ended}\n\n")).write("0\r\n\r\n").close();
    let events = socket.respond(&create("x")).await;
    assert_eq!(events, [serde_json::from_str::<Value>(ended).unwrap()]);
    let row = node.usage().await.pop().unwrap();
    assert_eq!((&row["input_tokens"], &row["output_tokens"]), (&json!(7), &json!(3)));
    let requests = provider.requests();
    let heads: Vec<&str> = requests.iter().map(|request| request.head.lines().next().unwrap()).collect();
    assert_eq!(heads, ["GET /v1/responses HTTP/1.1", "POST /v1/responses HTTP/1.1"]);
    let posted: Value = serde_json::from_slice(&requests[1].body).unwrap();
    assert_eq!(posted, json!({ "model": "gpt-5-mini", "store": false, "input": "x", "stream": true }));

    // It is not asked twice, and one that knows no streams has answered all the same.
    provider.answer_json_and_close(
        r#"{"id":"r2","object":"response","usage":{"input_tokens":1,"output_tokens":1}}"#,
    );
    let whole = socket.respond(&create("x")).await;
    assert_eq!((whole.len(), &whole[0]["response"]["id"]), (1, &json!("r2")), "{whole:?}");
    assert_eq!(provider.requests().len(), 3);
    // Nor is one waited for that ends in the middle.
    provider.begin_stream();
    let begun = r#"{"type":"response.created","response":{"id":"r3","status":"in_progress"}}"#;
    provider.chunk(&format!("data: {begun}\n\n")).write("0\r\n\r\n").close();
    let cut = socket.respond(&create("x")).await;
    assert_eq!(cut.iter().map(kind).collect::<Vec<_>>(), ["response.created", "error"], "{cut:?}");

    let mut socket = open(&node, &key, &[]).await;
    refuse("429 Too Many Requests", r#"{"error":{"message":"slow down","code":"rate_limit_exceeded"}}"#);
    let refused = socket.respond(&create("x")).await.pop().unwrap();
    assert_eq!(
        (&refused["status"], &refused["error"]["message"]),
        (&json!(429), &json!("slow down")),
        "{refused}"
    );
    assert_eq!(refused["headers"]["retry-after"], "9");
}

#[tokio::test]
async fn a_leaving_node_finishes_what_is_under_way_and_says_goodbye() {
    let (_mock, mut node, key) = started().await;
    let mut idle = open(&node, &key, &[]).await;
    let mut busy = open(&node, &key, &[("mock-delay-ms", "30"), ("mock-events", "10")]).await;
    busy.send(&create("x")).await;
    let _begun = busy.until(&["response.output_text.delta"]).await;
    node.process.ask_to_leave().await;
    let end = idle.next().await.expect_err("goodbye").expect("a reason");
    assert_eq!(u16::from(end.code), 1001, "{end:?}");
    assert_eq!(
        kind(busy.until(&["response.completed", "error"]).await.last().unwrap()),
        "response.completed"
    );
    let end = busy.next().await.expect_err("goodbye").expect("a reason");
    assert_eq!(u16::from(end.code), 1001, "{end:?}");
    assert_eq!(node.process.ended().await, Some(0));
    node.restart().await;
    assert_eq!(node.usage().await.len(), 1);
}

#[tokio::test]
async fn a_killed_node_has_booked_every_response_whose_end_was_seen() {
    let (_mock, mut node, key) = started().await;
    let mut socket = open(&node, &key, &[]).await;
    for _ in 0..5 {
        assert_eq!(kind(socket.respond(&create("x")).await.last().unwrap()), "response.completed");
    }
    node.kill().await;
    node.restart().await;
    assert_eq!(node.usage().await.len(), 5);
}

#[tokio::test]
async fn openings_are_refused_as_calls_are() {
    let (_mock, node, key) = started().await;
    let refused = Socket::open(&node, "sk-wrong", RESPONSES, &[]).await.err().unwrap();
    assert_eq!(refused.status(), 401);
    for path in ["/v1/chat/completions", "/v1/messages", "/v1beta/live"] {
        let refused = Socket::open(&node, &key, path, &[]).await.err().unwrap();
        assert_eq!(refused.status(), 426, "{path}");
    }
    let (_mock, without, key) = started_with("weight = 0").await;
    assert_eq!(Socket::open(&without, &key, RESPONSES, &[]).await.err().unwrap().status(), 426);
}
