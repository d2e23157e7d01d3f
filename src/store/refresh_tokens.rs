//! Table `refresh_tokens`: logins that can be renewed. Followers do not replicate it; logins go to the leader.

use std::time::Duration;

use sea_orm::entity::prelude::*;
use sea_orm::{IntoActiveModel, Statement, UpdateMany, Value};

use crate::domain::clock::Timestamp;
use crate::domain::ids::{Jti, UserId};
use crate::store::{Error, Executor, columns};

pub(super) mod row {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "refresh_tokens")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub jti: Uuid,
        pub family: Uuid,
        pub user_id: Uuid,
        pub digest: Vec<u8>,
        pub created_at: i64,
        pub expires_at: i64,
        pub revoked_at: Option<i64>,
        pub access_until: Option<i64>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A refresh token as it is kept: its digest, never the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshToken {
    pub jti: Jti,
    /// The first token of the login that it descends from: a replayed token revokes the whole family.
    pub family: Jti,
    pub user_id: UserId,
    /// SHA-256 of the token.
    pub digest: [u8; 32],
    pub created_at: Timestamp,
    /// Refused from this moment on.
    pub expires_at: Timestamp,
    /// When it was used or revoked; `None` while it is valid.
    pub revoked_at: Option<Timestamp>,
    /// When the access token expires that was given out with it; `None`: an older sproxy did not say.
    pub access_until: Option<Timestamp>,
}

/// Reads and changes refresh tokens, on a store or a transaction. Every call costs look-ups in an index, and what it
/// changes.
#[derive(Debug)]
pub struct RefreshTokenRepo<'a, G>(&'a G);

impl<'a, G: Executor> RefreshTokenRepo<'a, G> {
    pub fn on(executor: &'a G) -> Self {
        Self(executor)
    }

    /// Adds a token.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the id exists already.
    pub async fn create(&self, token: &RefreshToken) -> Result<(), Error> {
        let row = row::Model {
            jti: token.jti.0,
            family: token.family.0,
            user_id: token.user_id.0,
            digest: token.digest.to_vec(),
            created_at: token.created_at.as_micros(),
            expires_at: token.expires_at.as_micros(),
            revoked_at: columns::micros(token.revoked_at),
            access_until: columns::micros(token.access_until),
        };
        row::Entity::insert(row.into_active_model()).exec_without_returning(&*self.0.writes().await?).await?;
        Ok(())
    }

    /// The token with this id, revoked and expired ones included: the caller checks.
    pub async fn get_by_jti(&self, jti: Jti) -> Result<Option<RefreshToken>, Error> {
        row::Entity::find_by_id(jti.0).one(&self.0.reads()).await?.as_ref().map(from_row).transpose()
    }

    /// When the last access token of a family expires; `ttl` is the lifetime of those of which that was not noted.
    pub async fn access_until(&self, family: Jti, ttl: Duration) -> Result<Option<Timestamp>, Error> {
        let sql = "SELECT MAX(COALESCE(access_until, created_at + $1)) FROM refresh_tokens WHERE family = $2";
        let ttl = i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX);
        self.time(sql, [ttl.into(), family.0.into()]).await
    }

    /// When the latest of a user's tokens was made, valid or not, by the clock of the node that made it.
    pub async fn latest_of(&self, user: UserId) -> Result<Option<Timestamp>, Error> {
        self.time("SELECT MAX(created_at) FROM refresh_tokens WHERE user_id = $1", [user.0.into()]).await
    }

    async fn time<const N: usize>(&self, sql: &str, values: [Value; N]) -> Result<Option<Timestamp>, Error> {
        let connection = self.0.reads();
        let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
        let row = connection.query_one_raw(statement).await?;
        let micros = row.map(|row| row.try_get_by_index::<Option<i64>>(0)).transpose()?;
        Ok(columns::moment(micros.flatten()))
    }

    /// Families without a valid token in which one was revoked at or after `since`: sessions that ended.
    pub async fn ended_families(&self, since: Timestamp) -> Result<Vec<(Jti, UserId)>, Error> {
        use sea_orm::{ExprTrait as _, QuerySelect as _};
        let families =
            row::Entity::find().select_only().column(row::Column::Family).column(row::Column::UserId);
        let nothing_good = row::Column::RevokedAt.count().eq(row::Column::Jti.count());
        let recently = row::Column::RevokedAt.max().gte(since.as_micros());
        let ended = families
            .group_by(row::Column::Family)
            .group_by(row::Column::UserId)
            .having(nothing_good)
            .having(recently);
        let ids = ended.into_tuple::<(Uuid, Uuid)>().all(&self.0.reads()).await?;
        Ok(ids.into_iter().map(|(family, user)| (Jti(family), UserId(user))).collect())
    }

    /// Revokes a token. Returns true if it was valid until this call: of two callers that use the same token at once,
    /// one gets true.
    pub async fn revoke(&self, jti: Jti, at: Timestamp) -> Result<bool, Error> {
        Ok(self.revoke_where(row::Column::Jti.eq(jti.0), at).await? > 0)
    }

    /// Revokes the valid tokens of a family; returns how many there were.
    pub async fn revoke_family(&self, family: Jti, at: Timestamp) -> Result<u64, Error> {
        self.revoke_where(row::Column::Family.eq(family.0), at).await
    }

    /// Revokes the valid tokens of a user; returns how many there were.
    pub async fn revoke_all_for_user(&self, user: UserId, at: Timestamp) -> Result<u64, Error> {
        self.revoke_where(row::Column::UserId.eq(user.0), at).await
    }

    /// Removes tokens that expired before `now`, at most `most` of them; returns how many. They are refused by their
    /// date anyhow; this keeps the table small.
    pub async fn delete_expired(&self, now: Timestamp, most: u64) -> Result<u64, Error> {
        use sea_orm::{QuerySelect, QueryTrait};
        let expired = row::Entity::find()
            .select_only()
            .column(row::Column::Jti)
            .filter(row::Column::ExpiresAt.lt(now.as_micros()))
            .limit(most)
            .into_query();
        let delete = row::Entity::delete_many().filter(row::Column::Jti.in_subquery(expired));
        Ok(delete.exec(&*self.0.writes().await?).await?.rows_affected)
    }

    async fn revoke_where(&self, which: sea_orm::sea_query::SimpleExpr, at: Timestamp) -> Result<u64, Error> {
        let update: UpdateMany<row::Entity> =
            row::Entity::update_many().col_expr(row::Column::RevokedAt, Expr::value(at.as_micros()));
        let still_good = row::Column::RevokedAt.is_null();
        let done = update.filter(which).filter(still_good).exec(&*self.0.writes().await?).await?;
        Ok(done.rows_affected)
    }
}

fn from_row(row: &row::Model) -> Result<RefreshToken, Error> {
    Ok(RefreshToken {
        jti: Jti(row.jti),
        family: Jti(row.family),
        user_id: UserId(row.user_id),
        digest: columns::digest("refresh_tokens.digest", &row.digest)?,
        created_at: Timestamp::from_micros(row.created_at),
        expires_at: Timestamp::from_micros(row.expires_at),
        revoked_at: columns::moment(row.revoked_at),
        access_until: columns::moment(row.access_until),
    })
}
