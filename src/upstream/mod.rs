//! The upstream side: which target gets a call, by model, health and weight, and whether another may have it after a
//! failure. How the call gets there is [`transport`](crate::transport)'s.

pub mod credentials;

mod affinity;
mod authorize;
mod balance;
mod call;
mod candidate;
mod conversion;
mod cooldown;
mod error;
mod failure;
mod health;
mod key;
mod metrics;
mod models;
mod plan;
mod probe;
mod retry_budget;
mod send;

mod target;
mod target_state;
mod target_view;
mod unknown;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::config::{ModelConfig, OnLoss, TargetConfig, UpstreamConfig};
use crate::domain::catalogue::Catalogue;
use crate::domain::clock::Clock;
use crate::domain::provider::Provider;
use affinity::AffinityOverrides;
use balance::{Balancer, Chosen};
use models::Routes;
use retry_budget::RetryBudget;

pub use call::{ModelQuery, TargetQuery, UpstreamRequest, UpstreamResponse};
pub use candidate::Candidate;
pub use conversion::CandidateConversion;
pub use error::{BadTarget, SendError};
pub use failure::{AttemptFailure, FailureReason};
pub use key::InFlight;
pub use plan::{Next, Plan};
pub use probe::probe_all;
pub use target::Target;
pub use target_view::{KeyView, TargetView};

/// How often a call looks again that waits for one that tries a target.
const HALF_OPEN_POLL: Duration = Duration::from_millis(50);
/// Shorter waits would only spin.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// Every target of this node.
pub struct Upstream {
    targets: Vec<Arc<Target>>,
    routes: Routes,
    catalogue: Arc<Catalogue>,
    settings: Settings,
    /// Steps through the weights; see [`Balancer`].
    cursor: AtomicU64,
    shared: Arc<Shared>,
}

/// What holds for all targets.
#[derive(Clone, Copy, Debug)]
struct Settings {
    max_attempts: usize,
    retry_millionths: u64,
    retry_uncertain: bool,
    max_wait: Duration,
    refuses_loss: bool,
}

/// What outlives a change of the configuration.
struct Shared {
    budget: RetryBudget,
    overrides: AffinityOverrides,
    random: RandomState,
    steps: AtomicU64,
}

/// When a call is sent.
enum Planned {
    Now(Plan),
    /// It is asked again then.
    After(Duration),
}

/// What is configured of targets and models.
#[derive(Clone, Copy, Debug)]
pub struct Configs<'c> {
    pub targets: &'c [TargetConfig],
    pub models: &'c [ModelConfig],
    pub upstream: &'c UpstreamConfig,
    pub capabilities: &'c Arc<Catalogue>,
}

impl Upstream {
    /// The targets of the configuration. Nothing is dialled yet.
    ///
    /// # Errors
    /// A target whose URL or CA file cannot be used, by name.
    pub fn new(configs: Configs<'_>, clock: &Arc<dyn Clock>) -> Result<Self, BadTarget> {
        let shared = Shared {
            budget: RetryBudget::new(Instant::now()),
            overrides: AffinityOverrides::default(),
            random: RandomState::new(),
            steps: AtomicU64::new(0),
        };
        Self::of(configs, &[], AtomicU64::new(0), Arc::new(shared), clock)
    }

    /// The targets of another configuration. Those that have their name from before and go to the same place keep their
    /// connections, their health and what was counted of them.
    ///
    /// # Errors
    /// As [`Self::new`] says.
    pub fn replaced_by(&self, configs: Configs<'_>, clock: &Arc<dyn Clock>) -> Result<Self, BadTarget> {
        let cursor = AtomicU64::new(self.cursor.load(Ordering::Relaxed));
        Self::of(configs, &self.targets, cursor, Arc::clone(&self.shared), clock)
    }

    fn of(
        configs: Configs<'_>,
        before: &[Arc<Target>],
        cursor: AtomicU64,
        shared: Arc<Shared>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, BadTarget> {
        let target = |config: &TargetConfig| {
            let before = before.iter().find(|before| before.name() == config.name);
            Target::new(config, before.map(|before| &**before), clock).map(Arc::new)
        };
        Ok(Self {
            targets: configs.targets.iter().map(target).collect::<Result<_, _>>()?,
            routes: Routes::new(configs.models),
            catalogue: Arc::clone(configs.capabilities),
            settings: Settings {
                max_attempts: configs.upstream.max_attempts,
                retry_millionths: retry_budget::millionths(configs.upstream.retry_ratio),
                retry_uncertain: configs.upstream.retry_uncertain,
                max_wait: configs.upstream.max_wait,
                refuses_loss: configs.upstream.on_loss == OnLoss::Refuse,
            },
            cursor,
            shared,
        })
    }

    /// Forgets what an earlier configuration made of these targets and this one may have mended: called once this one
    /// is in effect.
    pub fn on_config_activated(&self) {
        for target in &self.targets {
            target.state.cooldowns.forget_refused_keys();
            target.state.unknown.forget();
            target.state.retain_keys(&target.keys().iter().map(|key| key.id).collect::<Vec<_>>());
        }
    }

    /// The names of the operator's own whose calls some target of that dialect takes, each with the models behind it.
    pub fn own_models(&self, provider: Provider) -> impl Iterator<Item = (&str, &[Arc<str>])> {
        self.routes.iter().filter(move |(_, route)| {
            let serving = |model: &Arc<str>| {
                self.targets.iter().any(|target| target.is_reached_by(provider) && target.serves(model))
            };
            route.iter().any(serving)
        })
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
        self.targets.iter().any(|target| target.speaks(provider) && target.allows_admin_paths())
    }

    /// Whether a target of that dialect takes calls over WebSockets, and is given any.
    #[must_use]
    pub fn takes_websocket(&self, provider: Provider) -> bool {
        self.targets.iter().any(|target| target.takes_websocket(provider) && target.weight() > 0)
    }

    /// Whether calls for the model may come to a target that takes them over WebSockets.
    #[must_use]
    pub fn has_websocket_for(&self, provider: Provider, model: &str) -> bool {
        let has = |model: &str| {
            let mut targets = self.targets.iter();
            targets.any(|target| target.takes_websocket(provider) && target.probably_has(model))
        };
        has(model) || self.routes.get(model).is_some_and(|route| route.iter().any(|model| has(model)))
    }

    /// Whether calls that `query` describes may go more than one way, as far as that is told without looking closely.
    #[must_use]
    pub fn may_have_choice(&self, query: &TargetQuery) -> bool {
        let serves = |target: &Target| match query.model.name() {
            Some(model) => target.serves(model) || self.routes.get(model).is_some(),
            None => true,
        };
        let reached = |target: &Target| {
            target.speaks(query.provider) || query.api.is_some_and(|api| target.conversion_of(api).is_some())
        };
        let serving = self.targets.iter().filter(|target| reached(target) && serves(target));
        serving.map(|target| target.keys().len()).sum::<usize>() > 1
    }

    /// Chooses the way that a call goes. If all cool down and the first is back within `upstream.max_wait`, waits for it.
    ///
    /// # Errors
    /// [`SendError::NoTarget`] when none serves the model, [`SendError::NoneHealthy`] when none of those that do
    /// may be used now.
    pub async fn plan(self: &Arc<Self>, query: &TargetQuery) -> Result<Plan, SendError> {
        let began = Instant::now();
        self.shared.budget.call(began);
        loop {
            match self.plan_at(query, began, Instant::now())? {
                Planned::Now(plan) => return Ok(plan),
                Planned::After(pause) => sleep(pause).await,
            }
        }
    }

    /// The same for a call that began at `began` and has waited until `now`.
    fn plan_at(
        self: &Arc<Self>,
        query: &TargetQuery,
        began: Instant,
        now: Instant,
    ) -> Result<Planned, SendError> {
        let candidates = self.balancer().candidates(query)?;
        let last_moment = began + self.settings.max_wait;
        let chosen = self.balancer().choose(&candidates, &[], query.affinity, query.counts_for_health, now);
        let first = match chosen {
            Some(Chosen::Cooling { until, may_wait: true, is_half_open, .. })
                if now < last_moment && (is_half_open || until <= last_moment) =>
            {
                let left = until.saturating_duration_since(now).max(WAIT_MIN);
                return Ok(Planned::After(if is_half_open { left.min(HALF_OPEN_POLL) } else { left }));
            }
            // Trying one that cools down is better than refusing: the caller gets the provider's own words.
            Some(Chosen::Cooling { first, .. }) => (first, false),
            Some(Chosen::Ready { candidate, is_half_open }) => (candidate, is_half_open),
            None => {
                let model = query.model.name().map(str::to_owned);
                return Err(SendError::NoneHealthy { provider: query.provider, model });
            }
        };
        Ok(Planned::Now(Plan::new(Arc::clone(self), query.clone(), candidates, first)))
    }

    /// Every way that a call may go, whatever the state of its targets; none if no target serves it.
    #[must_use]
    pub fn ways(&self, query: &TargetQuery) -> Vec<Candidate> {
        self.balancer().candidates(query).unwrap_or_default()
    }

    /// What is known of the models that there are.
    #[must_use]
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Closes connections that have been idle for too long to be used again. Idempotent; the caller ticks it.
    pub fn close_idle(&self) {
        for target in &self.targets {
            target.close_idle();
        }
    }

    fn balancer(&self) -> Balancer<'_> {
        Balancer {
            targets: &self.targets,
            routes: &self.routes,
            catalogue: &self.catalogue,
            refuses_loss: self.settings.refuses_loss,
            overrides: &self.shared.overrides,
            cursor: &self.cursor,
        }
    }

    /// Whether a call may try once more, by `upstream.retry_ratio`, or by half of it.
    fn may_retry(&self, half: bool, now: Instant) -> bool {
        self.shared.budget.may_retry(self.settings.retry_millionths, half, now)
    }

    fn random(&self) -> u64 {
        self.shared.random.hash_one(self.shared.steps.fetch_add(1, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod storm_tests;
#[cfg(test)]
mod tests;
