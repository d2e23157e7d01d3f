//! What may be configured, what is said of it, and how it is changed while a node runs.

use serde_json::json;
use sproxy::config::{self, Environment, Problem, Sources};

use super::{SECRET, alerts_at, setup, spend};
use crate::harness::{Mock, Receiver, until};

fn load(text: &str, environment: &[(&'static str, &'static str)]) -> Result<config::Config, Vec<Problem>> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let sources = Sources { file: Some(file.path().to_owned()), flags: Vec::new() };
    let environment: Environment = environment.iter().copied().collect();
    config::load_from(&sources, &environment).map_err(|problems| problems.0)
}

/// The one problem of a receiver: key and reason.
fn problem(lines: &str) -> (String, String) {
    let problems = load(&format!("[[alerts]]\n{lines}\n"), &[]).expect_err(lines);
    assert_eq!(problems.len(), 1, "{problems:#?}");
    (problems[0].key.clone(), problems[0].reason.clone())
}

#[test]
fn what_is_wrong_with_a_receiver_is_told_and_its_url_is_not() {
    let url = "url = \"https://hooks.example/canary-path\"\n";
    for (lines, key, reason) in [
        (
            "url = \"https://h/\"\nevents = [\"quota.soft\", \"quota.full\"]",
            "alerts[0].events[1]",
            "`quota.full` is no event: use some of quota.soft, quota.spent, target.down",
        ),
        ("url = \"https://h/\"\nevents = []", "alerts[0].events", "nothing would be sent"),
        (
            "url = \"https://h/\"\nformat = \"discord\"",
            "alerts[0].format",
            "`discord` is none of json, slack, teams",
        ),
        ("url = \"https://h/\"\nsecret = \"short\"", "alerts[0].secret", "at least 16 characters"),
        ("url = \"https://h/\"\ntimeout = \"2h\"", "alerts[0].timeout", "at most 1m"),
        ("url = \"https://h/\"\nsecrets = \"x\"", "alerts[0].secrets", "did you mean `secret`?"),
        ("name = \"x\"", "alerts[0].url", "has to be set, as url, url_env or url_file"),
        ("url_env = \"NOWHERE\"", "alerts[0].url_env", "NOWHERE is not set"),
        ("url = \"ftp://canary-host/\"", "alerts[0].url", "has to be a URL such as https://"),
        ("url = \"https://user:canary-password@h/\"", "alerts[0].url", "must not have a user or password"),
    ] {
        let (at, said) = problem(lines);
        assert_eq!(at, key, "{said}");
        assert!(said.contains(reason) && !said.contains("canary"), "{said}");
    }
    let twice = load(&format!("[[alerts]]\n{url}[[alerts]]\n{url}"), &[]).expect_err("one name");
    assert_eq!(twice[0].key, "alerts[1].name");
    let text = "[alerts]\nurl = \"https://h/\"";
    assert!(load(text, &[]).expect_err("a section")[0].reason.contains("[[alerts]]"));
    let share = load("[alerting]\nquota_soft = 80", &[]).expect_err("no share");
    assert_eq!(share[0].key, "alerting.quota_soft");
}

#[test]
fn a_url_may_be_a_secret_and_is_shown_as_its_host() {
    let text = "[[alerts]]\nurl_env = \"HOOK\"\nsecret_env = \"KEY\"\nformat = \"slack\"";
    let hook = "https://hooks.slack.example:8443/services/T0/canary-token?x=canary-query";
    let config = load(text, &[("HOOK", hook), ("KEY", SECRET)]).expect("right");
    let receiver = &config.alerts[0];
    assert_eq!(receiver.name, "hooks.slack.example:8443");
    assert_eq!(receiver.url.expose(), hook);
    assert_eq!(receiver.events.len(), 9, "all but the summary");
    for shown in [config::show(&config), format!("{config:?}")] {
        assert!(!shown.contains("canary"), "{shown}");
    }
    assert!(
        config::show(&config).contains("url = \"https://hooks.slack.example:8443/***\"\nsecret = \"***\"\n")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_takes_over_who_is_told() {
    let (mock, before, after) = (Mock::start().await, Receiver::start().await, Receiver::start().await);
    let only = "events = [\"quota.spent\"]";
    let node = setup(&mock, &alerts_at(&before, only)).start().await;
    spend(&node, "alice").await;
    before.sent("quota.spent", "alice").await;
    let file = node.directory().join("sproxy.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace(&before.url(), &after.url())).unwrap();
    let reloaded = node.post("/admin/v1/reload", json!({})).await;
    assert_eq!(reloaded["needs_restart"], json!([]));
    spend(&node, "bob").await;
    after.sent("quota.spent", "bob").await;
    assert!(before.of("quota.spent", "bob").is_empty());
    // What is wrong is not taken over, and what was in effect stays.
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace(only, "events = [\"quota.full\"]")).unwrap();
    let refused = node.call(reqwest::Method::POST, "/admin/v1/reload", Some(json!({}))).await;
    assert_eq!(refused.status(), 400);
    assert!(refused.text().await.unwrap().contains("alerts[0].events[0]"));
    spend(&node, "carol").await;
    after.sent("quota.spent", "carol").await;
    until("they are listed", async || {
        let receivers = node.get("/admin/v1/alerts").await;
        (receivers["items"][0]["host"] == after.address.to_string()).then_some(())
    })
    .await;
}
