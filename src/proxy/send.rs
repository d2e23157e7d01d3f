//! Sends a call to one candidate after the other until one answers. Where another could still be tried, the head of a
//! stream waits for the first that it says: some providers report an overload inside a stream that began with 200.

use std::future::poll_fn;
use std::time::{Duration, Instant};

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use tokio::time::timeout;

use super::attempts::{Attempts, FailedAttempt};
use super::buffered_request::{BufferedRequest, Rewrite};
use super::converter::Converter;
use super::held::Held;
use super::hosted;
use super::outgoing::Outgoing;
use super::read_rest::{in_clear, read_rest};
use crate::cloud::hosting::HostedAnswer;
use crate::dialect::{Billing, Unknown, error_answer};
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
    /// What was left out of the call.
    pub(super) dropped: Vec<Unknown>,
    /// Makes it an answer in the caller's API, where it is in another.
    pub(super) converter: Option<Converter>,
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
    let mut kept: Option<Kept> = None;
    loop {
        let candidate = plan.current().clone();
        attempts.begin(&candidate);
        let Outgoing { request: outgoing, rewrite, answer, dropped, converter } =
            match request.for_candidate(&candidate) {
                Ok(made) => made,
                Err(_) if kept.is_none() && plan.skip(Instant::now()) == Next::Try => continue,
                Err(failure) => return answer_or(kept, &attempts, None, SendError::NotPrepared(failure)),
            };
        let began = Instant::now();
        let sent = match &request.asked {
            None => candidate.send(outgoing).await,
            Some(asked) => asked.send(&candidate, outgoing, &request.body).await,
        };
        let sent = match sent {
            // In a box: few calls need it, and all would carry the room for it along.
            Ok(sent) if answer != HostedAnswer::Own => Ok(Box::pin(hosted::as_own(sent, answer)).await),
            sent => sent,
        };
        let sent = sent.map(|sent| open(sent, candidate.clone(), metering, (rewrite, dropped, converter)));
        let Failed { failure, result, sent } =
            match check(sent, &plan, &request, metering, &attempts, clock).await {
                Ok(Ok(mut answered)) => {
                    if candidate.target().may_rewrite()
                        && candidate.conversion().is_none()
                        && !Box::pin(is_final(&mut answered, &request)).await
                        && plan.may_repeat(Instant::now())
                        && !attempts.caller_has_left()
                    {
                        attempts.failed(unknown_field(answered, began.elapsed()));
                        continue;
                    }
                    plan.answered(Instant::now());
                    return Ok(answered);
                }
                Ok(Err(error)) => return answer_or(kept, &attempts, None, error),
                Err(failed) => *failed,
            };
        // What is stored with one account is not at another: only what certainly never began moves.
        let may_move = metering.billing == Billing::Inference || sent.is_err();
        let next = if may_move {
            plan.failed(failure, Instant::now())
        } else {
            plan.note_failure(failure, Instant::now());
            Next::Stop
        };
        let status = sent.as_ref().ok().map(|answered| answered.head.status.as_u16());
        let (reason, duration) = (failure.reason, began.elapsed());
        let attempt = FailedAttempt { candidate, reason, status, duration, result };
        if next == Next::Stop || attempts.caller_has_left() {
            return sent.or_else(|error| answer_or(kept, &attempts, Some(attempt), error));
        }
        if reason.was_attempted() {
            attempts.failed(attempt);
        }
        if let Ok(answered) = sent
            && let Some(answered) = keep(answered).await
        {
            kept = Some(Kept { answered, attempt: attempts.count().saturating_sub(1) });
        }
    }
}

/// Whether an answer is the call's, or a refusal for something that the call can do without.
async fn is_final(answered: &mut Answered, request: &BufferedRequest) -> bool {
    if answered.head.status.is_success() {
        request.learn_known(&answered.candidate, &answered.dropped);
    }
    if answered.head.status != StatusCode::BAD_REQUEST {
        return true;
    }
    let (text, error) = read_rest(&mut answered.body).await;
    let clear = in_clear(&answered.head.headers, &text);
    let unknown = request.learn_unknown(&answered.candidate, &clear);
    answered.body.put_back(text, error);
    if !unknown.is_empty() {
        let names = unknown.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        tracing::info!(target = answered.candidate.target().name(), %names, "left out: the target does not know it");
    }
    unknown.is_empty()
}

fn unknown_field(answered: Answered, duration: Duration) -> FailedAttempt {
    FailedAttempt {
        candidate: answered.candidate,
        reason: FailureReason::UnknownField,
        status: Some(answered.head.status.as_u16()),
        duration,
        result: MeterResult::nothing(),
    }
}

/// The answer of a failed attempt, in case that those after it have none.
struct Kept {
    answered: Answered,
    /// Its place among the failed attempts.
    attempt: usize,
}

/// What the caller gets when the last attempt has no answer: that of an attempt before it, if there is one.
fn answer_or(kept: Option<Kept>, attempts: &Attempts, last: Option<FailedAttempt>, error: SendError) -> Sent {
    let Some(Kept { answered, attempt }) = kept else { return Err(error) };
    attempts.answer_by(attempt, last.filter(|last| last.reason.was_attempted()));
    Ok(answered)
}

/// Reads a short refusal to its end: its connection can be used again, and the refusal be passed on later.
async fn keep(mut answered: Answered) -> Option<Answered> {
    if answered.head.status.is_success() {
        return None;
    }
    let (text, error) = read_rest(&mut answered.body).await;
    let is_whole = error.is_none() && answered.body.exact_len() == Some(0);
    answered.body.put_back(text, error);
    is_whole.then_some(answered)
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
    attempts: &Attempts,
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
        if is_about_target(failure, plan, request, metering, &mut answered).await {
            return failed(failure, MeterResult::nothing(), Ok(answered));
        }
    } else if answered.is_streaming
        && status.is_success()
        && metering.billing == Billing::Inference
        && plan.has_other(Instant::now())
        && let Some(reason) = hold(&mut answered, attempts).await
    {
        let result = answered.meter.result(End::UpstreamCut);
        return failed(reason.into(), result, Ok(answered));
    }
    Ok(Ok(answered))
}

/// Makes of an answer one with the meter that fits what it is.
fn open(
    answer: UpstreamResponse,
    candidate: Candidate,
    metering: MeterConfig,
    (rewrite, dropped, converter): (Rewrite, Vec<Unknown>, Option<Converter>),
) -> Answered {
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
        dropped,
        converter,
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
    plan: &Plan,
    request: &BufferedRequest,
    metering: MeterConfig,
    answered: &mut Answered,
) -> bool {
    if failure.reason != FailureReason::ModelNotFound {
        return true;
    }
    let names_model = matches!(request.query.model, ModelQuery::Named(_));
    if metering.billing != Billing::Inference || !names_model || !plan.has_other(Instant::now()) {
        return false;
    }
    let (text, error) = read_rest(&mut answered.body).await;
    let is_model = error_answer::is_about_model(&in_clear(&answered.head.headers, &text));
    answered.body.put_back(text, error);
    is_model
}

/// Waits for the first content of a stream; the reason if it fails before that.
async fn hold(answered: &mut Answered, attempts: &Attempts) -> Option<FailureReason> {
    let Answered { head, body, meter, held, .. } = answered;
    let mut guard = HoldGuard { meter, attempts, is_over: false };
    let waited = timeout(HOLD_MAX, async {
        let mut bytes = 0;
        while guard.meter.stage() == Stage::Opening && bytes <= HOLD_BYTES_MAX {
            match poll_fn(|cx| body.poll_piece(cx)).await {
                // An empty stream; whoever sent it may have worked.
                None => return held.is_empty().then_some(FailureReason::Cut),
                Some(Err(error)) => {
                    held.fail(error);
                    return Some(FailureReason::Cut);
                }
                Some(Ok(piece)) => {
                    bytes += piece.len();
                    let progress = guard.meter.feed(&piece);
                    held.push(piece, progress);
                }
            }
        }
        // Other errors are about the call: another target would say the same.
        let has_failed = guard.meter.stage() == Stage::Failed;
        let is_overload = has_failed && error_answer::says_overload(&in_clear(&head.headers, &held.to_vec()));
        is_overload.then_some(FailureReason::ErrorEvent)
    });
    let waited = waited.await.ok().flatten();
    guard.is_over = true;
    waited
}

/// A caller that leaves meanwhile pays for what the stream has said by then.
struct HoldGuard<'h> {
    meter: &'h mut Box<dyn Meter>,
    attempts: &'h Attempts,
    is_over: bool,
}

impl Drop for HoldGuard<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.attempts.has_begun(self.meter.result(End::ClientGone));
        }
    }
}
