//! A call that has begun: it is admitted, it has its room in the ledger, and whatever becomes of it is booked.

use std::sync::Arc;

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Response};

use super::buffered_request::{BufferedRequest, Rewrite};
use super::detach::{DetachOnDrop, Drainer, Sent};
use super::headers;
use super::live::Snapshot;
use super::metered_stream::MeteredStream;
use super::recorder::Recorder;
use super::response_body::{Body, MeteredBody};
use crate::config::{Durability, HangUp};
use crate::dialect::Billing;
use crate::dialect::usage_chunk::Remover;
use crate::domain::failure::Failure;
use crate::domain::ids::RequestId;
use crate::domain::tokens::Estimate;
use crate::domain::usage::Outcome;
use crate::metering::{self, AnswerHead};
use crate::upstream::{Plan, SendError, UpstreamResponse};

/// The same for every call.
pub(super) struct CallContext {
    pub(super) drainer: Arc<Drainer>,
    /// When the end of an answer is released.
    pub(super) durability: Durability,
}

/// A call under way.
pub(super) struct Call<'g> {
    pub(super) context: &'g CallContext,
    pub(super) live: Arc<Snapshot>,
    pub(super) request_id: RequestId,
    pub(super) recorder: Recorder,
    pub(super) metering: MeterConfig,
}

/// What decides how an answer is metered, beside the answer itself.
#[derive(Clone, Copy)]
pub(super) struct MeterConfig {
    pub(super) billing: Billing,
    pub(super) estimate: Estimate,
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
        self.recorder.set_target(plan.first());
        let sent = match plan.first().on_hangup() {
            HangUp::Cancel => send(plan, request).await,
            HangUp::Drain => {
                let metering = self.metering;
                let attach_meter =
                    Box::new(move |answer, recorder| attach_meter(answer, recorder, metering).1);
                let sending = Box::pin(send(plan, request));
                let drainer = Arc::clone(&self.context.drainer);
                let (sent, recorder) = DetachOnDrop::new(sending, self.recorder, drainer, attach_meter).await;
                self.recorder = recorder;
                sent
            }
        };
        match sent {
            Ok((answer, rewrite)) => self.respond(answer, rewrite).await,
            Err(error) => Err(self.record_failure(&error).await?),
        }
    }

    /// Lets the answer through the meter.
    async fn respond(self, answer: UpstreamResponse, rewrite: Rewrite) -> Result<Response<Body>, Failure> {
        let (mut head, mut body, has_length) = self.metered(answer, rewrite);
        body.prefetch(has_length).await?;
        if has_length && body.exact_len().is_none() {
            head.headers.remove(CONTENT_LENGTH);
        }
        Ok(Response::from_parts(head, Body::Metered(body)))
    }

    /// The answer's head as the caller gets it, its body, and whether it has announced a length that may not be kept.
    fn metered(
        self,
        answer: UpstreamResponse,
        rewrite: Rewrite,
    ) -> (http::response::Parts, Box<MeteredBody>, bool) {
        let on_hangup = answer.target.on_hangup();
        let (mut head, stream) = attach_meter(answer, self.recorder, self.metering);
        headers::for_caller(&mut head.headers);
        // Usage is asked for in streams only. What is compressed cannot be read, and goes as it comes.
        let in_clear = head.headers.get(CONTENT_ENCODING).is_none_or(|coding| coding == "identity");
        let may_remove = rewrite == Rewrite::RemoveUsage
            && in_clear
            && head.status.is_success()
            && stream.remaining != Some(0);
        let remover = may_remove.then(Remover::default);
        let has_length = may_remove && head.headers.contains_key(CONTENT_LENGTH);
        let CallContext { drainer, durability, .. } = self.context;
        let body = MeteredBody::new(stream, remover, *durability, on_hangup, Arc::clone(drainer));
        (head, Box::new(body), has_length)
    }

    /// Books a call without an answer, and says what its caller is told.
    ///
    /// # Errors
    /// It could not be booked.
    async fn record_failure(mut self, error: &SendError) -> Result<Failure, Failure> {
        let failure = Failure::from(error);
        tracing::warn!(request_id = %self.request_id, %error, "no answer from upstream");
        if let Some(target) = error.target().and_then(|name| self.live.upstream.find(name)) {
            self.recorder.set_target(target);
        }
        let receipt = self.recorder.failed(outcome(error), failure.kind.http_status().as_u16());
        if let Some(receipt) = receipt.filter(|_| self.context.durability == Durability::Committed) {
            receipt.committed().await.map_err(Failure::from)?;
        }
        Ok(failure)
    }
}

/// Sends a request, which is gone with its memory when an answer's head is there.
async fn send(plan: Plan, mut request: Box<BufferedRequest>) -> Sent {
    plan.send(|target| request.for_target(target)).await
}

/// Makes of an answer a stream with the meter that fits what it is.
fn attach_meter(
    answer: UpstreamResponse,
    mut recorder: Recorder,
    metering: MeterConfig,
) -> (http::response::Parts, MeteredStream) {
    let UpstreamResponse { head, body, target } = answer;
    let text = |name| head.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let answer_head = AnswerHead {
        billing: metering.billing,
        status: head.status.as_u16(),
        content_type: text(CONTENT_TYPE),
        content_encoding: text(CONTENT_ENCODING),
        estimate: metering.estimate,
    };
    let is_streaming = is_stream(answer_head.content_type);
    let meter = metering::open(&answer_head);
    recorder.set_response(&target, head.status.as_u16(), is_streaming);
    let remaining = body.exact_len();
    let stream = MeteredStream { body, meter, recorder, status: head.status, is_streaming, remaining };
    (head, stream)
}

fn is_stream(content_type: Option<&str>) -> bool {
    const EVENTS: &str = "text/event-stream";
    content_type.is_some_and(|kind| {
        kind.get(..EVENTS.len()).is_some_and(|start| start.eq_ignore_ascii_case(EVENTS))
            || kind.to_ascii_lowercase().contains("ndjson")
    })
}

fn outcome(error: &SendError) -> Outcome {
    match error {
        SendError::Unread { .. }
        | SendError::Nameless { .. }
        | SendError::NoTarget { .. }
        | SendError::NoneHealthy { .. }
        | SendError::NotPrepared(_)
        | SendError::Busy { .. } => Outcome::Refused,
        SendError::Connect { .. } => Outcome::UpstreamUnreachable,
        SendError::Broken { .. } => Outcome::UpstreamCut,
        SendError::Timeout { .. } => Outcome::UpstreamTimeout,
    }
}
