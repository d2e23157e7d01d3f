//! Table `users`. What leaders of an older sproxy on the same database know of a role is in `role`, the rest in
//! `exact_role` and `group_managers`.

use std::collections::BTreeSet;

use sea_orm::entity::prelude::*;
use sea_orm::{ActiveValue::Set, IntoActiveModel, QueryOrder};

use crate::domain::clock::Timestamp;
use crate::domain::ids::{GroupId, UserId};
use crate::domain::user::{Identity, Role, User};
use crate::store::{
    Cursor, Error, Executor, Page, ProviderSessionRepo, Tx, columns, deprovisioned_users, managers, page,
    removed,
};

pub(super) mod row {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "users")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub name: String,
        pub group_id: Option<Uuid>,
        pub role: String,
        pub active: bool,
        pub password_hash: Option<String>,
        pub limits: String,
        pub tokens_valid_from: i64,
        pub created_at: i64,
        pub updated_at: i64,
        pub last_login_at: Option<i64>,
        pub exact_role: Option<String>,
        pub identity_issuer: Option<String>,
        pub identity_subject: Option<String>,
        pub external_id: Option<String>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// `None` does not restrict.
#[derive(Clone, Debug, Default)]
pub struct UserFilter {
    pub group_id: Option<GroupId>,
    /// Only members of one of these groups.
    pub within: Option<Vec<GroupId>>,
    /// Only users who may call, or only those who may not.
    pub active: Option<bool>,
}

/// Reads users; on a [`Tx`] also changes them. Finding one costs one look-up in an index.
#[derive(Debug)]
pub struct UserRepo<'a, G>(&'a G);

impl<'a, G: Executor> UserRepo<'a, G> {
    pub fn on(executor: &'a G) -> Self {
        Self(executor)
    }

    pub async fn get_by_id(&self, id: UserId) -> Result<Option<User>, Error> {
        self.one(row::Entity::find_by_id(id.0)).await
    }

    /// The user with exactly this name.
    pub async fn get_by_name(&self, name: &str) -> Result<Option<User>, Error> {
        self.one(row::Entity::find().filter(row::Column::Name.eq(name))).await
    }

    /// The user whom an identity provider knows so. (Leaders that were apart may have made two: the one made first.)
    pub async fn get_by_identity(&self, identity: &Identity) -> Result<Option<User>, Error> {
        let same = row::Entity::find()
            .filter(row::Column::IdentityIssuer.eq(&identity.issuer))
            .filter(row::Column::IdentitySubject.eq(&identity.subject));
        self.one(same.order_by_asc(row::Column::CreatedAt)).await
    }

    /// A page of users, newest first. Reads and sorts the table: for people, not for the way of a request.
    pub async fn list(
        &self,
        filter: &UserFilter,
        limit: usize,
        from: Option<Cursor>,
    ) -> Result<Page<User>, Error> {
        let mut select = row::Entity::find();
        if let Some(group) = filter.group_id {
            select = select.filter(row::Column::GroupId.eq(group.0));
        }
        if let Some(groups) = &filter.within {
            select = select.filter(row::Column::GroupId.is_in(groups.iter().map(|group| group.0)));
        }
        if let Some(active) = filter.active {
            select = select.filter(row::Column::Active.eq(active));
        }
        let place = (row::Column::CreatedAt, row::Column::Id);
        let users = self.of(page::newest_first(select, place, limit, from)).await?;
        Ok(Page::cut(users, limit, |user| Cursor { at: user.created_at, id: user.id.0 }))
    }

    /// Every user, by name. For the snapshot in memory; grows with the number of users.
    pub async fn all(&self) -> Result<Vec<User>, Error> {
        self.of(row::Entity::find().order_by_asc(row::Column::Name)).await
    }

    /// The members of a group, by name.
    pub async fn list_by_group(&self, group: GroupId) -> Result<Vec<User>, Error> {
        let members = row::Entity::find().filter(row::Column::GroupId.eq(group.0));
        self.of(members.order_by_asc(row::Column::Name)).await
    }

    /// The managers of a group, by name.
    pub async fn list_by_managed(&self, group: GroupId) -> Result<Vec<User>, Error> {
        let managers = managers::of_group(self.0.reads(), group).await?;
        let users = row::Entity::find().filter(row::Column::Id.is_in(managers));
        self.of(users.order_by_asc(row::Column::Name)).await
    }

    /// How many users there are.
    pub async fn count(&self) -> Result<u64, Error> {
        Ok(row::Entity::find().count(&self.0.reads()).await?)
    }

    /// How many users could still administer.
    pub async fn count_active_admins(&self) -> Result<u64, Error> {
        let admins = row::Entity::find().filter(row::Column::Role.eq(Role::Admin.as_str()));
        Ok(admins.filter(row::Column::Active.eq(true)).count(&self.0.reads()).await?)
    }

    /// Notes a login. Changes nothing that followers replicate; an unknown user is ignored.
    pub async fn set_last_login(&self, id: UserId, at: Timestamp) -> Result<(), Error> {
        let set = row::Entity::update_many().col_expr(row::Column::LastLoginAt, Expr::value(at.as_micros()));
        set.filter(row::Column::Id.eq(id.0)).exec(&*self.0.writes().await?).await?;
        Ok(())
    }

    async fn one(&self, select: Select<row::Entity>) -> Result<Option<User>, Error> {
        let found = select.one(&self.0.reads()).await?;
        Ok(self.read(found.into_iter().collect()).await?.pop())
    }

    pub(super) async fn of(&self, select: Select<row::Entity>) -> Result<Vec<User>, Error> {
        let rows = select.all(&self.0.reads()).await?;
        self.read(rows).await
    }

    async fn read(&self, rows: Vec<row::Model>) -> Result<Vec<User>, Error> {
        let mut users = rows.into_iter().map(from_row).collect::<Result<Vec<_>, _>>()?;
        let managers: Vec<Uuid> =
            users.iter().filter(|user| user.role == Role::Manager).map(|user| user.id.0).collect();
        let mut managed = managers::of(self.0.reads(), &managers).await?;
        for user in &mut users {
            user.manages = managed.remove(&user.id.0).unwrap_or_default();
        }
        Ok(users)
    }
}

impl UserRepo<'_, Tx> {
    /// Adds a user.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the name or id is taken.
    pub async fn create(&self, user: &User) -> Result<(), Error> {
        self.0.touches_accounts();
        let insert = row::Entity::insert(to_row(user)?.into_active_model());
        insert.exec_without_returning(self.0.inner()).await.map_err(taken(&user.name))?;
        managers::write(self.0, std::slice::from_ref(user)).await
    }

    /// Overwrites everything about the user with this id, except when they last logged in. Returns false when there
    /// is no such user.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the new name is taken.
    pub async fn update(&self, user: &User) -> Result<bool, Error> {
        self.0.touches_accounts();
        let mut row = to_row(user)?.into_active_model().reset_all();
        row.last_login_at = sea_orm::ActiveValue::NotSet;
        row.id = Set(user.id.0);
        let update = row::Entity::update_many().set(row).filter(row::Column::Id.eq(user.id.0));
        let done = update.exec(self.0.inner()).await.map_err(taken(&user.name))?;
        if done.rows_affected > 0 {
            managers::write(self.0, std::slice::from_ref(user)).await?;
        }
        Ok(done.rows_affected > 0)
    }

    /// Removes a user with their keys and refresh tokens; usage logs stay. Returns false when there is no such user.
    pub async fn delete(&self, id: UserId) -> Result<bool, Error> {
        self.0.touches_accounts();
        removed::note(self.0, "api_keys", "user_id", id.0).await?;
        removed::note(self.0, "users", "id", id.0).await?;
        super::api_keys::row::Entity::delete_many()
            .filter(super::api_keys::row::Column::UserId.eq(id.0))
            .exec(self.0.inner())
            .await?;
        super::refresh_tokens::row::Entity::delete_many()
            .filter(super::refresh_tokens::row::Column::UserId.eq(id.0))
            .exec(self.0.inner())
            .await?;
        managers::remove_users(self.0, &[id.0]).await?;
        ProviderSessionRepo::on(self.0).forget(id).await?;
        deprovisioned_users::forget(self.0, id).await?;
        Ok(row::Entity::delete_by_id(id.0).exec(self.0.inner()).await?.rows_affected > 0)
    }
}

fn taken(name: &str) -> impl FnOnce(DbErr) -> Error {
    move |error| Error::unless_taken(error, "user", name)
}

pub(super) fn to_row(user: &User) -> Result<row::Model, Error> {
    Ok(row::Model {
        id: user.id.0,
        name: user.name.clone(),
        group_id: user.group_id.map(|id| id.0),
        role: user.role.for_older().as_str().to_owned(),
        active: user.active,
        password_hash: user.password_hash.clone(),
        limits: columns::to_json("users.limits", &user.limits)?,
        tokens_valid_from: user.tokens_valid_from.as_micros(),
        created_at: user.created_at.as_micros(),
        updated_at: user.updated_at.as_micros(),
        last_login_at: columns::micros(user.last_login_at),
        exact_role: user.role.exact().map(str::to_owned),
        identity_issuer: user.identity.as_ref().map(|identity| identity.issuer.clone()),
        identity_subject: user.identity.as_ref().map(|identity| identity.subject.clone()),
        external_id: user.external_id.clone(),
    })
}

/// All but the groups that they manage, which are in a table of their own.
fn from_row(row: row::Model) -> Result<User, Error> {
    let role = row.role.parse().map_err(|error| Error::unreadable("users.role", error))?;
    Ok(User {
        id: UserId(row.id),
        role: Role::of_kept(role, row.exact_role.as_deref()),
        manages: BTreeSet::new(),
        limits: columns::from_json("users.limits", &row.limits)?,
        name: row.name,
        group_id: row.group_id.map(GroupId),
        active: row.active,
        password_hash: row.password_hash,
        tokens_valid_from: Timestamp::from_micros(row.tokens_valid_from),
        created_at: Timestamp::from_micros(row.created_at),
        updated_at: Timestamp::from_micros(row.updated_at),
        last_login_at: columns::moment(row.last_login_at),
        identity: row
            .identity_issuer
            .zip(row.identity_subject)
            .map(|(issuer, subject)| Identity { issuer, subject }),
        external_id: row.external_id,
    })
}
