//! What quotas start from: what every user and group has used in the current windows.

use std::collections::HashMap;

use sea_orm::{ConnectionTrait as _, QueryResult};
use uuid::Uuid;

use crate::domain::clock::Timestamp;
use crate::domain::ids::{GroupId, NodeId, UserId};
use crate::domain::quota::Used;
use crate::store::usage::UsageRepo;
use crate::store::{Error, columns};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeFilter<'a> {
    All,
    Only(&'a NodeId),
    Except(&'a NodeId),
}

/// What users and groups have used since the UTC day and month began. Who has used nothing is not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsedTotals {
    pub users: HashMap<UserId, Used>,
    /// What calls of members used while they were members.
    pub groups: HashMap<GroupId, Used>,
}

impl UsageRepo<'_> {
    /// What every user and group has used in the windows that `now` lies in. Grows with the rollups of this month.
    pub async fn used(&self, now: Timestamp, nodes: NodeFilter<'_>) -> Result<UsedTotals, Error> {
        let mut values = vec![now.day_start().as_micros().into(), now.month_start().as_micros().into()];
        let node = match nodes {
            NodeFilter::All => "",
            NodeFilter::Only(node) => {
                values.push(node.as_str().into());
                " AND node = $3"
            }
            NodeFilter::Except(node) => {
                values.push(node.as_str().into());
                " AND node <> $3"
            }
        };
        let sql = self.sums(&format!("hour >= $2{node}"));
        let mut totals = UsedTotals::default();
        for row in self.0.reader.query_all_raw(self.statement(&sql, values)).await? {
            totals.add(&row)?;
        }
        Ok(totals)
    }

    /// What every user and group has used on `node` in the windows that `now` lies in, and how many batches of that
    /// node are in it: both as of one moment. Costs what [`used`](Self::used) does.
    pub async fn used_by(&self, node: &NodeId, now: Timestamp) -> Result<(UsedTotals, u64), Error> {
        let values = vec![
            now.day_start().as_micros().into(),
            now.month_start().as_micros().into(),
            node.as_str().into(),
        ];
        let sums = self.sums("hour >= $2 AND node = $3");
        // One statement sees one state of the database; a node without sums has its number all the same.
        let sql = format!(
            "SELECT sums.*, COALESCE((SELECT taken FROM usage_batches WHERE node = $3), 0) \
             FROM (SELECT 1 AS one) AS always LEFT JOIN ({sums}) AS sums ON always.one = 1"
        );
        let (mut totals, mut batches) = (UsedTotals::default(), 0);
        for row in self.0.reader.query_all_raw(self.statement(&sql, values)).await? {
            batches = columns::counted(row.try_get_by_index(5)?);
            if row.try_get_by_index::<Option<Uuid>>(0)?.is_some() {
                totals.add(&row)?;
            }
        }
        Ok((totals, batches))
    }

    /// Sums per user and group of the rollups `which`; `$1` is where the day begins.
    fn sums(self, which: &str) -> String {
        // The sign keeps SQLite from going through all rollups there are, in the order of its index by user.
        let user_id = if self.0.is_embedded() { "+user_id" } else { "user_id" };
        format!(
            "SELECT user_id, group_id, \
             CAST(SUM(CASE WHEN hour >= $1 THEN input_tokens + output_tokens ELSE 0 END) AS BIGINT) AS today, \
             CAST(SUM(input_tokens + output_tokens) AS BIGINT) AS tokens, \
             CAST(SUM(cost_nanousd) AS BIGINT) AS nanousd \
             FROM usage_rollups WHERE {which} GROUP BY {user_id}, group_id"
        )
    }
}

impl UsedTotals {
    /// Adds a row of [`UsageRepo::sums`].
    fn add(&mut self, row: &QueryResult) -> Result<(), Error> {
        let used = Used {
            daily_tokens: columns::counted(row.try_get_by_index(2)?),
            monthly_tokens: columns::counted(row.try_get_by_index(3)?),
            monthly_nanousd: row.try_get_by_index(4)?,
        };
        add(self.users.entry(UserId(row.try_get_by_index(0)?)).or_default(), used);
        let group = row.try_get_by_index::<Uuid>(1)?;
        if !group.is_nil() {
            add(self.groups.entry(GroupId(group)).or_default(), used);
        }
        Ok(())
    }
}

fn add(sum: &mut Used, more: Used) {
    sum.daily_tokens = sum.daily_tokens.saturating_add(more.daily_tokens);
    sum.monthly_tokens = sum.monthly_tokens.saturating_add(more.monthly_tokens);
    sum.monthly_nanousd = sum.monthly_nanousd.saturating_add(more.monthly_nanousd);
}
