//! Spans at a collector: each row of the books has one, with the failed attempts below it.

use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::collector::{Collected, Collector};
use super::{ask, message, two_targets};
use crate::harness::{Answer, Mock, Node, Setup, until};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn traced(setup: Setup, endpoint: &str, more: &str) -> Setup {
    setup.section("telemetry", &format!("otlp_endpoint = \"{endpoint}\"\n{more}"))
}

/// A span says what the row says.
fn agrees(span: &Collected, row: &Value) {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    for (attribute, field) in [
        ("gen_ai.request.model", "model"),
        ("gen_ai.response.model", "actual_model"),
        ("gen_ai.request.stream", "is_streaming"),
        ("http.response.status_code", "status_code"),
        ("sproxy.user", "user"),
        ("sproxy.target", "target"),
        ("sproxy.node", "source_node"),
        ("sproxy.outcome", "outcome"),
        ("sproxy.cost_nanousd", "cost_nanousd"),
    ] {
        assert_eq!(span.get(attribute), text(&row[field]), "{attribute} of {row}");
    }
    for (attribute, field) in
        [("gen_ai.usage.input_tokens", "input_tokens"), ("gen_ai.usage.output_tokens", "output_tokens")]
    {
        let known = if row["token_source"] == json!("none") { String::new() } else { text(&row[field]) };
        assert_eq!(span.get(attribute), known, "{attribute} of {row}");
    }
    let millis = (span.span.end_time_unix_nano - span.span.start_time_unix_nano) / 1_000_000;
    assert_eq!(json!(millis), row["duration_ms"], "{row}");
    assert_eq!(span.get("gen_ai.provider.name"), "anthropic");
    assert_eq!(span.get("gen_ai.operation.name"), "chat");
    assert_eq!(span.name(), format!("chat {}", text(&row["model"])));
    assert_eq!(span.span.kind, 3, "a client's");
}

async fn status(node: &Node, name: &str) -> u64 {
    let text = node.http.get(node.url("/metrics")).send().await.unwrap().text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    line.unwrap_or_else(|| panic!("no {name}: {text}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_has_a_span_and_its_attempts_are_below_it() {
    let (collector, first, second) = (Collector::grpc().await, Mock::start().await, Mock::start().await);
    let setup = Setup::with_targets(&two_targets(&first, &second)).section("node", "id = \"sp-7\"");
    let node = traced(setup, &collector.url(), "").start().await;
    let key = node.user_with_key("alice").await;
    first.script(&[json!({ "status": 529 })]).await;
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let session = [("x-claude-code-session-id", "0b9e4b52-4cf5"), ("traceparent", &*parent)];
    let moved = ask(&node, &key, &session).await;
    assert_eq!((moved.status, moved.header("x-sproxy-target")), (200, "second"));
    let streamed = node.ask(&key, "/v1/messages", &[], &message("claude-haiku-4-5", true)).await;
    second.script(&[json!({ "status": 400 })]).await;
    let refused = ask(&node, &key, &[]).await;
    assert_eq!(refused.status, 400);
    for answer in [&moved, &streamed, &refused] {
        agrees(&collector.span_of(&answer.id).await, &node.usage_of(answer).await);
    }
    let span = collector.span_of(&moved.id).await;
    assert_eq!((span.trace_id(), span.parent()), (TRACE.to_owned(), SPAN.to_owned()));
    assert_eq!(span.get("gen_ai.conversation.id"), "0b9e4b52-4cf5");
    assert_eq!(span.get("server.address"), "127.0.0.1");
    assert_eq!((&*span.resource["service.name"], &*span.resource["service.instance.id"]), ("sproxy", "sp-7"));
    assert_eq!(span.scope, ("sproxy".to_owned(), env!("CARGO_PKG_VERSION").to_owned()));
    assert!(span.schema.starts_with("https://opentelemetry.io/schemas/"), "{}", span.schema);
    let below: Vec<_> =
        collector.spans().into_iter().filter(|other| other.parent() == span.span_id()).collect();
    let [attempt] = &*below else { panic!("{below:?}") };
    assert_eq!((attempt.name(), attempt.trace_id()), ("attempt first", TRACE.to_owned()));
    assert_eq!(attempt.get("http.response.status_code"), "529");
    assert_eq!(attempt.span.status.as_ref().unwrap().code, 2, "an error");
    let alone = collector.span_of(&streamed.id).await;
    assert_eq!(
        alone.trace_id(),
        streamed.id.replace('-', ""),
        "a trace of its own has the number of its call"
    );
    assert_eq!(alone.parent(), "");
    assert!(!alone.get("gen_ai.response.time_to_first_chunk").is_empty());
    let failed = collector.span_of(&refused.id).await;
    assert_eq!(
        (failed.get("error.type"), failed.span.status.unwrap().code),
        ("upstream_error".to_owned(), 2)
    );
    let spans = collector.spans();
    assert_eq!(spans.len(), node.usage().await.len() + 1, "one for each row, and the attempt: {spans:?}");
    until("they are counted once the collector has answered", async || {
        (status(&node, "sproxy_spans_exported_total").await == spans.len() as u64).then_some(())
    })
    .await;
    assert_eq!(status(&node, "sproxy_spans_dropped_total").await, 0);
    let line = until("the line of the call", async || {
        node.log()
            .lines()
            .find(|line| line.contains("\"sproxy::call\"") && line.contains(&moved.id))
            .map(str::to_owned)
    });
    let line: Value = serde_json::from_str(&line.await).unwrap();
    assert_eq!(line["fields"]["trace_id"], json!(TRACE), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_go_over_http_with_the_headers_of_the_environment_and_pushes_have_theirs() {
    let (collector, mock) = (Collector::http().await, Mock::start().await);
    let http = |setup| {
        traced(setup, &collector.url(), "otlp_protocol = \"http\"")
            .env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20for-the-collector")
    };
    let leader = http(Setup::with_targets_at(&mock.url())).start().await;
    let at = format!("leader = \"http://{}\"\nsync_interval = \"100ms\"", leader.grpc.unwrap());
    let follower = http(Setup::with_targets_at(&mock.url()).section("cluster", &at)).start().await;
    let key = leader.user_with_key("alice").await;
    let answer = until("the follower serves", async || {
        Some(ask(&follower, &key, &[]).await).filter(|answer| answer.status == 200)
    })
    .await;
    agrees(&collector.span_of(&answer.id).await, &follower.usage_of(&answer).await);
    let push = until("the span of a push", async || {
        collector
            .spans()
            .into_iter()
            .find(|span| span.name() == "push usage" && span.get("sproxy.push.accepted") != "0")
    })
    .await;
    assert_eq!(push.get("sproxy.leader"), "sp-1");
    assert!(push.get("sproxy.push.records").parse::<u64>().unwrap() >= 1);
    let headers = collector.headers();
    assert!(headers.iter().all(|head| head["authorization"] == "Bearer for-the-collector"), "{headers:?}");
    assert!(headers.iter().all(|head| head["content-type"] == "application/x-protobuf"), "{headers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_decides_whether_its_call_has_a_span_and_otherwise_the_share_does() {
    let (collector, mock) = (Collector::grpc().await, Mock::start().await);
    let none = traced(Setup::with_targets_at(&mock.url()), &collector.url(), "sample = 0.0").start().await;
    let key = none.user_with_key("alice").await;
    let wanted = ask(&none, &key, &[("traceparent", &format!("00-{TRACE}-{SPAN}-01"))]).await;
    let (unwanted, alone) = (
        ask(&none, &key, &[("traceparent", &format!("00-{TRACE}-{SPAN}-00"))]).await,
        ask(&none, &key, &[]).await,
    );
    let last = ask(&none, &key, &[("traceparent", &format!("00-{TRACE}-{SPAN}-01"))]).await;
    for answer in [&wanted, &unwanted, &alone, &last] {
        assert_eq!(answer.status, 200);
    }
    collector.span_of(&wanted.id).await;
    collector.span_of(&last.id).await;
    assert_eq!(collector.spans().len(), 2);

    let half = traced(Setup::with_targets_at(&mock.url()), &collector.url(), "sample = 0.5").start().await;
    let key = half.user_with_key("alice").await;
    for _ in 0..60 {
        assert_eq!(ask(&half, &key, &[]).await.status, 200);
    }
    let counted = until("spans are exported", async || {
        let spans = collector.spans().len() - 2;
        (spans as u64 == status(&half, "sproxy_spans_exported_total").await && spans > 0).then_some(spans)
    })
    .await;
    // Fewer than 10 or more than 50 of 60 are as likely as one in ten million.
    assert!((10..=50).contains(&counted), "{counted}");
}

/// It may be away, refuse, or hang: callers do not notice, and what is dropped is counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_or_hangs_costs_nobody_anything_but_its_spans() {
    let mock = Mock::start().await;
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let mut node =
        traced(Setup::with_targets_at(&mock.url()), &format!("http://{address}"), "").start().await;
    let key = node.user_with_key("alice").await;
    assert_eq!(ask(&node, &key, &[]).await.status, 200);
    until("spans that nobody takes are dropped", async || {
        (status(&node, "sproxy_spans_dropped_total").await >= 1).then_some(())
    })
    .await;
    assert!(status(&node, "sproxy_span_export_failures_total").await >= 2, "tried again before");
    let collector = Collector::grpc_at(address).await;
    let answer: Answer = ask(&node, &key, &[]).await;
    collector.span_of(&answer.id).await;
    drop(collector);

    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    node.kill().await;
    node.set("telemetry", &format!("otlp_endpoint = \"http://{}\"", hanging.local_addr().unwrap()));
    node.restart().await;
    for _ in 0..20 {
        assert_eq!(ask(&node, &key, &[]).await.status, 200);
    }
    node.process.ask_to_leave().await;
    assert_eq!(node.process.ended().await, Some(0), "{}", node.log());
    assert!(!node.log().contains("\"level\":\"ERROR\""), "{}", node.log());
}
