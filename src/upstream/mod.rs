//! The upstream side: which target gets a call, and how the call gets there.
//!
//! A gateway's cost is decided here. The connection to the upstream is not a task of its own: the answer's body
//! drives it (see `line`), so a chunk travels from socket to socket in one poll of one task.

mod answer;
mod call;
mod choice;
mod connect;
mod error;
mod health;
mod line;
mod pause;
mod probe;
mod send;
mod shared;
mod target;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::config::TargetConfig;
use crate::domain::clock::Clock;

pub use answer::{Answer, AnswerBody, BodyError};
pub use call::{Outgoing, Wanted};
pub use error::SendError;
pub use probe::probe_all;
pub use target::{Target, TargetView};

/// Every target of this node.
pub struct Upstream {
    targets: Vec<Arc<Target>>,
    clock: Arc<dyn Clock>,
    /// Steps through the weights; see `choice::choose`.
    turn: AtomicU64,
}

impl Upstream {
    /// The targets of the configuration. Nothing is dialled yet.
    ///
    /// # Errors
    /// A target whose URL or CA file cannot be used, by name.
    pub fn new(configs: &[TargetConfig], clock: Arc<dyn Clock>) -> Result<Self, error::BadTarget> {
        let targets = configs
            .iter()
            .map(|config| Target::new(config, Arc::clone(&clock)).map(Arc::new))
            .collect::<Result<_, _>>()?;
        Ok(Self { targets, clock, turn: AtomicU64::new(0) })
    }

    /// Every target, in the order of the configuration.
    #[must_use]
    pub fn targets(&self) -> &[Arc<Target>] {
        &self.targets
    }

    /// The target of that name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Arc<Target>> {
        self.targets.iter().find(|target| target.name() == name)
    }

    /// Chooses the target that a call goes to first.
    ///
    /// # Errors
    /// [`SendError::NoTarget`] when none serves the model, [`SendError::NoneHealthy`] when none of those that do
    /// may be used now.
    pub fn choose(&self, wanted: &Wanted) -> Result<Arc<Target>, SendError> {
        self.choose_but(&[], wanted)
    }

    /// Sends to the target that was chosen first, and if need be to one after the other until one answers. Another is
    /// tried only while it is certain that none has begun to work: once a request may have been read, its failure is
    /// the caller's to see.
    ///
    /// # Errors
    /// The last attempt's.
    pub async fn send(
        &self,
        first: Arc<Target>,
        wanted: &Wanted,
        outgoing: &Outgoing,
    ) -> Result<Answer, SendError> {
        let mut target = first;
        let mut tried: Vec<Arc<Target>> = Vec::new();
        loop {
            let failure = match target.send(outgoing).await {
                Err(failure) if failure.never_began() => failure,
                answered => return answered,
            };
            tracing::warn!(target = target.name(), error = %failure, "target failed, trying the next");
            tried.push(target);
            target = self.choose_but(&tried, wanted).map_err(|_none_left| failure)?;
        }
    }

    /// Closes connections that have been idle for too long to be used again. Idempotent; the caller ticks it.
    pub fn close_idle(&self) {
        for target in &self.targets {
            target.parked.close_idle();
        }
    }

    fn choose_but(&self, tried: &[Arc<Target>], wanted: &Wanted) -> Result<Arc<Target>, SendError> {
        choice::choose(&self.targets, wanted, tried, &self.turn, self.clock.now())
    }
}
