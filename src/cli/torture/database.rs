//! The PostgreSQL of the torture: a primary, a standby that streams from it by a link, and how the one takes the other's
//! place.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::link::{End, Link, Mode};
use crate::cli::local_cluster::error::Error;
use crate::cli::local_cluster::postgres::{Postgres, Programs};

/// The longest that a standby may take to have all that the primary had.
const STANDBY_MAX: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(50);

/// A primary and its standby.
pub(super) struct Database {
    pub(super) version: String,
    directory: PathBuf,
    primary: Postgres,
    standby: Postgres,
    /// From the standby to the primary.
    replication: Link,
    /// Servers that were made so far.
    made: u32,
    is_running: bool,
}

impl Database {
    pub(super) async fn create(directory: &Path) -> Result<Self, Error> {
        let programs = Programs::find()?;
        let primary = Postgres::create(&programs, &directory.join("postgres-1")).await?;
        let replication = Link::open().await?;
        replication.lead_to(End::Unix(primary.socket()));
        let standby = primary.standby(&directory.join("postgres-2"), replication.address.port()).await?;
        let version = programs.version().await?;
        let directory = directory.to_owned();
        Ok(Self { version, directory, primary, standby, replication, made: 2, is_running: true })
    }

    /// Where links to it lead.
    pub(super) fn end(&self) -> End {
        End::Unix(self.primary.socket())
    }

    pub(super) fn is_running(&self) -> bool {
        self.is_running
    }

    /// Stops it: `fast`, or `immediate` as a crash.
    pub(super) async fn stop(&mut self, mode: &str) -> Result<(), Error> {
        self.is_running = false;
        self.primary.stop(mode).await
    }

    pub(super) async fn start(&mut self) -> Result<(), Error> {
        if !self.is_running {
            self.primary.start(None).await?;
            self.is_running = true;
        }
        Ok(())
    }

    /// From now on the standby lags behind. It has all that was committed until now: what a node whose disk was lost
    /// had been acknowledged exists nowhere else.
    pub(super) async fn let_standby_lag(&mut self) -> Result<(), Error> {
        let position = self.primary.query("SELECT pg_current_wal_lsn()").await?;
        let has_all = format!(
            "SELECT count(*) FROM pg_stat_replication WHERE application_name = 'standby' AND flush_lsn >= '{position}'"
        );
        let deadline = Instant::now() + STANDBY_MAX;
        while self.primary.query(&has_all).await? == "0" {
            if Instant::now() > deadline {
                let log = self.standby.directory().join("log");
                return Err(Error::Node(format!("the standby does not follow; see {}", log.display())));
            }
            sleep(POLL).await;
        }
        self.replication.set(Mode::Cut);
        Ok(())
    }

    /// The primary crashes, and its standby is what there is.
    pub(super) async fn fail_over(&mut self) -> Result<(), Error> {
        self.stop("immediate").await?;
        self.standby.promote().await?;
        self.made += 1;
        let directory = self.directory.join(format!("postgres-{}", self.made));
        self.replication.lead_to(End::Unix(self.standby.socket()));
        self.replication.set(Mode::Open);
        let next = self.standby.standby(&directory, self.replication.address.port()).await?;
        let promoted = std::mem::replace(&mut self.standby, next);
        let gone = std::mem::replace(&mut self.primary, promoted);
        self.is_running = true;
        // The logs of a server that is gone stay, its data is of no use.
        let data = gone.directory().join("data");
        drop(gone);
        std::fs::remove_dir_all(&data).map_err(Error::io(format!("removing {}", data.display())))
    }
}
