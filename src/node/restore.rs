//! A copy that `sproxy backup` made takes the place of a node's database, while no node runs on it.
//!
//! What the copy cannot know is what this node has served since. Where the present database can still be read, those usage
//! logs are carried over, so that going back to yesterday's users does not take today's books along. The present database
//! is kept under another name.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::build::take_data_dir;
use super::database::location_of;
use super::error::Error;
use super::set_aside::{keep_aside, with_suffix};
use crate::config::{Config, Database};
use crate::domain::clock::Timestamp;
use crate::domain::ids::NodeId;
use crate::domain::usage::UsageRecord;
use crate::store::{self, Contents, DatabaseLock, FileLock, Sharing, Store, UsageRepo};

/// Usage logs per transaction.
const STEP: usize = 500;
/// What was under way when the copy was made may be committed in another order than it was made in.
const OVERLAP: Duration = Duration::from_hours(1);

/// A copy that was checked, and is about to take its place.
#[derive(Debug)]
pub struct Restore {
    database: PathBuf,
    part: PathBuf,
    copy: Store,
    /// What it brings back.
    pub contents: Contents,
    /// The database that it replaces; none: there is none.
    pub present: Option<Present>,
    /// How many usage logs of this node the copy lacks, of those that can still be read.
    pub lacking: u64,
    node: Option<NodeId>,
    follows: bool,
    _locks: (FileLock, DatabaseLock),
}

/// The database that is there.
#[derive(Debug)]
pub enum Present {
    Readable {
        contents: Contents,
        store: Box<Store>,
    },
    /// Why it cannot be read.
    Unreadable(String),
}

/// What was done.
#[derive(Debug)]
pub struct Restored {
    /// Usage logs of this node that the copy lacked.
    pub carried_over: u64,
    /// Where the database is that was replaced.
    pub kept: Vec<PathBuf>,
}

impl Restore {
    /// Checks a copy, all of it, and compares it with what is there. Nothing is changed.
    ///
    /// # Errors
    /// [`Error::Unusable`] when it cannot take the place of this node's database, with what to do; what the databases say.
    pub async fn prepare(config: &Config, file: &Path) -> Result<Self, Error> {
        let Database::Sqlite(database) = &config.store.database else {
            return Err(Error::Unusable(
                "this node's database is PostgreSQL: restore it with pg_restore, or to a point in time, while its nodes are \
                 stopped; then start them"
                    .to_owned(),
            ));
        };
        if !file.is_file() {
            return Err(Error::Unusable(format!("there is no file {}", file.display())));
        }
        let data_dir = take_data_dir(&config.node.data_dir)?;
        let location = location_of(&config.store.database, config);
        let lock = DatabaseLock::acquire(&location, Sharing::Alone).await?;
        let part = with_suffix(database, ".restoring");
        remove_all(&part)?;
        copy_private(file, &part)?;
        let copy = Store::open(&location_of(&Database::Sqlite(part.clone()), config)).await?;
        copy.check().await?;
        copy.refuse_in_copy().await?;
        let contents = copy.contents().await?;
        let present = present(database, config).await?;
        if let Some(Present::Readable { contents: there, .. }) = &present {
            refuse_strange(&contents, there)?;
        }
        let named = config.node.id.as_ref().map(NodeId::to_string);
        if let (Some(named), Some(of)) = (&named, contents.node.as_ref())
            && named != of
        {
            return Err(Error::Unusable(format!(
                "the copy is of {of}, and node.id says that this is {named}"
            )));
        }
        let node = contents.node.clone().or(named).and_then(|node| node.parse().ok());
        let follows = config.cluster.leader.is_some();
        let database = database.clone();
        let locks = (data_dir, lock);
        let mut restore =
            Self { database, part, copy, contents, present, lacking: 0, node, follows, _locks: locks };
        let mut lacking = 0;
        let counted = restore.each_lacking(async |records| {
            lacking += records.len() as u64;
            Ok(())
        });
        match counted.await {
            Ok(()) => restore.lacking = lacking,
            // Damaged where nobody had to look before.
            Err(error) => restore.present = Some(Present::Unreadable(error.to_string())),
        }
        Ok(restore)
    }

    /// Puts the copy in its place. Broken off, it can be done again: the present database goes last.
    ///
    /// # Errors
    /// What the databases and the file system say.
    pub async fn apply(self) -> Result<Restored, Error> {
        let mut carried_over = 0;
        // A follower's are pushed again; the leader knows those that it has.
        let is_own = !self.follows;
        self.each_lacking(async |records| {
            let inserted = UsageRepo::on(&self.copy).insert_batch(&records, is_own).await?;
            carried_over += inserted.added() as u64;
            Ok(())
        })
        .await?;
        self.copy.close().await;
        if let Some(Present::Readable { store, .. }) = &self.present {
            store.close().await;
        }
        let kept = keep_aside(&self.database, "replaced")?;
        for side in ["-wal", "-shm"] {
            let file = with_suffix(&self.part, side);
            if file.is_file() {
                std::fs::rename(file, with_suffix(&self.database, side))?;
            }
        }
        std::fs::rename(&self.part, &self.database)?;
        Ok(Restored { carried_over, kept })
    }

    /// Leaves everything as it was.
    ///
    /// # Errors
    /// When the checked copy cannot be removed.
    pub async fn give_up(self) -> Result<(), Error> {
        self.copy.close().await;
        remove_all(&self.part)
    }

    async fn each_lacking(
        &self,
        mut take: impl AsyncFnMut(Vec<UsageRecord>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (Some(Present::Readable { store, .. }), Some(node)) = (&self.present, &self.node) else {
            return Ok(());
        };
        let from = self.contents.newest_log.map_or(Timestamp::MIN, |newest| newest.minus(OVERLAP));
        let (there, copy, mut after) = (UsageRepo::on(store), UsageRepo::on(&self.copy), None);
        loop {
            let page = there.list_of_node(node, from, after, STEP).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some((last.created_at, last.request_id));
            let mut lacking = Vec::new();
            for record in page {
                if copy.get(record.request_id).await?.is_none() {
                    lacking.push(record);
                }
            }
            if !lacking.is_empty() {
                take(lacking).await?;
            }
        }
    }
}

/// The database that is there, if it can be read: a damaged one is what a backup is for.
async fn present(database: &Path, config: &Config) -> Result<Option<Present>, Error> {
    if !database.is_file() {
        return Ok(None);
    }
    let opened = async {
        let store = Store::open(&location_of(&Database::Sqlite(database.to_owned()), config)).await?;
        let contents = store.contents().await?;
        Ok::<_, store::Error>(Present::Readable { contents, store: Box::new(store) })
    };
    Ok(Some(opened.await.unwrap_or_else(|error| Present::Unreadable(error.to_string()))))
}

fn refuse_strange(copy: &Contents, present: &Contents) -> Result<(), Error> {
    let differ = |a: &Option<String>, b: &Option<String>| a.is_some() && b.is_some() && a != b;
    let what = if differ(&copy.ledger, &present.ledger) {
        "another ledger than"
    } else if differ(&copy.node, &present.node) {
        "another node than"
    } else {
        return Ok(());
    };
    Err(Error::Unusable(format!(
        "the copy is of {what} the database that is there: to use it all the same, move that database away first"
    )))
}

/// Nobody else may read it.
fn copy_private(from: &Path, to: &Path) -> Result<(), Error> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let (mut from, mut to) = (std::fs::File::open(from)?, options.open(to)?);
    std::io::copy(&mut from, &mut to)?;
    Ok(to.sync_all()?)
}

fn remove_all(database: &Path) -> Result<(), Error> {
    for suffix in ["", "-wal", "-shm"] {
        match std::fs::remove_file(with_suffix(database, suffix)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}
