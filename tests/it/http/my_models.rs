//! `/me/models`: what a client is told of models before it calls.

use serde_json::{Value, json};

use crate::harness::{Node, Scripted, Setup};

async fn models(node: &Node, key: &str) -> Value {
    let answer = node.http.get(node.url("/me/models")).bearer_auth(key).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.json().await.unwrap()
}

fn api(name: &str, converted: bool) -> Value {
    json!({ "api": name, "converted": converted })
}

#[tokio::test]
async fn a_caller_learns_which_models_it_may_use_and_what_is_known_of_each() {
    let local = Scripted::start().await;
    local.answer_json(
        r#"{"object":"list","models":null,"data":[{"id":"qwen/qwen3","name":"Qwen 3","max_model_len":40960,"object":"model"},{"nobody":1}]}"#,
    );
    let targets = format!(
        "[[targets]]\nname = \"anthropic\"\nprovider = \"anthropic\"\nurl = \"http://127.0.0.1:1\"\napi_key = \"k\"\n\
         models = [\"claude-sonnet-4-6\", \"secret-1\"]\nrename = {{ \"claude-latest\" = \"claude-opus-4-6\" }}\n\
         [[targets]]\nname = \"openai\"\nprovider = \"openai\"\nurl = \"http://127.0.0.1:1\"\napi_key = \"k\"\nmodels = [\"gpt-5.5\"]\n\
         [[targets]]\nname = \"local\"\nprovider = \"openai\"\nurl = \"{}\"\napi_key = \"k\"\nresponses = false\nmodels = [\"qwen/*\"]\n\
         [[models]]\nname = \"coder\"\nroute = [\"claude-sonnet-4-6\", \"gpt-5.5\"]\n",
        local.url()
    );
    let node = Setup::with_targets(&targets)
        .section("capabilities", "\"qwen*\" = { images = false, output = 8192 }")
        .start()
        .await;
    node.post(
        "/admin/v1/users",
        json!({ "name": "alice", "models": ["claude-*", "coder", "qwen/*", "gpt-*"] }),
    )
    .await;
    let key = node.key_of("alice").await;
    let listed = models(&node, &key).await;
    let of = |name: &str| {
        let found = listed["items"].as_array().unwrap().iter().find(|model| model["id"] == name);
        found.unwrap_or_else(|| panic!("{name}: {listed}")).clone()
    };
    let names: Vec<_> = listed["items"].as_array().unwrap().iter().map(|model| model["id"].clone()).collect();
    assert_eq!(names, ["claude-latest", "claude-sonnet-4-6", "coder", "gpt-5.5", "qwen/qwen3"]);
    assert_eq!(
        of("qwen/qwen3"),
        json!({
            "id": "qwen/qwen3", "display_name": "Qwen 3", "context_tokens": 40960, "max_output_tokens": 8192, "tools": true,
            "images": false, "documents": true, "reasoning": "unknown", "efforts": [],
            "apis": [api("anthropic-messages", true), api("openai-responses", true), api("openai-chat", false)],
        })
    );
    let sonnet = of("claude-sonnet-4-6");
    assert_eq!(
        (&sonnet["context_tokens"], &sonnet["max_output_tokens"]),
        (&json!(1_000_000), &json!(128_000))
    );
    assert_eq!(
        (&sonnet["reasoning"], &sonnet["efforts"]),
        (&json!("effort"), &json!(["low", "medium", "high", "max"]))
    );
    let own_first =
        json!([api("anthropic-messages", false), api("openai-responses", true), api("openai-chat", true)]);
    assert_eq!(sonnet["apis"], own_first);
    assert_eq!(of("claude-latest")["max_output_tokens"], 128_000, "as the model that is sent");
    // What holds whichever of the two answers.
    let coder = of("coder");
    assert_eq!(
        (&coder["context_tokens"], &coder["efforts"]),
        (&json!(1_000_000), &json!(["low", "medium", "high"]))
    );
    assert_eq!(coder["apis"][1], api("openai-responses", false));
    assert_eq!(of("gpt-5.5")["apis"][0], api("anthropic-messages", true));
    // Another may use others.
    let other = node.user_with_key("bob").await;
    let all = models(&node, &other).await;
    assert!(all["items"].as_array().unwrap().iter().any(|model| model["id"] == "secret-1"), "{all}");
}
