//! Table `meta`: what a node has to remember about itself, by key.

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, Iterable as _, Statement, Value};

use crate::domain::ids::LedgerId;
use crate::store::retry::retried_on;
use crate::store::{Error, Executor, Store};

pub(super) mod row {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "meta")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub key: String,
        pub value: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Sets the number `$1` to `$2` unless it is higher already, in one transaction with what the number counts.
pub(super) const RAISE: &str = "INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE \
    SET value = excluded.value WHERE CAST(meta.value AS BIGINT) < CAST(excluded.value AS BIGINT)";

/// Whom a key is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The ledger: it goes with the data to another database.
    Ledger,
    /// The node that has the database.
    Node,
    /// The database itself.
    Database,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter)]
pub enum MetaKey {
    /// The id of this database as a leader's ledger.
    LedgerId,
    /// This node's id, once the leader has given it one.
    NodeId,
    /// Names that this database's node had before, comma-separated.
    FormerNodeIds,
    /// The version of users, groups, keys and limits; goes up with every change.
    StateVersion,
    /// The version in which users, groups, keys or limits changed last: later ones are about sign-in alone, sessions that
    /// ended and what verifies access tokens.
    AccountsVersion,
    /// The key that signs access tokens, as sproxy kept it before each node had its own in a file. Secret.
    SigningKey,
    /// The ledger id of the leader that this follower last pushed to.
    LeaderLedgerId,
    /// The highest number of a batch that a leader has acknowledged, within [`Self::LeaderLedgerId`].
    LeaderBatch,
    /// The ledger id that the replicated state version belongs to.
    StateLedgerId,
    /// The origin of the replicated state; JSON, written by the cluster.
    StateOrigin,
    /// Instance ids that the leader may know this node by, comma-separated.
    Instances,
    /// What other nodes had used as the leader last reported, for a restart without it.
    UsageElsewhere,
    /// When the leader was last heard of, microseconds.
    LeaderHeardAt,
    /// The addresses of leaders that this follower has learned, and the one that it follows; JSON, written by the cluster.
    Leaders,
    /// The highest `N` of a name `sp-N` that this leader has given to a node.
    NodeNumber,
    /// The database is a backup's copy, and no leader has started on it yet.
    IsCopy,
    /// This node's share of per-minute limits as the leader last set it, `part/whole`, for a restart without it.
    LimitShare,
    /// An admin wants this follower drained, as its leader last told; for a restart without it.
    Drained,
    /// What the leaders that share this database know their cluster by: a digest of its secret.
    ClusterSecret,
    /// Locked by the leader that removes old logs.
    Retention,
    /// The promoted leader of the highest term that this node has heard of; JSON, written by the cluster.
    Leadership,
    /// This follower's registrations with the leader's ledger that it pushes to; JSON, written by the cluster.
    Sessions,
    /// The nodes of the cluster as this follower was last told; JSON, written by the cluster.
    Peers,
    /// This database is an incomplete copy of another; JSON, written by the copy.
    CopyOf,
    /// A copy of this database was begun: its id.
    CopiedTo,
    /// This database was moved there, in words.
    MovedTo,
}

impl MetaKey {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::LedgerId => "ledger_id",
            Self::NodeId => "node_id",
            Self::FormerNodeIds => "former_node_ids",
            Self::StateVersion => "state_version",
            Self::AccountsVersion => "accounts_version",
            Self::SigningKey => "signing_key",
            Self::LeaderLedgerId => "leader_ledger_id",
            Self::LeaderBatch => "leader_batch",
            Self::StateLedgerId => "state_ledger_id",
            Self::StateOrigin => "state_origin",
            Self::Instances => "instances",
            Self::UsageElsewhere => "usage_elsewhere",
            Self::LeaderHeardAt => "leader_heard_at",
            Self::Leaders => "leaders",
            Self::NodeNumber => "node_number",
            Self::IsCopy => "is_copy",
            Self::LimitShare => "limit_share",
            Self::Drained => "drained",
            Self::ClusterSecret => "cluster_secret",
            Self::Retention => "retention",
            Self::Leadership => "leadership",
            Self::Sessions => "sessions",
            Self::Peers => "peers",
            Self::CopyOf => "copy_of",
            Self::CopiedTo => "copied_to",
            Self::MovedTo => "moved_to",
        }
    }

    pub(super) fn of(text: &str) -> Option<Self> {
        Self::iter().find(|key| key.as_str() == text)
    }

    pub(super) fn owner(self) -> Owner {
        match self {
            Self::LedgerId
            | Self::StateVersion
            | Self::AccountsVersion
            | Self::SigningKey
            | Self::StateLedgerId
            | Self::StateOrigin
            | Self::NodeNumber
            | Self::IsCopy
            | Self::ClusterSecret
            | Self::Leadership => Owner::Ledger,
            Self::NodeId
            | Self::FormerNodeIds
            | Self::LeaderLedgerId
            | Self::LeaderBatch
            | Self::Instances
            | Self::UsageElsewhere
            | Self::LeaderHeardAt
            | Self::Leaders
            | Self::LimitShare
            | Self::Drained
            | Self::Sessions
            | Self::Peers => Owner::Node,
            Self::Retention | Self::CopyOf | Self::CopiedTo | Self::MovedTo => Owner::Database,
        }
    }
}

/// Reads and writes `meta`. Every call is one look-up by primary key, whatever else is in the database.
#[derive(Debug)]
pub struct MetaRepo<'a, G>(&'a G);

impl<'a, G: Executor> MetaRepo<'a, G> {
    pub fn on(executor: &'a G) -> Self {
        Self(executor)
    }

    /// The value of `key`, if it was ever set.
    pub async fn get(&self, key: MetaKey) -> Result<Option<String>, Error> {
        let row = row::Entity::find_by_id(key.as_str()).one(&self.0.reads()).await?;
        Ok(row.map(|row| row.value))
    }

    /// Sets `key`.
    pub async fn set(&self, key: MetaKey, value: &str) -> Result<(), Error> {
        retried_on(self.0, || async {
            let row = row::ActiveModel { key: Set(key.as_str().to_owned()), value: Set(value.to_owned()) };
            let overwrite = OnConflict::column(row::Column::Key).update_column(row::Column::Value).to_owned();
            let insert = row::Entity::insert(row).on_conflict(overwrite);
            insert.exec_without_returning(&*self.0.writes().await?).await?;
            Ok(())
        })
        .await
    }

    /// Forgets `key`.
    pub async fn unset(&self, key: MetaKey) -> Result<(), Error> {
        retried_on(self.0, || async {
            row::Entity::delete_by_id(key.as_str()).exec(&*self.0.writes().await?).await?;
            Ok(())
        })
        .await
    }

    /// Forgets `key` and returns what it was. Of several processes that do so at once, one gets it.
    pub async fn take(&self, key: MetaKey) -> Result<Option<String>, Error> {
        retried_on(self.0, || async {
            let connection = self.0.writes().await?;
            let sql = "DELETE FROM meta WHERE key = $1 RETURNING value";
            let values = [key.as_str().into()];
            let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
            Ok(connection.query_one_raw(statement).await?.map(|row| row.try_get_by_index(0)).transpose()?)
        })
        .await
    }

    /// Sets `key` to `value` unless it has a value already; returns the value that is stored. Of several processes that
    /// do so at once, one wins and all get the same answer.
    pub async fn get_or_set(&self, key: MetaKey, value: &str) -> Result<String, Error> {
        retried_on(self.0, || async {
            let row = row::ActiveModel { key: Set(key.as_str().to_owned()), value: Set(value.to_owned()) };
            let keep = OnConflict::column(row::Column::Key).do_nothing().to_owned();
            let insert = row::Entity::insert(row).on_conflict(keep);
            insert.exec_without_returning(&*self.0.writes().await?).await?;
            let row = row::Entity::find_by_id(key.as_str()).one(&*self.0.writes().await?).await?;
            row.map(|row| row.value).ok_or_else(|| Error::Failed(format!("meta.{} vanished", key.as_str())))
        })
        .await
    }

    /// The version of users, groups, keys and limits; 0 in a fresh database.
    ///
    /// # Errors
    /// [`Error`] of the database, or [`Error::Value`] if it is no number.
    pub async fn state_version(&self) -> Result<u64, Error> {
        self.number(MetaKey::StateVersion).await
    }

    /// The version in which users, groups, keys or limits changed last.
    ///
    /// # Errors
    /// [`Error`] of the database, or [`Error::Value`] if it is no number.
    pub async fn accounts_version(&self) -> Result<u64, Error> {
        match self.get(MetaKey::AccountsVersion).await? {
            Some(text) => as_number(MetaKey::AccountsVersion, &text),
            // As long as nothing else has a version.
            None => self.state_version().await,
        }
    }

    /// The next number for the name of a node: above `above`, and above all that were returned before. Concurrent
    /// callers get different ones.
    ///
    /// # Errors
    /// [`Error`] of the database, or [`Error::Value`] if what is stored is no number.
    pub async fn next_node_number(&self, above: u64) -> Result<u64, Error> {
        let sql = "INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = \
                   CASE WHEN CAST(meta.value AS BIGINT) < CAST(excluded.value AS BIGINT) THEN excluded.value \
                   ELSE CAST(CAST(meta.value AS BIGINT) + 1 AS TEXT) END RETURNING value";
        self.counted(MetaKey::NodeNumber, sql, [(above + 1).to_string()]).await
    }

    /// The number of `key`; 0 if it was never set.
    pub(super) async fn number(&self, key: MetaKey) -> Result<u64, Error> {
        self.get(key).await?.map_or(Ok(0), |text| as_number(key, &text))
    }

    /// The number of `key`, locked until the transaction ends; 0 if it was never set.
    pub(super) async fn lock(&self, key: MetaKey) -> Result<u64, Error> {
        // A row that is not there cannot be locked, so it is made; SQLite's transactions write one after another
        // anyway.
        let sql = "INSERT INTO meta (key, value) VALUES ($1, '0') ON CONFLICT (key) DO UPDATE SET value = meta.value \
                   RETURNING value";
        self.counted(key, sql, []).await
    }

    /// Locks `key` until the transaction ends, unless another one has it: then false, at once. On PostgreSQL only.
    pub(super) async fn try_lock(&self, key: MetaKey) -> Result<bool, Error> {
        let connection = self.0.writes().await?;
        let statement = |sql| {
            Statement::from_sql_and_values(connection.get_database_backend(), sql, [key.as_str().into()])
        };
        let made = "INSERT INTO meta (key, value) VALUES ($1, '') ON CONFLICT (key) DO NOTHING";
        connection.execute_raw(statement(made)).await?;
        let locked = "SELECT value FROM meta WHERE key = $1 FOR UPDATE SKIP LOCKED";
        Ok(connection.query_one_raw(statement(locked)).await?.is_some())
    }

    /// Adds one to a number and returns it. Concurrent callers get different numbers.
    pub(super) async fn increase(&self, key: MetaKey) -> Result<u64, Error> {
        let sql = "INSERT INTO meta (key, value) VALUES ($1, '1') ON CONFLICT (key) DO UPDATE \
                   SET value = CAST(CAST(meta.value AS BIGINT) + 1 AS TEXT) RETURNING value";
        self.counted(key, sql, []).await
    }

    /// The number of `key` after `sql` has changed it: `$1` is the key, what follows are `values`.
    async fn counted<const N: usize>(
        &self,
        key: MetaKey,
        sql: &str,
        values: [String; N],
    ) -> Result<u64, Error> {
        let values = &values;
        retried_on(self.0, || async move {
            let connection = self.0.writes().await?;
            let values = [key.as_str().to_owned()].into_iter().chain(values.clone()).map(Value::from);
            let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
            let row = connection.query_one_raw(statement).await?;
            let row = row.ok_or_else(|| Error::Failed(format!("meta.{} vanished", key.as_str())))?;
            as_number(key, &row.try_get_by_index::<String>(0)?)
        })
        .await
    }
}

impl MetaRepo<'_, Store> {
    /// The id of this database as a ledger; made up once, when it is first asked for.
    ///
    /// # Errors
    /// [`Error`] of the database, or [`Error::Value`] if what is stored is no id.
    pub async fn ledger_id(&self) -> Result<LedgerId, Error> {
        let text = self.get_or_set(MetaKey::LedgerId, &LedgerId::new().to_string()).await?;
        text.parse().map_err(|error| Error::unreadable("meta.ledger_id", error))
    }
}

fn as_number(key: MetaKey, text: &str) -> Result<u64, Error> {
    text.parse().map_err(|error| Error::unreadable(&format!("meta.{}", key.as_str()), error))
}
