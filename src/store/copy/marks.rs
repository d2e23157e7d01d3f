//! What a database is in a copy, as its `meta` says.
//!
//! | | source | target |
//! |---|---|---|
//! | copying | `copied_to`: may be served, which ends the copy | `copy_of`: is not served |
//! | copied and checked | `moved_to`: is not served | `copy_of`: is not served |
//! | done | `moved_to`: is not served | nothing: is served |

use sea_orm::{ConnectionTrait as _, EntityTrait as _, Statement};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::ids::NodeId;
use crate::store::meta::{self, Owner};
use crate::store::{Error, Executor as _, MetaKey, MetaRepo, Store, UsageRepo, columns};

/// The note in a target that is not complete.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct CopyMark {
    pub(super) id: Uuid,
    /// The ledger that is copied.
    pub(super) ledger: String,
    /// Where it is copied from, in words.
    pub(super) from: String,
}

impl CopyMark {
    pub(super) async fn of(store: &Store) -> Result<Option<Self>, Error> {
        let text = MetaRepo::on(store).get(MetaKey::CopyOf).await?;
        text.map(|text| columns::from_json("meta.copy_of", &text)).transpose()
    }

    pub(super) async fn write(&self, store: &Store) -> Result<(), Error> {
        let text = columns::to_json("meta.copy_of", self)?;
        MetaRepo::on(store).set(MetaKey::CopyOf, &text).await
    }
}

impl Store {
    /// Refuses a database that is a part of another, or was moved away. One of which a copy was begun is used all the same:
    /// that copy is out of date from now on. To be asked by whoever is going to write into it.
    ///
    /// # Errors
    /// [`Error::Unsupported`] with what to do, and what the database says.
    pub async fn refuse_in_copy(&self) -> Result<(), Error> {
        if let Some(mark) = CopyMark::of(self).await? {
            return Err(Error::Unsupported(format!(
                "store.url is a copy of {} that is not complete: run `sproxy migrate` again, which goes on with it, or \
                 start this node on what is copied",
                mark.from
            )));
        }
        let meta = MetaRepo::on(self);
        if let Some(target) = meta.get(MetaKey::MovedTo).await? {
            return Err(Error::Unsupported(format!(
                "this database was moved to {target} with `sproxy migrate`: set store.url to that. Two that go on with one \
                 ledger would count what the other does not know; to go on with this one all the same, and never with that \
                 one, remove the row `moved_to` from its table `meta`"
            )));
        }
        if meta.take(MetaKey::CopiedTo).await?.is_some() {
            tracing::warn!(
                "a copy of this database was begun with `sproxy migrate`; it has to begin anew now"
            );
        }
        Ok(())
    }
}

/// The id of the ledger that a leader's database is.
///
/// # Errors
/// [`Error::Unsupported`] for what is no leader's, and what the database says.
pub(super) async fn ledger_to_move(store: &Store) -> Result<String, Error> {
    let meta = MetaRepo::on(store);
    let Some(ledger) = meta.get(MetaKey::LedgerId).await? else {
        return Err(Error::Unsupported(
            "no leader has worked on this database: there is nothing to move".to_owned(),
        ));
    };
    if CopyMark::of(store).await?.is_some() {
        return Err(Error::Unsupported(
            "what is to be moved is a copy that is not complete itself".to_owned(),
        ));
    }
    let followed = meta.get(MetaKey::LeaderLedgerId).await?;
    let usage = UsageRepo::on(store);
    if followed.is_some_and(|followed| followed != ledger)
        || usage.unsynced_count().await? + usage.set_aside_count().await? > 0
    {
        return Err(Error::Unsupported(
            "this is the database of a follower, which has nothing that its leader does not have: move the leader's".to_owned(),
        ));
    }
    Ok(ledger)
}

/// What `meta` says about the ledger goes over, and what a leader alone says about itself if the target is going to be
/// one's. All of it with the note that the target is complete.
pub(super) async fn hand_over(
    from: &Store,
    to: &Store,
    node: Option<&NodeId>,
    former: Option<&str>,
) -> Result<(), Error> {
    let rows = meta::row::Entity::find().all(&from.reads()).await?;
    let tx = to.begin().await?;
    let set = async |key: &str, value: &str| {
        let sql = "INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        let statement = Statement::from_sql_and_values(to.backend(), sql, [key.into(), value.into()]);
        tx.inner().execute_raw(statement).await.map(drop)
    };
    for row in rows {
        // What no version knows any more is the ledger's, too.
        if MetaKey::of(&row.key).is_none_or(|key| key.owner() == Owner::Ledger) {
            set(&row.key, &row.value).await?;
        }
    }
    if to.is_embedded() {
        // Nobody else leads on it.
        tx.inner().execute_unprepared("UPDATE peers SET leads_at = NULL").await?;
        if let Some(node) = node {
            set(MetaKey::NodeId.as_str(), node.as_str()).await?;
        }
        if let Some(former) = former {
            set(MetaKey::FormerNodeIds.as_str(), former).await?;
        }
    }
    MetaRepo::on(&tx).unset(MetaKey::CopyOf).await?;
    tx.commit().await.map(drop)
}
