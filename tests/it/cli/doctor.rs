//! `sproxy me` and `sproxy doctor`: what somebody is told about themselves, and about what is in their way.

use serde_json::{Value, json};

use super::person::Person;
use super::{node_and_mock, on};

/// The checks of a kind and their verdicts.
fn verdicts(found: &Value, check: &str) -> Vec<String> {
    let rows = found["checks"].as_array().expect("checks").iter().filter(|row| row["check"] == *check);
    rows.map(|row| row["verdict"].as_str().expect("a verdict").to_owned()).collect()
}

#[tokio::test]
async fn a_person_sees_who_they_are_and_what_is_left() {
    let (node, _mock) = node_and_mock().await;
    let alice = Person::signed_in(&node, "alice").await;
    on(&node, &["group", "add", "devs", "--monthly-usd", "200"]).await.done();
    on(&node, &["user", "set", "alice", "--group", "devs", "--daily-tokens", "1000"]).await.done();
    let token = alice.run(&["token"]).await.done();
    let body = json!({ "model": "gpt-4o", "messages": [{ "role": "user", "content": "hi" }] });
    let steering = [("mock-input", "200"), ("mock-output", "50")];
    let answer = node.ask(token.trim(), "/v1/chat/completions", &steering, &body).await;
    node.usage_of(&answer).await;
    let shown = alice.run(&["me"]).await.done();
    for part in [
        "alice at ",
        "in group devs",
        "1 requests, 250 tokens (200 in, 50 out)",
        "tokens today (yours)",
        "[#####---------------]  25 %  250 of 1,000",
        "USD this month (group devs)",
        "of $200.00",
        "resets 20",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let me = alice.run(&["me", "--json"]).await.json();
    assert_eq!((me["me"]["name"].clone(), me["month"]["total_tokens"].clone()), (json!("alice"), json!(250)));
    let nobody = Person::new();
    assert!(nobody.run(&["me"]).await.refused(1).contains("sproxy login"));
}

#[tokio::test]
async fn the_doctor_finds_nothing_where_nothing_is_wrong_and_says_what_to_do_where_something_is() {
    let (mut node, _mock) = node_and_mock().await;
    let alice = Person::signed_in(&node, "alice").await;
    alice.run(&["connect", "claude"]).await.done();
    let found = alice.run(&["doctor", "--model", "gpt-4o", "--json"]).await.json();
    for check in
        ["proxy", "login", "server", "tls", "clock", "credential", "limits", "version", "call", "clients"]
    {
        assert_eq!(verdicts(&found, check), ["ok"], "{check}: {found:#}");
    }
    assert!(alice.run(&["doctor"]).await.done().contains("Claude Code is connected"));

    // Settings that somebody has changed, a model that nobody has, a limit that is spent.
    let settings = alice.home().join(".claude/settings.json");
    let text = std::fs::read_to_string(&settings).expect("there");
    std::fs::write(&settings, text.replace(&node.url(""), "http://elsewhere")).expect("written");
    on(&node, &["user", "set", "alice", "--daily-tokens", "1"]).await.done();
    let sick = alice.run(&["doctor", "--model", "gpt-4o"]).await;
    assert_eq!(sick.code, Some(1));
    for part in
        ["env.ANTHROPIC_BASE_URL", "sproxy connect claude", "tokens today (yours)", "gpt-4o gives no answer"]
    {
        assert!(sick.out.contains(part), "{part}: {}", sick.out);
    }
    node.kill().await;
    let away = alice.run(&["doctor"]).await;
    assert!(away.code == Some(1) && away.out.contains("does not answer"), "{}", away.out);
    let nobody = Person::new();
    let unknown = nobody.run(&["doctor"]).await;
    assert!(unknown.code == Some(1) && unknown.out.contains("sproxy login --server URL"), "{}", unknown.out);
}
