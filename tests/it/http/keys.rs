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

#[tokio::test]
async fn a_reissued_key_works_beside_the_old_one_for_the_overlap_and_never_longer_than_that_would_have() {
    let plane = Plane::start().await;
    plane.post("/admin/v1/users", json!({"name": "alice"})).await.expect(201);
    let expiry = json!({"user": "alice", "name": "laptop", "expires_at": "2026-12-22T10:00:00Z"});
    let old = plane.post("/admin/v1/keys", expiry).await.expect(201);
    let reissue = |id: &Value, query: &str| {
        let path = format!("/admin/v1/keys/{}/reissue{query}", id.as_str().expect("an id"));
        let plane = &plane;
        async move { plane.post(&path, Value::Null).await }
    };
    plane.clock.advance(Duration::from_hours(29 * 24 + 12));
    let new = reissue(&old["id"], "?overlap_seconds=3600").await.expect(201);
    assert_eq!((&new["user"], &new["name"]), (&json!("alice"), &json!("laptop")));
    assert_eq!(new["expires_at"], "2027-01-20T22:00:00Z", "30 days, as the old one");
    assert_eq!(
        (&new["replaces"]["id"], &new["replaces"]["expires_at"]),
        (&old["id"], &json!("2026-12-21T23:00:00Z"))
    );
    let works =
        async |key: &Value| plane.call("GET", "/me", key["key"].as_str().expect("a key"), None).await.status;
    assert_eq!((works(&old).await, works(&new).await), (200, 200));
    plane.clock.advance(Duration::from_hours(1));
    assert_eq!((works(&old).await, works(&new).await), (401, 200));
    reissue(&old["id"], "").await.problem(409, "conflict");

    // A day, where the old one has not less to live, or not at all.
    plane.clock.advance(Duration::from_hours(30 * 24 - 2));
    let last = reissue(&new["id"], "").await.expect(201);
    assert_eq!(last["replaces"]["expires_at"], new["expires_at"], "its life is not extended");
    let at_once = reissue(&last["id"], "?overlap_seconds=0").await.expect(201);
    assert_eq!((works(&last).await, works(&at_once).await), (401, 200));
    reissue(&at_once["id"], "?overlap_seconds=2592001").await.problem(400, "invalid");
    reissue(&json!("nonsense"), "").await.problem(404, "not-found");

    let entry = &plane.get("/admin/v1/audit?limit=1").await;
    assert!(!entry.text.contains(at_once["key"].as_str().expect("a key")));
    let entry = entry.json()["items"][0].clone();
    assert_eq!((&entry["action"], &entry["after"]["new"]["id"]), (&json!("key.reissue"), &at_once["id"]));
}

#[tokio::test]
async fn users_reissue_their_own_keys_even_the_one_they_ask_with_and_nobody_elses() {
    let plane = Plane::start().await;
    let (alice, bob) = (plane.user_with_key("alice").await, plane.user_with_key("bob").await);
    let keys = plane.call("GET", "/me/keys", &alice, None).await.expect(200);
    let path = format!("/me/keys/{}/reissue", keys["items"][0]["id"].as_str().expect("an id"));
    plane.call("POST", &path, &bob, None).await.problem(404, "not-found");
    let new = plane.call("POST", &path, &alice, None).await.expect(201);
    assert_eq!(
        (&new["expires_at"], &new["replaces"]["expires_at"]),
        (&Value::Null, &json!("2026-11-23T10:00:00Z"))
    );
    for key in [&alice, new["key"].as_str().expect("a key")] {
        plane.call("GET", "/me", key, None).await.expect(200);
    }
    plane.clock.advance(Duration::from_hours(24));
    plane.call("GET", "/me", &alice, None).await.problem(401, "unauthenticated");
}
