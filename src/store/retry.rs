//! What the database rolls back in favour of another transaction is done again. PostgreSQL does so when two wait for each
//! other (SQLSTATE 40P01), and, where transactions are serializable, when two meet that may not have come one after the
//! other (40001): by `default_transaction_isolation`, and on `CockroachDB` and `YugabyteDB` always. Nothing of such a
//! transaction holds, so doing it again is safe whatever it does.

use std::future::Future;
use std::time::Duration;

use tokio::time::sleep;
use uuid::Uuid;

use crate::store::{Error, Executor};

/// Attempts, the first included. Of those that meet one gets through at each, so it takes as many as meet.
const ATTEMPTS_MAX: u32 = 30;
/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// An error that may say that a transaction was rolled back in favour of another.
pub trait RolledBack {
    fn is_rolled_back(&self) -> bool;
}

impl RolledBack for Error {
    fn is_rolled_back(&self) -> bool {
        matches!(self, Self::RolledBack(_))
    }
}

/// Does `work`, which is one whole transaction, until it is not rolled back in favour of another.
///
/// # Errors
/// Those of `work`; that it was rolled back only after many attempts.
pub async fn retried<T, E, F>(mut work: impl FnMut() -> F) -> Result<T, E>
where
    E: RolledBack,
    F: Future<Output = Result<T, E>>,
{
    let mut attempt = 1;
    loop {
        match work().await {
            Err(error) if error.is_rolled_back() && attempt < ATTEMPTS_MAX => {
                sleep(pause(attempt)).await;
                attempt += 1;
            }
            done => return done,
        }
    }
}

/// The same for statements that are a transaction of their own on a store, and a part of one on a
/// [`Tx`](crate::store::Tx), where only the whole can be repeated.
pub(super) async fn retried_on<G, T, F>(_executor: &G, mut work: impl FnMut() -> F) -> Result<T, Error>
where
    G: Executor,
    F: Future<Output = Result<T, Error>>,
{
    if G::IS_TRANSACTION { work().await } else { retried(work).await }
}

/// Doubled with every attempt, and of random length: those that met once must not meet again.
fn pause(attempt: u32) -> Duration {
    let most = Duration::from_millis(1 << attempt.min(10)).min(PAUSE_MAX);
    let [random, ..] = *Uuid::new_v4().as_bytes();
    most * u32::from(random) / 255
}
