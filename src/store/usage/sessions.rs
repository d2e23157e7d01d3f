//! The registrations of nodes, as far as the count of their batches needs them.

use sea_orm::{ConnectionTrait, QueryResult, Statement};
use uuid::Uuid;

use crate::domain::fence::{BatchesHeld, KnownSession, surely_held};
use crate::domain::ids::{NodeId, SessionId};
use crate::store::usage::UsageRepo;
use crate::store::usage::batch::SELECT_BATCHES;
use crate::store::{Error, Executor, Tx, columns, retried};

const BEGIN: &str = "INSERT INTO usage_batches (node, taken, session, resumes_after) VALUES ($1, 0, $2, NULL) \
    ON CONFLICT (node) DO UPDATE SET session = excluded.session, resumes_after = $3";

impl UsageRepo<'_> {
    /// How many batches of `node` this leader's database holds, and the node's last registration. One look-up.
    pub async fn batches_held(&self, node: &NodeId) -> Result<BatchesHeld, Error> {
        let found =
            self.0.reader.query_one_raw(self.statement(SELECT_BATCHES, vec![node.as_str().into()])).await?;
        Ok(found.map(|row| held(&row)).transpose()?.unwrap_or_default())
    }

    /// The same for every node that ever pushed. Grows with their number.
    pub async fn all_batches_held(&self) -> Result<Vec<(NodeId, BatchesHeld)>, Error> {
        let all = Statement::from_string(self.0.backend(), "SELECT taken, session, node FROM usage_batches");
        let rows = self.0.reader.query_all_raw(all).await?;
        let read = |row: QueryResult| {
            let node = row.try_get_by_index::<String>(2)?.parse();
            let node = node.map_err(|error| Error::unreadable("usage_batches.node", error))?;
            Ok((node, held(&row)?))
        };
        rows.into_iter().map(read).collect()
    }

    /// A node registers as `new`: from now on batches of no other registration are taken. `known` are those that it
    /// remembers of this ledger. Returns how many batches are surely held; a node that does not push before it registers
    /// again is told the same again.
    ///
    /// # Errors
    /// [`Error`] of the database; then nothing has changed.
    pub async fn begin_session(
        &self,
        node: &NodeId,
        new: SessionId,
        known: &[KnownSession],
    ) -> Result<u64, Error> {
        retried(|| self.begin_session_once(node, new, known)).await
    }

    async fn begin_session_once(
        &self,
        node: &NodeId,
        new: SessionId,
        known: &[KnownSession],
    ) -> Result<u64, Error> {
        let tx = self.0.begin().await?;
        let backend = tx.reads().get_database_backend();
        // Whoever counts a batch meanwhile waits, and then finds another registration.
        let lock = match backend {
            sea_orm::DbBackend::Sqlite => SELECT_BATCHES.to_owned(),
            _ => format!("{SELECT_BATCHES} FOR UPDATE"),
        };
        let select = Statement::from_sql_and_values(backend, lock, [node.as_str().into()]);
        let found = tx.reads().query_one_raw(select).await?;
        let (before, told) = match &found {
            None => (BatchesHeld::default(), None),
            Some(row) => (held(row)?, row.try_get_by_index::<Option<i64>>(2)?.map(columns::counted)),
        };
        let surely = surely_held(before.taken, before.session, new, known).min(told.unwrap_or(u64::MAX));
        let resumes_after = (surely < before.taken).then(|| columns::count(surely));
        let values = [node.as_str().into(), new.0.into(), resumes_after.into()];
        let begin = Statement::from_sql_and_values(backend, BEGIN, values);
        tx.writes().await?.execute_raw(begin).await?;
        tx.commit().await?;
        Ok(surely)
    }
}

/// What the transaction that changes a peer sees of its batches.
pub(in crate::store) async fn held_in(tx: &Tx, node: &NodeId) -> Result<BatchesHeld, Error> {
    let reads = tx.reads();
    let select =
        Statement::from_sql_and_values(reads.get_database_backend(), SELECT_BATCHES, [node.as_str().into()]);
    Ok(reads.query_one_raw(select).await?.map(|row| held(&row)).transpose()?.unwrap_or_default())
}

fn held(row: &QueryResult) -> Result<BatchesHeld, Error> {
    Ok(BatchesHeld {
        taken: columns::counted(row.try_get_by_index(0)?),
        session: row.try_get_by_index::<Option<Uuid>>(1)?.map(SessionId),
    })
}
