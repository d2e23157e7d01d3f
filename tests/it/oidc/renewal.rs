//! What the provider says of somebody who has signed in before, when a session is renewed and now and then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sproxy::config::{OidcConfig, Secret, WhenRefused};
use sproxy::domain::clock::Clock as _;
use sproxy::domain::group_mapping::GroupMapping;
use sproxy::oidc::Oidc;

use super::{Browser, Provider, SECRET};
use crate::http::Plane;

const INTERVAL: Duration = Duration::from_mins(15);

struct Stage {
    provider: Provider,
    plane: Plane,
    oidc: Arc<Oidc>,
    browser: Browser,
}

impl Stage {
    /// Alice, of the group devs, is signed in at a browser. None, with a note, without a provider.
    async fn start(when_refused: WhenRefused) -> Option<Self> {
        let provider = Provider::start("provider.mjs", 1).await?;
        let config = OidcConfig {
            issuer: provider.issuer.clone(),
            client_id: "sproxy".to_owned(),
            client_secret: Secret::new(SECRET),
            name: "Example login".to_owned(),
            scopes: ["openid", "profile", "email"].map(str::to_owned).to_vec(),
            username_claim: "preferred_username".to_owned(),
            groups_claim: "groups".to_owned(),
            mapping: GroupMapping {
                groups: BTreeMap::from([("llm-devs".to_owned(), "devs".to_owned())]),
                ..GroupMapping::default()
            },
            create_users: true,
            link_by_name: false,
            when_refused,
            check_interval: INTERVAL,
            proxy: None,
            ca_file: None,
        };
        let (plane, oidc) = Plane::with_provider(config).await;
        provider.tell("/control/gateway", json!({"url": plane.url})).await;
        plane.post("/admin/v1/groups", json!({"name": "devs"})).await.expect(201);
        let mut stage = Self { provider, plane, oidc, browser: Browser::new() };
        stage.alice(json!({"groups": ["llm-devs"]})).await;
        let base = stage.plane.url.clone();
        assert_eq!(stage.browser.sign_in(&base, "alice").await.0, 200);
        Some(stage)
    }

    /// What the provider says of her from now on.
    async fn alice(&self, mut claims: Value) {
        claims["name"] = json!("alice");
        claims["sub"] = json!("1");
        self.provider.tell("/control/person", claims).await;
    }

    async fn user(&self) -> Value {
        self.plane.get("/admin/v1/users/alice").await.expect(200)
    }

    fn later(&self, by: Duration) {
        self.plane.clock.set(self.plane.clock.now().plus(by));
    }

    async fn is_in(&mut self) -> bool {
        let base = self.plane.url.clone();
        self.browser.is_in(&base).await
    }

    /// A program that she signs in by her browser; its refresh token.
    async fn program(&mut self) -> String {
        let url = |path: &str| format!("{}{path}", self.plane.url);
        let (start, page, token) = (url("/oauth/device_authorization"), url("/device"), url("/oauth/token"));
        let mut program = Browser::new();
        let begun = program.send(reqwest::Method::POST, &start, Some(&[("client_id", "claude")])).await;
        let begun: Value = begun.json().await.unwrap();
        let (code, device) = (begun["user_code"].as_str().unwrap(), begun["device_code"].as_str().unwrap());
        let agreed = [("user_code", code), ("decision", "approve")];
        let answer = self.browser.send(reqwest::Method::POST, &page, Some(&agreed)).await;
        assert!(answer.status().is_success() || answer.status() == 303, "{}", answer.text().await.unwrap());
        let grant = "urn:ietf:params:oauth:grant-type:device_code";
        let fields = [("grant_type", grant), ("device_code", device)];
        let tokens: Value =
            program.send(reqwest::Method::POST, &token, Some(&fields)).await.json().await.unwrap();
        tokens["refresh_token"].as_str().unwrap_or_else(|| panic!("{tokens}")).to_owned()
    }

    /// Renews a session: the status, and the next refresh token.
    async fn renew(&self, token: &str) -> (u16, String) {
        let answer =
            self.plane.call("POST", "/auth/refresh", "", Some(json!({"refresh_token": token}))).await;
        let next = answer.json()["refresh_token"].as_str().unwrap_or_default().to_owned();
        (answer.status, next)
    }
}

#[tokio::test]
async fn a_group_that_was_taken_away_is_gone_when_the_session_is_renewed() {
    let Some(mut stage) = Stage::start(WhenRefused::SignOut).await else { return };
    let token = stage.program().await;
    assert_eq!(stage.user().await["group"], "devs");
    stage.alice(json!({"groups": []})).await;
    let (status, token) = stage.renew(&token).await;
    assert_eq!(
        (status, &stage.user().await["group"]),
        (200, &json!("devs")),
        "asked a moment ago, at sign-in"
    );
    stage.later(Duration::from_mins(2));
    let (status, token) = stage.renew(&token).await;
    assert_eq!((status, &stage.user().await["group"]), (200, &json!(null)));
    // Every time with the token that the provider gave last.
    stage.alice(json!({"groups": ["llm-devs"]})).await;
    stage.later(Duration::from_mins(2));
    assert_eq!((stage.renew(&token).await.0, &stage.user().await["group"]), (200, &json!("devs")));
    assert!(stage.is_in().await);
}

#[tokio::test]
async fn who_is_not_let_in_any_more_is_signed_out_of_everything_and_keys_work_on() {
    let Some(mut stage) = Stage::start(WhenRefused::SignOut).await else { return };
    let token = stage.program().await;
    let key = stage.plane.post("/admin/v1/keys", json!({"user": "alice"})).await.expect(201);
    let key = key["key"].as_str().unwrap().to_owned();
    stage.alice(json!({"groups": ["llm-devs"], "disabled": true})).await;
    stage.later(Duration::from_mins(2));
    assert_eq!(stage.renew(&token).await.0, 401);
    assert!(!stage.is_in().await);
    assert_eq!(stage.user().await["active"], true);
    assert_eq!(stage.plane.call("GET", "/me", &key, None).await.status, 200);
    let audit = stage.plane.get("/admin/v1/audit").await.expect(200);
    let entry = audit["items"].as_array().unwrap().iter().find(|entry| entry["action"] == "user.refused");
    assert_eq!(entry.expect("an entry")["actor"], "identity provider");
}

#[tokio::test]
async fn where_that_is_wanted_keys_stop_too_without_anybody_renewing_anything_until_the_provider_lets_them_in()
 {
    let Some(mut stage) = Stage::start(WhenRefused::Disable).await else { return };
    let key = stage.plane.post("/admin/v1/keys", json!({"user": "alice"})).await.expect(201);
    let key = key["key"].as_str().unwrap().to_owned();
    let me = async |stage: &Stage| stage.plane.call("GET", "/me", &key, None).await.status;
    stage.alice(json!({"groups": ["llm-devs"], "disabled": true})).await;
    stage.oidc.check_due().await;
    assert_eq!(me(&stage).await, 200, "nobody is due yet");
    stage.later(INTERVAL);
    stage.oidc.check_due().await;
    assert_eq!((me(&stage).await, stage.is_in().await), (403, false));
    assert_eq!(stage.user().await["active"], false);
    let (base, mut browser) = (stage.plane.url.clone(), Browser::new());
    assert_eq!(browser.sign_in(&base, "alice").await.0, 403);
    // An admin who says the same means it, whatever the provider says later.
    let active = |active: bool| Some(json!({"active": active}));
    let patch = async |active| {
        stage.plane.call("PATCH", "/admin/v1/users/alice", &stage.plane.admin, active).await.expect(200)
    };
    patch(active(false)).await;
    stage.alice(json!({"groups": ["llm-devs"]})).await;
    assert_eq!(Browser::new().sign_in(&base, "alice").await.0, 403);
    patch(active(true)).await;
    assert_eq!(Browser::new().sign_in(&base, "alice").await.0, 200);
    stage.alice(json!({"groups": ["llm-devs"], "disabled": true})).await;
    stage.later(INTERVAL);
    stage.oidc.check_due().await;
    assert_eq!(me(&stage).await, 403);
    stage.alice(json!({"groups": ["llm-devs"]})).await;
    assert_eq!(Browser::new().sign_in(&base, "alice").await.0, 200);
    assert_eq!(me(&stage).await, 200);
    // Whom an admin has disabled the provider does not let in.
    patch(active(false)).await;
    let (status, page) = Browser::new().sign_in(&base, "alice").await;
    assert!(status == 403 && page.contains("is disabled"), "{status} {page}");
    assert_eq!(me(&stage).await, 403);
}

#[tokio::test]
async fn while_the_provider_is_gone_nobody_is_signed_out_and_nobody_new_comes_in() {
    let Some(mut stage) = Stage::start(WhenRefused::Disable).await else { return };
    let token = stage.program().await;
    stage.provider.process.kill().await.unwrap();
    stage.later(INTERVAL);
    stage.oidc.check_due().await;
    stage.later(Duration::from_mins(2));
    assert_eq!(stage.renew(&token).await.0, 200);
    assert!(stage.is_in().await && stage.user().await["active"] == true);
    stage.later(Duration::from_hours(1));
    let page = Browser::new().get(&format!("{}/auth/oidc/login", stage.plane.url)).await;
    assert_eq!(page.status(), 303, "what the provider said of itself is still known");
    let door = Browser::new().get(&format!("{}/ui/login", stage.plane.url)).await.text().await.unwrap();
    assert!(door.contains("password"), "and there is another way in");
}

#[tokio::test]
async fn no_token_of_the_provider_is_in_the_database_as_it_is() {
    let Some(stage) = Stage::start(WhenRefused::SignOut).await else { return };
    let me = stage.user().await;
    let user = me["id"].as_str().unwrap().parse().unwrap();
    let kept = stage.plane.accounts.provider_session(user).await.unwrap().expect("kept");
    for form in [&b"refresh_token"[..], b"id_token", b"eyJ"] {
        assert!(!kept.tokens.windows(form.len()).any(|bytes| bytes == form));
    }
    stage.plane.call("DELETE", "/admin/v1/users/alice", &stage.plane.admin, None).await.expect(200);
    assert_eq!(stage.plane.accounts.provider_session(user).await.unwrap(), None);
}
