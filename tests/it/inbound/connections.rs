//! Who holds a place at a door, and for how long.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::Raw;
use crate::harness::{Setup, until};

const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PROBE: &str = "GET /healthz HTTP/1.1\r\nhost: node\r\n\r\n";
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tls");

fn node() -> Setup {
    Setup::with_targets("")
}

/// What somebody may send who does not want to open a connection.
fn halves() -> Vec<Vec<u8>> {
    let mut half_settings = PREFACE.as_bytes().to_vec();
    half_settings.extend([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3]);
    vec![
        Vec::new(),
        b"GET / HTTP/1.1\r\nhost:".to_vec(),
        b"PRI * HT".to_vec(),
        PREFACE.as_bytes().to_vec(),
        half_settings,
    ]
}

async fn is_alive(at: SocketAddr) -> bool {
    let mut raw = Raw::sending(at, PROBE).await;
    raw.read_until("\r\n\r\n").await.starts_with("HTTP/1.1 200 ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_does_not_open_makes_room_again() {
    let node = node().section("http", "max_connections = 4\nheader_timeout = \"300ms\"").start().await;
    for half in halves() {
        let mut silent = Vec::new();
        for _ in 0..4 {
            silent.push(Raw::sending(node.address, &half).await);
        }
        until("there is room again", async || is_alive(node.address).await.then_some(())).await;
        for mut raw in silent {
            raw.read_to_end().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_does_one_under_tls_or_at_the_nodes_door_hold_anything() {
    let tls = format!("tls_cert = \"{FIXTURES}/node.pem\"\ntls_key = \"{FIXTURES}/node.key\"");
    let brief = "header_timeout = \"300ms\"";
    let node = node().section("http", &format!("{brief}\n{tls}")).start().await;
    for begun in [&b""[..], &[0x16, 3, 1, 2, 0]] {
        Raw::sending(node.address, begun).await.read_to_end().await;
    }
    for half in halves() {
        let mut bytes = Raw::sending(node.grpc.unwrap(), &half).await;
        bytes.read_to_end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn between_two_requests_there_is_more_time_than_within_a_head() {
    let node = node().section("http", "header_timeout = \"300ms\"").start().await;
    let mut kept = Raw::sending(node.address, PROBE).await;
    kept.read_until("}").await;
    let (mut kept_h2, _driver) = speak_http2(node.address).await;
    assert_eq!(get(&mut kept_h2).await, 200);
    // A head that takes too long ends its connection; the others have been silent for longer by then.
    Raw::sending(node.address, "GET /heal").await.read_to_end().await;
    let mut second = Raw::sending(node.address, PROBE).await;
    second.read_until("}").await;
    second.send("GET /heal").await;
    second.read_to_end().await;
    kept.send(PROBE).await;
    assert!(kept.read_until("}").await.starts_with("HTTP/1.1 200 "));
    assert_eq!(get(&mut kept_h2).await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_without_a_request_is_closed_in_the_end() {
    let node = node().section("http", "idle_timeout = \"300ms\"\nheader_timeout = \"300ms\"").start().await;
    let mut kept = Raw::sending(node.address, PROBE).await;
    kept.read_until("}").await;
    kept.read_to_end().await;
    let (mut kept, driver) = speak_http2(node.address).await;
    assert_eq!(get(&mut kept).await, 200);
    driver.await.unwrap();
    // Also one that has opened and never asks for anything.
    let mut opened = PREFACE.as_bytes().to_vec();
    opened.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    Raw::sending(node.address, opened).await.read_to_end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_without_a_place_is_told_so_in_what_it_speaks() {
    let tls = format!("tls_cert = \"{FIXTURES}/node.pem\"\ntls_key = \"{FIXTURES}/node.key\"");
    let clear = node().section("http", "max_connections = 1").start().await;
    let under_tls = node().section("http", &format!("max_connections = 1\n{tls}")).start().await;
    let ca = reqwest::Certificate::from_pem(&std::fs::read(format!("{FIXTURES}/ca.pem")).unwrap()).unwrap();
    for (node, scheme) in [(&clear, "http"), (&under_tls, "https")] {
        let _held = Raw::connect(node.address).await;
        let url = format!("{scheme}://localhost:{}/v1/messages", node.address.port());
        for http2 in [false, true] {
            let client = reqwest::Client::builder().tls_certs_only([ca.clone()]);
            let client = if http2 { client.http2_prior_knowledge() } else { client.http1_only() };
            // Also with a body that it does not wait for.
            let answer = client.build().unwrap().post(&url).body(vec![b'x'; 1 << 20]).send().await.unwrap();
            assert_eq!(answer.status(), 503, "{scheme} {http2}");
            assert_eq!(answer.headers()["retry-after"], "1");
            assert!(answer.text().await.unwrap().contains("http.max_connections"));
        }
    }
}

pub(super) type Http2 = http2::SendRequest<Empty<Bytes>>;

pub(super) async fn speak_http2(to: SocketAddr) -> (Http2, tokio::task::JoinHandle<()>) {
    let socket = TokioIo::new(TcpStream::connect(to).await.unwrap());
    let (sender, connection) = http2::handshake(TokioExecutor::new(), socket).await.unwrap();
    (sender, tokio::spawn(async move { drop(connection.await) }))
}

pub(super) async fn get(over: &mut Http2) -> u16 {
    over.ready().await.unwrap();
    let request = http::Request::get("http://node/healthz").body(Empty::new()).unwrap();
    let answer = over.send_request(request).await.unwrap();
    let status = answer.status().as_u16();
    answer.into_body().collect().await.unwrap();
    status
}
