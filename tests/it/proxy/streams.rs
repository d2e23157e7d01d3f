//! What passes of a stream that the gateway asked for usage, and who may call what is not for callers.

use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::harness::{Answer, Node, Scripted, Setup, until};

const FIRST: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"}}]}\n\n";
const USAGE: &str = "\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2,\"total_tokens\":11}";
const DONE: &str = "data: [DONE]\n\n";

fn clients() -> [(&'static str, Client); 2] {
    let http2 = Client::builder().http2_prior_knowledge().build().unwrap();
    [("HTTP/1.1", Client::new()), ("HTTP/2", http2)]
}

async fn started() -> (Scripted, Node, String) {
    let provider = Scripted::start().await;
    let node = Setup::with_targets_at(&provider.url()).start().await;
    let key = node.user_with_key("alice").await;
    (provider, node, key)
}

async fn stream(client: &Client, node: &Node, key: &str) -> reqwest::Response {
    let body = json!({ "model": "gpt-5-mini", "stream": true, "messages": [] });
    client.post(node.url("/v1/chat/completions")).header("x-api-key", key).json(&body).send().await.unwrap()
}

#[tokio::test]
async fn the_gateways_own_usage_chunk_is_told_by_what_the_stream_is() {
    let (provider, node, key) = started().await;
    for (version, client) in clients() {
        for kind in [
            "",
            "content-type: text/plain\r\n",
            "content-type: Text/Event-Stream\r\n",
            "content-type: application/json\r\n",
        ] {
            for choices in ["\"choices\":[],", "\"choices\":null,", ""] {
                let chunk = format!("data: {{\"id\":\"c\",{choices}{USAGE}}}\n\n");
                for sized in [false, true] {
                    let text = format!("{FIRST}{chunk}{DONE}");
                    let length =
                        if sized { format!("content-length: {}\r\n", text.len()) } else { String::new() };
                    provider
                        .write(format!("HTTP/1.1 200 OK\r\nconnection: close\r\n{kind}{length}\r\n{text}"))
                        .close();
                    let answered = Answer::read(stream(&client, &node, &key).await).await;
                    let what = format!("{version} {kind:?} {choices:?} {sized}");
                    assert_eq!(
                        (answered.text(), answered.complete),
                        (format!("{FIRST}{DONE}"), true),
                        "{what}"
                    );
                    let row = node.usage_of(&answered).await;
                    assert_eq!(
                        (&row["input_tokens"], &row["output_tokens"]),
                        (&json!(9), &json!(2)),
                        "{what}"
                    );
                }
            }
        }
        // A document keeps its length.
        let text = format!("{{\"choices\":[],{USAGE}}}");
        provider
            .write(format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{text}",
                text.len()
            ))
            .close();
        let answered = Answer::read(stream(&client, &node, &key).await).await;
        assert_eq!(
            (answered.text(), answered.header("content-length")),
            (text.clone(), &*text.len().to_string())
        );
    }
}

/// Reads until `text` has come, while the provider says nothing more.
async fn comes(response: &mut reqwest::Response, expected: &[u8]) {
    let mut seen = Vec::new();
    while seen.len() < expected.len() {
        let chunk = tokio::time::timeout(Duration::from_secs(30), response.chunk()).await;
        seen.extend_from_slice(&chunk.expect("it comes at once").unwrap().expect("more"));
    }
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn nothing_waits_that_cannot_be_the_usage_chunk() {
    let (provider, node, key) = started().await;
    for (_, client) in clients() {
        provider.begin_stream();
        let mut response = stream(&client, &node, &key).await;
        for piece in [
            ": keep-alive\n",
            ": OPENROUTER PROCESSING\n",
            "event: x\n",
            "data: {\"choices\":[{\"delta\":{\"content\":\"a",
            "b\"}}]}\n\n",
        ] {
            provider.chunk(piece);
            comes(&mut response, piece.as_bytes()).await;
        }
        provider
            .chunk("data: {\"choices\":[],\"us")
            .chunk(&format!("{}}}\n\n", &USAGE[3..]))
            .chunk(DONE)
            .end()
            .close();
        comes(&mut response, DONE.as_bytes()).await;
        assert!(response.bytes().await.unwrap().is_empty(), "and nothing more");
    }
}

#[tokio::test]
async fn a_stream_that_comes_compressed_passes_piece_by_piece() {
    let (provider, node, key) = started().await;
    for (_, client) in clients() {
        provider.write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n");
        let mut response = stream(&client, &node, &key).await;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        for text in [FIRST, DONE] {
            std::io::Write::write_all(&mut encoder, text.as_bytes()).unwrap();
            std::io::Write::flush(&mut encoder).unwrap();
            let piece = std::mem::take(encoder.get_mut());
            provider.write([format!("{:x}\r\n", piece.len()).as_bytes(), &piece, b"\r\n"].concat());
            comes(&mut response, &piece).await;
        }
        let piece = encoder.finish().unwrap();
        provider.write([format!("{:x}\r\n", piece.len()).as_bytes(), &piece, b"\r\n"].concat()).end().close();
        comes(&mut response, &piece).await;
        assert!(response.bytes().await.unwrap().is_empty(), "and nothing more");
    }
}

#[tokio::test]
async fn a_length_beside_a_transfer_coding_ends_no_answer_early() {
    let (provider, node, key) = started().await;
    let text = r#"{"type":"message","usage":{"input_tokens":10,"output_tokens":7}}"#;
    for (version, client) in clients() {
        provider.write(format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\
             connection: close\r\n\r\n{:x}\r\n{text}\r\n0\r\n\r\n",
            text.len()
        ));
        provider.close();
        let request =
            client.post(node.url("/v1/messages")).header("x-api-key", &key).json(&json!({"model": "m"}));
        let answered = Answer::read(request.send().await.unwrap()).await;
        assert_eq!((answered.text(), answered.complete), (text.to_owned(), true), "{version}");
    }
}

#[tokio::test]
async fn the_provider_accounts_housekeeping_is_refused_unless_a_target_allows_it() {
    let (provider, node, key) = started().await;
    let target = format!(
        "[[targets]]\nname = \"a\"\nprovider = \"openai\"\nurl = \"{}\"\napi_key = \"k\"\nallow_admin_paths = true\n",
        provider.url()
    );
    let open = Setup::with_targets(&target).start().await;
    let other = open.user_with_key("bob").await;
    for (version, client) in clients() {
        for (method, path, shape) in [
            (Method::POST, "/v1/realtime/client_secrets", r#""code":"permission_denied""#),
            (Method::GET, "/v1/organization/admin_api_keys", r#""code":"permission_denied""#),
            (Method::DELETE, "/v1/models/ft:gpt-5:x", r#""code":"permission_denied""#),
            (Method::POST, "/anthropic/v1/organizations/api_keys", r#""type":"permission_error""#),
            (Method::POST, "/v1alpha/auth_tokens", r#""status":"PERMISSION_DENIED""#),
            (Method::DELETE, "/ollama/api/delete", r#"{"error":""#),
            (Method::POST, "/api/pull", r#"{"error":""#),
        ] {
            let request = client.request(method, node.url(path)).header("x-api-key", &key).body("{}");
            let refused = Answer::read(request.send().await.unwrap()).await;
            assert_eq!(refused.status, 403, "{version} {path}: {}", refused.text());
            assert!(
                refused.text().contains(shape) && refused.text().contains("allow_admin_paths"),
                "{}",
                refused.text()
            );
        }
        assert!(provider.requests().is_empty());
    }
    provider.write("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}").close();
    let request =
        open.http.post(open.url("/v1/realtime/client_secrets")).header("x-api-key", &other).body("{}");
    assert_eq!(request.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_failed_look_at_a_targets_models_is_soon_repeated_and_many_callers_look_once() {
    let provider = Scripted::start().await;
    let target = format!(
        "[[targets]]\nname = \"a\"\nprovider = \"openai\"\nurl = \"{}\"\napi_key = \"k\"\n",
        provider.url()
    );
    let node = Setup::with_targets(&target).start().await;
    let key = node.user_with_key("alice").await;
    let list = async || {
        let request = node.http.get(node.url("/v1/models")).header("x-api-key", &key);
        let list: Value = request.send().await.unwrap().json().await.unwrap();
        list["data"].as_array().unwrap().len()
    };
    provider.write("HTTP/1.1 500 Oh\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").close();
    assert_eq!(list().await, 0);
    let models = r#"{"data":[{"id":"gpt-5"}]}"#;
    let length = models.len();
    provider
        .write(format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{models}"))
        .close();
    let soon = until("the list", async || (list().await == 1).then_some(()));
    tokio::time::timeout(Duration::from_secs(30), soon).await.expect("long before a good list is old");
    let before = provider.requests().len();
    let (a, b, c, d) = tokio::join!(list(), list(), list(), list());
    assert_eq!((a, b, c, d, provider.requests().len()), (1, 1, 1, 1, before));
    assert_eq!(before, 2, "one look that failed, one that did not");
}

#[tokio::test]
async fn an_answer_that_does_not_come_to_its_end_is_cut_and_booked() {
    let provider = Scripted::start().await;
    let target = format!(
        "[[targets]]\nname = \"slow\"\nprovider = \"anthropic\"\nurl = \"{}\"\napi_key = \"k\"\ntotal_timeout = \"300ms\"\n",
        provider.url()
    );
    let node = Setup::with_targets(&target).start().await;
    let key = node.user_with_key("alice").await;
    provider.begin_stream().chunk(
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"claude-haiku-4-5\",\"usage\":{\"input_tokens\":7,\"output_tokens\":1}}}\n\n",
    );
    let body = json!({ "model": "claude-haiku-4-5", "max_tokens": 16, "stream": true, "messages": [] });
    let answer = node.ask(&key, "/v1/messages", &[], &body).await;
    assert_eq!((answer.status, answer.complete), (200, false));
    let row = node.usage_of(&answer).await;
    assert_eq!((&row["outcome"], &row["input_tokens"]), (&json!("upstream_cut"), &json!(7)));
    assert!(node.log().contains("took longer than 300ms"));
}
