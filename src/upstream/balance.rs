//! Which target and key take a call: by dialect and model, by level, by health, then by session or weight.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::affinity::AffinityOverrides;
use super::call::{ModelQuery, TargetQuery};
use super::candidate::Candidate;
use super::conversion::CandidateConversion;
use super::cooldown::Availability;
use super::error::SendError;
use super::models::Routes;
use super::target::Target;
use crate::dialect::convert::Conversion;
use crate::domain::catalogue::Catalogue;

/// The odd number nearest to 2^64 divided by the golden ratio: multiples of it spread evenly over the `u64` range.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// What a choice goes by, beside the call.
pub(super) struct Balancer<'u> {
    pub(super) targets: &'u [Arc<Target>],
    pub(super) routes: &'u Routes,
    pub(super) catalogue: &'u Catalogue,
    /// Whether a call of which something would be left out when it is converted is refused.
    pub(super) refuses_loss: bool,
    pub(super) overrides: &'u AffinityOverrides,
    /// Steps through the weights.
    pub(super) cursor: &'u AtomicU64,
}

/// What a choice comes to.
pub(super) enum Chosen {
    Ready {
        candidate: Candidate,
        /// It is the one call that tries it.
        is_half_open: bool,
    },
    /// All cool down; of them the one that is back first.
    Cooling {
        first: Candidate,
        until: Instant,
        /// It is back by then as far as anybody knows, and waiting is better than being told so at once.
        may_wait: bool,
        /// Another call tries it: it may be back at any time.
        is_half_open: bool,
    },
}

/// A target that takes a call converted, and how.
type Converting<'u> = (&'u Arc<Target>, Conversion);

impl Balancer<'_> {
    /// Every way that a call may go, in the order of levels; those that are drained, have no weight, or are known to be
    /// down among them.
    ///
    /// # Errors
    /// No target serves it.
    pub(super) fn candidates(&self, query: &TargetQuery) -> Result<Vec<Candidate>, SendError> {
        let mut serving: Vec<_> =
            self.targets.iter().filter(|target| target.takes(query.provider, query.api)).collect();
        if query.is_admin {
            serving.retain(|target| target.allows_admin_paths());
        }
        let mut candidates = Vec::with_capacity(serving.len());
        match &query.model {
            ModelQuery::Named(asked) => {
                let own = [Arc::clone(asked)];
                let route = self.routes.get(asked).unwrap_or(&own);
                let converted = self.converting(query);
                for (place, model) in route.iter().enumerate() {
                    self.add_serving(&mut candidates, (&serving, &converted), (asked, model), place);
                }
                if candidates.is_empty() {
                    let servers: Vec<_> =
                        converted.iter().filter(|(target, _)| target.has_any_vendors_models()).collect();
                    for (place, model) in route.iter().enumerate() {
                        for (target, apis) in servers.iter().filter(|(target, _)| target.serves(model)) {
                            self.add_converted(&mut candidates, (target, *apis), (asked, model), place);
                        }
                    }
                }
                if candidates.is_empty() {
                    // Nobody is known to have the model. Who speaks the dialect may say so.
                    for (place, model) in route.iter().enumerate() {
                        for target in serving.iter().filter(|target| target.serves(model)) {
                            add_own(&mut candidates, target, (asked, model), place);
                        }
                    }
                }
            }
            ModelQuery::Unread | ModelQuery::Nameless { .. } => {
                retain_for_no_model(&mut serving, query)?;
                let none: Arc<str> = Arc::default();
                for target in serving {
                    extend(&mut candidates, target, (&none, false), 0, None);
                }
            }
        }
        if candidates.is_empty() {
            let model = query.model.name().map(str::to_owned);
            return Err(SendError::NoTarget { provider: query.provider, model });
        }
        candidates.sort_by_key(|candidate| candidate.level);
        Ok(candidates)
    }

    /// The targets that take the call converted.
    fn converting(&self, query: &TargetQuery) -> Vec<Converting<'_>> {
        let Some(api) = query.api.filter(|_| !query.is_admin) else { return Vec::new() };
        self.targets.iter().filter_map(|target| Some((target, target.conversion_of(api)?))).collect()
    }

    /// Adds the ways to one model: the targets that take the call as it is, then those for which it is converted.
    fn add_serving(
        &self,
        candidates: &mut Vec<Candidate>,
        (serving, converting): (&[&Arc<Target>], &[Converting<'_>]),
        (asked, model): (&Arc<str>, &Arc<str>),
        place: usize,
    ) {
        for target in serving.iter().filter(|target| target.probably_has(model)) {
            add_own(candidates, target, (asked, model), place);
        }
        for (target, apis) in converting.iter().filter(|(target, _)| target.surely_has(model)) {
            self.add_converted(candidates, (target, *apis), (asked, model), place);
        }
    }

    fn add_converted(
        &self,
        candidates: &mut Vec<Candidate>,
        (target, apis): Converting<'_>,
        (asked, model): (&Arc<str>, &Arc<str>),
        place: usize,
    ) {
        let sent = target.renamed(model).unwrap_or(model);
        let traits = Arc::clone(self.catalogue.find(sent));
        let conversion = CandidateConversion { apis, traits, refuses_loss: self.refuses_loss };
        extend(candidates, target, (sent, sent != asked), place * 2 + 1, Some(&conversion));
    }

    /// Chooses among the candidates that were not tried. `None`: none of them may be used. Calls that tell nothing about
    /// targets (`may_try` is false) are not the ones that try them.
    pub(super) fn choose(
        &self,
        candidates: &[Candidate],
        tried: &[u64],
        affinity: Option<u64>,
        may_half_open: bool,
        now: Instant,
    ) -> Option<Chosen> {
        // The common case, on the way of every call of a node with one target for the model.
        if let ([only], []) = (candidates, tried)
            && only.target.is_usable(now)
            && only.weight() > 0
            && only.state(now) == Availability::Ready
        {
            return Some(Chosen::Ready { candidate: only.clone(), is_half_open: false });
        }
        let is_untried = |candidate: &Candidate| tried.is_empty() || !tried.contains(&attempt_id(candidate));
        let usable: Vec<&Candidate> = candidates
            .iter()
            .filter(|candidate| candidate.target.is_usable(now) && candidate.weight() > 0)
            .filter(|candidate| is_untried(candidate))
            .collect();
        let is_open = |candidate: &&Candidate| match candidate.state(now) {
            Availability::Ready => true,
            Availability::HalfOpen => may_half_open,
            Availability::Cooling { .. } => false,
        };
        let mut open: Vec<&Candidate> = usable.iter().copied().filter(is_open).collect();
        while let Some(picked) = self.pick(&open, affinity, now) {
            let is_half_open = picked.state(now) != Availability::Ready;
            if !is_half_open || picked.begin_half_open(now) {
                return Some(Chosen::Ready { candidate: picked.clone(), is_half_open });
            }
            // Another call is trying it.
            open.retain(|candidate| !std::ptr::eq(*candidate, picked));
        }
        let has_choice = usable.len() > 1;
        let cooling = usable.into_iter().map(|candidate| match candidate.state(now) {
            Availability::Cooling { until, is_transient, has_retry_after, is_half_open } => {
                (until, is_transient && (has_retry_after || has_choice), is_half_open, candidate)
            }
            Availability::Ready | Availability::HalfOpen => (now, false, false, candidate),
        });
        let (until, may_wait, is_half_open, first) = cooling.min_by_key(|(until, ..)| *until)?;
        Some(Chosen::Cooling { first: first.clone(), until, may_wait, is_half_open })
    }

    /// Where a session is at home, whatever happens: by its name alone.
    pub(super) fn preferred(candidates: &[Candidate], session: u64) -> Option<&Candidate> {
        let level = candidates.iter().find(|candidate| candidate.weight() > 0)?.level;
        let alike = candidates.iter().filter(|candidate| candidate.level == level);
        by_session(alike, session)
    }

    fn pick<'c>(&self, open: &[&'c Candidate], affinity: Option<u64>, now: Instant) -> Option<&'c Candidate> {
        let best = open.first()?;
        if open.len() == 1 {
            return Some(best);
        }
        // A session stays with its cache even if that is on another tier; but it does not stay with another model.
        if let Some(place) = affinity.and_then(|session| self.overrides.place(session, now))
            && let Some(moved) =
                open.iter().find(|candidate| candidate.level.0 == best.level.0 && candidate.id() == place)
        {
            return Some(moved);
        }
        let alike = open.iter().copied().filter(|candidate| candidate.level == best.level);
        match affinity {
            Some(session) => by_session(alike, session),
            None => by_weight(alike, self.cursor.fetch_add(GOLDEN, Ordering::Relaxed)),
        }
    }
}

/// What is not tried twice in one call.
pub(super) fn attempt_id(candidate: &Candidate) -> u64 {
    candidate.id() ^ u64::try_from(candidate.level.0).unwrap_or(0).wrapping_mul(GOLDEN)
}

/// Adds a target that takes the call as it is.
fn add_own(
    candidates: &mut Vec<Candidate>,
    target: &Arc<Target>,
    (asked, model): (&Arc<str>, &Arc<str>),
    place: usize,
) {
    let sent = target.renamed(model).unwrap_or(model);
    extend(candidates, target, (sent, sent != asked), place * 2, None);
}

fn extend(
    candidates: &mut Vec<Candidate>,
    target: &Arc<Target>,
    (model, is_renamed): (&Arc<str>, bool),
    place: usize,
    conversion: Option<&CandidateConversion>,
) {
    candidates.extend(target.keys().iter().map(|key| Candidate {
        target: Arc::clone(target),
        key: Arc::clone(key),
        model: Arc::clone(model),
        is_renamed,
        conversion: conversion.cloned(),
        level: (place, target.tier()),
    }));
}

/// A call that names no model goes to who serves everything, or to the only one there is; and nowhere if its model
/// cannot be read and it is not the same to whom it goes.
fn retain_for_no_model(serving: &mut Vec<&Arc<Target>>, query: &TargetQuery) -> Result<(), SendError> {
    let provider = query.provider;
    match &query.model {
        ModelQuery::Named(_) => {}
        ModelQuery::Unread => {
            if !serving.iter().all(|target| target.serves_everything()) {
                return Err(SendError::Unread { provider });
            }
        }
        ModelQuery::Nameless { has_body } => {
            if serving.iter().any(|target| target.serves_everything()) {
                serving.retain(|target| target.serves_everything());
            } else if *has_body && serving.len() > 1 {
                return Err(SendError::Nameless { provider });
            }
        }
    }
    Ok(())
}

/// The candidate in whose share of the total weight `point` (a fraction of 2^64) lies.
fn by_weight<'c>(
    candidates: impl Iterator<Item = &'c Candidate> + Clone,
    point: u64,
) -> Option<&'c Candidate> {
    let total: u64 = candidates.clone().map(Candidate::weight).sum();
    let scaled = (u128::from(point) * u128::from(total)) >> 64;
    let mut left = u64::try_from(scaled).unwrap_or(0);
    let mut first = None;
    for candidate in candidates {
        let share = candidate.weight();
        if left < share {
            return Some(candidate);
        }
        left -= share;
        first.get_or_insert(candidate);
    }
    first
}

/// Weighted rendezvous hashing: the candidate with the least `-ln(u) / weight` wins; when one goes away, only its
/// sessions move.
fn by_session<'c>(candidates: impl Iterator<Item = &'c Candidate>, session: u64) -> Option<&'c Candidate> {
    candidates.min_by(|a, b| rendezvous_score(a, session).total_cmp(&rendezvous_score(b, session)))
}

#[allow(clippy::cast_precision_loss, reason = "53 of 64 bits are plenty for a choice")]
fn rendezvous_score(candidate: &Candidate, session: u64) -> f64 {
    let uniform = (candidate.hash(session) as f64 + 1.0) / (u64::MAX as f64 + 2.0);
    -uniform.ln() / (candidate.weight() as f64).max(f64::MIN_POSITIVE)
}
