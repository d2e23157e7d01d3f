//! One way that a call may go: a target, with one of its keys, for one model.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method};

use super::call::{UpstreamRequest, UpstreamResponse};
use super::conversion::CandidateConversion;
use super::cooldown::Availability;
use super::error::SendError;
use super::failure::{AttemptFailure, FailureReason, Scope};
use super::health::HealthState;
use super::key::{InFlight, Key};
use super::target::Target;
use crate::domain::provider::Provider;
use crate::transport::Opened;

/// A target, one of its keys, and the model that it is asked for.
#[derive(Clone)]
pub struct Candidate {
    pub(super) target: Arc<Target>,
    pub(super) key: Arc<Key>,
    /// The model that is sent; empty where the call names none.
    pub(super) model: Arc<str>,
    /// The model sent is another than the one asked for.
    pub(super) is_renamed: bool,
    /// How its call is made in another API than the caller's.
    pub(super) conversion: Option<CandidateConversion>,
    /// Candidates of a lower level are used first: the place of the model in its route (for each model before those that
    /// take the call as it is, then those for which it is converted), and the tier of the target.
    pub(super) level: (usize, u32),
}

impl Candidate {
    #[must_use]
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// The name of its key; empty where the target has only one.
    #[must_use]
    pub fn key_name(&self) -> &str {
        &self.key.name
    }

    /// The model that is sent; empty where the call names none.
    #[must_use]
    pub fn model(&self) -> &Arc<str> {
        &self.model
    }

    /// The model that is sent, where it is another than the one asked for.
    #[must_use]
    pub fn other_model(&self) -> Option<&Arc<str>> {
        Some(&self.model).filter(|_| self.is_renamed)
    }

    /// How its call is made in another API than the caller's.
    #[must_use]
    pub fn conversion(&self) -> Option<&CandidateConversion> {
        self.conversion.as_ref()
    }

    /// The same for another model, under the name that it is asked for by.
    #[must_use]
    pub fn for_other_model(&self) -> Self {
        Self { model: Arc::from(""), is_renamed: false, ..self.clone() }
    }

    /// Sends one request and waits for the answer's head.
    ///
    /// # Errors
    /// As [`SendError`] says.
    pub async fn send(&self, request: UpstreamRequest) -> Result<UpstreamResponse, SendError> {
        self.target.send(request, &self.key).await
    }

    /// Whether its call may be made over a WebSocket.
    #[must_use]
    pub fn takes_websocket(&self, dialect: Provider) -> bool {
        self.conversion.is_none() && self.target.takes_websocket(dialect)
    }

    /// Asks for a WebSocket at a path, with the caller's headers.
    ///
    /// # Errors
    /// As [`SendError`] says.
    pub async fn open_websocket(
        &self,
        path_and_query: String,
        headers: HeaderMap,
        dialect: Provider,
    ) -> Result<Opened, SendError> {
        let (method, body) = (Method::GET, Bytes::new());
        let request = UpstreamRequest { method, path_and_query, headers, body, dialect };
        self.target.open_websocket(request, &self.key).await
    }

    /// Begins a call over a WebSocket that is open: it is counted, and its key is in use until it ends.
    #[must_use]
    pub fn begin_over_websocket(&self) -> InFlight {
        self.target.count_attempt(&self.key)
    }

    /// The limits of an answer: how long it may pause, and how long it may take.
    #[must_use]
    pub fn answer_limits(&self) -> (Duration, Duration) {
        let endpoint = &self.target.state.endpoint;
        (endpoint.idle_timeout, endpoint.total_timeout)
    }

    /// The same for the same target and key, whatever the model.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.hash(0)
    }

    /// What `key` makes of it, evenly spread.
    pub(super) fn hash(&self, key: u64) -> u64 {
        let mut hasher = foldhash::fast::FixedState::with_seed(key).build_hasher();
        hasher.write(self.target.name().as_bytes());
        if !self.key.name.is_empty() {
            hasher.write_u8(0);
            hasher.write(self.key.name.as_bytes());
        }
        hasher.finish()
    }

    /// Its share of the calls of its level, in millionths of a target's weight.
    pub(super) fn weight(&self) -> u64 {
        let of_all = self.target.total_key_weight().max(1);
        u64::from(self.target.weight()) * 1_000_000 * u64::from(self.key.weight) / of_all
    }

    pub(super) fn state(&self, now: Instant) -> Availability {
        let of_target = match self.target.health_state(now) {
            HealthState::Healthy => Availability::Ready,
            HealthState::HalfOpen => Availability::HalfOpen,
            HealthState::Ejected(left) => Availability::Cooling {
                until: now + left,
                is_transient: true,
                has_retry_after: false,
                is_half_open: false,
            },
            HealthState::Down => Availability::Cooling {
                until: now,
                is_transient: false,
                has_retry_after: false,
                is_half_open: false,
            },
        };
        let of_key = self.target.state.cooldowns.availability(self.key.id, &self.model, now);
        match (of_target, of_key) {
            (
                one @ Availability::Cooling { until, is_transient, .. },
                Availability::Cooling { until: other, is_transient: also, has_retry_after, is_half_open },
            ) => match one {
                Availability::Cooling { has_retry_after, is_half_open, .. } if until > other => {
                    Availability::Cooling {
                        until,
                        is_transient: is_transient && also,
                        has_retry_after,
                        is_half_open,
                    }
                }
                _ => Availability::Cooling {
                    until: other,
                    is_transient: is_transient && also,
                    has_retry_after,
                    is_half_open,
                },
            },
            (cooling @ Availability::Cooling { .. }, _) | (_, cooling @ Availability::Cooling { .. }) => {
                cooling
            }
            (Availability::Ready, Availability::Ready) => Availability::Ready,
            (Availability::HalfOpen, _) | (_, Availability::HalfOpen) => Availability::HalfOpen,
        }
    }

    pub(super) fn is_open(&self, now: Instant) -> bool {
        matches!(self.state(now), Availability::Ready | Availability::HalfOpen)
    }

    /// Takes the one call that may try it; false if another call does.
    pub(super) fn begin_half_open(&self, now: Instant) -> bool {
        let (health, cooldowns) = (&self.target.state.health, &self.target.state.cooldowns);
        let (key, model) = (self.key.id, &*self.model);
        let paused = match cooldowns.availability(key, model, now) {
            Availability::Ready => false,
            Availability::HalfOpen => true,
            Availability::Cooling { .. } => return false,
        };
        if paused && !cooldowns.begin_half_open(key, model, now) {
            return false;
        }
        let may_half_open = match health.health_state(now) {
            HealthState::Healthy => true,
            HealthState::HalfOpen => health.try_half_open(now),
            HealthState::Ejected(_) | HealthState::Down => false,
        };
        if !may_half_open && paused {
            cooldowns.end_half_open(key, model);
        }
        may_half_open
    }

    /// Gives back a half-open attempt of which nothing came.
    pub(super) fn end_half_open(&self, now: Instant) {
        self.target.state.cooldowns.end_half_open(self.key.id, &self.model);
        self.target.state.health.end_half_open(now);
    }

    /// An attempt failed.
    pub(super) fn failed(&self, failure: AttemptFailure, now: Instant, random: u64) {
        let state = &self.target.state;
        state.count_failure(failure.reason);
        if failure.reason.counts_for_health() {
            state.health.failed(now);
        } else if failure.reason.has_answer() {
            state.health.answered();
        }
        if failure.reason == FailureReason::KeyRefused {
            state.suspect_key(self.key.id);
        }
        self.key.state.failures.inc();
        // Where keys are not checked, what they may be used for is a matter of account and model, not of what a call says.
        let scope = match failure.reason {
            FailureReason::KeyRefused if !self.target.platform().lists_models() => Scope::KeyAndModel,
            reason => reason.scope(),
        };
        state.cooldowns.failed(scope, (self.key.id, &self.model), failure, now, random);
    }

    /// An attempt was answered.
    pub(super) fn answered(&self, now: Instant) {
        self.target.state.health.answered();
        self.target.state.cooldowns.answered(self.key.id, &self.model, now);
    }
}
