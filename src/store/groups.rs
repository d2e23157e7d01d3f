//! Table `groups`.

use sea_orm::entity::prelude::*;
use sea_orm::{IntoActiveModel, QueryOrder};

use crate::domain::clock::Timestamp;
use crate::domain::group::Group;
use crate::domain::ids::GroupId;
use crate::store::users::row as user_row;
use crate::store::{Cursor, Error, Executor, Page, Tx, columns, managers, page, provisioned_groups, removed};

pub(super) mod row {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "groups")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub name: String,
        pub limits: String,
        pub created_at: i64,
        pub updated_at: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Reads groups; on a [`Tx`] also changes them. Finding one costs one look-up in an index.
#[derive(Debug)]
pub struct GroupRepo<'a, G>(&'a G);

impl<'a, G: Executor> GroupRepo<'a, G> {
    pub fn on(executor: &'a G) -> Self {
        Self(executor)
    }

    pub async fn get_by_id(&self, id: GroupId) -> Result<Option<Group>, Error> {
        row::Entity::find_by_id(id.0).one(&self.0.reads()).await?.map(from_row).transpose()
    }

    /// The group with exactly this name.
    pub async fn get_by_name(&self, name: &str) -> Result<Option<Group>, Error> {
        let found = row::Entity::find().filter(row::Column::Name.eq(name)).one(&self.0.reads()).await?;
        found.map(from_row).transpose()
    }

    /// A page of groups, of all or of those `within`, newest first. Reads and sorts the table: for people, not for the way of
    /// a request.
    pub async fn list(
        &self,
        within: Option<&[GroupId]>,
        limit: usize,
        from: Option<Cursor>,
    ) -> Result<Page<Group>, Error> {
        let mut select = row::Entity::find();
        if let Some(groups) = within {
            select = select.filter(row::Column::Id.is_in(groups.iter().map(|group| group.0)));
        }
        let place = (row::Column::CreatedAt, row::Column::Id);
        let rows = page::newest_first(select, place, limit, from).all(&self.0.reads()).await?;
        let groups = rows.into_iter().map(from_row).collect::<Result<Vec<_>, _>>()?;
        Ok(Page::cut(groups, limit, |group| Cursor { at: group.created_at, id: group.id.0 }))
    }

    /// Every group, by name. Groups are few; grows with their number.
    pub async fn all(&self) -> Result<Vec<Group>, Error> {
        let rows = row::Entity::find().order_by_asc(row::Column::Name).all(&self.0.reads()).await?;
        rows.into_iter().map(from_row).collect()
    }
}

impl GroupRepo<'_, Tx> {
    /// Adds a group.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the name or id is taken.
    pub async fn create(&self, group: &Group) -> Result<(), Error> {
        self.0.touches_accounts();
        let insert = row::Entity::insert(to_row(group)?.into_active_model());
        insert.exec_without_returning(self.0.inner()).await.map_err(taken(&group.name))?;
        Ok(())
    }

    /// Overwrites everything about the group with this id. Returns false when there is no such group.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the new name is taken.
    pub async fn update(&self, group: &Group) -> Result<bool, Error> {
        self.0.touches_accounts();
        let row = to_row(group)?.into_active_model().reset_all();
        let update = row::Entity::update_many().set(row).filter(row::Column::Id.eq(group.id.0));
        let done = update.exec(self.0.inner()).await.map_err(taken(&group.name))?;
        Ok(done.rows_affected > 0)
    }

    /// Removes a group that has no members, and nobody manages it then. With `ungroup`, members become users without a group first. Returns
    /// false when there is no such group.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it has members and `ungroup` is false.
    pub async fn delete(&self, id: GroupId, ungroup: bool) -> Result<bool, Error> {
        self.0.touches_accounts();
        let members = user_row::Column::GroupId.eq(id.0);
        if ungroup {
            let leave = user_row::Entity::update_many()
                .col_expr(user_row::Column::GroupId, Expr::value(Option::<Uuid>::None));
            leave.filter(members).exec(self.0.inner()).await?;
        } else {
            let count = user_row::Entity::find().filter(members).count(self.0.inner()).await?;
            if count > 0 {
                return Err(Error::Conflict(format!("the group has {count} member(s)")));
            }
        }
        removed::note(self.0, "groups", "id", id.0).await?;
        managers::remove_groups(self.0, &[id.0]).await?;
        provisioned_groups::set(self.0, id, None).await?;
        Ok(row::Entity::delete_by_id(id.0).exec(self.0.inner()).await?.rows_affected > 0)
    }
}

fn taken(name: &str) -> impl FnOnce(DbErr) -> Error {
    move |error| Error::unless_taken(error, "group", name)
}

pub(super) fn to_row(group: &Group) -> Result<row::Model, Error> {
    Ok(row::Model {
        id: group.id.0,
        name: group.name.clone(),
        limits: columns::to_json("groups.limits", &group.limits)?,
        created_at: group.created_at.as_micros(),
        updated_at: group.updated_at.as_micros(),
    })
}

pub(super) fn from_row(row: row::Model) -> Result<Group, Error> {
    Ok(Group {
        id: GroupId(row.id),
        limits: columns::from_json("groups.limits", &row.limits)?,
        name: row.name,
        created_at: Timestamp::from_micros(row.created_at),
        updated_at: Timestamp::from_micros(row.updated_at),
    })
}
