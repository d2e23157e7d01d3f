//! Calls in one API on targets of another: who gets them, what goes there, what comes back, and what is booked.

use serde_json::{Value, json};

use crate::harness::{Answer, Mock, Node, Scripted, Setup};

const MESSAGES: &str = "/v1/messages";
const RESPONSE: &str = r#"{"id":"resp_1","object":"response","model":"gpt-5.6-1","status":"completed","output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"Hello","annotations":[]}]}],"usage":{"input_tokens":100,"input_tokens_details":{"cached_tokens":60},"output_tokens":9,"output_tokens_details":{"reasoning_tokens":4},"total_tokens":109}}"#;

fn target(name: &str, provider: &str, url: &str, more: &str) -> String {
    format!(
        "[[targets]]\nname = \"{name}\"\nprovider = \"{provider}\"\nurl = \"{url}\"\napi_key = \"k\"\n{more}\n"
    )
}

fn refuse(provider: &Scripted, status: u16, body: &str) {
    let length = body.len();
    provider
        .write(format!(
            "HTTP/1.1 {status} No\r\ncontent-type: application/json\r\nretry-after: 7\r\nconnection: close\r\n\
             content-length: {length}\r\n\r\n{body}"
        ))
        .close();
}

fn body(model: &str, stream: bool) -> Value {
    json!({
        "model": model, "max_tokens": 64, "stream": stream, "stop_sequences": ["x"],
        "system": "be brief", "messages": [{ "role": "user", "content": "Hi" }],
    })
}

async fn ask(node: &Node, key: &str, body: &Value) -> Answer {
    node.ask(key, MESSAGES, &[("anthropic-beta", "context-1m"), ("anthropic-version", "2023-06-01")], body)
        .await
}

/// The counts of the message that a stream makes.
fn streamed_usage(stream: &str) -> Value {
    let events = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    let events: Vec<Value> = events.map(|data| serde_json::from_str(data).unwrap()).collect();
    assert_eq!(events.last().unwrap()["type"], "message_stop", "{stream}");
    events.iter().find(|event| event["type"] == "message_delta").expect("an end")["usage"].clone()
}

fn assert_books(row: &Value, usage: &Value) {
    let count = |name: &str| usage[name].as_u64().unwrap_or(0);
    let input =
        count("input_tokens") + count("cache_read_input_tokens") + count("cache_creation_input_tokens");
    assert_eq!(row["input_tokens"], input, "the caller's counts are the provider's: {row}");
    assert_eq!(row["cache_read_tokens"], count("cache_read_input_tokens"));
    assert_eq!(row["output_tokens"], count("output_tokens"));
    assert_eq!((&row["provider"], &row["converted_from"]), (&json!("openai"), &json!("anthropic-messages")));
    assert_eq!((&row["token_source"], &row["outcome"]), (&json!("reported"), &json!("ok")));
}

#[tokio::test]
async fn a_call_of_messages_for_a_model_of_openai_is_made_as_responses_and_booked_as_they_count() {
    let (openai, mock) = (Scripted::start().await, Mock::start().await);
    let targets = target("openai", "openai", &openai.url(), "models = [\"gpt-5.6\"]")
        + &target("mock", "openai", &mock.url(), "models = [\"gpt-4o\"]");
    let node = Setup::with_targets(&targets).start().await;
    let key = node.user_with_key("alice").await;

    openai.answer_json_and_close(RESPONSE);
    let answer = ask(&node, &key, &body("gpt-5.6", false)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("x-sproxy-dropped"), "stop_sequences");
    assert_eq!(answer.header("content-type"), "application/json");
    let message = answer.json();
    assert_eq!(message["content"], json!([{ "type": "text", "text": "Hello" }]));
    assert_eq!((&message["type"], &message["stop_reason"]), (&json!("message"), &json!("end_turn")));
    let row = node.usage_of(&answer).await;
    assert_books(&row, &message["usage"]);
    assert_eq!((&row["model"], &row["actual_model"]), (&json!("gpt-5.6"), &json!("gpt-5.6-1")));
    assert_eq!(row["reasoning_tokens"], 4);

    let sent = openai.requests().pop().unwrap();
    assert!(sent.head.starts_with("POST /v1/responses HTTP/1.1\r\n"), "{}", sent.head);
    assert!(sent.head.contains("authorization: Bearer k\r\n"), "{}", sent.head);
    assert!(!sent.head.contains("anthropic"), "{}", sent.head);
    let sent: Value = serde_json::from_slice(&sent.body).unwrap();
    assert_eq!((&sent["instructions"], &sent["store"]), (&json!("be brief"), &json!(false)));

    for stream in [true, false] {
        let answer = ask(&node, &key, &body("gpt-4o", stream)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let usage = if stream { streamed_usage(&answer.text()) } else { answer.json()["usage"].clone() };
        let row = node.usage_of(&answer).await;
        assert_books(&row, &usage);
        assert_eq!(row["is_streaming"], stream);
    }
}

#[tokio::test]
async fn whoever_speaks_the_callers_api_comes_first_and_others_when_it_fails() {
    let (anthropic, openai) = (Scripted::start().await, Scripted::start().await);
    let targets = target("anthropic", "anthropic", &anthropic.url(), "")
        + &target("openai", "openai", &openai.url(), "models = [\"gpt-*\"]")
        + "[[models]]\nname = \"coder\"\nroute = [\"claude-sonnet-5\", \"gpt-5.6\"]\n";
    let node = Setup::with_targets(&targets).start().await;
    let key = node.user_with_key("alice").await;

    // A target of every model is not believed to have another maker's.
    openai.answer_json_and_close(RESPONSE);
    let answer = ask(&node, &key, &body("gpt-5.6", false)).await;
    assert_eq!((answer.status, answer.header("x-sproxy-target")), (200, "openai"), "{}", answer.text());

    let own = r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude-sonnet-5","content":[],"stop_reason":"end_turn","usage":{"input_tokens":5,"output_tokens":2}}"#;
    anthropic.answer_json_and_close(own);
    let answer = ask(&node, &key, &body("coder", false)).await;
    assert_eq!((answer.header("x-sproxy-target"), answer.text().as_str()), ("anthropic", own));
    assert_eq!(node.usage_of(&answer).await["converted_from"], Value::Null);

    refuse(&anthropic, 529, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#);
    openai.answer_json_and_close(RESPONSE);
    let answer = ask(&node, &key, &body("coder", false)).await;
    assert_eq!((answer.status, answer.header("x-sproxy-target")), (200, "openai"), "{}", answer.text());
    let row = node.usage_of(&answer).await;
    assert_eq!((&row["model"], &row["converted_from"]), (&json!("coder"), &json!("anthropic-messages")));
    assert_eq!(row["attempts"][0]["target"], "anthropic");
    assert_eq!(row["attempts"].as_array().map(Vec::len), Some(1));
}

/// What is said to one provider goes to no other on a guess; to a server of everybody's models where nobody else is.
#[tokio::test]
async fn a_model_that_nobody_is_known_for_goes_elsewhere_only_where_no_target_speaks_the_callers_api() {
    let (anthropic, server) = (Scripted::start().await, Scripted::start().await);
    let own = target("anthropic", "anthropic", &anthropic.url(), "");
    let others = target("server", "openai", &server.url(), "");
    let both = Setup::with_targets(&(own + &others)).start().await;
    let key = both.user_with_key("alice").await;
    refuse(&anthropic, 529, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#);
    let answer = ask(&both, &key, &body("house-model", false)).await;
    assert_eq!((answer.status, server.requests().len()), (529, 0), "{}", answer.text());

    let alone = Setup::with_targets(&others).start().await;
    let key = alone.user_with_key("alice").await;
    for model in ["house-model", "claude-sonnet-5"] {
        server.answer_json_and_close(RESPONSE);
        let answer = ask(&alone, &key, &body(model, false)).await;
        assert_eq!(answer.status, 200, "{model}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_refusal_is_told_in_the_callers_api_with_the_providers_own_words() {
    let openai = Scripted::start().await;
    let node = Setup::with_targets(&target("openai", "openai", &openai.url(), "")).start().await;
    let key = node.user_with_key("alice").await;
    for (status, sent, told, kind, words) in [
        (
            400,
            r#"{"error":{"message":"Invalid 'input[3]': bad","type":"invalid_request_error","param":"input","code":null}}"#,
            400,
            "invalid_request_error",
            "Invalid 'input[3]': bad",
        ),
        (
            400,
            r#"{"error":{"message":"Your input exceeds the context window of this model.","type":"invalid_request_error","param":"input","code":"context_length_exceeded"}}"#,
            400,
            "invalid_request_error",
            "prompt is too long: Your input exceeds the context window of this model.",
        ),
        (
            429,
            r#"{"error":{"message":"Rate limit reached","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#,
            429,
            "rate_limit_error",
            "Rate limit reached",
        ),
        (503, "upstream connect error", 529, "overloaded_error", "upstream connect error"),
    ] {
        refuse(&openai, status, sent);
        let answer = ask(&node, &key, &body("gpt-5.6", true)).await;
        assert_eq!(answer.status, told, "{}", answer.text());
        assert_eq!(
            answer.json(),
            json!({ "type": "error", "error": { "type": kind, "message": words } }),
            "{sent}"
        );
        assert_eq!(answer.header("retry-after"), "7");
        let row = node.usage_of(&answer).await;
        assert_eq!((&row["outcome"], &row["total_tokens"]), (&json!("upstream_error"), &json!(0)), "{row}");
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_no_whole_message_and_is_booked_as_cut() {
    let openai = Scripted::start().await;
    let node = Setup::with_targets(&target("openai", "openai", &openai.url(), "")).start().await;
    let key = node.user_with_key("alice").await;
    let created = r#"{"type":"response.created","response":{"id":"resp_1","model":"gpt-5.6","status":"in_progress","output":[]}}"#;
    let delta = r#"{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"Hel"}"#;
    openai.begin_stream().chunk(&format!("data: {created}\n\ndata: {delta}\n\n")).close();
    let answer = ask(&node, &key, &body("gpt-5.6", true)).await;
    assert!(
        answer.text().contains("\"Hel\"") && !answer.text().contains("message_stop"),
        "{}",
        answer.text()
    );
    let row = node.usage_of(&answer).await;
    assert_eq!(
        (&row["outcome"], &row["token_source"]),
        (&json!("upstream_cut"), &json!("estimated")),
        "{row}"
    );
}

/// A Chat stream ends behind its counts, with `[DONE]`; until that it is not booked.
#[tokio::test]
async fn the_end_of_an_answer_is_not_told_before_the_providers_own() {
    let chat = Scripted::start().await;
    let node = Setup::with_targets(&target("chat", "openai", &chat.url(), "responses = false")).start().await;
    let key = node.user_with_key("alice").await;
    let chunk = |choices: Value, usage: Value| {
        format!(
            "data: {}\n\n",
            json!({ "id": "c", "object": "chat.completion.chunk", "model": "m", "choices": choices, "usage": usage })
        )
    };
    let said =
        chunk(json!([{ "index": 0, "delta": { "role": "assistant", "content": "Hello" } }]), Value::Null);
    let stop = chunk(json!([{ "index": 0, "delta": {}, "finish_reason": "stop" }]), Value::Null);
    let counts = chunk(json!([]), json!({ "prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12 }));
    for is_whole in [true, false] {
        let stream = chat.begin_stream().chunk(&said).chunk(&stop).chunk(&counts);
        if is_whole {
            stream.chunk("data: [DONE]\n\n").end();
        } else {
            stream.close();
        }
        let answer = ask(&node, &key, &body("m", true)).await;
        let text = answer.text();
        assert!(text.contains("Hello"), "{text}");
        assert_eq!(text.contains("message_stop"), is_whole, "{text}");
        let row = node.usage_of(&answer).await;
        assert_eq!(row["outcome"], if is_whole { "ok" } else { "upstream_cut" }, "{row}");
    }
}

#[tokio::test]
async fn what_would_be_left_out_is_refused_where_the_operator_wants_it_so() {
    let openai = Scripted::start().await;
    let targets = target("openai", "openai", &openai.url(), "");
    let node = Setup::with_targets(&targets).section("upstream", "on_loss = \"refuse\"").start().await;
    let key = node.user_with_key("alice").await;
    let answer = ask(&node, &key, &body("gpt-5.6", false)).await;
    assert_eq!(answer.status, 400);
    assert!(
        answer.text().contains("stop_sequences") && answer.text().contains("openai"),
        "{}",
        answer.text()
    );
    assert!(openai.requests().is_empty(), "nothing was bought");
    let mut whole = body("gpt-5.6", false);
    whole.as_object_mut().unwrap().remove("stop_sequences");
    openai.answer_json_and_close(RESPONSE);
    assert_eq!(ask(&node, &key, &whole).await.status, 200);
    let file = json!([{ "type": "image", "source": { "type": "file", "file_id": "file_1" } }]);
    whole["messages"][0]["content"] = file;
    let answer = ask(&node, &key, &whole).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("file_id"), "{}", answer.text());
}

#[tokio::test]
async fn tokens_are_counted_where_the_target_can_and_not_found_where_it_cannot() {
    let (openai, chat) = (Scripted::start().await, Scripted::start().await);
    let targets = target("openai", "openai", &openai.url(), "models = [\"gpt-*\"]")
        + &target("chat", "openai", &chat.url(), "models = [\"llama\"]\nresponses = false");
    let node = Setup::with_targets(&targets).start().await;
    let key = node.user_with_key("alice").await;
    let count = async |model: &str| {
        node.ask(
            &key,
            "/v1/messages/count_tokens",
            &[],
            &json!({
                "model": model, "messages": [{ "role": "user", "content": "Hi" }],
            }),
        )
        .await
    };
    openai.answer_json_and_close(r#"{"object":"response.input_tokens","input_tokens":31}"#);
    let counted = count("gpt-5.6").await;
    assert_eq!((counted.status, counted.json()), (200, json!({ "input_tokens": 31 })), "{}", counted.text());
    assert!(
        openai.requests().pop().unwrap().head.starts_with("POST /v1/responses/input_tokens HTTP/1.1\r\n")
    );
    refuse(&openai, 404, r#"{"error":{"message":"no such path","type":"invalid_request_error"}}"#);
    let unknown = count("gpt-5.6").await;
    assert_eq!((unknown.status, &unknown.json()["error"]["type"]), (404, &json!("not_found_error")));
    let never = count("llama").await;
    assert_eq!((never.status, &never.json()["error"]["type"]), (404, &json!("not_found_error")));
    assert!(chat.requests().is_empty());
}
