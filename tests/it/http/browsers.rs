//! Calls from pages in a browser: which origins may make them, and what a browser has to be told so that its page sees
//! the answer.

use reqwest::header::HeaderMap;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Answer, Mock, Node, Scripted, Setup};

const APP: &str = "https://app.example";
const LOCAL: &str = "http://localhost:5173";
const STRANGER: &str = "https://app.example.evil";
const LISTED: &str =
    "cors_origins = [\"https://app.example\", \"http://localhost:5173\", \"app://obsidian.md\"]";

/// Every kind of path that a page may call, in each dialect.
const PATHS: [&str; 9] = [
    "/v1/messages",
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/models",
    "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
    "/upload/v1beta/files",
    "/openai/v1/embeddings",
    "/api/chat",
    "/chat/completions",
];
/// What Anthropic's and OpenAI's SDKs send from a page.
const ASKED: &str = "anthropic-dangerous-direct-browser-access,anthropic-version,authorization,content-type,x-api-key,\
                     x-stainless-arch,x-stainless-lang,x-stainless-retry-count";

/// A client of either version of HTTP, and its name.
fn clients() -> [(&'static str, Client); 2] {
    [("HTTP/1.1", Client::new()), ("HTTP/2", Client::builder().http2_prior_knowledge().build().unwrap())]
}

/// What a browser asks before a call that is not a plain form's.
async fn preflight(client: &Client, url: String, origin: &str) -> Answer {
    let request = client
        .request(Method::OPTIONS, url)
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", ASKED);
    Answer::read(request.send().await.unwrap()).await
}

async fn post(client: &Client, url: String, key: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
    let mut request = client.post(url).header("x-api-key", key).json(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::read(request.send().await.unwrap()).await
}

/// The headers that a browser reads for a page's sake.
fn cors(headers: &HeaderMap) -> Vec<String> {
    let lines = headers.iter().filter(|(name, _)| name.as_str().starts_with("access-control-"));
    let mut lines: Vec<String> =
        lines.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    lines.sort();
    lines
}

fn varies_by_origin(answer: &Answer) -> bool {
    let values = answer.headers.get_all("vary").iter().map(|value| value.to_str().unwrap());
    values.flat_map(|value| value.split(',')).any(|name| name.trim().eq_ignore_ascii_case("origin"))
}

/// What a page of `origin` needs to see an answer, its headers among it.
fn visible_to(origin: &str) -> [String; 2] {
    [format!("access-control-allow-origin: {origin}"), "access-control-expose-headers: *".to_owned()]
}

fn message(model: &str) -> Value {
    json!({ "model": model, "max_tokens": 9, "messages": [{ "role": "user", "content": "Hi" }] })
}

async fn last(mock: &Mock) -> Value {
    reqwest::get(format!("{}/mock/last", mock.url())).await.unwrap().json().await.unwrap()
}

async fn node(mock: &Mock, setting: &str) -> Node {
    Setup::with_targets_at(&mock.url()).section("http", setting).start().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_that_asks_before_a_call_is_answered_without_a_credential_and_without_a_provider() {
    let mock = Mock::start().await;
    let node = node(&mock, LISTED).await;
    for (version, client) in clients() {
        for (path, origin) in
            PATHS.iter().flat_map(|path| [APP, LOCAL, "app://obsidian.md"].map(|o| (path, o)))
        {
            let what = format!("{version} {path} {origin}");
            let answer = preflight(&client, node.url(path), origin).await;
            assert_eq!((answer.status, answer.body.len()), (204, 0), "{what}: {}", answer.text());
            assert_eq!(answer.header("access-control-allow-origin"), origin, "{what}");
            assert_eq!(answer.header("access-control-allow-headers"), ASKED, "{what}");
            for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
                let methods = answer.header("access-control-allow-methods");
                assert!(methods.split(", ").any(|allowed| allowed == method), "{what}: {methods}");
            }
            assert!(answer.header("access-control-max-age").parse::<u32>().unwrap() > 0, "{what}");
            assert!(varies_by_origin(&answer), "{what}");
            assert_eq!(answer.header("access-control-allow-credentials"), "", "{what}");
        }
    }
    assert_eq!(last(&mock).await, Value::Null, "the provider heard of it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_sees_every_answer_to_its_calls_whoever_gave_it() {
    let mock = Mock::start().await;
    let setting = format!("{LISTED}\nmax_body_bytes = 100000");
    let node = Setup::with_targets_at(&mock.url()).section("http", &setting).start().await;
    let key = node.user_with_key("alice").await;
    let poor = node.user_with_key("poor").await;
    node.call(Method::PATCH, "/admin/v1/users/poor", Some(json!({ "daily_tokens": 0 }))).await;
    let asked = message("claude-9");
    let stream = json!({ "model": "claude-9", "max_tokens": 9, "stream": true, "messages": [] });
    let large = message(&"x".repeat(200_000));
    for (version, client) in clients() {
        for (what, path, key, header, body, status) in [
            ("an answer", "/v1/messages", &*key, ("a", "b"), &asked, 200),
            ("a stream", "/v1/messages", &key, ("a", "b"), &stream, 200),
            ("a coded answer", "/v1/messages", &key, ("mock-encoding", "gzip"), &asked, 200),
            ("a provider's error", "/v1/messages", &key, ("mock-status", "529"), &asked, 529),
            ("a free call", "/v1/messages/count_tokens", &key, ("a", "b"), &asked, 200),
            ("no credential", "/v1/messages", "", ("a", "b"), &asked, 401),
            ("a spent quota", "/v1/messages", &poor, ("a", "b"), &asked, 429),
            ("a large body", "/v1/messages", &key, ("a", "b"), &large, 413),
            ("a path that was not meant", "/chat/completions", &key, ("a", "b"), &asked, 404),
            ("a WebSocket", "/v1/responses", &key, ("upgrade", "websocket"), &asked, 426),
        ] {
            let what = format!("{version}: {what}");
            if version == "HTTP/2" && header.0 == "upgrade" {
                // There is no such thing.
                continue;
            }
            let answer = post(&client, node.url(path), key, &[("origin", APP), header], body).await;
            assert_eq!(answer.status, status, "{what}: {}", answer.text());
            assert!(answer.complete, "{what}");
            assert_eq!(cors(&answer.headers), visible_to(APP), "{what}");
            assert!(varies_by_origin(&answer), "{what}");
        }
        let models = client.get(node.url("/v1/models")).header("x-api-key", &key).header("origin", LOCAL);
        let models = Answer::read(models.send().await.unwrap()).await;
        assert_eq!((models.status, cors(&models.headers)), (200, visible_to(LOCAL).to_vec()), "{version}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_provider_says_to_browsers_stays_out_and_what_they_say_to_it_too() {
    let provider = Scripted::start().await;
    let node = Setup::with_targets_at(&provider.url()).section("http", LISTED).start().await;
    let key = node.user_with_key("alice").await;
    for origin in [APP, STRANGER] {
        // On a connection that stays open, it would write the second answer before it is asked.
        let answer = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\naccess-control-allow-origin: *\r\n\
             access-control-allow-credentials: true\r\naccess-control-expose-headers: request-id\r\n\
             access-control-allow-private-network: true\r\nvary: Accept-Encoding\r\nrequest-id: req_1\r\n\
             content-length: 2\r\n\r\n{}";
        provider.write(answer).close();
        let answer =
            post(&node.http, node.url("/v1/messages"), &key, &[("origin", origin)], &message("c")).await;
        let expected = if origin == APP { visible_to(APP).to_vec() } else { Vec::new() };
        assert_eq!((answer.status, cors(&answer.headers)), (200, expected), "{origin}");
        assert_eq!(answer.header("request-id"), "req_1");
        let vary: Vec<_> = answer.headers.get_all("vary").iter().map(|it| it.to_str().unwrap()).collect();
        assert!(vary.contains(&"Accept-Encoding") && varies_by_origin(&answer), "{vary:?}");
        // Ollama refuses origins that it does not know, and Anthropic every one that does not ask for it.
        let sent = provider.requests().pop().unwrap().head.to_ascii_lowercase();
        assert!(!sent.contains("\r\norigin:"), "{sent}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_another_origin_gets_nothing_from_its_browser() {
    let mock = Mock::start().await;
    let node = node(&mock, LISTED).await;
    let key = node.user_with_key("alice").await;
    for (version, client) in clients() {
        for origin in
            [STRANGER, "https://app.example:8443", "http://app.example", "https://App.example", "null"]
        {
            let what = format!("{version} {origin}");
            let asked = preflight(&client, node.url("/v1/messages"), origin).await;
            assert_eq!((asked.status, cors(&asked.headers)), (403, Vec::new()), "{what}");
            let error = asked.json()["error"]["message"].to_string();
            assert!(error.contains("http.cors_origins"), "{what}: {error}");
            assert!(varies_by_origin(&asked), "{what}");
            let answer =
                post(&client, node.url("/v1/messages"), &key, &[("origin", origin)], &message("c")).await;
            assert_eq!((answer.status, cors(&answer.headers)), (200, Vec::new()), "{what}");
            assert!(varies_by_origin(&answer), "{what}");
        }
        // Two of them: one that is known does not let in the other.
        let answer = post(
            &client,
            node.url("/v1/messages"),
            &key,
            &[("origin", APP), ("origin", STRANGER)],
            &message("c"),
        )
        .await;
        assert_eq!(cors(&answer.headers), Vec::<String>::new(), "{version}");
        // Who is no browser hears nothing of it, but a cache has to know that it matters.
        let answer = post(&client, node.url("/v1/messages"), &key, &[], &message("c")).await;
        assert_eq!((answer.status, cors(&answer.headers)), (200, Vec::new()), "{version}");
        assert!(varies_by_origin(&answer), "{version}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_control_plane_health_and_metrics_are_not_for_pages() {
    let mock = Mock::start().await;
    let (with, without) = (node(&mock, LISTED).await, node(&mock, "").await);
    for path in ["/admin/v1/users", "/auth/login", "/me", "/me/keys", "/healthz", "/metrics", "/nowhere"] {
        let mut answers = Vec::new();
        for node in [&with, &without] {
            let asked = preflight(&node.http, node.url(path), APP).await;
            assert!(asked.status >= 400, "{path}: {}", asked.status);
            let get = node.http.get(node.url(path)).header("origin", APP).bearer_auth(node.admin_token());
            let got = Answer::read(get.send().await.unwrap()).await;
            for answer in [&asked, &got] {
                assert_eq!(cors(&answer.headers), Vec::<String>::new(), "{path}");
            }
            answers.push((asked.status, asked.text(), got.status));
        }
        assert_eq!(answers[0], answers[1], "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_star_lets_in_every_origin() {
    let mock = Mock::start().await;
    let node = node(&mock, "cors_origins = \"*\"").await;
    let key = node.user_with_key("alice").await;
    for (version, client) in clients() {
        for origin in [APP, STRANGER, "null"] {
            let asked = preflight(&client, node.url("/v1/messages"), origin).await;
            let allowed = asked.header("access-control-allow-origin");
            assert_eq!((asked.status, allowed), (204, "*"), "{version} {origin}");
            assert_eq!(asked.header("access-control-allow-headers"), ASKED, "{version}");
            let answer =
                post(&client, node.url("/v1/messages"), &key, &[("origin", origin)], &message("c")).await;
            assert_eq!((answer.status, cors(&answer.headers)), (200, visible_to("*").to_vec()), "{version}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_setting_nothing_is_said_to_browsers() {
    let mock = Mock::start().await;
    let node = node(&mock, "").await;
    let key = node.user_with_key("alice").await;
    let asked = preflight(&node.http, node.url("/v1/messages"), APP).await;
    assert_eq!((asked.status, cors(&asked.headers)), (401, Vec::new()));
    let answer = post(&node.http, node.url("/v1/messages"), &key, &[("origin", APP)], &message("c")).await;
    assert_eq!((answer.status, cors(&answer.headers)), (200, Vec::new()));
    assert!(!answer.headers.contains_key("vary"));
    assert!(!last(&mock).await["headers"].as_object().unwrap().contains_key("origin"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_is_told_that_there_is_no_place_for_its_connection() {
    let node =
        Setup::with_targets("").section("http", &format!("{LISTED}\nmax_connections = 1")).start().await;
    let _held = TcpStream::connect(node.address).await.unwrap();
    for (version, client) in clients() {
        let asked = preflight(&client, node.url("/v1/messages"), APP).await;
        assert_eq!(asked.status, 204, "{version}: or the browser never makes the call: {}", asked.text());
        let answer = post(&client, node.url("/v1/messages"), "k", &[("origin", APP)], &message("c")).await;
        assert_eq!((answer.status, cors(&answer.headers)), (503, visible_to(APP).to_vec()), "{version}");
        let answer = post(&client, node.url("/auth/login"), "k", &[("origin", APP)], &message("c")).await;
        assert_eq!((answer.status, cors(&answer.headers)), (503, Vec::new()), "{version}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_is_it_left_in_the_dark_by_a_node_that_cannot_work_yet() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let node = Setup::with_targets("")
        .section("http", LISTED)
        .section("cluster", &format!("leader = \"http://{nobody}\""))
        .start()
        .await;
    let asked = preflight(&node.http, node.url("/v1/messages"), APP).await;
    assert_eq!(asked.status, 204, "{}", asked.text());
    let answer = post(&node.http, node.url("/v1/messages"), "k", &[("origin", APP)], &message("c")).await;
    assert_eq!((answer.status, cors(&answer.headers)), (503, visible_to(APP).to_vec()), "{}", answer.text());
}
