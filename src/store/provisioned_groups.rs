//! Table `provisioned_groups`: the ids by which the directory that provisions people knows groups. Rows of groups that an older
//! sproxy on the same database has removed may be left; they name nothing.

use std::collections::BTreeMap;

use sea_orm::entity::prelude::*;
use sea_orm::{DatabaseExecutor, IntoActiveModel};

use crate::domain::ids::GroupId;
use crate::store::{Error, Tx};

/// Ids per statement.
const CHUNK: usize = 200;

pub(super) mod row {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "provisioned_groups")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub group_id: Uuid,
        pub external_id: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// The ids of those of these groups that have one.
pub(super) async fn of(
    reads: DatabaseExecutor<'_>,
    groups: &[GroupId],
) -> Result<BTreeMap<GroupId, String>, Error> {
    let mut ids = BTreeMap::new();
    for groups in groups.chunks(CHUNK) {
        let of = row::Column::GroupId.is_in(groups.iter().map(|group| group.0));
        let rows = row::Entity::find().filter(of).all(&reads).await?;
        ids.extend(rows.into_iter().map(|row| (GroupId(row.group_id), row.external_id)));
    }
    Ok(ids)
}

/// Keeps the id of a group, or that it has none any more.
pub(super) async fn set(tx: &Tx, group: GroupId, external_id: Option<&str>) -> Result<(), Error> {
    row::Entity::delete_by_id(group.0).exec(tx.inner()).await?;
    if let Some(external_id) = external_id {
        let row = row::Model { group_id: group.0, external_id: external_id.to_owned() };
        row::Entity::insert(row.into_active_model()).exec_without_returning(tx.inner()).await?;
    }
    Ok(())
}
