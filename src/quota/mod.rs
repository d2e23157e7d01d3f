//! Admission control: limits of users and groups, kept in memory on the way of a request.
//!
//! A call is admitted while what is used is below every limit of its user and of its group. All limits are
//! checked before anything is taken, so a refused call costs nothing. What is in flight may pass a limit, nothing
//! after it. Requests per minute are a sliding window: at most that many in any 60 seconds (`window`).
//!
//! Counters start from the ledger's rollups ([`Quota::restore`]), so they are exact after a restart; what other nodes
//! used comes from the leader ([`Quota::set_remote`]) and is set, never added.

mod counters;
mod status;
mod window;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Registry;

use crate::domain::clock::{Moment, Timestamp};
use crate::domain::ids::{GroupId, UserId};
use crate::domain::principal::Principal;
use crate::domain::quota::{Allowance, LimitKind, Refusal, Subject, Used};
use crate::domain::quoted::Quoted;
use crate::telemetry::{CounterArray, scrape};
use counters::{Counters, NodeShare};
pub use status::Status;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SubjectId {
    User(UserId),
    Group(GroupId),
}

/// What a call asks for, as far as limits are concerned.
#[derive(Clone, Copy, Debug)]
pub struct QuotaRequest<'a> {
    /// Empty when the call names none.
    pub model: &'a str,
    /// The `max_tokens` of the call, where it sets one. A call that sets none is not held to that limit.
    pub max_tokens: Option<u64>,
    /// The provider may read another model than `model`, or none was named by a call that uses one.
    pub model_is_ambiguous: bool,
    /// The provider may read another number than `max_tokens`.
    pub max_tokens_is_ambiguous: bool,
    /// What it uses will be in no answer, and it does not say how much that may be.
    pub is_open_ended: bool,
}

impl<'a> QuotaRequest<'a> {
    /// A call whose model and `max_tokens` can be read in one way only.
    #[must_use]
    pub const fn unambiguous(model: &'a str, max_tokens: Option<u64>) -> Self {
        Self {
            model,
            max_tokens,
            model_is_ambiguous: false,
            max_tokens_is_ambiguous: false,
            is_open_ended: false,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Quota {
    inner: Arc<Inner>,
}

type SharedCounters = Arc<Mutex<Counters>>;

#[derive(Debug, Default)]
struct Inner {
    /// A counter exists from a subject's first call on, or from when its sums were restored.
    counters: RwLock<HashMap<SubjectId, SharedCounters, foldhash::fast::RandomState>>,
    /// This node's share of per-minute and concurrency limits.
    share: NodeShare,
    refused: RefusalCounters,
    /// Subjects whose sums have changed since the last [`Quota::take_changed`].
    changed: Mutex<HashSet<SubjectId, foldhash::fast::RandomState>>,
}

/// Refusals per limit, since the start of the process.
#[derive(Debug)]
struct RefusalCounters(CounterArray<[(&'static str, &'static str); 1]>);

/// A call that was admitted. [`Admission::settle`] counts what it used; dropping it gives back its place among the
/// concurrent requests.
#[derive(Debug)]
pub struct Admission {
    quota: Quota,
    user: (UserId, SharedCounters),
    group: Option<(GroupId, SharedCounters)>,
}

impl Quota {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Admits a call, or says which limit is in its way. Never waits, never asks a database.
    ///
    /// # Errors
    /// The first limit that is reached: what is asked for (models, `max_tokens`, also where a limit cannot be checked
    /// because that cannot be told for certain), then spent quotas (final until their window
    /// resets), then requests per minute, then concurrency; the user's before the group's.
    pub fn admit(
        &self,
        principal: &Principal,
        request: &QuotaRequest<'_>,
        now: Moment,
    ) -> Result<Admission, Refusal> {
        self.admit_uncounted(principal, request, now)
            .inspect_err(|refusal| self.inner.refused.count(refusal.limit))
    }

    fn admit_uncounted(
        &self,
        who: &Principal,
        request: &QuotaRequest<'_>,
        now: Moment,
    ) -> Result<Admission, Refusal> {
        let group = who.group.as_ref().zip(who.group_allowance.as_deref());
        check_request(&|| Subject::User(who.user.to_string()), &who.allowance, request)?;
        if let Some(((_, name), allowance)) = group {
            check_request(&|| Subject::Group(name.to_string()), allowance, request)?;
        }
        let user_counters = self.counters(SubjectId::User(who.user_id));
        let group_counters = group.map(|((id, _), _)| (*id, self.counters(SubjectId::Group(*id))));
        let share = &self.inner.share;
        // Both are held until everything is taken; always the user's first, so two calls cannot block each other.
        let mut user = user_counters.lock();
        let mut shared = group_counters.as_ref().map(|(_, counters)| counters.lock());
        let mut check = |rule: counters::Rule| {
            user.check(rule, &|| Subject::User(who.user.to_string()), who.allowance.limits(), share, now)?;
            match (&mut shared, group) {
                (Some(counters), Some(((_, name), allowance))) => {
                    counters.check(rule, &|| Subject::Group(name.to_string()), allowance.limits(), share, now)
                }
                _ => Ok(()),
            }
        };
        check(counters::Rule::Windows)?;
        check(counters::Rule::Rate)?;
        check(counters::Rule::Concurrency)?;
        user.begin(who.allowance.limits(), now.steady);
        if let (Some(counters), Some((_, allowance))) = (&mut shared, group) {
            counters.begin(allowance.limits(), now.steady);
        }
        drop((user, shared));
        Ok(Admission { quota: self.clone(), user: (who.user_id, user_counters), group: group_counters })
    }

    /// Counts what was used on this node at `at`, which is now, beside any call that was admitted.
    pub fn record(&self, user: UserId, group: Option<GroupId>, tokens: u64, nanousd: i64, at: Timestamp) {
        for subject in [Some(SubjectId::User(user)), group.map(SubjectId::Group)].into_iter().flatten() {
            self.counters(subject).lock().record(tokens, nanousd, at);
            self.inner.changed.lock().insert(subject);
        }
    }

    /// The subjects whose sums have changed since the last call, and what they have used on this node around `now`: the
    /// leader passes this on to the other nodes.
    #[must_use]
    pub fn take_changed(&self, now: Timestamp) -> Vec<(SubjectId, Used)> {
        let changed = std::mem::take(&mut *self.inner.changed.lock());
        let here =
            |subject| self.existing(subject).map(|counters| (subject, counters.lock().used_locally(now)));
        changed.into_iter().filter_map(here).collect()
    }

    /// The next [`Self::take_changed`] returns every subject.
    pub fn mark_all_changed(&self) {
        let everyone: Vec<SubjectId> = self.inner.counters.read().keys().copied().collect();
        self.inner.changed.lock().extend(everyone);
    }

    /// What the ledger says was used in the windows around `as_of`: at least so much counts from now on, and others are
    /// told of it. At the start, and whenever the clock was set back.
    pub fn restore(&self, subject: SubjectId, used: Used, as_of: Timestamp) {
        self.counters(subject).lock().restore(used, as_of);
        self.inner.changed.lock().insert(subject);
    }

    /// Sets what other nodes used in the windows around `as_of`. An absolute amount: repeating it changes nothing.
    pub fn set_remote(&self, subject: SubjectId, used: Used, as_of: Timestamp) {
        self.counters(subject).lock().set_remote(used, as_of);
    }

    /// Sets this node's share of limits that count moments, not sums (`rpm`, `concurrent`): `part` of `whole`, for
    /// instance its weight among the weights of all active nodes. Shares are rounded up and at least 1 of a limit that
    /// is not 0, so that a small limit shuts nobody out on any node: all nodes together may admit one request more than
    /// the limit for each node but one.
    pub fn set_node_share(&self, part: u32, whole: u32) {
        self.inner.share.set(part, whole);
    }

    /// This node's share as it was set; `None` for the whole.
    #[must_use]
    pub fn node_share(&self) -> Option<(u32, u32)> {
        self.inner.share.get()
    }

    /// Forgets subjects that were removed: all but those that `exists` knows.
    pub fn retain(&self, exists: impl Fn(SubjectId) -> bool) {
        let held: Vec<SubjectId> = self.inner.counters.read().keys().copied().collect();
        let gone: Vec<SubjectId> = held.into_iter().filter(|subject| !exists(*subject)).collect();
        if gone.is_empty() {
            return;
        }
        let mut counters = self.inner.counters.write();
        for subject in &gone {
            counters.remove(subject);
        }
    }

    /// The users and groups that are counted.
    #[must_use]
    pub fn counted(&self) -> Vec<SubjectId> {
        self.inner.counters.read().keys().copied().collect()
    }

    /// How many users and groups are counted.
    #[must_use]
    pub fn subjects(&self) -> usize {
        self.inner.counters.read().len()
    }

    /// What a subject has used, here and elsewhere, in the windows around `now`.
    #[must_use]
    pub fn used(&self, subject: SubjectId, now: Timestamp) -> Used {
        self.existing(subject).map_or_else(Used::default, |counters| counters.lock().used(now))
    }

    /// What `allowance` leaves to a subject now.
    #[must_use]
    pub fn status(&self, subject: SubjectId, allowance: &Allowance, now: Moment) -> Status {
        let (used, requests, in_flight) = self.existing(subject).map_or_else(Default::default, |counters| {
            let mut counters = counters.lock();
            (counters.used(now.at), counters.requests_in_window(now.steady), counters.in_flight())
        });
        Status::new(allowance.limits(), used, requests, in_flight, now.at)
    }

    /// Adds the limits' metrics.
    pub fn register_metrics(&self, registry: &mut Registry) {
        registry.register(
            "sproxy_limit_refusals",
            "Calls refused by a limit of their user or group",
            self.inner.refused.0.clone(),
        );
        registry.register_collector(Box::new(self.clone()));
    }

    fn existing(&self, subject: SubjectId) -> Option<SharedCounters> {
        self.inner.counters.read().get(&subject).cloned()
    }

    fn counters(&self, subject: SubjectId) -> SharedCounters {
        self.existing(subject)
            .unwrap_or_else(|| self.inner.counters.write().entry(subject).or_default().clone())
    }
}

impl RefusalCounters {
    fn count(&self, limit: LimitKind) {
        self.0.inc(limit as usize);
    }
}

impl Default for RefusalCounters {
    fn default() -> Self {
        Self(CounterArray::new(LimitKind::ALL.map(|limit| [("limit", limit.as_str())])))
    }
}

impl Collector for Quota {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Users and groups whose use is counted.";
        scrape::gauge(&mut to, "sproxy_limit_subjects", help, self.subjects())
    }
}

impl Admission {
    /// Counts what the call used, at `at`, which is now.
    pub fn settle(&self, tokens: u64, nanousd: i64, at: Timestamp) {
        self.user.1.lock().record(tokens, nanousd, at);
        if let Some((_, group)) = &self.group {
            group.lock().record(tokens, nanousd, at);
        }
        let mut changed = self.quota.inner.changed.lock();
        changed.insert(SubjectId::User(self.user.0));
        changed.extend(self.group.as_ref().map(|(id, _)| SubjectId::Group(*id)));
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.user.1.lock().end();
        if let Some((_, group)) = &self.group {
            group.lock().end();
        }
    }
}

/// Checks what needs no counter.
fn check_request(
    subject: &dyn Fn() -> Subject,
    allowance: &Allowance,
    request: &QuotaRequest<'_>,
) -> Result<(), Refusal> {
    let refuse = |limit: LimitKind, message: &dyn Fn(&Subject) -> String| {
        let subject = subject();
        let message = message(&subject);
        Err(Refusal { subject, limit, message, resets_at: None, retry_after: Duration::ZERO })
    };
    let limits = allowance.limits();
    if limits.models.is_some() && request.model_is_ambiguous {
        return refuse(LimitKind::Model, &|subject| {
            format!(
                "the models limit of {subject} cannot be checked: name one model, in JSON sent with `content-type: \
                 application/json`"
            )
        });
    }
    if !request.model.is_empty() && !allowance.permits_model(request.model) {
        return refuse(LimitKind::Model, &|subject| {
            format!("the models limit of {subject} does not include `{}`", Quoted(request.model))
        });
    }
    if limits.max_tokens.is_some() && request.max_tokens_is_ambiguous {
        return refuse(LimitKind::MaxTokens, &|subject| {
            format!(
                "max_tokens limit of {subject} cannot be checked: say it as one whole number, in JSON sent with \
                 `content-type: application/json`"
            )
        });
    }
    if let (Some(most), Some(asked)) = (limits.max_tokens, request.max_tokens)
        && asked > most
    {
        return refuse(LimitKind::MaxTokens, &|subject| {
            format!("max_tokens limit of {subject} exceeded: asked for {asked} of at most {most}")
        });
    }
    if request.is_open_ended && limits.counts_use() {
        return refuse(LimitKind::MaxTokens, &|subject| {
            format!(
                "work in the background counts against the quotas of {subject} with the most that it may use: set \
                 max_output_tokens"
            )
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
