//! The table `provider_sessions`: what is kept of users' sessions at the identity provider, to ask it about them again.

use sea_orm::entity::prelude::*;
use sea_orm::{IntoActiveModel, QueryOrder, QuerySelect, sea_query::OnConflict};

use crate::domain::clock::Timestamp;
use crate::domain::ids::UserId;
use crate::store::{Error, Executor};

mod row {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "provider_sessions")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub user_id: Uuid,
        pub tokens: Option<Vec<u8>>,
        pub asked_at: i64,
        pub refused_at: Option<i64>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A user's session at the identity provider. Its `Debug` form has no tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct ProviderSession {
    pub user_id: UserId,
    /// The provider's tokens, encrypted. Empty: it gives none, as a directory does not.
    pub tokens: Vec<u8>,
    /// When the provider was asked last, or is being asked.
    pub asked_at: Timestamp,
}

impl std::fmt::Debug for ProviderSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProviderSession").field("user_id", &self.user_id).finish_non_exhaustive()
    }
}

/// Reads and changes sessions at the provider, on a store or a transaction. Every call costs look-ups in an index, and what
/// it changes.
#[derive(Debug)]
pub struct ProviderSessionRepo<'a, G>(&'a G);

impl<'a, G: Executor> ProviderSessionRepo<'a, G> {
    pub fn on(executor: &'a G) -> Self {
        Self(executor)
    }

    /// Keeps the tokens that the provider gave, in place of any before. Whoever was refused before is let in.
    pub async fn keep(&self, session: &ProviderSession) -> Result<(), Error> {
        self.put(row::Model {
            user_id: session.user_id.0,
            tokens: Some(session.tokens.clone()),
            asked_at: session.asked_at.as_micros(),
            refused_at: None,
        })
        .await
    }

    /// The user's session, if the provider gave tokens.
    pub async fn get(&self, user: UserId) -> Result<Option<ProviderSession>, Error> {
        Ok(row::Entity::find_by_id(user.0).one(&self.0.reads()).await?.and_then(from_row))
    }

    /// At most `most` sessions about which the provider was not asked since `before`, the longest first: of those that have
    /// tokens, or of those that have none.
    pub async fn due(
        &self,
        before: Timestamp,
        most: u64,
        with_tokens: bool,
    ) -> Result<Vec<ProviderSession>, Error> {
        let (tokens, none) = (row::Column::Tokens, Vec::<u8>::new());
        let due = row::Entity::find()
            .filter(row::Column::AskedAt.lte(before.as_micros()))
            .filter(if with_tokens { tokens.ne(none) } else { tokens.eq(none) })
            .order_by_asc(row::Column::AskedAt)
            .limit(most);
        Ok(due.all(&self.0.reads()).await?.into_iter().filter_map(from_row).collect())
    }

    /// Notes that the provider is asked about a session. False: somebody else has begun to, or its tokens are others.
    pub async fn begin_asking(&self, session: &ProviderSession, now: Timestamp) -> Result<bool, Error> {
        let set = row::Entity::update_many()
            .col_expr(row::Column::AskedAt, Expr::value(now.as_micros()))
            .filter(row::Column::UserId.eq(session.user_id.0))
            .filter(row::Column::AskedAt.eq(session.asked_at.as_micros()))
            .filter(row::Column::Tokens.eq(session.tokens.clone()));
        Ok(set.exec(&*self.0.writes().await?).await?.rows_affected > 0)
    }

    /// The user was disabled because the provider refuses them; it is not asked again.
    pub async fn refuse(&self, user: UserId, now: Timestamp) -> Result<(), Error> {
        self.put(row::Model {
            user_id: user.0,
            tokens: None,
            asked_at: now.as_micros(),
            refused_at: Some(now.as_micros()),
        })
        .await
    }

    /// Lets in again whom the provider refused. True: they had been refused.
    pub async fn let_in(&self, user: UserId) -> Result<bool, Error> {
        let delete = row::Entity::delete_many()
            .filter(row::Column::UserId.eq(user.0))
            .filter(row::Column::RefusedAt.is_not_null());
        Ok(delete.exec(&*self.0.writes().await?).await?.rows_affected > 0)
    }

    async fn put(&self, row: row::Model) -> Result<(), Error> {
        let in_place = OnConflict::column(row::Column::UserId)
            .update_columns([row::Column::Tokens, row::Column::AskedAt, row::Column::RefusedAt])
            .to_owned();
        let insert = row::Entity::insert(row.into_active_model()).on_conflict(in_place);
        insert.exec_without_returning(&*self.0.writes().await?).await?;
        Ok(())
    }

    /// Forgets a user's session.
    pub async fn forget(&self, user: UserId) -> Result<(), Error> {
        row::Entity::delete_by_id(user.0).exec(&*self.0.writes().await?).await?;
        Ok(())
    }
}

fn from_row(row: row::Model) -> Option<ProviderSession> {
    let (user_id, asked_at) = (UserId(row.user_id), Timestamp::from_micros(row.asked_at));
    Some(ProviderSession { user_id, tokens: row.tokens?, asked_at })
}
