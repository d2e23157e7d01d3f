//! Table `removed_accounts`: the ids of users, groups and API keys that were removed. A leader that adds to its own
//! what a follower holds does not bring them back.

use std::collections::BTreeSet;

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, QuerySelect as _, Statement, Value};

use crate::store::{Error, Executor, MetaKey, Store, Tx};

/// Rows per statement.
const CHUNK: usize = 500;

mod row {
    use sea_orm::entity::prelude::*;

    /// The id of a removed user, group or key.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "removed_accounts")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub version: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Notes the rows that are about to be removed: those of `table` where `column` is `id`, as of the next version.
pub(super) async fn note(tx: &Tx, table: &str, column: &str, id: Uuid) -> Result<(), Error> {
    let sql = format!(
        "INSERT INTO removed_accounts (id, version) SELECT id, \
         COALESCE((SELECT CAST(value AS BIGINT) FROM meta WHERE key = $1), 0) + 1 \
         FROM \"{table}\" WHERE {column} = $2 ON CONFLICT (id) DO NOTHING"
    );
    let values = [Value::from(MetaKey::StateVersion.as_str()), Value::from(id)];
    let backend = tx.inner().get_database_backend();
    tx.inner().execute_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
    Ok(())
}

/// Records that `version` removed `ids`.
pub(super) async fn note_all(tx: &Tx, ids: &[Uuid], version: u64) -> Result<(), Error> {
    let version = i64::try_from(version).unwrap_or(i64::MAX);
    for ids in ids.chunks(CHUNK) {
        let rows = ids.iter().map(|id| row::ActiveModel { id: Set(*id), version: Set(version) });
        let keep = OnConflict::column(row::Column::Id).do_nothing().to_owned();
        row::Entity::insert_many(rows).on_conflict(keep).exec_without_returning(tx.inner()).await?;
    }
    Ok(())
}

/// Replaces the table's ids with `wanted`.
pub(super) async fn replace(tx: &Tx, wanted: &BTreeSet<Uuid>, version: u64) -> Result<(), Error> {
    let held = all(tx).await?;
    let gone: Vec<Uuid> = held.difference(wanted).copied().collect();
    for ids in gone.chunks(CHUNK) {
        let these = row::Column::Id.is_in(ids.iter().copied());
        row::Entity::delete_many().filter(these).exec(tx.inner()).await?;
    }
    let new: Vec<Uuid> = wanted.difference(&held).copied().collect();
    note_all(tx, &new, version).await
}

pub(super) async fn all(executor: &impl Executor) -> Result<BTreeSet<Uuid>, Error> {
    let ids = row::Entity::find().select_only().column(row::Column::Id).into_tuple::<Uuid>();
    Ok(ids.all(&executor.reads()).await?.into_iter().collect())
}

impl Store {
    /// Forgets all but the `most` ids that were removed last, at most `at_once` of them; how many it forgot.
    pub async fn forget_removed(&self, most: u64, at_once: u64) -> Result<u64, Error> {
        let sql = "DELETE FROM removed_accounts WHERE id IN (SELECT id FROM removed_accounts \
                   ORDER BY version DESC, id DESC LIMIT $1 OFFSET $2)";
        let count = |number: u64| Value::from(i64::try_from(number).unwrap_or(i64::MAX));
        let statement = Statement::from_sql_and_values(self.backend(), sql, [count(at_once), count(most)]);
        Ok(self.writes().await?.execute_raw(statement).await?.rows_affected())
    }
}
