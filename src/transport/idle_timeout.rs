//! The limit on how long the other side may say nothing.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// A reusable time limit. The timer is armed when a wait begins, and then moved at most once per
/// limit: arming it anew for every call or chunk would cost more than passing the chunk on.
pub(super) struct IdleTimeout {
    limit: Duration,
    since: Instant,
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl IdleTimeout {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, since: Instant::now(), timer: None, waiting: false }
    }

    pub(super) fn limit(&self) -> Duration {
        self.limit
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
            let deadline = self.since + self.limit;
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
            ready!(timer.as_mut().poll(cx));
            if deadline <= Instant::now() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }
}
