//! What calls cost: by the names of models, by how they are served, and step by step.

use serde_json::{Value, json};

use super::outside::{before, call};
use crate::harness::{Node, Scripted, Setup};

async fn row(
    provider: &Scripted,
    node: &Node,
    key: &str,
    (path, ask): (&str, &Value),
    answer: &str,
) -> Value {
    let answer = call((provider, node, key), (path, ask), |provider| _ = provider.answer_json(answer)).await;
    node.usage_of(&answer).await
}

fn numbers(row: &Value) -> [u64; 3] {
    ["input_tokens", "output_tokens", "cost_nanousd"].map(|name| row[name].as_u64().unwrap())
}

#[tokio::test]
async fn every_step_that_is_billed_is_booked_at_its_own_models_price() {
    let provider = Scripted::start().await;
    let (node, key) = before(&provider).await;
    let ask = json!({ "model": "claude-sonnet-4-6", "max_tokens": 9, "messages": [] });
    let usage = |own: &str, steps: &str| {
        format!(
            r#"{{"type":"message","model":"claude-sonnet-4-6","content":[{{"type":"text","text":"ok"}}],"stop_reason":"end_turn","usage":{{{own},"iterations":[{steps}]}}}}"#
        )
    };
    let advised = usage(
        r#""input_tokens":412,"output_tokens":531"#,
        r#"{"type":"message","input_tokens":400,"output_tokens":500,"cache_read_input_tokens":0,"cache_creation_input_tokens":0},
           {"type":"advisor_message","model":"claude-opus-4-8","input_tokens":9419,"output_tokens":7805,"cache_read_input_tokens":150000,"cache_creation_input_tokens":0},
           {"type":"message","input_tokens":12,"output_tokens":31,"cache_read_input_tokens":0,"cache_creation_input_tokens":0}"#,
    );
    let booked = row(&provider, &node, &key, ("/v1/messages", &ask), &advised).await;
    // 412 at $3 and 531 at $15; 9,419 at $5, 150,000 at $0.5 and 7,805 at $25 per million
    let (own, advice) = (412 * 3_000 + 531 * 15_000, 9_419 * 5_000 + 150_000 * 500 + 7_805 * 25_000);
    assert_eq!(numbers(&booked), [412 + 159_419, 531 + 7_805, own + advice], "{booked}");
    let parts = booked["parts"].as_array().unwrap();
    let each: Vec<_> = parts.iter().map(|part| (part["model"].as_str().unwrap(), numbers(part))).collect();
    let expected = [("claude-sonnet-4-6", [412, 531, own]), ("claude-opus-4-8", [159_419, 7_805, advice])];
    assert_eq!(each, expected);
    assert_eq!(parts[1]["price"]["glob"], "claude-opus-4-8*");
    assert_eq!(booked["price"]["glob"], "claude-sonnet-4-6*");

    let fallen_back = usage(
        r#""input_tokens":1000,"output_tokens":10"#,
        r#"{"type":"message","model":"claude-fable-5","input_tokens":1000,"output_tokens":10},
           {"type":"fallback_message","model":"claude-opus-4-8","input_tokens":1000,"output_tokens":0}"#,
    );
    let booked = row(&provider, &node, &key, ("/v1/messages", &ask), &fallen_back).await;
    assert_eq!(numbers(&booked)[..2], [1_000, 10], "a fallback that failed is not billed: {booked}");
    assert_eq!(booked["parts"], json!([]));

    let quota = node.get("/admin/v1/stats").await;
    assert_eq!(quota["cost_nanousd"].as_u64().unwrap(), own + advice + numbers(&booked)[2]);
    let export =
        node.call(reqwest::Method::GET, "/admin/v1/usage?format=csv", None).await.text().await.unwrap();
    let mut lines = csv::Reader::from_reader(export.as_bytes());
    let names = lines.headers().unwrap().clone();
    let advised = lines.records().last().unwrap().unwrap();
    let field = |name: &str| &advised[names.iter().position(|header| header == name).unwrap()];
    assert_eq!(field("price_default"), "false");
    let written: Value = serde_json::from_str(field("parts")).unwrap();
    assert_eq!(written, json!(parts));
    assert_eq!(serde_json::from_str::<Value>(field("price")).unwrap()["output"], json!(15.0));
}

/// As fuzzing found it: the steps were billed, and the record said that nothing was known.
#[tokio::test]
async fn steps_are_booked_as_reported_also_where_the_answers_own_counts_cannot_be_read() {
    let provider = Scripted::start().await;
    let (node, key) = before(&provider).await;
    let ask = json!({ "model": "claude-sonnet-4-6", "max_tokens": 9, "messages": [] });
    let answer = json!({ "type": "message", "model": "claude-sonnet-4-6", "content": [], "stop_reason": "end_turn",
        "usage": { "tokens_in": 9, "iterations": [
            { "type": "compaction", "input_tokens": 180_000, "output_tokens": 3_500 },
            { "type": "message", "input_tokens": 23_000, "output_tokens": 1_000 }] } });
    let booked = row(&provider, &node, &key, ("/v1/messages", &ask), &answer.to_string()).await;
    assert_eq!(numbers(&booked)[..2], [203_000, 4_500], "{booked}");
    assert_eq!(booked["token_source"], json!("reported"));
}

#[tokio::test]
async fn a_model_is_priced_by_its_makers_name_and_one_that_is_not_known_is_pointed_out() {
    let provider = Scripted::start().await;
    let (node, key) = before(&provider).await;
    let priced = async |path: &str, model: &str| {
        let ask =
            json!({ "model": model, "max_tokens": 9, "messages": [{ "role": "user", "content": "x" }] });
        let answer = json!({ "model": model, "choices": [{ "message": { "content": "y" } }],
            "usage": { "prompt_tokens": 1_000_000, "completion_tokens": 0, "total_tokens": 1_000_000, "input_tokens": 0 } });
        let answer = answer.to_string().replace("\"content\":\"y\"", "\"content\":\"\"");
        let booked = row(&provider, &node, &key, (path, &ask), &answer).await;
        (
            booked["price"]["glob"].as_str().unwrap().to_owned(),
            booked["price"]["input"].clone(),
            booked["price_default"].clone(),
        )
    };
    for (path, model, glob, input) in [
        ("/v1/chat/completions", "openai/gpt-4o-mini", "gpt-4o-mini*", 0.15),
        ("/v1/messages", "us.anthropic.claude-opus-4-1-v1:0", "claude-opus-4*", 15.0),
        ("/v1/chat/completions", "anthropic/claude-opus-4.1", "claude-opus-4*", 15.0),
        ("/v1/chat/completions", "google/gemini-2.5-flash", "gemini-2.5-flash*", 0.3),
        ("/v1/responses", "gpt-6.9-sol", "gpt-6*-sol*", 2.0),
    ] {
        assert_eq!(priced(path, model).await, (glob.to_owned(), json!(input), json!(false)), "{model}");
    }
    let local = priced("/v1/chat/completions", "llama3.2").await;
    assert_eq!(local, ("default".to_owned(), json!(3.0), json!(true)));
    let stats = node.get("/admin/v1/stats").await;
    assert_eq!((&stats["request_count"], &stats["default_priced_requests"]), (&json!(6), &json!(1)));
    let models = node.get("/admin/v1/stats/models").await;
    let llama = models["items"].as_array().unwrap().iter().find(|row| row["model"] == "llama3.2").unwrap();
    assert_eq!(llama["default_priced_requests"], json!(1));
    let metrics = node.http.get(node.url("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("sproxy_price_unknown_total{model=\"llama3.2\"} 1\n"), "{metrics}");
}

#[tokio::test]
async fn a_star_of_ones_own_hides_no_price_that_is_known_better() {
    let provider = Scripted::start().await;
    let node = Setup::with_targets_at(&provider.url())
        .section(
            "prices",
            "\"*\" = { input = 1, output = 1 }\n\"gpt-5*\" = { input = 4, output = 8, flex = 0.25 }",
        )
        .start()
        .await;
    let key = node.user_with_key("alice").await;
    for (model, tier, said, glob, cost) in [
        ("gpt-4o", "auto", "default", "gpt-4o*", 2_500),
        ("gpt-5", "flex", "flex", "gpt-5*", 1_000),
        ("gpt-5", "flex", "default", "gpt-5*", 4_000),
        ("something", "flex", "flex", "*", 1_000),
    ] {
        let ask = json!({ "model": model, "service_tier": tier, "messages": [] });
        let answer = json!({ "model": model, "service_tier": said, "choices": [{ "finish_reason": "stop" }],
            "usage": { "prompt_tokens": 1_000, "completion_tokens": 0, "total_tokens": 1_000 } });
        let booked = row(&provider, &node, &key, ("/v1/chat/completions", &ask), &answer.to_string()).await;
        assert_eq!((&booked["price"]["glob"], numbers(&booked)[2]), (&json!(glob), cost * 1_000), "{booked}");
    }
    // What is asked holds where the answer is silent; Anthropic says it within its usage.
    let ask = json!({ "model": "o3", "service_tier": "flex", "messages": [] });
    let silent = r#"{"model":"o3","choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":0,"total_tokens":1000}}"#;
    let booked = row(&provider, &node, &key, ("/v1/chat/completions", &ask), silent).await;
    assert_eq!(
        (numbers(&booked)[2], &booked["price"]["factors"]),
        (1_000_000, &json!({ "flex": 0.5 })),
        "{booked}"
    );
    let ask = json!({ "model": "claude-opus-4-6", "max_tokens": 1, "messages": [], "speed": "fast" });
    let fast = r#"{"model":"claude-opus-4-6","content":[],"stop_reason":"end_turn","usage":{"input_tokens":1000,"output_tokens":0,"service_tier":"standard","speed":"fast","inference_geo":"us"}}"#;
    let booked = row(&provider, &node, &key, ("/v1/messages", &ask), fast).await;
    assert_eq!(numbers(&booked)[2], 1_000 * 5_000 * 66 / 10, "{booked}");
}
