//! When a node that owes usage pushes, and when it sends its next heartbeat.

use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use crate::cluster::follower::push::Session;
use crate::ledger::Ledger;

/// How long a push waits after the first new record, so that others go with it.
const COALESCE_FOR: Duration = Duration::from_millis(20);
/// Between two heartbeats, as long as no leader has said how often it wants one.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Waits for new records, at most for `interval`.
pub(in crate::cluster) async fn next_push(books: &Ledger, interval: Duration) {
    let new = async {
        books.nudged().await;
        sleep(COALESCE_FOR).await;
    };
    let _either = timeout(interval, new).await;
}

/// Waits until the leader of `session` wants to hear of this node again: at once after a registration, or with `news`.
pub(in crate::cluster) async fn next_heartbeat<S>(
    session: Option<Session>,
    sessions: &mut watch::Receiver<S>,
    news: &Notify,
) {
    let interval = session.map_or(HEARTBEAT, |session| session.heartbeat);
    tokio::select! {
        _ = timeout(interval, sessions.changed()) => {}
        () = news.notified() => {}
    }
}
