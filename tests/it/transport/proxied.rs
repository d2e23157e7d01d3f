//! The way out through a company's proxy.

use std::net::SocketAddr;

use crate::harness::frames::FrameServer;
use crate::harness::proxy::{ConnectProxy, ForwardProxy};
use crate::harness::{Answer, Node, Scripted, Setup};

use super::{COMPLETION, chat};

/// `alice:s3cret`
const BASIC: &str = "Basic YWxpY2U6czNjcmV0";

async fn ask(node: &Node) -> Answer {
    let key = node.user_with_key("alice").await;
    node.ask(&key, "/v1/chat/completions", &[], &chat()).await
}

/// Answers one call over HTTP/2.
async fn http2_provider(tls: bool) -> FrameServer {
    FrameServer::start(tls, |mut connection| async move {
        connection.settings(&[]).await?;
        let stream = connection.request().await?;
        connection.answer_json(stream, COMPLETION).await?;
        connection.until_closed().await
    })
    .await
}

const FAR: &str =
    "[[targets]]\nname = \"far\"\nprovider = \"openai\"\nurl = \"http://provider.invalid:8080\"\n";

#[tokio::test]
async fn targets_are_reached_through_the_proxy_of_the_environment_or_the_configuration() {
    let provider = Scripted::start().await;
    for (name, section) in [("HTTP_PROXY", false), ("http_proxy", false), ("HTTP_PROXY", true)] {
        let proxy = ForwardProxy::start(provider.address, BASIC).await;
        let url = format!("http://alice:s3cret@{}", proxy.address);
        let setup = Setup::with_targets(FAR);
        let setup = if section {
            // The configuration's own wins.
            setup.section("upstream", &format!("proxy = \"{url}\"")).env(name, "http://127.0.0.1:1")
        } else {
            setup.env(name, &url)
        };
        let node = setup.start().await;
        provider.answer_json(COMPLETION);
        let answer = ask(&node).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, COMPLETION), "{name}: {}", node.log());
        let heads = proxy.heads();
        let line = "POST http://provider.invalid:8080/v1/chat/completions HTTP/1.1\r\n";
        assert!(heads[0].starts_with(line), "{heads:?}");
        let seen = provider.requests().pop().unwrap().head.to_ascii_lowercase();
        assert!(
            seen.contains("host: provider.invalid:8080") && !seen.contains("proxy-authorization"),
            "{seen}"
        );
        assert!(!node.log().contains("s3cret") && !node.log().contains("YWxpY2U6czNjcmV0"), "{}", node.log());
    }
}

/// RFC 9112, 3.2.2: a proxy is asked for what is not TLS by its whole address. Many carry CONNECT to port 443 only.
#[tokio::test]
async fn what_is_not_tls_is_asked_for_by_its_whole_address_call_after_call_and_streams() {
    let provider = Scripted::start().await;
    let proxy = ForwardProxy::start(provider.address, BASIC).await;
    let own = format!("proxy = \"http://alice:s3cret@{}\"", proxy.address);
    let node = Setup::with_targets(&format!("{}{own}\n", FAR.replace(":8080", "/base"))).start().await;
    let key = node.user_with_key("alice").await;
    for _ in 0..2 {
        provider.answer_json(COMPLETION);
        let answer = node.ask(&key, "/v1/chat/completions", &[], &chat()).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, COMPLETION), "{}", node.log());
    }
    let event = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n";
    provider.begin_stream().chunk(event).chunk("data: [DONE]\n\n").end();
    let mut stream = chat();
    stream["stream"] = true.into();
    let answer =
        node.ask(&key, "/v1/chat/completions", &[("proxy-authorization", "Basic Y2FsbGVy")], &stream).await;
    assert_eq!((answer.status, answer.text()), (200, format!("{event}data: [DONE]\n\n")), "{}", node.log());
    let heads = proxy.heads();
    assert_eq!((heads.len(), proxy.connections()), (3, 1), "one connection is kept");
    for head in heads {
        assert!(
            head.starts_with("POST http://provider.invalid/base/v1/chat/completions HTTP/1.1\r\n"),
            "{head}"
        );
        assert!(head.contains("\r\nhost: provider.invalid\r\n"), "{head}");
        let credentials: Vec<_> = head.lines().filter(|line| line.starts_with("proxy-")).collect();
        assert_eq!(credentials, [format!("proxy-authorization: {BASIC}")]);
    }
    assert!(!node.log().contains("s3cret") && !node.log().contains("YWxpY2U6czNjcmV0"), "{}", node.log());
}

#[tokio::test]
async fn http2_without_tls_goes_through_a_tunnel() {
    let server = http2_provider(false).await;
    let proxy = ConnectProxy::start(server.address, None).await;
    let node = Setup::with_targets(&server.target("own", &format!("proxy = \"http://{}\"", proxy.address)));
    let answer = ask(&node.start().await).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, COMPLETION));
    assert!(proxy.heads()[0].starts_with("CONNECT localhost:"), "{:?}", proxy.heads());
}

#[tokio::test]
async fn a_target_of_its_own_proxy_speaks_tls_and_http2_through_it() {
    let server = http2_provider(true).await;
    let proxy = ConnectProxy::start(server.address, None).await;
    let node = Setup::with_targets(&server.target("own", &format!("proxy = \"http://{}\"", proxy.address)));
    let node = node.start().await;
    let answer = ask(&node).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, COMPLETION));
    assert_eq!(proxy.heads().len(), 1);
}

#[tokio::test]
async fn what_no_proxy_names_and_what_is_on_this_machine_goes_there_directly() {
    let provider = Scripted::start().await;
    let proxy = ConnectProxy::start(provider.address, None).await;
    let url = format!("http://{}", proxy.address);
    let near = Setup::with_targets_at(&provider.url()).env("HTTP_PROXY", &url).start().await;
    provider.answer_json(COMPLETION);
    assert_eq!(ask(&near).await.status, 200);
    let named =
        Setup::with_targets(FAR).env("HTTP_PROXY", &url).env("NO_PROXY", ".invalid:8080").start().await;
    assert_eq!(ask(&named).await.status, 502);
    assert_eq!(proxy.heads(), Vec::<String>::new());
}

#[tokio::test]
async fn a_proxy_that_refuses_is_told_to_the_admin_and_not_to_the_caller() {
    let provider = Scripted::start().await;
    let (tunnels, forwards) = (
        ConnectProxy::start(provider.address, Some(BASIC)).await,
        ForwardProxy::start(provider.address, BASIC).await,
    );
    refused(FAR, forwards.address).await;
    refused(&FAR.replace("http://", "https://"), tunnels.address).await;
    assert_eq!(provider.requests().len(), 0);
}

async fn refused(target: &str, proxy: SocketAddr) {
    let url = format!("http://mallory:wr0ng@{proxy}");
    let node = Setup::with_targets(target).section("upstream", &format!("proxy = \"{url}\"")).start().await;
    let answer = ask(&node).await;
    assert_eq!(answer.status, 502);
    assert!(answer.header("proxy-authenticate").is_empty(), "{:?}", answer.headers);
    assert!(!answer.text().contains("407") && !answer.text().contains("wr0ng"), "{}", answer.text());
    let targets = node.get("/admin/v1/targets").await;
    let error = targets["items"][0]["last_error"].as_str().unwrap();
    assert!(error.contains("407 Proxy Authentication Required") && !error.contains("wr0ng"), "{error}");
    assert!(!node.log().contains("wr0ng"), "{}", node.log());
}
