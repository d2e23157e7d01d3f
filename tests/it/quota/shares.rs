//! What all share has a share per caller: places in the ledger, memory for bodies, connections, turns at a password. No
//! one caller can take it from the others, also not by doing nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

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

/// Reads nothing of a long answer, and keeps its connection open.
async fn ask_and_take_nothing(node: &Node, key: &str) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(node.address).await.unwrap();
    let body = ask().to_string();
    let request = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

async fn is_cut(node: &Node, provider: &Endless) {
    let row = until("the call is booked", async || node.usage().await.pop()).await;
    assert_eq!(
        (&row["outcome"], &row["token_source"]),
        (&json!("client_gone"), &json!("estimated")),
        "{row}"
    );
    until("the place is free again", async || (metric(node, "sproxy_ledger_taken").await == 0).then_some(()))
        .await;
    until("the provider's connection is closed", async || (provider.open() == 0).then_some(())).await;
}

#[tokio::test]
async fn a_caller_that_takes_nothing_of_its_answer_is_cut_and_gives_back_what_it_holds() {
    let provider = Endless::start().await;
    let node =
        Setup::with_targets_at(&provider.url()).section("http", "stall_timeout = \"1s\"").start().await;
    let key = node.user_with_key("alice").await;
    let mut stream = ask_and_take_nothing(&node, &key).await;
    is_cut(&node, &provider).await;
    // The connection itself is over, too: what was under way comes, and then its end.
    let mut rest = Vec::new();
    let _reset = stream.read_to_end(&mut rest).await;
    assert!(!rest.ends_with(b"0\r\n\r\n"), "the answer does not look whole");
    // What the kernel holds for two connections, and one piece; not what a provider can write in a second.
    let taken = provider.taken.load(Ordering::SeqCst);
    assert!(taken < 32 << 20, "the provider was made to wait: it wrote {taken} bytes");
}

#[tokio::test]
async fn it_is_so_for_a_caller_that_opens_no_window_over_http2() {
    let provider = Endless::start().await;
    let node =
        Setup::with_targets_at(&provider.url()).section("http", "stall_timeout = \"1s\"").start().await;
    let key = node.user_with_key("alice").await;
    let socket = TcpStream::connect(node.address).await.unwrap();
    let mut builder = hyper::client::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
    builder.initial_stream_window_size(0);
    let (mut sender, connection) = builder.handshake(hyper_util::rt::TokioIo::new(socket)).await.unwrap();
    let running = tokio::spawn(connection);
    let request = http::Request::post(node.url("/v1/messages")).header("x-api-key", &key);
    let request = request.header("content-type", "application/json").body(ask().to_string()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    is_cut(&node, &provider).await;
    drop(answer);
    running.abort();
}

#[tokio::test]
async fn a_caller_that_reads_slowly_but_reads_is_not_cut() {
    let provider = Endless::start().await;
    let node =
        Setup::with_targets_at(&provider.url()).section("http", "stall_timeout = \"500ms\"").start().await;
    let key = node.user_with_key("alice").await;
    let mut stream = ask_and_take_nothing(&node, &key).await;
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    let mut piece = vec![0; 1 << 20];
    for _ in 0..20 {
        tick.tick().await;
        assert!(stream.read(&mut piece).await.unwrap() > 0);
    }
    assert!(node.usage().await.is_empty(), "it goes on");
}

/// A provider whose streams do not end, as fast as they are taken.
struct Endless {
    address: SocketAddr,
    open: Arc<AtomicUsize>,
    /// Bytes that were taken of all streams.
    taken: Arc<AtomicUsize>,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Endless {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Endless {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let open = Arc::new(AtomicUsize::new(0));
        let taken = Arc::new(AtomicUsize::new(0));
        let (counted, written) = (Arc::clone(&open), Arc::clone(&taken));
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut socket, _)) = listener.accept().await {
                let (open, taken) = (Arc::clone(&counted), Arc::clone(&written));
                open.fetch_add(1, Ordering::SeqCst);
                connections.spawn(async move {
                    let _answered = endless(&mut socket, &taken).await;
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, open, taken, serving }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

async fn endless(socket: &mut TcpStream, taken: &AtomicUsize) -> std::io::Result<()> {
    let mut buffer = vec![0; 4096];
    if socket.read(&mut buffer).await? == 0 {
        return Ok(());
    }
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    socket.write_all(head.as_bytes()).await?;
    let text = "x".repeat(16_000);
    let event = format!(
        "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\"{text}\"}}}}\n\n"
    );
    let chunk = format!("{:x}\r\n{event}\r\n", event.len());
    loop {
        socket.write_all(chunk.as_bytes()).await?;
        taken.fetch_add(chunk.len(), Ordering::SeqCst);
    }
}

/// A provider that begins a stream on every connection and says nothing more.
struct Silent {
    address: SocketAddr,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Silent {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Silent {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
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

#[tokio::test]
async fn bodies_that_one_user_trickles_leave_memory_for_those_of_others() {
    let provider = crate::harness::Mock::start().await;
    let lines = "max_body_bytes = 33554432\nmax_buffered_bytes = 67108864";
    let node = Setup::with_targets_at(&provider.url()).section("http", lines).start().await;
    let (greedy, other) = (node.user_with_key("greedy").await, node.user_with_key("other").await);
    let mut trickling = Vec::new();
    for _ in 0..3 {
        let mut socket = TcpStream::connect(node.address).await.unwrap();
        let head = format!(
            "POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {greedy}\r\ncontent-length: 23068672\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        // All but the last bytes; one that is refused meanwhile does not take them.
        let _refused = socket.write_all(&vec![b' '; 23_000_000]).await;
        trickling.push(socket);
    }
    for size in [1_000, 1_000_000, 22_000_000] {
        let text = "x".repeat(size);
        let body = json!({ "model": "claude-sonnet-4-5", "max_tokens": 9, "messages": [{ "role": "user", "content": text }] });
        let answer = node.ask(&other, "/v1/messages", &[], &body).await;
        assert_eq!(answer.status, 200, "{size}: {}", answer.text());
    }
}
