//! Table `peers`: the registry, which several leaders may work on. Nodes are few; every query reads few rows.
//!
//! Whoever changes a peer reads it with [`PeerRepo::get_for_update`] and writes it in the same transaction; what is
//! written without reading says in its condition what has to hold.

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;
use sea_orm::{DbBackend, IntoActiveModel, QueryOrder, QuerySelect, Statement, Value};

use crate::domain::clock::Timestamp;
use crate::domain::fence::BatchesHeld;
use crate::domain::ids::{InstanceId, NodeId};
use crate::domain::peer::{Peer, PeerStatus};
use crate::store::retry::retried_on;
use crate::store::usage::held_in;
use crate::store::{Error, Executor, Tx, columns};

mod row {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "peers")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub addr: String,
        pub weight: i64,
        pub is_active: bool,
        pub draining: bool,
        pub registered_at: i64,
        pub last_seen: Option<i64>,
        pub unsynced: i64,
        pub synced_through: Option<i64>,
        pub version: String,
        pub leads_at: Option<String>,
        pub instance_id: Option<Uuid>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Peers per statement: PostgreSQL takes 65,535 values in one, SQLite half of that.
const ROWS_AT_ONCE: usize = 1_000;

/// Reads and changes peers, on a store or a transaction.
#[derive(Debug)]
pub struct PeerRepo<'a, G>(&'a G);

impl<'a, G: Executor> PeerRepo<'a, G> {
    pub fn on(executor: &'a G) -> Self {
        Self(executor)
    }

    /// Every peer, by id.
    pub async fn list(&self) -> Result<Vec<Peer>, Error> {
        let rows = row::Entity::find().order_by_asc(row::Column::Id).all(&self.0.reads()).await?;
        rows.into_iter().map(from_row).collect()
    }

    pub async fn get(&self, id: &NodeId) -> Result<Option<Peer>, Error> {
        row::Entity::find_by_id(id.as_str()).one(&self.0.reads()).await?.map(from_row).transpose()
    }

    /// Adds a peer, or overwrites everything about it except when it first registered.
    pub async fn upsert(&self, peer: &Peer) -> Result<(), Error> {
        let overwrite = OnConflict::column(row::Column::Id)
            .update_columns([
                row::Column::Addr,
                row::Column::Weight,
                row::Column::IsActive,
                row::Column::Draining,
                row::Column::LastSeen,
                row::Column::Unsynced,
                row::Column::SyncedThrough,
                row::Column::Version,
                row::Column::LeadsAt,
                row::Column::InstanceId,
            ])
            .to_owned();
        let overwrite = &overwrite;
        retried_on(self.0, || async move {
            let insert = row::Entity::insert(to_row(peer).into_active_model()).on_conflict(overwrite.clone());
            insert.exec_without_returning(&*self.0.writes().await?).await?;
            Ok(())
        })
        .await
    }

    /// Writes the status of peers, each only while the run that reported it still holds the id, like
    /// [`PeerStatus::apply`], as far as it is true of this database ([`PeerStatus::held_by`]).
    pub async fn note_statuses(&self, statuses: &[PeerStatus]) -> Result<(), Error> {
        let sql = "UPDATE peers SET is_active = TRUE, last_seen = said.last_seen, \
            unsynced = COALESCE(said.unsynced, peers.unsynced), \
            synced_through = CASE WHEN (said.last_batch > 0 OR said.session IS NOT NULL) AND NOT EXISTS (SELECT 1 FROM usage_batches \
            WHERE node = said.id AND taken >= said.last_batch AND (said.session IS NULL OR session = said.session)) \
            THEN CASE WHEN said.sync_point_invalid THEN NULL ELSE peers.synced_through END \
            WHEN said.sync_point_invalid OR peers.synced_through IS NULL THEN said.synced_through \
            WHEN peers.synced_through < said.synced_through THEN said.synced_through ELSE peers.synced_through END \
            FROM said WHERE peers.id = said.id AND peers.instance_id = said.instance_id";
        let columns =
            "id, instance_id, last_seen, unsynced, synced_through, sync_point_invalid, last_batch, session";
        let values = |status: &PeerStatus| {
            [
                status.id.as_str().to_owned().into(),
                status.instance_id.0.into(),
                status.last_seen.as_micros().into(),
                status.unsynced.map(columns::count).into(),
                columns::micros(status.synced_through).into(),
                status.sync_point_invalid.into(),
                columns::count(status.last_batch).into(),
                status.session.map(|session| session.0).into(),
            ]
        };
        self.update(columns, statuses, values, sql).await
    }

    /// Marks peers inactive, each unless its row has changed since it was read: it was heard of, or another run has
    /// come.
    pub async fn mark_inactive(&self, silent: &[Peer]) -> Result<(), Error> {
        let sql = "UPDATE peers SET is_active = FALSE FROM said WHERE peers.id = said.id AND peers.is_active \
            AND peers.last_seen IS NOT DISTINCT FROM said.last_seen \
            AND peers.instance_id IS NOT DISTINCT FROM said.instance_id";
        let values = |peer: &Peer| {
            let instance = peer.instance_id.map(|id| id.0);
            [peer.id.as_str().to_owned().into(), columns::micros(peer.last_seen).into(), instance.into()]
        };
        self.update("id, last_seen, instance_id", silent, values, sql).await
    }

    /// Runs `sql` with the rows `said`, some at a time.
    async fn update<T, const N: usize>(
        &self,
        columns: &str,
        rows: &[T],
        values: impl Fn(&T) -> [Value; N],
        sql: &str,
    ) -> Result<(), Error> {
        for rows in rows.chunks(ROWS_AT_ONCE) {
            let marks = (0..rows.len()).map(|row| {
                let marks: Vec<String> = (1..=N).map(|column| format!("${}", row * N + column)).collect();
                format!("({})", marks.join(", "))
            });
            let marks = marks.collect::<Vec<_>>().join(", ");
            let backend = self.0.reads().get_database_backend();
            let said = format!("WITH said ({columns}) AS (VALUES {marks})");
            let sql = match backend {
                DbBackend::Sqlite => format!("{said} {sql}"),
                // Leaders that change the same rows lock them in one order, and none waits for one that waits for it.
                _ => format!(
                    "{said}, locked AS (SELECT peers.id FROM peers WHERE peers.id IN (SELECT id FROM said) \
                     ORDER BY peers.id FOR UPDATE) {}",
                    sql.replacen(
                        " FROM said WHERE ",
                        " FROM said JOIN locked ON locked.id = said.id WHERE ",
                        1
                    )
                ),
            };
            let statement = &Statement::from_sql_and_values(backend, sql, rows.iter().flat_map(&values));
            retried_on(self.0, || async move {
                self.0.writes().await?.execute_raw(statement.clone()).await?;
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// Removes a peer. Returns false when there is no such peer.
    pub async fn delete(&self, id: &NodeId) -> Result<bool, Error> {
        retried_on(self.0, || async {
            let gone = row::Entity::delete_by_id(id.as_str()).exec(&*self.0.writes().await?).await?;
            Ok(gone.rows_affected > 0)
        })
        .await
    }
}

impl PeerRepo<'_, Tx> {
    /// What the database holds of this peer's usage.
    pub async fn batches_held(&self, id: &NodeId) -> Result<BatchesHeld, Error> {
        held_in(self.0, id).await
    }

    /// The peer with this id, which nobody else changes until the transaction ends.
    pub async fn get_for_update(&self, id: &NodeId) -> Result<Option<Peer>, Error> {
        // SQLite, whose transactions write one after another, has no such lock and needs none.
        let row = row::Entity::find_by_id(id.as_str()).lock_exclusive().one(&self.0.reads()).await?;
        row.map(from_row).transpose()
    }

    /// Adds a peer. Returns false, and changes nothing, when there is one with this id.
    pub async fn insert(&self, peer: &Peer) -> Result<bool, Error> {
        let keep = OnConflict::column(row::Column::Id).do_nothing().to_owned();
        let insert = row::Entity::insert(to_row(peer).into_active_model()).on_conflict(keep);
        Ok(insert.exec_without_returning(&*self.0.writes().await?).await? > 0)
    }
}

fn to_row(peer: &Peer) -> row::Model {
    row::Model {
        id: peer.id.as_str().to_owned(),
        addr: peer.addr.clone(),
        weight: i64::from(peer.weight),
        is_active: peer.is_active,
        draining: peer.draining,
        registered_at: peer.registered_at.as_micros(),
        last_seen: columns::micros(peer.last_seen),
        unsynced: columns::count(peer.unsynced),
        synced_through: columns::micros(peer.synced_through),
        version: peer.version.clone(),
        leads_at: peer.leads_at.clone(),
        instance_id: peer.instance_id.map(|id| id.0),
    }
}

fn from_row(row: row::Model) -> Result<Peer, Error> {
    Ok(Peer {
        id: row.id.parse::<NodeId>().map_err(|error| Error::unreadable("peers.id", error))?,
        weight: u32::try_from(row.weight).map_err(|error| Error::unreadable("peers.weight", error))?,
        addr: row.addr,
        is_active: row.is_active,
        draining: row.draining,
        registered_at: Timestamp::from_micros(row.registered_at),
        last_seen: columns::moment(row.last_seen),
        unsynced: columns::counted(row.unsynced),
        synced_through: columns::moment(row.synced_through),
        version: row.version,
        leads_at: row.leads_at,
        instance_id: row.instance_id.map(InstanceId),
    })
}
