//! Removing old usage logs. Sums stay, and so does the floor: up to where logs of a node were removed.
//!
//! A row is what tells that a record was counted. Once it is gone, a record that is not above the floor of its node and
//! has no row may have been counted or not. It is never counted again, for that would be money twice; and it is not
//! called a duplicate either, for a record can be late: its node was cut off until it was forgotten, its clock was set
//! back, or another disk has its name. So the leader says that it cannot tell, and the node, if it has noted that this
//! very ledger acknowledged the record once ([`super::acknowledged`]), takes that for the answer, or else sets it aside,
//! where it is kept and seen.
//!
//! The floor is a time, since that is the order in which rows go; and one per node, since how long rows have to stay is
//! each node's own word. It is that of the youngest row that went, not the age at which rows may go: what was never
//! there is then above it for as long as possible.

use std::collections::BTreeMap;

use sea_orm::{ConnectionTrait as _, DatabaseTransaction, Statement};

use crate::domain::clock::Timestamp;
use crate::domain::ids::NodeId;
use crate::store::usage::{UsageRepo, acknowledged};
use crate::store::{Error, MetaKey, MetaRepo, retried};

/// The logs to go: made before `$1`, not more than `$3`, the leader's own (`$2`) or settled.
const EXPIRED: &str = "SELECT l.request_id FROM usage_logs l WHERE l.created_at < $1 \
                       AND (l.synced OR l.dismissed_at IS NOT NULL) AND (\
                       l.source_node = $2 OR NOT EXISTS (SELECT 1 FROM peers p WHERE p.id = l.source_node \
                       AND (p.synced_through IS NULL OR p.synced_through < l.created_at))) \
                     ORDER BY l.created_at LIMIT $3";
const RAISE_FLOOR: &str = "INSERT INTO usage_floors (node, through) VALUES ($1, $2) ON CONFLICT (node) DO UPDATE \
                           SET through = excluded.through WHERE usage_floors.through < excluded.through";

impl UsageRepo<'_> {
    /// Removes at most `most` synced or dismissed logs made before `before`, the oldest first; returns how many. Logs that
    /// are owed, set aside or not, are never touched. On a leader, a log that came from another node than `own` stays until
    /// that peer has said that it owes nothing from that time: as long as it may push the log once more, its row is
    /// what tells that it was counted. Forgetting a peer releases its logs. Their nodes' floors rise in the same
    /// transaction.
    ///
    /// Costs what it removes, and what it has to pass over.
    ///
    /// # Errors
    /// [`Error`] of the database; then nothing was removed.
    pub async fn delete_synced_before(
        &self,
        before: Timestamp,
        own: Option<&NodeId>,
        most: u32,
    ) -> Result<u64, Error> {
        retried(|| self.delete_once(before, own, most)).await
    }

    async fn delete_once(&self, before: Timestamp, own: Option<&NodeId>, most: u32) -> Result<u64, Error> {
        // No node has an empty name.
        let own = own.map(NodeId::as_str).unwrap_or_default();
        let tx = self.0.begin().await?;
        if own.is_empty() && !self.0.is_embedded() && !MetaRepo::on(&tx).try_lock(MetaKey::Retention).await? {
            // Another leader is at it. Doing it twice would do no harm, but the two would wait for each other.
            return Ok(0);
        }
        let going = [before.as_micros().into(), own.into(), i64::from(most).into()];
        acknowledged::forget(tx.inner(), EXPIRED, &going).await?;
        let sql = format!(
            "DELETE FROM usage_logs WHERE request_id IN ({EXPIRED}) RETURNING source_node, created_at"
        );
        let gone = tx.inner().query_all_raw(self.statement(&sql, going.to_vec())).await?;
        let mut floors = BTreeMap::<String, i64>::new();
        for row in &gone {
            let (node, at) = (row.try_get_by_index::<String>(0)?, row.try_get_by_index(1)?);
            let floor = floors.entry(node).or_insert(at);
            *floor = at.max(*floor);
        }
        // Nobody pushes this node's own.
        floors.remove(own);
        for (node, through) in floors {
            self.raise_floor(tx.inner(), node, through).await?;
        }
        tx.commit().await?;
        Ok(gone.len() as u64)
    }

    async fn raise_floor(&self, tx: &DatabaseTransaction, node: String, through: i64) -> Result<(), Error> {
        let statement: Statement = self.statement(RAISE_FLOOR, vec![node.into(), through.into()]);
        tx.execute_raw(statement).await?;
        Ok(())
    }
}
