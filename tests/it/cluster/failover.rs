//! A database that is replaced by an older copy of itself under a leader that lives: as when PostgreSQL fails over to a
//! standby that lags behind. `SPROXY_FAILOVERS` says how often in a row.
//!
//! Clients call followers here. What a leader on such a database answers itself has no second copy: it is lost with the
//! commits that the standby never saw.

use serde_json::{Value, json};

use super::{Traffic, ask, compare_books, follower, leader_setup, ready, settled};
use crate::harness::postgres::Postgres;
use crate::harness::switch::Switch;
use crate::harness::{Mock, Node, until};

/// Failovers in `cargo test`.
const FAILOVERS: usize = 2;
/// Logs that the leader acknowledges between the copy and the failover, at least.
const LOST: u64 = 200;

/// A cluster whose leader reaches its database through a switch.
struct Stage {
    mock: Mock,
    server: Postgres,
    switch: Switch,
    one: Node,
}

impl Stage {
    async fn start() -> Option<Self> {
        let server = Postgres::start()?;
        let mock = Mock::start().await;
        let url = server.new_database();
        let switch = Switch::to(&server.socket()).await;
        let line = format!("url = \"{}\"", switch.url_of(&url));
        let one = leader_setup(&mock).section("store", &line).start().await;
        Some(Self { mock, server, switch, one })
    }

    /// From now on the database is what `copy` is.
    async fn fail_over_to(&mut self, copy: Postgres) {
        self.switch.turn(None);
        let before = std::mem::replace(&mut self.server, copy);
        tokio::task::block_in_place(|| {
            before.crash();
            self.server.resume();
        });
        self.switch.turn(Some(&self.server.socket()));
        ready(&self.one).await;
    }

    fn copy(&self) -> Postgres {
        tokio::task::block_in_place(|| self.server.copy())
    }
}

/// What the leader has counted; none while it cannot say.
async fn counted(leader: &Node) -> Option<u64> {
    let stats = leader.call(reqwest::Method::GET, "/admin/v1/stats", None).await;
    let stats: Value = stats.json().await.ok()?;
    stats["request_count"].as_u64()
}

fn failovers() -> usize {
    std::env::var("SPROXY_FAILOVERS").map_or(FAILOVERS, |text| text.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_fell_back_under_a_living_leader_gets_back_what_it_had_acknowledged() {
    let Some(mut stage) = Stage::start().await else { return };
    let key = stage.one.user_with_key("alice").await;
    let two = follower(&stage.mock, &stage.one, "sp-2").await;
    let three = follower(&stage.mock, &stage.one, "sp-3").await;
    let mut traffic = Traffic::on(&[&two, &three], &key, 8);
    let (mut lost, mut times) = (0, 0);
    while times < failovers() {
        traffic.more(50).await;
        let copy = stage.copy();
        let at_copy = until("the leader counts", async || counted(&stage.one).await).await;
        let more = async || counted(&stage.one).await.filter(|count| *count >= at_copy + LOST);
        let acknowledged = until("the leader acknowledges more than the copy has", more).await;
        stage.fail_over_to(copy).await;
        lost += acknowledged - at_copy;
        times += 1;
    }
    traffic.more(100).await;
    let received = traffic.end().await;
    println!("{times} failovers, {lost} acknowledged logs lost by them, {} answers received", received.len());
    compare_books(&stage.one, &received).await;
    settled(&stage.one, &[&two, &three]).await;
}

/// Nobody pushes: heartbeats notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_serves_nobody_notices_too() {
    let Some(mut stage) = Stage::start().await else { return };
    let key = stage.one.user_with_key("alice").await;
    let two = follower(&stage.mock, &stage.one, "sp-2").await;
    let copy = stage.copy();
    for _ in 0..3 {
        assert_eq!(ask(&two, &key).await.status, 200);
    }
    super::booked(&stage.one, 3).await;
    until("and it is acknowledged", async || {
        two.usage().await.iter().all(|row| row["synced"] == json!(true)).then_some(())
    })
    .await;
    stage.fail_over_to(copy).await;
    super::booked(&stage.one, 3).await;
    settled(&stage.one, &[&two]).await;
}

/// What an admin did after the copy was made is not undone: the leader still knows it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_admin_did_before_a_failover_holds_after_it() {
    let Some(mut stage) = Stage::start().await else { return };
    let (alice, bob) = (stage.one.user_with_key("alice").await, stage.one.user_with_key("bob").await);
    let two = follower(&stage.mock, &stage.one, "sp-2").await;
    let copy = stage.copy();
    super::disable(&stage.one, "alice").await;
    let carol = stage.one.user_with_key("carol").await;
    until("a follower knows", async || (ask(&two, &carol).await.status == 200).then_some(())).await;
    stage.fail_over_to(copy).await;
    // Whatever is changed next goes by a number that the database had given before.
    let dora = until("the leader writes again", async || {
        let made = stage.one.call(reqwest::Method::POST, "/admin/v1/users", Some(json!({ "name": "dora" })));
        made.await.status().is_success().then_some(())
    });
    dora.await;
    let dora = stage.one.key_of("dora").await;
    for node in [&stage.one, &two] {
        until("those whom an admin let in are served", async || {
            let mut all = true;
            for key in [&bob, &carol, &dora] {
                all &= ask(node, key).await.status == 200;
            }
            all.then_some(())
        })
        .await;
        let out = ask(node, &alice).await.status;
        assert_eq!(out, 403, "who was disabled stays disabled");
    }
    let names = async |stage: &Stage| {
        let users = stage.one.get("/admin/v1/users").await;
        let mut names: Vec<_> =
            users["items"].as_array().unwrap().iter().map(|user| user["name"].to_string()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&stage).await, ["\"admin\"", "\"alice\"", "\"bob\"", "\"carol\"", "\"dora\""]);
    stage.one.kill().await;
    stage.one.restart().await;
    ready(&stage.one).await;
    assert_eq!(ask(&stage.one, &alice).await.status, 403, "and after a restart");
    assert_eq!(ask(&stage.one, &carol).await.status, 200);
    settled(&stage.one, &[&stage.one, &two]).await;
}
