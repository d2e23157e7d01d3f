//! Users and groups.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Plane;

#[tokio::test]
async fn a_user_is_created_shown_changed_and_removed_by_id_or_name() {
    let plane = Plane::start().await;
    let group = plane.post("/admin/v1/groups", json!({"name": "research", "rpm": 60})).await.expect(201);
    let new = json!({"name": "alice", "group": "research", "daily_tokens": 1000, "monthly_usd": 12.5});
    let user = plane.post("/admin/v1/users", new).await.expect(201);
    assert_eq!(user["group"], "research");
    assert_eq!(user["group_id"], group["id"]);
    assert_eq!(
        (&user["daily_tokens"], &user["monthly_usd"], &user["rpm"]),
        (&json!(1000), &json!(12.5), &Value::Null)
    );
    assert_eq!(
        (&user["role"], &user["active"], &user["has_password"]),
        (&json!("user"), &json!(true), &json!(false))
    );
    let by_id =
        plane.get(&format!("/admin/v1/users/{}", user["id"].as_str().expect("an id"))).await.expect(200);
    assert_eq!(by_id, user);
    plane.post("/admin/v1/users", json!({"name": "alice"})).await.problem(409, "conflict");
    let changed =
        plane.patch("/admin/v1/users/alice", json!({"name": "alice.b", "group": null, "monthly_usd": null}));
    let changed = changed.await.expect(200);
    assert_eq!((&changed["group"], &changed["monthly_usd"]), (&Value::Null, &Value::Null));
    assert_eq!(changed["daily_tokens"], 1000, "what is absent stays");
    plane.get("/admin/v1/users/alice").await.problem(404, "not-found");
    plane.key_of("alice.b").await;
    let removed = plane.delete("/admin/v1/users/alice.b").await.expect(200);
    assert_eq!((&removed["keys_revoked"], &removed["usage_kept"]), (&json!(1), &json!(true)));
    plane.get("/admin/v1/users/alice.b").await.problem(404, "not-found");
}

#[tokio::test]
async fn an_unknown_field_a_bad_name_and_a_bad_limit_are_refused_with_the_reason() {
    let plane = Plane::start().await;
    let refused = async |body: Value| {
        let problem = plane.post("/admin/v1/users", body).await.problem(400, "invalid");
        problem["detail"].as_str().expect("a detail").to_owned()
    };
    assert!(refused(json!({"name": "x", "daily_token": 5})).await.contains("daily_token"));
    assert!(refused(json!({"name": ""})).await.contains("name"));
    assert!(refused(json!({"name": "a/b"})).await.contains("slashes"));
    assert!(refused(json!({"name": "a\u{0}b"})).await.contains("control"));
    assert!(refused(json!({"name": "0191d5a0-0000-7000-8000-000000000000"})).await.contains("id"));
    assert!(refused(json!({"name": "x", "rpm": -1})).await.contains("expected u32"));
    assert!(refused(json!({"name": "x", "monthly_usd": -0.5})).await.contains("monthly_usd"));
    assert!(refused(json!({"name": "x", "models": ["[a"]})).await.contains("models"));
    assert!(refused(json!({"name": "x", "password": "short"})).await.contains("password"));
    assert!(refused(json!({"name": "x", "group": "none"})).await.contains("no group none"));
    assert!(refused(json!(["x"])).await.contains("object"));
    plane.get("/admin/v1/users/x").await.problem(404, "not-found");
}

#[tokio::test]
async fn a_disabled_user_is_refused_from_the_next_request_and_let_in_again_when_enabled() {
    let plane = Plane::start().await;
    let key = plane.user_with_key("alice").await;
    plane.call("GET", "/me", &key, None).await.expect(200);
    plane.patch("/admin/v1/users/alice", json!({"active": false})).await.expect(200);
    plane.call("GET", "/me", &key, None).await.problem(403, "forbidden");
    plane.patch("/admin/v1/users/alice", json!({"active": true})).await.expect(200);
    plane.call("GET", "/me", &key, None).await.expect(200);
}

#[tokio::test]
async fn users_cannot_administer_and_strangers_cannot_do_anything() {
    let plane = Plane::start().await;
    let key = plane.user_with_key("alice").await;
    for path in
        ["/admin/v1/users", "/admin/v1/usage", "/admin/v1/stats", "/admin/v1/audit", "/admin/v1/backup"]
    {
        plane.call("GET", path, &key, None).await.problem(403, "forbidden");
        let answer = plane.call("GET", path, "", None).await;
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
        answer.problem(401, "unauthenticated");
        plane.call("GET", path, "sk-sp-nonsense", None).await.problem(401, "unauthenticated");
    }
}

#[tokio::test]
async fn the_last_admin_can_be_neither_disabled_nor_removed_nor_demoted() {
    let plane = Plane::start().await;
    plane.patch("/admin/v1/users/admin", json!({"active": false})).await.problem(409, "conflict");
    plane.patch("/admin/v1/users/admin", json!({"role": "user"})).await.problem(409, "conflict");
    plane.delete("/admin/v1/users/admin").await.problem(409, "conflict");
    plane.post("/admin/v1/users", json!({"name": "second", "role": "admin"})).await.expect(201);
    plane.delete("/admin/v1/users/admin").await.expect(200);
}

#[tokio::test]
async fn a_group_with_members_is_removed_only_by_force_and_they_are_in_none_then() {
    let plane = Plane::start().await;
    plane.post("/admin/v1/groups", json!({"name": "research", "daily_tokens": 0})).await.expect(201);
    plane.post("/admin/v1/users", json!({"name": "alice", "group": "research"})).await.expect(201);
    let key = plane.key_of("alice").await;
    let me = plane.call("GET", "/me", &key, None).await.expect(200);
    assert_eq!((&me["group"], &me["group_limits"]["daily_tokens"]), (&json!("research"), &json!(0)));
    let changed =
        plane.patch("/admin/v1/groups/research", json!({"daily_tokens": null, "rpm": 5})).await.expect(200);
    assert_eq!((&changed["daily_tokens"], &changed["rpm"]), (&Value::Null, &json!(5)));
    let me = plane.call("GET", "/me", &key, None).await.expect(200);
    assert_eq!(me["group_limits"]["rpm"], 5, "from the next request on");
    plane.delete("/admin/v1/groups/research").await.problem(409, "conflict");
    let removed = plane.delete("/admin/v1/groups/research?force=true").await.expect(200);
    assert_eq!(removed["members_left"], 1);
    assert_eq!(plane.call("GET", "/me", &key, None).await.expect(200)["group"], Value::Null);
}

#[tokio::test]
async fn every_change_is_in_the_audit_log_with_what_was_and_what_is() {
    let plane = Plane::start().await;
    plane.post("/admin/v1/users", json!({"name": "root", "role": "admin"})).await.expect(201);
    let root = plane.key_of("root").await;
    plane.call("POST", "/admin/v1/groups", &root, Some(json!({"name": "g", "rpm": 1}))).await.expect(201);
    plane.call("PATCH", "/admin/v1/groups/g", &root, Some(json!({"rpm": 2}))).await.expect(200);
    plane.call("POST", "/admin/v1/groups", &root, Some(json!({"name": "g"}))).await.problem(409, "conflict");
    let audit = plane.get("/admin/v1/audit?limit=3").await.expect(200);
    let shown = |at: usize| {
        let entry = &audit["items"][at];
        (entry["actor"].clone(), entry["action"].clone(), entry["subject"].clone())
    };
    assert_eq!(shown(0), (json!("user root"), json!("group.change"), json!("group g")));
    assert_eq!(
        (&audit["items"][0]["before"], &audit["items"][0]["after"]),
        (&json!({"rpm": 1}), &json!({"rpm": 2}))
    );
    assert_eq!(shown(1), (json!("user root"), json!("group.create"), json!("group g")));
    assert_eq!(audit["items"][1]["before"], Value::Null);
    assert_eq!(shown(2).0, "local-admin");
    let all = plane.get("/admin/v1/audit").await.expect(200);
    let actions: Vec<_> =
        all["items"].as_array().expect("rows").iter().map(|row| row["action"].clone()).collect();
    assert_eq!(actions, ["group.change", "group.create", "key.create", "user.create", "user.create"]);
    assert_eq!(all["items"][4]["actor"], "system");
}

#[tokio::test]
async fn a_change_whose_caller_hangs_up_is_made_wholly_or_not_at_all() {
    let plane = Plane::start().await;
    let key = plane.user_with_key("alice").await;
    for round in 0..200_u64 {
        let change = plane.patch("/admin/v1/users/alice", json!({"active": round % 2 == 1}));
        let _ = tokio::time::timeout(Duration::from_micros(round * 25), change).await;
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let written = plane.get("/admin/v1/users/alice").await.expect(200)["active"] == json!(true);
            let let_in = plane.call("GET", "/me", &key, None).await.status == 200;
            if written == let_in {
                break;
            }
            assert!(
                Instant::now() < deadline,
                "round {round}: active in the database: {written}, let in: {let_in}"
            );
        }
    }
}
