//! Table `ended_sessions`: sessions that ended before their access tokens expired. Every node refuses those; a row is of no
//! use any more once they have.

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, QuerySelect as _, QueryTrait as _, Statement, Value};

use crate::domain::clock::Timestamp;
use crate::domain::ids::{Jti, UserId};
use crate::store::{Error, Executor, MetaKey, Tx, columns};

/// Rows per statement.
const CHUNK: usize = 500;

mod row {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "ended_sessions")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub session: Uuid,
        /// None: it came from another node.
        pub user_id: Option<Uuid>,
        pub until: i64,
        /// The state version that was the first with it; 0: it came with a whole state.
        pub version: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A session that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedSession {
    pub session: Jti,
    /// The last of its access tokens expires at this time.
    pub until: Timestamp,
}

/// Reads ended sessions; on a [`Tx`] also adds some.
#[derive(Debug)]
pub struct EndedSessionRepo<'a, G>(&'a G);

impl<'a, G: Executor> EndedSessionRepo<'a, G> {
    pub fn on(executor: &'a G) -> Self {
        Self(executor)
    }

    /// All of them. Grows with their number.
    pub async fn all(&self) -> Result<Vec<EndedSession>, Error> {
        let rows = row::Entity::find().all(&self.0.reads()).await?;
        Ok(rows.iter().map(from_row).collect())
    }

    /// Those that ended after the state was at `version`.
    pub async fn since(&self, version: u64) -> Result<Vec<EndedSession>, Error> {
        let later = row::Entity::find().filter(row::Column::Version.gt(columns::count(version)));
        Ok(later.all(&self.0.reads()).await?.iter().map(from_row).collect())
    }

    /// How many of a user's there are.
    pub async fn count_of(&self, user: UserId) -> Result<u64, Error> {
        let theirs = row::Entity::find().filter(row::Column::UserId.eq(user.0));
        Ok(theirs.count(&self.0.reads()).await?)
    }

    /// Removes those whose access tokens expired before `before`, at most `most` of them; returns how many.
    pub async fn delete_expired(&self, before: Timestamp, most: u64) -> Result<u64, Error> {
        let expired = row::Entity::find()
            .select_only()
            .column(row::Column::Session)
            .filter(row::Column::Until.lt(before.as_micros()))
            .limit(most)
            .into_query();
        let delete = row::Entity::delete_many().filter(row::Column::Session.in_subquery(expired));
        Ok(delete.exec(&*self.0.writes().await?).await?.rows_affected)
    }
}

impl EndedSessionRepo<'_, Tx> {
    /// Adds a session of `user`; nothing happens if it is there.
    pub async fn add(&self, ended: EndedSession, user: UserId) -> Result<(), Error> {
        let sql = "INSERT INTO ended_sessions (session, user_id, until, version) SELECT $1, $2, $3, \
                   COALESCE((SELECT CAST(value AS BIGINT) FROM meta WHERE key = $4), 0) + 1 \
                   WHERE NOT EXISTS (SELECT 1 FROM ended_sessions WHERE session = $1)";
        let values: [Value; 4] = [
            ended.session.0.into(),
            user.0.into(),
            ended.until.as_micros().into(),
            MetaKey::StateVersion.as_str().into(),
        ];
        let connection = self.0.inner();
        let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
        if connection.execute_raw(statement).await?.rows_affected() > 0 {
            self.0.touches_sign_in();
        }
        Ok(())
    }

    /// Adds those that are not there, as another node knows them: to this node's state they are nothing new.
    pub async fn add_of_another(&self, ended: &[EndedSession]) -> Result<(), Error> {
        add_all(self.0, ended).await
    }

    /// Removes those of a user all of whose tokens are refused anyhow.
    pub async fn remove_all_of(&self, user: UserId) -> Result<u64, Error> {
        let theirs = row::Entity::delete_many().filter(row::Column::UserId.eq(user.0));
        Ok(theirs.exec(self.0.inner()).await?.rows_affected)
    }
}

/// Adds those that are not there, as a part of a state that comes from another node.
pub(super) async fn add_all(tx: &Tx, ended: &[EndedSession]) -> Result<(), Error> {
    for ended in ended.chunks(CHUNK) {
        let rows = ended.iter().map(|ended| row::ActiveModel {
            session: Set(ended.session.0),
            user_id: Set(None),
            until: Set(ended.until.as_micros()),
            version: Set(0),
        });
        let keep = OnConflict::column(row::Column::Session).do_nothing().to_owned();
        row::Entity::insert_many(rows).on_conflict(keep).exec_without_returning(tx.inner()).await?;
    }
    Ok(())
}

fn from_row(row: &row::Model) -> EndedSession {
    EndedSession { session: Jti(row.session), until: Timestamp::from_micros(row.until) }
}
