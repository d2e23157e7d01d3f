//! A follower that knows several addresses of leaders: it keeps to one as long as that answers, and goes on to the next.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sproxy::wire::v1;
use sproxy::wire::v1::cluster_client::ClusterClient;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::interval;

use super::grpc::{channel, registration};
use super::restore::{Backup, acknowledged};
use super::{PACE, ask, booked, leader, metric, peer, quiet, ready};
use crate::harness::{Link, Mock, Mode, Node, Setup, until};

/// As long as a call may take: whoever waits for that has not noticed that its leader is silent.
const ANSWER_MAX: Duration = Duration::from_secs(10);
const MOVED: &str = "this node goes on to another leader";
const NOT_FOLLOWED: &str = "a leader is not followed: it leads another ledger";

fn following(mock: &Mock, addresses: &[&str]) -> Setup {
    let line = format!("{PACE}\nleader = {addresses:?}");
    quiet(Setup::with_targets_at(&mock.url()).section("cluster", &line))
}

/// A follower with these leaders that has its users.
async fn follower_of(mock: &Mock, addresses: &[&str]) -> Node {
    let node = following(mock, addresses).section("node", "id = \"sp-2\"").start().await;
    ready(&node).await;
    node
}

/// How often a text is in a node's log.
fn said(node: &Node, text: &str) -> usize {
    node.log().matches(text).count()
}

/// The addresses of each move in a log: from, to.
fn moves(node: &Node) -> Vec<(String, String)> {
    let lines = node.log();
    let lines = lines.lines().filter(|line| line.contains(MOVED));
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let field = |name: &str| line["fields"][name].as_str().unwrap().to_owned();
        (field("from"), field("to"))
    };
    lines.map(line).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_keeps_to_a_leader_that_answers_and_goes_on_from_one_that_is_gone() {
    let mock = Mock::start().await;
    let one = leader(&mock).await;
    let key = one.user_with_key("alice").await;
    let (a, b) = (Link::to(one.grpc.unwrap()).await, Link::to(one.grpc.unwrap()).await);
    let mut two = follower_of(&mock, &[&a.url(), &b.url()]).await;
    for calls in 1..=3 {
        assert_eq!(ask(&two, &key).await.status, 200);
        booked(&one, calls).await;
    }
    assert_eq!((a.opened(), b.opened()), (1, 0), "it keeps to the first");

    a.set(Mode::Cut);
    assert_eq!(ask(&two, &key).await.status, 200);
    booked(&one, 4).await;
    a.set(Mode::Open);
    let asked_before = a.opened();
    for calls in 5..=7 {
        assert_eq!(ask(&two, &key).await.status, 200);
        booked(&one, calls).await;
    }
    assert_eq!((a.opened(), b.opened()), (asked_before, 1), "and then to the second");
    assert_eq!(moves(&two), [(a.url(), b.url())]);

    b.set(Mode::Cut);
    assert_eq!(ask(&two, &key).await.status, 200);
    booked(&one, 8).await;
    assert_eq!(moves(&two)[1..], [(b.url(), a.url())], "after the last comes the first");
    until("nothing that was pushed is owed", async || {
        (metric(&two, "sproxy_sync_unsynced").await == 0).then_some(())
    })
    .await;
    two.process.ask_to_leave().await;
    assert_eq!(two.process.ended().await, Some(0));
    assert!(two.log().contains("everything is pushed; left the cluster"), "{}", two.log());
    assert_eq!(peer(&one, "sp-2").await.unwrap()["is_active"], json!(false));
}

/// Connections stay open, and nobody answers: a process that is stopped, or a machine that hangs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_goes_on_from_a_leader_that_is_silent_long_before_a_call_times_out() {
    let mock = Mock::start().await;
    // By missed heartbeats nobody would notice soon.
    let one = quiet(Setup::with_targets_at(&mock.url()).section("cluster", "heartbeat_interval = \"10m\""))
        .start()
        .await;
    let key = one.user_with_key("alice").await;
    let (a, b) = (Link::to(one.grpc.unwrap()).await, Link::to(one.grpc.unwrap()).await);
    let two = follower_of(&mock, &[&a.url(), &b.url()]).await;
    assert_eq!(ask(&two, &key).await.status, 200);
    booked(&one, 1).await;

    let begun = Instant::now();
    a.set(Mode::Stalled);
    assert_eq!(ask(&two, &key).await.status, 200);
    booked(&one, 2).await;
    assert!(begun.elapsed() < ANSWER_MAX, "{:?}", begun.elapsed());
    assert_eq!(moves(&two), [(a.url(), b.url())]);

    // Nobody pushes.
    let begun = Instant::now();
    b.set(Mode::Lost);
    a.set(Mode::Open);
    until("it moves", async || (moves(&two).len() == 2).then_some(())).await;
    assert!(begun.elapsed() < ANSWER_MAX, "{:?}", begun.elapsed());
    let bob = one.user_with_key("bob").await;
    until("it hears of new users there", async || (ask(&two, &bob).await.status == 200).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_process_that_is_stopped_is_left_and_one_that_refuses_is_passed_over() {
    let mock = Mock::start().await;
    let secret = |secret: &str| format!("secret = \"{secret}-0123456789abcdef0123456789abcdef\"");
    let with = |lines: &str| {
        quiet(Setup::with_targets_at(&mock.url()).section("cluster", PACE).section("cluster", lines))
    };
    let stranger = with(&secret("theirs")).start().await;
    let one = with(&secret("ours")).start().await;
    let at = |node: &Node| format!("http://{}", node.grpc.unwrap());
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    // It has no name: that comes from whoever gives one.
    let two = following(&mock, &[&nobody, &at(&stranger), &at(&one)])
        .section("cluster", &secret("ours"))
        .start()
        .await;
    ready(&two).await;
    assert!(peer(&one, "sp-2").await.is_some());
    assert!(peer(&stranger, "sp-2").await.is_none());
    one.process.signal("STOP").await;
    until("it is asked no more, and nobody else takes the node", async || {
        two.log().contains("no leader takes this node").then_some(())
    })
    .await;
    let log = two.log();
    assert!(log.contains("the secret is not the leader's"), "{log}");
    one.process.signal("CONT").await;
    let key = one.user_with_key("alice").await;
    until("it is back", async || (ask(&two, &key).await.status == 200).then_some(())).await;
    booked(&one, 1).await;
}

/// Another cluster's leader in the list: a mistake that must not move a node's whole usage there, and back again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_with_another_ledger_is_not_followed_while_the_right_one_may_come_back() {
    let mock = Mock::start().await;
    let (one, other) = (leader(&mock).await, leader(&mock).await);
    let key = one.user_with_key("alice").await;
    let (a, wrong) = (Link::to(one.grpc.unwrap()).await, Link::to(other.grpc.unwrap()).await);
    let mut two = follower_of(&mock, &[&a.url(), &wrong.url()]).await;
    assert_eq!(ask(&two, &key).await.status, 200);
    booked(&one, 1).await;
    acknowledged(&[&two]).await;

    a.set(Mode::Cut);
    assert_eq!(ask(&two, &key).await.status, 200);
    until("it says so", async || two.log().contains(NOT_FOLLOWED).then_some(())).await;
    let asked = wrong.opened();
    until("it goes on asking", async || (a.opened() > 8).then_some(())).await;
    assert_eq!(said(&two, NOT_FOLLOWED), 1, "once: {}", two.log());
    assert_eq!(wrong.opened(), asked, "and lets that leader be");
    // Nor does a restart make it forget.
    two.kill().await;
    two.restart().await;
    until("it says so again", async || (said(&two, NOT_FOLLOWED) == 2).then_some(())).await;
    a.set(Mode::Open);
    booked(&one, 2).await;
    assert_eq!(metric(&two, "sproxy_sync_duplicates_total").await, 0);
    assert_eq!(other.usage().await.len(), 0);
    let left = peer(&other, "sp-2").await.unwrap();
    assert_eq!(left["is_active"], json!(false), "its totals do not wait: {left}");
    let stats = other.get("/admin/v1/stats").await;
    assert_eq!(stats["incomplete"], json!([]), "{stats}");
}

/// A leader that has lost its disk is the same at all of its addresses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_has_lost_its_disk_is_followed_at_either_of_its_addresses() {
    let mock = Mock::start().await;
    let mut one = leader(&mock).await;
    let key = one.user_with_key("alice").await;
    let (a, b) = (Link::to(one.grpc.unwrap()).await, Link::to(one.grpc.unwrap()).await);
    let two = follower_of(&mock, &[&a.url(), &b.url()]).await;
    for calls in 1..=2 {
        assert_eq!(ask(&two, &key).await.status, 200);
        booked(&one, calls).await;
    }
    a.set(Mode::Cut);
    until("it moves", async || (!moves(&two).is_empty()).then_some(())).await;
    a.set(Mode::Open);
    acknowledged(&[&two]).await;
    one.kill().await;
    Backup::OfDirectory(one.directory().join("backup")).lose(&one);
    one.restart().await;
    booked(&one, 2).await;
    assert_eq!(ask(&two, &key).await.status, 200);
    booked(&one, 3).await;
}

/// Another leader on the same database, as far as the registry goes.
struct OtherLeader {
    beats: JoinHandle<()>,
}

impl OtherLeader {
    async fn beside(one: &Node, leads_at: &str) -> Self {
        let mut cluster = ClusterClient::new(channel(one).await);
        let instance = uuid::Uuid::now_v7();
        let request = v1::RegisterRequest { leads_at: leads_at.to_owned(), ..registration("sp-9", instance) };
        let answer = cluster.register(request).await.unwrap().into_inner();
        assert_eq!(answer.leaders[0].address, leads_at);
        let beat = v1::HeartbeatRequest {
            node_id: "sp-9".to_owned(),
            instance_id: instance.to_string(),
            ledger_id: answer.ledger_id,
            ..v1::HeartbeatRequest::default()
        };
        let beats = tokio::spawn(async move {
            let mut tick = interval(Duration::from_millis(50));
            while cluster.heartbeat(beat.clone()).await.is_ok() {
                tick.tick().await;
            }
        });
        Self { beats }
    }

    /// It is not heard of any more.
    async fn end(self, one: &Node) {
        self.beats.abort();
        until("it counts as gone", async || {
            (peer(one, "sp-9").await?["is_active"] == json!(false)).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_is_enough_to_learn_the_others_and_they_are_known_after_a_restart() {
    let mock = Mock::start().await;
    let one = leader(&mock).await;
    let key = one.user_with_key("alice").await;
    let (a, b) = (Link::to(one.grpc.unwrap()).await, Link::to(one.grpc.unwrap()).await);
    let mut two = follower_of(&mock, &[&a.url()]).await;
    // It hears of it while it is at work.
    let other = OtherLeader::beside(&one, &b.url()).await;
    let knows = |node: &Node, text: &str| node.log().contains(&format!("\"leaders\":\"{text}\""));
    let both = format!("{}, {}", a.url(), b.url());
    until("it has learned the other", async || knows(&two, &both).then_some(())).await;
    assert_eq!(ask(&two, &key).await.status, 200);
    booked(&one, 1).await;
    assert_eq!(b.opened(), 0);

    two.kill().await;
    a.set(Mode::Cut);
    two.restart().await;
    assert_eq!(ask(&two, &key).await.status, 200);
    booked(&one, 2).await;
    assert_eq!(b.opened(), 1, "its own is dead");
    // Whom it follows it knows, and whom it may follow.
    let list = until("it has heard of all", async || {
        let list = two.get("/admin/v1/peers").await;
        (list["items"].as_array()?.len() == 3).then_some(list)
    })
    .await;
    let peers: Vec<_> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|peer| (peer["id"].as_str().unwrap(), peer["role"].as_str().unwrap(), &peer["followed"]))
        .collect();
    let (yes, no) = (json!(true), json!(false));
    assert_eq!(peers, [("sp-1", "leader", &yes), ("sp-2", "follower", &no), ("sp-9", "leader", &no)]);
    assert_eq!(list["items"][2]["leads_at"], json!(b.url()));
    let following = format!("sproxy_cluster_following{{leader=\"sp-1\",address=\"{}\"}} 1", b.url());
    let metrics = two.http.get(two.url("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.lines().any(|line| line == following), "{metrics}");

    a.set(Mode::Open);
    other.end(&one).await;
    b.set(Mode::Cut);
    until("it goes back", async || (!moves(&two).is_empty()).then_some(())).await;
    assert_eq!(moves(&two), [(b.url(), a.url())]);
    booked(&one, 2).await;
    let asked = b.opened();
    a.set(Mode::Cut);
    assert_eq!(ask(&two, &key).await.status, 200);
    until("it asks its own again and again", async || (a.opened() > 8).then_some(())).await;
    assert_eq!(b.opened(), asked, "and nobody who leads no more");
    a.set(Mode::Open);
    booked(&one, 3).await;
    let peers = one.get("/admin/v1/peers").await;
    assert_eq!(
        (&peers["items"][0]["role"], &peers["items"][0]["followed"]),
        (&json!("leader"), &json!(false))
    );
}
