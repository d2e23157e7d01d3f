//! Another configuration while a node runs.

use serde_json::{Value, json};

use crate::harness::{Mock, Node, Scripted, Setup, until};

const MESSAGES: &str = "/v1/messages";

fn target(name: &str, url: &str, more: &str) -> String {
    format!("[[targets]]\nname = \"{name}\"\nprovider = \"anthropic\"\nurl = \"{url}\"\n{more}\n")
}

fn body() -> Value {
    json!({ "model": "claude-haiku-4-5", "max_tokens": 16, "messages": [{ "role": "user", "content": "Hi" }] })
}

/// The node's file with other targets.
fn rewrite(node: &Node, from: &str, to: &str) {
    let file = node.directory().join("sproxy.toml");
    let text = std::fs::read_to_string(&file).expect("the file");
    assert!(text.contains(from), "{text}");
    std::fs::write(file, text.replace(from, to)).expect("written");
}

async fn answered_by(node: &Node, key: &str) -> String {
    node.ask(key, MESSAGES, &[], &body()).await.header("x-sproxy-target").to_owned()
}

#[tokio::test]
async fn a_reload_takes_over_targets_prices_and_names_and_says_what_needs_a_restart() {
    let (one, two) = (Mock::start().await, Mock::start().await);
    let before = target("one", &one.url(), "api_key = \"k\"");
    let node = Setup::with_targets(&before).start().await;
    let key = node.user_with_key("alice").await;
    assert_eq!(answered_by(&node, &key).await, "one");

    let after = target("two", &two.url(), "api_key = \"k\"\nrename = { fast = \"claude-haiku-4-5\" }");
    rewrite(
        &node,
        &before,
        &(after.clone()
            + "[usage]\nbatch = 7\n[prices]\n\"claude-haiku-4*\" = { input = 1000, output = 1000 }\n"),
    );
    let reloaded = node.post("/admin/v1/reload", json!({})).await;
    assert_eq!(reloaded, json!({ "targets": ["two"], "needs_restart": ["usage.batch"] }));
    let answer = node
        .ask(
            &key,
            MESSAGES,
            &[],
            &json!({ "model": "fast", "max_tokens": 16, "messages": [{ "role": "user", "content": "Hi" }] }),
        )
        .await;
    assert_eq!((answer.status, answer.header("x-sproxy-target")), (200, "two"));
    let row = node.usage_of(&answer).await;
    assert_eq!(row["price"]["input"], json!(1000.0), "{row}");
    // Whoever asks again is told again.
    assert_eq!(node.post("/admin/v1/reload", json!({})).await["needs_restart"], json!(["usage.batch"]));
    let audit = node.get("/admin/v1/audit").await.to_string();
    assert!(audit.contains("config.reload"), "{audit}");
}

#[tokio::test]
async fn what_is_wrong_changes_nothing_and_is_said() {
    let mock = Mock::start().await;
    let before = target("one", &mock.url(), "api_key = \"k\"");
    let node = Setup::with_targets(&before).start().await;
    let key = node.user_with_key("alice").await;
    let wrong = [
        target("two", "no URL", ""),
        target("two", &mock.url(), "ca_file = \"/nowhere\""),
        "[[targets]]\nnam = 1\n".to_owned(),
        "[[targets\n".to_owned(),
        before.clone() + "[log]\nlevel = \"a=b=c\"\n",
    ];
    let mut current = before;
    for wrong in wrong {
        rewrite(&node, &current, &wrong);
        current = wrong;
        let answer = node.call(reqwest::Method::POST, "/admin/v1/reload", Some(json!({}))).await;
        let status = answer.status();
        let said = answer.text().await.expect("text");
        assert_eq!(status.as_u16(), 400, "{said}");
        assert!(said.contains("nothing was taken over"), "{said}");
        assert_eq!(answered_by(&node, &key).await, "one");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_hangup_reloads_and_calls_under_way_end_on_what_they_began_with() {
    let (slow, mock) = (Scripted::start().await, Mock::start().await);
    let before = target("slow", &slow.url(), "api_key = \"k\"");
    let node = Setup::with_targets(&before).start().await;
    let key = node.user_with_key("alice").await;
    let body = body();
    let under_way = node.ask(&key, MESSAGES, &[], &body);
    let meanwhile = async {
        until("the call is under way", async || (!slow.requests().is_empty()).then_some(())).await;
        rewrite(&node, &before, &target("new", &mock.url(), "api_key = \"k\""));
        node.process.signal("HUP").await;
        until("the new target is in effect", async || {
            (node.get("/admin/v1/targets").await.to_string().contains("\"new\"")).then_some(())
        })
        .await;
        assert_eq!(answered_by(&node, &key).await, "new");
        slow.answer_json(r#"{"id":"m","type":"message","model":"claude-haiku-4-5","content":[],"stop_reason":"end_turn","usage":{"input_tokens":3,"output_tokens":1}}"#);
    };
    let (answer, ()) = tokio::join!(under_way, meanwhile);
    assert_eq!((answer.status, answer.header("x-sproxy-target")), (200, "slow"));
    assert_eq!(node.usage_of(&answer).await["outcome"], json!("ok"));
}

#[tokio::test]
async fn a_secret_in_a_file_is_taken_over_when_the_file_changes_and_nothing_else_is() {
    let provider = Scripted::start().await;
    let secrets = tempfile::tempdir().expect("a directory");
    let file = secrets.path().join("key");
    std::fs::write(&file, "first-secret").expect("written");
    let before = target("one", &provider.url(), &format!("api_key_file = \"{}\"", file.display()));
    let node = Setup::with_targets(&before).start().await;
    let key = node.user_with_key("alice").await;
    let sent = async |expected: &str| {
        provider.answer_json("{}");
        node.ask(&key, MESSAGES, &[], &body()).await;
        provider.requests().last().is_some_and(|request| request.head.contains(expected))
    };
    assert!(sent("first-secret").await);
    // Half an edit of the configuration is not taken over by accident.
    rewrite(&node, &before, "[[targets]]\nname = \"half\"\n");
    std::fs::write(&file, "second-secret-that-is-longer").expect("written");
    until("the secret is taken over", async || {
        node.log().contains("secrets and certificates taken over").then_some(())
    })
    .await;
    assert!(sent("second-secret").await);
    assert!(!node.log().contains("second-secret"));
}
