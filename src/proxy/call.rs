//! A call that has begun: it is admitted, it has its room in the ledger, and whatever becomes of it is booked.

use std::sync::Arc;

use http::Response;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};

use super::buffered_request::{BufferedRequest, Rewrite};
use super::detach::{DetachOnDrop, Drainer};
use super::headers;
use super::metered_stream::MeteredStream;
use super::recorder::Recorder;
use super::response_body::{Body, Change, MeteredBody};
use super::send::{Answered, MeterConfig, send};
use crate::config::{Durability, HangUp};
use crate::domain::clock::Clock;
use crate::domain::failure::Failure;
use crate::domain::ids::RequestId;
use crate::domain::usage::Outcome;
use crate::upstream::{Plan, SendError};

/// The same for every call.
pub(super) struct CallContext {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) drainer: Arc<Drainer>,
    /// When the end of an answer is released.
    pub(super) durability: Durability,
}

/// A call under way.
pub(super) struct Call<'g> {
    pub(super) context: &'g CallContext,
    pub(super) request_id: RequestId,
    pub(super) recorder: Recorder,
    pub(super) metering: MeterConfig,
}

impl Call<'_> {
    /// Sends the call and lets its answer through. With `on_hangup = "drain"` it is carried on if its caller leaves before
    /// there is an answer.
    ///
    /// # Errors
    /// Why there is no answer, or why it may not be shown.
    pub(super) async fn complete(
        mut self,
        plan: Plan,
        request: Box<BufferedRequest>,
    ) -> Result<Response<Body>, Failure> {
        let on_hangup = plan.current().target().on_hangup();
        let attempts = self.recorder.attempts();
        let clock = Arc::clone(&self.context.clock);
        let metering = self.metering;
        let sending = async move { send(plan, request, metering, attempts, &*clock).await };
        let sent = match on_hangup {
            HangUp::Cancel => sending.await,
            HangUp::Drain => {
                let drainer = Arc::clone(&self.context.drainer);
                let (sent, recorder) = DetachOnDrop::new(Box::pin(sending), self.recorder, drainer).await;
                self.recorder = recorder;
                sent
            }
        };
        match sent {
            Ok(answered) => self.respond(answered).await,
            Err(error) => Err(self.record_failure(&error).await?),
        }
    }

    /// Lets the answer through the meter.
    async fn respond(self, answered: Answered) -> Result<Response<Body>, Failure> {
        let (mut head, mut body, has_length) = self.metered(answered);
        body.prefetch(has_length).await?;
        if has_length && body.exact_len().is_none() {
            head.headers.remove(CONTENT_LENGTH);
        }
        Ok(Response::from_parts(head, Body::Metered(body)))
    }

    /// The answer's head as the caller gets it, its body, and whether it has announced a length that may not be kept.
    fn metered(self, mut answered: Answered) -> (http::response::Parts, Box<MeteredBody>, bool) {
        let (rewrite, target) = (answered.rewrite, Arc::clone(answered.candidate.target()));
        let dropped = std::mem::take(&mut answered.dropped);
        let converter = answered.converter.take();
        self.recorder.count_dropped(&dropped);
        let (mut head, stream) = MeteredStream::new(answered, self.recorder);
        headers::for_caller(&mut head.headers);
        headers::say_target(&mut head.headers, &target);
        headers::say_dropped(&mut head.headers, &dropped);
        // Usage is asked for in streams only. What is compressed cannot be read, and goes as it comes.
        let in_clear = head.headers.get(CONTENT_ENCODING).is_none_or(|coding| coding == "identity");
        let may_remove = rewrite == Rewrite::RemoveUsage
            && in_clear
            && head.status.is_success()
            && stream.remaining != Some(0);
        let in_other_api = converter.map(|converter| {
            let is_stream = stream.is_streaming;
            (converter.begin(&mut head, is_stream), is_stream && head.status.is_success())
        });
        // A document cannot be shown before it is whole.
        let waits = in_other_api.as_ref().is_some_and(|(_, is_stream)| !is_stream);
        let change = match in_other_api {
            Some((answer, _)) => Change::Convert(Box::new(answer)),
            None if may_remove => Change::RemoveUsage(Box::default()),
            None => Change::None,
        };
        let has_length = waits || (may_remove && head.headers.contains_key(CONTENT_LENGTH));
        let CallContext { drainer, durability, .. } = self.context;
        let body = MeteredBody::new(stream, change, *durability, target.on_hangup(), Arc::clone(drainer));
        (head, Box::new(body), has_length)
    }

    /// Books a call without an answer, and says what its caller is told.
    ///
    /// # Errors
    /// It could not be booked.
    async fn record_failure(self, error: &SendError) -> Result<Failure, Failure> {
        let failure = Failure::from(error);
        tracing::warn!(request_id = %self.request_id, %error, "no answer from upstream");
        let receipt = self.recorder.failed(outcome(error), failure.kind.http_status().as_u16());
        if let Some(receipt) = receipt.filter(|_| self.context.durability == Durability::Committed) {
            receipt.committed().await.map_err(Failure::from)?;
        }
        Ok(failure)
    }
}

fn outcome(error: &SendError) -> Outcome {
    match error {
        SendError::Unread { .. }
        | SendError::Nameless { .. }
        | SendError::NoTarget { .. }
        | SendError::NoneHealthy { .. }
        | SendError::NotPrepared(_)
        | SendError::Busy { .. } => Outcome::Refused,
        SendError::Connect { .. } | SendError::NoCredentials { .. } => Outcome::UpstreamUnreachable,
        SendError::Broken { .. } => Outcome::UpstreamCut,
        SendError::Timeout { .. } => Outcome::UpstreamTimeout,
    }
}
