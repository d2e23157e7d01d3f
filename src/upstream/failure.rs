//! Why an attempt failed, as far as it matters to what comes next: whether another target may be tried, what cools down
//! meanwhile, and for how long.

use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode};

use super::error::SendError;
use crate::domain::clock::Timestamp;

/// Why an attempt failed. The names are those of the API and of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FailureReason {
    /// This node's own limits for the target are reached; nothing was sent.
    Busy,
    /// The credentials that requests are sent with could not be had; nothing was sent.
    NoCredentials,
    /// No connection could be made.
    Connect,
    /// The connection was closed, and the request certainly not read.
    NotProcessed,
    /// 429.
    RateLimited,
    /// 503 and 529.
    Overloaded,
    /// 401 and 403: the target's own key is not accepted.
    KeyRefused,
    /// 402: what the key pays from is used up.
    OutOfCredit,
    /// 404 for the model.
    ModelNotFound,
    /// 400 for something that the target's host does not know, and that the call can do without: it is sent once more.
    UnknownField,
    /// A stream that began with 200 reported an error before any content.
    ErrorEvent,
    /// Any other 5xx: somebody may have worked on it.
    ServerError,
    /// The connection broke before the head of the answer, or before any content of a stream.
    Cut,
    /// The head of the answer did not come in time.
    Timeout,
}

/// What a failure says about calls that come after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Nothing; or something that only the target's health is about.
    None,
    /// Every call for that model with that key.
    KeyAndModel,
    /// Every call for that model.
    Model,
    /// Every call with that key.
    Key,
}

impl FailureReason {
    pub const ALL: [Self; 14] = [
        Self::Busy,
        Self::NoCredentials,
        Self::Connect,
        Self::NotProcessed,
        Self::RateLimited,
        Self::Overloaded,
        Self::KeyRefused,
        Self::OutOfCredit,
        Self::ModelNotFound,
        Self::UnknownField,
        Self::ErrorEvent,
        Self::ServerError,
        Self::Cut,
        Self::Timeout,
    ];

    /// Its name in the API, in records and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::NoCredentials => "no_credentials",
            Self::Connect => "connect",
            Self::NotProcessed => "not_processed",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::KeyRefused => "key_refused",
            Self::OutOfCredit => "out_of_credit",
            Self::ModelNotFound => "model_not_found",
            Self::UnknownField => "unknown_field",
            Self::ErrorEvent => "error_event",
            Self::ServerError => "server_error",
            Self::Cut => "cut",
            Self::Timeout => "timeout",
        }
    }

    /// Whether it is certain that nobody has worked on the call, or that it is not billed.
    #[must_use]
    pub fn is_safe_to_retry(self) -> bool {
        !matches!(self, Self::ServerError | Self::Cut | Self::Timeout)
    }

    /// Whether it says that the target cannot answer, rather than that it will not answer this call or this key.
    pub(super) fn is_of_target(self) -> bool {
        matches!(self, Self::Overloaded | Self::ServerError)
    }

    /// Whether something was sent to the target.
    #[must_use]
    pub fn was_attempted(self) -> bool {
        !matches!(self, Self::Busy | Self::NoCredentials)
    }

    pub(super) fn scope(self) -> Scope {
        match self {
            Self::RateLimited => Scope::KeyAndModel,
            Self::Overloaded | Self::ErrorEvent | Self::ModelNotFound => Scope::Model,
            Self::OutOfCredit | Self::NoCredentials => Scope::Key,
            // A call may be refused for what it says: the key is checked (`probe`) before it is left alone.
            Self::KeyRefused
            | Self::UnknownField
            | Self::Busy
            | Self::Connect
            | Self::NotProcessed
            | Self::ServerError
            | Self::Cut
            | Self::Timeout => Scope::None,
        }
    }

    /// Whether something is left alone after it.
    pub(super) fn cools(self) -> bool {
        self.scope() != Scope::None || self == Self::KeyRefused
    }

    /// Whether it counts against the target's health, which is about the target as a whole.
    pub(super) fn counts_for_health(self) -> bool {
        matches!(self, Self::Connect | Self::NotProcessed | Self::ServerError | Self::Cut | Self::Timeout)
    }

    /// Whether it is over by itself after a while, so that a call may wait for that.
    pub(super) fn is_transient(self) -> bool {
        matches!(self, Self::RateLimited | Self::Overloaded | Self::ErrorEvent | Self::NoCredentials)
    }

    /// The least time that is waited after it, where the provider does not say how long.
    pub(super) fn base_backoff(self) -> Duration {
        match self {
            Self::ModelNotFound => Duration::from_mins(1),
            Self::OutOfCredit | Self::KeyRefused => Duration::from_secs(10),
            _ => Duration::from_secs(1),
        }
    }

    /// Whether it is left alone for longer after each failure in a row. What one call may bring about is not: nobody is
    /// to keep a model or a key from others.
    pub(super) fn backs_off(self) -> bool {
        matches!(self, Self::Overloaded | Self::ErrorEvent)
    }

    /// Whether what a call says may bring it about. Such failures leave half of the retries to others.
    pub(super) fn may_be_provoked(self) -> bool {
        matches!(self, Self::KeyRefused | Self::OutOfCredit | Self::ModelNotFound | Self::UnknownField)
    }

    /// Whether the target has answered, in words that a caller can be given.
    pub(super) fn has_answer(self) -> bool {
        !matches!(
            self,
            Self::Busy | Self::NoCredentials | Self::Connect | Self::NotProcessed | Self::Cut | Self::Timeout
        )
    }

    /// What an answer's head says; `None`: that it is an answer.
    #[must_use]
    pub fn of_status(status: StatusCode) -> Option<Self> {
        match status.as_u16() {
            401 | 403 => Some(Self::KeyRefused),
            402 => Some(Self::OutOfCredit),
            404 => Some(Self::ModelNotFound),
            429 => Some(Self::RateLimited),
            503 | 529 => Some(Self::Overloaded),
            500 | 502 | 504 | 520..=524 => Some(Self::ServerError),
            _ => None,
        }
    }
}

/// A failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptFailure {
    pub reason: FailureReason,
    /// How long the provider says that it is to be left alone.
    pub retry_after: Option<Duration>,
}

impl AttemptFailure {
    /// An answer that is a failure, by its head.
    #[must_use]
    pub fn of_head(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Option<Self> {
        let reason = FailureReason::of_status(status)?;
        let says_when = matches!(reason, FailureReason::RateLimited | FailureReason::Overloaded);
        let retry_after = if says_when { retry_after(headers, now) } else { None };
        Some(Self { reason, retry_after })
    }

    /// `None`: nothing was tried.
    #[must_use]
    pub fn of_error(error: &SendError) -> Option<Self> {
        let reason = match error {
            SendError::Busy { .. } => FailureReason::Busy,
            SendError::NoCredentials { .. } => FailureReason::NoCredentials,
            SendError::Connect { .. } => FailureReason::Connect,
            SendError::Broken { not_sent: true, .. } => FailureReason::NotProcessed,
            SendError::Broken { not_sent: false, .. } => FailureReason::Cut,
            SendError::Timeout { .. } => FailureReason::Timeout,
            SendError::NoTarget { .. }
            | SendError::Unread { .. }
            | SendError::Nameless { .. }
            | SendError::NoneHealthy { .. }
            | SendError::NotPrepared(_) => return None,
        };
        Some(Self { reason, retry_after: None })
    }
}

impl From<FailureReason> for AttemptFailure {
    fn from(reason: FailureReason) -> Self {
        Self { reason, retry_after: None }
    }
}

/// Longer than any window of any provider.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);

const RETRY_AFTER: HeaderName = HeaderName::from_static("retry-after");
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
/// Anthropic's: `anthropic-ratelimit-{what}-remaining` and `-reset`, a time of day.
const ANTHROPIC: &str = "anthropic-ratelimit-";
/// `OpenAI`'s and of those who copy it: `x-ratelimit-remaining-{what}` and `x-ratelimit-reset-{what}`, a duration.
const OPENAI_REMAINING: &str = "x-ratelimit-remaining-";

/// How long a provider says that it is to be left alone: the latest of all that it says. A window counts only if it is
/// used up.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    // The finer of the two says the same more exactly.
    let asked = match text(RETRY_AFTER_MS.as_str()).and_then(milliseconds) {
        Some(exact) => Some(exact),
        None => text(RETRY_AFTER.as_str()).and_then(|value| seconds(value).or_else(|| http_date(value, now))),
    };
    let windows = headers.iter().filter_map(|(name, value)| {
        if value.to_str().ok()?.trim() != "0" {
            return None;
        }
        let name = name.as_str();
        if let Some(what) = name.strip_prefix(OPENAI_REMAINING) {
            let reset = text(&format!("x-ratelimit-reset-{what}"))?;
            return seconds(reset).or_else(|| go_duration(reset));
        }
        let what = name.strip_prefix(ANTHROPIC)?.strip_suffix("-remaining")?;
        until(text(&format!("{ANTHROPIC}{what}-reset"))?, now)
    });
    windows.chain(asked).max().map(|longest| longest.min(RETRY_AFTER_MAX))
}

fn milliseconds(text: &str) -> Option<Duration> {
    fraction(text, 1_000.0)
}

fn seconds(text: &str) -> Option<Duration> {
    fraction(text, 1.0)
}

fn fraction(text: &str, per_second: f64) -> Option<Duration> {
    let number: f64 = text.trim().parse().ok()?;
    Duration::try_from_secs_f64(number / per_second).ok()
}

/// `6m0s`, `1.5s`, `20ms`.
fn go_duration(text: &str) -> Option<Duration> {
    let (mut sum, mut rest) = (Duration::ZERO, text.trim());
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, behind) = rest.split_at(digits);
        let length = behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len());
        let (unit, next) = behind.split_at(length);
        let seconds_each = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        sum += Duration::try_from_secs_f64(number * seconds_each).ok()?;
        rest = next;
    }
    Some(sum)
}

/// The time of day that Anthropic's headers say.
fn until(rfc3339: &str, now: Timestamp) -> Option<Duration> {
    let at: Timestamp = rfc3339.trim().parse().ok()?;
    Some(Duration::from_micros(u64::try_from(at.as_micros() - now.as_micros()).unwrap_or(0)))
}

fn http_date(text: &str, now: Timestamp) -> Option<Duration> {
    let at = httpdate::parse_http_date(text.trim()).ok()?;
    let at = at.duration_since(std::time::UNIX_EPOCH).ok()?;
    let now = Duration::from_micros(u64::try_from(now.as_micros()).ok()?);
    Some(at.saturating_sub(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-28T12:00:00Z";

    fn asked(headers: &[(&'static str, &str)]) -> Option<Duration> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().expect("a value"));
        }
        retry_after(&map, NOW.parse().expect("a time"))
    }

    type Headers = &'static [(&'static str, &'static str)];

    #[test]
    fn how_long_a_provider_wants_to_be_left_alone() {
        let ms = Duration::from_millis;
        let cases: &[(Headers, Option<Duration>)] = &[
            (&[], None),
            (&[("retry-after", "7")], Some(ms(7_000))),
            (&[("retry-after", "0.5")], Some(ms(500))),
            (&[("retry-after", "-1")], None),
            (&[("retry-after", "NaN")], None),
            (&[("retry-after", "soon")], None),
            (&[("retry-after", "999999999999")], Some(RETRY_AFTER_MAX)),
            (&[("retry-after", "Sat, 28 Nov 2026 12:00:30 GMT")], Some(ms(30_000))),
            (&[("retry-after", "Sat, 28 Nov 2026 11:00:00 GMT")], Some(Duration::ZERO)),
            (&[("retry-after", "2"), ("retry-after-ms", "1250")], Some(ms(1_250))),
            (
                &[("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "6m0s")],
                Some(ms(360_000)),
            ),
            (&[("x-ratelimit-remaining-tokens", "12"), ("x-ratelimit-reset-tokens", "6m0s")], None),
            (
                &[("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "20ms")],
                Some(ms(20)),
            ),
            (
                &[("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "3")],
                Some(ms(3_000)),
            ),
            (
                &[
                    ("anthropic-ratelimit-input-tokens-remaining", "0"),
                    ("anthropic-ratelimit-input-tokens-reset", "2026-11-28T12:00:45Z"),
                    ("anthropic-ratelimit-requests-remaining", "49"),
                    ("anthropic-ratelimit-requests-reset", "2026-11-28T12:10:00Z"),
                    ("retry-after", "9"),
                ],
                Some(ms(45_000)),
            ),
        ];
        for (headers, expected) in cases {
            assert_eq!(asked(headers), *expected, "{headers:?}");
        }
    }

    #[test]
    fn only_what_was_certainly_not_billed_may_be_tried_elsewhere() {
        for (status, unbilled) in [
            (401, Some(true)),
            (402, Some(true)),
            (403, Some(true)),
            (404, Some(true)),
            (429, Some(true)),
            (503, Some(true)),
            (529, Some(true)),
            (500, Some(false)),
            (502, Some(false)),
            (504, Some(false)),
            (200, None),
            (400, None),
            (413, None),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(
                FailureReason::of_status(status).map(FailureReason::is_safe_to_retry),
                unbilled,
                "{status}"
            );
        }
    }

    #[test]
    fn names_are_different() {
        let names: std::collections::BTreeSet<_> = FailureReason::ALL.map(FailureReason::as_str).into();
        assert_eq!(names.len(), FailureReason::ALL.len());
    }
}
