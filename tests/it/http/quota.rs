//! Limits as their owner sees them, and what becomes of them when a node starts again.

use serde_json::{Value, json};
use sproxy::domain::group::Limits;
use sproxy::quota::QuotaRequest;
use sproxy::store::UsageRepo;

use super::{Plane, usage::record};

const REQUEST: QuotaRequest<'static> = QuotaRequest::unambiguous("claude-sonnet-4-5", None);

#[tokio::test]
async fn quota_shows_limits_and_what_is_used_of_them_by_user_and_group() {
    let plane = Plane::start().await;
    plane.post("/admin/v1/groups", json!({"name": "research", "monthly_usd": 2.5})).await.expect(201);
    let alice = json!({"name": "alice", "group": "research", "daily_tokens": 100, "rpm": 5, "concurrent": 2});
    plane.post("/admin/v1/users", alice).await.expect(201);
    let key = plane.key_of("alice").await;
    let principal = plane.accounts.authenticate(&key, plane.now()).expect("known");
    let admission = plane.quota.admit(&principal, &REQUEST, plane.moment()).expect("admitted");
    let group = principal.group.as_ref().map(|(id, _)| *id);
    plane.quota.record(principal.user_id, group, 40, 1_250_000_000, plane.now());
    let quota = plane.call("GET", "/me/quota", &key, None).await.expect(200);
    let used =
        json!({"daily_tokens": 40, "monthly_tokens": 40, "monthly_usd": 1.25, "rpm": 1, "concurrent": 1});
    assert_eq!((&quota["user"]["name"], &quota["user"]["used"]), (&json!("alice"), &used));
    assert_eq!(quota["user"]["limits"]["daily_tokens"], 100);
    assert_eq!(
        (&quota["group"]["name"], &quota["group"]["limits"]["monthly_usd"]),
        (&json!("research"), &json!(2.5))
    );
    assert_eq!(quota["group"]["used"]["monthly_usd"], 1.25);
    assert_eq!(quota["user"]["day_resets_at"], "2026-11-23T00:00:00Z");
    assert_eq!(quota["user"]["month_resets_at"], "2026-12-01T00:00:00Z");
    drop(admission);
    let quota = plane.call("GET", "/me/quota", &key, None).await.expect(200);
    assert_eq!(quota["user"]["used"]["concurrent"], 0);
    let bob = plane.user_with_key("bob").await;
    assert_eq!(plane.call("GET", "/me/quota", &bob, None).await.expect(200)["group"], Value::Null);
}

#[tokio::test]
async fn a_changed_limit_holds_from_the_next_call() {
    let plane = Plane::start().await;
    let key = plane.user_with_key("alice").await;
    let admitted = || {
        let principal = plane.accounts.authenticate(&key, plane.now()).expect("known");
        plane.quota.admit(&principal, &REQUEST, plane.moment()).is_ok()
    };
    assert!(admitted());
    plane.patch("/admin/v1/users/alice", json!({"models": ["gpt-*"]})).await.expect(200);
    assert!(!admitted());
    plane.patch("/admin/v1/users/alice", json!({"models": null, "monthly_usd": 0})).await.expect(200);
    assert!(!admitted(), "0 is nothing");
    plane.patch("/admin/v1/users/alice", json!({"monthly_usd": null})).await.expect(200);
    assert!(admitted());
}

#[tokio::test]
async fn counters_are_exact_after_a_restart_and_across_the_turn_of_a_day_and_a_month() {
    let plane = Plane::start().await;
    let user = plane.post("/admin/v1/users", json!({"name": "alice", "daily_tokens": 11})).await.expect(201);
    let user = user["id"].as_str().expect("an id").parse().expect("an id");
    let key = plane.key_of("alice").await;
    let rows =
        [("2026-10-31T23:59:59.999999Z", 1_000), ("2026-11-01T00:00:00Z", 100), ("2026-11-22T09:59:59Z", 10)];
    let rows: Vec<_> = rows.iter().map(|(at, tokens)| record(user, at, "sp-1", *tokens)).collect();
    UsageRepo::on(&plane.store).insert_batch(&rows, true).await.expect("inserted");
    let mut dir = plane.dir;
    plane.store.close().await;
    for (now, daily, monthly) in [
        ("2026-11-22T23:59:59.999999Z", 11, 112),
        ("2026-11-23T00:00:00Z", 0, 112),
        ("2026-12-01T00:00:00Z", 0, 0),
    ] {
        let plane = Plane::start_in(dir, now).await;
        let mine = plane.call("GET", "/me/quota", &key, None).await.expect(200)["user"]["used"].clone();
        assert_eq!(
            (&mine["daily_tokens"], &mine["monthly_tokens"]),
            (&json!(daily), &json!(monthly)),
            "{now}"
        );
        let principal = plane.accounts.authenticate(&key, plane.now()).expect("known");
        assert_eq!(*principal.allowance.limits(), Limits { daily_tokens: Some(11), ..Limits::default() });
        assert_eq!(plane.quota.admit(&principal, &REQUEST, plane.moment()).is_ok(), daily < 11, "{now}");
        plane.store.close().await;
        dir = plane.dir;
    }
}
