//! The counters of one user or group.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::domain::clock::{JITTER, Moment, Timestamp};
use crate::domain::group::Limits;
use crate::domain::quota::{LimitKind, Refusal, Subject, Used, check_windows};
use crate::quota::window::SlidingWindow;

/// The use of one subject: sums, rate and calls in flight.
#[derive(Debug, Default)]
pub(super) struct Counters {
    local: CalendarUsage,
    remote: CalendarUsage,
    window: SlidingWindow,
    in_flight: u32,
}

/// Which of the counted limits to check; in this order, for user and group, before anything is taken.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    /// Tokens and money of the day and the month.
    Windows,
    /// Requests per minute.
    Rate,
    /// Requests in flight.
    Concurrency,
}

/// Sums of the current UTC day and month. The bounds of both are kept, so that the calendar is asked once a day.
#[derive(Clone, Copy, Debug, Default)]
struct PeriodUsage {
    used: Used,
    day_start: Timestamp,
    day_end: Timestamp,
    month_start: Timestamp,
    month_end: Timestamp,
}

impl PeriodUsage {
    fn around(used: Used, as_of: Timestamp) -> Self {
        Self {
            used,
            day_start: as_of.day_start(),
            day_end: as_of.next_day_start(),
            month_start: as_of.month_start(),
            month_end: as_of.next_month_start(),
        }
    }

    fn contains(&self, now: Timestamp) -> bool {
        (self.day_start..self.day_end).contains(&now)
    }
}

/// The current windows, and those before them, in case the clock was ahead when they were rolled over.
#[derive(Clone, Copy, Debug, Default)]
struct CalendarUsage {
    current: PeriodUsage,
    previous: PeriodUsage,
}

impl CalendarUsage {
    fn set(&mut self, used: Used, as_of: Timestamp) {
        self.current = PeriodUsage::around(used, as_of);
    }

    /// Resets windows that have ended, and reverts those that have not begun yet.
    fn roll_over(&mut self, now: Timestamp) {
        if now >= self.current.day_end {
            let used = self.current.used;
            let used =
                if now < self.current.month_end { Used { daily_tokens: 0, ..used } } else { Used::default() };
            *self = Self { current: PeriodUsage::around(used, now), previous: self.current };
        } else if now.plus(JITTER) < self.current.day_start {
            self.roll_back(now);
        }
    }

    /// The clock was ahead and a day has begun that is still to come. What was used in it counts today, beside what was
    /// used today before; where that is not known any more it is the least that was used, until the ledger says more
    /// ([`Counters::restore`]).
    #[cold]
    fn roll_back(&mut self, now: Timestamp) {
        let (ahead, before) = (self.current, self.previous);
        let mut used = ahead.used;
        if before.contains(now) {
            used.daily_tokens = used.daily_tokens.saturating_add(before.used.daily_tokens);
            if before.month_start != ahead.month_start {
                used.monthly_tokens = used.monthly_tokens.saturating_add(before.used.monthly_tokens);
                used.monthly_nanousd = used.monthly_nanousd.saturating_add(before.used.monthly_nanousd);
            }
        }
        *self = Self { current: PeriodUsage::around(used, now), previous: PeriodUsage::default() };
    }
}

impl Counters {
    /// Checks one rule; takes nothing.
    pub(super) fn check(
        &mut self,
        rule: Rule,
        subject: &dyn Fn() -> Subject,
        limits: &Limits,
        share: &NodeShare,
        now: Moment,
    ) -> Result<(), Refusal> {
        match rule {
            Rule::Windows => self.check_sums(subject, limits, now.at),
            Rule::Rate => self.check_rate(subject, limits, share, now),
            Rule::Concurrency => self.check_concurrency(subject, limits, share),
        }
    }

    fn check_sums(
        &mut self,
        subject: &dyn Fn() -> Subject,
        limits: &Limits,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        if !limits.counts_use() {
            return Ok(());
        }
        check_windows(&subject(), limits, &self.used(now), now)
    }

    fn check_rate(
        &mut self,
        subject: &dyn Fn() -> Subject,
        limits: &Limits,
        share: &NodeShare,
        now: Moment,
    ) -> Result<(), Refusal> {
        let Some(limit) = limits.rpm else { return Ok(()) };
        let here = share.of(limit);
        let count = self.window.count(now.steady);
        if count < here {
            return Ok(());
        }
        let free_in = self.window.free_in(here, now.steady).max(Duration::from_millis(1));
        let free_at = now.at.plus(free_in);
        let subject = subject();
        Err(Refusal {
            message: format!(
                "request rate limit of {subject} reached: {count} requests in the last minute of {} per minute, \
                 next possible at {free_at}",
                of_the_cluster(here, limit)
            ),
            subject,
            limit: LimitKind::Rpm,
            resets_at: Some(free_at),
            retry_after: free_in,
        })
    }

    fn check_concurrency(
        &self,
        subject: &dyn Fn() -> Subject,
        limits: &Limits,
        share: &NodeShare,
    ) -> Result<(), Refusal> {
        let Some(limit) = limits.concurrent else { return Ok(()) };
        let here = share.of(limit);
        if self.in_flight < here {
            return Ok(());
        }
        let subject = subject();
        Err(Refusal {
            message: format!(
                "concurrency limit of {subject} reached: {} requests in flight of {}, free when one of them ends",
                self.in_flight,
                of_the_cluster(here, limit)
            ),
            subject,
            limit: LimitKind::Concurrent,
            resets_at: None,
            retry_after: Duration::from_secs(1),
        })
    }

    /// Takes one request. Requests are kept by the minute only for those who are held to such a limit.
    pub(super) fn begin(&mut self, limits: &Limits, now: Instant) {
        self.in_flight += 1;
        if limits.rpm.is_some() {
            self.window.add(now);
        }
    }

    pub(super) fn end(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Adds what was used at `at`, which is now; what lies a moment before a window is not of it.
    pub(super) fn record(&mut self, tokens: u64, nanousd: i64, at: Timestamp) {
        self.local.roll_over(at);
        let here = &mut self.local.current;
        if at >= here.month_start {
            let used = &mut here.used;
            used.monthly_tokens = used.monthly_tokens.saturating_add(tokens);
            used.monthly_nanousd = used.monthly_nanousd.saturating_add(nanousd);
        }
        if at >= here.day_start {
            here.used.daily_tokens = here.used.daily_tokens.saturating_add(tokens);
        }
    }

    /// Raises what was used in the windows around `as_of` to at least `used`: what is recorded and not committed yet is
    /// only known here.
    pub(super) fn restore(&mut self, used: Used, as_of: Timestamp) {
        self.local.roll_over(as_of);
        let known = &mut self.local.current.used;
        known.daily_tokens = known.daily_tokens.max(used.daily_tokens);
        known.monthly_tokens = known.monthly_tokens.max(used.monthly_tokens);
        known.monthly_nanousd = known.monthly_nanousd.max(used.monthly_nanousd);
    }

    pub(super) fn set_remote(&mut self, used: Used, as_of: Timestamp) {
        self.remote.set(used, as_of);
    }

    /// Used on all nodes.
    pub(super) fn used(&mut self, now: Timestamp) -> Used {
        self.local.roll_over(now);
        self.remote.roll_over(now);
        let (here, elsewhere) = (&self.local.current.used, &self.remote.current.used);
        Used {
            daily_tokens: here.daily_tokens.saturating_add(elsewhere.daily_tokens),
            monthly_tokens: here.monthly_tokens.saturating_add(elsewhere.monthly_tokens),
            monthly_nanousd: here.monthly_nanousd.saturating_add(elsewhere.monthly_nanousd),
        }
    }

    /// Used on this node alone.
    pub(super) fn used_locally(&mut self, now: Timestamp) -> Used {
        self.local.roll_over(now);
        self.local.current.used
    }

    pub(super) fn requests_in_window(&mut self, now: Instant) -> u32 {
        self.window.count(now)
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight
    }
}

fn of_the_cluster(here: u32, limit: u32) -> String {
    if here == limit { limit.to_string() } else { format!("{here} (this node's share of {limit})") }
}

/// A node's share of limits that count moments: both halves in one atomic, `part << 32 | whole`; 0 is the whole.
#[derive(Debug, Default)]
pub(super) struct NodeShare(AtomicU64);

impl NodeShare {
    pub(super) fn set(&self, part: u32, whole: u32) {
        let packed = if part >= whole { 0 } else { u64::from(part) << 32 | u64::from(whole) };
        self.0.store(packed, Ordering::Relaxed);
    }

    /// `(part, whole)`; `None` for everything.
    pub(super) fn get(&self) -> Option<(u32, u32)> {
        let packed = self.0.load(Ordering::Relaxed);
        let half = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        (packed != 0).then(|| (half(packed >> 32), half(packed)))
    }

    /// This node's share of `limit`, rounded up and at least 1, so that nobody is shut out by being small.
    fn of(&self, limit: u32) -> u32 {
        let Some((part, whole)) = self.get() else { return limit };
        let share = (u64::from(limit) * u64::from(part)).div_ceil(u64::from(whole)).max(1);
        u32::try_from(share).unwrap_or(limit).min(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_without_weight_has_the_smallest_share_unless_it_is_alone() {
        let share = NodeShare::default();
        let of = |part, whole| {
            share.set(part, whole);
            [0, 1, 30].map(|limit| share.of(limit))
        };
        assert_eq!(of(50, 150), [0, 1, 10]);
        assert_eq!(of(0, 150), [0, 1, 1]);
        assert_eq!(of(0, 0), [0, 1, 30]);
    }
}
