//! SCIM at nodes that are processes: through followers, and as a tester of others sees it.

use reqwest::{Method, Response};
use serde_json::{Value, json};

use super::{ask, follower, leader, leader_setup};
use crate::harness::{Mock, Node, python_with, run_script, until};

const TOKEN: &str = "canary-scim-token-0123456789abcdef0123";

async fn provisioning_leader(mock: &Mock) -> Node {
    let setup = leader_setup(mock).env("SCIM_TOKEN", TOKEN);
    setup.section("auth.scim", "token_env = \"SCIM_TOKEN\"").start().await
}

async fn scim(node: &Node, method: Method, path: &str, body: &Value) -> Response {
    let request = node.http.request(method, node.url(&format!("/scim/v2{path}"))).bearer_auth(TOKEN);
    let content_type = "application/scim+json";
    request.header("content-type", content_type).body(body.to_string()).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whom_the_directory_disables_is_refused_by_every_node_at_once() {
    let mock = Mock::start().await;
    let mut one = provisioning_leader(&mock).await;
    let two = follower(&mock, &one, "sp-2").await;
    // The follower, which knows no token, passes on what the directory says.
    let made = scim(&two, Method::POST, "/Users", &json!({"userName": "alice@example.com"})).await;
    assert_eq!(made.status(), 201);
    let user: Value = made.json().await.unwrap();
    let id = user["id"].as_str().unwrap();
    assert_eq!(user["meta"]["location"], two.url(&format!("/scim/v2/Users/{id}")));
    let key = one.key_of("alice@example.com").await;
    until("the key holds", async || (ask(&two, &key).await.status == 200).then_some(())).await;
    let off = json!({"Operations": [{"op": "Replace", "path": "active", "value": "False"}]});
    assert_eq!(scim(&two, Method::PATCH, &format!("/Users/{id}"), &off).await.status(), 200);
    assert_eq!(ask(&one, &key).await.status, 403);
    until("the follower refuses, too", async || (ask(&two, &key).await.status == 403).then_some(())).await;

    let wrong = two.http.get(two.url("/scim/v2/Users")).bearer_auth(&TOKEN[1..]).send().await.unwrap();
    assert_eq!(wrong.status(), 401);
    let on_another_plane = two.http.get(two.url("/v1/models")).bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(on_another_plane.status(), 401);
    one.kill().await;
    let away = scim(&two, Method::GET, "/Users", &Value::Null).await;
    assert_eq!(away.status(), 503);
    assert_eq!(away.headers()["content-type"], "application/scim+json");
    for (node, log) in [("the leader", one.log()), ("the follower", two.log())] {
        assert!(!log.contains(&TOKEN[1..]), "{node} tells the token");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_token_there_is_nothing() {
    let mock = Mock::start().await;
    let node = leader(&mock).await;
    for (method, path) in
        [(Method::GET, "/ServiceProviderConfig"), (Method::POST, "/Users"), (Method::PUT, "/Users")]
    {
        assert_eq!(scim(&node, method, path, &json!({"userName": "x"})).await.status(), 404, "{path}");
    }
    let as_admin = node.call(Method::GET, "/scim/v2/Users", None).await;
    assert_eq!(as_admin.status(), 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tester_of_others_finds_no_fault() {
    let Some(python) = python_with("scim2_tester, httpx2").await else { return };
    let mock = Mock::start().await;
    let node = provisioning_leader(&mock).await;
    let found = run_script(&python, "scim.py", &[&node.url(""), TOKEN]).await;
    assert_eq!(found["failed"], json!([]), "{found:#}");
    let passed = found["passed"].as_array().unwrap();
    assert!(passed.len() > 40, "{found:#}");
    // Resources of several kinds are not searched at once, which is answered with 501.
    let skipped: Vec<_> =
        found["skipped"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    let is_search = |text: &&str| text.starts_with("search_with_attributes ");
    assert!(skipped.len() <= 2 && skipped.iter().all(is_search), "{skipped:?}");
}
