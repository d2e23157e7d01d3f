//! A caller that is refused by its request's head sees the refusal, however much it is still sending.

use std::process::Stdio;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::process::Command;

use super::{Raw, head};
use crate::harness::{Mock, Node, Setup};

const MB: usize = 1_000_000;
const TIMES: usize = 20;

/// A request that is refused before its body is read.
struct Case {
    what: &'static str,
    method: &'static str,
    path: &'static str,
    key: String,
    length: usize,
    status: u16,
}

async fn cases(node: &Node) -> Vec<Case> {
    let key = node.user_with_key("alice").await;
    let case = |what, method, path, key: &str, length, status| Case {
        what,
        method,
        path,
        key: key.to_owned(),
        length,
        status,
    };
    vec![
        case("a wrong key", "POST", "/v1/messages", "sk-sp-wrong", 4 * MB, 401),
        case("a body that is too large", "POST", "/v1/messages", &key, 40 * MB, 413),
        case("no such path", "POST", "/nowhere", &key, 4 * MB, 404),
        case("no such method", "PUT", "/admin/v1/audit", &key, 4 * MB, 405),
        case("a wrong token", "POST", "/admin/v1/users", "wrong", 4 * MB, 401),
        case("no admin", "POST", "/admin/v1/users", &key, 4 * MB, 403),
        case("too much for the control plane", "POST", "/admin/v1/users", &node.admin_token(), 4 * MB, 413),
    ]
}

async fn node() -> (Mock, Node) {
    let mock = Mock::start().await;
    let node = Setup::with_targets_at(&mock.url()).start().await;
    (mock, node)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_reads_only_when_it_has_sent_everything_sees_the_refusal() {
    let (_mock, node) = node().await;
    for case in cases(&node).await {
        let mut raw = Raw::sending(node.address, head(case.method, case.path, &case.key, case.length)).await;
        let piece = vec![b'x'; MB];
        for _ in 0..case.length / MB {
            raw.send(&piece).await;
        }
        let answer = raw.read_until("\r\n\r\n").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {} ", case.status)), "{}: {answer}", case.what);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_goes_on_after_a_refusal() {
    let (_mock, node) = node().await;
    let mut raw = Raw::sending(node.address, head("POST", "/v1/messages", "wrong", 4 * MB)).await;
    raw.read_until("\r\n\r\n").await;
    raw.send(vec![b'x'; 4 * MB]).await;
    raw.send("GET /healthz HTTP/1.1\r\nhost: node\r\n\r\n").await;
    raw.read_until("HTTP/1.1 200 ").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http_2_it_is_seen_as_well() {
    let (_mock, node) = node().await;
    for case in cases(&node).await {
        let socket = TokioIo::new(TcpStream::connect(node.address).await.unwrap());
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), socket).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::builder()
            .method(case.method)
            .uri(format!("http://node{}", case.path))
            .header("authorization", format!("Bearer {}", case.key))
            .body(Full::new(Bytes::from(vec![b'x'; case.length])))
            .unwrap();
        let answer = sender.send_request(request).await.unwrap_or_else(|e| panic!("{}: {e}", case.what));
        assert_eq!(answer.status().as_u16(), case.status, "{}", case.what);
        answer.into_body().collect().await.unwrap_or_else(|e| panic!("{}: {e}", case.what));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fetch_of_node_sees_it_every_time() {
    if !Command::new("node")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .await
        .is_ok_and(|it| it.success())
    {
        eprintln!("left out: there is no node");
        return;
    }
    let (_mock, node) = node().await;
    for case in cases(&node).await {
        let script = format!(
            r"(async () => {{
                const body = Buffer.alloc({}, 'x'), headers = {{ authorization: 'Bearer {}' }};
                for (let i = 0; i < {TIMES}; i++) {{
                    try {{
                        const answer = await fetch('{}', {{ method: '{}', body, headers }});
                        const text = await answer.text();
                        console.log(answer.status, text.length > 0);
                    }} catch (e) {{ console.log('failed', e.cause?.code ?? e); }}
                }}
            }})()",
            case.length,
            case.key,
            node.url(case.path),
            case.method,
        );
        let ran = Command::new("node").args(["-e", &script]).output().await.unwrap();
        let said = String::from_utf8(ran.stdout).unwrap();
        let expected = format!("{} true\n", case.status).repeat(TIMES);
        assert_eq!(said, expected, "{}: {}", case.what, String::from_utf8_lossy(&ran.stderr));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_read_for_nobody_has_an_end() {
    let (_mock, node) = node().await;
    let mut raw = Raw::sending(
        node.address,
        "POST /v1/messages HTTP/1.1\r\nhost: node\r\nx-api-key: wrong\r\ntransfer-encoding: chunked\r\n\r\n",
    )
    .await;
    assert!(raw.read_until("\r\n\r\n").await.starts_with("HTTP/1.1 401 "));
    let chunk = [format!("{MB:x}\r\n").into_bytes(), vec![b'x'; MB], b"\r\n".to_vec()].concat();
    let mut sent = 0;
    while raw.0.write_all(&chunk).await.is_ok() {
        sent += 1;
        assert!(sent < 200, "it would go on for ever");
    }
    // Who waits to be asked for its body is not asked for one that nobody wants.
    let mut polite = head("POST", "/v1/messages", "wrong", MB);
    polite.insert_str(polite.len() - 2, "expect: 100-continue\r\n");
    let mut raw = Raw::sending(node.address, polite).await;
    assert!(raw.read_to_end().await.starts_with(b"HTTP/1.1 401 "));
}
