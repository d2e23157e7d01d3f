//! Programs that are signed in by a person at a browser, in the words of RFC 8628.

use std::time::Duration;

use serde_json::{Value, json};
use sproxy::accounts::Actor;

use super::{Browser, later, user};
use crate::harness::{Mock, Setup};
use crate::http::{ADMIN_PASSWORD, Plane};

const INTERVAL: Duration = Duration::from_secs(5);
const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// A command line, as far as a server can tell.
struct Program {
    base: String,
    client: reqwest::Client,
}

impl Program {
    fn at(base: &str) -> Self {
        Self { base: base.to_owned(), client: reqwest::Client::new() }
    }

    async fn post(&self, path: &str, fields: &[(&str, &str)]) -> (u16, Value) {
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(fields);
        let request = self.client.post(format!("{}{path}", self.base)).body(body.finish());
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        assert_eq!(answer.headers()["cache-control"], "no-store");
        (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap())
    }

    /// Begins: the device code and the user code.
    async fn begin(&self, client: &str) -> (String, String) {
        let (status, begun) = self.post("/oauth/device_authorization", &[("client_id", client)]).await;
        assert_eq!(status, 200, "{begun}");
        let text = |name: &str| begun[name].as_str().unwrap().to_owned();
        let (code, page) = (text("user_code"), format!("{}/device", self.base));
        assert_eq!(text("verification_uri"), page);
        assert_eq!(text("verification_uri_complete"), format!("{page}?user_code={code}"));
        assert_eq!((&begun["expires_in"], &begun["interval"]), (&json!(600), &json!(5)));
        (text("device_code"), code)
    }

    async fn ask(&self, device_code: &str) -> (u16, Value) {
        self.post("/oauth/token", &[("grant_type", DEVICE), ("device_code", device_code)]).await
    }

    #[track_caller]
    fn is_refused((status, answer): &(u16, Value), expected: u16, error: &str) {
        assert_eq!((*status, answer["error"].as_str()), (expected, Some(error)), "{answer}");
        assert!(answer["error_description"].as_str().is_some_and(|text| !text.is_empty()), "{answer}");
    }

    async fn get(&self, path: &str, token: &str) -> (u16, String) {
        let answer = self.client.get(format!("{}{path}", self.base)).bearer_auth(token).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }
}

async fn decide(browser: &mut Browser, code: &str, decision: &str) -> super::Shown {
    browser.submit("/device", &[("user_code", code), ("decision", decision)]).await
}

#[tokio::test]
async fn a_program_is_signed_in_as_whoever_agrees() {
    let plane = Plane::start().await;
    user(&plane, "alice", "a long password").await;
    let program = Program::at(&plane.url);
    let (device_code, user_code) = program.begin("<script>alert(1)</script> command line").await;
    Program::is_refused(&program.ask(&device_code).await, 400, "authorization_pending");
    Program::is_refused(&program.ask(&device_code).await, 400, "slow_down");

    // By the address that the program has opened; a code alone agrees to nothing.
    let mut browser = Browser::at(&plane.url);
    let link = format!("/device?user_code={user_code}");
    let login = browser.get(&link).await.redirect().to_owned();
    assert_eq!(login, format!("/ui/login?next=%2Fdevice%3Fuser_code%3D{user_code}"));
    browser.sign_in("alice", "a long password").await.redirect();
    let page = browser.get(&link).await.page(200);
    assert!(page.contains(&user_code) && page.contains("command line"), "{page}");
    assert!(!page.contains("<script>alert"), "{page}");
    later(&plane, INTERVAL);
    Program::is_refused(&program.ask(&device_code).await, 400, "authorization_pending");
    let elsewhere = [("user_code", user_code.as_str()), ("decision", "approve")];
    browser.submit_with("/device", &elsewhere, &[("sec-fetch-site", "cross-site")]).await.page(403);
    decide(&mut browser, &user_code, "perhaps").await.page(400);
    later(&plane, INTERVAL);
    Program::is_refused(&program.ask(&device_code).await, 400, "authorization_pending");

    let page = decide(&mut browser, &user_code.to_lowercase().replace('-', " "), "approve").await.page(200);
    assert!(page.contains("signed in as alice"), "{page}");
    let (status, session) = program.ask(&device_code).await;
    assert_eq!((status, session["token_type"].as_str()), (200, Some("Bearer")), "{session}");
    let (status, me) = program.get("/me", session["access_token"].as_str().unwrap()).await;
    assert!(status == 200 && me.contains("\"alice\""), "{me}");

    // Each code once.
    Program::is_refused(&program.ask(&device_code).await, 400, "expired_token");
    let page = decide(&mut browser, &user_code, "approve").await.page(400);
    assert!(page.contains("no program waits with this code"), "{page}");

    let refresh = session["refresh_token"].as_str().unwrap();
    let grant = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
    let (status, next) = program.post("/oauth/token", &grant).await;
    assert_eq!(status, 200, "{next}");
    Program::is_refused(&program.post("/oauth/token", &grant).await, 401, "invalid_grant");
    let next = next["refresh_token"].as_str().unwrap();
    let grant = [("grant_type", "refresh_token"), ("refresh_token", next)];
    Program::is_refused(&program.post("/oauth/token", &grant).await, 401, "invalid_grant");

    let audit = plane.get("/admin/v1/audit").await.expect(200);
    let entry = &audit["items"][0];
    assert_eq!(
        (&entry["action"], &entry["actor"]),
        (&json!("device.approve"), &json!("user alice")),
        "{audit}"
    );
}

#[tokio::test]
async fn it_is_not_if_somebody_refuses_or_nobody_answers_or_all_is_revoked_meanwhile() {
    let plane = Plane::start().await;
    let program = Program::at(&plane.url);
    let mut browser = Browser::of(&plane.url, "admin", ADMIN_PASSWORD).await;
    let (device_code, user_code) = program.begin("one").await;
    assert!(decide(&mut browser, &user_code, "deny").await.page(200).contains("Refused"));
    Program::is_refused(&program.ask(&device_code).await, 400, "access_denied");
    Program::is_refused(&program.ask(&device_code).await, 400, "expired_token");

    let (device_code, user_code) = program.begin("two").await;
    later(&plane, Duration::from_mins(10));
    decide(&mut browser, &user_code, "approve").await.page(400);
    Program::is_refused(&program.ask(&device_code).await, 400, "expired_token");
    plane.accounts.maintain().await.unwrap();

    let (device_code, user_code) = program.begin("three").await;
    decide(&mut browser, &user_code, "approve").await.page(200);
    later(&plane, Duration::from_secs(1));
    plane.accounts.revoke_sessions(&Actor::system(), "admin").await.unwrap();
    Program::is_refused(&program.ask(&device_code).await, 400, "access_denied");

    for nonsense in ["", "unknown", &"x".repeat(100_000)] {
        let answer = program.ask(nonsense).await;
        assert!(answer.0 == 400, "{answer:?}");
    }
}

#[tokio::test]
async fn nobody_guesses_codes_and_nobody_takes_all_of_them() {
    let plane = Plane::start().await;
    user(&plane, "mallory", "a long password").await;
    let program = Program::at(&plane.url);
    let (_, user_code) = program.begin("one").await;
    let mut mallory = Browser::of(&plane.url, "mallory", "a long password").await;
    for _ in 0..5 {
        mallory.get("/device?user_code=BCDF-GHJK").await.page(400);
    }
    let page = mallory.get(&format!("/device?user_code={user_code}")).await.page(429);
    assert!(page.contains("too many wrong codes"), "{page}");
    let mut admin = Browser::of(&plane.url, "admin", ADMIN_PASSWORD).await;
    admin.get(&format!("/device?user_code={user_code}")).await.page(200);

    for _ in 1..50 {
        program.begin("more").await;
    }
    let refused = program.post("/oauth/device_authorization", &[("client_id", "more")]).await;
    Program::is_refused(&refused, 429, "temporarily_unavailable");
    later(&plane, Duration::from_mins(10));
    program.begin("more").await;
}

#[tokio::test]
async fn what_is_wrong_is_said_in_the_words_of_oauth() {
    let plane = Plane::start().await;
    let program = Program::at(&plane.url);
    for (fields, status, error) in [
        (vec![], 400, "invalid_request"),
        (vec![("grant_type", "password")], 400, "unsupported_grant_type"),
        (vec![("grant_type", DEVICE)], 400, "invalid_request"),
        (vec![("grant_type", DEVICE), ("device_code", "a"), ("device_code", "b")], 400, "invalid_request"),
        (vec![("grant_type", "refresh_token")], 400, "invalid_request"),
        (vec![("grant_type", "refresh_token"), ("refresh_token", "nonsense")], 401, "invalid_grant"),
    ] {
        Program::is_refused(&program.post("/oauth/token", &fields).await, status, error);
    }
}

/// What Claude Code asks for before it signs in, and what it sends afterwards; at a follower, which has no session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_signs_programs_in_through_its_leader() {
    let mock = Mock::start().await;
    let leader = Setup::with_targets_at(&mock.url()).start().await;
    leader.user_with_key("alice").await;
    leader.post("/admin/v1/users/alice/password", json!({"password": "a long password"})).await;
    let follower = crate::cluster::follower(&mock, &leader, "sp-2").await;
    let base = follower.url("");
    let program = Program::at(&base);
    let metadata = program.client.get(format!("{base}/.well-known/oauth-authorization-server"));
    let metadata: Value = metadata.send().await.unwrap().json().await.unwrap();
    assert_eq!(metadata["issuer"], json!(base));
    assert_eq!(
        metadata["device_authorization_endpoint"],
        json!(format!("{base}/oauth/device_authorization"))
    );
    assert_eq!(metadata["token_endpoint"], json!(format!("{base}/oauth/token")));
    let (device_code, user_code) = program.begin("claude-code").await;
    let mut browser = Browser::of(&base, "alice", "a long password").await;
    decide(&mut browser, &user_code, "approve").await.page(200);
    let (status, session) = program.ask(&device_code).await;
    assert_eq!(status, 200, "{session}");
    let token = session["access_token"].as_str().unwrap();
    let me = program.get("/me", token).await;
    assert!(me.0 == 200 && me.1.contains("\"alice\""), "{me:?}");

    let policy = program.get("/managed/settings", token).await;
    assert_eq!(policy.0, 404, "{policy:?}");
    for path in ["/v1/metrics", "/v1/logs", "/v1/traces"] {
        let send = |token: &str, body: Vec<u8>| {
            let request = program.client.post(format!("{base}{path}")).bearer_auth(token);
            request.header("content-type", "application/x-protobuf").body(body).send()
        };
        let accepted = send(token, vec![7; 100_000]).await.unwrap();
        assert_eq!(
            (accepted.status(), accepted.headers()["content-type"].to_str().unwrap()),
            (reqwest::StatusCode::OK, "application/x-protobuf")
        );
        assert_eq!(accepted.bytes().await.unwrap().len(), 0);
        assert_eq!(send("nonsense", Vec::new()).await.unwrap().status(), reqwest::StatusCode::UNAUTHORIZED);
    }
}
