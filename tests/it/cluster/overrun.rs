//! One user's quota across nodes: by how much it can be overrun. Every call here uses 100 tokens.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{ask, booked, follower, follower_behind, leader};
use crate::harness::{Link, Mock, Mode, Node, until};

const CALL: u64 = 100;

/// Two nodes that hear nothing of each other each spend what was left when they last did: the total passes the limit by
/// exactly what the others have served since, and by no call more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_is_overrun_by_what_others_served_since_the_last_news_of_them_and_no_more() {
    let mock = Mock::start().await;
    let one = leader(&mock).await;
    let links = [Link::to(one.grpc.unwrap()).await, Link::to(one.grpc.unwrap()).await];
    let followers =
        [follower_behind(&links[0], &mock, "sp-2").await, follower_behind(&links[1], &mock, "sp-3").await];
    let key = user(&one, &followers, 20 * CALL).await;
    for node in &followers {
        assert_eq!(calls_until_refused(node, &key, 5).await, 5);
    }
    for node in &followers {
        known(node, &key, 10 * CALL).await;
    }
    for link in &links {
        link.set(Mode::Stalled);
    }
    for node in &followers {
        assert_eq!(calls_until_refused(node, &key, 99).await, 10, "what was left by the last news");
    }
    for link in &links {
        link.set(Mode::Open);
    }
    // Each follower has refused once, which is booked too.
    assert_eq!(booked(&one, 32).await["total_tokens"], json!(30 * CALL));
    for node in [&one, &followers[0], &followers[1]] {
        known(node, &key, 30 * CALL).await;
        assert_eq!(ask(node, &key).await.status, 429);
    }
    // A higher limit is one for all of them together: told, they share what it leaves.
    one.call(Method::PATCH, "/admin/v1/users/alice", Some(json!({ "daily_tokens": 32 * CALL }))).await;
    until("the new limit holds", async || (ask(&followers[0], &key).await.status == 200).then_some(())).await;
    known(&followers[1], &key, 31 * CALL).await;
    assert_eq!(calls_until_refused(&followers[1], &key, 99).await, 1);
}

/// Calls at full speed on two followers, and what the limit was passed by.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_a_quota_is_overrun_by_what_is_in_flight_and_by_a_moment_of_traffic() {
    const CLIENTS: usize = 4;
    const LIMIT: u64 = 400 * CALL;
    let mock = Mock::start().await;
    let one = leader(&mock).await;
    let followers = [follower(&mock, &one, "sp-2").await, follower(&mock, &one, "sp-3").await];
    let key = user(&one, &followers, LIMIT).await;

    let mut clients = JoinSet::new();
    for node in (0..followers.len()).cycle().take(CLIENTS * followers.len()) {
        clients.spawn(spend(followers[node].url("/v1/messages"), key.clone(), node));
    }
    let mut knew = Vec::new();
    for node in &followers {
        known(node, &key, LIMIT).await;
        knew.push(Instant::now());
    }
    let mut calls: Vec<Call> = clients.join_all().await.into_iter().flatten().collect();
    calls.sort_by_key(|call| call.ended);
    // Each client has ended with a refusal.
    let rows = calls.len() + CLIENTS * followers.len();
    let used = booked(&one, rows).await["total_tokens"].as_u64().unwrap();
    assert_eq!(used, calls.len() as u64 * CALL);

    let full_at = calls[usize::try_from(LIMIT / CALL).unwrap() - 1].ended;
    let after = &calls[usize::try_from(LIMIT / CALL).unwrap()..];
    let late: Vec<&Call> = after.iter().filter(|call| call.began > full_at).collect();
    let window = late.iter().map(|call| call.began - full_at).max().unwrap_or_default();
    let before = calls.iter().filter(|call| call.ended <= full_at);
    let a_second = before.filter(|call| full_at - call.ended < Duration::from_secs(1)).count();
    println!(
        "limit {LIMIT}, used {used}: overrun by {} tokens, {} of them in flight when the limit was reached, {} admitted \
         within {window:?} after it; {a_second} calls in the second before",
        used - LIMIT,
        (after.len() - late.len()) as u64 * CALL,
        late.len() as u64 * CALL,
    );
    assert!(after.len() - late.len() <= CLIENTS * followers.len(), "no client has two calls in flight");
    for call in late {
        assert!(call.began < knew[call.node], "admitted by a node that knew");
    }
    assert!(after.len() <= CLIENTS * followers.len() + a_second, "more than a moment of traffic");
    for node in [&one, &followers[0], &followers[1]] {
        known(node, &key, used).await;
        assert_eq!(ask(node, &key).await.status, 429, "and then nothing more");
    }
}

/// A call that was admitted.
struct Call {
    node: usize,
    began: Instant,
    ended: Instant,
}

/// Calls until it is refused.
async fn spend(url: String, key: String, node: usize) -> Vec<Call> {
    let http = reqwest::Client::new();
    let body = json!({ "model": "claude-sonnet-4-5", "max_tokens": 9, "messages": [{ "role": "user", "content": "Hi" }] });
    let mut calls = Vec::new();
    loop {
        let request = http.post(&url).header("x-api-key", &key).json(&body);
        let began = Instant::now();
        let answer = request.header("mock-input", "70").header("mock-output", "30").send().await.unwrap();
        let status = answer.status().as_u16();
        answer.bytes().await.unwrap();
        if status == 429 {
            return calls;
        }
        assert_eq!(status, 200);
        calls.push(Call { node, began, ended: Instant::now() });
    }
}

/// The key of a user with a limit, once it holds everywhere.
async fn user(leader: &Node, followers: &[Node], daily_tokens: u64) -> String {
    leader.post("/admin/v1/users", json!({ "name": "alice", "daily_tokens": daily_tokens })).await;
    let key = leader.key_of("alice").await;
    for node in followers {
        known(node, &key, 0).await;
    }
    key
}

/// How many calls are admitted, of at most `most`.
async fn calls_until_refused(node: &Node, key: &str, most: u32) -> u32 {
    for admitted in 0..most {
        if ask(node, key).await.status == 429 {
            return admitted;
        }
    }
    most
}

/// Waits until a node knows of so much use, its own and others'.
async fn known(node: &Node, key: &str, tokens: u64) {
    until(&format!("{tokens} tokens are known"), async || {
        let quota = node.http.get(node.url("/me/quota")).bearer_auth(key).send().await.unwrap();
        let quota: Value = quota.json().await.unwrap();
        (quota["user"]["used"]["daily_tokens"].as_u64()? >= tokens).then_some(())
    })
    .await;
}
