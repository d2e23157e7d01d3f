//! Whatever a provider counts, the caller of a converted call is told counts that come to the same sums.

use reqwest::Client;
use serde_json::{Value, json};
use sproxy::dialect::Billing;
use sproxy::domain::tokens::{Estimate, Tokens};
use sproxy::domain::usage::TokenSource;
use sproxy::metering::{AnswerHead, End, open};

use crate::harness::{Answer, Dice, Mock, Node, Setup};

/// Rounds of other counts; each asks every pair for a document and for a stream.
const ROUNDS: usize = 12;

/// A caller's API, by its path, and a model of a target that has another.
const PAIRS: [(&str, &str); 7] = [
    ("/v1/messages", "gpt-5.6"),
    ("/v1/messages", "qwen3"),
    ("/v1/messages", "gemini-3-pro"),
    ("/v1/responses", "claude-sonnet-5"),
    ("/v1/responses", "qwen3"),
    ("/v1/chat/completions", "claude-sonnet-5"),
    ("/v1/chat/completions", "gemini-3-pro"),
];

fn targets(url: &str) -> String {
    let target = |provider: &str, models: &str, more: &str| {
        format!(
            "[[targets]]\nname = \"{models}\"\nprovider = \"{provider}\"\nurl = \"{url}\"\napi_key = \"k\"\n\
             models = [\"{models}\"]\n{more}\n"
        )
    };
    target("openai", "gpt-5.6", "")
        + &target("openai", "qwen3", "responses = false")
        + &target("gemini", "gemini-3-pro", "")
        + &target("anthropic", "claude-sonnet-5", "")
}

fn body(path: &str, model: &str, stream: bool) -> Value {
    let mut body = json!({ "model": model, "stream": stream });
    let messages = json!([{ "role": "user", "content": "Hi" }]);
    match path {
        "/v1/responses" => body["input"] = messages,
        _ => body["messages"] = messages,
    }
    match path {
        "/v1/messages" => body["max_tokens"] = json!(4096),
        "/v1/chat/completions" if stream => body["stream_options"] = json!({ "include_usage": true }),
        _ => {}
    }
    body
}

/// What the meter, which knows nothing of conversions, finds in what the caller got.
fn counted(answer: &Answer) -> (Tokens, TokenSource) {
    let mut meter = open(&AnswerHead {
        billing: Billing::Inference,
        status: answer.status,
        content_type: Some(answer.header("content-type")),
        content_encoding: None,
        estimate: Estimate::default(),
    });
    meter.feed(answer.text().as_bytes());
    let result = meter.result(End::Body);
    (result.tokens, result.source)
}

async fn steer(mock: &Mock, counts: &[(&str, usize)]) {
    let mut request = Client::new().post(format!("{}/mock/defaults", mock.url()));
    for (name, count) in counts {
        request = request.header(format!("mock-{name}"), count.to_string());
    }
    assert!(request.send().await.unwrap().status().is_success());
}

async fn assert_pair(node: &Node, key: &str, (path, model): (&str, &str), what: &str) {
    for stream in [false, true] {
        let answer = node.ask(key, path, &[], &body(path, model, stream)).await;
        let what = format!("{path} on {model}, stream {stream}: {what}");
        assert_eq!(answer.status, 200, "{what}: {}", answer.text());
        let row = node.usage_of(&answer).await;
        assert_eq!(
            (&row["token_source"], &row["outcome"]),
            (&json!("reported"), &json!("ok")),
            "{what}: {row}"
        );
        let (told, source) = counted(&answer);
        assert_eq!(source, TokenSource::Reported, "{what}: {}", answer.text());
        let booked = |name: &str| row[name].as_u64().unwrap();
        assert_eq!(
            (told.input, told.output, told.cache_read),
            (booked("input_tokens"), booked("output_tokens"), booked("cache_read_tokens")),
            "{what}: {}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn a_callers_counts_are_the_providers_in_sum_whatever_they_are() {
    let mock = Mock::start().await;
    let node = Setup::with_targets(&targets(&mock.url())).start().await;
    let key = node.user_with_key("alice").await;
    let seed = std::env::var("SPROXY_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut dice = Dice::new(seed);
    for round in 0..ROUNDS {
        let mut count = |most: usize| if dice.below(3) == 0 { 0 } else { dice.below(most) };
        let (read, write, write_1h) = (count(5_000), count(500), count(300));
        let output = 1 + count(2_000);
        let counts = [
            ("input", 1 + read + write + write_1h + count(3_000)),
            ("output", output),
            ("cache-read", read),
            ("cache-write", write),
            ("cache-write-1h", write_1h),
            ("reasoning", count(output)),
            ("events", 1 + count(6)),
        ];
        steer(&mock, &counts).await;
        for pair in PAIRS {
            assert_pair(&node, &key, pair, &format!("round {round} of seed {seed}: {counts:?}")).await;
        }
    }
}
