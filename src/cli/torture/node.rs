//! A node of the torture: a process that is started again whenever it is down, as systemd or Kubernetes would.

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use crate::cli::local_cluster::error::Error;
use crate::cli::local_cluster::process::{Listening, Process, START_MAX};

/// A node that ended by itself is started again after this.
const AGAIN: Duration = Duration::from_millis(500);
/// A node that was asked to leave and has not after this is killed.
const LEAVE_MAX: Duration = Duration::from_secs(90);

/// A node.
pub(super) struct Node {
    pub(super) name: String,
    /// On PostgreSQL several do.
    pub(super) leads: bool,
    pub(super) config: PathBuf,
    pub(super) log: PathBuf,
    pub(super) data_dir: PathBuf,
    state: State,
    is_paused: bool,
    /// Since when it has been asked to leave, and how long it is to be down then.
    leaving: Option<(Instant, Duration)>,
    pub(super) odd: Odd,
}

enum State {
    Down { start_at: Instant },
    Starting { process: Process, since: Instant },
    Up { process: Process, listening: Listening },
}

/// What should not happen, and is no loss either.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Odd {
    /// Starts that failed, as without a database.
    pub(super) failed_starts: u64,
    /// Ends of a running node that nobody asked for.
    pub(super) own_ends: u64,
    /// Ends by SIGTERM that took too long, or said that they had failed.
    pub(super) bad_leaves: u64,
}

/// What has become of a node since it was last looked at.
pub(super) enum Change {
    Up(Listening),
    Down,
}

impl Node {
    pub(super) fn new(name: String, leads: bool, directory: &std::path::Path) -> Self {
        Self {
            config: directory.join(format!("{name}.toml")),
            log: directory.join(format!("{name}.log")),
            data_dir: directory.join(&name),
            name,
            leads,
            state: State::Down { start_at: Instant::now() },
            is_paused: false,
            leaving: None,
            odd: Odd::default(),
        }
    }

    /// Whether it runs, and nothing is done to it.
    pub(super) fn is_well(&self) -> bool {
        matches!(self.state, State::Up { .. }) && !self.is_paused && self.leaving.is_none()
    }

    pub(super) fn url(&self) -> Option<String> {
        match &self.state {
            State::Up { listening, .. } => Some(format!("http://{}", listening.http)),
            State::Down { .. } | State::Starting { .. } => None,
        }
    }

    /// SIGKILL; it is started again after `down`.
    pub(super) async fn kill(&mut self, down: Duration) -> Result<(), Error> {
        if let State::Starting { process, .. } | State::Up { process, .. } = &mut self.state {
            process.kill().await?;
        }
        (self.is_paused, self.leaving) = (false, None);
        self.state = State::Down { start_at: Instant::now() + down };
        Ok(())
    }

    /// SIGSTOP, or SIGCONT.
    pub(super) fn pause(&mut self, is_paused: bool) {
        if let State::Starting { process, .. } | State::Up { process, .. } = &self.state {
            process.signal(if is_paused { Signal::STOP } else { Signal::CONT });
        }
        self.is_paused = is_paused;
    }

    /// SIGTERM; it is started again `down` after it has ended.
    pub(super) fn ask_to_leave(&mut self, down: Duration) {
        if let State::Starting { process, .. } | State::Up { process, .. } = &self.state {
            process.signal(Signal::TERM);
            self.leaving = Some((Instant::now(), down));
        }
    }

    /// If it is down, it is started now, or at `at`.
    pub(super) fn start_at(&mut self, at: Instant) {
        if let State::Down { start_at } = &mut self.state {
            *start_at = at;
        }
    }

    /// Starts it, sees that it has come up, or that it is gone.
    pub(super) async fn tend(&mut self) -> Result<Option<Change>, Error> {
        let now = Instant::now();
        match &mut self.state {
            State::Down { start_at } if now < *start_at => Ok(None),
            State::Down { .. } => {
                let config = self.config.to_string_lossy();
                let process = Process::spawn(&["serve", "--config", &config], &self.log)?;
                self.state = State::Starting { process, since: now };
                Ok(None)
            }
            State::Starting { process, since } => {
                if process.ended().is_some() || now > *since + START_MAX {
                    if self.leaving.is_none() {
                        self.odd.failed_starts += 1;
                    }
                    let down = self.leaving.map_or(AGAIN, |(_, down)| down);
                    self.kill(down).await?;
                    return Ok(Some(Change::Down));
                }
                let Some(listening) = process.listening() else { return Ok(None) };
                let State::Starting { process, .. } =
                    std::mem::replace(&mut self.state, State::Down { start_at: now })
                else {
                    return Ok(None);
                };
                self.state = State::Up { process, listening };
                Ok(Some(Change::Up(listening)))
            }
            State::Up { process, .. } => {
                let ended = process.ended();
                let is_stuck = self.leaving.is_some_and(|(since, _)| now > since + LEAVE_MAX);
                if ended.is_none() && !is_stuck {
                    return Ok(None);
                }
                match self.leaving {
                    None => self.odd.own_ends += 1,
                    Some(_) if !ended.is_some_and(|status| status.success()) => self.odd.bad_leaves += 1,
                    Some(_) => {}
                }
                let down = self.leaving.map_or(AGAIN, |(_, down)| down);
                self.kill(down).await?;
                Ok(Some(Change::Down))
            }
        }
    }
}
