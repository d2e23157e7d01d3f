//! Who owns the background tasks: each has a name and a stage. One that ends before it is asked takes the node down;
//! leaving goes stage by stage, under one deadline.

use std::fmt;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// The order in which tasks are asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Whatever lets work in: it stops accepting and finishes what it has.
    Doors,
    /// The ledger's writer: it writes what the doors left.
    Ledger,
    /// Everything else; the last push to the leader comes after the last record.
    Background,
}

const STAGES: [Stage; 3] = [Stage::Doors, Stage::Ledger, Stage::Background];

/// The tasks of a node.
pub struct Supervisor {
    stages: [Tasks; 3],
}

#[derive(Default)]
struct Tasks {
    stop: CancellationToken,
    running: JoinSet<&'static str>,
}

/// A task ended although nobody had asked it to.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` ended by itself")]
pub struct EndedEarly(pub String);

impl Supervisor {
    /// No tasks yet.
    #[must_use]
    pub fn new() -> Self {
        Self { stages: Default::default() }
    }

    /// Starts a task. It gets the token that asks it to end, and is then waited for.
    pub fn spawn<F>(&mut self, stage: Stage, name: &'static str, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let tasks = &mut self.stages[stage as usize];
        let work = task(tasks.stop.clone());
        tasks.running.spawn(async move {
            work.await;
            name
        });
    }

    /// The token of a stage, for work that is not a task of its own.
    #[must_use]
    pub fn stop_of(&self, stage: Stage) -> CancellationToken {
        self.stages[stage as usize].stop.clone()
    }

    /// Runs until `leave` is done or a task ends early, then asks all to end. `now` cuts the waiting short.
    ///
    /// # Errors
    /// The task that ended early.
    pub async fn run(
        mut self,
        leave: impl Future<Output = ()>,
        now: impl Future<Output = ()>,
        at_most: Duration,
    ) -> Result<(), EndedEarly> {
        let early = tokio::select! {
            ended = self.any_ended() => Some(ended),
            () = leave => None,
        };
        if let Some(ended) = &early {
            tracing::error!(task = %ended.0, "a task ended by itself; the node goes down");
        }
        let deadline = Instant::now() + at_most;
        let stopped = tokio::select! {
            stopped = self.stop_all(deadline) => stopped,
            () = now => {
                tracing::warn!("leaving at once");
                Ok(())
            }
        };
        early.map_or(stopped, Err)
    }

    async fn any_ended(&mut self) -> EndedEarly {
        let [doors, ledger, background] = &mut self.stages;
        let ended = tokio::select! {
            Some(ended) = doors.running.join_next() => ended,
            Some(ended) = ledger.running.join_next() => ended,
            Some(ended) = background.running.join_next() => ended,
            else => std::future::pending().await,
        };
        EndedEarly(ended.map_or_else(|panic| panic.to_string(), str::to_owned))
    }

    async fn stop_all(&mut self, deadline: Instant) -> Result<(), EndedEarly> {
        for (stage, tasks) in STAGES.iter().zip(&mut self.stages) {
            tasks.stop.cancel();
            tracing::debug!(%stage, "ending");
            let ended = timeout_at(deadline, async {
                while let Some(ended) = tasks.running.join_next().await {
                    if let Err(panic) = ended {
                        tracing::error!(%panic, "a task failed while it was ending");
                    }
                }
            });
            if ended.await.is_err() {
                tracing::warn!(%stage, left = tasks.running.len(), "tasks did not end in time");
            }
        }
        Ok(())
    }
}

impl Default for Supervisor {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Doors => "doors",
            Self::Ledger => "ledger",
            Self::Background => "background",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_by_itself_takes_the_node_down() {
        let mut supervisor = Supervisor::new();
        supervisor.spawn(Stage::Background, "steady", |stop| async move { stop.cancelled().await });
        supervisor.spawn(Stage::Ledger, "fragile", |_| ready(()));
        let ended = supervisor.run(pending(), pending(), Duration::from_secs(5)).await;
        assert_eq!(ended.expect_err("ended early").0, "fragile");
    }

    #[tokio::test]
    async fn stages_end_one_after_the_other() {
        let mut supervisor = Supervisor::new();
        let order = Arc::new(Mutex::new(Vec::new()));
        for (stage, name) in [(Stage::Background, "push"), (Stage::Doors, "http"), (Stage::Ledger, "writer")]
        {
            let order = Arc::clone(&order);
            supervisor.spawn(stage, name, |stop| async move {
                stop.cancelled().await;
                order.lock().unwrap().push(name);
            });
        }
        supervisor.run(ready(()), pending(), Duration::from_secs(5)).await.unwrap();
        assert_eq!(*order.lock().unwrap(), ["http", "writer", "push"]);
    }

    #[tokio::test]
    async fn a_task_that_will_not_end_is_left_behind_at_the_deadline() {
        let mut supervisor = Supervisor::new();
        supervisor.spawn(Stage::Doors, "stubborn", |_| pending());
        supervisor.run(ready(()), pending(), Duration::from_millis(20)).await.unwrap();
    }
}
