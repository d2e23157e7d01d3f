//! The verdict on a ledger: what clients received to the last byte against what is booked.

use std::collections::HashMap;

use serde_json::Value;

/// What is wrong, by request id.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Received, but not booked.
    pub(super) lost: Vec<String>,
    /// Booked more than once.
    pub(super) double: Vec<String>,
    /// Booked with other tokens than the client's answer had.
    pub(super) wrong: Vec<String>,
}

/// Compares usage logs with what was received: request id → (input, output).
pub(super) fn verdict(rows: &[Value], received: &HashMap<String, (u64, u64)>) -> Verdict {
    let mut booked: HashMap<&str, (u64, u64)> = HashMap::with_capacity(rows.len());
    let mut verdict = Verdict::default();
    for row in rows {
        let id = row["request_id"].as_str().unwrap();
        let count = |field: &str| row[field].as_u64().unwrap();
        if booked.insert(id, (count("input_tokens"), count("output_tokens"))).is_some() {
            verdict.double.push(id.to_owned());
        }
    }
    for (id, tokens) in received {
        match booked.get(id.as_str()) {
            None => verdict.lost.push(id.clone()),
            Some(booked) if booked != tokens => verdict.wrong.push(id.clone()),
            Some(_) => {}
        }
    }
    verdict
}

#[test]
fn a_lost_a_double_and_a_wrong_record_are_all_seen() {
    let row = |id: &str, input: u64| serde_json::json!({ "request_id": id, "input_tokens": input, "output_tokens": 1 });
    let received = |id: &str| (id.to_owned(), (10, 1));
    let received = HashMap::from([received("a"), received("b"), received("c")]);
    let right = [row("a", 10), row("b", 10), row("c", 10), row("a hang-up", 3)];
    assert_eq!(verdict(&right, &received), Verdict::default());
    let found = verdict(&[row("a", 10), row("a", 10), row("b", 11)], &received);
    let only = |id: &str| vec![id.to_owned()];
    assert_eq!(found, Verdict { lost: only("c"), double: only("a"), wrong: only("b") });
}
