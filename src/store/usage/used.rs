//! What quotas start from: what every user and group has used in the current windows.

use std::collections::HashMap;

use sea_orm::ConnectionTrait as _;
use uuid::Uuid;

use crate::domain::clock::Timestamp;
use crate::domain::ids::{GroupId, NodeId, UserId};
use crate::domain::quota::Used;
use crate::store::usage::UsageRepo;
use crate::store::{Error, columns};

/// Which nodes' logs count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// Every node's.
    All,
    /// This one's only.
    Only(&'a NodeId),
    /// Every other node's.
    Except(&'a NodeId),
}

/// What users and groups have used since the UTC day and month began. Who has used nothing is not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsedTotals {
    /// Per user.
    pub users: HashMap<UserId, Used>,
    /// Per group: what calls of members used while they were members.
    pub groups: HashMap<GroupId, Used>,
}

impl UsageRepo<'_> {
    /// What every user and group has used in the windows that `now` lies in. Grows with the rollups of this month.
    ///
    /// # Errors
    /// [`Error`] of the database.
    pub async fn used(&self, now: Timestamp, source: Source<'_>) -> Result<UsedTotals, Error> {
        let mut values = vec![now.day_start().as_micros().into(), now.month_start().as_micros().into()];
        let node = match source {
            Source::All => "",
            Source::Only(node) => {
                values.push(node.as_str().into());
                " AND node = $3"
            }
            Source::Except(node) => {
                values.push(node.as_str().into());
                " AND node <> $3"
            }
        };
        // The sign keeps SQLite from going through all rollups there are, in the order of its index by user.
        let user_id = if self.0.is_embedded() { "+user_id" } else { "user_id" };
        let sql = format!(
            "SELECT user_id, group_id, \
             CAST(SUM(CASE WHEN hour >= $1 THEN input_tokens + output_tokens ELSE 0 END) AS BIGINT), \
             CAST(SUM(input_tokens + output_tokens) AS BIGINT), CAST(SUM(cost_nanousd) AS BIGINT) \
             FROM usage_rollups WHERE hour >= $2{node} GROUP BY {user_id}, group_id"
        );
        let mut totals = UsedTotals::default();
        for row in self.0.reader.query_all_raw(self.statement(&sql, values)).await? {
            let used = Used {
                daily_tokens: columns::counted(row.try_get_by_index(2)?),
                monthly_tokens: columns::counted(row.try_get_by_index(3)?),
                monthly_nanousd: row.try_get_by_index(4)?,
            };
            add(totals.users.entry(UserId(row.try_get_by_index(0)?)).or_default(), used);
            let group = row.try_get_by_index::<Uuid>(1)?;
            if !group.is_nil() {
                add(totals.groups.entry(GroupId(group)).or_default(), used);
            }
        }
        Ok(totals)
    }
}

fn add(sum: &mut Used, more: Used) {
    sum.daily_tokens = sum.daily_tokens.saturating_add(more.daily_tokens);
    sum.monthly_tokens = sum.monthly_tokens.saturating_add(more.monthly_tokens);
    sum.monthly_nanousd = sum.monthly_nanousd.saturating_add(more.monthly_nanousd);
}
