//! The gRPC door: who may call, and what a follower may not do.

use serde_json::json;
use sproxy::wire::v1;
use sproxy::wire::v1::cluster_client::ClusterClient;
use sproxy::wire::v1::stats_client::StatsClient;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request};

use super::{PACE, ask, follower_setup, leader, quiet, ready};
use crate::harness::{Mock, Node, Setup, until};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

pub(super) async fn channel(node: &Node) -> Channel {
    let address = format!("http://{}", node.grpc.expect("a leader"));
    Channel::from_shared(address).unwrap().connect().await.unwrap()
}

pub(super) fn with<T>(credential: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value: MetadataValue<_> = format!("Bearer {credential}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

pub(super) fn registration(node_id: &str, instance: uuid::Uuid) -> v1::RegisterRequest {
    v1::RegisterRequest {
        node_id: node_id.to_owned(),
        instance_id: instance.to_string(),
        advertise_url: "http://elsewhere:9000".to_owned(),
        weight: 50,
        version: "test".to_owned(),
        ..v1::RegisterRequest::default()
    }
}

pub(super) fn log(node: &str) -> v1::UsageLog {
    v1::UsageLog {
        request_id: uuid::Uuid::now_v7().to_string(),
        user_id: uuid::Uuid::now_v7().to_string(),
        user: "alice".to_owned(),
        model: "model".to_owned(),
        provider: "anthropic".to_owned(),
        token_source: "reported".to_owned(),
        outcome: "ok".to_owned(),
        input_tokens: 7,
        price: Some(v1::Price::default()),
        source_node: node.to_owned(),
        created_at: Some(prost_types::Timestamp { seconds: 1_795_305_600, nanos: 0 }),
        ..v1::UsageLog::default()
    }
}

/// Pushes what is no text where the node's id should be.
async fn push_bytes(channel: &Channel, request: Request<Vec<u8>>) -> Code {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<Vec<u8>, v1::PushUsageResponse>::default();
    let path = "/sproxy.v1.Cluster/PushUsage".parse().unwrap();
    client.unary(request, path, codec).await.unwrap_err().code()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_secret_there_is_nothing_and_statistics_are_for_admins_and_auditors() {
    let mock = Mock::start().await;
    let secret = format!("secret = \"{SECRET}\"");
    let setup = Setup::with_targets_at(&mock.url()).section("cluster", PACE).section("cluster", &secret);
    let one = quiet(setup).start().await;
    let key = one.user_with_key("alice").await;
    one.post("/admin/v1/users", json!({ "name": "root", "role": "admin" })).await;
    let admin = one.key_of("root").await;
    one.post("/admin/v1/users", json!({ "name": "ada", "role": "auditor" })).await;
    one.post("/admin/v1/users", json!({ "name": "mia", "role": "manager" })).await;
    let (auditor, manager) = (one.key_of("ada").await, one.key_of("mia").await);
    assert_eq!(ask(&one, &key).await.status, 200);
    let channel = channel(&one).await;
    let mut cluster = ClusterClient::new(channel.clone());
    let wanted = registration("sp-2", uuid::Uuid::now_v7());
    for request in [
        Request::new(wanted.clone()),
        with("0123456789abcdef0123456789abcdeX", wanted.clone()),
        with(&admin, wanted.clone()),
    ] {
        assert_eq!(cluster.register(request).await.unwrap_err().code(), Code::Unauthenticated);
    }
    cluster.register(with(SECRET, wanted)).await.unwrap();
    // Nothing of a stranger's message is read: not even that it is none.
    let garbage = || vec![0xff_u8; 8];
    assert_eq!(push_bytes(&channel, Request::new(garbage())).await, Code::Unauthenticated);
    assert_ne!(push_bytes(&channel, with(SECRET, garbage())).await, Code::Unauthenticated);

    let mut stats = StatsClient::new(channel);
    let all = v1::GetGlobalStatsRequest::default();
    assert_eq!(stats.get_global_stats(all).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(stats.get_global_stats(with(&key, all)).await.unwrap_err().code(), Code::PermissionDenied);
    let refused = stats.get_global_stats(with(&manager, all)).await.unwrap_err();
    assert_eq!(refused.message(), "this needs the role admin or auditor; yours is manager");
    for credential in [SECRET, &admin, &auditor, &one.admin_token()] {
        let sum = stats.get_global_stats(with(credential, all)).await.unwrap().into_inner();
        assert_eq!((sum.request_count, sum.total_tokens), (1, 100));
    }
    let users =
        stats.list_user_stats(with(&admin, v1::ListUserStatsRequest::default())).await.unwrap().into_inner();
    assert_eq!((users.items[0].user.as_str(), users.items[0].total_input), ("alice", 70));
    assert_eq!(users.next_cursor, "", "that was all");
    assert_eq!(ask(&one, &admin).await.status, 200);
    let (mut names, mut asked) = (Vec::new(), v1::ListUserStatsRequest { limit: 1, ..Default::default() });
    loop {
        let page = stats.list_user_stats(with(&admin, asked.clone())).await.unwrap().into_inner();
        names.extend(page.items.into_iter().map(|row| row.user));
        if page.next_cursor.is_empty() {
            break;
        }
        asked.cursor = page.next_cursor;
    }
    names.sort();
    assert_eq!(names, ["alice", "root"]);
    let peers = stats.list_peers(with(&admin, v1::ListPeersRequest {})).await.unwrap().into_inner().peers;
    assert_eq!(peers.iter().map(|peer| peer.id.as_str()).collect::<Vec<_>>(), ["sp-1", "sp-2"]);
    let filter = v1::UsageFilter { user: "alice".to_owned(), ..v1::UsageFilter::default() };
    let mut logs = stats.query_usage(with(&admin, filter)).await.unwrap().into_inner();
    let log = logs.message().await.unwrap().expect("one log");
    assert_eq!((log.output_tokens, log.synced), (30, true));
    assert!(logs.message().await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_pushes_its_own_records_each_with_a_verdict_and_nobody_elses() {
    let mock = Mock::start().await;
    let one = leader(&mock).await;
    let mut cluster = ClusterClient::new(channel(&one).await);
    let instance = uuid::Uuid::now_v7();
    let (mine, foreign, broken) = (log("sp-2"), log("sp-3"), v1::UsageLog { price: None, ..log("sp-2") });
    let mut push = v1::PushUsageRequest {
        node_id: "sp-2".to_owned(),
        instance_id: instance.to_string(),
        ledger_id: uuid::Uuid::now_v7().to_string(),
        records: vec![foreign.clone(), mine.clone(), broken.clone(), mine],
        leader_instance_id: String::new(),
        last_batch: 0,
        session_id: String::new(),
    };
    assert_eq!(cluster.push_usage(push.clone()).await.unwrap_err().code(), Code::NotFound, "register first");
    let known = cluster.register(registration("sp-2", instance)).await.unwrap().into_inner();
    assert_eq!(cluster.push_usage(push.clone()).await.unwrap_err().code(), Code::NotFound, "another ledger");
    push.ledger_id = known.ledger_id;
    assert_eq!(known.batches_taken, Some(0));
    let answer = cluster.push_usage(push.clone()).await.unwrap().into_inner();
    assert_eq!((answer.accepted, answer.duplicates), (1, 1));
    let rejected: Vec<_> = answer.rejected.iter().map(|record| record.request_id.clone()).collect();
    assert_eq!(rejected, [foreign.request_id, broken.request_id]);
    assert!(answer.rejected[0].reason.contains("sp-3"), "{:?}", answer.rejected);
    let again = cluster.push_usage(push.clone()).await.unwrap().into_inner();
    assert_eq!((again.accepted, again.duplicates), (0, 2), "pushed again, booked once");
    assert_eq!((answer.batch, again.batch), (Some(1), Some(2)));
    let known = cluster.register(registration("sp-2", instance)).await.unwrap().into_inner();
    assert_eq!(known.batches_taken, Some(2));
    push.leader_instance_id = uuid::Uuid::now_v7().to_string();
    let meant = cluster.push_usage(push.clone()).await.unwrap_err();
    assert_eq!(meant.code(), Code::NotFound, "meant for another run of the leader");
    push.leader_instance_id = known.leader_instance_id;
    cluster.push_usage(push.clone()).await.unwrap();
    let beat = v1::HeartbeatRequest {
        node_id: push.node_id.clone(),
        instance_id: push.instance_id.clone(),
        ledger_id: uuid::Uuid::now_v7().to_string(),
        ..v1::HeartbeatRequest::default()
    };
    let stale = cluster.heartbeat(beat).await.unwrap_err();
    assert_eq!(stale.code(), Code::NotFound, "what is owed to another ledger says nothing of this one");
    push.instance_id = uuid::Uuid::now_v7().to_string();
    assert_eq!(cluster.push_usage(push).await.unwrap_err().code(), Code::NotFound, "another run of it");
    let taken = cluster.register(registration("sp-2", uuid::Uuid::now_v7())).await.unwrap_err();
    assert_eq!(taken.code(), Code::AlreadyExists);
    assert!(taken.message().contains("http://elsewhere:9000"), "{taken}");
    assert_eq!(one.get("/admin/v1/stats").await["total_tokens"], json!(7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_speak_tls_and_show_each_other_certificates() {
    let mock = Mock::start().await;
    let pki = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tls");
    let tls =
        format!("tls_cert = \"{pki}/node.pem\"\ntls_key = \"{pki}/node.key\"\ntls_ca = \"{pki}/ca.pem\"");
    let leading = format!("{PACE}\n{tls}\ntls_client_auth = true");
    let one = quiet(Setup::with_targets_at(&mock.url()).section("cluster", &leading)).start().await;
    let key = one.user_with_key("alice").await;
    let address = format!("https://localhost:{}", one.grpc.unwrap().port());
    let following = |tls: &str| format!("{PACE}\nleader = \"{address}\"\n{tls}");
    let setup = |tls: &str, id: &str| {
        quiet(Setup::with_targets_at(&mock.url()).section("cluster", &following(tls)))
            .section("node", &format!("id = \"{id}\""))
    };
    let two = setup(&tls, "sp-2").start().await;
    ready(&two).await;
    assert_eq!(ask(&two, &key).await.status, 200);
    let stranger = setup(&format!("tls_ca = \"{pki}/ca.pem\""), "sp-3").start().await;
    until("it is not let in", async || stranger.log().contains("cannot push usage").then_some(())).await;
    assert_eq!(stranger.http.get(stranger.url("/readyz")).send().await.unwrap().status(), 503);
    let plain = follower_setup(&mock, &one).section("node", "id = \"sp-4\"").start().await;
    until("nor is one without TLS", async || plain.log().contains("cannot push usage").then_some(())).await;
}
