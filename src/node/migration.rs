//! A leader's database moves from SQLite to PostgreSQL, or back, while no node runs on either. What this node alone has
//! moves with it: on PostgreSQL its name and what it books lie in a spool in its directory.
//!
//! Any step may be the last of a process: run again, the move goes on. The source becomes unusable before the target
//! becomes usable, so that never two nodes serve one ledger from two databases.

use std::path::{Path, PathBuf};

use super::build::take_data_dir;
use super::database::{SPOOL, location_of};
use super::error::Error;
use super::set_aside::keep_aside;
use crate::cluster::leader;
use crate::config::{Config, Database};
use crate::domain::ids::NodeId;
use crate::store::{
    self, CopyProgress, CopyStart, DatabaseCopy, DatabaseLock, Location, MetaKey, MetaRepo, PeerRepo,
    Sharing, Store, TableSums, UsageRepo,
};

/// What was moved.
#[derive(Debug)]
pub struct Moved {
    /// What both databases add up to; none: all was moved before.
    pub sums: Option<Vec<TableSums>>,
    /// Whether an earlier process had begun.
    pub resumed: bool,
    /// Files that are not used any more, under their new names.
    pub kept: Vec<PathBuf>,
}

/// A sign of life.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'t> {
    Copying(CopyProgress<'t>),
    /// All rows are there, and are counted and added up on both sides.
    Checking,
}

/// Moves a leader's database.
///
/// # Errors
/// [`Error::Unusable`] when the databases or the node's directory are not as they have to be, with what to do, and what the
/// databases say. What was copied stays for the next time.
pub async fn migrate(
    config: &Config,
    from: &Database,
    to: &Database,
    tell: impl FnMut(Progress<'_>),
) -> Result<Moved, Error> {
    refuse_wrong_pair(config, from, to)?;
    let _data_dir = take_data_dir(&config.node.data_dir)?;
    let (source, target) = (location_of(from, config), location_of(to, config));
    let locks = [lock(&source).await?, lock(&target).await?];
    let [first, second] = &locks;
    tokio::select! {
        moved = migrate_locked(config, (from, &source), (to, &target), tell) => moved,
        lost = first.keep() => Err(lost.into()),
        lost = second.keep() => Err(lost.into()),
    }
}

async fn migrate_locked(
    config: &Config,
    (from, source): (&Database, &Location),
    (to, target): (&Database, &Location),
    mut tell: impl FnMut(Progress<'_>),
) -> Result<Moved, Error> {
    let spool = config.node.data_dir.join(SPOOL);
    let spooled = Spooled::of(&spool, config).await?;
    let from_store = Store::open(source).await?;
    if from_store.is_embedded() {
        spooled.refuse_owed(&spool, "once more with the store.url that it had")?;
    } else {
        spooled.refuse_owed(&spool, "once more as it was")?;
        refuse_others_owed(&from_store, spooled.node.as_ref()).await?;
    }
    let to_store = Store::open(target).await?;
    let start = DatabaseCopy::begin(&from_store, &to_store, &in_words(from)).await?;
    let (sums, resumed) = match start {
        CopyStart::Done => (None, true),
        CopyStart::Begun(copy) => {
            Box::pin(copy.run(|progress| tell(Progress::Copying(progress)))).await?;
            tell(Progress::Checking);
            let sums = copy.check().await?;
            copy.leave_source(&in_words(to)).await?;
            let (node, former) = if from_store.is_embedded() {
                (None, None)
            } else {
                (name_after(&from_store, config, &spooled).await?, spooled.former.as_deref())
            };
            if from_store.is_embedded() {
                make_spool(&spool, config, &from_store, &spooled).await?;
            }
            copy.finish(node.as_ref(), former).await?;
            (Some(sums), copy.is_resumed())
        }
    };
    from_store.close().await;
    to_store.close().await;
    // Whatever is left of this when a process ends is left to be served by nobody.
    let left = match from {
        Database::Sqlite(path) => path.clone(),
        Database::Postgres(_) => spool,
    };
    Ok(Moved { sums, resumed, kept: keep_aside(&left, "moved")? })
}

fn refuse_wrong_pair(config: &Config, from: &Database, to: &Database) -> Result<(), Error> {
    let wrong = |text: &str| Err(Error::Unusable(text.to_owned()));
    match (from, to) {
        (Database::Postgres(_), Database::Postgres(_)) => wrong(
            "both are PostgreSQL. To move between servers, use pg_dump and pg_restore; if store.url is the new database \
             already, say with --from where the data is (sqlite:FILE)",
        ),
        (Database::Sqlite(_), Database::Sqlite(_)) => wrong(
            "both are SQLite. To move a file, stop the node and move it; if store.url is not the database that holds the \
             data any more, say with --from or --from-file where that is (postgres://...)",
        ),
        (Database::Sqlite(path), _) if !path.is_file() => {
            wrong(&format!("there is no SQLite database at {}: say with --from where it is", path.display()))
        }
        _ if config.cluster.leader.is_some() => wrong(
            "this node has a cluster.leader, so its database holds nothing that its leader does not have: move the leader's. One \
             that was promoted is moved once its configuration has no cluster.leader any more",
        ),
        _ => Ok(()),
    }
}

async fn lock(location: &Location) -> Result<DatabaseLock, Error> {
    DatabaseLock::acquire(location, Sharing::Alone).await.map_err(|error| match error {
        store::Error::InUse(text) => {
            Error::Unusable(format!("nobody may use the databases while data is moved, and {text}"))
        }
        other => other.into(),
    })
}

/// A database in words, without its password.
fn in_words(database: &Database) -> String {
    match database {
        Database::Sqlite(path) => {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            format!("the SQLite database {}", path.display())
        }
        Database::Postgres(url) => {
            // What comes before the path may hold a password.
            let path = url.expose().split_once("://").and_then(|(_, rest)| rest.split_once('/'));
            let name = path.and_then(|(_, path)| path.split(['?', '#']).next());
            format!("the PostgreSQL database {}", name.unwrap_or_default())
        }
    }
}

/// What is in the spool of this directory, if there is one.
#[derive(Default)]
struct Spooled {
    node: Option<NodeId>,
    former: Option<String>,
    owed: u64,
    has_logs: bool,
}

impl Spooled {
    async fn of(path: &Path, config: &Config) -> Result<Self, Error> {
        if !path.is_file() {
            return Ok(Self::default());
        }
        let store = open_spool(path, config).await?;
        let (meta, usage) = (MetaRepo::on(&store), UsageRepo::on(&store));
        let spooled = Self {
            node: meta.get(MetaKey::NodeId).await?.and_then(|name| name.parse().ok()),
            former: meta.get(MetaKey::FormerNodeIds).await?,
            owed: usage.unsynced_count().await? + usage.set_aside_count().await?,
            has_logs: usage.newest_time().await?.is_some(),
        };
        store.close().await;
        Ok(spooled)
    }

    fn refuse_owed(&self, path: &Path, how: &str) -> Result<(), Error> {
        match self.owed {
            0 => Ok(()),
            owed => Err(Error::Unusable(format!(
                "{} holds {owed} usage logs that the database of this leader has not taken: start this node {how}, until \
                 sproxy peer list says that it owes nothing, and stop it",
                path.display()
            ))),
        }
    }
}

async fn open_spool(path: &Path, config: &Config) -> Result<Store, Error> {
    Ok(Store::open(&location_of(&Database::Sqlite(path.to_owned()), config)).await?)
}

/// The node that had the SQLite database alone goes on under its name, whoever starts first on the new one.
async fn make_spool(path: &Path, config: &Config, from: &Store, spooled: &Spooled) -> Result<(), Error> {
    if spooled.has_logs {
        keep_aside(path, "moved")?;
    }
    let store = open_spool(path, config).await?;
    for key in [MetaKey::NodeId, MetaKey::FormerNodeIds] {
        if let Some(value) = MetaRepo::on(from).get(key).await? {
            MetaRepo::on(&store).set(key, &value).await?;
        }
    }
    store.close().await;
    Ok(())
}

/// What other leaders owe lies in their own directories, and nobody asks for it once they do not lead any more.
async fn refuse_others_owed(from: &Store, own: Option<&NodeId>) -> Result<(), Error> {
    let peers = PeerRepo::on(from).list().await?;
    let owing = peers.into_iter().filter(|peer| peer.leads_at.is_some() && Some(&peer.id) != own);
    let owing: Vec<String> =
        owing.filter(|peer| !peer.has_settled()).map(|peer| peer.id.to_string()).collect();
    if owing.is_empty() {
        return Ok(());
    }
    Err(Error::Unusable(format!(
        "{} led on this database, too, and may owe it usage that lies in the directory of that node: start it once more and \
         stop it with SIGTERM, or, if it is lost, forget it (sproxy peer forget)",
        owing.join(", ")
    )))
}

/// The name of the node that is going to have the database alone.
async fn name_after(from: &Store, config: &Config, spooled: &Spooled) -> Result<Option<NodeId>, Error> {
    if let Some(known) = config.node.id.as_ref().or(spooled.node.as_ref()) {
        return Ok(Some(known.clone()));
    }
    // This directory's node has never led there.
    Ok(Some(leader::new_name(from).await?))
}
