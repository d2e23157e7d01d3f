//! Ways around limits and books that callers may try, and what is not to be taken for one.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Mock, Node, Setup};

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
