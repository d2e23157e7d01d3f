//! The limits on how long the other side may say nothing, and on how long it may take for all that it says.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// A reusable time limit. The timer is armed when a wait begins, and then moved at most once per
/// limit: arming it anew for every call or chunk would cost more than passing the chunk on.
pub(super) struct IdleTimeout {
    limit: Duration,
    /// When all has to be over, if it has to.
    end: Option<Instant>,
    since: Instant,
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl IdleTimeout {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, end: None, since: Instant::now(), timer: None, waiting: false }
    }

    /// All has to be over within `total` from now. Whoever never has to be waited for is not held to it: what comes that
    /// fast comes to an end.
    pub(super) fn over_within(mut self, total: Duration) -> Self {
        self.end = Instant::now().checked_add(total);
        self
    }

    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// Whether it is too late for anything.
    pub(super) fn is_past_end(&self) -> bool {
        self.end.is_some_and(|end| end <= Instant::now())
    }

    /// Ends the wait.
    pub(super) fn over(&mut self) {
        self.waiting = false;
    }

    /// Ready when the wait, which begins here if none was going on, has taken too long.
    pub(super) fn poll_exceeded(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.waiting {
            self.waiting = true;
            self.since = Instant::now();
        }
        loop {
            let idle = self.since + self.limit;
            let deadline = self.end.map_or(idle, |end| end.min(idle));
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
            ready!(timer.as_mut().poll(cx));
            if deadline <= Instant::now() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }
}
