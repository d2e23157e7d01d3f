//! A target as the API shows it.

use std::time::Instant;

use super::authorize::CloudSource;
use super::cooldown::Cooling;
use super::credentials::CredentialStatus;
use super::failure::FailureReason;
use super::health::HealthState;
use super::key::Key;
use super::target::Target;
use crate::domain::clock::Timestamp;
use crate::domain::plain_name::plain_name;
use crate::domain::provider::Provider;

/// A target, never its keys.
#[derive(Clone, Debug)]
pub struct TargetView {
    pub name: String,
    pub provider: Provider,
    pub url: String,
    /// Those of a lower tier are used first.
    pub tier: u32,
    /// Its share of calls relative to the others of its tier that serve the same model.
    pub weight: u32,
    /// Globs of the models it serves.
    pub models: Vec<String>,
    /// Whether calls and checks find it up, and nothing of it cools down.
    pub healthy: bool,
    /// When it, or the last of what cools down of it, gets calls again; `None` also if that is not known.
    pub cooling_until: Option<Timestamp>,
    /// Why it is not healthy, or gets no calls.
    pub reason: Option<String>,
    /// Calls that went to it from this node, checks and lists of models among them.
    pub attempts: u64,
    /// Of these, those that got no answer or one that says that the target cannot answer.
    pub failures: u64,
    pub last_error: Option<String>,
    pub last_error_at: Option<Timestamp>,
    /// Whether it gets no new calls.
    pub draining: bool,
    /// Calls it is answering now, from this node.
    pub in_flight: usize,
    /// Of these, calls that wait for a stream of HTTP/2.
    pub waiting: usize,
    /// Connections that speak HTTP/2.
    pub http2_connections: usize,
    pub has_key: bool,
    /// Of credentials that are exchanged while the node runs; of the first key that has such.
    pub credentials: Option<CredentialStatus>,
    /// Its keys, where it has several.
    pub keys: Vec<KeyView>,
}

/// One of several keys of a target.
#[derive(Clone, Debug)]
pub struct KeyView {
    pub name: String,
    /// Its share of the target's calls.
    pub weight: u32,
    /// Whether nothing of it cools down.
    pub healthy: bool,
    pub cooling_until: Option<Timestamp>,
    pub reason: Option<String>,
    /// Calls it is used for now, from this node.
    pub in_flight: usize,
    /// Calls it was used for.
    pub attempts: u64,
    /// Of these, failed attempts.
    pub failures: u64,
    /// Of credentials that are exchanged while the node runs.
    pub credentials: Option<CredentialStatus>,
}

impl Target {
    /// The target as the API shows it.
    #[must_use]
    pub fn view(&self) -> TargetView {
        let now = Instant::now();
        let connections = self.state.client.stats();
        let health_state = self.health_state(now);
        let (last_error_at, last_error) = self.state.last_failure().unzip();
        let cooling = self.state.cooldowns.cooling(now);
        let ejected_until = match health_state {
            HealthState::Ejected(left) => Some(self.state.now().plus(left)),
            HealthState::Healthy | HealthState::HalfOpen | HealthState::Down => None,
        };
        let of_health = match health_state {
            HealthState::HalfOpen => last_error.clone(),
            HealthState::Ejected(_) | HealthState::Down | HealthState::Healthy => self
                .not_usable()
                .map(|why| last_error.as_ref().map_or(why.clone(), |last| format!("{why}: {last}"))),
        };
        let all: Vec<&Cooling> = cooling.iter().collect();
        TargetView {
            name: self.name().to_owned(),
            provider: self.provider(),
            url: self.url().to_string(),
            tier: self.tier(),
            weight: self.weight(),
            models: self.model_globs().to_vec(),
            healthy: health_state == HealthState::Healthy && cooling.is_empty(),
            cooling_until: ejected_until.max(self.cooling_until(&all)),
            reason: of_health.or_else(|| self.cooling_reason(&all)),
            attempts: self.state.attempts.get(),
            failures: self.state.failures.get(),
            last_error,
            last_error_at,
            draining: self.state.is_draining(),
            in_flight: connections.in_flight,
            waiting: connections.waiting,
            http2_connections: connections.http2_connections,
            has_key: self.keys().iter().any(|key| key.has_secret()),
            credentials: self.keys().iter().find_map(|key| key.source()).map(CloudSource::status),
            keys: match self.keys() {
                [_] => Vec::new(),
                keys => keys.iter().map(|key| self.key_view(key, &cooling)).collect(),
            },
        }
    }

    /// Why it gets no calls, or none for a model, through its provider's fault and not by anybody's wish; in words that no
    /// caller wrote, but for names of models that read like some. `None`: it gets calls.
    #[must_use]
    pub fn outage(&self) -> Option<String> {
        if self.state.is_draining() || self.weight() == 0 {
            return None;
        }
        let now = Instant::now();
        let of_health = match self.health_state(now) {
            HealthState::Healthy => None,
            HealthState::Ejected(_) | HealthState::HalfOpen => {
                Some("failed several times in a row".to_owned())
            }
            HealthState::Down => Some("does not answer its health_path".to_owned()),
        };
        of_health.or_else(|| self.cooling_outage(&self.state.cooldowns.cooling(now)))
    }

    fn cooling_outage(&self, cooling: &[Cooling]) -> Option<String> {
        let wholly: Vec<&Cooling> = cooling.iter().filter(|one| one.model.is_none()).collect();
        let is_out = |key: &Key| wholly.iter().any(|one| one.key.is_none_or(|id| id == key.id));
        if let Some(first) = wholly.first()
            && self.keys().iter().all(|key| is_out(key))
        {
            return Some(format!("none of its keys is used: {}", first.reason.as_str()));
        }
        let overloaded = cooling.iter().find(|one| one.reason == FailureReason::Overloaded)?;
        let model = overloaded.model.as_deref().map(plain_name).filter(|model| !model.is_empty());
        Some(model.map_or_else(|| "is overloaded".to_owned(), |model| format!("is overloaded for {model}")))
    }

    fn key_view(&self, key: &Key, cooling: &[Cooling]) -> KeyView {
        let own: Vec<&Cooling> = cooling.iter().filter(|one| one.key.is_none_or(|id| id == key.id)).collect();
        KeyView {
            name: key.name.to_string(),
            weight: key.weight,
            healthy: own.is_empty(),
            cooling_until: self.cooling_until(&own),
            reason: self.cooling_reason(&own),
            in_flight: key.state.in_flight(),
            attempts: key.state.attempts.get(),
            failures: key.state.failures.get(),
            credentials: key.source().map(CloudSource::status),
        }
    }

    fn cooling_until(&self, cooling: &[&Cooling]) -> Option<Timestamp> {
        let longest = cooling.iter().filter_map(|one| one.left).max()?;
        Some(self.state.now().plus(longest))
    }

    /// Such as `rate_limited for model claude-opus-4-8 with key org-a`.
    fn cooling_reason(&self, cooling: &[&Cooling]) -> Option<String> {
        const SHOWN_MAX: usize = 4;
        let one = |cooling: &&Cooling| {
            let mut text = cooling.reason.as_str().to_owned();
            if let Some(model) = cooling.model.as_deref().filter(|model| !model.is_empty()) {
                text.push_str(" for model ");
                text.push_str(model);
            }
            let key = self.keys().iter().find(|key| Some(key.id) == cooling.key && !key.name.is_empty());
            if let Some(key) = key {
                text.push_str(" with key ");
                text.push_str(&key.name);
            }
            if cooling.left.is_none() {
                text.push_str(" until the configuration changes");
            }
            text
        };
        let shown: Vec<String> = cooling.iter().take(SHOWN_MAX).map(one).collect();
        let more = cooling.len().saturating_sub(SHOWN_MAX);
        match (shown.is_empty(), more) {
            (true, _) => None,
            (false, 0) => Some(shown.join("; ")),
            (false, more) => Some(format!("{}; and {more} more", shown.join("; "))),
        }
    }
}
