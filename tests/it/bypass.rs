//! Ways around limits and books that callers may try, and what is not to be taken for one.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Mock, Node, Scripted, Setup, until};

/// Lets the provider answer one call. It closes then, since targets do not share connections and it serves only one.
fn answer(provider: &Scripted, body: &str) {
    let length = body.len();
    provider
        .write(format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
        .close();
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
        answer(&provider, r#"{"type":"message","usage":{"input_tokens":10,"output_tokens":7}}"#);
    }
    until("room again", async || {
        (node.ask(&key, "/v1/messages", &[], &body).await.status == 200).then_some(())
    })
    .await;
}
