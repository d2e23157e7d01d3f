//! Whose login it is: addresses share the passwords' turns, and a relayed login is its caller's, not the follower's.

use std::net::{IpAddr, Ipv4Addr};

use reqwest::Client;
use serde_json::{Value, json};

use crate::harness::{Mock, Node, Setup, until};

const PASSWORD: &str = "correct horse battery";

/// A client at 127.0.0.`last`.
fn at(last: u8) -> Client {
    Client::builder().local_address(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))).build().unwrap()
}

async fn login(client: &Client, node: &Node, name: &str, password: &str) -> (u16, Value) {
    let body = json!({ "username": name, "password": password });
    let answer = client.post(node.url("/auth/login")).json(&body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn alone() -> Node {
    Setup::with_targets_at("http://127.0.0.1:9").start().await
}

/// A leader and a follower that share a secret.
async fn pair() -> (Mock, Node, Node) {
    super::pair_with("secret = \"a secret of thirty-two characters\"").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_floods_the_logins_does_not_keep_others_from_theirs() {
    let node = alone().await;
    let flood: Vec<_> = (0..80)
        .map(|connection| {
            let (client, url) = (at(2), node.url("/auth/login"));
            tokio::spawn(async move {
                for turn in 0.. {
                    let body = json!({ "username": format!("user-{connection}-{turn}"), "password": "a wrong guess" });
                    let _any = client.post(&url).json(&body).send().await;
                }
            })
        })
        .collect();
    until("the flood has filled what it may have", async || {
        let (status, _) = login(&at(2), &node, "one-more", "a wrong guess").await;
        (status == 503).then_some(())
    })
    .await;
    let admin = at(3);
    for turn in 0..10 {
        let (status, answer) = login(&admin, &node, "admin", PASSWORD).await;
        assert_eq!(status, 200, "turn {turn}: {answer}");
    }
    flood.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn failed_logins_at_a_follower_are_those_of_the_address_they_come_from() {
    let (_mock, leader, follower) = pair().await;
    for _ in 0..6 {
        assert_ne!(login(&at(2), &follower, "admin", "a wrong guess").await.0, 200);
    }
    assert_eq!(login(&at(2), &follower, "admin", PASSWORD).await.0, 429, "the guesser waits");
    assert_eq!(login(&at(3), &follower, "admin", PASSWORD).await.0, 200, "nobody else does");
    assert_eq!(login(&at(3), &leader, "admin", PASSWORD).await.0, 200);
    // A caller's own word for it is not believed.
    for turn in 0..6 {
        let said = format!("192.0.2.{turn};0;");
        let guess = at(4).post(leader.url("/auth/login")).header("x-sproxy-caller", said);
        let guess = guess.json(&json!({ "username": "admin", "password": "a wrong guess" }));
        assert_ne!(guess.send().await.unwrap().status(), 200);
    }
    assert_eq!(login(&at(4), &leader, "admin", PASSWORD).await.0, 429);
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_address_before_it_counts_and_without_one_nobodys_word_does() {
    let trusting = "trusted_proxies = [\"127.0.0.5/32\", \"10.0.0.0/8\"]";
    let node = Setup::with_targets_at("http://127.0.0.1:9").section("http", trusting).start().await;
    let guess = async |last: u8, forwarded: &str, password: &str| {
        let request = at(last).post(node.url("/auth/login")).header("x-forwarded-for", forwarded);
        let body = json!({ "username": "admin", "password": password });
        request.json(&body).send().await.unwrap().status().as_u16()
    };
    for turn in 0..6 {
        guess(5, &format!("203.0.113.{turn}, 192.0.2.1, 10.0.0.1"), "a wrong guess").await;
    }
    assert_eq!(guess(5, "192.0.2.1", PASSWORD).await, 429, "what it claims to be does not matter");
    assert_eq!(guess(5, "192.0.2.2", PASSWORD).await, 200);
    for turn in 0..6 {
        guess(6, &format!("192.0.2.{turn}"), "a wrong guess").await;
    }
    assert_eq!(guess(6, "192.0.2.99", PASSWORD).await, 429, "this one is no proxy");
}

#[tokio::test]
async fn a_logout_at_a_follower_ends_the_access_token_there_and_at_the_leader() {
    let (_mock, leader, follower) = pair().await;
    let (status, session) = login(&at(3), &follower, "admin", PASSWORD).await;
    assert_eq!(status, 200, "{session}");
    let access = session["access_token"].as_str().unwrap();
    let me = async |node: &Node| {
        node.http.get(node.url("/me")).bearer_auth(access).send().await.unwrap().status().as_u16()
    };
    until("the follower knows the key", async || (me(&follower).await == 200).then_some(())).await;
    assert_eq!(me(&leader).await, 200);
    let logout = follower.http.post(follower.url("/auth/logout"));
    let logout = logout.json(&json!({ "refresh_token": session["refresh_token"] })).send().await.unwrap();
    assert_eq!(logout.status(), 204);
    assert!(!logout.headers().contains_key("x-sproxy-session-ended"), "between nodes only");
    assert_eq!((me(&follower).await, me(&leader).await), (401, 401));
}

#[tokio::test]
async fn a_relay_hands_on_what_is_for_the_other_end_and_keeps_what_was_for_its_connection() {
    let (_mock, leader, follower) = pair().await;
    // The leader would wait for a body of this length, or refuse the expectation, if these came through.
    let request = follower.http.post(follower.url("/auth/login"));
    let request = request
        .header("connection", "keep-alive, x-hop")
        .header("x-hop", "1")
        .header("te", "trailers")
        .header("proxy-authorization", "Basic secret")
        .header("keep-alive", "timeout=5")
        .json(&json!({ "username": "admin", "password": PASSWORD }));
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["x-sproxy-scope"], "cluster");
    drop(leader);
}
