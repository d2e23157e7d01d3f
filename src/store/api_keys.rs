//! Table `api_keys`. A revoked key is a row less: what is not there cannot be let in by mistake.

use std::collections::BTreeMap;

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::Query;
use sea_orm::{ExprTrait as _, IntoActiveModel, QueryOrder};

use crate::domain::clock::Timestamp;
use crate::domain::ids::{GroupId, KeyId, UserId};
use crate::domain::user::ApiKey;
use crate::store::retry::retried_on;
use crate::store::{Cursor, Error, Executor, Page, Tx, columns, page, removed};

pub(super) mod row {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "api_keys")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub user_id: Uuid,
        pub name: String,
        pub prefix: String,
        pub digest: Vec<u8>,
        pub created_at: i64,
        pub last_used_at: Option<i64>,
        pub expires_at: Option<i64>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Reads API keys; on a [`Tx`] also changes them. Finding one, or those of one user, costs look-ups in an index.
#[derive(Debug)]
pub struct ApiKeyRepo<'a, G>(&'a G);

impl<'a, G: Executor> ApiKeyRepo<'a, G> {
    pub fn on(executor: &'a G) -> Self {
        Self(executor)
    }

    /// The key with this id.
    pub async fn get_by_id(&self, id: KeyId) -> Result<Option<ApiKey>, Error> {
        row::Entity::find_by_id(id.0).one(&self.0.reads()).await?.map(from_row).transpose()
    }

    /// A user's keys, newest first.
    pub async fn list_by_user(&self, user: UserId) -> Result<Vec<ApiKey>, Error> {
        let theirs = row::Entity::find().filter(row::Column::UserId.eq(user.0));
        let rows = theirs
            .order_by_desc(row::Column::CreatedAt)
            .order_by_desc(row::Column::Id)
            .all(&self.0.reads())
            .await?;
        rows.into_iter().map(from_row).collect()
    }

    /// A page of keys, of one user or of everybody, or of the members of the groups `within`, newest first. Reads and sorts the
    /// table: for people.
    pub async fn list(
        &self,
        user: Option<UserId>,
        within: Option<&[GroupId]>,
        limit: usize,
        from: Option<Cursor>,
    ) -> Result<Page<ApiKey>, Error> {
        let mut select = row::Entity::find();
        if let Some(user) = user {
            select = select.filter(row::Column::UserId.eq(user.0));
        }
        if let Some(groups) = within {
            let members = Query::select()
                .column("id")
                .from("users")
                .and_where(Expr::col("group_id").is_in(groups.iter().map(|group| group.0)))
                .to_owned();
            select = select.filter(row::Column::UserId.in_subquery(members));
        }
        let place = (row::Column::CreatedAt, row::Column::Id);
        let rows = page::newest_first(select, place, limit, from).all(&self.0.reads()).await?;
        let keys = rows.into_iter().map(from_row).collect::<Result<Vec<_>, _>>()?;
        Ok(Page::cut(keys, limit, |key| Cursor { at: key.created_at, id: key.id.0 }))
    }

    /// Every key, newest first. For the snapshot in memory; grows with the number of keys.
    pub async fn all(&self) -> Result<Vec<ApiKey>, Error> {
        let newest_first =
            row::Entity::find().order_by_desc(row::Column::CreatedAt).order_by_desc(row::Column::Id);
        newest_first.all(&self.0.reads()).await?.into_iter().map(from_row).collect()
    }

    /// How many keys a user has.
    pub async fn count_by_user(&self, user: UserId) -> Result<u64, Error> {
        let theirs = row::Entity::find().filter(row::Column::UserId.eq(user.0));
        Ok(theirs.count(&self.0.reads()).await?)
    }

    /// Notes when keys were last used, in one transaction; keys that are gone, and those of which a later use is known,
    /// are passed over. Changes nothing that followers replicate.
    pub async fn set_last_used(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), Error> {
        use sea_orm::TransactionTrait;
        // In one order, so that two that do so at once do not wait for each other.
        let uses: &BTreeMap<Uuid, i64> = &uses.iter().map(|(id, at)| (id.0, at.as_micros())).collect();
        retried_on(self.0, || async move {
            let writes = self.0.writes().await?;
            let tx = writes.begin().await?;
            for (&id, &at) in uses {
                let set = row::Entity::update_many().col_expr(row::Column::LastUsedAt, Expr::value(at));
                let known = row::Column::LastUsedAt;
                let is_news = known.is_null().or(known.lt(at));
                set.filter(row::Column::Id.eq(id)).filter(is_news).exec(&tx).await?;
            }
            Ok(tx.commit().await?)
        })
        .await
    }
}

impl ApiKeyRepo<'_, Tx> {
    /// Adds a key.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the id or digest exists already.
    pub async fn create(&self, key: &ApiKey) -> Result<(), Error> {
        self.0.touches_accounts();
        row::Entity::insert(to_row(key).into_active_model()).exec_without_returning(self.0.inner()).await?;
        Ok(())
    }

    /// Has a key expire at another time. Returns false when there is no such key.
    pub async fn set_expiry(&self, id: KeyId, at: Timestamp) -> Result<bool, Error> {
        self.0.touches_accounts();
        let set = row::Entity::update_many().col_expr(row::Column::ExpiresAt, Expr::value(at.as_micros()));
        let done = set.filter(row::Column::Id.eq(id.0)).exec(self.0.inner()).await?;
        Ok(done.rows_affected > 0)
    }

    /// Removes a key. Returns false when there is no such key.
    pub async fn delete(&self, id: KeyId) -> Result<bool, Error> {
        self.0.touches_accounts();
        removed::note(self.0, "api_keys", "id", id.0).await?;
        Ok(row::Entity::delete_by_id(id.0).exec(self.0.inner()).await?.rows_affected > 0)
    }

    /// Removes every key of a user; returns how many there were.
    pub async fn delete_all_of(&self, user: UserId) -> Result<u64, Error> {
        self.0.touches_accounts();
        removed::note(self.0, "api_keys", "user_id", user.0).await?;
        let theirs = row::Entity::delete_many().filter(row::Column::UserId.eq(user.0));
        Ok(theirs.exec(self.0.inner()).await?.rows_affected)
    }
}

pub(super) fn to_row(key: &ApiKey) -> row::Model {
    row::Model {
        id: key.id.0,
        user_id: key.user_id.0,
        name: key.name.clone(),
        prefix: key.prefix.clone(),
        digest: key.digest.to_vec(),
        created_at: key.created_at.as_micros(),
        last_used_at: columns::micros(key.last_used_at),
        expires_at: columns::micros(key.expires_at),
    }
}

fn from_row(row: row::Model) -> Result<ApiKey, Error> {
    Ok(ApiKey {
        id: KeyId(row.id),
        user_id: UserId(row.user_id),
        digest: columns::digest("api_keys.digest", &row.digest)?,
        name: row.name,
        prefix: row.prefix,
        created_at: Timestamp::from_micros(row.created_at),
        last_used_at: columns::moment(row.last_used_at),
        expires_at: columns::moment(row.expires_at),
    })
}
