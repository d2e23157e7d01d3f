//! Which credential of several counts, and that none of them reaches a provider.

use serde_json::json;

use super::{clients, started};
use crate::harness::Answer;

const MESSAGE: &str = r#"{"type":"message","usage":{"input_tokens":10,"output_tokens":7}}"#;

async fn call(client: &reqwest::Client, url: String, headers: &[(&str, String)]) -> Answer {
    let mut request = client.post(url).json(&json!({ "model": "m", "max_tokens": 9, "messages": [] }));
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    Answer::read(request.send().await.unwrap()).await
}

#[tokio::test]
async fn a_stale_key_hides_no_good_one_wherever_the_two_stand() {
    let (provider, node, key) = started().await;
    let stale = || "sk-ant-api03-of-long-ago".to_owned();
    let bearer = |key: &str| format!("Bearer {key}");
    for (what, client) in clients() {
        for path in ["/v1/messages", "/v1/chat/completions", "/v1beta/models/m:generateContent", "/api/chat"]
        {
            for (query, headers) in [
                ("", vec![("x-api-key", stale()), ("authorization", bearer(&key))]),
                ("", vec![("x-api-key", key.clone()), ("authorization", bearer("x"))]),
                ("", vec![("authorization", bearer(&stale())), ("x-goog-api-key", key.clone())]),
                ("", vec![("x-api-key", stale()), ("x-api-key", key.clone())]),
                (&*format!("?key={key}"), vec![("x-api-key", stale()), ("authorization", bearer("x"))]),
                ("?key=AIza-old", vec![("authorization", bearer("x")), ("x-goog-api-key", key.clone())]),
            ] {
                provider.answer_json_and_close(MESSAGE);
                let answered = call(&client, node.url(&format!("{path}{query}")), &headers).await;
                assert_eq!(answered.status, 200, "{what} {path}{query} {headers:?}: {}", answered.text());
                let sent = provider.requests().pop().unwrap().head;
                for secret in [&key, &stale(), "AIza-old", "Bearer x"] {
                    assert!(!sent.contains(secret), "{what} {path}{query}: {sent}");
                }
            }
        }
    }
}

#[tokio::test]
async fn who_has_no_good_credential_is_told_what_is_wrong_with_the_one_that_is_known() {
    let (provider, node, key) = started().await;
    let (_, client) = &clients()[0];
    node.call(reqwest::Method::PATCH, "/admin/v1/users/alice", Some(json!({ "active": false }))).await;
    let bearer = ("authorization", format!("Bearer {key}"));
    let refused =
        call(client, node.url("/v1/messages"), &[("x-api-key", "sk-ant-x".to_owned()), bearer]).await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert!(refused.text().contains("disabled"), "{}", refused.text());
    let refused = call(client, node.url("/v1/messages?key=b"), &[("x-api-key", "a".to_owned())]).await;
    assert!(refused.status == 401 && refused.text().contains("unknown credential"), "{}", refused.text());
    // A list of guesses is no way to make the node work.
    let good = node.user_with_key("bob").await;
    let many: Vec<_> = (0..4).map(|guess| ("x-api-key", guess.to_string())).collect();
    let url = node.url(&format!("/v1/messages?key={good}"));
    assert_eq!(call(client, url, &many).await.status, 401, "the fifth is not tried");
    assert!(provider.requests().is_empty());
}

#[tokio::test]
async fn the_credential_goes_upstream_from_no_odd_place_either() {
    let (provider, node, key) = started().await;
    let encoded = key.replace('-', "%2D");
    for (what, client) in clients() {
        provider.answer_json_and_close(MESSAGE);
        let url = node.url(&format!("/v1/messages?k%65y={encoded}&beta=true&api_key={key}&x={encoded}"));
        let odd = [
            ("x-litellm-api-key", format!("Bearer {key}")),
            ("x-request-id", key.clone()),
            ("referer", format!("http://here/?key={encoded}")),
            ("anthropic-beta", "kept".to_owned()),
        ];
        let answered = call(&client, url, &odd).await;
        assert_eq!(answered.status, 200, "{what}: {}", answered.text());
        let sent = provider.requests().pop().unwrap().head;
        assert!(sent.starts_with("POST /v1/messages?beta=true HTTP/1.1\r\n"), "{what}: {sent}");
        assert!(!sent.contains(&key) && !sent.contains(&encoded), "{what}: {sent}");
        assert!(sent.contains("anthropic-beta: kept"), "{what}: {sent}");
        assert_eq!(node.usage_of(&answered).await["client_request_id"], json!(null), "nor into the books");
        let before = provider.requests().len();
        let refused =
            call(&client, node.url(&format!("/v1/files/{encoded}")), &[("x-api-key", key.clone())]).await;
        assert_eq!((refused.status, provider.requests().len()), (400, before), "{}", refused.text());
    }
}
