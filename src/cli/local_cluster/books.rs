//! The comparison: what callers received against what a leader has booked.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::domain::ids::RequestId;

/// What a caller knows of an answer that it received to the last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Received {
    /// Tokens that the answer was made to cost.
    pub input: u64,
    pub output: u64,
    pub status: u16,
}

/// A usage log, as far as callers can know what it has to say.
#[derive(Clone, Debug, Deserialize)]
pub struct Row {
    pub request_id: RequestId,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub status_code: u16,
    pub cost_nanousd: i64,
}

/// A leader's totals, or a part of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Totals {
    pub total_tokens: u64,
    pub request_count: u64,
    pub cost_nanousd: i64,
}

impl Totals {
    /// What these usage logs add up to.
    #[must_use]
    pub fn of(rows: &[Row]) -> Self {
        Self {
            total_tokens: rows.iter().map(|row| row.input_tokens + row.output_tokens).sum(),
            request_count: rows.len() as u64,
            cost_nanousd: rows.iter().map(|row| row.cost_nanousd).sum(),
        }
    }
}

/// What the comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Received, but not booked.
    pub lost: Vec<RequestId>,
    /// Booked more than once, whoever received it.
    pub double: Vec<RequestId>,
    /// Booked with other tokens or another status than the caller saw.
    pub wrong: Vec<RequestId>,
    /// Booked, though nobody received it to the last byte: hang-ups, killed nodes.
    pub incomplete: u64,
}

impl Comparison {
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost.is_empty() && self.double.is_empty() && self.wrong.is_empty()
    }
}

/// Compares.
#[must_use]
pub fn compare(received: &BTreeMap<RequestId, Received>, rows: &[Row]) -> Comparison {
    let mut books: HashMap<RequestId, (u64, Received)> = HashMap::with_capacity(rows.len());
    for row in rows {
        let booked = Received { input: row.input_tokens, output: row.output_tokens, status: row.status_code };
        books.entry(row.request_id).or_insert((0, booked)).0 += 1;
    }
    let mut found = Comparison::default();
    for (id, received) in received {
        match books.get(id) {
            None => found.lost.push(*id),
            Some((_, booked)) if booked != received => found.wrong.push(*id),
            Some(_) => {}
        }
    }
    found.double = books.iter().filter(|(_, (times, _))| *times > 1).map(|(id, _)| *id).collect();
    found.double.sort();
    found.incomplete = books.keys().filter(|id| !received.contains_key(id)).count() as u64;
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(request_id: RequestId, input_tokens: u64) -> Row {
        Row { request_id, input_tokens, output_tokens: 3, status_code: 200, cost_nanousd: 5 }
    }

    fn received(ids: &[RequestId]) -> BTreeMap<RequestId, Received> {
        ids.iter().map(|id| (*id, Received { input: 7, output: 3, status: 200 })).collect()
    }

    #[test]
    fn books_that_hold_each_answer_once_are_clean_and_what_nobody_received_is_no_fault() {
        let (a, b, hung_up) = (RequestId::new(), RequestId::new(), RequestId::new());
        let found = compare(&received(&[a, b]), &[row(hung_up, 1), row(b, 7), row(a, 7)]);
        assert_eq!(found, Comparison { incomplete: 1, ..Comparison::default() });
        assert!(found.is_clean());
    }

    #[test]
    fn an_answer_that_is_not_booked_is_lost() {
        let (a, b) = (RequestId::new(), RequestId::new());
        let found = compare(&received(&[a, b]), &[row(a, 7)]);
        assert_eq!(found, Comparison { lost: vec![b], ..Comparison::default() });
        assert!(!found.is_clean());
    }

    #[test]
    fn an_answer_that_is_booked_twice_is_double_also_where_nobody_received_it() {
        let (a, hung_up) = (RequestId::new(), RequestId::new());
        let found = compare(&received(&[a]), &[row(a, 7), row(hung_up, 1), row(a, 7), row(hung_up, 1)]);
        assert_eq!((found.double.len(), found.lost.len()), (2, 0));
        assert!(!found.is_clean());
    }

    #[test]
    fn an_answer_with_other_tokens_or_another_status_is_wrong() {
        let (a, b) = (RequestId::new(), RequestId::new());
        let failed = Row { status_code: 502, ..row(b, 7) };
        let found = compare(&received(&[a, b]), &[row(a, 8), failed]);
        assert_eq!(found.wrong, [a, b]);
        assert!(!found.is_clean());
    }

    #[test]
    fn totals_are_the_sum_of_the_rows() {
        let rows = [row(RequestId::new(), 7), row(RequestId::new(), 9)];
        assert_eq!(Totals::of(&rows), Totals { total_tokens: 22, request_count: 2, cost_nanousd: 10 });
    }
}
