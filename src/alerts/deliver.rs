//! The lane of one receiver: one row after the other is sent to it, and after a failure nothing for a while.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::alerts::metrics::Outcome;
use crate::alerts::outbox::{Outbox, Place};
use crate::alerts::receiver::{Attempt, Message, Receiver};
use crate::domain::clock::Timestamp;
use crate::store::{AlertEnd, AlertRow};

/// The first pause after a failure; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_mins(15);
/// Tries of an event that the receiver refuses.
const REFUSALS_MAX: u32 = 3;
/// A process that was not heard of for so long beyond a try does not end it any more.
const CLAIM_MARGIN: Duration = Duration::from_secs(15);
/// How often a lane looks for what another process left.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What a lane knows of its receiver. It outlives a change of the configuration.
#[derive(Debug, Default)]
pub(super) struct LaneState(Mutex<Health>);

/// How a receiver does.
#[derive(Clone, Debug, Default)]
pub(super) struct Health {
    /// Failures in a row.
    pub(super) failures: u32,
    pub(super) last_error: Option<String>,
    pub(super) last_error_at: Option<Timestamp>,
    /// Nothing is sent until then.
    paused_until: Option<Instant>,
    /// The same by the calendar.
    pub(super) next_try_at: Option<Timestamp>,
}

impl LaneState {
    pub(super) fn health(&self) -> Health {
        self.0.lock().clone()
    }

    /// The receiver answered: what waits may be sent at once.
    pub(super) fn answered(&self) {
        *self.0.lock() = Health::default();
    }

    /// It did not; how long nothing is sent to it.
    fn failed(&self, attempt: &Attempt, now: Timestamp) -> Duration {
        let mut health = self.0.lock();
        health.failures = health.failures.saturating_add(1);
        health.last_error.clone_from(&attempt.error);
        health.last_error_at = Some(now);
        let pause = pause(health.failures).max(attempt.retry_after.unwrap_or_default());
        health.paused_until = Some(Instant::now() + pause);
        health.next_try_at = Some(now.plus(pause));
        pause
    }

    fn paused_until(&self) -> Option<Instant> {
        self.0.lock().paused_until.filter(|until| *until > Instant::now())
    }
}

/// Sends what waits for `receiver`, until `ending`; what is being sent then is ended first.
pub(super) async fn run(
    outbox: Arc<Outbox>,
    receiver: Arc<Receiver>,
    state: Arc<LaneState>,
    ending: CancellationToken,
) {
    let mut news = outbox.news();
    while !ending.is_cancelled() {
        if let Some(until) = state.paused_until() {
            // Also a receiver that is known to be up again ends a pause.
            tokio::select! {
                () = sleep_until(until) => {}
                changed = news.changed() => if changed.is_err() { return },
                () = ending.cancelled() => return,
            }
            continue;
        }
        news.mark_unchanged();
        let now = outbox.now();
        match outbox.claim(&receiver.name, now.plus(receiver.timeout() + CLAIM_MARGIN)).await {
            Some((place, row)) => deliver(&outbox, &receiver, &state, place, row).await,
            None => {
                tokio::select! {
                    () = sleep_until(Instant::now() + LOOK_EVERY) => {}
                    changed = news.changed() => if changed.is_err() { return },
                    () = ending.cancelled() => return,
                }
            }
        }
    }
}

async fn deliver(outbox: &Outbox, receiver: &Receiver, state: &LaneState, place: Place, mut row: AlertRow) {
    let message = Message { kind: &row.kind, id: row.event.to_string(), stored: &row.body };
    let attempt = receiver.send(&message, outbox.now()).await;
    let now = outbox.now();
    row.status = attempt.status;
    row.error.clone_from(&attempt.error);
    let outcome = match &attempt.error {
        None => {
            state.answered();
            Outcome::Delivered
        }
        Some(error) => {
            let pause = state.failed(&attempt, now);
            row.next_try = now.plus(pause);
            let is_final = attempt.is_refused && row.attempts >= REFUSALS_MAX;
            let (receiver, event, attempts) = (&receiver.name, &row.kind, row.attempts);
            if is_final {
                tracing::warn!(receiver, event, attempts, %error, "an alert is refused by its receiver, and given up");
                Outcome::GivenUp
            } else {
                tracing::warn!(receiver, event, attempts, %error, next_try = ?pause, "an alert could not be delivered");
                Outcome::Failed
            }
        }
    };
    if outcome != Outcome::Failed {
        row.ended = Some(AlertEnd { at: now, outcome: outcome.as_str().to_owned() });
    }
    outbox.settle(place, &row).await;
    outbox.metrics.ended(outcome);
    outbox.count_waiting().await;
}

/// Up to half of it is left out, so that those that failed together do not come back together.
fn pause(failures: u32) -> Duration {
    let whole = PAUSE_MIN.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(PAUSE_MAX);
    let [random, ..] = *Uuid::new_v4().as_bytes();
    whole.mul_f64(1.0 - f64::from(random) / 512.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_are_never_shorter_than_half() {
        for (failures, whole) in [(1, 1), (2, 2), (5, 16), (11, 900), (1_000, 900)] {
            let pause = pause(failures);
            let whole = Duration::from_secs(whole);
            assert!(pause <= whole && pause >= whole / 2, "{failures}: {pause:?}");
        }
    }
}
