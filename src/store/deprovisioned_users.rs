//! Table `deprovisioned_users`: users whom the directory that provisions people has removed. Rows of users that an older
//! sproxy on the same database has removed may be left; they name nobody.

use sea_orm::IntoActiveModel;
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;

use crate::domain::clock::Timestamp;
use crate::domain::ids::UserId;
use crate::store::{Error, Tx};

pub(super) mod row {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "deprovisioned_users")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub user_id: Uuid,
        pub removed_at: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub(super) async fn add(tx: &Tx, id: UserId, now: Timestamp) -> Result<(), Error> {
    let row = row::Model { user_id: id.0, removed_at: now.as_micros() };
    let keep = OnConflict::column(row::Column::UserId).do_nothing().to_owned();
    let insert = row::Entity::insert(row.into_active_model()).on_conflict(keep);
    insert.exec_without_returning(tx.inner()).await?;
    Ok(())
}

/// True: it was there.
pub(super) async fn forget(tx: &Tx, id: UserId) -> Result<bool, Error> {
    Ok(row::Entity::delete_by_id(id.0).exec(tx.inner()).await?.rows_affected > 0)
}
