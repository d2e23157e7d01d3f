//! Sends a call to one candidate after the other until one answers. Where another could still be tried, the head of a
//! stream waits for the first that it says: some providers report an overload inside a stream that began with 200.

use std::future::poll_fn;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use tokio::time::timeout;

use super::attempts::{Attempts, FailedAttempt};
use super::buffered_request::{BufferedRequest, Rewrite};
use super::held::Held;
use crate::dialect::Billing;
use crate::domain::clock::Clock;
use crate::domain::tokens::Estimate;
use crate::metering::{self, AnswerHead, End, Meter, MeterResult, Stage};
use crate::transport::ResponseBody;
use crate::upstream::{
    AttemptFailure, Candidate, FailureReason, InFlight, ModelQuery, Next, Plan, SendError, UpstreamResponse,
};

/// How long, and for how many bytes, a head waits for the first content behind it.
const HOLD_MAX: Duration = Duration::from_secs(2);
const HOLD_BYTES_MAX: usize = 16 * 1024;
/// Of the body of a failed attempt so much is read, so that its connection can be used again.
const REST_MAX: usize = 64 * 1024;
const REST_TIME_MAX: Duration = Duration::from_millis(500);

/// What decides how an answer is metered, beside the answer itself.
#[derive(Clone, Copy)]
pub(super) struct MeterConfig {
    pub(super) billing: Billing,
    pub(super) estimate: Estimate,
}

/// An answer, with the meter that fits what it is.
pub(super) struct Answered {
    pub(super) head: http::response::Parts,
    pub(super) body: ResponseBody,
    pub(super) candidate: Candidate,
    pub(super) in_flight: InFlight,
    pub(super) meter: Box<dyn Meter>,
    pub(super) is_streaming: bool,
    /// Bytes to come, what is held among them, where the answer said how many.
    pub(super) remaining: Option<u64>,
    /// What has been read, and metered, already.
    pub(super) held: Held,
    /// What has to be undone in it.
    pub(super) rewrite: Rewrite,
}

/// What came of sending a call.
pub(super) type Sent = Result<Answered, SendError>;

/// Sends a request, which is gone with its memory when this returns.
///
/// # Errors
/// The last attempt's.
pub(super) async fn send(
    mut plan: Plan,
    mut request: Box<BufferedRequest>,
    metering: MeterConfig,
    attempts: Attempts,
    clock: &dyn Clock,
) -> Sent {
    loop {
        let candidate = plan.current().clone();
        attempts.begin(&candidate);
        let (sent, rewrite) = request.for_candidate(&candidate).map_err(SendError::NotPrepared)?;
        let began = Instant::now();
        let answered = match candidate.send(sent).await {
            Ok(answer) => Ok(open(answer, candidate.clone(), metering, rewrite)),
            Err(error) => Err(error),
        };
        let checked = check(answered, &plan, &request, metering, clock).await;
        let Failed { failure, result, sent } = match checked {
            Ok(sent) => {
                if sent.is_ok() {
                    plan.answered(Instant::now());
                }
                return sent;
            }
            Err(failed) => *failed,
        };
        if plan.failed(failure, Instant::now()) == Next::Stop {
            return sent;
        }
        if failure.reason.was_attempted() {
            let status = sent.as_ref().ok().map(|answered| answered.head.status.as_u16());
            let (reason, duration) = (failure.reason, began.elapsed());
            attempts.failed(FailedAttempt { candidate, reason, status, duration, result });
        }
        if let Ok(mut answered) = sent {
            read_rest(&mut answered.body).await;
        }
    }
}

/// A failed attempt, and what the caller gets if no other is made.
struct Failed {
    failure: AttemptFailure,
    /// What it has used, as far as it said so.
    result: MeterResult,
    sent: Sent,
}

/// Tells an answer from a failed attempt.
async fn check(
    sent: Sent,
    plan: &Plan,
    request: &BufferedRequest,
    metering: MeterConfig,
    clock: &dyn Clock,
) -> Result<Sent, Box<Failed>> {
    let failed = |failure, result, sent| Err(Box::new(Failed { failure, result, sent }));
    let mut answered = match sent {
        Ok(answered) => answered,
        Err(error) => {
            return match AttemptFailure::of_error(&error) {
                Some(failure) => failed(failure, MeterResult::nothing(), Err(error)),
                None => Ok(Err(error)),
            };
        }
    };
    let status = answered.head.status;
    if let Some(failure) = AttemptFailure::of_head(status, &answered.head.headers, clock.now()) {
        if is_about_target(failure, request, metering, &mut answered).await {
            return failed(failure, MeterResult::nothing(), Ok(answered));
        }
    } else if answered.is_streaming
        && status.is_success()
        && plan.has_other()
        && let Some(reason) = hold(&mut answered).await
    {
        let result = answered.meter.result(End::UpstreamCut);
        return failed(reason.into(), result, Ok(answered));
    }
    Ok(Ok(answered))
}

/// Makes of an answer one with the meter that fits what it is.
fn open(answer: UpstreamResponse, candidate: Candidate, metering: MeterConfig, rewrite: Rewrite) -> Answered {
    let UpstreamResponse { head, body, in_flight, .. } = answer;
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
    let remaining = body.exact_len();
    Answered {
        head,
        body,
        candidate,
        in_flight,
        meter,
        is_streaming,
        remaining,
        held: Held::default(),
        rewrite,
    }
}

fn is_stream(content_type: Option<&str>) -> bool {
    const EVENTS: &str = "text/event-stream";
    content_type.is_some_and(|kind| {
        kind.get(..EVENTS.len()).is_some_and(|start| start.eq_ignore_ascii_case(EVENTS))
            || kind.to_ascii_lowercase().contains("ndjson")
    })
}

/// Whether a status is about the target and its key rather than about the call. What is not found may be anything that a
/// call names; its body says whether it is the model.
async fn is_about_target(
    failure: AttemptFailure,
    request: &BufferedRequest,
    metering: MeterConfig,
    answered: &mut Answered,
) -> bool {
    if failure.reason != FailureReason::ModelNotFound {
        return true;
    }
    let names_model = matches!(request.query.model, ModelQuery::Named(_));
    if metering.billing != Billing::Inference || !names_model {
        return false;
    }
    let text = read_rest(&mut answered.body).await;
    let is_model = text.windows(5).any(|word| word.eq_ignore_ascii_case(b"model"));
    answered.body.unread(text);
    is_model
}

/// Waits for the first content of a stream; the reason if it ends, or fails, before that.
async fn hold(answered: &mut Answered) -> Option<FailureReason> {
    let Answered { body, meter, held, .. } = answered;
    let waited = timeout(HOLD_MAX, async {
        let mut bytes = 0;
        loop {
            match poll_fn(|cx| body.poll_piece(cx)).await {
                // An empty stream; whoever sent it may have worked.
                None => return held.is_empty().then_some(FailureReason::Cut),
                Some(Err(error)) => {
                    held.fail(error);
                    return Some(FailureReason::Cut);
                }
                Some(Ok(piece)) => {
                    bytes += piece.len();
                    let progress = meter.feed(&piece);
                    held.push(piece, progress);
                }
            }
            match meter.stage() {
                Stage::Content => return None,
                Stage::Failed => return Some(FailureReason::ErrorEvent),
                Stage::Opening if bytes > HOLD_BYTES_MAX => return None,
                Stage::Opening => {}
            }
        }
    });
    waited.await.ok().flatten()
}

/// Reads what is left of a short body.
async fn read_rest(body: &mut ResponseBody) -> Bytes {
    let mut text = BytesMut::new();
    let reading = async {
        while let Some(Ok(piece)) = poll_fn(|cx| body.poll_piece(cx)).await {
            text.extend_from_slice(&piece);
            if text.len() > REST_MAX {
                break;
            }
        }
    };
    let _in_time = timeout(REST_TIME_MAX, reading).await;
    text.freeze()
}
