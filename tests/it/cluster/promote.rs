//! A follower on SQLite that is made the leader: it goes on with what it knows, every node finds it, and the leader before
//! steps down when it is back and pushes what its books hold.

use std::collections::BTreeSet;
use std::net::TcpListener;

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    PACE, Traffic, ask, booked, compare_books, follower, follower_of, follower_setup, leader, leader_setup,
    metric, ready,
};
use crate::harness::{Link, Mock, Mode, Node, until};

/// A port that is free now, for a follower that is going to lead.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A follower that could lead.
async fn candidate(mock: &Mock, leader: &Node, id: &str) -> Node {
    let listen = format!("listen = \"127.0.0.1:{}\"", free_port());
    let setup =
        follower_setup(mock, leader).section("node", &format!("id = \"{id}\"")).section("cluster", &listen);
    // Longer than a leader takes to notice that it was superseded.
    let node = setup.section("http", "shutdown_delay = \"2s\"").start().await;
    ready(&node).await;
    node
}

async fn promote(node: &Node, force: bool) -> (u16, Value) {
    let answer = node.call(Method::POST, &format!("/admin/v1/promote?force={force}"), None).await;
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// What a node says of who leads; none: it is just beginning anew.
async fn leadership(node: &Node) -> Option<Value> {
    let url = node.url("/admin/v1/leadership");
    let answer = node.http.get(url).bearer_auth(node.admin_token()).send().await.ok()?;
    answer.json().await.ok()
}

async fn leads(node: &Node, term: u64) {
    until("it leads", async || {
        let said = leadership(node).await?;
        (said["leads"] == json!(true) && said["term"] == json!(term)).then_some(())
    })
    .await;
}

async fn follows(node: &Node, leader: &str, term: u64) {
    until(&format!("it follows {leader}"), async || {
        let said = leadership(node).await?;
        let is_it =
            said["leads"] == json!(false) && said["leader"] == json!(leader) && said["term"] == json!(term);
        is_it.then_some(())
    })
    .await;
    until("it is in touch", async || {
        let text = node.http.get(node.url("/metrics")).send().await.ok()?.text().await.ok()?;
        text.contains("\nsproxy_cluster_registered 1").then_some(())
    })
    .await;
}

async fn incomplete(leader: &Node) -> BTreeSet<String> {
    let stats = leader.get("/admin/v1/stats").await;
    let nodes = stats["incomplete"].as_array().unwrap().iter();
    nodes.map(|node| node["node"].as_str().unwrap().to_owned()).collect()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_leads_when_the_leader_is_lost_and_the_one_that_comes_back_follows() {
    let mock = Mock::start().await;
    let mut one = leader(&mock).await;
    let mut two = candidate(&mock, &one, "sp-2").await;
    let mut three = follower(&mock, &one, "sp-3").await;
    let mut lost = follower(&mock, &one, "sp-4").await;
    let key = one.user_with_key("alice").await;
    one.post("/admin/v1/users", json!({ "name": "ops", "role": "admin" })).await;
    let ops = one.key_of("ops").await;
    for node in [&one, &two, &three, &lost] {
        until("the key holds", async || (ask(node, &key).await.status == 200).then_some(())).await;
    }
    booked(&one, 4).await;
    // Its machine is gone for good: what it served is in the books of sp-1 alone.
    lost.kill().await;
    drop(lost);

    let (status, said) = promote(&two, false).await;
    assert_eq!(status, 409, "{said}");
    assert!(said["detail"].as_str().unwrap().contains("--force"), "{said}");
    let (status, said) = promote(&one, false).await;
    assert_eq!((status, &said["detail"]), (409, &json!("sp-1 leads already")));
    let (status, said) = promote(&three, true).await;
    assert_eq!(status, 409, "nobody would find it: {said}");
    assert!(said["detail"].as_str().unwrap().contains("port 0"), "{said}");

    one.kill().await;
    let mut traffic = Traffic::on(&[&two, &three], &key, 2);
    traffic.more(20).await;
    let (status, said) = promote(&two, true).await;
    assert_eq!((status, &said["term"]), (200, &json!(1)), "{said}");
    leads(&two, 1).await;
    follows(&three, "sp-2", 1).await;
    traffic.more(20).await;
    let received = traffic.end().await;
    compare_books(&two, &received).await;
    until("those are waited for that have not said what they owe", async || {
        (incomplete(&two).await == names(&["sp-1", "sp-4"])).then_some(())
    })
    .await;
    assert_eq!(metric(&two, "sproxy_cluster_term").await, 1);

    // Users are the new leader's to change, whoever is asked; a session begins at it.
    let made =
        three.http.post(three.url("/admin/v1/users")).bearer_auth(&ops).json(&json!({ "name": "bob" }));
    assert_eq!(made.send().await.unwrap().status(), 201);
    let bob = two.key_of("bob").await;
    until("the key holds", async || (ask(&three, &bob).await.status == 200).then_some(())).await;

    one.restart().await;
    follows(&one, "sp-2", 1).await;
    assert!(one.log().contains("superseded"), "{}", one.log());
    until("the key holds at the leader before", async || (ask(&one, &bob).await.status == 200).then_some(()))
        .await;
    // What it had taken of sp-4 as well.
    let all = received.len() + 4 + 2;
    booked(&two, all).await;
    let rows = two.usage().await;
    let ids: BTreeSet<&str> = rows.iter().map(|row| row["request_id"].as_str().unwrap()).collect();
    assert_eq!((rows.len(), ids.len()), (all, all));
    let of_lost = rows.iter().filter(|row| row["source_node"] == json!("sp-4")).count();
    assert_eq!(of_lost, 1);
    until("only what is gone for good is waited for", async || {
        (incomplete(&two).await == names(&["sp-4"])).then_some(())
    })
    .await;
    let forgotten = two.call(Method::DELETE, "/admin/v1/peers/sp-4", None).await;
    assert_eq!(forgotten.status(), 204);

    // Nobody has written any of it into a configuration.
    for node in [&mut two, &mut one, &mut three] {
        node.kill().await;
        node.restart().await;
    }
    leads(&two, 1).await;
    follows(&one, "sp-2", 1).await;
    follows(&three, "sp-2", 1).await;
    assert_eq!(ask(&one, &key).await.status, 200);
    booked(&two, all + 1).await;

    // And back, while all live.
    let (status, said) = promote(&one, true).await;
    assert_eq!((status, &said["term"]), (200, &json!(2)), "{said}");
    leads(&one, 2).await;
    follows(&two, "sp-1", 2).await;
    follows(&three, "sp-1", 2).await;
    assert_eq!(ask(&two, &bob).await.status, 200);
    booked(&one, all + 2).await;
    // Whom another leader has forgotten meanwhile it cannot know.
    until("nothing else is missing", async || (incomplete(&one).await == names(&["sp-4"])).then_some(()))
        .await;
    assert_eq!(one.usage().await.len(), all + 2);
}

/// It lives on behind a cut, where an admin works with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_isolated_leader_did_meanwhile_is_not_lost() {
    let mock = Mock::start().await;
    let http = format!("127.0.0.1:{}", free_port());
    let way = Link::to(http.parse().unwrap()).await;
    let one = leader_setup(&mock)
        .section("http", &format!("listen = \"{http}\""))
        .section("cluster", &format!("advertise = \"{}\"", way.url()))
        .start()
        .await;
    let mut two = candidate(&mock, &one, "sp-2").await;
    let key = one.user_with_key("alice").await;
    for node in [&one, &two] {
        until("the key holds", async || (ask(node, &key).await.status == 200).then_some(())).await;
    }
    booked(&one, 2).await;
    way.set(Mode::Cut);
    let (status, said) = promote(&two, true).await;
    assert_eq!(status, 200, "{said}");
    leads(&two, 1).await;
    let carol = one.user_with_key("carol").await;
    assert_eq!(ask(&one, &carol).await.status, 200);
    assert_eq!(leadership(&one).await.unwrap()["leads"], json!(true), "it cannot know");

    // One that has followed the new leader does not follow the old one, and lets it know that it is no more than that.
    let addresses = [leads_at(&two).await, format!("http://{}", one.grpc.unwrap())];
    let three = follower_of(&mock, &addresses[0])
        .only("cluster", &format!("{PACE}\nleader = {addresses:?}"))
        .section("node", "id = \"sp-3\"")
        .start()
        .await;
    follows(&three, "sp-2", 1).await;
    two.kill().await;
    until("it takes no changes any more", async || {
        let answer = one.call(Method::POST, "/admin/v1/users", Some(json!({ "name": "dave" }))).await;
        (answer.status() == 503).then_some(())
    })
    .await;
    assert_eq!(ask(&one, &carol).await.status, 200, "calls are answered all the same");
    two.restart().await;
    leads(&two, 1).await;
    follows(&three, "sp-2", 1).await;

    way.set(Mode::Open);
    follows(&one, "sp-2", 1).await;
    booked(&two, 4).await;
    for node in [&two, &three] {
        until("its users are known", async || (ask(node, &carol).await.status == 200).then_some(())).await;
    }
    booked(&two, 6).await;
    until("nothing is missing", async || incomplete(&two).await.is_empty().then_some(())).await;
    assert_eq!(two.usage().await.len(), 6);
}

async fn leads_at(node: &Node) -> String {
    let said = leadership(node).await.unwrap();
    said["promoted"]["leads_at"].as_str().unwrap().to_owned()
}
