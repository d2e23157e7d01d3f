//! Who holds totals back, as programs that speak gRPC are told, and people at a terminal.

use std::time::Duration;

use prost_types::Timestamp as Moment;
use serde_json::{Value, json};
use sproxy::domain::clock::{Clock, SystemClock, Timestamp};
use sproxy::wire::v1;
use sproxy::wire::v1::cluster_client::ClusterClient;
use sproxy::wire::v1::stats_client::StatsClient;
use tonic::Request;

use super::grpc::{channel, registration, with};
use super::{ask, booked, follower, leader};
use crate::cli::{Ended, plain};
use crate::harness::{Mock, Node, time, until};

fn wire(at: Timestamp) -> Moment {
    let micros = at.as_micros();
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1_000).unwrap();
    Moment { seconds: micros.div_euclid(1_000_000), nanos }
}

async fn totals(leader: &Node) -> v1::GlobalStats {
    let mut stats = StatsClient::new(channel(leader).await);
    let all = v1::GetGlobalStatsRequest::default();
    stats.get_global_stats(with(&leader.admin_token(), all)).await.unwrap().into_inner()
}

/// A command of an admin at a node.
async fn at(node: &Node, admin: &str, arguments: &[&str]) -> Ended {
    let url = node.url("");
    plain(&[arguments, &["--server", &url, "--token", admin]].concat()).await
}

/// What people read of it, line by line.
async fn lines(node: &Node, admin: &str, arguments: &[&str]) -> Vec<String> {
    let said = at(node, admin, arguments).await.done();
    said.lines().filter(|line| line.starts_with("not complete")).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_holds_totals_back_is_named_to_programs_and_to_people_until_it_owes_nothing() {
    let mock = Mock::start().await;
    let mut one = leader(&mock).await;
    one.post("/admin/v1/users", json!({ "name": "root", "role": "admin" })).await;
    let admin = one.key_of("root").await;
    let two = follower(&mock, &one, "sp-2").await;
    until("the follower knows root", async || (ask(&two, &admin).await.status == 200).then_some(())).await;
    booked(&one, 1).await;
    until("nobody is waited for", async || totals(&one).await.incomplete.is_empty().then_some(())).await;
    let (stats, list) = (&["stats"][..], &["peer", "list"][..]);
    for (node, command) in [(&one, stats), (&one, list), (&two, stats), (&two, list)] {
        assert!(lines(node, &admin, command).await.is_empty());
    }

    // A node that owes three logs of the last hour.
    let mut nine = ClusterClient::new(channel(&one).await);
    let instance = uuid::Uuid::now_v7();
    let known = nine.register(registration("sp-9", instance)).await.unwrap().into_inner();
    let since = SystemClock.now().minus(Duration::from_hours(1));
    let beat = v1::HeartbeatRequest {
        node_id: "sp-9".to_owned(),
        instance_id: instance.to_string(),
        ledger_id: known.ledger_id.clone(),
        unsynced: 3,
        synced_through: Some(wire(since)),
        ..v1::HeartbeatRequest::default()
    };
    nine.heartbeat(beat).await.unwrap();
    let told = totals(&one).await;
    let owing = v1::Incomplete { node: "sp-9".to_owned(), since: Some(wire(since)), unsynced: 3 };
    assert_eq!((told.incomplete, told.complete_through), (vec![owing], Some(wire(since))));
    assert_eq!((told.request_count, told.total_tokens), (1, 100), "what there is counts all the same");
    let mut client = StatsClient::new(channel(&one).await);
    let peers = client.list_peers(with(&one.admin_token(), v1::ListPeersRequest {})).await.unwrap();
    let peers = peers.into_inner().peers;
    let nine_of = peers.iter().find(|peer| peer.id == "sp-9").unwrap();
    assert_eq!((nine_of.unsynced, nine_of.synced_through), (3, Some(wire(since))));

    let expected = format!(
        "not complete from {since} on: usage of sp-9 may be missing, 3 logs that are known of; \
         if it never comes back: sproxy peer forget sp-9; \
         if its leader refuses them: sproxy usage retry-rejected or dismiss-rejected there"
    );
    for node in [&one, &two] {
        assert_eq!(lines(node, &admin, stats).await, [&*expected]);
        assert_eq!(lines(node, &admin, list).await, [&*expected]);
        let totals = at(node, &admin, &["stats", "--json"]).await.json();
        assert_eq!(totals["incomplete"][0]["node"], json!("sp-9"));
        assert_eq!(totals["incomplete"][0]["unsynced"], json!(3));
        assert_eq!(time(&totals["incomplete"][0]["since"]), Some(since));
        assert_eq!(time(&totals["complete_through"]), Some(since));
    }
    let peers = at(&one, &admin, &["peer", "list", "--json"]).await.json();
    let owes: Vec<&Value> = peers.as_array().unwrap().iter().map(|peer| &peer["unsynced"]).collect();
    assert_eq!(owes, [&json!(0), &json!(0), &json!(3)]);

    let leave = v1::LeaveRequest {
        node_id: "sp-9".to_owned(),
        instance_id: instance.to_string(),
        ledger_id: known.ledger_id,
        unsynced: Some(0),
        ..v1::LeaveRequest::default()
    };
    nine.leave(Request::new(leave)).await.unwrap();
    until("nobody is waited for", async || {
        let told = totals(&one).await;
        (told.incomplete.is_empty()
            && told.complete_through.is_some_and(|at| at.seconds > wire(since).seconds + 3_500))
        .then_some(())
    })
    .await;
    for (node, command) in [(&one, stats), (&one, list), (&two, stats), (&two, list)] {
        assert!(lines(node, &admin, command).await.is_empty());
    }

    // Whoever cannot ask the leader lists the nodes all the same, and has no totals to show.
    one.kill().await;
    assert!(at(&two, &admin, list).await.done().contains("sp-9"));
    assert!(at(&two, &admin, stats).await.refused(1).contains("the leader cannot be reached"));
}
