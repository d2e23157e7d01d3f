//! Inserting into PostgreSQL. A batch travels as one array per column and is unnested there: one statement of one
//! shape for any number of rows, one round trip each for logs and for each table of sums.

use std::sync::LazyLock;

use sea_orm::sqlx::postgres::PgArguments;
use sea_orm::sqlx::{self, Arguments as _, PgConnection, PgPool, Postgres, Row as _};
use uuid::Uuid;

use crate::domain::fence::{BatchesHeld, Fence};
use crate::domain::ids::{NodeId, RequestId, SessionId};
use crate::domain::usage::UsageRecord;
use crate::store::usage::batch::{
    BatchOwner, COUNT_BATCH, COUNT_BATCH_OF_SESSION, InsertedBatch, PriceTexts, SELECT_BATCHES, SELECT_FLOOR,
    above, refusal, sums_of_new, with_new_marked,
};
use crate::store::usage::binding::{Arrays, unbindable};
use crate::store::usage::rollup::{Rollups, SUMS, add_to_existing};
use crate::store::usage::usage_columns::{COLUMNS, Row, TYPES, bind_postgres};
use crate::store::{Error, columns::count, columns::counted};

static LOGS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "INSERT INTO usage_logs ({}, synced) SELECT *, ${} FROM UNNEST({}) \
         ON CONFLICT (request_id) DO NOTHING RETURNING request_id",
        COLUMNS.join(", "),
        COLUMNS.len() + 1,
        arrays(TYPES)
    )
});
static ROLLUPS: LazyLock<String> = LazyLock::new(|| {
    let key = "hour, user_id, group_id, model, node";
    let tail = add_to_existing("usage_rollups", key, &["user_name", "group_name"]);
    let types =
        [&["bigint", "uuid", "uuid", "text", "text", "text", "text"][..], &["bigint"; SUMS.len()]].concat();
    let (columns, arrays) = (SUMS.join(", "), arrays(&types));
    format!(
        "INSERT INTO usage_rollups ({key}, user_name, group_name, {columns}) SELECT * FROM UNNEST({arrays}) {tail}"
    )
});
static TOTALS: LazyLock<String> = LazyLock::new(|| {
    let tail = add_to_existing("usage_totals", "hour, node", &[]);
    let types = [&["bigint", "text"][..], &["bigint"; SUMS.len()]].concat();
    let (columns, arrays) = (SUMS.join(", "), arrays(&types));
    format!("INSERT INTO usage_totals (hour, node, {columns}) SELECT * FROM UNNEST({arrays}) {tail}")
});

/// `$1::type[], $2::type[], …`
fn arrays(types: &[&str]) -> String {
    let numbered = types.iter().enumerate().map(|(at, kind)| format!("${}::{kind}[]", at + 1));
    numbered.collect::<Vec<_>>().join(", ")
}

pub(super) async fn insert_batch(
    pool: &PgPool,
    records: &[UsageRecord],
    owner: &BatchOwner,
) -> Result<InsertedBatch, Error> {
    let mut tx = pool.begin().await?;
    let arguments = bind_logs(records, owner.synced())?;
    let taken = sqlx::query_with::<Postgres, _>(LOGS.as_str(), arguments).fetch_all(&mut *tx).await?;
    let ids = taken.iter().map(|row| Ok(RequestId(row.try_get::<Uuid, _>(0)?)));
    let mut inserted = with_new_marked(records, ids.collect::<Result<_, Error>>()?);
    if let BatchOwner::Follower(node, _) = owner
        && inserted.added() > 0
    {
        take_back_below_floor(&mut tx, records, node, &mut inserted).await?;
    }
    if inserted.added() > 0 {
        insert_sums(&mut tx, &sums_of_new(records, &inserted)).await?;
    }
    if let BatchOwner::Follower(node, fence) = owner {
        inserted.number = Some(next_number(&mut tx, node, fence).await?);
    }
    tx.commit().await?;
    Ok(inserted)
}

/// Takes back what was inserted because retention had removed its row. The floor is read after the insert, by a
/// statement of its own: an insert that finds no row where there was one comes after the commit of the transaction that
/// removed it, and that transaction has written the floor. Read before, a floor could be older than what the insert
/// saw.
async fn take_back_below_floor(
    tx: &mut PgConnection,
    records: &[UsageRecord],
    node: &NodeId,
    inserted: &mut InsertedBatch,
) -> Result<(), Error> {
    let floor = sqlx::query(SELECT_FLOOR).bind(node.as_str()).fetch_optional(&mut *tx).await?;
    let Some(floor) = floor.map(|row| row.try_get::<i64, _>(0)).transpose()? else { return Ok(()) };
    for (record, is_new) in records.iter().zip(&mut inserted.is_new) {
        if *is_new && record.created_at.as_micros() <= floor {
            *is_new = false;
            inserted.below_floor.push(record.request_id);
        }
    }
    if inserted.below_floor.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = inserted.below_floor.iter().map(|id| id.0).collect();
    sqlx::query("DELETE FROM usage_logs WHERE request_id = ANY($1)").bind(ids).execute(tx).await?;
    Ok(())
}

/// The number for the batch that this transaction inserts.
async fn next_number(tx: &mut PgConnection, node: &NodeId, fence: &Fence) -> Result<u64, Error> {
    let least = fence.least();
    let query = match fence.session() {
        Some(session) => {
            sqlx::query(COUNT_BATCH_OF_SESSION).bind(node.as_str()).bind(count(least)).bind(session.0)
        }
        None => sqlx::query(COUNT_BATCH).bind(node.as_str()).bind(count(least)),
    };
    let row = query.fetch_optional(&mut *tx).await?;
    let number = row.map(|row| row.try_get(0)).transpose()?.map(counted);
    if let Some(number) = above(least, number) {
        return Ok(number);
    }
    let row = match number {
        Some(_) => None,
        None => sqlx::query(SELECT_BATCHES).bind(node.as_str()).fetch_optional(tx).await?,
    };
    let held = match row {
        None => BatchesHeld::default(),
        Some(row) => BatchesHeld {
            taken: counted(row.try_get(0)?),
            session: row.try_get::<Option<Uuid>, _>(1)?.map(SessionId),
        },
    };
    Err(refusal(held, fence))
}

/// One array per column, and whether all of them are synced.
fn bind_logs(records: &[UsageRecord], synced: bool) -> Result<PgArguments, Error> {
    let mut prices = PriceTexts::default();
    // In one order, whoever pushes them: two transactions that insert the same ids in different orders would wait for
    // each other.
    let mut ordered: Vec<&UsageRecord> = records.iter().collect();
    ordered.sort_unstable_by_key(|record| record.request_id);
    let rows =
        ordered.into_iter().map(|record| Row::of(record, &mut prices)).collect::<Result<Vec<_>, _>>()?;
    let mut arguments = bind_postgres(&rows)?;
    arguments.add(synced).map_err(unbindable)?;
    Ok(arguments)
}

async fn insert_sums(connection: &mut PgConnection, rollups: &Rollups) -> Result<(), Error> {
    let rows: Vec<_> = rollups.by_user.iter().collect();
    let mut columns = Arrays::default();
    columns.add(&rows, |(key, _)| key.hour)?;
    columns.add(&rows, |(key, _)| key.user)?;
    columns.add(&rows, |(key, _)| key.group)?;
    columns.add(&rows, |(key, _)| &*key.model)?;
    columns.add(&rows, |(key, _)| &*key.node)?;
    columns.add(&rows, |(_, (names, _))| &*names.user)?;
    columns.add(&rows, |(_, (names, _))| &*names.group)?;
    for at in 0..SUMS.len() {
        columns.add(&rows, |(_, (_, sums))| sums.values()[at])?;
    }
    sqlx::query_with::<Postgres, _>(ROLLUPS.as_str(), columns.into_arguments())
        .execute(&mut *connection)
        .await?;

    let rows: Vec<_> = rollups.by_node.iter().collect();
    let mut columns = Arrays::default();
    columns.add(&rows, |((hour, _), _)| *hour)?;
    columns.add(&rows, |((_, node), _)| &**node)?;
    for at in 0..SUMS.len() {
        columns.add(&rows, |(_, sums)| sums.values()[at])?;
    }
    sqlx::query_with::<Postgres, _>(TOTALS.as_str(), columns.into_arguments()).execute(connection).await?;
    Ok(())
}
