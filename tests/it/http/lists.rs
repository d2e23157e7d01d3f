//! What all of the control plane has in common: pages, problems, the `OpenAPI` document.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::Plane;

#[tokio::test]
async fn pages_neither_repeat_nor_hide_rows_when_others_are_inserted_meanwhile() {
    let plane = Plane::start().await;
    for number in 0..7 {
        plane.post("/admin/v1/users", json!({"name": format!("user-{number}")})).await.expect(201);
        plane.clock.advance(Duration::from_micros(number % 2));
    }
    let (mut seen, mut path) = (Vec::new(), "/admin/v1/users?limit=3".to_owned());
    loop {
        let page = plane.get(&path).await.expect(200);
        seen.extend(page["items"].as_array().expect("rows").iter().map(|row| row["name"].clone()));
        plane.post("/admin/v1/users", json!({"name": format!("late-{}", seen.len())})).await.expect(201);
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/admin/v1/users?limit=3&cursor={cursor}"),
            None => break,
        }
    }
    let expected: Vec<_> =
        (0..7).rev().map(|number| json!(format!("user-{number}"))).chain([json!("admin")]).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn what_cannot_be_understood_is_a_problem_with_the_reason() {
    let plane = Plane::start().await;
    for query in ["limit=0", "limit=1001", "limit=x", "cursor=nonsense", "unknown=1", "limit=1&limit=2"] {
        plane.get(&format!("/admin/v1/groups?{query}")).await.problem(400, "invalid");
    }
    plane.get("/admin/v1/usage?from=yesterday").await.problem(400, "invalid");
    plane.get("/admin/v1/nothing").await.problem(404, "not-found");
    plane.get("/admin/v1/users/%FF").await.problem(400, "invalid");
    let wrong_method = plane.call("PUT", "/admin/v1/users", &plane.admin, None).await;
    assert!(wrong_method.headers.contains_key("allow"));
    wrong_method.problem(405, "method-not-allowed");
    let large = json!({"name": "x".repeat(300_000)});
    plane.post("/admin/v1/users", large).await.problem(413, "too-large");
    plane.post("/admin/v1/users", json!([])).await.problem(400, "invalid");
}

#[tokio::test]
async fn the_openapi_document_names_every_route_and_every_refusal_of_it() {
    let plane = Plane::start().await;
    let document = plane.call("GET", "/admin/v1/openapi.json", "", None).await.expect(200);
    let paths = document["paths"].as_object().expect("paths");
    assert!(document["openapi"].as_str().expect("a version").starts_with("3."));
    let mut operations = BTreeSet::new();
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().expect("methods") {
            operations.insert(operation["operationId"].to_string());
            if operation["security"] != json!([{}]) {
                for status in ["401", "403"] {
                    assert!(operation["responses"][status].is_object(), "{method} {path} lacks {status}");
                }
            }
        }
    }
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().expect("methods") {
            for (status, response) in operation["responses"].as_object().expect("responses") {
                let described = response["description"].as_str().is_some_and(|text| !text.is_empty());
                assert!(described, "{method} {path} {status}: OpenAPI asks for a description");
            }
            let said = operation["summary"].as_str().is_some_and(|text| !text.is_empty());
            assert!(said, "{method} {path} does not say what it does");
            let named = path.split(['{', '}']).skip(1).step_by(2);
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            for name in named {
                let known = parameters
                    .iter()
                    .any(|it| it["name"] == name && it["in"] == "path" && it["required"] == true);
                assert!(known, "{method} {path} does not describe {{{name}}}");
            }
        }
    }
    for path in [
        "/healthz",
        "/readyz",
        "/metrics",
        "/v1/messages",
        "/v1/chat/completions",
        "/v1/responses",
        "/v1/models",
    ] {
        assert!(paths.contains_key(path), "{path}");
    }
    assert_eq!(document["servers"][0]["url"], "/");
    assert!(operations.len() >= 38, "{} operations with names of their own", operations.len());
    let answer = &document["paths"]["/admin/v1/users"]["get"]["responses"]["401"]["content"];
    assert_eq!(answer["application/problem+json"]["schema"]["$ref"], "#/components/schemas/Problem");
}

#[tokio::test]
async fn a_backup_is_a_database_that_a_node_can_start_on() {
    let plane = Plane::start().await;
    let key = plane.user_with_key("alice").await;
    let url = format!("{}/admin/v1/backup", plane.url);
    let answer = reqwest::Client::new().get(url).bearer_auth(&plane.admin).send().await.expect("an answer");
    assert_eq!(answer.headers()["content-type"], "application/vnd.sqlite3");
    let bytes = answer.bytes().await.expect("a body");
    let elsewhere = tempfile::tempdir().expect("a directory");
    std::fs::write(elsewhere.path().join("sproxy.db"), bytes).expect("written");
    let restored = Plane::start_in(elsewhere, super::START).await;
    restored.call("GET", "/me", &key, None).await.expect(200);
    let left = std::fs::read_dir(plane.dir.path()).expect("a directory").filter_map(Result::ok);
    assert!(left.into_iter().all(|entry| !entry.file_name().to_string_lossy().starts_with("backup-")));
}

#[tokio::test]
async fn targets_and_peers_that_do_not_exist_cannot_be_drained() {
    let plane = Plane::start().await;
    assert_eq!(plane.get("/admin/v1/targets").await.expect(200), json!({"items": [], "next_cursor": null}));
    assert_eq!(plane.get("/admin/v1/peers").await.expect(200), json!({"items": [], "next_cursor": null}));
    plane.post("/admin/v1/targets/none/drain", Value::Null).await.problem(404, "not-found");
    plane.post("/admin/v1/peers/sp-9/drain", Value::Null).await.problem(404, "not-found");
    plane.delete("/admin/v1/peers/sp-9").await.problem(404, "not-found");
}
