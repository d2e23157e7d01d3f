//! Metrics that are there by option, and bounds on those that are always there.

use serde_json::json;

use super::{ask, message};
use crate::harness::{Mock, Node, Setup};

async fn metrics(node: &Node) -> String {
    node.http.get(node.url("/metrics")).send().await.unwrap().text().await.unwrap()
}

fn value(text: &str, sample: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    let value = value.and_then(|value| value.strip_suffix(".0").unwrap_or(value).parse().ok());
    value.unwrap_or_else(|| panic!("no {sample}: {text}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_and_the_conventions_names_are_there_if_they_are_wanted() {
    let mock = Mock::start().await;
    let plain = Setup::with_targets_at(&mock.url()).start().await;
    let key = plain.user_with_key("alice").await;
    assert_eq!(ask(&plain, &key, &[]).await.status, 200);
    let text = metrics(&plain).await;
    assert!(!text.contains("alice") && !text.contains("gen_ai_"), "{text}");

    let more = "user_metrics = true\ngenai_metrics = true";
    let node = Setup::with_targets_at(&mock.url()).section("telemetry", more).start().await;
    let key = node.user_with_key("alice").await;
    let answer = ask(&node, &key, &[]).await;
    assert_eq!(node.ask(&key, "/v1/messages", &[], &message("claude-sonnet-4-5", true)).await.status, 200);
    let rows = [node.usage_of(&answer).await, node.usage().await[1].clone()];
    let sum = |field: &str| rows.iter().map(|row| row[field].as_u64().unwrap()).sum::<u64>();
    let text = metrics(&node).await;
    assert_eq!(value(&text, "sproxy_user_cost_nanousd_total{user=\"alice\"}"), sum("cost_nanousd"));
    let of_alice = text.lines().filter(|line| line.starts_with("sproxy_user_tokens_total{user=\"alice\""));
    let tokens: u64 = of_alice.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(tokens, sum("total_tokens"));
    let labels = "gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"anthropic\",gen_ai_response_model=\"claude-sonnet-4-5\"";
    assert_eq!(value(&text, &format!("gen_ai_client_operation_duration_seconds_count{{{labels}}}")), 2);
    for (token_type, field) in [("input", "input_tokens"), ("output", "output_tokens")] {
        let sample = format!("gen_ai_client_token_usage_sum{{{labels},gen_ai_token_type=\"{token_type}\"}}");
        assert_eq!(value(&text, &sample), sum(field));
    }
    let first = format!("gen_ai_client_operation_time_to_first_chunk_seconds_count{{{labels}}}");
    assert_eq!(value(&text, &first), 2);
}

/// Callers choose names of models; a provider may answer to all of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_many_models_are_asked_for_their_labels_are_bounded() {
    let mock = Mock::start().await;
    let node = Setup::with_targets_at(&mock.url()).start().await;
    let key = node.user_with_key("alice").await;
    for number in 0..130 {
        let body = message(&format!("made-up-{number}"), false);
        assert_eq!(node.ask(&key, "/v1/messages", &[], &body).await.status, 200);
    }
    let text = metrics(&node).await;
    let models = text.lines().filter(|line| line.starts_with("sproxy_cost_nanousd_total{")).count();
    assert_eq!(models, 101, "a hundred, and the others");
    let all: u64 = text
        .lines()
        .filter(|line| line.starts_with("sproxy_cost_nanousd_total{"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum();
    let stats = node.get("/admin/v1/stats").await;
    assert_eq!(json!(all), stats["cost_nanousd"]);
}
