//! Which provider a call goes to: by the model that it names, however the body is written, and by its path.

use std::io::Write;

use reqwest::Method;
use serde_json::{Value, json};

use super::clients;
use crate::harness::{Answer, Mock, Node, Scripted, Setup};

const CHAT: &str = r#"{"id":"c","object":"chat.completion","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}"#;
const CHATS: &str = "/v1/chat/completions";

fn target(name: &str, provider: &str, url: &str, models: &[&str]) -> String {
    format!(
        "[[targets]]\nname = \"{name}\"\nprovider = \"{provider}\"\nurl = \"{url}\"\napi_key = \"k\"\nmodels = {models:?}\n"
    )
}

async fn send(
    client: &reqwest::Client,
    (method, url): (Method, String),
    key: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Answer {
    let mut request = client.request(method, url).header("x-api-key", key).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::read(request.send().await.unwrap()).await
}

/// `text` in a coding of HTTP.
fn coded(coding: &str, text: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::fast();
    match coding {
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        "deflate" => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        "br" => {
            let mut coded = Vec::new();
            brotli::CompressorWriter::new(&mut coded, 4096, 5, 22).write_all(text).unwrap();
            coded
        }
        "zstd" => zstd::encode_all(text, 3).unwrap(),
        other => panic!("{other}"),
    }
}

/// Two companies that speak OpenAI's dialect and one of Anthropic's, each with models of its own.
async fn companies() -> (Scripted, Scripted, Scripted, Node, String) {
    let (wide, deep, claude) = (Scripted::start().await, Scripted::start().await, Scripted::start().await);
    let targets = [
        target("wide", "openai", &wide.url(), &["gpt-*"]),
        target("deep", "openai", &deep.url(), &["deepseek-*"]),
        target("claude", "anthropic", &claude.url(), &["claude-*"]),
    ];
    let node = Setup::with_targets(&targets.concat()).start().await;
    let key = node.user_with_key("alice").await;
    (wide, deep, claude, node, key)
}

#[tokio::test]
async fn a_compressed_body_goes_where_its_model_is_served_and_as_it_came() {
    let (wide, deep, claude, node, key) = companies().await;
    for (version, client) in clients() {
        for coding in ["gzip", "deflate", "br", "zstd"] {
            let headers = [("content-type", "application/json"), ("content-encoding", coding)];
            for (path, model, provider) in [
                (CHATS, "deepseek-x", &deep),
                ("/v1/responses", "gpt-9", &wide),
                ("/v1/messages", "claude-9", &claude),
            ] {
                let what = format!("{version} {coding} {path}");
                provider.answer_json_and_close(CHAT);
                let text =
                    json!({"model": model, "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]});
                let body = coded(coding, text.to_string().as_bytes());
                let passed =
                    send(&client, (Method::POST, node.url(path)), &key, &headers, body.clone()).await;
                assert_eq!(passed.status, 200, "{what}: {}", passed.text());
                let sent = provider.requests().pop().expect("the company that serves it");
                assert_eq!(sent.body, body, "{what}");
                assert!(
                    sent.head.contains(&format!("content-encoding: {coding}\r\n")),
                    "{what}: {}",
                    sent.head
                );
                assert_eq!(node.usage_of(&passed).await["model"], json!(model), "{what}");
            }
            let before = wide.requests().len() + deep.requests().len();
            let nobodys = coded(coding, br#"{"model":"grok-5","messages":[]}"#);
            let refused = send(&client, (Method::POST, node.url(CHATS)), &key, &headers, nobodys).await;
            assert_eq!(
                (refused.status, &refused.json()["error"]["code"]),
                (404, &json!("model_not_found")),
                "{version} {coding}"
            );
            assert_eq!(wide.requests().len() + deep.requests().len(), before, "nothing was bought");
        }
    }
}

#[tokio::test]
async fn a_model_that_cannot_be_read_is_refused_unless_any_target_would_do() {
    let (wide, deep, _claude, node, key) = companies().await;
    let mock = Mock::start().await;
    let everything = [target("a", "openai", &mock.url(), &["*"]), target("b", "openai", &mock.url(), &["*"])];
    let free = Setup::with_targets(&everything.concat()).start().await;
    let freed = free.user_with_key("bob").await;
    let text = br#"{"model":"deepseek-x","messages":[{"role":"user","content":"Hi"}]}"#;
    let mut cut = coded("gzip", text);
    cut.truncate(cut.len() - 9);
    let twice = coded("gzip", &coded("gzip", text));
    let json = ("content-type", "application/json");
    for (what, headers, body) in [
        ("broken gzip", vec![json, ("content-encoding", "gzip")], cut),
        ("an unknown coding", vec![json, ("content-encoding", "compress")], text.to_vec()),
        ("two codings", vec![json, ("content-encoding", "gzip, gzip")], twice),
        ("UTF-16", vec![json], text.iter().flat_map(|byte| [*byte, 0]).collect()),
        ("broken JSON", vec![json], br#"{"messages":["#.to_vec()),
        ("a model that is no text", vec![json], br#"{"model":["deepseek-x"]}"#.to_vec()),
    ] {
        for (version, client) in clients() {
            let refused = send(&client, (Method::POST, node.url(CHATS)), &key, &headers, body.clone()).await;
            assert_eq!(refused.status, 400, "{version} {what}: {}", refused.text());
            let error = refused.json();
            assert_eq!(error["error"]["code"], json!("invalid_request"), "{version} {what}");
            assert!(error.to_string().contains("model"), "{what}: {error}");
            let refused =
                send(&client, (Method::POST, node.url("/v1/messages")), &key, &headers, body.clone()).await;
            assert_eq!(
                (refused.status, &refused.json()["error"]["type"]),
                (400, &json!("invalid_request_error")),
                "{version} {what}"
            );
            let passed = send(&client, (Method::POST, free.url(CHATS)), &freed, &headers, body.clone()).await;
            assert_eq!(free.usage_of(&passed).await["model"], json!(""), "{version} {what}");
        }
    }
    assert!(wide.requests().is_empty() && deep.requests().is_empty(), "nothing was bought");
}

#[tokio::test]
async fn usage_is_asked_for_in_a_compressed_body_as_well() {
    let (_wide, deep, _claude, node, key) = companies().await;
    let first = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"}}]}\n\n";
    let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2,\"total_tokens\":11}}\n\n";
    let done = "data: [DONE]\n\n";
    for (version, client) in clients() {
        for coding in ["gzip", "zstd"] {
            let text = r#"{"model":"deepseek-x","stream":true,"messages":[]}"#;
            let headers = [("content-type", "application/json"), ("content-encoding", coding)];
            deep.write("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-stream\r\n\r\n")
                .write(format!("{first}{usage}{done}"))
                .close();
            let body = coded(coding, text.as_bytes());
            let answered = send(&client, (Method::POST, node.url(CHATS)), &key, &headers, body).await;
            assert_eq!(answered.text(), format!("{first}{done}"), "{version} {coding}");
            let sent = deep.requests().pop().unwrap();
            let read: Value = serde_json::from_slice(&sent.body).expect("in the clear, since it was changed");
            assert_eq!(read["stream_options"], json!({ "include_usage": true }));
            assert!(!sent.head.contains("content-encoding"), "{}", sent.head);
            assert!(sent.head.contains(&format!("content-length: {}\r\n", sent.body.len())), "{}", sent.head);
            let row = node.usage_of(&answered).await;
            assert_eq!(
                (&row["input_tokens"], &row["output_tokens"]),
                (&json!(9), &json!(2)),
                "{version} {coding}"
            );
        }
    }
}

#[tokio::test]
async fn what_is_read_of_a_compressed_body_is_bounded_like_any_body() {
    let mock = Mock::start().await;
    let limits = "max_body_bytes = 1000000\nmax_buffered_bytes = 1500000";
    let node = Setup::with_targets_at(&mock.url()).section("http", limits).start().await;
    let key = node.user_with_key("alice").await;
    let client = reqwest::Client::new();
    let body = |padding: usize| format!(r#"{{"model":"m","x":"{}","messages":[]}}"#, "x".repeat(padding));
    for coding in ["gzip", "deflate", "br", "zstd"] {
        let headers = [("content-type", "application/json"), ("content-encoding", coding)];
        let bomb = coded(coding, body(64_000_000).as_bytes());
        assert!(bomb.len() < 300_000);
        let refused = send(&client, (Method::POST, node.url(CHATS)), &key, &headers, bomb).await;
        assert_eq!(
            (refused.status, &refused.json()["error"]["code"]),
            (413, &json!("request_too_large")),
            "{coding}"
        );
        assert!(refused.text().contains("max_body_bytes"), "{}", refused.text());
        let fits = send(
            &client,
            (Method::POST, node.url(CHATS)),
            &key,
            &headers,
            coded(coding, body(900_000).as_bytes()),
        )
        .await;
        assert_eq!(fits.status, 200, "{coding}: {}", fits.text());
    }
    // A body that hardly shrinks takes its room twice.
    let noise: String = (0_u64..900_000)
        .map(|at| char::from(b'0' + u8::try_from((at * at % 7_919 + at / 11) % 75).unwrap()))
        .collect();
    let noise = format!(r#"{{"model":"m","x":{}}}"#, json!(noise));
    let headers = [("content-type", "application/json"), ("content-encoding", "gzip")];
    let coded = coded("gzip", noise.as_bytes());
    assert!(coded.len() > 600_000, "{}", coded.len());
    let refused = send(&client, (Method::POST, node.url(CHATS)), &key, &headers, coded).await;
    assert_eq!(refused.status, 503, "{}", refused.text());
}

#[tokio::test]
async fn limits_hold_in_compressed_bodies() {
    let (_wide, deep, _claude, node, _) = companies().await;
    node.post("/admin/v1/users", json!({"name": "bob", "models": ["deepseek-mini"], "max_tokens": 100}))
        .await;
    let key = node.key_of("bob").await;
    let client = reqwest::Client::new();
    for coding in ["gzip", "br", "zstd"] {
        let headers = [("content-type", "application/json"), ("content-encoding", coding)];
        for (body, status) in [
            (r#"{"model":"deepseek-x","max_tokens":5}"#, 403),
            (r#"{"model":"deepseek-mini","max_tokens":101}"#, 400),
            (r#"{"model":"deepseek-mini","max_tokens":100}"#, 200),
        ] {
            if status == 200 {
                deep.answer_json_and_close(CHAT);
            }
            let answered = send(
                &client,
                (Method::POST, node.url(CHATS)),
                &key,
                &headers,
                coded(coding, body.as_bytes()),
            )
            .await;
            assert_eq!(answered.status, status, "{coding} {body}: {}", answered.text());
        }
    }
}

#[tokio::test]
async fn a_call_without_a_model_goes_to_who_serves_everything_or_to_the_only_one() {
    let (wide, deep, claude, node, key) = companies().await;
    let client = reqwest::Client::new();
    let json = [("content-type", "application/json")];
    let named_none = br#"{"input":"Hi"}"#.to_vec();
    let refused =
        send(&client, (Method::POST, node.url("/v1/moderations")), &key, &json, named_none.clone()).await;
    assert_eq!(refused.status, 404, "two companies, and nothing to choose by: {}", refused.text());
    claude.answer_json_and_close("{}");
    let passed =
        send(&client, (Method::POST, node.url("/anthropic/v1/files")), &key, &json, named_none.clone()).await;
    assert_eq!(passed.status, 200, "the only one of its dialect: {}", passed.text());
    let all = Scripted::start().await;
    let targets = [
        target("wide", "openai", &wide.url(), &["gpt-*"]),
        target("deep", "openai", &deep.url(), &["deepseek-*"]),
        target("all", "openai", &all.url(), &["*"]),
    ];
    let node = Setup::with_targets(&targets.concat()).start().await;
    let key = node.user_with_key("alice").await;
    for _ in 0..6 {
        all.answer_json_and_close("{}");
        let passed =
            send(&client, (Method::POST, node.url("/v1/moderations")), &key, &json, named_none.clone()).await;
        assert_eq!((passed.status, &node.usage_of(&passed).await["target"]), (200, &json!("all")));
    }
    assert!(wide.requests().is_empty() && deep.requests().is_empty());
}

#[tokio::test]
async fn googles_paths_reach_google_and_uploads_are_storage() {
    let (google, openai, claude) =
        (Scripted::start().await, Scripted::start().await, Scripted::start().await);
    let targets = [
        target("google", "gemini", &google.url(), &["*"]),
        target("openai", "openai", &openai.url(), &["*"]),
        target("claude", "anthropic", &claude.url(), &["*"]),
    ];
    let node = Setup::with_targets(&targets.concat()).start().await;
    node.post("/admin/v1/users", json!({"name": "bob", "models": ["gemini-3-pro", "claude-opus-4-5@1"]}))
        .await;
    let key = node.key_of("bob").await;
    let generated = r#"{"candidates":[{"content":{"parts":[{"text":"Hi"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":2,"totalTokenCount":11}}"#;
    let message = r#"{"type":"message","usage":{"input_tokens":9,"output_tokens":2}}"#;
    let vertex = "/projects/p/locations/l/publishers";
    for (version, client) in clients() {
        for (asked, provider, sent, is_inference) in [
            (
                "/upload/v1beta/files?uploadType=resumable",
                &google,
                "/upload/v1beta/files?uploadType=resumable",
                false,
            ),
            ("/gemini/upload/v1beta/files", &google, "/upload/v1beta/files", false),
            ("/upload/v1alpha/files", &google, "/upload/v1alpha/files", false),
            (
                "/upload/v1beta/fileSearchStores/s:uploadToFileSearchStore",
                &google,
                "/upload/v1beta/fileSearchStores/s:uploadToFileSearchStore",
                false,
            ),
            (
                "/v1alpha/models/gemini-3-pro:generateContent",
                &google,
                "/v1alpha/models/gemini-3-pro:generateContent",
                true,
            ),
            (
                &format!("/v1beta1{vertex}/google/models/gemini-3-pro:generateContent"),
                &google,
                &format!("/v1beta1{vertex}/google/models/gemini-3-pro:generateContent"),
                true,
            ),
            (
                &format!("/v1{vertex}/google/models/gemini-3-pro:generateContent"),
                &google,
                &format!("/v1{vertex}/google/models/gemini-3-pro:generateContent"),
                true,
            ),
            (
                "/v1/publishers/google/models/gemini-3-pro:generateContent",
                &google,
                "/v1/publishers/google/models/gemini-3-pro:generateContent",
                true,
            ),
            (
                &format!("/v1{vertex}/anthropic/models/claude-opus-4-5@1:rawPredict"),
                &claude,
                &format!("/v1{vertex}/anthropic/models/claude-opus-4-5@1:rawPredict"),
                true,
            ),
        ] {
            provider.answer_json_and_close(if std::ptr::eq(provider, &raw const claude) {
                message
            } else {
                generated
            });
            let body = json!({"contents": [{"parts": [{"text": "Hi"}]}]}).to_string().into_bytes();
            let json = [("content-type", "application/json")];
            let passed = send(&client, (Method::POST, node.url(asked)), &key, &json, body).await;
            assert_eq!(passed.status, 200, "{version} {asked}: {}", passed.text());
            let head = provider.requests().pop().expect("that provider").head;
            assert!(head.starts_with(&format!("POST {sent} HTTP/1.1\r\n")), "{version} {asked}: {head}");
            let row = node.usage_of(&passed).await;
            let tokens = if is_inference { 11 } else { 0 };
            assert_eq!(row["total_tokens"], json!(tokens), "{version} {asked}: {row}");
        }
        let counted = format!("/v1{vertex}/google/models/gemini-3-pro:countTokens");
        google.answer_json_and_close(r#"{"totalTokens":3}"#);
        let before = node.usage().await.len();
        let passed = send(&client, (Method::POST, node.url(&counted)), &key, &[], b"{}".to_vec()).await;
        assert_eq!((passed.status, node.usage().await.len()), (200, before), "counting is free");
    }
    assert!(openai.requests().is_empty(), "no prompt for Google went to another company");
}

#[tokio::test]
async fn a_fine_tuned_model_with_colons_in_its_name_is_openais() {
    let (google, openai) = (Scripted::start().await, Scripted::start().await);
    let targets = [
        target("google", "gemini", &google.url(), &["*"]),
        target("openai", "openai", &openai.url(), &["*"]),
    ];
    let node = Setup::with_targets(&targets.concat()).start().await;
    let key = node.user_with_key("alice").await;
    openai.answer_json_and_close("{}");
    let url = node.url("/v1/models/ft:gpt-4o-mini:acme::abc");
    let passed = send(&reqwest::Client::new(), (Method::GET, url), &key, &[], Vec::new()).await;
    assert_eq!((passed.status, openai.requests().len(), google.requests().len()), (200, 1, 0));
}

#[tokio::test]
async fn a_base_url_with_its_version_twice_or_not_at_all_is_told_what_to_change() {
    let provider = Scripted::start().await;
    let node = Setup::with_targets_at(&provider.url()).start().await;
    let key = node.user_with_key("alice").await;
    for (path, pointer, advice) in [
        ("/messages", "/error/message", "did you mean /v1/messages"),
        ("/v1/v1/messages", "/error/message", "version twice"),
        ("/chat/completions", "/error/message", "add /v1 "),
        ("/v1/v1/chat/completions", "/error/message", "version twice"),
        ("/models/gemini-2.5-flash:generateContent", "/error/message", "add /v1beta "),
    ] {
        let body = json!({ "model": "m", "messages": [] });
        let answer = node.ask(&key, path, &[], &body).await;
        let said: Value = serde_json::from_str(&answer.text()).unwrap();
        assert_eq!(answer.status, 404, "{path}: {said}");
        let message = said.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        assert!(message.contains(advice), "{path}: {said}");
    }
    assert!(provider.requests().is_empty(), "no provider hears of it");
}

#[tokio::test]
async fn a_model_that_no_target_can_be_asked_for_is_refused_with_the_path_for_it() {
    let provider = Scripted::start().await;
    let url = provider.url();
    let targets = [
        target("claude", "anthropic", &url, &["claude-*"]),
        target("google", "gemini", &url, &["*"]),
        target("own", "ollama", &url, &["llama*", "nomic-*"]),
    ];
    let node = Setup::with_targets(&targets.concat()).start().await;
    let other = Setup::with_targets(&target("router", "openai", &url, &["*"])).start().await;
    let (key, others_key) = (node.user_with_key("alice").await, other.user_with_key("alice").await);
    let limited = node.user_with_key("bob").await;
    node.call(Method::PATCH, "/admin/v1/users/bob", Some(json!({ "models": ["gemini-*"] }))).await;
    for (node, key, path, model, told) in [
        (&node, &key, "/v1/chat/completion", "claude-9", Some("at /v1/messages")),
        (&node, &key, "/v1/responses", "gemini-9", Some("at /v1beta/models/gemini-9:generateContent")),
        (
            &node,
            &key,
            "/v1/messages",
            "llama9",
            Some("at /v1beta/models/llama9:generateContent or /api/chat"),
        ),
        (&node, &key, "/v1/completions", "claude-9", Some("at /v1/messages")),
        (
            &node,
            &key,
            "/v1/embeddings",
            "nomic-9",
            Some("at /v1beta/models/nomic-9:embedContent or /api/embed"),
        ),
        (&node, &key, "/v1/messages", "gpt-9", None),
        (&node, &key, "/v1/embeddings", "claude-9", None),
        (&node, &key, "/v1/messages/count_tokens", "llama9", None),
        (&node, &limited, "/v1/completions", "claude-9", None),
        (&node, &limited, "/v1/completions", "gemini-9", Some("at /v1beta/models/gemini-9:generateContent")),
        (
            &other,
            &others_key,
            "/v1beta/models/claude-9:generateContent",
            "claude-9",
            Some("at /v1/chat/completions"),
        ),
    ] {
        let body = json!({ "model": model, "max_tokens": 5, "messages": [] });
        let refused = node.ask(key, path, &[], &body).await;
        let message = refused.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert_eq!(refused.status, 404, "{path} {model}: {message}");
        let advice = message.split_once("; it is served here ").map(|(_, advice)| advice);
        assert_eq!(advice, told, "{path} {model}: {message}");
    }
    assert!(provider.requests().is_empty());
}
