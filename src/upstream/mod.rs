//! The upstream side: which target gets a call, by model, health and weight, and whether another may have it after a
//! failure. How the call gets there is [`transport`](crate::transport)'s.

pub mod credentials;

mod balance;
mod call;
mod error;
mod health;
mod metrics;
mod plan;
mod probe;
mod send;
mod target;
mod target_state;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::config::TargetConfig;
use crate::domain::clock::Clock;
use crate::domain::provider::Provider;

pub use call::{ModelQuery, TargetQuery, UpstreamRequest, UpstreamResponse};
pub use error::{BadTarget, SendError};
pub use plan::Plan;
pub use probe::probe_all;
pub use target::{Target, TargetView};

/// Every target of this node.
pub struct Upstream {
    targets: Vec<Arc<Target>>,
    /// Steps through the weights; see `balance::choose`.
    cursor: AtomicU64,
}

impl Upstream {
    /// The targets of the configuration. Nothing is dialled yet.
    ///
    /// # Errors
    /// A target whose URL or CA file cannot be used, by name.
    pub fn new(configs: &[TargetConfig], clock: &Arc<dyn Clock>) -> Result<Self, BadTarget> {
        Self { targets: Vec::new(), cursor: AtomicU64::new(0) }.replaced_by(configs, clock)
    }

    /// The targets of another configuration. Those that have their name from before and go to the same place keep their
    /// connections, their health and what was counted of them.
    ///
    /// # Errors
    /// As [`Self::new`] says.
    pub fn replaced_by(&self, configs: &[TargetConfig], clock: &Arc<dyn Clock>) -> Result<Self, BadTarget> {
        let target = |config: &TargetConfig| {
            let before = self.find(&config.name).map(|before| &**before);
            Target::new(config, before, clock).map(Arc::new)
        };
        let targets = configs.iter().map(target).collect::<Result<_, _>>()?;
        Ok(Self { targets, cursor: AtomicU64::new(self.cursor.load(Ordering::Relaxed)) })
    }

    /// Every target, in the order of the configuration.
    #[must_use]
    pub fn targets(&self) -> &[Arc<Target>] {
        &self.targets
    }

    /// Why no target can be given a call now; `None` if one can, or if there is no target at all.
    #[must_use]
    pub fn not_usable(&self) -> Option<String> {
        let reasons: Option<Vec<String>> = self.targets.iter().map(|target| target.not_usable()).collect();
        let reasons = reasons.filter(|reasons| !reasons.is_empty())?;
        Some(format!("no target is usable: {}", reasons.join("; ")))
    }

    /// The target of that name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Arc<Target>> {
        self.targets.iter().find(|target| target.name() == name)
    }

    /// Whether a target of that dialect takes calls about the provider's account.
    #[must_use]
    pub fn takes_admin_paths(&self, provider: Provider) -> bool {
        self.targets.iter().any(|target| target.provider() == provider && target.allows_admin_paths())
    }

    /// Chooses the targets that a call goes to.
    ///
    /// # Errors
    /// [`SendError::NoTarget`] when none serves the model, [`SendError::NoneHealthy`] when none of those that do
    /// may be used now.
    pub fn plan(self: &Arc<Self>, query: &TargetQuery) -> Result<Plan, SendError> {
        let first = self.choose_except(&[], query)?;
        Ok(Plan::new(Arc::clone(self), query.clone(), first))
    }

    /// Closes connections that have been idle for too long to be used again. Idempotent; the caller ticks it.
    pub fn close_idle(&self) {
        for target in &self.targets {
            target.close_idle();
        }
    }

    fn choose_except(&self, tried: &[Arc<Target>], query: &TargetQuery) -> Result<Arc<Target>, SendError> {
        balance::choose(&self.targets, query, tried, &self.cursor, Instant::now())
    }
}

#[cfg(test)]
mod tests;
