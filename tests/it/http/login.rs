//! Sessions: passwords, access tokens, refresh tokens.

use std::time::Duration;

use serde_json::{Value, json};

use super::{ADMIN_PASSWORD, Plane};

fn text<'a>(session: &'a Value, field: &str) -> &'a str {
    session[field].as_str().expect("a text")
}

async fn refresh(plane: &Plane, session: &Value) -> super::Got {
    let body = json!({"refresh_token": session["refresh_token"]});
    plane.call("POST", "/auth/refresh", "", Some(body)).await
}

#[tokio::test]
async fn a_login_gives_an_access_token_that_holds_for_an_hour() {
    let plane = Plane::start().await;
    let session = plane.login("admin", ADMIN_PASSWORD).await.expect(200);
    assert_eq!((&session["token_type"], &session["expires_in"]), (&json!("Bearer"), &json!(3600)));
    let access = text(&session, "access_token");
    let me = plane.call("GET", "/me", access, None).await.expect(200);
    assert_eq!(
        (&me["name"], &me["credential"], &me["role"]),
        (&json!("admin"), &json!("access_token"), &json!("admin"))
    );
    assert_eq!(plane.get("/admin/v1/users/admin").await.expect(200)["last_login_at"], "2026-11-22T10:00:00Z");
    plane.clock.advance(Duration::from_hours(1));
    plane.call("GET", "/me", access, None).await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn unknown_users_users_without_password_and_wrong_passwords_get_the_same_answer() {
    let plane = Plane::start().await;
    plane.post("/admin/v1/users", json!({"name": "keys-only"})).await.expect(201);
    let mut answers = Vec::new();
    for name in ["admin", "nobody", "keys-only", "", "a/b"] {
        answers.push(plane.login(name, "wrong password").await.problem(401, "unauthenticated"));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
}

#[tokio::test]
async fn a_refresh_token_is_good_for_one_use_and_a_second_use_ends_the_session() {
    let plane = Plane::start().await;
    let first = plane.login("admin", ADMIN_PASSWORD).await.expect(200);
    let other = plane.login("admin", ADMIN_PASSWORD).await.expect(200);
    let second = refresh(&plane, &first).await.expect(200);
    let third = refresh(&plane, &second).await.expect(200);
    plane.call("GET", "/me", text(&third, "access_token"), None).await.expect(200);
    refresh(&plane, &first).await.problem(401, "unauthenticated");
    refresh(&plane, &third).await.problem(401, "unauthenticated");
    plane.call("GET", "/me", text(&third, "access_token"), None).await.problem(401, "unauthenticated");
    refresh(&plane, &other).await.expect(200);
}

#[tokio::test]
async fn of_many_uses_of_a_refresh_token_at_once_at_most_one_succeeds() {
    let plane = Plane::start().await;
    let session = plane.login("admin", ADMIN_PASSWORD).await.expect(200);
    let all = futures_util::future::join_all((0..20).map(|_| refresh(&plane, &session))).await;
    let (good, late): (Vec<_>, Vec<_>) = all.into_iter().partition(|answer| answer.status == 200);
    assert_eq!((good.len(), late.len()), (1, 19));
    for answer in late {
        answer.problem(401, "unauthenticated");
    }
    // Someone has used it who should not have it, and nobody knows who was first: the session is over for both.
    for next in good {
        let next = next.expect(200);
        refresh(&plane, &next).await.problem(401, "unauthenticated");
        plane.call("GET", "/me", text(&next, "access_token"), None).await.problem(401, "unauthenticated");
    }
}

#[tokio::test]
async fn a_login_with_the_old_password_does_not_outlive_the_change_that_it_overlaps() {
    let plane = Plane::start().await;
    plane
        .post("/admin/v1/users", json!({"name": "alice", "password": "password 0 of many"}))
        .await
        .expect(201);
    for turn in 0..6 {
        let old = format!("password {turn} of many");
        let change = json!({"password": format!("password {} of many", turn + 1)});
        let (login, changed) =
            tokio::join!(plane.login("alice", &old), plane.post("/admin/v1/users/alice/password", change));
        changed.expect(204);
        if login.status == 200 {
            let session = login.expect(200);
            refresh(&plane, &session).await.problem(401, "unauthenticated");
            plane
                .call("GET", "/me", text(&session, "access_token"), None)
                .await
                .problem(401, "unauthenticated");
        } else {
            login.problem(401, "unauthenticated");
        }
    }
}

#[tokio::test]
async fn logout_ends_one_session_and_revoke_ends_all_but_no_keys() {
    let plane = Plane::start().await;
    plane.post("/admin/v1/users", json!({"name": "alice", "password": "a long password"})).await.expect(201);
    let key = plane.key_of("alice").await;
    let (one, two) = (
        plane.login("alice", "a long password").await.expect(200),
        plane.login("alice", "a long password").await.expect(200),
    );
    let logout = json!({"refresh_token": one["refresh_token"]});
    plane.call("POST", "/auth/logout", "", Some(logout.clone())).await.expect(204);
    plane.call("POST", "/auth/logout", "", Some(logout)).await.expect(204);
    plane.call("GET", "/me", text(&one, "access_token"), None).await.problem(401, "unauthenticated");
    plane.call("GET", "/me", text(&two, "access_token"), None).await.expect(200);
    let revoked = plane.post("/admin/v1/users/alice/revoke", Value::Null).await.expect(200);
    assert_eq!(revoked["sessions_ended"], 1);
    plane.call("GET", "/me", text(&two, "access_token"), None).await.problem(401, "unauthenticated");
    refresh(&plane, &two).await.problem(401, "unauthenticated");
    plane.call("GET", "/me", &key, None).await.expect(200);
    let again = plane.login("alice", "a long password").await.expect(200);
    plane.call("GET", "/me", text(&again, "access_token"), None).await.expect(200);
}

#[tokio::test]
async fn a_new_password_and_a_disabled_user_end_every_session() {
    let plane = Plane::start().await;
    plane.post("/admin/v1/users", json!({"name": "alice", "password": "a long password"})).await.expect(201);
    let session = plane.login("alice", "a long password").await.expect(200);
    plane.post("/admin/v1/users/alice/password", json!({"password": "another password"})).await.expect(204);
    plane.call("GET", "/me", text(&session, "access_token"), None).await.problem(401, "unauthenticated");
    plane.login("alice", "a long password").await.problem(401, "unauthenticated");
    let session = plane.login("alice", "another password").await.expect(200);
    plane.patch("/admin/v1/users/alice", json!({"active": false})).await.expect(200);
    plane.call("GET", "/me", text(&session, "access_token"), None).await.problem(403, "forbidden");
    plane.login("alice", "another password").await.problem(403, "forbidden");
    plane.patch("/admin/v1/users/alice", json!({"active": true})).await.expect(200);
    plane.call("GET", "/me", text(&session, "access_token"), None).await.problem(401, "unauthenticated");
    refresh(&plane, &session).await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn refresh_tokens_expire_and_are_removed() {
    let plane = Plane::start().await;
    let session = plane.login("admin", ADMIN_PASSWORD).await.expect(200);
    plane.clock.advance(Duration::from_hours(24));
    plane.accounts.maintain().await.expect("tidied");
    refresh(&plane, &session).await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn access_tokens_hold_over_a_restart_and_ended_sessions_stay_ended() {
    let plane = Plane::start().await;
    let session = plane.login("admin", ADMIN_PASSWORD).await.expect(200);
    let session = refresh(&plane, &session).await.expect(200);
    let ended = plane.login("admin", ADMIN_PASSWORD).await.expect(200);
    let logout = json!({"refresh_token": ended["refresh_token"]});
    plane.call("POST", "/auth/logout", "", Some(logout)).await.expect(204);
    plane.store.close().await;
    let plane = Plane::start_in(plane.dir, "2026-11-22T10:30:00Z").await;
    plane.call("GET", "/me", text(&session, "access_token"), None).await.expect(200);
    plane.call("GET", "/me", text(&ended, "access_token"), None).await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn guessing_is_slowed_down_but_nobody_else_behind_the_address_is_shut_out() {
    let plane = Plane::start().await;
    plane.post("/admin/v1/users", json!({"name": "alice", "password": "a long password"})).await.expect(201);
    for _ in 0..5 {
        plane.login("alice", "a wrong guess").await.problem(401, "unauthenticated");
    }
    let slowed = plane.login("alice", "a long password").await;
    assert_eq!(slowed.headers["retry-after"], "1");
    slowed.problem(429, "rate-limited");
    plane.login("admin", ADMIN_PASSWORD).await.expect(200);
    plane.clock.advance(Duration::from_secs(1));
    plane.login("alice", "a long password").await.expect(200);
}

#[tokio::test]
async fn a_thousand_wrong_logins_at_once_are_answered_and_the_right_one_gets_in_after_them() {
    let plane = Plane::start().await;
    let guesses =
        (0..1_000).map(|number| plane.login(if number % 2 == 0 { "admin" } else { "nobody" }, "wrong guess"));
    let answers = futures_util::future::join_all(guesses).await;
    assert!(answers.iter().all(|answer| [401, 429, 503].contains(&answer.status)));
    assert!(answers.iter().filter(|a| a.status != 401).all(|a| a.headers.contains_key("retry-after")));
    plane.clock.advance(Duration::from_mins(10));
    plane.login("admin", ADMIN_PASSWORD).await.expect(200);
}
