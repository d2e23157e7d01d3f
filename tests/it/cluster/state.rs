//! What followers take over from the leader, and what limits mean across nodes.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::{ask, booked, disable, follower, follower_setup, leader, leader_setup, peer, ready};
use crate::harness::{Mock, Node, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_reaches_every_node_at_once_and_so_does_a_removal() {
    let mock = Mock::start().await;
    let one = leader(&mock).await;
    let two = follower(&mock, &one, "sp-2").await;
    let key = one.user_with_key("alice").await;
    let began = Instant::now();
    until("the key holds", async || (ask(&two, &key).await.status == 200).then_some(())).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    disable(&one, "alice").await;
    until("alice is refused", async || (ask(&two, &key).await.status == 403).then_some(())).await;
    let gone = one.call(Method::DELETE, "/admin/v1/users/alice", None).await;
    assert!(gone.status().is_success());
    until("alice is gone", async || (ask(&two, &key).await.status == 401).then_some(())).await;
    let again = one.user_with_key("alice").await;
    until("a new alice may call", async || (ask(&two, &again).await.status == 200).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_used_on_one_node_counts_on_every_other() {
    let mock = Mock::start().await;
    let one = leader(&mock).await;
    let (two, three) = (follower(&mock, &one, "sp-2").await, follower(&mock, &one, "sp-3").await);
    one.post("/admin/v1/users", json!({ "name": "alice", "daily_tokens": 250 })).await;
    let key = one.key_of("alice").await;
    until("the key holds", async || (ask(&two, &key).await.status == 200).then_some(())).await;
    for node in [&two, &two] {
        assert_eq!(ask(node, &key).await.status, 200);
    }
    assert_eq!(ask(&two, &key).await.status, 429);
    let began = Instant::now();
    for node in [&one, &three] {
        until("the others have heard of it", async || {
            let quota = node.http.get(node.url("/me/quota")).bearer_auth(&key).send().await.unwrap();
            (quota.json::<Value>().await.unwrap()["user"]["used"]["daily_tokens"] == json!(300)).then_some(())
        })
        .await;
        assert_eq!(ask(node, &key).await.status, 429);
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    // Three answers and, without tokens, the three refusals.
    assert_eq!(booked(&one, 6).await["total_tokens"], json!(300));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_living_process_under_one_id_is_refused_with_the_address_of_the_first() {
    let mock = Mock::start().await;
    let one = leader(&mock).await;
    let key = one.user_with_key("alice").await;
    let two = follower(&mock, &one, "sp-2").await;
    let impostor = follower_setup(&mock, &one).section("node", "id = \"sp-2\"").start().await;
    let address = format!("http://{}", two.address);
    until("the second one says why", async || impostor.log().contains(&address).then_some(())).await;
    assert_eq!(impostor.http.get(impostor.url("/readyz")).send().await.unwrap().status(), 503);
    assert_eq!(ask(&two, &key).await.status, 200);
    booked(&one, 1).await;
    assert_eq!(peer(&one, "sp-2").await.unwrap()["addr"], json!(address));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drained_silent_and_leaving_peers_are_told_apart() {
    let mock = Mock::start().await;
    let one = leader(&mock).await;
    let (mut two, three) = (follower(&mock, &one, "sp-2").await, follower(&mock, &one, "sp-3").await);
    one.call(Method::POST, "/admin/v1/peers/sp-2/drain", None).await;
    until("sp-2 takes no more traffic", async || {
        let answer = two.http.get(two.url("/readyz")).send().await.unwrap();
        (answer.status() == 503).then_some(())
    })
    .await;
    let drained = peer(&one, "sp-2").await.unwrap();
    assert_eq!((drained["draining"].clone(), drained["is_active"].clone()), (json!(true), json!(true)));
    three.process.ask_to_leave().await;
    until("sp-3 has left", async || (peer(&one, "sp-3").await?["is_active"] == json!(false)).then_some(()))
        .await;
    two.kill().await;
    until("sp-2 is silent", async || (peer(&one, "sp-2").await?["is_active"] == json!(false)).then_some(()))
        .await;
    assert!(one.call(Method::DELETE, "/admin/v1/peers/sp-3", None).await.status().is_success());
    assert!(peer(&one, "sp-3").await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_follower_stays_drained_when_it_starts_without_its_leader() {
    let mock = Mock::start().await;
    let mut one = leader(&mock).await;
    let mut two = follower(&mock, &one, "sp-2").await;
    let reasons = async |two: &Node| -> Value {
        two.http.get(two.url("/readyz")).send().await.unwrap().json().await.unwrap()
    };
    one.call(Method::POST, "/admin/v1/peers/sp-2/drain", None).await;
    let drained = json!({ "status": "not ready", "reasons": ["the node is drained"] });
    until("sp-2 is drained", async || (reasons(&two).await == drained).then_some(())).await;
    one.kill().await;
    two.process.ask_to_leave().await;
    assert_eq!(two.process.ended().await, Some(0));
    two.restart().await;
    assert_eq!(reasons(&two).await, drained);
    one.restart().await;
    assert_eq!(peer(&one, "sp-2").await.unwrap()["draining"], json!(true));
    one.call(Method::POST, "/admin/v1/peers/sp-2/undrain", None).await;
    ready(&two).await;
    two.kill().await;
    one.kill().await;
    two.restart().await;
    assert_eq!(reasons(&two).await["status"], json!("ready"), "nor does it come back to it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_leaving_is_listed_as_draining_until_it_is_back() {
    let mock = Mock::start().await;
    let at_length = "shutdown_delay = \"1h\"";
    let mut one = leader_setup(&mock).section("http", at_length).start().await;
    let setup = follower_setup(&mock, &one).section("node", "id = \"sp-2\"");
    let mut two = setup.section("http", at_length).start().await;
    ready(&two).await;
    one.post("/admin/v1/users", json!({ "name": "root", "role": "admin" })).await;
    let root = one.key_of("root").await;
    let draining = async |asked: &Node, id: &str| {
        let request = asked.http.get(asked.url("/admin/v1/peers")).bearer_auth(&root);
        let peers: Value = request.send().await.ok()?.error_for_status().ok()?.json().await.ok()?;
        let row = peers["items"].as_array()?.iter().find(|peer| peer["id"] == json!(id))?.clone();
        (row["is_active"] == json!(true)).then(|| row["draining"].as_bool())?
    };
    let becomes = async |asked: &Node, id: &str, what: bool| {
        until("the list says so", async || (draining(asked, id).await == Some(what)).then_some(())).await;
    };
    becomes(&two, "sp-1", false).await;
    two.process.ask_to_leave().await;
    becomes(&one, "sp-2", true).await;
    one.process.ask_to_leave().await;
    becomes(&two, "sp-1", true).await;
    for node in [&mut two, &mut one] {
        node.process.ask_to_leave().await;
        assert_eq!(node.process.ended().await, Some(0));
    }
    for node in [&mut one, &mut two] {
        node.restart().await;
    }
    for id in ["sp-1", "sp-2"] {
        becomes(&one, id, false).await;
        becomes(&two, id, false).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_on_a_followers_machine_is_sent_to_the_leader() {
    let mock = Mock::start().await;
    let one = leader(&mock).await;
    let two = follower(&mock, &one, "sp-2").await;
    one.post("/admin/v1/users", json!({ "name": "root", "role": "admin" })).await;
    let root = one.key_of("root").await;
    let on_two = async |arguments: &[&str]| {
        let mut command = tokio::process::Command::new(crate::harness::SPROXY);
        command
            .args(arguments)
            .current_dir(two.directory())
            .env_remove("SPROXY_TOKEN")
            .env_remove("SPROXY_SERVER");
        let ended = command.output().await.unwrap();
        (
            ended.status.code(),
            format!("{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr)),
        )
    };
    for arguments in [&["stats"][..], &["stats", "--by", "user"], &["user", "add", "bob"]] {
        let (code, said) = on_two(arguments).await;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(&format!("go to the leader at {}", one.url(""))), "{arguments:?}: {said}");
    }
    let (code, said) = on_two(&["usage"]).await;
    assert_eq!(code, Some(0), "what it has itself it shows: {said}");
    until("the follower knows the new key", async || {
        let (code, _) = on_two(&["stats", "--token", &root]).await;
        (code == Some(0)).then_some(())
    })
    .await;
    let (code, said) = on_two(&["user", "add", "bob", "--token", &root]).await;
    assert_eq!(code, Some(0), "with a credential that the leader knows, it is relayed: {said}");
}
