//! A connection that leaves HTTP: whoever goes on with it keeps its place, and hears of it when the node leaves.

use std::fmt;
use std::sync::Arc;

use hyper::upgrade::{OnUpgrade, Upgraded};
use tokio_util::sync::CancellationToken;

use super::connection::Connection;

/// What a request that wants another protocol brings along, in its extensions. It comes to something once it is answered
/// with 101; dropped, the connection goes on with HTTP.
#[derive(Clone)]
pub struct Upgrade {
    io: OnUpgrade,
    connection: Arc<Connection>,
    leaving: CancellationToken,
    give_up: CancellationToken,
}

/// A connection on which HTTP is over. Its place is taken until this is dropped.
pub struct UpgradedConnection {
    io: Upgraded,
    leaving: CancellationToken,
    place: Place,
}

/// The place of a connection among all that there may be; taken until this is dropped.
pub struct Place(#[allow(dead_code, reason = "held for its drop")] Arc<Connection>);

impl UpgradedConnection {
    /// The bytes; what is cancelled when the node leaves: what is under way may be finished then, and nothing more is
    /// begun; and the connection's place.
    #[must_use]
    pub fn into_parts(self) -> (Upgraded, CancellationToken, Place) {
        (self.io, self.leaving, self.place)
    }
}

impl fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Upgrade")
    }
}

impl Upgrade {
    pub(super) fn new(
        io: OnUpgrade,
        connection: Arc<Connection>,
        leaving: CancellationToken,
        give_up: CancellationToken,
    ) -> Self {
        Self { io, connection, leaving, give_up }
    }

    /// Goes on with the connection by `work`, once the answer that says so is out. The node waits for it when it leaves,
    /// as long as it waits for answers.
    pub fn spawn<W, F>(self, work: W)
    where
        W: FnOnce(UpgradedConnection) -> F + Send + 'static,
        F: Future<Output = ()> + Send,
    {
        let Self { io, connection, leaving, give_up } = self;
        connection.tasks.clone().spawn(async move {
            let work = async move {
                match io.await {
                    Ok(io) => work(UpgradedConnection { io, leaving, place: Place(connection) }).await,
                    Err(error) => tracing::debug!(%error, "a connection did not leave HTTP"),
                }
            };
            let _ = give_up.run_until_cancelled(work).await;
        });
    }
}
