//! Records of several steps, each at its own model's price, on their way from a follower's database into its leader's.

use serde_json::{Value, json};
use sproxy::domain::clock::Timestamp;
use sproxy::domain::summary::{StatRow, StatsBy};
use sproxy::store::{Location, Store, Synchronous, UsageRepo};

use super::{PACE, booked, quiet, ready};
use crate::harness::postgres::Postgres;
use crate::harness::{Node, Scripted, Setup, until};
use crate::metering::outside::call;

/// What a node keeps its books in.
struct Books {
    node: Node,
    /// None: SQLite, in its own directory.
    postgres: Option<String>,
}

impl Books {
    async fn open(provider: &Scripted, cluster: &str, postgres: Option<String>) -> Self {
        let mut setup = quiet(Setup::with_targets_at(&provider.url()).section("cluster", PACE));
        setup = setup.section("cluster", cluster);
        if let Some(url) = &postgres {
            setup = setup.section("store", &format!("url = \"{url}\""));
        }
        Self { node: setup.start().await, postgres }
    }

    /// Totals by model, as the database has them once nobody uses it.
    async fn by_model(mut self) -> Vec<StatRow> {
        self.node.kill().await;
        let location = match &self.postgres {
            Some(url) => Location::Postgres { url: url.clone() },
            None => Location::Sqlite {
                path: self.node.data_dir().join("sproxy.db"),
                synchronous: Synchronous::Normal,
            },
        };
        let store = Store::open(&location).await.unwrap();
        let all = UsageRepo::on(&store).stats_by(StatsBy::Model, Timestamp::MIN, Timestamp::MAX, 10).await;
        store.close().await;
        all.unwrap()
    }
}

/// An answer of `model` that another model advised: 400 and 500 tokens of its own, 9,419 and 7,805 of the other and
/// 150,000 that it read from its cache.
fn advised(model: &str) -> String {
    let own = json!({ "type": "message", "input_tokens": 400, "output_tokens": 500, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0 });
    let advice = json!({ "type": "advisor_message", "model": "claude-opus-4-8", "input_tokens": 9_419, "output_tokens": 7_805, "cache_read_input_tokens": 150_000, "cache_creation_input_tokens": 0 });
    let usage = json!({ "input_tokens": 400, "output_tokens": 500, "iterations": [own, advice] });
    let content = json!([{ "type": "text", "text": "ok" }]);
    json!({ "type": "message", "model": model, "content": content, "stop_reason": "end_turn", "usage": usage }).to_string()
}

/// $5, $0.5 and $25 per million.
const ADVICE: u64 = 9_419 * 5_000 + 150_000 * 500 + 7_805 * 25_000;

async fn push_parts(leader: Option<String>, follower: Option<String>) {
    let provider = Scripted::start().await;
    let one = Books::open(&provider, "", leader).await;
    let line = format!("leader = \"http://{}\"", one.node.grpc.unwrap());
    let two = Books::open(&provider, &line, follower).await;
    ready(&two.node).await;
    let key = one.node.user_with_key("alice").await;
    until("the follower knows alice", async || {
        let me = two.node.http.get(two.node.url("/me")).bearer_auth(&key).send().await.unwrap();
        me.status().is_success().then_some(())
    })
    .await;
    // $3 and $15, $1 and $5 per million
    let calls = [("claude-sonnet-4-6", 3_000, 15_000), ("claude-haiku-4-5", 1_000, 5_000)];
    for (model, _, _) in calls {
        let ask = json!({ "model": model, "max_tokens": 9, "messages": [] });
        let whom = (&provider, &two.node, &*key);
        for _ in 0..2 {
            call(whom, ("/v1/messages", &ask), |provider| _ = provider.answer_json(&advised(model))).await;
        }
    }
    booked(&one.node, 4).await;

    let rows = one.node.usage().await;
    assert_eq!(rows.len(), 4);
    for (row, there) in rows.iter().zip(two.node.usage().await) {
        let mut there = there;
        there["synced"] = json!(true);
        assert_eq!(*row, there, "the leader has what the follower has");
        let (_, input, output) = calls.into_iter().find(|(model, ..)| row["model"] == json!(model)).unwrap();
        let own = 400 * input + 500 * output;
        let each = |part: &Value| {
            let number = |name: &str| part[name].as_u64().unwrap();
            (
                part["model"].as_str().unwrap().to_owned(),
                ["input_tokens", "output_tokens", "cache_read_tokens", "cost_nanousd"].map(number),
            )
        };
        let parts: Vec<_> = row["parts"].as_array().unwrap().iter().map(each).collect();
        let expected = [
            (row["model"].as_str().unwrap().to_owned(), [400, 500, 0, own]),
            ("claude-opus-4-8".to_owned(), [159_419, 7_805, 150_000, ADVICE]),
        ];
        assert_eq!(parts, expected);
        assert_eq!(each(row).1, [159_819, 8_305, 150_000, own + ADVICE]);
    }
    let models = one.node.get("/admin/v1/stats/models").await["items"].clone();
    for (model, input, output) in calls {
        let total = models.as_array().unwrap().iter().find(|total| total["model"] == json!(model)).unwrap();
        let sums = ["request_count", "total_input", "total_output", "cost_nanousd"];
        let sums = sums.map(|name| total[name].as_u64().unwrap());
        assert_eq!(sums, [2, 2 * 159_819, 2 * 8_305, 2 * (400 * input + 500 * output + ADVICE)], "{model}");
    }
    let there = two.by_model().await;
    assert_eq!((there.len(), &there), (2, &one.by_model().await), "both databases add up to the same");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_reach_a_leader_on_postgresql_from_a_follower_on_sqlite() {
    let Some(server) = Postgres::shared() else { return };
    push_parts(Some(server.new_database()), None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn and_a_leader_on_sqlite_from_a_follower_on_postgresql() {
    let Some(server) = Postgres::shared() else { return };
    push_parts(None, Some(server.new_database())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn and_one_on_postgresql_from_another_on_postgresql() {
    let Some(server) = Postgres::shared() else { return };
    push_parts(Some(server.new_database()), Some(server.new_database())).await;
}
