//! Every page in a real browser, with Playwright and axe: no script error, nothing that the policy refuses, nothing that a
//! screen reader stumbles over, no page wider than a telephone; and sums that are the API's.

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{Mock, Setup, until};

const CHROMIUM: &str = "/usr/bin/chromium";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// False, with a note, on a machine without a browser, without Node.js, or without what `npm ci` brings.
pub fn is_here() -> bool {
    let has_node = std::process::Command::new("node").arg("--version").stdout(Stdio::null()).status();
    let missing = [
        ("chromium", std::env::var_os("SPROXY_CHROMIUM").is_some() || Path::new(CHROMIUM).exists()),
        ("node", has_node.is_ok_and(|status| status.success())),
        ("tests/ui/node_modules (npm ci)", root().join("tests/ui/node_modules/playwright-core").exists()),
    ];
    let missing: Vec<&str> = missing.into_iter().filter(|(_, here)| !here).map(|(what, _)| what).collect();
    if missing.is_empty() {
        return true;
    }
    let required = std::env::var_os("SPROXY_REQUIRE_BROWSER").is_some();
    assert!(!required, "not on this machine: {}", missing.join(", "));
    println!("skipped, for it is not on this machine: {}", missing.join(", "));
    false
}

/// What a script of `tests/ui` has to say; pictures go to where `SPROXY_PAGES_PICTURES` says.
pub async fn look(script: &str, arguments: &[&str]) -> Value {
    let pictures = std::env::var("SPROXY_PAGES_PICTURES").unwrap_or_default();
    let mut check = Command::new("node");
    check.arg(script).args(arguments).arg(&pictures).current_dir(root().join("tests/ui"));
    let done = check.stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap();
    let (said, errors) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    serde_json::from_str(said.trim()).unwrap_or_else(|error| panic!("{error}: {said} {errors}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_is_fit_to_be_seen_in_both_themes_wide_and_narrow() {
    if !is_here() {
        return;
    }
    let mock = Mock::start().await;
    let node = Setup::with_targets_at(&mock.url()).start().await;
    let name = "<img src=x onerror=alert(1)>";
    node.post("/admin/v1/groups", json!({"name": "devs", "monthly_usd": 200, "daily_tokens": 2_000_000}))
        .await;
    node.post("/admin/v1/groups", json!({"name": name})).await;
    for (user, group) in [("alice", "devs"), (name, name)] {
        node.post("/admin/v1/users", json!({"name": user, "group": group, "monthly_usd": 50})).await;
    }
    let keys = [node.key_of("alice").await, node.key_of(name).await, node.key_of("admin").await];
    let body = |model: &str| json!({"model": model, "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]});
    let mut calls = 0;
    for (at, key) in keys.iter().enumerate() {
        for model in ["claude-sonnet-4-5", "claude-haiku-4-5", "<script>alert(1)</script>"] {
            let session = format!("session-{at}-{name}");
            let headers = [
                ("x-claude-code-session-id", session.as_str()),
                ("mock-input", "12000"),
                ("mock-output", "900"),
            ];
            node.ask(key, "/v1/messages", &headers, &body(model)).await;
            node.ask(key, "/v1/messages", &[("mock-status", "529")], &body(model)).await;
            calls += 2;
        }
    }
    until("all calls are booked", async || {
        (node.get("/admin/v1/stats").await["request_count"] == json!(calls)).then_some(())
    })
    .await;
    let said = look("check.mjs", &[&node.url(""), "admin", "correct horse battery"]).await;
    assert_eq!(said["problems"], json!([]), "{said:#}");
    assert!(said["paths"].as_array().unwrap().len() > 15, "{said}");
    let stats = node.get("/admin/v1/stats").await;
    for (shown, field) in [
        ("cost", "cost_nanousd"),
        ("tokens", "total_tokens"),
        ("requests", "request_count"),
        ("errors", "error_count"),
    ] {
        assert_eq!(said["totals"][shown], json!(stats[field].to_string()), "{field}");
    }
}
