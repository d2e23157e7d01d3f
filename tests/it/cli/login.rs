//! Signing in on a laptop: `login`, `token`, `logout`, and who refreshes a session when many ask at once.

use std::collections::{BTreeSet, VecDeque};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::person::{PASSWORD, Person};
use super::{node_and_mock, on};
use crate::harness::{Link, Mode, Node, until};
use crate::ui::Browser;

/// Whether a node takes a token, and whose it is.
pub async fn name_of(node: &Node, token: &str) -> Option<String> {
    let answer = node.http.get(node.url("/me")).bearer_auth(token.trim()).send().await.expect("an answer");
    let answer = answer.error_for_status().ok()?;
    Some(answer.json::<Value>().await.expect("JSON")["name"].as_str().expect("a name").to_owned())
}

#[tokio::test]
async fn who_has_signed_in_has_a_token_until_they_sign_out() {
    let (node, _mock) = node_and_mock().await;
    let alice = Person::known_to(&node, "alice").await;
    for arguments in [&["token"][..], &["logout"]] {
        let refused = alice.run(arguments).await;
        assert_eq!(refused.out, "");
        assert!(refused.refused(1).contains("sproxy login --server URL"));
    }
    let server = node.url("");
    let said = alice.sign_in(&format!("{server}/"), "alice").await.done();
    assert_eq!(said.trim(), format!("signed in to {server} as alice"));
    let mode = |path: &std::path::Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&alice.session_file()), 0o600);
    assert_eq!(mode(alice.session_file().parent().expect("a directory")), 0o700);

    let token = alice.run(&["token"]).await.done();
    assert_eq!(token.lines().count(), 1, "{token}");
    assert_eq!(name_of(&node, &token).await.as_deref(), Some("alice"));
    assert_eq!(alice.run(&["token", "--server", &server]).await.done(), token, "it lives for an hour");
    let elsewhere = alice.run(&["token", "--server", "http://sp-9:9000"]).await;
    assert_eq!(elsewhere.out, "");
    assert!(elsewhere.refused(1).contains("sproxy login --server http://sp-9:9000"));

    alice.run(&["logout"]).await.done();
    assert_eq!(name_of(&node, &token).await, None, "the session is over");
    let refused = alice.run(&["token"]).await;
    assert_eq!((refused.out.as_str(), refused.code), ("", Some(1)));
    assert!(refused.err.contains(&format!("sproxy login --server {server}")), "{}", refused.err);
}

#[tokio::test]
async fn a_wrong_password_signs_nobody_in_and_is_not_repeated() {
    let (node, _mock) = node_and_mock().await;
    let alice = Person::known_to(&node, "alice").await;
    let server = node.url("");
    let arguments = ["login", "--server", &server, "--user", "alice", "--password-stdin"];
    let refused = alice.run_with_input(&arguments, "wrong password\n").await.refused(1);
    assert!(!refused.contains("wrong password\n") && refused.lines().count() == 1, "{refused}");
    alice.run(&["token"]).await.refused(1);
    let refused = alice.run(&["login"]).await.refused(64);
    assert!(refused.contains("--server"), "{refused}");
}

#[tokio::test]
async fn to_sign_in_again_ends_the_session_before() {
    let (node, _mock) = node_and_mock().await;
    let alice = Person::signed_in(&node, "alice").await;
    let before = alice.run(&["token"]).await.done();
    alice.sign_in(&node.url(""), "alice").await.done();
    let after = alice.run(&["token"]).await.done();
    assert_eq!(name_of(&node, &before).await, None);
    assert_eq!(name_of(&node, &after).await.as_deref(), Some("alice"));
}

#[tokio::test]
async fn many_who_ask_at_once_get_the_same_new_token() {
    let (node, _mock) = node_and_mock().await;
    let alice = Person::signed_in(&node, "alice").await;
    let mut tokens = BTreeSet::new();
    for _ in 0..20 {
        alice.let_token_expire();
        let (one, two) = tokio::join!(alice.run(&["token"]), alice.run(&["token"]));
        let (one, two) = (one.done(), two.done());
        assert_eq!(one, two);
        tokens.insert(one);
    }
    assert_eq!(tokens.len(), 20, "one refresh each");
    let last = alice.run(&["token"]).await.done();
    assert_eq!(name_of(&node, &last).await.as_deref(), Some("alice"));
}

#[tokio::test]
async fn a_session_survives_a_death_between_its_refresh_and_its_writing() {
    let (node, _mock) = node_and_mock().await;
    let link = Link::to(node.address).await;
    let alice = Person::known_to(&node, "alice").await;
    alice.sign_in(&format!("http://{}", link.address), "alice").await.done();
    for round in 1..=3 {
        alice.let_token_expire();
        link.set(Mode::Swallowing);
        let before = link.swallowed_bytes();
        let mut dying = alice.spawn(&["token"]);
        until("the node has answered, and nobody heard it", async || {
            (link.swallowed_bytes() > before).then_some(())
        })
        .await;
        dying.kill().await.expect("killed");
        link.set(Mode::Open);
        let token = alice.run(&["token"]).await.done();
        assert_eq!(name_of(&node, &token).await.as_deref(), Some("alice"), "round {round}");
    }
    // A thief has spent the token, without the key.
    let stolen = alice.session()["refresh_token"].clone();
    let refresh = node.http.post(node.url("/auth/refresh")).json(&json!({ "refresh_token": stolen }));
    assert_eq!(refresh.send().await.expect("an answer").status(), 200);
    alice.let_token_expire();
    let over = alice.run(&["token"]).await;
    assert_eq!(over.out, "");
    assert!(over.refused(1).contains("has ended: run `sproxy login --server"));
}

#[tokio::test]
async fn a_token_that_lives_is_given_while_the_server_is_away() {
    let (mut node, _mock) = node_and_mock().await;
    let alice = Person::signed_in(&node, "alice").await;
    let token = alice.run(&["token"]).await.done();
    node.kill().await;
    // It came an hour ago, and has a minute left.
    alice.change_session(|session| session["received_at"] = json!("2026-01-01T00:00:00Z"));
    let soon = sproxy::domain::clock::Clock::now(&sproxy::domain::clock::SystemClock);
    let soon = soon.plus(std::time::Duration::from_mins(1));
    alice.change_session(|session| session["expires_at"] = json!(soon));
    assert_eq!(alice.run(&["token"]).await.done(), token);
    alice.let_token_expire();
    let away = alice.run(&["token"]).await;
    assert_eq!(away.out, "");
    assert!(away.refused(1).contains("no answer from"));
}

#[tokio::test]
async fn other_commands_use_the_login_where_nothing_else_is_given() {
    let (node, _mock) = node_and_mock().await;
    let alice = Person::signed_in(&node, "alice").await;
    on(&node, &["user", "set", "alice", "--admin"]).await.done();
    for arguments in [&["user", "list", "--json"][..], &["user", "list", "--json", "--server", &node.url("")]]
    {
        let users = alice.run(arguments).await.json();
        assert!(users.as_array().expect("a list").iter().any(|user| user["name"] == "alice"), "{users}");
    }
    // What is given goes first, and a login goes to its own server alone.
    alice.run(&["user", "list", "--token", "wrong"]).await.refused(1);
    let refused = alice.run(&["user", "list", "--server", "http://sp-9.invalid:9000"]).await.refused(64);
    assert!(refused.contains("sproxy login --server http://sp-9.invalid:9000"), "{refused}");
    let data_dir = alice.home().join("nothing").display().to_string();
    assert!(alice.run(&["user", "list", "--data-dir", &data_dir]).await.refused(64).contains("admin.token"));
}

/// An authorisation server whose answers to the device are written down beforehand.
#[derive(Clone, Default)]
struct Authorizer {
    replies: Arc<Mutex<VecDeque<(u16, Value)>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Authorizer {
    async fn start(replies: &[(u16, Value)]) -> (String, Self) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let authorizer = Self::default();
        authorizer.replies.lock().expect("unlocked").extend(replies.iter().cloned());
        let metadata = json!({
            "issuer": url,
            "device_authorization_endpoint": format!("{url}/oauth/device_authorization"),
            "token_endpoint": format!("{url}/oauth/token"),
            "grant_types_supported": ["urn:ietf:params:oauth:grant-type:device_code"],
        });
        let device = json!({
            "device_code": "a device & its code",
            "user_code": "WDJB-MJHT",
            "verification_uri": format!("{url}/device"),
            "verification_uri_complete": format!("{url}/device?user_code=WDJB-MJHT"),
            "expires_in": 600,
            "interval": 1,
        });
        let router = Router::new()
            .route("/.well-known/oauth-authorization-server", get(async move || Json(metadata)))
            .route("/oauth/device_authorization", post(async move || Json(device)))
            .route("/oauth/token", post(async |State(this): State<Self>, form: String| this.reply(form)))
            .route("/me", get(async || Json(json!({ "name": "alice" }))))
            .with_state(authorizer.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (url, authorizer)
    }

    fn reply(&self, form: String) -> (StatusCode, Json<Value>) {
        self.asked.lock().expect("unlocked").push(form);
        let (status, body) = self.replies.lock().expect("unlocked").pop_front().expect("a reply");
        (StatusCode::from_u16(status).expect("a status"), Json(body))
    }
}

#[tokio::test]
async fn at_a_browser_a_device_is_signed_in_as_the_standard_says() {
    let pending = || (400, json!({ "error": "authorization_pending" }));
    let tokens = json!({ "access_token": "an access token", "token_type": "Bearer", "expires_in": 3600,
        "refresh_token": "a refresh token" });
    let (url, authorizer) =
        Authorizer::start(&[pending(), (503, json!({ "title": "restarting" })), (200, tokens)]).await;
    let alice = Person::new();
    let ended = alice.run(&["login", "--server", &url]).await;
    for shown in [format!("{url}/device in a browser"), "WDJB-MJHT".to_owned()] {
        assert!(ended.err.contains(&shown), "{}", ended.err);
    }
    assert_eq!(ended.done().trim(), format!("signed in to {url} as alice"));
    assert_eq!(alice.run(&["token"]).await.done(), "an access token\n");
    let asked = authorizer.asked.lock().expect("unlocked").clone();
    let form = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code\
                &device_code=a%20device%20%26%20its%20code&client_id=sproxy-cli";
    assert_eq!(asked, [form; 3]);
}

#[tokio::test]
async fn a_device_that_is_refused_or_too_late_is_told_so() {
    for (error, said) in
        [("access_denied", "denied"), ("expired_token", "in time"), ("invalid_client", "invalid_client")]
    {
        let (url, _) = Authorizer::start(&[(400, json!({ "error": error }))]).await;
        let alice = Person::new();
        let refused = alice.run(&["login", "--server", &url]).await.refused(1);
        assert!(refused.contains(said), "{refused}");
        alice.run(&["token"]).await.refused(1);
    }
}

#[tokio::test]
async fn a_node_signs_in_a_command_line_by_way_of_somebody_at_its_pages() {
    let (node, _mock) = node_and_mock().await;
    let alice = Person::known_to(&node, "alice").await;
    let server = node.url("");
    for (decision, code) in [("deny", 1), ("approve", 0)] {
        let mut login = alice.spawn(&["login", "--server", &server, "--no-browser"]);
        let mut said = BufReader::new(login.stderr.take().expect("a standard error")).lines();
        let shown = loop {
            let line = said.next_line().await.expect("readable").expect("a code before the end");
            if line.starts_with("    ") {
                break line.trim().to_owned();
            }
        };
        let mut browser = Browser::of(&server, "alice", PASSWORD).await;
        let page = browser.get(&format!("/device?user_code={shown}")).await.page(200);
        assert!(page.contains("sproxy-cli"), "{page}");
        browser.submit("/device", &[("user_code", &shown), ("decision", decision)]).await;
        assert_eq!(login.wait().await.expect("ended").code(), Some(code), "{decision}");
    }
    let token = alice.run(&["token"]).await.done();
    assert_eq!(name_of(&node, &token).await.as_deref(), Some("alice"));
}
