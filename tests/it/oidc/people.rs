//! People who sign in at oidc-provider, which is certified to do what the standard says.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Browser, Provider, joined};
use crate::harness::{Mock, Node, until};
use crate::ui::{browser_is_here, look};

async fn stage(more: &str) -> Option<(Provider, Node, Mock)> {
    let provider = Provider::start("provider.mjs", 1).await?;
    let mock = Mock::start().await;
    let node = provider.node(&mock, more).await;
    provider.tell("/control/gateway", json!({"url": node.url("")})).await;
    Some((provider, node, mock))
}

async fn user(node: &Node, name: &str) -> Value {
    node.get(&format!("/admin/v1/users/{name}")).await
}

#[tokio::test]
async fn who_signs_in_for_the_first_time_becomes_a_user_and_stays_the_same_under_another_name() {
    let Some((provider, node, _mock)) = stage("").await else { return };
    provider.tell("/control/person", json!({"name": "alice", "sub": "248289", "groups": ["devs"]})).await;
    let mut browser = Browser::new();
    let door = browser.get(&node.url("/ui/login")).await.text().await.unwrap();
    assert!(door.contains("Sign in with Example login"), "{door}");
    let (status, page) = browser.sign_in(&node.url(""), "alice").await;
    assert!(status == 200 && page.contains("alice"), "{status} {page}");
    let alice = user(&node, "alice").await;
    assert_eq!((&alice["role"], &alice["group"]), (&json!("user"), &json!(null)), "{alice}");
    let entries = node.get("/admin/v1/audit").await;
    let made = entries["items"].as_array().unwrap().iter().find(|entry| entry["action"] == "user.create");
    assert_eq!(made.expect("an entry")["actor"], "identity provider");

    // She marries, and somebody else is given her name.
    provider.tell("/control/person", json!({"name": "alice", "sub": "another"})).await;
    provider.tell("/control/person", json!({"name": "alice.smith", "sub": "248289"})).await;
    let (status, page) = Browser::new().sign_in(&node.url(""), "alice.smith").await;
    assert!(status == 200 && page.contains(">alice<"), "{status} {page}");
    let (status, page) = Browser::new().sign_in(&node.url(""), "alice").await;
    assert!(status == 409 && page.contains("there is a user alice here already"), "{status} {page}");
    assert_eq!(node.get("/admin/v1/users").await["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_user_who_was_here_before_is_nobodys_by_name_unless_that_is_wanted() {
    let Some((provider, node, mock)) = stage("").await else { return };
    for (name, sub) in [("admin", "1"), ("bob", "2")] {
        provider.tell("/control/person", json!({"name": name, "sub": sub})).await;
    }
    node.post("/admin/v1/users", json!({"name": "bob"})).await;
    for name in ["admin", "bob"] {
        let mut browser = Browser::new();
        let (status, _) = browser.sign_in(&node.url(""), name).await;
        assert_eq!(status, 409, "{name}");
        assert!(!browser.is_in(&node.url("")).await);
    }
    let linking = provider.node(&mock, "link_by_name = true").await;
    provider.tell("/control/gateway", json!({"url": linking.url("")})).await;
    let key = linking.user_with_key("bob").await;
    let (status, page) = Browser::new().sign_in(&linking.url(""), "bob").await;
    assert!(status == 200 && page.contains(">bob<"), "{status} {page}");
    assert!(linking.usage().await.is_empty() && !key.is_empty());
    // Linked once, and to nobody else.
    provider.tell("/control/person", json!({"name": "bob", "sub": "3"})).await;
    assert_eq!(Browser::new().sign_in(&linking.url(""), "bob").await.0, 409);
}

#[tokio::test]
async fn groups_of_the_provider_are_groups_and_admins_here_and_change_when_a_session_is_renewed() {
    let groups = "groups = { \"llm-devs\" = \"devs\" }\nadmin_groups = [\"root\"]\nallowed_groups = [\"llm-devs\", \"root\"]";
    let Some((provider, node, _mock)) = stage(groups).await else { return };
    let person = |groups: Value| json!({"name": "alice", "sub": "1", "groups": groups});
    provider.tell("/control/person", person(json!(["llm-devs"]))).await;
    let (status, page) = Browser::new().sign_in(&node.url(""), "alice").await;
    assert!(status == 400 && page.contains("there is no group devs"), "{status} {page}");
    node.post("/admin/v1/groups", json!({"name": "devs"})).await;
    let mut browser = Browser::new();
    assert_eq!(browser.sign_in(&node.url(""), "alice").await.0, 200);
    let alice = user(&node, "alice").await;
    assert_eq!((&alice["role"], &alice["group"]), (&json!("user"), &json!("devs")), "{alice}");

    provider.tell("/control/person", person(json!(["root"]))).await;
    assert_eq!(Browser::new().sign_in(&node.url(""), "alice").await.0, 200);
    let alice = user(&node, "alice").await;
    assert_eq!((&alice["role"], &alice["group"]), (&json!("admin"), &json!(null)), "{alice}");

    provider.tell("/control/person", person(json!(["others"]))).await;
    let mut other = Browser::new();
    let (status, page) = other.sign_in(&node.url(""), "alice").await;
    assert!(status == 403 && page.contains("none of the groups"), "{status} {page}");
    assert!(!other.is_in(&node.url("")).await);
    let nobody = json!({"name": "mallory", "sub": "9", "groups": ["others"]});
    provider.tell("/control/person", nobody).await;
    assert_eq!(Browser::new().sign_in(&node.url(""), "mallory").await.0, 403);
    assert_eq!(node.get("/admin/v1/users").await["items"].as_array().unwrap().len(), 2, "and made nobody");
}

#[tokio::test]
async fn an_answer_counts_once_in_the_browser_that_asked_and_with_the_state_that_it_was_given() {
    let Some((provider, node, _mock)) = stage("").await else { return };
    provider.tell("/control/person", json!({"name": "alice", "sub": "1"})).await;
    let mut victim = Browser::new();
    let stale = async |browser: &mut Browser, url: &str| {
        let page = browser.get(url).await;
        let status = page.status().as_u16();
        let text = page.text().await.unwrap();
        assert!(status == 400 && text.contains("begin again"), "{status} {text}");
        assert!(!browser.is_in(&node.url("")).await);
    };
    // An attacker's answer, in the browser of somebody who has begun nothing, and of somebody who has.
    let attackers = Browser::new().log_in_at_provider(&node.url(""), "alice").await;
    stale(&mut victim, &attackers).await;
    victim.get(&node.url("/auth/oidc/login")).await;
    stale(&mut victim, &attackers).await;
    for nothing in ["/auth/oidc/callback", "/auth/oidc/callback?code=x", "/auth/oidc/callback?code=x&state="]
    {
        victim.get(&node.url("/auth/oidc/login")).await;
        stale(&mut victim, &node.url(nothing)).await;
    }
    // One's own, twice.
    let mut browser = Browser::new();
    let back = browser.log_in_at_provider(&node.url(""), "alice").await;
    let cookies = browser.cookies.clone();
    assert_eq!(browser.get(&back).await.status(), 303);
    assert!(browser.is_in(&node.url("")).await);
    let mut again = Browser { cookies, ..Browser::new() };
    let page = again.get(&back).await;
    let (status, text) = (page.status().as_u16(), page.text().await.unwrap());
    assert!(status == 403 && text.contains("invalid_grant"), "{status} {text}");
    assert!(!again.is_in(&node.url("")).await);
}

#[tokio::test]
async fn who_is_not_let_in_there_is_not_here_and_reads_why() {
    let Some((provider, node, _mock)) = stage("create_users = false").await else { return };
    let mut browser = Browser::new();
    let (status, page) = browser.sign_in(&node.url(""), "nobody").await;
    assert!(status == 403 && page.contains("nobody of that name may log in"), "{status} {page}");
    provider.tell("/control/person", json!({"name": "alice", "sub": "1"})).await;
    let (status, page) = Browser::new().sign_in(&node.url(""), "alice").await;
    assert!(status == 403 && page.contains("there is no user alice here"), "{status} {page}");
}

#[tokio::test]
async fn signing_out_goes_on_to_the_provider_and_comes_back() {
    let Some((provider, node, _mock)) = stage("").await else { return };
    provider.tell("/control/person", json!({"name": "alice", "sub": "1"})).await;
    let mut browser = Browser::new();
    assert_eq!(browser.sign_in(&node.url(""), "alice").await.0, 200);
    let page = browser.send(Method::POST, &node.url("/ui/logout"), Some(&[])).await;
    let refresh = page.headers()["refresh"].to_str().unwrap().to_owned();
    assert!(!browser.is_in(&node.url("")).await);
    let url = refresh.strip_prefix("0; url=").unwrap();
    assert!(url.starts_with(&provider.issuer) && url.contains("id_token_hint="), "{url}");
    // The provider asks whether that is meant.
    let (asked, at) = browser.follow(url).await;
    let (status, text) = (asked.status(), asked.text().await.unwrap());
    assert!(status == 200, "{text}");
    let xsrf = text.split("name=\"xsrf\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let confirm = joined(&at, "/session/end/confirm");
    let yes = [("xsrf", xsrf.as_str()), ("logout", "yes")];
    let done = browser.send(Method::POST, &confirm, Some(&yes)).await;
    let back = done.headers()["location"].to_str().unwrap();
    assert_eq!(back, node.url("/ui/login?done=signed-out"));
    assert!(browser.get(back).await.text().await.unwrap().contains("signed out"));
}

#[tokio::test]
async fn who_signs_out_at_the_provider_is_signed_out_here() {
    let Some((provider, node, _mock)) = stage("").await else { return };
    provider.tell("/control/person", json!({"name": "alice", "sub": "1"})).await;
    let (mut browser, mut elsewhere) = (Browser::new(), Browser::new());
    assert_eq!(browser.sign_in(&node.url(""), "alice").await.0, 200);
    assert_eq!(elsewhere.sign_in(&node.url(""), "alice").await.0, 200);
    let url = format!("{}/session/end", provider.issuer);
    let (asked, at) = browser.follow(&url).await;
    let text = asked.text().await.unwrap();
    let xsrf = text.split("name=\"xsrf\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    browser
        .send(
            Method::POST,
            &joined(&at, "/session/end/confirm"),
            Some(&[("xsrf", xsrf.as_str()), ("logout", "yes")]),
        )
        .await;
    until("the provider has told the gateway", async || (!browser.is_in(&node.url("")).await).then_some(()))
        .await;
    assert!(!elsewhere.is_in(&node.url("")).await, "everywhere");
    // Anybody can call that address, and nobody but the provider ends a session by it.
    assert_eq!(browser.sign_in(&node.url(""), "alice").await.0, 200);
    for body in ["", "logout_token=", "logout_token=a.b.c"] {
        let url = node.url("/auth/oidc/backchannel-logout");
        let client = reqwest::Client::new();
        let told = client.post(url).body(body.to_owned()).send().await.unwrap();
        assert_eq!(told.status(), 400);
    }
    assert!(browser.is_in(&node.url("")).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_browser_goes_there_and_back_and_out_again() {
    if !browser_is_here() {
        return;
    }
    let Some((provider, node, _mock)) = stage("").await else { return };
    provider.tell("/control/person", json!({"name": "alice", "sub": "1"})).await;
    let said = look("oidc.mjs", &[&node.url(""), "alice"]).await;
    assert_eq!(said["problems"], json!([]), "{said:#}");
}
