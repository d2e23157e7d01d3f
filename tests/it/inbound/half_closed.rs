//! A caller that has closed its side waits for its answer; one that is gone is noticed.

use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::{Raw, head};
use crate::harness::{Mock, Node, Scripted, Setup, until};

const JSON: &str = r#"{"model":"claude","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
const STREAM: &str =
    r#"{"model":"claude","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"hi"}]}"#;

async fn half_closing(node: &Node, key: &str, body: &str) -> Raw {
    let mut raw = Raw::sending(node.address, head("POST", "/v1/messages", key, body.len()) + body).await;
    raw.0.shutdown().await.unwrap();
    raw
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_has_closed_its_side_gets_its_answer() {
    let mock = Mock::start().await;
    let node = Setup::with_targets_at(&mock.url()).start().await;
    let key = node.user_with_key("alice").await;
    mock_pauses(&mock).await;
    for (body, end) in [(JSON, "\"end_turn\""), (STREAM, "message_stop")] {
        let mut raw = half_closing(&node, &key, body).await;
        let answer = String::from_utf8(raw.read_to_end().await).unwrap();
        // It may be asked whether it is there.
        let answer = answer.strip_prefix("HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(&answer);
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(end), "{answer}");
    }
    let mut raw = Raw::sending(node.address, "GET /healthz HTTP/1.1\r\nhost: node\r\n\r\n").await;
    raw.0.shutdown().await.unwrap();
    assert!(raw.read_to_end().await.starts_with(b"HTTP/1.1 200 "));
    let rows =
        until("both are booked", async || Some(node.usage().await).filter(|rows| rows.len() == 2)).await;
    assert!(rows.iter().all(|row| row["outcome"] == json!("ok")), "{rows:?}");
}

/// Answers take so long that a caller's end is there first.
async fn mock_pauses(mock: &Mock) {
    let url = format!("{}/mock/defaults", mock.url());
    let steering = json!({ "mock-delay-ms": "100", "mock-events": "3" });
    let set = reqwest::Client::new().post(url).json(&steering).send().await.unwrap();
    assert!(set.status().is_success(), "{}", set.text().await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_is_gone_is_noticed_whatever_it_waited_for() {
    let provider = Scripted::start().await;
    let node = Setup::with_targets_at(&provider.url()).start().await;
    let key = node.user_with_key("alice").await;
    let mut booked = 0;
    for half_closed in [false, true] {
        for is_streaming in [false, true] {
            let body = if is_streaming { STREAM } else { JSON };
            let mut raw =
                Raw::sending(node.address, head("POST", "/v1/messages", &key, body.len()) + body).await;
            if half_closed {
                raw.0.shutdown().await.unwrap();
            }
            if is_streaming {
                provider.begin_stream().chunk("event: ping\ndata: {\"type\":\"ping\"}\n\n");
                raw.read_until("ping").await;
            } else {
                let before = booked;
                until("the provider has it", async || (provider.requests().len() > before).then_some(()))
                    .await;
            }
            drop(raw);
            booked += 1;
            if half_closed && is_streaming {
                // It is noticed by what is written to it.
                provider.chunk("event: ping\ndata: {\"type\":\"ping\"}\n\n");
            }
            let rows =
                until("it is booked", async || Some(node.usage().await).filter(|rows| rows.len() == booked))
                    .await;
            let outcome = &rows[booked - 1]["outcome"];
            assert_eq!(*outcome, json!("client_gone"), "half closed {half_closed}, stream {is_streaming}");
        }
    }
}
