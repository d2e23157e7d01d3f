//! What of a target is left alone for a while, and why: a key that is asked too often, a model that is overloaded. A
//! pure rule over what happened and when; time is monotonic.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::failure::{AttemptFailure, FailureReason, Scope};

/// The longest pause after failures in a row, where the provider does not say how long.
const BACKOFF_MAX: Duration = Duration::from_mins(1);
/// How long the one call that tries after a pause may take until another tries.
const HALF_OPEN_MAX: Duration = Duration::from_secs(10);
/// What was not heard of for so long after its pause is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(10);
/// Entries of one target. Callers choose models, so there may be many; of these the one that ends first makes room.
const ENTRIES_MAX: usize = 1_024;
/// A key that was refused stays so until the configuration changes.
const FOR_EVER: Duration = Duration::from_hours(100 * 365 * 24);

/// One thing that is left alone.
#[derive(Clone, Debug)]
struct Entry {
    /// `None`: with any key.
    key: Option<u64>,
    /// `None`: for any model.
    model: Option<Model>,
    reason: FailureReason,
    until: Instant,
    /// How often in a row it failed again after a pause.
    consecutive_failures: u32,
    /// The provider has said until when.
    has_retry_after: bool,
    /// A call tries it; others leave it alone until then.
    half_open_until: Option<Instant>,
}

/// A model, which may be whatever a caller has made up: its whole name is not kept.
#[derive(Clone, Debug)]
struct Model {
    hash: u64,
    /// For people.
    shown: Arc<str>,
}

/// Characters of a model's name that are shown.
const SHOWN_MAX: usize = 100;

impl Model {
    fn of(name: &str) -> Self {
        Self { hash: hash(name), shown: name.chars().take(SHOWN_MAX).collect::<String>().into() }
    }
}

fn hash(name: &str) -> u64 {
    foldhash::quality::FixedState::with_seed(0).hash_one(name)
}

impl Entry {
    fn covers(&self, key: u64, model: u64) -> bool {
        self.key.is_none_or(|own| own == key) && self.model.as_ref().is_none_or(|own| own.hash == model)
    }

    fn ready_at(&self) -> Instant {
        self.half_open_until.map_or(self.until, |attempt| attempt.max(self.until))
    }
}

/// Whether a key, or a target with it, may be used for a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Availability {
    /// It may.
    Ready,
    /// Its pause is over: one call may try it.
    HalfOpen,
    /// Not before then.
    Cooling {
        until: Instant,
        /// It is back by itself then, as far as anybody knows.
        is_transient: bool,
        /// The provider has said until when.
        has_retry_after: bool,
        /// Its pause is over, and another call tries it.
        is_half_open: bool,
    },
}

/// What of a target cools down.
#[derive(Debug, Default)]
pub(super) struct Cooldowns {
    /// Read on the way of every call instead of taking the lock.
    any: AtomicBool,
    entries: Mutex<Vec<Entry>>,
}

/// What cools down now, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cooling {
    pub(super) key: Option<u64>,
    pub(super) model: Option<Arc<str>>,
    pub(super) reason: FailureReason,
    /// `None`: until the configuration changes.
    pub(super) left: Option<Duration>,
}

impl Cooldowns {
    pub(super) fn availability(&self, key: u64, model: &str, now: Instant) -> Availability {
        if !self.any.load(Ordering::Relaxed) {
            return Availability::Ready;
        }
        let model = hash(model);
        let entries = self.entries.lock();
        let covering = || entries.iter().filter(|entry| entry.covers(key, model));
        let Some(last) = covering().max_by_key(|entry| entry.ready_at()) else { return Availability::Ready };
        let until = last.ready_at();
        if until <= now {
            return Availability::HalfOpen;
        }
        let is_transient =
            covering().filter(|entry| entry.ready_at() > now).all(|entry| entry.reason.is_transient());
        let is_half_open = last.until <= now;
        Availability::Cooling { until, is_transient, has_retry_after: last.has_retry_after, is_half_open }
    }

    /// Lets one call try what has paused for long enough; false if another does.
    pub(super) fn begin_half_open(&self, key: u64, model: &str, now: Instant) -> bool {
        let model = hash(model);
        let mut entries = self.entries.lock();
        let mut covering: Vec<_> = entries.iter_mut().filter(|entry| entry.covers(key, model)).collect();
        let is_due = covering.iter().all(|entry| entry.ready_at() <= now);
        if is_due {
            for entry in &mut covering {
                entry.half_open_until = Some(now + HALF_OPEN_MAX);
            }
        }
        is_due
    }

    /// Gives back a half-open attempt of which nothing came.
    pub(super) fn end_half_open(&self, key: u64, model: &str) {
        let model = hash(model);
        for entry in self.entries.lock().iter_mut().filter(|entry| entry.covers(key, model)) {
            entry.half_open_until = None;
        }
    }

    /// An attempt failed. Failures while a pause lasts are of the same storm: they may make it longer, but say nothing
    /// about what comes after it. `random` decides the jitter.
    pub(super) fn failed(
        &self,
        scope: Scope,
        (key, model): (u64, &str),
        failure: AttemptFailure,
        now: Instant,
        random: u64,
    ) {
        let (key, model) = match scope {
            Scope::None => return,
            Scope::KeyAndModel => (Some(key), Some(model)),
            Scope::Model => (None, Some(model)),
            Scope::Key => (Some(key), None),
        };
        let mut entries = self.entries.lock();
        let at = entries.iter().position(|entry| {
            let for_model = entry.model.as_ref().map(|own| own.hash) == model.map(hash);
            entry.key == key && for_model && entry.reason == failure.reason
        });
        let consecutive_failures = match at.and_then(|at| entries.get(at)) {
            None => 1,
            Some(entry) if now < entry.until => entry.consecutive_failures,
            Some(entry) => entry.consecutive_failures.saturating_add(1),
        };
        let backoff = backoff(failure.reason, consecutive_failures, random);
        // Of a provider that says `0` again and again only the first is believed.
        let pause = match failure.retry_after {
            Some(told) if consecutive_failures > 1 => told.max(backoff),
            Some(told) => told,
            None => backoff,
        };
        let until = now + pause;
        if let Some(entry) = at.and_then(|at| entries.get_mut(at)) {
            if until > entry.until {
                (entry.until, entry.has_retry_after) = (until, failure.retry_after.is_some());
            }
            entry.consecutive_failures = consecutive_failures;
            entry.half_open_until = None;
        } else {
            make_room(&mut entries, now);
            let model = model.map(Model::of);
            let reason = failure.reason;
            let has_retry_after = failure.retry_after.is_some();
            entries.push(Entry {
                key,
                model,
                reason,
                until,
                consecutive_failures,
                has_retry_after,
                half_open_until: None,
            });
        }
        self.any.store(true, Ordering::Relaxed);
    }

    /// An attempt was answered. It may have begun before a pause that lasts: that is not ended by it.
    pub(super) fn answered(&self, key: u64, model: &str, now: Instant) {
        if self.any.load(Ordering::Relaxed) {
            let model = hash(model);
            let is_over = |entry: &Entry| entry.until <= now || entry.reason == FailureReason::KeyRefused;
            self.retain(|entry| !(entry.covers(key, model) && is_over(entry)));
        }
    }

    /// Forgets what was long over.
    pub(super) fn purge(&self, now: Instant) {
        if self.any.load(Ordering::Relaxed) {
            self.retain(|entry| entry.until + FORGOTTEN_AFTER > now);
        }
    }

    /// Keys that are refused until the configuration changes.
    pub(super) fn refused_keys(&self) -> Vec<u64> {
        if !self.any.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let entries = self.entries.lock();
        let refused = entries.iter().filter(|entry| entry.reason == FailureReason::KeyRefused);
        refused.filter_map(|entry| entry.key).collect()
    }

    /// A key was refused for what it is, not for what a call says.
    pub(super) fn key_is_refused(&self, key: u64, now: Instant) {
        let until = now + FOR_EVER;
        let mut entries = self.entries.lock();
        make_room(&mut entries, now);
        let (reason, key) = (FailureReason::KeyRefused, Some(key));
        entries.push(Entry {
            key,
            model: None,
            reason,
            until,
            consecutive_failures: 1,
            has_retry_after: false,
            half_open_until: None,
        });
        self.any.store(true, Ordering::Relaxed);
    }

    /// The configuration has changed: keys that were refused may be right now.
    pub(super) fn forget_refused_keys(&self) {
        self.retain(|entry| entry.reason != FailureReason::KeyRefused);
    }

    /// What cools down now.
    pub(super) fn cooling(&self, now: Instant) -> Vec<Cooling> {
        if !self.any.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let entries = self.entries.lock();
        let active = entries.iter().filter(|entry| entry.ready_at() > now);
        active
            .map(|entry| {
                let left = entry.ready_at().saturating_duration_since(now);
                Cooling {
                    key: entry.key,
                    model: entry.model.as_ref().map(|model| Arc::clone(&model.shown)),
                    reason: entry.reason,
                    left: Some(left).filter(|left| *left < FOR_EVER / 2),
                }
            })
            .collect()
    }

    fn retain(&self, keep: impl Fn(&Entry) -> bool) {
        let mut entries = self.entries.lock();
        entries.retain(keep);
        self.any.store(!entries.is_empty(), Ordering::Relaxed);
    }
}

fn make_room(entries: &mut Vec<Entry>, now: Instant) {
    entries.retain(|entry| entry.until + FORGOTTEN_AFTER > now);
    if entries.len() < ENTRIES_MAX {
        return;
    }
    // A key that was refused is not forgotten for the sake of models that callers made up.
    let for_model = entries.iter().enumerate().filter(|(_, entry)| entry.model.is_some());
    let is_wanted = |entry: &Entry| (entry.reason != FailureReason::ModelNotFound, entry.until);
    if let Some((at, _)) = for_model.min_by_key(|(_, entry)| is_wanted(entry)) {
        entries.swap_remove(at);
    }
}

/// Twice as long after each failure in a row, with up to half of it taken off, so that nodes that failed together do
/// not come back together.
fn backoff(reason: FailureReason, consecutive_failures: u32, random: u64) -> Duration {
    let doublings = if reason.backs_off() { consecutive_failures.saturating_sub(1).min(16) } else { 0 };
    let doubled = reason.base_backoff().saturating_mul(1 << doublings);
    let longest = doubled.min(BACKOFF_MAX);
    let part = u32::try_from(random % 1_000).unwrap_or(0);
    longest.saturating_sub(longest / 2 * part / 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(
        cooldowns: &Cooldowns,
        key: u64,
        model: &str,
        failure: AttemptFailure,
        now: Instant,
        random: u64,
    ) {
        cooldowns.failed(failure.reason.scope(), (key, model), failure, now, random);
    }

    const A: u64 = 1;
    const B: u64 = 2;

    fn at(start: Instant, seconds: f64) -> Instant {
        start + Duration::from_secs_f64(seconds)
    }

    fn fails(reason: FailureReason, retry_after: Option<u64>) -> AttemptFailure {
        AttemptFailure { reason, retry_after: retry_after.map(Duration::from_secs) }
    }

    fn cools(cooldowns: &Cooldowns, key: u64, model: &str, now: Instant) -> bool {
        until(cooldowns, key, model, now).is_some()
    }

    fn until(cooldowns: &Cooldowns, key: u64, model: &str, now: Instant) -> Option<Instant> {
        match cooldowns.availability(key, model, now) {
            Availability::Cooling { until, .. } => Some(until),
            Availability::Ready | Availability::HalfOpen => None,
        }
    }

    #[test]
    fn what_fails_decides_what_is_left_alone() {
        let now = Instant::now();
        // reason; cools: same key and model, other key, other model
        let cases = [
            (FailureReason::RateLimited, [true, false, false]),
            (FailureReason::Overloaded, [true, true, false]),
            (FailureReason::ErrorEvent, [true, true, false]),
            (FailureReason::ModelNotFound, [true, true, false]),
            (FailureReason::KeyRefused, [false, false, false]),
            (FailureReason::OutOfCredit, [true, false, true]),
            (FailureReason::Connect, [false, false, false]),
            (FailureReason::ServerError, [false, false, false]),
            (FailureReason::Timeout, [false, false, false]),
        ];
        for (reason, expected) in cases {
            let cooldowns = Cooldowns::default();
            note(&cooldowns, A, "m", reason.into(), now, 0);
            let found = [(A, "m"), (B, "m"), (A, "n")].map(|(key, model)| cools(&cooldowns, key, model, now));
            assert_eq!(found, expected, "{reason:?}");
        }
    }

    #[test]
    fn the_later_deadline_wins_and_an_answer_of_before_does_not_end_a_pause() {
        let (start, cooldowns) = (Instant::now(), Cooldowns::default());
        note(&cooldowns, A, "m", fails(FailureReason::RateLimited, Some(30)), start, 0);
        note(&cooldowns, A, "m", fails(FailureReason::RateLimited, Some(5)), start, 0);
        cooldowns.answered(A, "m", at(start, 1.0));
        assert_eq!(until(&cooldowns, A, "m", at(start, 29.0)), Some(at(start, 30.0)));
        note(&cooldowns, A, "m", fails(FailureReason::RateLimited, Some(60)), at(start, 2.0), 0);
        assert_eq!(until(&cooldowns, A, "m", at(start, 30.0)), Some(at(start, 62.0)));
    }

    #[test]
    fn after_a_pause_one_call_tries_and_its_answer_opens_it_for_all() {
        let (start, cooldowns) = (Instant::now(), Cooldowns::default());
        note(&cooldowns, A, "m", fails(FailureReason::RateLimited, Some(3)), start, 0);
        let later = at(start, 3.0);
        assert_eq!(cooldowns.availability(A, "m", later), Availability::HalfOpen);
        assert!(cooldowns.begin_half_open(A, "m", later));
        assert!(!cooldowns.begin_half_open(A, "m", later), "one is enough");
        assert!(cools(&cooldowns, A, "m", later));
        cooldowns.answered(A, "m", at(start, 4.0));
        assert_eq!(cooldowns.availability(A, "m", at(start, 4.0)), Availability::Ready);
        assert!(cooldowns.cooling(at(start, 4.0)).is_empty());

        note(&cooldowns, A, "m", fails(FailureReason::RateLimited, Some(3)), start, 0);
        assert!(cooldowns.begin_half_open(A, "m", later));
        assert!(
            cooldowns.begin_half_open(A, "m", later + HALF_OPEN_MAX),
            "the first was never heard of: another may"
        );
    }

    #[test]
    fn pauses_double_up_to_a_minute_and_a_storm_counts_once() {
        let (start, cooldowns) = (Instant::now(), Cooldowns::default());
        let mut now = start;
        let mut pauses = Vec::new();
        for _ in 0..9 {
            for _ in 0..50 {
                note(&cooldowns, A, "m", FailureReason::Overloaded.into(), now, 0);
            }
            let until = until(&cooldowns, A, "m", now).expect("a pause");
            pauses.push((until - now).as_secs());
            now = until;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        for random in [0, 1, 499, 500, 999, u64::MAX] {
            let jittered = backoff(FailureReason::Overloaded, 4, random);
            assert!(jittered >= Duration::from_secs(4) && jittered <= Duration::from_secs(8), "{jittered:?}");
        }
    }

    #[test]
    fn a_refused_key_waits_for_another_configuration_or_an_answer() {
        let (start, cooldowns) = (Instant::now(), Cooldowns::default());
        note(&cooldowns, A, "m", FailureReason::KeyRefused.into(), start, 0);
        assert_eq!(cooldowns.availability(A, "m", start), Availability::Ready, "it may be the call");
        cooldowns.key_is_refused(A, start);
        assert_eq!(cooldowns.refused_keys(), [A]);
        let next_year = start + Duration::from_hours(365 * 24);
        assert!(cools(&cooldowns, A, "n", next_year) && !cools(&cooldowns, B, "n", start));
        assert_eq!(cooldowns.cooling(start)[0].left, None);
        cooldowns.forget_refused_keys();
        assert_eq!(cooldowns.availability(A, "n", start), Availability::Ready);
        cooldowns.key_is_refused(A, start);
        cooldowns.answered(A, "m", start);
        assert_eq!(cooldowns.availability(A, "n", start), Availability::Ready, "it is good for something");
    }

    #[test]
    fn a_half_open_attempt_of_which_nothing_came_is_given_back() {
        let (start, cooldowns) = (Instant::now(), Cooldowns::default());
        note(&cooldowns, A, "m", fails(FailureReason::RateLimited, Some(3)), start, 0);
        let later = at(start, 3.0);
        assert!(cooldowns.begin_half_open(A, "m", later));
        cooldowns.end_half_open(A, "m");
        assert_eq!(cooldowns.availability(A, "m", later), Availability::HalfOpen);
    }

    #[test]
    fn models_that_callers_make_up_cost_a_fixed_amount_and_push_no_key_out() {
        let (start, cooldowns) = (Instant::now(), Cooldowns::default());
        note(&cooldowns, A, "m", FailureReason::OutOfCredit.into(), start, 0);
        for n in 0..3 * ENTRIES_MAX {
            note(&cooldowns, B, &n.to_string(), FailureReason::ModelNotFound.into(), start, 0);
        }
        assert!(cooldowns.entries.lock().len() <= ENTRIES_MAX);
        assert!(cools(&cooldowns, A, "m", start));
        let later = start + FORGOTTEN_AFTER + BACKOFF_MAX * 2;
        note(&cooldowns, B, "m", FailureReason::Overloaded.into(), later, 0);
        assert_eq!(cooldowns.entries.lock().len(), 1, "what is long over is forgotten");
    }
}
