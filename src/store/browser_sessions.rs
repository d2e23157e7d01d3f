//! Table `browser_sessions`: who is signed in at a browser. Followers do not have any; their pages are the leader's.

use sea_orm::entity::prelude::*;
use sea_orm::{ExprTrait as _, IntoActiveModel, QueryOrder as _, QuerySelect as _, QueryTrait as _};

use crate::domain::clock::Timestamp;
use crate::domain::ids::{Jti, UserId};
use crate::store::{Error, Executor, columns};

mod row {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "browser_sessions")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub user_id: Uuid,
        pub digest: Vec<u8>,
        pub method: String,
        pub address: String,
        pub created_at: i64,
        pub last_seen_at: i64,
        pub expires_at: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A session of a browser as it is kept: the digest of its token, never the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrowserSession {
    pub id: Jti,
    pub user_id: UserId,
    /// SHA-256 of the token.
    pub digest: [u8; 32],
    /// How it began, such as `password`.
    pub method: String,
    /// Where the browser was then.
    pub address: String,
    pub created_at: Timestamp,
    /// To within a minute.
    pub last_seen_at: Timestamp,
    /// Refused from this moment on, however much it is used.
    pub expires_at: Timestamp,
}

/// Reads and changes sessions of browsers, on a store or a transaction. Every call costs look-ups in an index, and what it
/// changes.
#[derive(Debug)]
pub struct BrowserSessionRepo<'a, G>(&'a G);

impl<'a, G: Executor> BrowserSessionRepo<'a, G> {
    pub fn on(executor: &'a G) -> Self {
        Self(executor)
    }

    /// Adds a session.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the id or the token exists already.
    pub async fn create(&self, session: &BrowserSession) -> Result<(), Error> {
        let row = row::Model {
            id: session.id.0,
            user_id: session.user_id.0,
            digest: session.digest.to_vec(),
            method: session.method.clone(),
            address: session.address.clone(),
            created_at: session.created_at.as_micros(),
            last_seen_at: session.last_seen_at.as_micros(),
            expires_at: session.expires_at.as_micros(),
        };
        row::Entity::insert(row.into_active_model()).exec_without_returning(&*self.0.writes().await?).await?;
        Ok(())
    }

    /// The session whose token has this digest, ended ones included: the caller checks.
    pub async fn get_by_digest(&self, digest: &[u8; 32]) -> Result<Option<BrowserSession>, Error> {
        let found = row::Entity::find().filter(row::Column::Digest.eq(digest.to_vec()));
        found.one(&self.0.reads()).await?.as_ref().map(from_row).transpose()
    }

    /// A user's sessions, the one that was seen last first.
    pub async fn list_of(&self, user: UserId) -> Result<Vec<BrowserSession>, Error> {
        let theirs = row::Entity::find().filter(row::Column::UserId.eq(user.0));
        let rows = theirs.order_by_desc(row::Column::LastSeenAt).all(&self.0.reads()).await?;
        rows.iter().map(from_row).collect()
    }

    /// Notes that a session is in use. One that ended meanwhile stays so.
    pub async fn seen(&self, id: Jti, at: Timestamp) -> Result<(), Error> {
        let set = row::Entity::update_many().col_expr(row::Column::LastSeenAt, Expr::value(at.as_micros()));
        set.filter(row::Column::Id.eq(id.0)).exec(&*self.0.writes().await?).await?;
        Ok(())
    }

    /// Ends the session whose token has this digest. True: there was one.
    pub async fn delete_by_digest(&self, digest: &[u8; 32]) -> Result<bool, Error> {
        let it = row::Entity::delete_many().filter(row::Column::Digest.eq(digest.to_vec()));
        Ok(it.exec(&*self.0.writes().await?).await?.rows_affected > 0)
    }

    /// Ends all sessions of a user; returns how many there were.
    pub async fn delete_all_of(&self, user: UserId) -> Result<u64, Error> {
        let theirs = row::Entity::delete_many().filter(row::Column::UserId.eq(user.0));
        Ok(theirs.exec(&*self.0.writes().await?).await?.rows_affected)
    }

    /// Ends those of a user's sessions that were not used for the longest, until fewer than `most` are left.
    pub async fn make_room(&self, user: UserId, most: u64) -> Result<(), Error> {
        let kept = row::Entity::find()
            .select_only()
            .column(row::Column::Id)
            .filter(row::Column::UserId.eq(user.0))
            .order_by_desc(row::Column::LastSeenAt)
            .limit(most.saturating_sub(1))
            .into_query();
        let surplus = row::Entity::delete_many()
            .filter(row::Column::UserId.eq(user.0))
            .filter(row::Column::Id.not_in_subquery(kept));
        surplus.exec(&*self.0.writes().await?).await?;
        Ok(())
    }

    /// Removes sessions that are over by `now` or were last seen by `idle_since`, at most `most` of them; returns how
    /// many. They are refused by their dates anyhow; this keeps the table small.
    pub async fn delete_ended(&self, now: Timestamp, idle_since: Timestamp, most: u64) -> Result<u64, Error> {
        let over = row::Column::ExpiresAt.lte(now.as_micros());
        let ended = row::Entity::find()
            .select_only()
            .column(row::Column::Id)
            .filter(over.or(row::Column::LastSeenAt.lte(idle_since.as_micros())))
            .limit(most)
            .into_query();
        let delete = row::Entity::delete_many().filter(row::Column::Id.in_subquery(ended));
        Ok(delete.exec(&*self.0.writes().await?).await?.rows_affected)
    }
}

fn from_row(row: &row::Model) -> Result<BrowserSession, Error> {
    Ok(BrowserSession {
        id: Jti(row.id),
        user_id: UserId(row.user_id),
        digest: columns::digest("browser_sessions.digest", &row.digest)?,
        method: row.method.clone(),
        address: row.address.clone(),
        created_at: Timestamp::from_micros(row.created_at),
        last_seen_at: Timestamp::from_micros(row.last_seen_at),
        expires_at: Timestamp::from_micros(row.expires_at),
    })
}
