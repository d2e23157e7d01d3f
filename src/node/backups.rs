//! Backups by the clock: a consistent copy of the node's SQLite every so often, and the oldest removed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::set_aside::with_suffix;
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::ids::NodeId;
use crate::store::{Error, Store};
use crate::telemetry::scrape::{counter, gauge};

/// One that failed is tried again so soon.
const RETRY: Duration = Duration::from_mins(5);
/// While it is written.
const PART: &str = ".part";

/// The backups of one node.
pub(super) struct Backups {
    pub(super) store: Store,
    pub(super) node: NodeId,
    pub(super) directory: PathBuf,
    pub(super) every: Duration,
    /// The newest so many stay.
    pub(super) keep: usize,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: BackupMetrics,
}

/// What became of them. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct BackupMetrics(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    made: AtomicU64,
    failures: AtomicU64,
    /// Microseconds; 0: none that is known.
    last: AtomicI64,
}

impl Backups {
    /// Makes them until the node leaves. The last one counts also if an earlier process made it.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut due = match self.newest() {
            Some(newest) => newest.plus(self.every),
            None => self.clock.now(),
        };
        self.metrics.0.last.store(self.newest().map_or(0, Timestamp::as_micros), Ordering::Relaxed);
        loop {
            let wait = due.since(self.clock.now());
            if stop.run_until_cancelled(sleep(wait)).await.is_none() {
                return;
            }
            // A copy that is begun is made.
            let (made, now) = (self.make().await, self.clock.now());
            due = now.plus(match made {
                Ok(path) => {
                    tracing::info!(path = %path.display(), "backup made");
                    self.metrics.0.made.fetch_add(1, Ordering::Relaxed);
                    self.metrics.0.last.store(now.as_micros(), Ordering::Relaxed);
                    self.every
                }
                Err(error) => {
                    tracing::error!(%error, directory = %self.directory.display(), "no backup could be made; it is tried again");
                    self.metrics.0.failures.fetch_add(1, Ordering::Relaxed);
                    RETRY.min(self.every)
                }
            });
        }
    }

    async fn make(&self) -> Result<PathBuf, Error> {
        let at = self.clock.now();
        let name = self.name(at);
        let (path, part) = (self.directory.join(&name), self.directory.join(format!("{name}{PART}")));
        let unwritable =
            |error: std::io::Error| Error::Unavailable(format!("{}: {error}", self.directory.display()));
        make_private_directory(&self.directory).map_err(unwritable)?;
        self.remove_parts();
        self.store.backup(&part).await?;
        // What a name promises is on the disk.
        let renamed = std::fs::File::open(&part)
            .and_then(|file| file.sync_all())
            .and_then(|()| std::fs::rename(&part, &path));
        renamed.map_err(unwritable)?;
        self.prune();
        Ok(path)
    }

    /// Removes the oldest, of this node's alone.
    fn prune(&self) {
        let mut made = self.made();
        made.sort_unstable();
        let too_many = made.len().saturating_sub(self.keep);
        for (_, path) in made.into_iter().take(too_many) {
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::warn!(%error, path = %path.display(), "an old backup could not be removed");
            }
        }
    }

    /// What a process that was killed has left.
    fn remove_parts(&self) {
        for entry in std::fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_part = name.strip_suffix(PART).is_some_and(|name| self.made_at(name).is_some());
            if is_part {
                let _gone_already = std::fs::remove_file(entry.path());
                let _gone_already = std::fs::remove_file(with_suffix(&entry.path(), "-journal"));
            }
        }
    }

    fn newest(&self) -> Option<Timestamp> {
        self.made().into_iter().map(|(at, _)| at).max()
    }

    fn made(&self) -> Vec<(Timestamp, PathBuf)> {
        let entries = std::fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let made = entries.filter_map(|entry| {
            let at = self.made_at(&entry.file_name().to_string_lossy())?;
            Some((at, entry.path()))
        });
        made.collect()
    }

    /// `sproxy-sp-1-20261129T140000Z.db`
    fn name(&self, at: Timestamp) -> String {
        let text = at.to_string();
        let seconds = text.split(['.', 'Z']).next().unwrap_or_default();
        format!("sproxy-{}-{}Z.db", self.node, seconds.replace(['-', ':'], ""))
    }

    /// When a backup of that name was made; none: it is none of this node's.
    fn made_at(&self, name: &str) -> Option<Timestamp> {
        let rest = name.strip_prefix("sproxy-")?.strip_prefix(self.node.as_str())?;
        let (day, time) = rest.strip_prefix('-')?.strip_suffix("Z.db")?.split_once('T')?;
        let parts = |text: &str, ends: [usize; 3]| {
            let mut at = 0;
            ends.map(|end| text.get(std::mem::replace(&mut at, end)..end).map(str::to_owned))
        };
        let ([Some(year), Some(month), Some(day)], [Some(hour), Some(minute), Some(second)]) =
            (parts(day, [4, 6, 8]), parts(time, [2, 4, 6]))
        else {
            return None;
        };
        format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z").parse().ok()
    }
}

fn make_private_directory(path: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

impl Collector for BackupMetrics {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let Counts { made, failures, last } = &*self.0;
        counter(&mut to, "sproxy_backups", "Backups made by the clock.", made.load(Ordering::Relaxed))?;
        let help = "Backups by the clock that could not be made.";
        counter(&mut to, "sproxy_backup_failures", help, failures.load(Ordering::Relaxed))?;
        let last = last.load(Ordering::Relaxed) / 1_000_000;
        let help = "When the last backup by the clock was made, Unix time; 0: there is none.";
        gauge(&mut to, "sproxy_backup_last_seconds", help, last)
    }
}
