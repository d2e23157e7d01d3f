//! Conversations in Realtime: what passes, what each response costs, and how they end.

use serde_json::{Value, json};

use crate::harness::{Mock, Node, Scripted, Setup, Socket, until};

const REALTIME: &str = "/v1/realtime?model=gpt-realtime";

fn at(name: &str, url: &str, more: &str) -> String {
    format!(
        "[[targets]]\nname = \"{name}\"\nprovider = \"openai\"\nurl = \"{url}\"\napi_key = \"sk-up\"\nwebsocket = true\n{more}\n"
    )
}

async fn started() -> (Mock, Node, String) {
    let mock = Mock::start().await;
    let node = Setup::with_targets(&at("openai", &mock.url(), "")).start().await;
    let key = node.user_with_key("alice").await;
    (mock, node, key)
}

async fn open(node: &Node, key: &str, headers: &[(&str, &str)]) -> Socket {
    let mut socket = Socket::open(node, key, REALTIME, headers).await.expect("a WebSocket");
    let first = socket.next().await.unwrap();
    assert_eq!(
        (&first["type"], &first["session"]["model"]),
        (&json!("session.created"), &json!("gpt-realtime"))
    );
    socket
}

fn create(id: &str) -> Value {
    json!({ "type": "response.create", "event_id": id })
}

async fn change(node: &Node, change: Value) {
    let changed = node.call(reqwest::Method::PATCH, "/admin/v1/users/alice", Some(change)).await;
    assert!(changed.status().is_success(), "{}", changed.text().await.unwrap());
}

async fn until_done(socket: &mut Socket) -> Vec<Value> {
    socket.until(&["response.done", "error"]).await
}

#[tokio::test]
async fn each_response_of_a_conversation_is_a_record_whoever_began_it() {
    let (mock, node, key) = started().await;
    let headers = [("mock-input", "100"), ("mock-output", "10"), ("mock-cache-read", "60")];
    let mut socket = open(&node, &key, &headers).await;
    assert_eq!(socket.opened.headers()["x-sproxy-target"], "openai");
    assert_eq!(socket.opened.headers()["openai-version"], "2020-10-01", "the provider's own headers pass");

    let item = json!({ "type": "conversation.item.create", "item": { "type": "message", "role": "user" } });
    socket.send(&item).await;
    let added = socket.next().await.unwrap();
    assert_eq!(added, json!({ "type": "conversation.item.added", "item": item["item"] }));
    assert!(node.usage().await.is_empty(), "it costs nothing");

    for (turn, message) in
        [create("a"), json!({ "type": "input_audio_buffer.commit" }), create("b")].iter().enumerate()
    {
        socket.send(message).await;
        let events = until_done(&mut socket).await;
        assert_eq!(events.len(), 5, "{events:?}");
        let rows = node.usage().await;
        assert_eq!(rows.len(), turn + 1, "nothing is waited for: {rows:?}");
        let (row, usage) = (rows.last().unwrap(), &events.last().unwrap()["response"]["usage"]);
        assert_eq!(
            (&row["input_tokens"], &row["output_tokens"]),
            (&usage["input_tokens"], &usage["output_tokens"])
        );
        assert_eq!((&row["cache_read_tokens"], &row["token_source"]), (&json!(60), &json!("reported")));
        assert_eq!((&row["model"], &row["outcome"]), (&json!("gpt-realtime"), &json!("ok")));
        assert_eq!((&row["user"], &row["target"]), (&json!("alice"), &json!("openai")));
    }
    assert_eq!(
        mock.served().await["gpt-realtime"],
        json!({ "requests": 3, "input": 300, "output": 30, "errors": 0 })
    );
    // What the provider does not know it says itself.
    socket.send(&json!({ "type": "something.new" })).await;
    assert_eq!(socket.next().await.unwrap()["error"]["code"], "invalid_value");
    socket.close().await;
    assert_eq!(node.usage().await.len(), 3);
}

#[tokio::test]
async fn limits_refuse_what_is_asked_for_and_end_what_the_provider_begins_by_itself() {
    let (mock, node, key) = started().await;
    change(&node, json!({ "rpm": 1 })).await;
    let mut socket = open(&node, &key, &[]).await;
    socket.send(&create("a")).await;
    assert_eq!(until_done(&mut socket).await.last().unwrap()["type"], "response.done");
    socket.send(&create("b")).await;
    let refused = socket.next().await.unwrap();
    assert_eq!(
        (&refused["type"], &refused["error"]["code"]),
        (&json!("error"), &json!("rate_limit_exceeded")),
        "{refused}"
    );
    assert_eq!(mock.served().await["gpt-realtime"]["requests"], 1, "it went nowhere");

    socket.send(&json!({ "type": "input_audio_buffer.commit" })).await;
    let refused = socket.next().await.unwrap();
    assert_eq!(refused["error"]["code"], "rate_limit_exceeded", "{refused}");
    let end = socket.next().await.expect_err("the end").expect("a reason");
    assert_eq!(u16::from(end.code), 1008, "{end:?}");
    let rows = until("the refusals", async || Some(node.usage().await).filter(|rows| rows.len() == 3)).await;
    let outcomes: Vec<&Value> = rows.iter().map(|row| &row["outcome"]).collect();
    assert_eq!(outcomes, ["ok", "refused", "refused"]);
}

#[tokio::test]
async fn whichever_side_hangs_up_the_response_is_booked_as_far_as_it_came() {
    let (_mock, node, key) = started().await;
    let mut socket = open(&node, &key, &[("mock-fail", "mid-stream")]).await;
    socket.send(&create("a")).await;
    let end = loop {
        if let Err(end) = socket.next().await {
            break end.expect("a reason");
        }
    };
    assert_eq!(u16::from(end.code), 1011, "{end:?}");
    let row = until("its record", async || node.usage().await.pop()).await;
    assert_eq!(
        (&row["outcome"], &row["token_source"]),
        (&json!("upstream_cut"), &json!("estimated")),
        "{row}"
    );
    assert!(row["output_tokens"].as_u64().unwrap() > 0, "{row}");

    let mut socket = open(&node, &key, &[("mock-delay-ms", "50"), ("mock-events", "20")]).await;
    socket.send(&create("a")).await;
    let _begun = socket.until(&["response.output_text.delta"]).await;
    drop(socket);
    let rows = until("its record", async || Some(node.usage().await).filter(|rows| rows.len() == 2)).await;
    assert_eq!(rows[1]["outcome"], "client_gone", "{rows:?}");
}

#[tokio::test]
async fn a_browser_brings_its_key_among_the_subprotocols_and_the_provider_never_sees_it() {
    let (mock, node, key) = started().await;
    let protocols = format!("realtime, openai-insecure-api-key.{key}, openai-beta.realtime-v1");
    let socket = Socket::open(&node, "", REALTIME, &[("sec-websocket-protocol", &protocols)])
        .await
        .expect("a WebSocket");
    assert_eq!(socket.opened.headers()["sec-websocket-protocol"], "realtime");
    let asked: Value = reqwest::get(format!("{}/mock/last", mock.url())).await.unwrap().json().await.unwrap();
    assert_eq!(asked["headers"]["sec-websocket-protocol"], json!(["realtime, openai-beta.realtime-v1"]));
    assert_eq!(asked["headers"]["authorization"], json!(["Bearer sk-up"]));
    assert!(!asked.to_string().contains(&key), "{asked}");
}

#[tokio::test]
async fn the_model_decides_the_target_and_another_is_asked_when_it_refuses() {
    let (busy, mock) = (Scripted::start().await, Mock::start().await);
    let targets = at("busy", &busy.url(), "models = [\"gpt-realtime\"]")
        + &at(
            "free",
            &mock.url(),
            "models = [\"gpt-realtime\"]\ntier = 1\nrename = { \"voice\" = \"gpt-realtime\" }",
        );
    let node = Setup::with_targets(&targets).start().await;
    let key = node.user_with_key("alice").await;
    busy.write("HTTP/1.1 429 Too Many Requests\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}").close();
    let mut socket = open(&node, &key, &[]).await;
    assert_eq!(socket.opened.headers()["x-sproxy-target"], "free");
    socket.send(&create("a")).await;
    until_done(&mut socket).await;
    assert_eq!(node.usage().await.pop().unwrap()["target"], "free");

    let mut renamed = Socket::open(&node, &key, "/v1/realtime?model=voice", &[]).await.expect("a WebSocket");
    assert_eq!(renamed.next().await.unwrap()["session"]["model"], "gpt-realtime");
    renamed.send(&create("a")).await;
    until_done(&mut renamed).await;
    let row = node.usage().await.pop().unwrap();
    assert_eq!((&row["model"], &row["actual_model"]), (&json!("voice"), &json!("gpt-realtime")));

    let refused = Socket::open(&node, &key, "/v1/realtime?model=nobody", &[]).await.err().unwrap();
    assert_eq!(refused.status(), 404);
}

#[tokio::test]
async fn a_leaving_node_ends_a_conversation_between_two_responses() {
    let (_mock, mut node, key) = started().await;
    let mut socket = open(&node, &key, &[("mock-delay-ms", "30"), ("mock-events", "10")]).await;
    socket.send(&create("a")).await;
    let _begun = socket.until(&["response.output_text.delta"]).await;
    node.process.ask_to_leave().await;
    assert_eq!(until_done(&mut socket).await.last().unwrap()["type"], "response.done");
    let end = socket.next().await.expect_err("goodbye").expect("a reason");
    assert_eq!(u16::from(end.code), 1001, "{end:?}");
    assert_eq!(node.process.ended().await, Some(0));
}
