//! `sproxy agent`: a door for programs of this machine, and for nobody else.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::node_and_mock;
use super::person::Person;
use crate::harness::{Answer, Mock, Node, Process, Setup, until};

/// A running agent of a person.
struct Agent {
    process: Process,
    url: String,
    key: String,
    http: reqwest::Client,
}

impl Agent {
    async fn of(person: &Person) -> Self {
        let mut environment = person.environment();
        environment.push(("XDG_CONFIG_HOME".to_owned(), person.home().join(".config").display().to_string()));
        let (process, said) = Process::start(&["agent", "--listen", "127.0.0.1:0"], &environment).await;
        let key = std::fs::read_to_string(person.home().join(".config/sproxy/agent.key")).expect("a key");
        let url = format!("http://{}", said.http.expect("its address"));
        Self { process, url, key, http: reqwest::Client::new() }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url)).header("x-api-key", &self.key)
    }

    async fn ask(&self, session: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let request = self.request(Method::POST, "/v1/messages").header("x-claude-code-session-id", session);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        Answer::read(request.json(body).send().await.expect("an answer")).await
    }
}

fn message(is_stream: bool) -> Value {
    json!({ "model": "claude-sonnet-4-5", "max_tokens": 50, "stream": is_stream,
        "messages": [{ "role": "user", "content": "hi" }] })
}

#[tokio::test]
async fn a_call_is_made_as_the_person_and_passes_untouched() {
    let (node, _mock) = node_and_mock().await;
    let alice = Person::signed_in(&node, "alice").await;
    let agent = Agent::of(&alice).await;
    for is_stream in [false, true] {
        let through = agent.ask("s", &[("mock-input", "7")], &message(is_stream)).await;
        assert_eq!((through.status, through.complete), (200, true), "{}", through.text());
        assert_eq!(node.usage_of(&through).await["user"], "alice");
    }
    // Its key goes where any provider's may go, and no further.
    for place in ["/v1/chat/completions", "/v1beta/models/gemini-2.5-pro:generateContent"] {
        let body = json!({ "model": "gpt-4o", "messages": [], "contents": [] });
        let by_query = agent.http.post(format!("{}{place}?key={}", agent.url, agent.key)).json(&body);
        let by_bearer = agent.http.post(format!("{}{place}", agent.url)).bearer_auth(&agent.key).json(&body);
        for request in [by_query, by_bearer] {
            let status = request.send().await.expect("an answer").status();
            assert_eq!(status, 200, "{place}");
        }
    }
    assert!(!node.log().contains(&agent.key));
    let models = agent.request(Method::GET, "/v1/models").send().await.expect("an answer");
    assert_eq!(models.status(), 200);
    assert!(!agent.process.log().contains(&agent.key) && !agent.process.log().contains("Bearer"));
}

#[tokio::test]
async fn only_programs_of_this_machine_with_the_key_may_use_it() {
    let (node, _mock) = node_and_mock().await;
    let alice = Person::signed_in(&node, "alice").await;
    let refused = alice.run(&["agent", "--listen", "0.0.0.0:0"]).await.refused(64);
    assert!(refused.contains("loopback"), "{refused}");
    let agent = Agent::of(&alice).await;
    for (name, value) in [
        ("origin", "https://example.com"),
        ("origin", "null"),
        ("host", "rebound.example.com"),
        ("sec-fetch-site", "cross-site"),
    ] {
        let answer = agent.ask("s", &[(name, value)], &message(false)).await;
        assert_eq!(
            (answer.status, answer.json()["error"]["type"].clone()),
            (403, json!("permission_error")),
            "{value}"
        );
        assert_eq!(answer.header("access-control-allow-origin"), "");
    }
    let preflight = agent.http.request(Method::OPTIONS, format!("{}/v1/messages", agent.url));
    let preflight = preflight.header("origin", "https://example.com").send().await.expect("an answer");
    assert!(
        !preflight.status().is_success() && !preflight.headers().contains_key("access-control-allow-origin")
    );
    for key in ["sp-agent-wrong", ""] {
        let request = agent.http.post(format!("{}/v1/messages", agent.url)).header("x-api-key", key);
        assert_eq!(request.json(&message(false)).send().await.expect("an answer").status(), 401, "{key}");
    }
    // The token would be good for more than calls; the key is not.
    for path in ["/me", "/me/keys", "/admin/v1/users", "/auth/logout"] {
        assert_eq!(agent.request(Method::GET, path).send().await.expect("an answer").status(), 404, "{path}");
    }
    assert_eq!(node.usage().await.len(), 0);
    // Its next life has another key.
    let before = agent.key.clone();
    drop(agent);
    assert_ne!(Agent::of(&alice).await.key, before);
}

#[tokio::test]
async fn a_catalogue_of_models_outlives_the_agents_key() {
    let mock = Mock::start().await;
    let target = format!(
        "[[targets]]\nname = \"a\"\nprovider = \"anthropic\"\nurl = \"{}\"\napi_key = \"k\"\nmodels = [\"claude-sonnet-4-5\"]\n",
        mock.url()
    );
    let node = Setup::with_targets(&target).start().await;
    let mut alice = Person::signed_in(&node, "alice").await;
    alice.set("PATH", "/nowhere");
    let agent = Agent::of(&alice).await;
    alice.run(&["connect", "codex", "--agent"]).await.done();
    let [list, settings] =
        ["sproxy-models.json", "config.toml"].map(|name| alice.home().join(".codex").join(name));
    let written = std::fs::read_to_string(&list).expect("a catalogue");
    assert!(written.contains("\"claude-sonnet-4-5\""), "{written}");
    drop(agent);
    let agent = Agent::of(&alice).await;
    assert_eq!(std::fs::read_to_string(&list).expect("a catalogue"), written);
    let settings = std::fs::read_to_string(&settings).expect("settings");
    assert!(settings.contains("model_catalog_json") && settings.contains(&agent.url), "{settings}");
}

#[tokio::test]
async fn tokens_that_live_for_seconds_are_refreshed_behind_the_clients_back() {
    let mock = Mock::start().await;
    let setup = Setup::with_targets_at(&mock.url()).section("auth", "access_token_ttl = \"5s\"");
    let node = setup.start().await;
    let alice = Person::signed_in(&node, "alice").await;
    let agent = Agent::of(&alice).await;
    let first = alice.session()["access_token"].clone();
    until("five seconds' tokens have been used up twice", async || {
        let answer = agent.ask("s", &[], &message(false)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        (node.log().matches("/auth/refresh").count() > 1 || alice.session()["access_token"] != first)
            .then_some(())
    })
    .await;
    // A token that the node refuses for another reason is replaced, once.
    alice.change_session(|session| session["access_token"] = json!("nobody knows this one"));
    assert_eq!(agent.ask("s", &[], &message(false)).await.status, 200);
    alice.run(&["logout"]).await.done();
    let over = agent.ask("s", &[], &message(false)).await;
    assert_eq!(over.status, 401);
    assert!(over.text().contains("sproxy login"), "{}", over.text());
}

/// A leader and a follower, both ready, and the agent knows both.
async fn two_nodes() -> (Node, Node, Mock, Person, Agent) {
    let mock = Mock::start().await;
    let leader = Setup::with_targets_at(&mock.url()).start().await;
    let grpc = leader.grpc.expect("a leader's address");
    let follower =
        Setup::with_targets_at(&mock.url()).section("cluster", &format!("leader = \"http://{grpc}\""));
    let follower = follower.start().await;
    let alice = Person::signed_in(&leader, "alice").await;
    until("the follower knows alice and takes calls", async || {
        let token = alice.run(&["token"]).await.done();
        let me = follower.http.get(follower.url("/me/nodes")).bearer_auth(token.trim()).send().await.ok()?;
        let nodes: Value = me.error_for_status().ok()?.json().await.ok()?;
        (nodes["items"].as_array()?.len() == 2).then_some(())
    })
    .await;
    let agent = Agent::of(&alice).await;
    (leader, follower, mock, alice, agent)
}

#[tokio::test]
async fn a_conversation_goes_on_at_another_node_when_its_own_dies() {
    let (leader, mut follower, _mock, _alice, agent) = two_nodes().await;
    // Conversations are spread, and each stays where it is.
    let mut at_follower = None;
    for number in 0..40 {
        let session = format!("session {number}");
        let node = agent.ask(&session, &[], &message(true)).await.header("x-sproxy-node").to_owned();
        assert_eq!(agent.ask(&session, &[], &message(true)).await.header("x-sproxy-node"), node);
        if node != "sp-1" {
            at_follower = Some(session);
            break;
        }
    }
    let session = at_follower.expect("one of 40");
    follower.kill().await;
    for _ in 0..5 {
        let answer = agent.ask(&session, &[], &message(true)).await;
        assert_eq!((answer.status, answer.complete), (200, true), "{}", answer.text());
        assert_eq!(answer.header("x-sproxy-node"), "sp-1");
    }
    follower.restart().await;
    until("the conversation is at home again", async || {
        let answer = agent.ask(&session, &[], &message(true)).await;
        assert_eq!(answer.status, 200);
        (answer.header("x-sproxy-node") != "sp-1").then_some(())
    })
    .await;
    drop(leader);
}
