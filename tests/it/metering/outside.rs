//! What a node books of answers that say little, or say it in an odd way.

use serde_json::{Value, json};

use crate::harness::{Answer, Node, Scripted, Setup, until};

pub async fn before(provider: &Scripted) -> (Node, String) {
    let node = Setup::with_targets_at(&provider.url()).start().await;
    let key = node.user_with_key("alice").await;
    (node, key)
}

/// One call, answered once it has arrived, on a connection of its own.
pub async fn call(
    (provider, node, key): (&Scripted, &Node, &str),
    (path, body): (&str, &Value),
    answer: impl FnOnce(&Scripted),
) -> Answer {
    let before = provider.requests().len();
    let answering = async {
        until("the call at the provider", async || (provider.requests().len() > before).then_some(())).await;
        answer(provider);
        provider.close();
    };
    tokio::join!(node.ask(key, path, &[], body), answering).0
}

fn ask() -> Value {
    json!({ "model": "gpt-5", "messages": [{ "role": "user", "content": "Hello" }] })
}

#[tokio::test]
async fn counts_in_two_providers_names_and_zeros_that_cannot_be_are_booked_for_what_they_are() {
    let provider = Scripted::start().await;
    let (node, key) = before(&provider).await;
    let relay = r#"{"model":"gpt-5","error":{},"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":"1200","completion_tokens":3e2,"total_tokens":1500,"input_tokens":0,"output_tokens":0}}"#;
    let (here, chat) = ((&provider, &node, &*key), ("/v1/chat/completions", &ask()));
    let answer = call(here, chat, |provider| _ = provider.answer_json(relay)).await;
    let row = node.usage_of(&answer).await;
    let counts = ["input_tokens", "output_tokens", "token_source", "outcome"].map(|name| row[name].clone());
    assert_eq!(counts, [json!(1_200), json!(300), json!("reported"), json!("ok")]);
    assert!(row["cost_nanousd"].as_u64().unwrap() > 0, "{row}");

    let zeros = relay.replace("\"1200\"", "0").replace("3e2", "0").replace("1500", "0");
    let answer = call(here, chat, |provider| _ = provider.answer_json(&zeros)).await;
    let row = node.usage_of(&answer).await;
    assert_eq!((&row["token_source"], &row["output_tokens"]), (&json!("estimated"), &json!(1)), "{row}");
    assert!(row["input_tokens"].as_u64().unwrap() > 0, "{row}");
}

#[tokio::test]
async fn vectors_without_usage_are_booked_as_what_was_sent() {
    let provider = Scripted::start().await;
    let (node, key) = before(&provider).await;
    let text = json!({ "model": "m", "input": "words ".repeat(100), "content": {} });
    for (path, answer) in [
        ("/v1/embeddings", r#"{"data":[{"embedding":[0.5]}],"model":"m"}"#),
        ("/v1/rerank", r#"{"results":[{"index":0,"relevance_score":0.5}]}"#),
        ("/v1beta/models/gemini-embedding-001:embedContent", r#"{"embedding":{"values":[0.5]}}"#),
        ("/v1beta/models/gemini-embedding-001:batchEmbedContents", r#"{"embeddings":[{"values":[0.5]}]}"#),
        ("/api/embeddings", r#"{"embedding":[0.5]}"#),
    ] {
        let here = (&provider, &node, &*key);
        let answer = call(here, (path, &text), |provider| _ = provider.answer_json(answer)).await;
        let row = node.usage_of(&answer).await;
        assert_eq!((&row["token_source"], &row["output_tokens"]), (&json!("estimated"), &json!(0)), "{path}");
        assert!(row["input_tokens"].as_u64().unwrap() >= 150, "{path}: {row}");
        assert!(row["cost_nanousd"].as_u64().unwrap() > 0, "{path}: {row}");
    }
}

#[tokio::test]
async fn a_stream_without_an_event_is_booked_as_cut_and_counts_against_its_target() {
    let provider = Scripted::start().await;
    let (node, key) = before(&provider).await;
    for body in ["", ": keep-alive\n\n", ": keep-alive\n\n"] {
        let answer = call((&provider, &node, &key), ("/v1/chat/completions", &ask()), |provider| {
            provider.begin_stream();
            if !body.is_empty() {
                provider.chunk(body);
            }
            provider.end();
        })
        .await;
        assert_eq!((answer.status, answer.text().as_str()), (200, body));
        let row = node.usage_of(&answer).await;
        let booked =
            ["outcome", "token_source", "input_tokens", "cost_nanousd"].map(|name| row[name].clone());
        assert_eq!(booked, [json!("upstream_cut"), json!("none"), json!(0), json!(0)], "{body:?}");
    }
    until("the target is known to be unwell", async || {
        let targets = node.get("/admin/v1/targets").await;
        let openai = targets["items"].as_array()?.iter().find(|target| target["name"] == "openai")?.clone();
        (openai["healthy"] == json!(false)).then_some(())
    })
    .await;
}
