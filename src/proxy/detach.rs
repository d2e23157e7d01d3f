//! Answers whose caller has hung up. With `on_hangup = "drain"` they are read to their end in the background and
//! counted exactly, within bounds; with `"cancel"` dropping them closes the upstream connection.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::metered_stream::{MeteredStream, Step};
use super::recorder::Recorder;
use super::send::Sent;
use crate::domain::usage::Outcome;
use crate::metering::MeterResult;

/// Answers read in the background at the same time; beyond that they are cancelled and estimated.
const DRAINS_MAX: usize = 256;
const BYTES_MAX: usize = 16 * 1024 * 1024;
const TIME_MAX: Duration = Duration::from_mins(10);

/// Reads answers that nobody waits for.
pub struct Drainer {
    tasks: TaskTracker,
    room: Arc<Semaphore>,
    give_up: CancellationToken,
}

impl Drainer {
    /// A drainer whose work is among `tasks`, so that leaving can wait for it, until `give_up`.
    #[must_use]
    pub fn new(tasks: TaskTracker, give_up: CancellationToken) -> Arc<Self> {
        Arc::new(Self { tasks, room: Arc::new(Semaphore::new(DRAINS_MAX)), give_up })
    }

    /// Reads `stream` to its end. Without room, or past a bound, it is dropped, which cancels the upstream's work and
    /// settles the record with what is known.
    pub(super) fn adopt(&self, mut stream: MeteredStream) {
        self.in_background(async move { drain(&mut stream).await });
    }

    /// Runs what answers come by, as long as they are waited for.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let work = self.give_up.clone().run_until_cancelled_owned(work);
        self.tasks.spawn(work);
    }

    fn in_background(&self, work: impl Future<Output = ()> + Send + 'static) {
        tracing::debug!("a caller has left; the answer is read to its end");
        if let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() {
            let work = self.give_up.clone().run_until_cancelled_owned(timeout(TIME_MAX, work));
            self.tasks.spawn(async move {
                match work.await {
                    Some(Ok(())) => {}
                    Some(Err(_)) => {
                        tracing::info!("an answer without a caller took too long and was cancelled");
                    }
                    None => tracing::debug!("an answer without a caller was cancelled: the node leaves"),
                }
                drop(permit);
            });
        }
    }
}

async fn drain(stream: &mut MeteredStream) {
    let mut read = 0;
    loop {
        match poll_fn(|cx| stream.poll_step(cx, true)).await {
            Step::More(piece) => read += piece.len(),
            Step::Complete(..) | Step::Ended(_) | Step::Broken(_) => return,
        }
        if read > BYTES_MAX {
            return;
        }
    }
}

type SendFuture = Pin<Box<dyn Future<Output = Sent> + Send>>;

/// A call in flight that is carried on in the background if its caller goes away before there is an answer.
pub(super) struct DetachOnDrop {
    /// None once there is an answer.
    in_flight: Option<InFlight>,
    drainer: Arc<Drainer>,
}

struct InFlight {
    sending: SendFuture,
    recorder: Recorder,
}

impl DetachOnDrop {
    pub(super) fn new(sending: SendFuture, recorder: Recorder, drainer: Arc<Drainer>) -> Self {
        Self { in_flight: Some(InFlight { sending, recorder }), drainer }
    }
}

impl Future for DetachOnDrop {
    type Output = (Sent, Recorder);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(mut in_flight) = self.in_flight.take() else { return Poll::Pending };
        match in_flight.sending.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready((answer, in_flight.recorder)),
            Poll::Pending => {
                self.in_flight = Some(in_flight);
                Poll::Pending
            }
        }
    }
}

impl Drop for DetachOnDrop {
    fn drop(&mut self) {
        let Some(InFlight { sending, mut recorder }) = self.in_flight.take() else { return };
        // What is under way is carried on; nothing is begun for nobody.
        recorder.attempts().caller_left();
        self.drainer.in_background(async move {
            match sending.await {
                Ok(answered) => drain(&mut MeteredStream::new(answered, recorder).1).await,
                Err(error) => {
                    tracing::debug!(%error, "a call without a caller failed");
                    recorder.settle(Outcome::ClientGone, MeterResult::nothing());
                }
            }
        });
    }
}
