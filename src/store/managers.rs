//! Table `group_managers`: which groups a manager manages. Rows of a group or user that an older sproxy on the same database
//! has removed may be left; they name nobody.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, DatabaseExecutor};

use crate::domain::ids::GroupId;
use crate::domain::user::User;
use crate::store::{Error, Tx};

/// Rows per statement.
const CHUNK: usize = 200;

mod row {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, DeriveEntityModel)]
    #[sea_orm(table_name = "group_managers")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub user_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub group_id: Uuid,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// By user.
type Managed = BTreeMap<Uuid, BTreeSet<GroupId>>;

/// The groups of these users. No query when there is none.
pub(super) async fn of(reads: DatabaseExecutor<'_>, users: &[Uuid]) -> Result<Managed, Error> {
    let mut managed = Managed::new();
    for users in users.chunks(CHUNK) {
        let theirs = row::Column::UserId.is_in(users.iter().copied());
        for row in row::Entity::find().filter(theirs).all(&reads).await? {
            managed.entry(row.user_id).or_default().insert(GroupId(row.group_id));
        }
    }
    Ok(managed)
}

/// Who manages a group.
pub(super) async fn of_group(reads: DatabaseExecutor<'_>, group: GroupId) -> Result<Vec<Uuid>, Error> {
    let rows = row::Entity::find().filter(row::Column::GroupId.eq(group.0)).all(&reads).await?;
    Ok(rows.into_iter().map(|row| row.user_id).collect())
}

/// Makes the groups of these users what they say, and nobody else's.
pub(super) async fn write(tx: &Tx, users: &[User]) -> Result<(), Error> {
    let ids: Vec<Uuid> = users.iter().map(|user| user.id.0).collect();
    remove_users(tx, &ids).await?;
    add(tx, users.iter().flat_map(rows_of)).await
}

/// Makes the table what `users` say.
pub(super) async fn replace(tx: &Tx, users: &[User]) -> Result<(), Error> {
    let held: BTreeSet<row::Model> = row::Entity::find().all(tx.inner()).await?.into_iter().collect();
    let wanted: BTreeSet<row::Model> = users.iter().flat_map(rows_of).collect();
    for gone in held.difference(&wanted) {
        row::Entity::delete_by_id((gone.user_id, gone.group_id)).exec(tx.inner()).await?;
    }
    add(tx, wanted.difference(&held).cloned()).await
}

pub(super) async fn remove_users(tx: &Tx, users: &[Uuid]) -> Result<(), Error> {
    for users in users.chunks(CHUNK) {
        let theirs = row::Column::UserId.is_in(users.iter().copied());
        row::Entity::delete_many().filter(theirs).exec(tx.inner()).await?;
    }
    Ok(())
}

pub(super) async fn remove_groups(tx: &Tx, groups: &[Uuid]) -> Result<(), Error> {
    for groups in groups.chunks(CHUNK) {
        let theirs = row::Column::GroupId.is_in(groups.iter().copied());
        row::Entity::delete_many().filter(theirs).exec(tx.inner()).await?;
    }
    Ok(())
}

fn rows_of(user: &User) -> impl Iterator<Item = row::Model> {
    let user_id = user.id.0;
    user.manages.iter().map(move |group| row::Model { user_id, group_id: group.0 })
}

async fn add(tx: &Tx, rows: impl Iterator<Item = row::Model>) -> Result<(), Error> {
    let rows: Vec<row::Model> = rows.collect();
    for rows in rows.chunks(CHUNK) {
        let rows = rows
            .iter()
            .map(|row| row::ActiveModel { user_id: Set(row.user_id), group_id: Set(row.group_id) });
        let keep = OnConflict::columns([row::Column::UserId, row::Column::GroupId]).do_nothing().to_owned();
        row::Entity::insert_many(rows).on_conflict(keep).exec_without_returning(tx.inner()).await?;
    }
    Ok(())
}
