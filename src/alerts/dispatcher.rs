//! The task that sends: a lane for each receiver, and the outbox kept in order.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::alerts::deliver;
use crate::alerts::service::Alerts;

/// How often the outbox is put in order.
const TIDY_EVERY: Duration = Duration::from_secs(10);
/// How long a node that leaves waits for what it is sending; it is sent again otherwise.
const LAST_DELIVERIES: Duration = Duration::from_secs(3);

/// Sends what is in the outbox. Has to be run.
#[derive(Debug)]
pub struct Dispatcher(Alerts);

impl Dispatcher {
    #[must_use]
    pub fn of(alerts: &Alerts) -> Self {
        Self(alerts.clone())
    }

    /// Sends until it is asked to stop. When the receivers change, each lane ends what it is sending, and they begin anew.
    pub async fn run(self, stop: CancellationToken) {
        let alerts = self.0;
        alerts.outbox().release_own().await;
        let mut changes = alerts.changes();
        loop {
            let receivers = changes.borrow_and_update().receivers.clone();
            let ending = stop.child_token();
            let lanes = receivers.iter().map(|receiver| {
                let (outbox, receiver) = (alerts.shared_outbox(), receiver.clone());
                let state = alerts.lane(&receiver.name);
                deliver::run(outbox, receiver, state, ending.clone())
            });
            let mut lanes = pin!(join_all(lanes));
            let mut lanes_ended = receivers.is_empty();
            let mut tidy = interval(TIDY_EVERY);
            tidy.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let goes_on = loop {
                tokio::select! {
                    () = stop.cancelled() => break false,
                    there_are_others = changes.changed() => break there_are_others.is_ok(),
                    _ = &mut lanes, if !lanes_ended => lanes_ended = true,
                    _ = tidy.tick() => {
                        for receiver in &*receivers {
                            receiver.close_idle();
                        }
                        // In a database that hangs it must not hold up the lanes, which are polled here.
                        let tidying = pin!(alerts.outbox().tidy());
                        tokio::select! {
                            () = tidying => {}
                            _ = &mut lanes, if !lanes_ended => lanes_ended = true,
                            () = stop.cancelled() => break false,
                        }
                    }
                }
            };
            ending.cancel();
            if !lanes_ended {
                if goes_on {
                    lanes.await;
                } else {
                    let _what_is_not_ended_is_sent_again = timeout(LAST_DELIVERIES, lanes).await;
                }
            }
            if !goes_on {
                // Whoever asked this task to stop waits for its end; nobody else ends it.
                stop.cancelled().await;
                return;
            }
        }
    }
}
