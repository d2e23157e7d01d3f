//! HTTP/1.1 to a provider: answers that come early, and answers that are framed twice.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{COMPLETION, chat};
use crate::harness::frames::{acceptor, pki};
use crate::harness::{Scripted, Setup};

const TOO_LARGE: &str = r#"{"error":{"message":"too large for us","type":"invalid_request_error"}}"#;

/// A provider that answers 413 to whatever begins to come, and closes without reading the rest; its `[[targets]]`.
async fn impatient(is_tls: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let answer = format!(
            "HTTP/1.1 413 Payload Too Large\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{TOO_LARGE}",
            TOO_LARGE.len()
        );
        let tls = acceptor(&[b"http/1.1"]);
        while let Ok((mut socket, _)) = listener.accept().await {
            // Else the answer waits behind the handshake's last words, and closing throws it away.
            socket.set_nodelay(true).unwrap();
            let mut head = [0; 512];
            if is_tls {
                let Ok(mut stream) = tls.accept(socket).await else { continue };
                if stream.read(&mut head).await.is_ok() {
                    let _gone = stream.write_all(answer.as_bytes()).await;
                    let _gone = stream.flush().await;
                }
            } else if socket.read(&mut head).await.is_ok() {
                let _gone = socket.write_all(answer.as_bytes()).await;
            }
        }
    });
    let scheme = if is_tls { "https" } else { "http" };
    let ca = pki().join("ca.pem");
    format!(
        "[[targets]]\nname = \"impatient\"\nprovider = \"openai\"\nurl = \"{scheme}://localhost:{port}\"\nca_file = \"{}\"\n",
        ca.display()
    )
}

#[tokio::test]
async fn an_early_answer_reaches_the_caller_though_the_provider_reads_no_further() {
    let large: Value =
        json!({ "model": "gpt-5", "messages": [{ "role": "user", "content": "x".repeat(12_000_000) }] });
    for is_tls in [false, true] {
        let node = Setup::with_targets(&impatient(is_tls).await).start().await;
        let key = node.user_with_key("alice").await;
        for round in 0..5 {
            let answer = node.ask(&key, "/v1/chat/completions", &[], &large).await;
            assert_eq!((answer.status, answer.text().as_str()), (413, TOO_LARGE), "TLS: {is_tls}, {round}");
        }
    }
}

#[tokio::test]
async fn an_answer_with_a_length_and_a_coding_is_framed_by_its_coding() {
    let provider = Scripted::start().await;
    let node = Setup::with_targets_at(&provider.url()).start().await;
    let key = node.user_with_key("alice").await;
    for _ in 0..2 {
        provider
            .write("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n")
            .chunk(COMPLETION)
            .end();
        let answer = node.ask(&key, "/v1/chat/completions", &[], &chat()).await;
        assert_eq!((answer.status, answer.complete, answer.text().as_str()), (200, true, COMPLETION));
        assert_eq!(node.usage_of(&answer).await["input_tokens"], json!(7));
    }
}
