//! A machine's clock that is wrong for a while, and limits that hold all the same. Needs libfaketime.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sproxy::domain::clock::Timestamp;

use crate::harness::{Answer, Mock, Node, Setup, time, until};

const LIBRARY: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/local/lib/faketime/libfaketimeMT.so.1",
];

/// How far the clock of a process is off, in a file that it looks at each time it asks.
pub struct Offset(tempfile::TempDir);

impl Offset {
    /// None: the library is not installed, and the test says so.
    pub fn new() -> Option<(Self, &'static str)> {
        let Some(library) = LIBRARY.into_iter().find(|path| Path::new(path).exists()) else {
            println!("skipped: libfaketime is not installed");
            return None;
        };
        let offset = Self(tempfile::tempdir().unwrap());
        offset.set("+0");
        Some((offset, library))
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("offset")
    }

    pub fn set(&self, offset: &str) {
        let written = self.0.path().join("next");
        std::fs::write(&written, format!("{offset}\n")).unwrap();
        std::fs::rename(written, self.file()).unwrap();
    }

    pub fn faked(&self, library: &str, setup: Setup) -> Setup {
        setup
            .env("LD_PRELOAD", library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.file().to_string_lossy())
            .env("FAKETIME_NO_CACHE", "1")
            .env("DONT_FAKE_MONOTONIC", "1")
    }
}

async fn user(node: &Node, limits: Value) -> String {
    let name = limits["name"].as_str().unwrap().to_owned();
    node.post("/admin/v1/users", limits).await;
    node.key_of(&name).await
}

/// A call that uses 100 tokens.
async fn ask(node: &Node, key: &str) -> Answer {
    let body = json!({ "model": "claude-sonnet-4-5", "max_tokens": 9, "messages": [{ "role": "user", "content": "Hi" }] });
    node.ask(key, "/v1/messages", &[("mock-input", "70"), ("mock-output", "30")], &body).await
}

async fn statuses(node: &Node, key: &str, calls: usize) -> Vec<u16> {
    let mut seen = Vec::new();
    for _ in 0..calls {
        seen.push(ask(node, key).await.status);
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_ahead_and_back_lets_nothing_through_and_shuts_nobody_out() {
    let Some((offset, library)) = Offset::new() else { return };
    let mock = Mock::start().await;
    let mut node = offset.faked(library, Setup::with_targets_at(&mock.url())).start().await;
    let alice = user(&node, json!({ "name": "alice", "daily_tokens": 150 })).await;
    let bob = user(&node, json!({ "name": "bob", "monthly_tokens": 150 })).await;
    let carol = user(&node, json!({ "name": "carol", "rpm": 3 })).await;
    for key in [&alice, &bob] {
        assert_eq!(statuses(&node, key, 3).await, [200, 200, 429]);
    }
    for ahead in ["+2d", "+40d", "+1h"] {
        offset.set(ahead);
        let _a_day_or_a_month_of_its_own = (ask(&node, &alice).await, ask(&node, &bob).await);
        offset.set("+0");
        for key in [&alice, &bob] {
            assert_eq!(statuses(&node, key, 3).await, [429; 3], "after {ahead}");
        }
    }
    offset.set("+1h");
    let ahead = statuses(&node, &carol, 5).await;
    assert_eq!(ahead, [200, 200, 200, 429, 429]);
    offset.set("+0");
    let refused = ask(&node, &carol).await;
    let wait: u64 = refused.header("retry-after").parse().expect("seconds");
    assert!(refused.status == 429 && wait <= 60, "{} for {wait} s", refused.status);

    // A node that is started meanwhile has only the ledger to go by.
    offset.set("+40d");
    node.process.ask_to_leave().await;
    node.process.ended().await;
    node.restart().await;
    assert_eq!(ask(&node, &bob).await.status, 200, "a month that is still to come");
    offset.set("+0");
    until("the limits are filled again", async || {
        (statuses(&node, &alice, 1).await == [429] && statuses(&node, &bob, 1).await == [429]).then_some(())
    })
    .await;
    assert_eq!(statuses(&node, &alice, 3).await, [429; 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_clock_jumps_ahead_goes_on_telling_what_the_others_used() {
    let Some((offset, library)) = Offset::new() else { return };
    let mock = Mock::start().await;
    let pace = "heartbeat_interval = \"300ms\"\nsync_interval = \"200ms\"";
    let setup = Setup::with_targets_at(&mock.url()).section("cluster", pace);
    let one = offset.faked(library, setup).start().await;
    let mut followers = Vec::new();
    for _ in 0..2 {
        let leader = format!("leader = \"http://{}\"", one.grpc.expect("a leader serves gRPC"));
        let setup = Setup::with_targets_at(&mock.url()).section("cluster", pace).section("cluster", &leader);
        followers.push(setup.start().await);
    }
    let alice = user(&one, json!({ "name": "alice", "monthly_tokens": 1_000_000 })).await;
    until("the followers know alice", async || {
        for node in &followers {
            (ask(node, &alice).await.status == 200).then_some(())?;
        }
        Some(())
    })
    .await;
    let everything = async |node: &Node| {
        let stats = one.get("/admin/v1/stats").await;
        let quota = node.http.get(node.url("/me/quota")).bearer_auth(&alice).send().await.ok()?;
        let quota: Value = quota.json().await.ok()?;
        let owed = one.get("/admin/v1/peers").await;
        let owed = owed["items"].as_array()?.iter().any(|peer| peer["unsynced"] != json!(0));
        (!owed && quota["user"]["used"]["monthly_tokens"] == stats["total_tokens"]).then_some(())
    };
    let all = async |when: &str| {
        for node in [&one, &followers[0], &followers[1]] {
            until(&format!("{} knows what alice used, {when}", node.address), async || {
                everything(node).await
            })
            .await;
        }
    };
    all("at first").await;
    offset.set("+40d");
    assert_eq!(ask(&one, &alice).await.status, 200);
    until("the leader has begun a month of its own", async || {
        let quota = one.http.get(one.url("/me/quota")).bearer_auth(&alice).send().await.ok()?;
        let quota: Value = quota.json().await.ok()?;
        (quota["user"]["used"]["monthly_tokens"] == json!(100)).then_some(())
    })
    .await;
    offset.set("+0");
    all("after the jump").await;
    assert_eq!(ask(&followers[0], &alice).await.status, 200);
    assert_eq!(ask(&one, &alice).await.status, 200);
    all("and after that").await;
}

/// A board without a battery, after a power failure.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_whose_clock_shows_2015_books_by_the_last_time_that_it_knows() {
    let Some((offset, library)) = Offset::new() else { return };
    let mock = Mock::start().await;
    let pace = "heartbeat_interval = \"300ms\"\nsync_interval = \"200ms\"";
    let one = Setup::with_targets_at(&mock.url()).section("cluster", pace).start().await;
    let leader = format!("leader = \"http://{}\"", one.grpc.expect("a leader serves gRPC"));
    let setup = Setup::with_targets_at(&mock.url()).section("cluster", pace).section("cluster", &leader);
    let mut two = offset.faked(library, setup).start().await;
    let alice = user(&one, json!({ "name": "alice" })).await;
    until("the follower knows alice", async || (ask(&two, &alice).await.status == 200).then_some(())).await;
    let booked = async |requests: usize| {
        until(&format!("{requests} are booked"), async || {
            (one.get("/admin/v1/stats").await["request_count"] == json!(requests)).then_some(())
        })
        .await;
    };
    booked(1).await;
    // Whatever year the tests run in: before 2025.
    offset.set("-15y");
    assert_eq!(statuses(&two, &alice, 3).await, [200; 3]);
    booked(4).await;
    two.kill().await;
    two.restart().await;
    until("it serves", async || (ask(&two, &alice).await.status == 200).then_some(())).await;
    booked(5).await;
    assert!(two.log().contains("the machine's clock cannot be right"), "{}", two.log());
    let rows = one.usage().await;
    let times: Vec<Timestamp> = rows.iter().map(|row| time(&row["created_at"]).unwrap()).collect();
    assert!(times.iter().all(|time| *time >= times[0] && *time > "2025-01-01".parse().unwrap()), "{times:?}");
    let metrics = two.http.get(two.url("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("sproxy_sync_set_aside 0"), "{metrics}");
    offset.set("+0");
    until("totals are complete", async || {
        let stats = one.get("/admin/v1/stats").await;
        (stats["incomplete"] == json!([]) && time(&stats["complete_through"])? > *times.last()?).then_some(())
    })
    .await;
}
