//! What a directory that provisions people sees and has said: users but for those whom it has removed
//! (`deprovisioned_users`), and groups with its ids of them (`provisioned_groups`).

use std::collections::BTreeMap;

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::Query;
use sea_orm::{Condition, QueryOrder, QuerySelect};

use crate::domain::clock::Timestamp;
use crate::domain::group::Group;
use crate::domain::ids::{GroupId, UserId};
use crate::domain::user::User;
use crate::store::groups::{self, row as group_row};
use crate::store::users::row as user_row;
use crate::store::{Error, Executor, Tx, UserRepo, deprovisioned_users, provisioned_groups};

/// Ids per statement.
const CHUNK: usize = 200;

/// Which users; `None` does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserQuery {
    pub id: Option<UserId>,
    pub name: Option<String>,
    pub external_id: Option<String>,
    pub active: Option<bool>,
}

/// Which groups; `None` does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupQuery {
    pub id: Option<GroupId>,
    pub name: Option<String>,
    pub external_id: Option<String>,
    /// Whose group it is.
    pub member: Option<UserId>,
}

/// Which of those that were found, in the order in which they were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// How many to pass over.
    pub skip: u64,
    pub limit: u64,
}

/// What a directory asks and says, on a store or a transaction. By id, name or external id a question costs a look-up in an
/// index; without any it counts, sorts and passes over rows, as the protocol wants it.
#[derive(Debug)]
pub struct ProvisioningRepo<'a, G>(&'a G);

impl<'a, G: Executor> ProvisioningRepo<'a, G> {
    pub fn on(executor: &'a G) -> Self {
        Self(executor)
    }

    /// Users that the directory sees, and how many there are beyond the window, too.
    pub async fn users(&self, query: &UserQuery, window: Window) -> Result<(Vec<User>, u64), Error> {
        use user_row::Column;
        let mut select = user_row::Entity::find().filter(is_seen());
        if let Some(id) = query.id {
            select = select.filter(Column::Id.eq(id.0));
        }
        if let Some(name) = &query.name {
            select = select.filter(Column::Name.eq(name));
        }
        if let Some(external_id) = &query.external_id {
            select = select.filter(Column::ExternalId.eq(external_id));
        }
        if let Some(active) = query.active {
            select = select.filter(Column::Active.eq(active));
        }
        let total = select.clone().count(&self.0.reads()).await?;
        let Window { skip, limit } = window;
        if limit == 0 {
            return Ok((Vec::new(), total));
        }
        let select =
            select.order_by_asc(Column::CreatedAt).order_by_asc(Column::Id).offset(skip).limit(limit);
        Ok((UserRepo::on(self.0).of(select).await?, total))
    }

    /// A user that the directory sees.
    pub async fn user(&self, id: UserId) -> Result<Option<User>, Error> {
        let user = user_row::Entity::find_by_id(id.0).filter(is_seen());
        Ok(UserRepo::on(self.0).of(user).await?.pop())
    }

    /// Groups, and how many there are beyond the window, too.
    pub async fn groups(&self, query: &GroupQuery, window: Window) -> Result<(Vec<Group>, u64), Error> {
        use group_row::Column;
        let mut select = group_row::Entity::find();
        if let Some(id) = query.id {
            select = select.filter(Column::Id.eq(id.0));
        }
        if let Some(name) = &query.name {
            select = select.filter(Column::Name.eq(name));
        }
        if let Some(external_id) = &query.external_id {
            let mut ids = Query::select();
            ids.column(provisioned_groups::row::Column::GroupId).from(provisioned_groups::row::Entity);
            ids.and_where(provisioned_groups::row::Column::ExternalId.eq(external_id));
            select = select.filter(Column::Id.in_subquery(ids));
        }
        if let Some(member) = query.member {
            let mut of = Query::select();
            of.column(user_row::Column::GroupId).from(user_row::Entity);
            of.and_where(user_row::Column::Id.eq(member.0));
            select = select.filter(Column::Id.in_subquery(of));
        }
        let total = select.clone().count(&self.0.reads()).await?;
        let Window { skip, limit } = window;
        if limit == 0 {
            return Ok((Vec::new(), total));
        }
        let select =
            select.order_by_asc(Column::CreatedAt).order_by_asc(Column::Id).offset(skip).limit(limit);
        let rows = select.all(&self.0.reads()).await?;
        let groups = rows.into_iter().map(groups::from_row).collect::<Result<_, _>>()?;
        Ok((groups, total))
    }

    /// The members of groups that the directory sees, in the order in which they were made.
    pub async fn members(&self, groups: &[GroupId]) -> Result<BTreeMap<GroupId, Vec<UserId>>, Error> {
        use user_row::Column;
        let mut members: BTreeMap<GroupId, Vec<UserId>> = BTreeMap::new();
        for groups in groups.chunks(CHUNK) {
            let of = Column::GroupId.is_in(groups.iter().map(|group| group.0));
            let select = user_row::Entity::find().filter(of).filter(is_seen()).select_only();
            let select = select.columns([Column::GroupId, Column::Id]).order_by_asc(Column::Id);
            let rows: Vec<(Option<Uuid>, Uuid)> = select.into_tuple().all(&self.0.reads()).await?;
            for (group, user) in rows {
                if let Some(group) = group {
                    members.entry(GroupId(group)).or_default().push(UserId(user));
                }
            }
        }
        Ok(members)
    }

    /// The directory's ids of groups.
    pub async fn group_ids(&self, groups: &[GroupId]) -> Result<BTreeMap<GroupId, String>, Error> {
        provisioned_groups::of(self.0.reads(), groups).await
    }
}

impl ProvisioningRepo<'_, Tx> {
    /// The directory has removed a user, who is disabled with it.
    pub async fn remove_user(&self, id: UserId, now: Timestamp) -> Result<(), Error> {
        deprovisioned_users::add(self.0, id, now).await
    }

    /// Forgets whether the directory has removed a user. True: it had.
    pub async fn forget_user(&self, id: UserId) -> Result<bool, Error> {
        deprovisioned_users::forget(self.0, id).await
    }

    /// Keeps the directory's id of a group, or that it has none any more.
    pub async fn set_group_id(&self, group: GroupId, external_id: Option<&str>) -> Result<(), Error> {
        provisioned_groups::set(self.0, group, external_id).await
    }
}

/// Whoever was removed and works again was let in by an admin, whatever the directory thinks.
fn is_seen() -> Condition {
    let mut removed = Query::select();
    removed.column(deprovisioned_users::row::Column::UserId).from(deprovisioned_users::row::Entity);
    Condition::any().add(user_row::Column::Active.eq(true)).add(user_row::Column::Id.not_in_subquery(removed))
}
