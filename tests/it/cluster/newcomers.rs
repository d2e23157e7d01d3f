//! Nodes without a name: each is given one that nobody else has, and is no peer before it comes with it.

use std::collections::BTreeSet;

use sproxy::wire::v1::cluster_client::ClusterClient;
use tonic::transport::Channel;
use tonic::{Code, Status};
use uuid::Uuid;

use super::grpc::{channel, registration};
use super::{leader, leader_setup};
use crate::harness::postgres::Postgres;
use crate::harness::{Mock, Node, until};

/// Asks for a name; a former run makes it the same node's.
async fn name(cluster: &mut ClusterClient<Channel>, instance: Uuid) -> Result<String, Status> {
    cluster.register(registration("", instance)).await.map(|answer| answer.into_inner().node_id)
}

/// The same, once a leader whose database is new gives names.
async fn first_name(cluster: &ClusterClient<Channel>, instance: Uuid) -> String {
    until("the leader gives names", async || name(&mut cluster.clone(), instance).await.ok()).await
}

async fn peers(leader: &Node) -> Vec<String> {
    let peers = leader.get("/admin/v1/peers").await;
    let items = peers["items"].as_array().unwrap();
    items.iter().map(|peer| peer["id"].as_str().unwrap().to_owned()).collect()
}

fn number(name: &str) -> u64 {
    name.strip_prefix("sp-").and_then(|number| number.parse().ok()).expect("sp-N")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_for_a_name_is_no_peer_before_it_comes_with_it() {
    let mock = Mock::start().await;
    ask_and_never_come(leader(&mock).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_is_it_on_postgresql() {
    let Some(server) = Postgres::shared() else { return };
    let mock = Mock::start().await;
    let url = format!("url = \"{}\"", server.new_database());
    ask_and_never_come(leader_setup(&mock).section("store", &url).start().await).await;
}

async fn ask_and_never_come(mut one: Node) {
    let mut cluster = ClusterClient::new(channel(&one).await);
    cluster.register(registration("sp-2", Uuid::now_v7())).await.unwrap();
    let first = Uuid::now_v7();
    let mut names = BTreeSet::from([first_name(&cluster, first).await]);
    assert_eq!(names, BTreeSet::from(["sp-3".to_owned()]));
    let mut refused = 0;
    for _ in 0..300 {
        match name(&mut cluster, Uuid::now_v7()).await {
            Ok(given) => assert!(names.insert(given), "two nodes of one name"),
            Err(status) => {
                assert_eq!(status.code(), Code::Unavailable, "{status}");
                assert!(status.message().contains("later"), "{status}");
                refused += 1;
            }
        }
    }
    assert_eq!(peers(&one).await, ["sp-1", "sp-2"]);
    assert!(refused > 200, "{refused} of 300 were refused");
    assert_eq!(name(&mut cluster, first).await.unwrap(), "sp-3", "its answer got lost: the same again");

    // One of them comes: there is a place for the next, under a name that nobody has had.
    cluster.register(registration("sp-3", first)).await.unwrap();
    let next = name(&mut cluster, Uuid::now_v7()).await.unwrap();
    assert!(names.insert(next.clone()), "{next} was given before");
    assert_eq!(peers(&one).await, ["sp-1", "sp-2", "sp-3"]);

    one.kill().await;
    one.restart().await;
    let mut cluster = ClusterClient::new(channel(&one).await);
    let after = name(&mut cluster, Uuid::now_v7()).await.unwrap();
    assert_eq!(number(&after), number(&next) + 1, "its owner may still be on its way");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_nameless_node_asked_makes_no_second_one_of_it_however_late_it_comes() {
    let mock = Mock::start().await;
    let one = leader(&mock).await;
    let mut cluster = ClusterClient::new(channel(&one).await);
    let (first, second) = (Uuid::now_v7(), Uuid::now_v7());
    let given = first_name(&cluster, first).await;
    assert_eq!(given, "sp-2");
    cluster.register(registration(&given, first)).await.unwrap();
    assert_eq!(name(&mut cluster, first).await.unwrap(), given, "doubled, and soon");
    let mut restarted = registration(&given, second);
    restarted.former_instance_ids = vec![first.to_string()];
    until("the run before is not heard of any more", async || {
        cluster.clone().register(restarted.clone()).await.ok()
    })
    .await;
    let _wasted = name(&mut cluster, first).await;
    assert_eq!(peers(&one).await, ["sp-1", "sp-2"]);
}
