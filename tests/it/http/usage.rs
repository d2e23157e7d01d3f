//! Usage logs and statistics: whichever way they are asked, the same totals.

use std::sync::Arc;

use serde_json::{Value, json};
use sproxy::domain::ids::{GroupId, UserId};
use sproxy::domain::price::Price;
use sproxy::domain::usage::{Tokens, UsageRecord};
use sproxy::store::UsageRepo;

use super::Plane;
use crate::harness::records;

/// One call of a user, at a moment, on a node.
pub fn record(user: UserId, at: &str, node: &str, tokens: u64) -> UsageRecord {
    UsageRecord {
        user_id: user,
        tokens: Tokens { input: tokens, output: 1, ..Tokens::default() },
        duration_ms: 1_200,
        ttfb_ms: Some(300),
        price: Arc::new(Price::default()),
        cost_nanousd: i64::try_from(tokens).expect("small") * 1_000,
        session_id: Some("=cmd()".to_owned()),
        client_request_id: None,
        converted_from: None,
        source_node: records::node(node),
        ..records::record(records::at(at))
    }
}

/// The turns of a day, a month, a year and a leap day, each with a row just before and one just after.
const MOMENTS: [&str; 9] = [
    "2027-12-31T23:59:59.999999Z",
    "2028-01-01T00:00:00Z",
    "2028-02-28T23:59:59.999999Z",
    "2028-02-29T00:00:00Z",
    "2028-02-29T23:59:59.999999Z",
    "2028-03-01T00:00:00Z",
    "2028-03-15T11:59:59.999999Z",
    "2028-03-15T12:00:00Z",
    "2028-03-16T00:00:00Z",
];

async fn with_rows() -> (Plane, UserId) {
    let plane = Plane::start().await;
    let user = plane.post("/admin/v1/users", json!({"name": "alice"})).await.expect(201);
    let user: UserId = user["id"].as_str().expect("an id").parse().expect("an id");
    let rows: Vec<_> = MOMENTS
        .iter()
        .enumerate()
        .map(|(number, at)| {
            record(user, at, ["sp-1", "sp-2"][number % 2], 10_u64.pow(u32::try_from(number).expect("small")))
        })
        .collect();
    UsageRepo::on(&plane.store).insert_batch(&rows, true).await.expect("inserted");
    (plane, user)
}

fn sum(items: &Value, field: &str) -> u64 {
    items.as_array().expect("rows").iter().map(|row| row[field].as_u64().expect("a count")).sum()
}

#[tokio::test]
async fn a_window_has_the_same_totals_as_logs_as_sums_and_by_every_key() {
    let (plane, _) = with_rows().await;
    let edges = [
        "2027-12-31T23:59:59Z",
        "2028-01-01",
        "2028-02-29",
        "2028-02-29T01:00:00+01:00",
        "2028-03-01",
        "2028-03-15T11:59:59.999999Z",
        "2028-03-15T12:00:00Z",
        "2028-03-16T00:00:00.000001Z",
        "2029-01-01",
    ];
    for (number, from) in edges.iter().enumerate() {
        for to in &edges[number..] {
            let window = format!("from={}&to={}", from.replace('+', "%2B"), to.replace('+', "%2B"));
            let logs = plane.get(&format!("/admin/v1/usage?{window}")).await.expect(200);
            let (tokens, count) =
                (sum(&logs["items"], "total_tokens"), logs["items"].as_array().expect("rows").len());
            let total = plane.get(&format!("/admin/v1/stats?{window}")).await.expect(200);
            assert_eq!(total["total_tokens"], tokens, "{window}");
            assert_eq!(total["request_count"], count, "{window}");
            assert_eq!(total["cost_nanousd"], sum(&logs["items"], "cost_nanousd"), "{window}");
            for by in ["users", "groups", "models", "nodes", "days"] {
                let rows = plane.get(&format!("/admin/v1/stats/{by}?{window}")).await.expect(200);
                assert_eq!(sum(&rows["items"], "total_tokens"), tokens, "{by} {window}");
            }
        }
    }
}

#[tokio::test]
async fn statistics_name_their_keys_and_how_far_they_can_be_trusted() {
    let (plane, user) = with_rows().await;
    let first =
        async |by: &str| plane.get(&format!("/admin/v1/stats/{by}")).await.expect(200)["items"][0].clone();
    let users = first("users").await;
    assert_eq!((&users["user"], &users["user_id"]), (&json!("alice"), &json!(user.to_string())));
    assert_eq!(first("groups").await["group"], Value::Null);
    assert_eq!(first("models").await["model"], "claude-sonnet-4-5");
    assert_eq!(first("nodes").await["node"], "sp-1");
    assert!(first("days").await["day"].as_str().expect("a day").starts_with("2028-03-1"));
    assert_eq!(plane.get("/admin/v1/stats").await.expect(200)["complete_through"], super::START);
}

#[tokio::test]
async fn logs_are_filtered_by_user_model_and_node_and_paged_newest_first() {
    let (plane, user) = with_rows().await;
    let count = async |query: &str| {
        let list = plane.get(&format!("/admin/v1/usage?{query}")).await.expect(200);
        list["items"].as_array().expect("rows").len()
    };
    assert_eq!(count("user=alice").await, 9);
    assert_eq!(count(&format!("user={user}")).await, 9);
    assert_eq!(count("user=admin").await, 0);
    assert_eq!(count("node=sp-2").await, 4);
    assert_eq!(count("model=claude-sonnet-4-5").await, 9);
    assert_eq!(count("model=claude").await, 0);
    plane.get("/admin/v1/usage?user=nobody").await.problem(404, "not-found");
    plane.delete("/admin/v1/users/alice").await.expect(200);
    assert_eq!(count(&format!("user={user}")).await, 9, "what a removed user used stays in the books");
    let page = plane.get("/admin/v1/usage?limit=2").await.expect(200);
    assert_eq!(page["items"][0]["created_at"], "2028-03-16T00:00:00Z");
    assert_eq!(page["items"][0]["total_tokens"], 100_000_001);
    let next = format!("/admin/v1/usage?limit=2&cursor={}", page["next_cursor"].as_str().expect("a cursor"));
    assert_eq!(plane.get(&next).await.expect(200)["items"][0]["created_at"], "2028-03-15T11:59:59.999999Z");
}

#[tokio::test]
async fn an_export_streams_every_row_as_jsonl_or_csv() {
    let plane = Plane::start().await;
    let user = UserId::new();
    let names = plane.get("/admin/v1/usage?format=csv").await;
    let empty = names.text.clone();
    assert_eq!(names.headers["content-type"], "text/csv; charset=utf-8");
    let rows: Vec<_> = (0..2_500).map(|n| record(user, "2026-11-22T09:00:00Z", "sp-1", n)).collect();
    UsageRepo::on(&plane.store).insert_batch(&rows, true).await.expect("inserted");
    let lines = plane.get("/admin/v1/usage?format=jsonl").await.text;
    let tokens =
        lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["input_tokens"].as_u64());
    assert_eq!(tokens.clone().count(), 2_500);
    assert_eq!(tokens.map(|count| count.expect("a count")).sum::<u64>(), 2_500 * 2_499 / 2);
    let csv = plane.get("/admin/v1/usage?format=csv").await.text;
    assert_eq!(csv.lines().count(), 2_501);
    assert_eq!(csv.lines().next(), empty.lines().next(), "an empty export has the same names");
    assert!(csv.contains(",'=cmd(),"), "a text that a spreadsheet would run is disarmed");
    assert_eq!(plane.get("/admin/v1/usage?format=jsonl&limit=7").await.text.lines().count(), 7);
}

#[tokio::test]
async fn everyone_sees_their_own_usage_and_nobody_elses() {
    let (plane, _) = with_rows().await;
    let (alice, bob) = (plane.key_of("alice").await, plane.user_with_key("bob").await);
    let mine = plane.call("GET", "/me/usage?from=2028-02-29&limit=1", &alice, None).await.expect(200);
    assert_eq!(
        (&mine["totals"]["request_count"], &mine["totals"]["total_tokens"]),
        (&json!(6), &json!(111_111_006))
    );
    assert_eq!(mine["items"].as_array().expect("rows").len(), 1);
    let his = plane.call("GET", "/me/usage", &bob, None).await.expect(200);
    assert_eq!((&his["totals"]["request_count"], &his["items"]), (&json!(0), &json!([])));
}

/// Every page of a statistic, and `between` done after the first one.
async fn every_page(plane: &Plane, path: &str, between: impl AsyncFn()) -> Vec<Value> {
    let (mut rows, mut cursor) = (Vec::new(), String::new());
    loop {
        let mut page = plane.get(&format!("{path}limit=20&cursor={cursor}")).await.expect(200);
        if rows.is_empty() {
            between().await;
        }
        rows.append(page["items"].as_array_mut().expect("rows"));
        match page["next_cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => return rows,
        }
    }
}

#[tokio::test]
async fn statistics_go_on_page_after_page_and_name_everyone_once_while_calls_are_booked() {
    let plane = Plane::start().await;
    let call = |n: u64, at: &str, tokens: u64| {
        let id = |kind: u128| uuid::Uuid::from_u128(kind << 64 | u128::from(n));
        let mut record = record(UserId(id(1)), at, &format!("node-{n}"), tokens);
        record.user = format!("user-{n}").into();
        record.group_id = (n > 0).then(|| GroupId(id(2)));
        record.group = record.group_id.map(|_| format!("group-{n}").into());
        record.model = format!("a model/{n} -").into();
        record
    };
    // Several have as many tokens; the days are different ones.
    let days: Vec<String> =
        (0..114).map(|n| format!("2026-{:02}-{:02}T09:00:00Z", 5 + n / 28, 1 + n % 28)).collect();
    let calls: Vec<_> = (0..114).zip(&days).map(|(n, day)| call(n, day, 10 * (n / 7))).collect();
    UsageRepo::on(&plane.store).insert_batch(&calls, true).await.expect("inserted");
    for (all, key) in
        [("users", "user"), ("groups", "group"), ("models", "model"), ("nodes", "node"), ("days", "day")]
    {
        plane.clock.advance(std::time::Duration::from_secs(1));
        let now = plane.now().to_string();
        let path = format!("/admin/v1/stats/{all}?");
        // The smallest overtakes everyone, and a new one comes, before the second page is asked for.
        let late = [
            call(1, &now, 1_000_000),
            call(500 + plane.now().as_micros().unsigned_abs() % 1_000_000, &now, 5),
        ];
        let before = plane.get(&format!("/admin/v1/stats?to={now}")).await.expect(200);
        let book =
            async || drop(UsageRepo::on(&plane.store).insert_batch(&late, true).await.expect("inserted"));
        let rows = every_page(&plane, &path, book).await;
        let names: std::collections::BTreeSet<_> = rows.iter().map(|row| row[key].to_string()).collect();
        assert_eq!(names.len(), rows.len(), "{all}: nobody twice");
        if all != "days" {
            let rest = sum(&json!(rows), "total_tokens");
            assert_eq!(rest, before["total_tokens"].as_u64().expect("a count"), "{all}: nobody left out");
        }
        assert!(rows.len() >= 114, "{all}: {}", rows.len());
        plane.get(&format!("{path}cursor=1-2-!")).await.problem(400, "invalid");
    }
    let user = plane.get("/admin/v1/stats/users?limit=1").await.expect(200);
    let other = format!("/admin/v1/stats/nodes?cursor={}", user["next_cursor"].as_str().expect("a cursor"));
    plane.get(&other).await.expect(200);
    let node = plane.get("/admin/v1/stats/nodes?limit=1").await.expect(200);
    let other = format!("/admin/v1/stats/users?cursor={}", node["next_cursor"].as_str().expect("a cursor"));
    plane.get(&other).await.problem(400, "invalid");
}
