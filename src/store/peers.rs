//! Table `peers`: the registry as the leader last wrote it down. Nodes are few; every query reads few rows.

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;
use sea_orm::{IntoActiveModel, QueryOrder};

use crate::domain::clock::Timestamp;
use crate::domain::ids::{InstanceId, NodeId};
use crate::domain::peer::Peer;
use crate::store::{Error, Executor, columns};

mod row {
    use sea_orm::entity::prelude::*;

    /// A peer.
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
        pub instance_id: Option<Uuid>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Reads and changes peers, on a store or a transaction.
#[derive(Debug)]
pub struct PeerRepo<'a, G>(&'a G);

impl<'a, G: Executor> PeerRepo<'a, G> {
    /// On a store or a transaction.
    pub fn on(ground: &'a G) -> Self {
        Self(ground)
    }

    /// Every peer, by id.
    ///
    /// # Errors
    /// [`Error`] of the database.
    pub async fn list(&self) -> Result<Vec<Peer>, Error> {
        let rows = row::Entity::find().order_by_asc(row::Column::Id).all(&self.0.reads()).await?;
        rows.into_iter().map(from_row).collect()
    }

    /// The peer with this id.
    ///
    /// # Errors
    /// [`Error`] of the database.
    pub async fn get(&self, id: &NodeId) -> Result<Option<Peer>, Error> {
        row::Entity::find_by_id(id.as_str()).one(&self.0.reads()).await?.map(from_row).transpose()
    }

    /// Adds a peer, or overwrites everything about it except when it first registered.
    ///
    /// # Errors
    /// [`Error`] of the database.
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
                row::Column::InstanceId,
            ])
            .to_owned();
        let insert = row::Entity::insert(to_row(peer).into_active_model()).on_conflict(overwrite);
        insert.exec_without_returning(&*self.0.writes().await?).await?;
        Ok(())
    }

    /// Removes a peer. Returns false when there is no such peer.
    ///
    /// # Errors
    /// [`Error`] of the database.
    pub async fn delete(&self, id: &NodeId) -> Result<bool, Error> {
        Ok(row::Entity::delete_by_id(id.as_str()).exec(&*self.0.writes().await?).await?.rows_affected > 0)
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
        instance_id: row.instance_id.map(InstanceId),
    })
}
