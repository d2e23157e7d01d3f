//! Who owns the background tasks: each has a name and a stage. One that ends before it is asked takes the node down;
//! leaving goes stage by stage. How long callers are still let in, and what they may have of it then, is limited by the
//! configuration; the books have time of their own after that, so that no stream can use it up.

use std::fmt;
use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::FusedFuture;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::cluster::follower::service::LEAVE_TIMEOUT;

/// The order in which tasks are asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Servers: they stop accepting and finish what they have.
    Servers,
    /// The ledger's writer: it writes what the servers left.
    Ledger,
    /// Everything else; the last push to the leader comes after the last record.
    Background,
}

/// How long each stage may take, once the servers were told to give up.
const STAGE_MAX: Duration = Duration::from_secs(5);
const _: () =
    assert!(LEAVE_TIMEOUT.as_secs() < STAGE_MAX.as_secs(), "a follower's farewell has no time to end");

pub struct Supervisor {
    stages: [Tasks; 3],
    leaving: CancellationToken,
    give_up: CancellationToken,
    stage_max: Duration,
}

#[derive(Default)]
struct Tasks {
    stop: CancellationToken,
    running: JoinSet<&'static str>,
}

/// How long a node takes its leave.
#[derive(Clone, Copy, Debug)]
pub struct Leave {
    /// Servers go on, while whoever spreads the traffic learns that this node leaves.
    pub delay: Duration,
    /// What the servers have begun may go on for so long after it.
    pub at_most: Duration,
}

/// A task ended although nobody had asked it to.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` ended by itself")]
pub struct EndedEarly(pub String);

impl Supervisor {
    #[must_use]
    pub fn new() -> Self {
        Self {
            stages: Default::default(),
            leaving: CancellationToken::new(),
            give_up: CancellationToken::new(),
            stage_max: STAGE_MAX,
        }
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

    /// The token that says that the node leaves; no stage has been asked to end by then.
    #[must_use]
    pub fn leaving(&self) -> CancellationToken {
        self.leaving.clone()
    }

    /// The token that ends what servers have begun and may not finish: its time is over.
    #[must_use]
    pub fn giving_up(&self) -> CancellationToken {
        self.give_up.clone()
    }

    /// Runs until `asked` is done or a task ends early, then asks all to end; with `now` nothing is waited for any more.
    ///
    /// # Errors
    /// The task that ended early.
    pub async fn run(
        mut self,
        asked: impl Future<Output = ()>,
        now: impl Future<Output = ()>,
        Leave { delay, at_most }: Leave,
    ) -> Result<(), EndedEarly> {
        let mut now = pin!(now.fuse());
        let mut early = tokio::select! {
            ended = self.any_ended() => Some(ended),
            () = asked => None,
        };
        self.leaving.cancel();
        if early.is_none() {
            tracing::info!(?delay, ?at_most, "asked to leave; streams may go on for a while");
            early = tokio::select! {
                ended = self.any_ended() => Some(ended),
                () = sleep(delay) => None,
                () = &mut now => None,
            };
        }
        if let Some(ended) = &early {
            tracing::error!(task = %ended.0, "a task ended by itself; the node goes down");
        }
        let [servers, ledger, background] = &mut self.stages;
        servers.stop.cancel();
        if now.is_terminated() {
            tracing::warn!("asked to leave at once; what has not ended yet is given up");
        } else {
            tokio::select! {
                () = servers.all_ended() => {}
                () = sleep(at_most) => tracing::warn!("what has not ended yet is given up"),
                () = now => tracing::warn!("asked to leave at once; what has not ended yet is given up"),
            }
        }
        self.give_up.cancel();
        for (stage, tasks) in
            [(Stage::Servers, servers), (Stage::Ledger, ledger), (Stage::Background, background)]
        {
            tasks.end(stage, self.stage_max).await;
        }
        early.map_or(Ok(()), Err)
    }

    async fn any_ended(&mut self) -> EndedEarly {
        let [servers, ledger, background] = &mut self.stages;
        let ended = tokio::select! {
            Some(ended) = servers.running.join_next() => ended,
            Some(ended) = ledger.running.join_next() => ended,
            Some(ended) = background.running.join_next() => ended,
            else => std::future::pending().await,
        };
        EndedEarly(ended.map_or_else(|panic| panic.to_string(), str::to_owned))
    }
}

impl Tasks {
    /// Asks the tasks of a stage to end and waits until they have, at most `at_most`.
    async fn end(&mut self, stage: Stage, at_most: Duration) {
        self.stop.cancel();
        if timeout(at_most, self.all_ended()).await.is_err() {
            tracing::warn!(%stage, left = self.running.len(), "tasks did not end in time");
        }
    }

    async fn all_ended(&mut self) {
        while let Some(ended) = self.running.join_next().await {
            if let Err(panic) = ended {
                tracing::error!(%panic, "a task failed while it was ending");
            }
        }
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
            Self::Servers => "servers",
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

    const WITHIN: Leave = Leave { delay: Duration::ZERO, at_most: Duration::from_secs(5) };

    #[tokio::test]
    async fn a_task_that_ends_by_itself_takes_the_node_down() {
        let mut supervisor = Supervisor::new();
        supervisor.spawn(Stage::Background, "steady", |stop| async move { stop.cancelled().await });
        supervisor.spawn(Stage::Ledger, "fragile", |_| ready(()));
        let ended = supervisor.run(pending(), pending(), WITHIN).await;
        assert_eq!(ended.expect_err("ended early").0, "fragile");
    }

    #[tokio::test]
    async fn stages_end_one_after_the_other() {
        let mut supervisor = Supervisor::new();
        let order = Arc::new(Mutex::new(Vec::new()));
        for (stage, name) in
            [(Stage::Background, "push"), (Stage::Servers, "http"), (Stage::Ledger, "writer")]
        {
            let order = Arc::clone(&order);
            supervisor.spawn(stage, name, |stop| async move {
                stop.cancelled().await;
                order.lock().unwrap().push(name);
            });
        }
        supervisor.run(ready(()), pending(), WITHIN).await.unwrap();
        assert_eq!(*order.lock().unwrap(), ["http", "writer", "push"]);
    }

    #[tokio::test]
    async fn all_hear_of_it_before_the_first_is_asked_to_end_and_a_delay_can_be_cut_short() {
        let mut supervisor = Supervisor::new();
        let (leaving, stopping) = (supervisor.leaving(), supervisor.stop_of(Stage::Servers));
        supervisor.spawn(Stage::Servers, "http", |stop| async move { stop.cancelled().await });
        let heard = async move {
            leaving.cancelled().await;
            assert!(!stopping.is_cancelled());
        };
        let at_length = Leave { delay: Duration::from_hours(1), ..WITHIN };
        supervisor.run(ready(()), heard, at_length).await.unwrap();
    }

    #[tokio::test]
    async fn doors_that_do_not_end_are_told_to_give_up_and_the_books_still_have_their_time() {
        let mut supervisor = Supervisor::new();
        let give_up = supervisor.giving_up();
        supervisor.spawn(Stage::Servers, "http", |_| async move { give_up.cancelled().await });
        let written = Arc::new(Mutex::new(false));
        let writer = Arc::clone(&written);
        supervisor.spawn(Stage::Ledger, "writer", |stop| async move {
            stop.cancelled().await;
            *writer.lock().unwrap() = true;
        });
        supervisor
            .run(ready(()), pending(), Leave { at_most: Duration::from_millis(20), ..WITHIN })
            .await
            .unwrap();
        assert!(*written.lock().unwrap());
    }

    #[tokio::test]
    async fn tasks_that_will_not_end_are_left_behind() {
        let mut supervisor = Supervisor { stage_max: Duration::from_millis(20), ..Supervisor::new() };
        for stage in [Stage::Servers, Stage::Ledger, Stage::Background] {
            supervisor.spawn(stage, "stubborn", |_| pending());
        }
        supervisor
            .run(ready(()), ready(()), Leave { at_most: Duration::from_hours(1), ..WITHIN })
            .await
            .unwrap();
    }
}
