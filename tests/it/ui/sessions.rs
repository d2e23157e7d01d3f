//! How long somebody is signed in at a browser.

use std::time::Duration;

use serde_json::{Value, json};
use sproxy::accounts::{Error, SignIn};
use sproxy::store::{BrowserSessionRepo, Store, UserRepo};

use super::{Browser, later, user};
use crate::accounts::{HERE, Leader, PASSWORD, two_leaders};
use crate::harness::databases::{TestDatabase, on_both};
use crate::harness::{Mock, Setup, until};
use crate::http::{ADMIN_PASSWORD, Plane};

const HOUR: Duration = Duration::from_hours(1);

async fn kept(store: &Store) -> usize {
    let admin = UserRepo::on(store).get_by_name("admin").await.unwrap().unwrap();
    BrowserSessionRepo::on(store).list_of(admin.id).await.unwrap().len()
}

#[tokio::test]
async fn a_session_ends_when_it_is_idle_and_at_last_anyhow() {
    let plane = Plane::start().await;
    let mut idle = Browser::of(&plane.url, "admin", ADMIN_PASSWORD).await;
    let mut used = Browser::of(&plane.url, "admin", ADMIN_PASSWORD).await;
    later(&plane, HOUR * 11);
    assert!(used.is_in().await);
    later(&plane, HOUR);
    assert!(used.is_in().await && !idle.is_in().await);
    for _ in 0..14 {
        later(&plane, HOUR * 11);
        assert!(used.is_in().await);
    }
    later(&plane, HOUR * 2);
    assert!(!used.is_in().await, "a week is over");
    assert_eq!(kept(&plane.store).await, 2);
    plane.accounts.maintain().await.unwrap();
    assert_eq!(kept(&plane.store).await, 0);
}

#[tokio::test]
async fn it_ends_with_whatever_ends_the_right_to_be_there() {
    let plane = Plane::start().await;
    for (turn, what) in ["disable", "password", "revoke", "remove"].into_iter().enumerate() {
        let (name, password) = (format!("user-{turn}"), "a long password");
        user(&plane, &name, password).await;
        let mut browser = Browser::of(&plane.url, &name, password).await;
        let mut other = Browser::of(&plane.url, "admin", ADMIN_PASSWORD).await;
        assert!(browser.is_in().await);
        let path = format!("/admin/v1/users/{name}");
        match what {
            "disable" => {
                plane.patch(&path, json!({"active": false})).await.expect(200);
                plane.patch(&path, json!({"active": true})).await.expect(200)
            }
            "password" => plane
                .post(&format!("{path}/password"), json!({"password": "another password"}))
                .await
                .expect(204),
            "revoke" => {
                let ended = plane.post(&format!("{path}/revoke"), Value::Null).await.expect(200);
                assert_eq!(ended["sessions_ended"], 1);
                ended
            }
            _ => plane.delete(&path).await.expect(200),
        };
        assert!(!browser.is_in().await, "{what}");
        assert!(other.is_in().await, "{what}");
    }
}

#[tokio::test]
async fn signing_in_again_gives_another_token_and_ends_the_one_before() {
    let plane = Plane::start().await;
    let mut browser = Browser::of(&plane.url, "admin", ADMIN_PASSWORD).await;
    let before = browser.cookie.clone();
    browser.sign_in("admin", ADMIN_PASSWORD).await.redirect();
    assert_ne!(browser.cookie, before);
    assert!(browser.is_in().await);
    browser.cookie = before;
    assert!(!browser.is_in().await);
    assert_eq!(kept(&plane.store).await, 1);
}

#[tokio::test]
async fn nobody_has_more_than_twenty_and_the_one_that_was_not_used_for_the_longest_goes() {
    let plane = Plane::start().await;
    let mut browsers = Vec::new();
    for _ in 0..20 {
        browsers.push(Browser::of(&plane.url, "admin", ADMIN_PASSWORD).await);
        later(&plane, Duration::from_mins(2));
    }
    assert!(browsers[0].is_in().await);
    later(&plane, Duration::from_mins(2));
    browsers.push(Browser::of(&plane.url, "admin", ADMIN_PASSWORD).await);
    assert_eq!(kept(&plane.store).await, 20);
    assert!(browsers[0].is_in().await && browsers[20].is_in().await && !browsers[1].is_in().await);
}

#[tokio::test]
async fn a_token_is_kept_as_its_digest_and_nonsense_opens_nothing() {
    let plane = Plane::start().await;
    let mut browser = Browser::of(&plane.url, "admin", ADMIN_PASSWORD).await;
    let token = browser.cookie.clone().unwrap().split_once('=').unwrap().1.to_owned();
    assert_eq!(token.len(), 43);
    let admin = UserRepo::on(&plane.store).get_by_name("admin").await.unwrap().unwrap();
    let [session] = &BrowserSessionRepo::on(&plane.store).list_of(admin.id).await.unwrap()[..] else {
        panic!()
    };
    assert!(!session.digest.starts_with(&token.as_bytes()[..8]));
    assert_eq!((session.method.as_str(), session.address.as_str()), ("password", "127.0.0.1"));
    for nonsense in ["", "x", &token[1..], &token.to_lowercase(), &"a".repeat(5_000)] {
        browser.cookie = Some(format!("sproxy={nonsense}"));
        assert!(!browser.is_in().await, "{nonsense}");
    }
    browser.cookie = Some(format!("a=b; sproxy={token}; c=d"));
    assert!(browser.is_in().await);
}

on_both! {
    async fn every_leader_knows_them_and_an_end_is_an_end_at_once(db: TestDatabase) {
        if db.store.is_embedded() {
            return;
        }
        let (one, two) = two_leaders(&db).await;
        let session = one.sign_in("admin", PASSWORD.to_owned(), HERE).await.unwrap();
        let admin = two.browser_session(&session.token).await.unwrap();
        assert_eq!(&*admin.user, "admin");
        let also = two.begin_browser_session(admin.user_id, SignIn::Oidc, HERE).await.unwrap();
        one.browser_session(&also.token).await.unwrap();
        two.end_browser_session(&session.token).await.unwrap();
        assert!(matches!(one.browser_session(&session.token).await, Err(Error::SignedOut)));
        one.revoke_sessions(&sproxy::accounts::Actor::system(), "admin").await.unwrap();
        assert!(matches!(two.browser_session(&also.token).await, Err(Error::SignedOut)));
    }

    async fn a_new_user_is_known_at_the_other_leader_before_it_has_looked(db: TestDatabase) {
        if db.store.is_embedded() {
            return;
        }
        let (one, two) = two_leaders(&db).await;
        let new = sproxy::accounts::NewUser { name: "alice".to_owned(), ..Default::default() };
        let alice = one.create_user(&sproxy::accounts::Actor::system(), new).await.unwrap();
        let session = one.begin_browser_session(alice.id, SignIn::Oidc, HERE).await.unwrap();
        assert_eq!(&*two.browser_session(&session.token).await.unwrap().user, "alice");
    }

    async fn a_user_who_is_disabled_begins_none(db: TestDatabase) {
        let one = Leader::start(&db.store, "sp-1").await;
        let system = sproxy::accounts::Actor::system();
        let new = sproxy::accounts::NewUser { name: "alice".to_owned(), ..Default::default() };
        let alice = one.create_user(&system, new).await.unwrap();
        let session = one.begin_browser_session(alice.id, SignIn::Oidc, HERE).await.unwrap();
        one.browser_session(&session.token).await.unwrap();
        let off = sproxy::accounts::UserChange { active: Some(false), ..Default::default() };
        one.change_user(&system, "alice", off).await.unwrap();
        assert!(one.browser_session(&session.token).await.is_err());
        let again = one.begin_browser_session(alice.id, SignIn::Oidc, HERE).await;
        assert!(matches!(again, Err(Error::Disabled(name)) if name == "alice"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_gives_its_leaders_pages_and_says_when_there_is_no_leader() {
    let mock = Mock::start().await;
    let mut leader = Setup::with_targets_at(&mock.url())
        .section("cluster", "heartbeat_interval = \"300ms\"")
        .start()
        .await;
    let line = format!("heartbeat_interval = \"300ms\"\nleader = \"http://{}\"", leader.grpc.unwrap());
    let follower = Setup::with_targets_at(&mock.url()).section("cluster", &line).start().await;
    until("the follower is ready", async || {
        let ready = follower.http.get(follower.url("/readyz")).send().await.unwrap();
        ready.status().is_success().then_some(())
    })
    .await;
    let mut there = Browser::of(&follower.url(""), "admin", "correct horse battery").await;
    assert!(there.is_in().await);
    let mut at_leader = Browser::at(&leader.url(""));
    at_leader.cookie = there.cookie.clone();
    assert!(at_leader.is_in().await);
    let foreign = there.submit_with("/ui/logout", &[], &[("origin", "https://evil.example")]).await;
    foreign.page(403);
    let own = [("origin", follower.url("")), ("x-sproxy-site", "https://evil.example".to_owned())];
    let own = own.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(there.submit_with("/ui/logout", &[], &own).await.redirect(), "/ui/login?done=signed-out");
    leader.kill().await;
    let page = there.get("/ui/usage").await.page(503);
    assert!(page.contains("The leader cannot be reached"), "{page}");
    let style =
        page.split('"').find(|text| text.starts_with("/ui/assets/sproxy.") && text.contains(".css")).unwrap();
    assert_eq!(there.get(style).await.status, 200);
}
