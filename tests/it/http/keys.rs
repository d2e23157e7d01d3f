//! API keys.

use std::time::Duration;

use serde_json::{Value, json};

use super::Plane;

#[tokio::test]
async fn a_key_is_shown_once_listed_by_prefix_and_refused_when_revoked() {
    let plane = Plane::start().await;
    plane.post("/admin/v1/users", json!({"name": "alice"})).await.expect(201);
    let created = plane.post("/admin/v1/keys", json!({"user": "alice", "name": "laptop"})).await.expect(201);
    let text = created["key"].as_str().expect("a key");
    assert!(text.starts_with(created["prefix"].as_str().expect("a prefix")) && text.starts_with("sk-sp-"));
    plane.call("GET", "/me", text, None).await.expect(200);
    let list = plane.get("/admin/v1/keys?user=alice").await;
    assert!(!list.text.contains(text));
    let list = list.expect(200);
    assert_eq!((&list["items"][0]["user"], &list["items"][0]["name"]), (&json!("alice"), &json!("laptop")));
    let path = format!("/admin/v1/keys/{}", created["id"].as_str().expect("an id"));
    plane.delete(&path).await.expect(204);
    plane.call("GET", "/me", text, None).await.problem(401, "unauthenticated");
    plane.delete(&path).await.problem(404, "not-found");
    plane.delete("/admin/v1/keys/nonsense").await.problem(404, "not-found");
}

#[tokio::test]
async fn users_keep_their_own_keys_and_cannot_touch_those_of_others() {
    let plane = Plane::start().await;
    let (alice, bob) = (plane.user_with_key("alice").await, plane.user_with_key("bob").await);
    let second = plane.call("POST", "/me/keys", &alice, Some(json!({"name": "second"}))).await.expect(201);
    let mine = plane.call("GET", "/me/keys", &alice, None).await.expect(200);
    assert_eq!(mine["items"].as_array().expect("rows").len(), 2);
    let path = format!("/me/keys/{}", second["id"].as_str().expect("an id"));
    plane.call("DELETE", &path, &bob, None).await.problem(404, "not-found");
    plane.call("DELETE", &path, &alice, None).await.expect(204);
    let text = second["key"].as_str().expect("a key");
    plane.call("GET", "/me", text, None).await.problem(401, "unauthenticated");
    plane.call("GET", "/me/keys", &plane.admin, None).await.problem(403, "forbidden");
}

#[tokio::test]
async fn a_key_expires_at_its_moment_and_its_last_use_is_shown() {
    let plane = Plane::start().await;
    plane.post("/admin/v1/users", json!({"name": "alice"})).await.expect(201);
    let past = json!({"user": "alice", "expires_at": "2026-11-22T09:00:00Z"});
    plane.post("/admin/v1/keys", past).await.problem(400, "invalid");
    let new = json!({"user": "alice", "expires_at": "2026-11-22T11:00:00+00:00"});
    let key = plane.post("/admin/v1/keys", new).await.expect(201);
    let text = key["key"].as_str().expect("a key");
    let last_use = async || {
        plane.accounts.maintain().await.expect("tidied");
        plane.get("/admin/v1/keys").await.expect(200)["items"][0]["last_used_at"].clone()
    };
    assert_eq!(last_use().await, Value::Null);
    plane.call("GET", "/me", text, None).await.expect(200);
    assert_eq!(last_use().await, "2026-11-22T10:00:00Z");
    plane.clock.advance(Duration::from_mins(59));
    plane.call("GET", "/me", text, None).await.expect(200);
    assert_eq!(last_use().await, "2026-11-22T10:59:00Z");
    plane.clock.advance(Duration::from_mins(1));
    plane.call("GET", "/me", text, None).await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn keys_and_people_are_the_same_after_a_restart() {
    let plane = Plane::start().await;
    let key = plane.user_with_key("alice").await;
    let admin = plane.admin.clone();
    plane.store.close().await;
    let plane = Plane::start_in(plane.dir, "2026-11-22T10:00:01Z").await;
    assert_eq!(plane.call("GET", "/me", &key, None).await.expect(200)["name"], "alice");
    assert_eq!(plane.admin, admin, "the local admin token is kept");
    let names: Vec<_> =
        plane.get("/admin/v1/users").await.expect(200)["items"].as_array().expect("rows").clone();
    assert_eq!(names.len(), 2, "no second admin");
}
