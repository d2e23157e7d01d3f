//! Background work of the cluster, handed over for the node to own.

use std::future::Future;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

/// A named task that ends soon after it is asked to.
pub struct Task {
    /// For logs and for whoever supervises it.
    pub name: &'static str,
    /// Starts it; the token asks it to end.
    pub run: Box<dyn FnOnce(CancellationToken) -> BoxFuture<'static, ()> + Send>,
}

impl Task {
    pub(super) fn new<F>(
        name: &'static str,
        run: impl FnOnce(CancellationToken) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self { name, run: Box::new(|stop| Box::pin(run(stop))) }
    }
}

/// Waits, unless asked to end: then false.
pub(super) async fn pause(wait: Duration, stop: &CancellationToken) -> bool {
    stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_some()
}
