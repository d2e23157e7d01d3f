//! Adding up a batch in memory before it touches the tables of sums: one row per key instead of one per log.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use crate::domain::usage::UsageRecord;
use crate::store::columns::count;

/// The columns that are summed, in the order of [`Sums::values`].
pub(in crate::store) const SUMS: [&str; 10] = [
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
    "request_count",
    "error_count",
    "cost_nanousd",
    "default_priced_count",
];

/// The key of a rollup, in the order of the primary key: written in this order, two processes that write the same
/// rows wait for each other and never in a circle.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub hour: i64,
    pub user: Uuid,
    /// Nil without a group.
    pub group: Uuid,
    pub model: Arc<str>,
    pub node: Arc<str>,
}

/// The names that go with a key, as of the last record.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub user: Arc<str>,
    pub group: Arc<str>,
}

/// What the records of one key add up to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums([i64; SUMS.len()]);

impl Sums {
    pub(super) fn values(&self) -> [i64; SUMS.len()] {
        self.0
    }

    fn add(&mut self, values: [i64; SUMS.len()]) {
        for (sum, value) in self.0.iter_mut().zip(values) {
            *sum = sum.saturating_add(value);
        }
    }
}

/// The sums of a batch, for both tables.
#[derive(Debug, Default)]
pub(super) struct Rollups {
    pub by_user: BTreeMap<Key, (Names, Sums)>,
    pub by_node: BTreeMap<(i64, Arc<str>), Sums>,
}

impl Rollups {
    pub(super) fn add(&mut self, record: &UsageRecord) {
        let hour = record.created_at.hour_start().as_micros();
        let node = record.source_node.shared();
        let tokens = &record.tokens;
        let values = [
            count(tokens.input),
            count(tokens.output),
            count(tokens.cache_read),
            count(tokens.cache_write),
            count(tokens.cache_write_1h),
            count(tokens.reasoning),
            1,
            i64::from(record.is_error()),
            record.cost_nanousd,
            i64::from(record.is_default_priced()),
        ];
        self.by_node.entry((hour, node.clone())).or_default().add(values);
        let key = Key {
            hour,
            user: record.user_id.0,
            group: record.group_id.map_or(Uuid::nil(), |id| id.0),
            model: record.model.clone(),
            node,
        };
        let (names, sums) = self.by_user.entry(key).or_insert_with(|| {
            (
                Names { user: record.user.clone(), group: record.group.clone().unwrap_or_default() },
                Sums::default(),
            )
        });
        if *names.user != *record.user {
            names.user = record.user.clone();
        }
        sums.add(values);
    }
}

/// `ON CONFLICT … DO UPDATE SET` that adds the sums of what is inserted to the row that is there.
pub(super) fn add_to_existing(table: &str, key: &str, also: &[&str]) -> String {
    let names = also.iter().map(|name| format!("{name} = excluded.{name}"));
    let sums = SUMS.iter().map(|name| format!("{name} = {table}.{name} + excluded.{name}"));
    let set = names.chain(sums).collect::<Vec<_>>().join(", ");
    format!("ON CONFLICT ({key}) DO UPDATE SET {set}")
}
