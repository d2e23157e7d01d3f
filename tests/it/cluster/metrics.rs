//! What a leader and a follower show at `/metrics`: dashboards and alerts of others know these names.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{follower, leader, metric, two_nodes_with_a_call_each};
use crate::harness::{Mock, Node, python_with, run_script, until};

const OF_EVERY_NODE: &str = "\
alert_deliveries_total counter
alerts_total counter
alerts_waiting gauge
body_memory_bytes gauge
body_memory_max_bytes gauge
build_info gauge
cost_nanousd_total counter
dropped_fields_total counter
estimated_total counter
first_byte_seconds histogram
ledger_batches_total counter
ledger_capacity gauge
ledger_commit_seconds histogram
ledger_committed_total counter
ledger_failing gauge
ledger_lost_total counter
ledger_queued gauge
ledger_refused_total counter
ledger_retries_total counter
ledger_taken gauge
limit_refusals_total counter
limit_subjects gauge
log_failures_total counter
overhead_seconds histogram
price_unknown_total counter
ready gauge
refusals_unbooked_total counter
refused_total counter
request_duration_seconds histogram
requests_total counter
target_attempts_total counter
target_cooling gauge
target_draining gauge
target_failures_total counter
target_healthy gauge
target_http2_connections gauge
target_in_flight gauge
target_waiting gauge
tokens_total counter
unmetered_total counter
upstream_attempts_total counter
";
const OF_A_LEADER: &str = "\
cluster_complete_behind_seconds gauge
cluster_complete_through_seconds gauge
cluster_peers gauge
cluster_peers_active gauge
cluster_term gauge
cluster_unsynced gauge
cluster_usage_accepted_total counter
cluster_usage_below_floor_total counter
cluster_usage_duplicates_total counter
cluster_usage_rejected_total counter
";
const OF_A_FOLLOWER: &str = "\
cluster_following gauge
cluster_leader_silent_seconds gauge
cluster_registered gauge
cluster_registrations_total counter
cluster_stale gauge
cluster_term gauge
cluster_unsynced_age_seconds gauge
sync_accepted_total counter
sync_duplicates_total counter
sync_failures_total counter
sync_rejected_total counter
sync_set_aside gauge
sync_unsynced gauge
";

async fn text(node: &Node, accept: &str) -> (String, String) {
    let answer = node.http.get(node.url("/metrics")).header("accept", accept).send().await.unwrap();
    let content_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
    (content_type, answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_names_and_types_of_metrics_stay() {
    let mock = Mock::start().await;
    let one = leader(&mock).await;
    let two = follower(&mock, &one, "sp-2").await;
    until("the leader knows up to when its totals are complete", async || {
        text(&one, "*/*").await.1.contains("sproxy_cluster_complete_behind_seconds ").then_some(())
    })
    .await;
    for (node, more) in [(&one, OF_A_LEADER), (&two, OF_A_FOLLOWER)] {
        let (content_type, text) = text(node, "*/*").await;
        assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8");
        let declared = text.lines().filter_map(|line| line.strip_prefix("# TYPE sproxy_"));
        let expected: BTreeSet<&str> = OF_EVERY_NODE.lines().chain(more.lines()).collect();
        assert_eq!(declared.collect::<BTreeSet<_>>(), expected);
    }
    let (_, text) = text(&one, "*/*").await;
    for line in [
        concat!("sproxy_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        "sproxy_refused_total{reason=\"unauthenticated\"} 0",
        "sproxy_limit_refusals_total{limit=\"rpm\"} 0",
        "sproxy_ready 1",
        "sproxy_body_memory_bytes 0",
        "sproxy_ledger_commit_seconds_count 0",
        "sproxy_overhead_seconds_count 0",
        "sproxy_target_healthy{target=\"anthropic\",provider=\"anthropic\"} 1",
        "sproxy_request_duration_seconds_bucket{le=\"0.00025\"} 0",
        "sproxy_request_duration_seconds_bucket{le=\"600\"} 0",
        "sproxy_request_duration_seconds_bucket{le=\"+Inf\"} 0",
        "sproxy_request_duration_seconds_count 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    assert!(!text.contains("\nsproxy_requests_total{"), "no label of a request that never was: {text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_metrics_is_for_whoever_asks_for_it() {
    let node = leader(&Mock::start().await).await;
    for accept in
        ["application/openmetrics-text", "text/plain;q=0.5, application/OpenMetrics-text;version=1.0.0"]
    {
        let (content_type, text) = text(&node, accept).await;
        assert_eq!(content_type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
        assert!(
            text.ends_with("\n# EOF\n") && text.contains("\nsproxy_ledger_committed_total 0\n"),
            "{text}"
        );
    }
    assert!(text(&node, "text/plain").await.0.starts_with("text/plain"));
}

/// Prometheus's own client reads both formats, where this machine's Python has it (`SPROXY_PYTHON` names another).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_reads_the_same_in_both_formats() {
    let Some(python) = python_with("prometheus_client.openmetrics.parser").await else { return };
    let mock = Mock::start().await;
    let (one, two) = two_nodes_with_a_call_each(&mock).await;
    until("the follower knows that it owes nothing", async || {
        (metric(&two, "sproxy_sync_accepted_total").await == 1
            && metric(&two, "sproxy_sync_unsynced").await == 0)
            .then_some(())
    })
    .await;
    for node in [&one, &two] {
        let read = run_script(&python, "metrics.py", &[&node.url("")]).await;
        let (open_metrics, text) = (&read["open_metrics"], &read["text"]);
        assert!(open_metrics["content_type"].as_str().unwrap().starts_with("application/openmetrics-text"));
        let samples = |format: &Value| {
            let mut samples = format["samples"].as_object().unwrap().clone();
            samples.retain(|name, _| !name.ends_with("_seconds{}") && !name.starts_with("process_"));
            samples
        };
        assert_eq!(samples(open_metrics), samples(text));
        let requests = r#"sproxy_requests_total{"outcome": "ok", "provider": "anthropic"}"#;
        assert_eq!(text["samples"][requests], json!(1.0), "{read}");
        let of_model = r#""model": "claude-sonnet-4-5", "provider": "anthropic""#;
        let tokens = |class: &str| {
            &text["samples"][format!(r#"sproxy_tokens_total{{"class": "{class}", {of_model}}}"#)]
        };
        let counted = ["input", "cache_read", "cache_write", "output"].map(|class| tokens(class).as_f64());
        let sum: f64 = counted.iter().flatten().sum();
        let booked = &node.usage().await[0];
        assert_eq!(json!(sum), json!(booked["total_tokens"].as_f64()), "{read}");
        assert_eq!(tokens("input"), &json!(70.0), "{read}");
        let cost = &text["samples"][format!("sproxy_cost_nanousd_total{{{of_model}}}")];
        assert_eq!(cost.as_f64(), booked["cost_nanousd"].as_f64(), "{read}");
        for histogram in ["sproxy_overhead_seconds", "sproxy_ledger_commit_seconds"] {
            let count = text["samples"][format!("{histogram}_count{{}}")].as_f64();
            assert!(count >= Some(1.0), "{histogram}: {read}");
        }
        assert_eq!(text["types"]["process_cpu_seconds"], json!("counter"));
        for (name, least) in [
            ("process_resident_memory_bytes", 1e6),
            ("process_open_fds", 5.0),
            ("process_max_fds", 64.0),
            ("process_start_time_seconds", 1.7e9),
        ] {
            let value = open_metrics["samples"][format!("{name}{{}}")].as_f64();
            assert!(value > Some(least), "{name}: {value:?}");
        }
        assert_eq!(text["types"]["sproxy_requests"], json!("counter"));
        assert_eq!(open_metrics["types"]["sproxy_build"], json!("info"));
        assert_eq!(open_metrics["types"]["sproxy_first_byte_seconds"], json!("histogram"));
    }
}
