//! What a manager sees of usage: what was booked on their groups, and sums of exactly that.

use serde_json::{Value, json};
use sproxy::domain::ids::{GroupId, UserId};
use sproxy::domain::usage::UsageRecord;
use sproxy::store::UsageRepo;

use super::roles::Company;
use super::usage::record;

const AT: [&str; 4] =
    ["2026-11-20T23:59:59.999999Z", "2026-11-21T00:00:00Z", "2026-11-21T12:30:00Z", "2026-11-22T09:59:59Z"];

async fn id_of(company: &Company, path: &str) -> String {
    company.plane.get(path).await.expect(200)["id"].as_str().expect("an id").to_owned()
}

/// Calls of `dora` and `lars`, of `otto`, who is in a group of somebody else, and of `admin`, who is in none.
async fn with_usage() -> (Company, Vec<UsageRecord>) {
    let company = Company::start().await;
    let mut records = Vec::new();
    for (place, (name, group)) in
        [("dora", Some("devs")), ("lars", Some("lab")), ("otto", Some("ops")), ("admin", None)]
            .into_iter()
            .enumerate()
    {
        let user: UserId = id_of(&company, &format!("/admin/v1/users/{name}")).await.parse().expect("an id");
        let group_id: Option<GroupId> = match group {
            Some(group) => {
                Some(id_of(&company, &format!("/admin/v1/groups/{group}")).await.parse().expect("an id"))
            }
            None => None,
        };
        for (number, at) in AT.iter().enumerate() {
            let tokens = 10_u64.pow(u32::try_from(place).expect("small")) * (1 + number as u64);
            records.push(UsageRecord {
                user: name.into(),
                group_id,
                group: group.map(Into::into),
                model: format!("model-of-{name}").as_str().into(),
                ..record(user, at, ["sp-1", "sp-2"][number % 2], tokens)
            });
        }
    }
    UsageRepo::on(&company.plane.store).insert_batch(&records, true).await.expect("inserted");
    (company, records)
}

async fn get(company: &Company, path: &str) -> Value {
    company.plane.call("GET", path, &company.manager, None).await.expect(200)
}

fn names(list: &Value, field: &str) -> Vec<String> {
    let rows = list["items"].as_array().expect("rows");
    let mut names: Vec<String> =
        rows.iter().map(|row| row[field].as_str().unwrap_or("-").to_owned()).collect();
    names.sort();
    names.dedup();
    names
}

#[tokio::test]
async fn a_managers_totals_are_those_of_their_groups_by_every_key_and_in_every_window() {
    let (company, records) = with_usage().await;
    let theirs: Vec<&UsageRecord> =
        records.iter().filter(|record| ["dora", "lars"].contains(&&*record.user)).collect();
    for (from, to) in [
        ("2026-01-01", "2027-01-01"),
        ("2026-11-20T23:59:59Z", "2026-11-21"),
        ("2026-11-21", "2026-11-22"),
        ("2026-11-21T12:00:00Z", "2026-11-21T12:30:00.000001Z"),
        ("2026-12-01", "2026-12-02"),
    ] {
        let window = format!("from={from}&to={to}");
        let inside = theirs.iter().filter(|record| {
            let at = record.created_at;
            at >= from.parse().expect("a time") && at < to.parse().expect("a time")
        });
        let (tokens, cost) = inside.fold((0, 0), |(tokens, cost), record| {
            (tokens + record.tokens.total(), cost + record.cost_nanousd)
        });
        let total = get(&company, &format!("/admin/v1/stats?{window}")).await;
        assert_eq!(
            (&total["total_tokens"], &total["cost_nanousd"]),
            (&json!(tokens), &json!(cost)),
            "{window}"
        );
        for by in ["users", "groups", "models", "nodes", "days"] {
            let rows = get(&company, &format!("/admin/v1/stats/{by}?{window}")).await;
            let sum: u64 = rows["items"]
                .as_array()
                .expect("rows")
                .iter()
                .map(|row| row["total_tokens"].as_u64().expect("a sum"))
                .sum();
            assert_eq!(sum, tokens, "{by} {window}");
        }
    }
    assert_eq!(names(&get(&company, "/admin/v1/stats/users").await, "user"), ["dora", "lars"]);
    assert_eq!(names(&get(&company, "/admin/v1/stats/groups").await, "group"), ["devs", "lab"]);
    assert_eq!(
        names(&get(&company, "/admin/v1/stats/models").await, "model"),
        ["model-of-dora", "model-of-lars"]
    );
    let everybody = company.plane.call("GET", "/admin/v1/stats", &company.auditor, None).await.expect(200);
    assert_eq!(everybody["request_count"], records.len());
}

#[tokio::test]
async fn a_manager_reads_the_calls_of_their_groups_page_by_page_and_as_an_export_and_no_other() {
    let (company, _) = with_usage().await;
    let (mut rows, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = get(&company, &format!("/admin/v1/usage?limit=3&cursor={cursor}")).await;
        rows.extend(page["items"].as_array().expect("rows").clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(rows.len(), 2 * AT.len());
    assert_eq!(names(&json!({ "items": rows }), "user"), ["dora", "lars"]);
    for format in ["jsonl", "csv"] {
        let export = company
            .plane
            .call("GET", &format!("/admin/v1/usage?format={format}"), &company.manager, None)
            .await;
        assert!(
            export.text.contains("dora") && !export.text.contains("otto") && !export.text.contains("admin")
        );
    }
    // By id anybody can be asked for, also one who was removed; what is not theirs is not there.
    let otto = id_of(&company, "/admin/v1/users/otto").await;
    let ops = id_of(&company, "/admin/v1/groups/ops").await;
    for query in [format!("user={otto}"), format!("group={ops}"), "model=model-of-otto".to_owned()] {
        assert_eq!(get(&company, &format!("/admin/v1/usage?{query}")).await["items"], json!([]), "{query}");
    }
    // Who has moved away leaves behind what was booked on the group, and takes nothing along.
    company.plane.patch("/admin/v1/users/dora", json!({"group": "ops"})).await.expect(200);
    company.plane.patch("/admin/v1/users/otto", json!({"group": "devs"})).await.expect(200);
    let seen = get(&company, "/admin/v1/usage").await;
    assert_eq!(names(&seen, "user"), ["dora", "lars"]);
    company.plane.patch("/admin/v1/users/mia", json!({"manages": []})).await.expect(200);
    assert_eq!(get(&company, "/admin/v1/usage").await["items"], json!([]));
    assert_eq!(get(&company, "/admin/v1/stats").await["request_count"], 0);
    assert_eq!(get(&company, "/admin/v1/stats/users").await["items"], json!([]));
}
