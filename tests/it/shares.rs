//! What all share has a share per caller: places in the ledger, memory for bodies, connections, turns at a password. No
//! one caller can take it from the others, also not by doing nothing.

use serde_json::{Value, json};

use crate::harness::{Node, Setup, until};

fn ask() -> Value {
    json!({ "model": "claude-sonnet-4-5", "max_tokens": 64, "stream": true, "messages": [{ "role": "user", "content": "Hello" }] })
}

async fn metric(node: &Node, name: &str) -> u64 {
    let text = node.http.get(node.url("/metrics")).send().await.unwrap().text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

#[tokio::test]
async fn a_user_who_opens_as_many_streams_as_there_are_places_leaves_some_to_others() {
    let provider = Silent::start().await;
    let node = Setup::with_targets_at(&provider.url()).section("usage", "queue = 30").start().await;
    let (greedy, other) = (node.user_with_key("greedy").await, node.user_with_key("other").await);
    let open =
        |key: &str| node.http.post(node.url("/v1/messages")).header("x-api-key", key).json(&ask()).send();
    let mut held = Vec::new();
    let mut refused = Vec::new();
    for _ in 0..30 {
        let answer = open(&greedy).await.unwrap();
        if answer.status() == 200 { held.push(answer) } else { refused.push(answer) }
    }
    assert_eq!((held.len(), refused.len()), (22, 8), "somebody alone has three quarters");
    let last = refused.pop().unwrap();
    assert_eq!((last.status().as_u16(), &last.headers()["retry-after"]), (503, &"1".parse().unwrap()));
    let text = last.text().await.unwrap();
    assert!(text.contains("22 calls of yours") && text.contains("overloaded_error"), "{text}");
    for _ in 0..5 {
        let answer = open(&other).await.unwrap();
        assert_eq!(answer.status(), 200, "others have room");
        held.push(answer);
    }
    assert_eq!(metric(&node, "sproxy_ledger_taken").await, 27);
    drop(held);
    until("every place is free again", async || {
        (metric(&node, "sproxy_ledger_taken").await == 0).then_some(())
    })
    .await;
}

/// A provider that begins a stream on every connection and says nothing more.
struct Silent {
    address: std::net::SocketAddr,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Silent {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Silent {
    async fn start() -> Self {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut socket, _)) = listener.accept().await {
                connections.spawn(async move {
                    let mut buffer = vec![0; 4096];
                    while socket.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
                        let _ = socket.write_all(head.as_bytes()).await;
                    }
                });
            }
        });
        Self { address, serving }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}
