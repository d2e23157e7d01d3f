//! A provider whose answers are not what they have to be, by mistake or on purpose.

use serde_json::{Value, json};

use super::{Browser, Provider};
use crate::harness::{Mock, Node};

/// What a browser is shown that comes back from a provider which does wrong so.
async fn comes_back(provider: &Provider, node: &Node, faults: Value) -> (u16, String, bool) {
    provider.tell("", faults).await;
    let mut browser = Browser::new();
    let (page, _) = browser.follow(&node.url("/auth/oidc/login")).await;
    let (status, text) = (page.status().as_u16(), page.text().await.unwrap());
    (status, text, browser.is_in(&node.url("")).await)
}

#[tokio::test]
async fn nobody_gets_in_by_an_answer_that_is_wrong_in_anything() {
    let Some(provider) = Provider::start("faults.mjs", 2).await else { return };
    let mock = Mock::start().await;
    let node = provider.node(&mock, "username_claim = \"preferred_username\"").await;
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    for (faults, status, said) in [
        (json!({"payload": {"iss": "https://evil.example"}}), 503, "somebody else"),
        (json!({"payload": {"aud": "another"}}), 503, "another application"),
        (json!({"payload": {"aud": ["sproxy", "another"]}}), 503, "another application"),
        (json!({"payload": {"azp": "another"}}), 503, "another application"),
        (json!({"payload": {"nonce": "another"}}), 503, "another sign-in"),
        (json!({"remove": ["nonce"]}), 503, "another sign-in"),
        (json!({"payload": {"exp": now - 120}}), 503, "has expired"),
        (json!({"remove": ["exp"]}), 503, "has expired"),
        (json!({"payload": {"iat": now + 3_600}}), 503, "clocks"),
        (json!({"payload": {"nbf": now + 3_600}}), 503, "clocks"),
        (json!({"remove": ["iat"]}), 503, "clocks"),
        (json!({"header": {"kid": "gone"}}), 503, "not known"),
        (json!({"id_token": "tampered"}), 503, "signature"),
        (json!({"id_token": "unsigned"}), 503, "not accepted"),
        (json!({"payload": {"sub": ""}}), 503, "does not say who"),
        (json!({"payload": {"sub": 7}}), 503, "does not say who"),
        (json!({"payload": {"preferred_username": "a/b"}}), 400, "slashes"),
        (json!({"payload": {"preferred_username": "admin"}}), 409, "already"),
        (json!({"token": {"statusCode": 500, "body": {}}}), 503, "cannot be reached"),
        (json!({"token": {"statusCode": 400, "body": {"error": "invalid_grant"}}}), 403, "invalid_grant"),
        (json!({"token": {"statusCode": 401, "body": {"error": "invalid_client"}}}), 503, "invalid_client"),
        (json!({"token": {"body": {"access_token": "a"}}}), 503, "no ID token"),
        (json!({"token": {"body": []}}), 503, "cannot be read"),
        (json!({"redirect": {"state": "another"}}), 400, "begin again"),
        (json!({"redirect": {"iss": "https://evil.example"}}), 503, "its own"),
        (
            json!({"redirect": {"error": "access_denied", "error_description": "<b>no</b>"}}),
            403,
            "&lt;b&gt;no",
        ),
        // What the ID token lacks is asked for, and then it is somebody else.
        (
            json!({"remove": ["preferred_username"], "userinfo": {"sub": "other", "preferred_username": "x"}}),
            503,
            "somebody else",
        ),
    ] {
        let (got, page, is_in) = comes_back(&provider, &node, faults.clone()).await;
        assert!(got == status && page.contains(said) && !is_in, "{faults}: {got} {page}");
    }
    assert_eq!(node.get("/admin/v1/users").await["items"].as_array().unwrap().len(), 1, "nobody was made");
    let (status, page, is_in) = comes_back(&provider, &node, json!({})).await;
    assert!(status == 200 && is_in, "{status} {page}");
    let asked = json!({"remove": ["preferred_username"], "userinfo": {"preferred_username": "x"}});
    let (status, page, is_in) = comes_back(&provider, &node, asked).await;
    assert!(status == 200 && is_in && page.contains(">somebody<"), "{status} {page}");
}

#[tokio::test]
async fn keys_that_the_provider_has_made_since_are_found() {
    let Some(provider) = Provider::start("faults.mjs", 2).await else { return };
    let mock = Mock::start().await;
    let node = provider.node(&mock, "").await;
    let (status, page, _) = comes_back(&provider, &node, json!({"new_key": true})).await;
    assert_eq!(status, 200, "{page}");
}

#[tokio::test]
async fn a_provider_that_is_not_there_or_is_another_is_told_of_on_the_sign_in_page() {
    let Some(provider) = Provider::start("faults.mjs", 2).await else { return };
    let mock = Mock::start().await;
    let other = format!("{}/", provider.issuer);
    for (issuer, said) in
        [(other.as_str(), "write that as auth.oidc.issuer"), ("http://127.0.0.1:9", "reached")]
    {
        let lines = format!("issuer = \"{issuer}\"\nclient_id = \"sproxy\"\nclient_secret = \"s\"");
        let node =
            crate::harness::Setup::with_targets_at(&mock.url()).section("auth.oidc", &lines).start().await;
        let page = Browser::new().get(&node.url("/auth/oidc/login")).await;
        let (status, text) = (page.status().as_u16(), page.text().await.unwrap());
        assert!(status == 503 && text.contains(said) && text.contains("password"), "{status} {text}");
    }
}
