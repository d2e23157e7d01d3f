//! Another target, or another key, after one has failed: what moves on, what is passed on, what cools down, and what the
//! record says of it.

use serde_json::{Value, json};

use crate::harness::{Answer, Mock, Node, Scripted, Setup, until};

const MESSAGES: &str = "/v1/messages";
const FIRST: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"model\":\"claude-haiku-4-5\",\"usage\":{\"input_tokens\":7,\"output_tokens\":1}}}\n\n";
const OVERLOADED: &str = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
const DELTA: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hello\"}}\n\n";

fn target(name: &str, url: &str, more: &str) -> String {
    format!("[[targets]]\nname = \"{name}\"\nprovider = \"anthropic\"\nurl = \"{url}\"\n{more}\n")
}

/// `a`, which the test plays, before `b`, which answers.
fn two(a: &Scripted, b: &Mock) -> String {
    let first = target("a", &a.url(), "api_key = \"k\"");
    first + &target("b", &b.url(), "api_key = \"k\"\ntier = 1")
}

fn refuse(provider: &Scripted, status: u16, headers: &str, body: &str) {
    provider
        .write(format!(
            "HTTP/1.1 {status} No\r\ncontent-type: application/json\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}",
            body.len()
        ))
        .close();
}

fn body(model: &str) -> Value {
    json!({ "model": model, "max_tokens": 16, "messages": [{ "role": "user", "content": "Hi" }] })
}

async fn ask(node: &Node, key: &str, model: &str) -> Answer {
    node.ask(key, MESSAGES, &[], &body(model)).await
}

async fn shown(node: &Node, name: &str) -> Value {
    let targets = node.get("/admin/v1/targets").await;
    let all = targets["items"].as_array().or(targets["data"].as_array()).expect("a list").clone();
    all.into_iter().find(|target| target["name"] == name).expect("the target")
}

#[tokio::test]
async fn what_was_refused_unbilled_goes_to_another_target_and_cools_down() {
    for (status, reason) in [
        (429, "rate_limited"),
        (503, "overloaded"),
        (529, "overloaded"),
        (401, "key_refused"),
        (402, "out_of_credit"),
        (404, "model_not_found"),
    ] {
        let (a, b) = (Scripted::start().await, Mock::start().await);
        let node = Setup::with_targets(&two(&a, &b)).start().await;
        let key = node.user_with_key("alice").await;
        let retry_after = if status == 401 { "" } else { "retry-after: 600\r\n" };
        let kind = if status == 404 { "not_found_error" } else { "other_error" };
        refuse(
            &a,
            status,
            retry_after,
            &format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"model: claude-haiku-4-5"}}}}"#),
        );
        if status == 401 {
            // The gateway asks with the key whether it is known at all.
            refuse(&a, status, "", "{}");
        }
        let answer = ask(&node, &key, "claude-haiku-4-5").await;
        assert_eq!((answer.status, answer.header("x-sproxy-target")), (200, "b"), "{status}");
        let row = node.usage_of(&answer).await;
        assert_eq!(
            (&row["target"], &row["outcome"], &row["status_code"]),
            (&json!("b"), &json!("ok"), &json!(200))
        );
        let attempts = row["attempts"].as_array().expect("attempts");
        assert_eq!(attempts.len(), 1, "{row}");
        let attempt = &attempts[0];
        assert_eq!(
            (&attempt["target"], &attempt["model"], &attempt["reason"], &attempt["status_code"]),
            (&json!("a"), &json!("claude-haiku-4-5"), &json!(reason), &json!(status))
        );
        assert_eq!((&attempt["input_tokens"], &attempt["cost_nanousd"]), (&json!(0), &json!(0)));
        let a_shown = until("it is left alone", async || {
            Some(shown(&node, "a").await).filter(|shown| shown["healthy"] == json!(false))
        })
        .await;
        assert!(a_shown["reason"].as_str().is_some_and(|text| text.contains(reason)), "{a_shown}");

        let next = ask(&node, &key, "claude-haiku-4-5").await;
        assert_eq!((next.status, next.header("x-sproxy-target")), (200, "b"));
        let calls = a.requests().iter().filter(|request| request.head.starts_with("POST")).count();
        assert_eq!(calls, 1, "{status}: it is left alone");
        assert_eq!(node.usage_of(&next).await["attempts"], json!([]));
    }
}

#[tokio::test]
async fn what_may_have_been_worked_on_is_passed_on_unless_the_operator_wants_it_tried_again() {
    let bill =
        |status: u16| format!("{{\"type\":\"error\",\"error\":{{\"message\":\"its own words {status}\"}}}}");
    for status in [500, 502, 504] {
        let (a, b) = (Scripted::start().await, Mock::start().await);
        let node = Setup::with_targets(&two(&a, &b)).start().await;
        let key = node.user_with_key("alice").await;
        refuse(&a, status, "", &bill(status));
        let answer = ask(&node, &key, "claude-haiku-4-5").await;
        assert_eq!((answer.status, answer.text()), (status, bill(status)));
        assert_eq!(node.usage_of(&answer).await["attempts"], json!([]));

        let (a, b) = (Scripted::start().await, Mock::start().await);
        let node =
            Setup::with_targets(&two(&a, &b)).section("upstream", "retry_uncertain = true").start().await;
        let key = node.user_with_key("alice").await;
        refuse(&a, status, "", &bill(status));
        let answer = ask(&node, &key, "claude-haiku-4-5").await;
        assert_eq!((answer.status, answer.header("x-sproxy-target")), (200, "b"));
        let attempt = &node.usage_of(&answer).await["attempts"][0];
        assert_eq!((&attempt["reason"], &attempt["status_code"]), (&json!("server_error"), &json!(status)));
    }
}

#[tokio::test]
async fn other_refusals_are_answers() {
    let (a, b) = (Scripted::start().await, Mock::start().await);
    let node = Setup::with_targets(&two(&a, &b)).start().await;
    let key = node.user_with_key("alice").await;
    for (status, text) in [(400, "bad"), (404, "no such file"), (413, "large"), (422, "no")] {
        refuse(&a, status, "", text);
        let answer = ask(&node, &key, "claude-haiku-4-5").await;
        assert_eq!((answer.status, answer.text().as_str()), (status, text));
        assert_eq!(answer.header("x-sproxy-target"), "a");
    }
    assert_eq!(shown(&node, "a").await["healthy"], json!(true));
}

#[tokio::test]
async fn when_nothing_is_left_the_caller_gets_the_last_ones_own_answer() {
    let (a, b) = (Scripted::start().await, Scripted::start().await);
    let second = target("b", &b.url(), "api_key = \"k\"\ntier = 1");
    let node = Setup::with_targets(&(target("a", &a.url(), "api_key = \"k\"") + &second)).start().await;
    let key = node.user_with_key("alice").await;
    refuse(&a, 429, "retry-after: 600\r\n", "{\"of\":\"a\"}");
    refuse(&b, 529, "retry-after: 7\r\nx-own: words\r\n", "{\"of\":\"b\"}");
    let answer = ask(&node, &key, "claude-haiku-4-5").await;
    assert_eq!((answer.status, answer.text().as_str()), (529, "{\"of\":\"b\"}"));
    assert_eq!((answer.header("retry-after"), answer.header("x-own")), ("7", "words"));
    let row = node.usage_of(&answer).await;
    assert_eq!((&row["target"], &row["outcome"]), (&json!("b"), &json!("upstream_error")));
    assert_eq!(row["attempts"].as_array().map(Vec::len), Some(1));
    // While all cool down for longer than anybody waits, one attempt is made, at the one that is back first.
    refuse(&b, 529, "retry-after: 7\r\n", "{\"of\":\"b again\"}");
    let answer = ask(&node, &key, "claude-haiku-4-5").await;
    assert_eq!((answer.status, answer.text().as_str()), (529, "{\"of\":\"b again\"}"));
    assert_eq!((a.requests().len(), b.requests().len()), (1, 2));
}

#[tokio::test]
async fn an_answer_of_before_is_passed_on_when_the_last_target_has_none() {
    let (a, gone) = (Scripted::start().await, "http://127.0.0.1:9");
    let targets = target("a", &a.url(), "api_key = \"k\"") + &target("gone", gone, "tier = 1");
    let node = Setup::with_targets(&targets).start().await;
    let key = node.user_with_key("alice").await;
    refuse(&a, 429, "retry-after: 600\r\n", "{\"own\":\"words\"}");
    let answer = ask(&node, &key, "claude-haiku-4-5").await;
    assert_eq!((answer.status, answer.text().as_str()), (429, "{\"own\":\"words\"}"));
    let row = node.usage_of(&answer).await;
    assert_eq!((&row["target"], &row["status_code"]), (&json!("a"), &json!(429)));
    let attempts = row["attempts"].as_array().expect("attempts");
    assert_eq!(attempts.len(), 1, "{row}");
    assert_eq!((&attempts[0]["target"], &attempts[0]["reason"]), (&json!("gone"), &json!("connect")));
    assert_eq!(attempts[0]["status_code"], json!(null));
}

#[tokio::test]
async fn a_caller_that_leaves_while_a_head_is_held_pays_for_what_the_stream_said() {
    let (a, b) = (Scripted::start().await, Mock::start().await);
    let node = Setup::with_targets(&two(&a, &b)).start().await;
    let key = node.user_with_key("alice").await;
    let mut stream = body("claude-haiku-4-5");
    stream["stream"] = json!(true);
    let mut calls = 0;
    // Whether the beginning had come when the caller left cannot be seen from here: the next one leaves a little later.
    until("a call is booked by what its stream said", async || {
        a.begin_stream().chunk(FIRST);
        let request = reqwest::Client::new().post(node.url(MESSAGES)).header("x-api-key", &key).json(&stream);
        let waiting = tokio::spawn(request.send());
        calls += 1;
        until("the call is under way", async || a.requests().get(calls - 1).cloned()).await;
        for _ in 0..calls {
            node.get("/admin/v1/targets").await;
        }
        waiting.abort();
        let rows = until("the record", async || Some(node.usage().await).filter(|rows| rows.len() == calls));
        let rows = rows.await;
        assert!(rows.iter().all(|row| row["outcome"] == json!("client_gone") && row["target"] == json!("a")));
        rows.iter().any(|row| row["input_tokens"] == json!(7)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_error_that_opens_a_stream_moves_on_and_one_after_content_does_not() {
    let (a, b) = (Scripted::start().await, Mock::start().await);
    let node = Setup::with_targets(&two(&a, &b)).start().await;
    let key = node.user_with_key("alice").await;
    let mut stream = body("claude-haiku-4-5");
    stream["stream"] = json!(true);

    a.begin_stream().chunk(FIRST).chunk(DELTA).chunk(OVERLOADED).end();
    let answer = node.ask(&key, MESSAGES, &[], &stream).await;
    assert_eq!((answer.header("x-sproxy-target"), answer.text()), ("a", [FIRST, DELTA, OVERLOADED].concat()));
    let row = node.usage_of(&answer).await;
    assert_eq!((&row["outcome"], &row["attempts"]), (&json!("upstream_error"), &json!([])));

    a.begin_stream().chunk(FIRST).chunk(OVERLOADED).end();
    let answer = node.ask(&key, MESSAGES, &[], &stream).await;
    assert_eq!((answer.status, answer.header("x-sproxy-target")), (200, "b"));
    assert!(!answer.text().contains("verloaded"), "{}", answer.text());
    let row = node.usage_of(&answer).await;
    let attempt = &row["attempts"][0];
    assert_eq!((&attempt["target"], &attempt["reason"]), (&json!("a"), &json!("error_event")));
    assert_eq!(attempt["status_code"], json!(200));
    // What it said that it used is in the cost, and told apart.
    assert_eq!(attempt["input_tokens"], json!(7));
    let of_attempt = attempt["cost_nanousd"].as_i64().expect("a cost");
    let own = row["cost_nanousd"].as_i64().expect("a cost") - of_attempt;
    let alone = ask_stream_alone(&node, &key, &stream).await;
    assert!(of_attempt > 0);
    assert_eq!(own, alone, "the rest is what the answer cost");
}

/// What the same answer costs without an attempt before it: `a` cools down.
async fn ask_stream_alone(node: &Node, key: &str, stream: &Value) -> i64 {
    let answer = node.ask(key, MESSAGES, &[], stream).await;
    let row = node.usage_of(&answer).await;
    assert_eq!((&row["target"], &row["attempts"]), (&json!("b"), &json!([])));
    row["cost_nanousd"].as_i64().expect("a cost")
}

#[tokio::test]
async fn the_only_target_is_passed_through_as_it_comes_whatever_its_stream_begins_with() {
    let a = Scripted::start().await;
    let node = Setup::with_targets(&target("a", &a.url(), "api_key = \"k\"")).start().await;
    let key = node.user_with_key("alice").await;
    let mut stream = body("claude-haiku-4-5");
    stream["stream"] = json!(true);
    a.begin_stream().chunk(OVERLOADED).end();
    let answer = node.ask(&key, MESSAGES, &[], &stream).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, OVERLOADED));
}

#[tokio::test]
async fn several_keys_of_one_target_share_its_calls_and_one_that_is_refused_is_not_used_again() {
    let mock = Scripted::start().await;
    let keys = "keys = [{ name = \"org-a\", api_key = \"secret-a\", weight = 1 }, \
                { name = \"org-b\", api_key = \"secret-b\", weight = 0 }]";
    let node = Setup::with_targets(&target("t", &mock.url(), keys)).start().await;
    let key = node.user_with_key("alice").await;
    refuse(&mock, 429, "retry-after: 600\r\n", "{}");
    let answer = ask(&node, &key, "claude-haiku-4-5").await;
    assert_eq!(answer.status, 429, "a key without weight gets no calls");

    let keys = keys.replace("weight = 0", "weight = 1");
    let a = Scripted::start().await;
    let node = Setup::with_targets(&target("t", &a.url(), &keys)).start().await;
    let key = node.user_with_key("alice").await;
    refuse(&a, 429, "retry-after: 600\r\n", "{}");
    answer_ok(&a);
    let answer = ask(&node, &key, "claude-haiku-4-5").await;
    assert_eq!(answer.status, 200);
    let row = node.usage_of(&answer).await;
    let limited = row["attempts"][0]["key"].as_str().expect("a key").to_owned();
    assert!(["org-a", "org-b"].contains(&&*limited), "{row}");
    let sent: Vec<_> = a.requests().iter().map(|request| request.head.contains("secret-a")).collect();
    assert_eq!(sent.len(), 2);
    assert_ne!(sent[0], sent[1], "the other key");
    let keys = shown(&node, "t").await["keys"].as_array().expect("keys").clone();
    for one in keys {
        assert_eq!(one["healthy"], json!(one["name"] != json!(limited)), "{one}");
        assert_eq!(one["attempts"], json!(1));
    }
    assert!(!node.log().contains("secret-"), "no key is in the log");
}

fn answer_ok(provider: &Scripted) {
    let text = r#"{"id":"m","type":"message","role":"assistant","model":"claude-haiku-4-5","content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn","usage":{"input_tokens":3,"output_tokens":1}}"#;
    provider
        .write(format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{text}",
            text.len()
        ))
        .close();
}

#[tokio::test]
async fn a_call_waits_for_the_only_target_if_it_says_that_it_is_back_soon() {
    let a = Scripted::start().await;
    let node = Setup::with_targets(&target("a", &a.url(), "api_key = \"k\"")).start().await;
    let key = node.user_with_key("alice").await;
    refuse(&a, 429, "retry-after-ms: 700\r\n", "{}");
    assert_eq!(ask(&node, &key, "claude-haiku-4-5").await.status, 429, "nobody else is there to ask");
    answer_ok(&a);
    let answer = ask(&node, &key, "claude-haiku-4-5").await;
    assert_eq!(answer.status, 200);
    let row = node.usage_of(&answer).await;
    assert_eq!(row["attempts"], json!([]), "it was not sent before");
}

#[tokio::test]
async fn a_call_cannot_take_a_key_from_everybody_else() {
    let (a, b) = (Scripted::start().await, Mock::start().await);
    let node = Setup::with_targets(&two(&a, &b)).start().await;
    let key = node.user_with_key("alice").await;
    refuse(&a, 403, "", r#"{"error":{"message":"what this call says is forbidden"}}"#);
    // The gateway then asks with the same key for the list of models, which is allowed.
    refuse(&a, 200, "", r#"{"data":[]}"#);
    assert_eq!(ask(&node, &key, "claude-haiku-4-5").await.header("x-sproxy-target"), "b");
    until("the key is checked", async || a.requests().get(1).cloned()).await;
    assert!(a.requests()[1].head.starts_with("GET /v1/models"));
    assert_eq!(shown(&node, "a").await["healthy"], json!(true));
    answer_ok(&a);
    // Another conversation: the first one stays where its cache is now.
    let other = [("x-session-id", "another")];
    let answer = node.ask(&key, MESSAGES, &other, &body("claude-haiku-4-5")).await;
    assert_eq!(answer.header("x-sproxy-target"), "a");
}

#[tokio::test]
async fn a_name_of_ones_own_is_tried_model_by_model_and_a_target_may_rename_them() {
    let (a, b) = (Scripted::start().await, Mock::start().await);
    let first = target("a", &a.url(), "api_key = \"k\"\nmodels = [\"claude-opus-*\"]");
    let second = target(
        "b",
        &b.url(),
        "api_key = \"k\"\nmodels = [\"none\"]\nrename = { \"fast\" = \"claude-haiku-4-5\" }",
    );
    let route = "[[models]]\nname = \"coder\"\nroute = [\"claude-opus-4-8\", \"fast\"]\n";
    let node = Setup::with_targets(&(first + &second + route)).start().await;
    let key = node.user_with_key("alice").await;
    refuse(&a, 529, "retry-after: 600\r\n", "{}");
    let answer = ask(&node, &key, "coder").await;
    assert_eq!((answer.status, answer.header("x-sproxy-target")), (200, "b"), "{}", answer.text());
    let sent: Value = serde_json::from_slice(&a.requests()[0].body).expect("JSON");
    assert_eq!(sent["model"], json!("claude-opus-4-8"));
    let row = node.usage_of(&answer).await;
    assert_eq!((&row["model"], &row["actual_model"]), (&json!("coder"), &json!("claude-haiku-4-5")));
    assert_eq!(row["attempts"][0]["model"], json!("claude-opus-4-8"));
    assert_eq!(row["price"]["glob"], json!("claude-haiku-4*"), "{}", row["price"]);
    let list = reqwest::Client::new().get(node.url("/v1/models")).header("x-api-key", &key);
    let list = Answer::read(list.send().await.expect("an answer")).await.json();
    let names: Vec<_> =
        list["data"].as_array().expect("models").iter().map(|one| one["id"].clone()).collect();
    for name in ["coder", "fast"] {
        assert!(names.contains(&json!(name)), "{names:?}");
    }
}

#[tokio::test]
async fn a_session_that_had_to_move_stays_where_its_cache_is() {
    let (a, b) = (Scripted::start().await, Mock::start().await);
    let node = Setup::with_targets(&two(&a, &b)).start().await;
    let key = node.user_with_key("alice").await;
    let session = [("x-claude-code-session-id", "s-1")];
    refuse(&a, 429, "retry-after-ms: 1\r\n", "{}");
    let asked = node.ask(&key, MESSAGES, &session, &body("claude-haiku-4-5")).await;
    assert_eq!(asked.header("x-sproxy-target"), "b");
    // Others go back as soon as the pause is over.
    answer_ok(&a);
    let other = [("x-claude-code-session-id", "s-2")];
    let back = until("the pause is over", async || {
        let answer = node.ask(&key, MESSAGES, &other, &body("claude-haiku-4-5")).await;
        (answer.header("x-sproxy-target") == "a").then_some(())
    });
    back.await;
    let asked = node.ask(&key, MESSAGES, &session, &body("claude-haiku-4-5")).await;
    assert_eq!(asked.header("x-sproxy-target"), "b", "the session stays");
}
