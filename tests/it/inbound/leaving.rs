//! Callers of a node that was asked to leave: who is served, who is sent elsewhere, and how each of them hears of it.

use std::io::ErrorKind;

use serde_json::json;
use tokio::net::TcpStream;

use super::connections::{get, speak_http2};
use super::{Raw, head};
use crate::harness::{Mock, Node, Setup, until};

const READY: &str = "GET /readyz HTTP/1.1\r\nhost: node\r\n\r\n";

async fn node_with(http: &str) -> (Mock, Node, String) {
    let mock = Mock::start().await;
    let node = Setup::with_targets_at(&mock.url()).section("http", http).start().await;
    let key = node.user_with_key("alice").await;
    (mock, node, key)
}

/// A call as its bytes; one of a stream for so many milliseconds between two events.
fn call(key: &str, stream: Option<u64>) -> String {
    let body = json!({
        "model": "claude-sonnet-4-5", "max_tokens": 9, "stream": stream.is_some(), "messages": [{ "role": "user", "content": "Hi" }]
    });
    let pace = stream.map(|pause| format!("?mock-delay-ms={pause}&mock-events=40")).unwrap_or_default();
    let body = body.to_string();
    head("POST", &format!("/v1/messages{pace}"), key, body.len()) + &body
}

/// Sends SIGTERM, and waits until it is heard.
async fn ask_to_leave(node: &Node) {
    node.process.ask_to_leave().await;
    until("the signal is heard", async || node.log().contains("asked to leave").then_some(())).await;
}

/// An answer that says that its connection closes after it.
fn assert_is_the_last(answer: &[u8]) {
    let answer = String::from_utf8_lossy(answer);
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("connection: close\r\n"), "{answer}");
}

#[tokio::test]
async fn while_the_last_streams_go_on_nobody_is_let_in_who_would_not_be_served() {
    let (_mock, mut node, key) = node_with("shutdown_timeout = \"1h\"").await;
    let mut endless = Raw::sending(node.address, call(&key, Some(31_536_000_000))).await;
    endless.read_until("message_start").await;
    ask_to_leave(&node).await;
    // A balancer goes to another node then; a connection that opens and is left alone would cost it a call.
    until("connections are refused", async || {
        let refused = TcpStream::connect(node.address).await.err()?;
        (refused.kind() == ErrorKind::ConnectionRefused).then_some(())
    })
    .await;
    node.process.ask_to_leave().await;
    assert_eq!(node.process.ended().await, Some(0));
}

/// Of a balancer, or of an agent in a loop: it may be on its way when the node leaves.
#[tokio::test]
async fn the_next_call_on_an_open_connection_is_still_answered() {
    let (_mock, mut node, key) = node_with("").await;
    let new = Raw::connect(node.address).await;
    let mut kept = Raw::sending(node.address, READY).await;
    kept.read_until("}").await;
    let mut streaming = Raw::sending(node.address, call(&key, Some(50))).await;
    streaming.read_until("message_start").await;
    ask_to_leave(&node).await;
    for mut open in [new, kept] {
        open.send(call(&key, None)).await;
        assert_is_the_last(&open.read_to_end().await);
    }
    streaming.read_until("\r\n0\r\n\r\n").await;
    streaming.send(call(&key, None)).await;
    assert_is_the_last(&streaming.read_to_end().await);
    assert_eq!(node.process.ended().await, Some(0));
    node.restart().await;
    assert_eq!(node.usage().await.len(), 4);
}

#[tokio::test]
async fn until_its_delay_is_over_a_leaving_node_serves_everybody_and_says_that_it_leaves() {
    let (_mock, mut node, key) = node_with("shutdown_delay = \"1h\"").await;
    let mut kept = Raw::sending(node.address, READY).await;
    assert!(kept.read_until("}").await.starts_with("HTTP/1.1 200 "));
    let (mut kept_h2, driver) = speak_http2(node.address).await;
    assert_eq!(get(&mut kept_h2).await, 200);
    ask_to_leave(&node).await;

    let ready = Raw::sending(node.address, READY).await.read_to_end().await;
    let ready = String::from_utf8(ready).unwrap();
    assert!(ready.starts_with("HTTP/1.1 503 ") && ready.contains("the node is leaving"), "{ready}");
    driver.await.expect("the connection ends in good order");
    let (mut since, _driver) = speak_http2(node.address).await;
    for _ in 0..2 {
        assert_eq!(get(&mut since).await, 200, "who comes now is served as ever");
    }
    // A connection that is kept is answered, and then closed for its next call to go elsewhere.
    kept.send(call(&key, None)).await;
    assert_is_the_last(&kept.read_to_end().await);
    assert_is_the_last(&Raw::sending(node.address, call(&key, None)).await.read_to_end().await);
    node.process.ask_to_leave().await;
    assert_eq!(node.process.ended().await, Some(0));
    node.restart().await;
    assert_eq!(node.usage().await.len(), 2);
}
