//! A receiver: where an event is sent, and what came of it.

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{Method, Request, StatusCode, Uri};
use tokio::time::timeout;

use crate::alerts::format;
use crate::config::{AlertConfig, AlertFormat};
use crate::crypto::mac;
use crate::domain::alert::EventKind;
use crate::domain::clock::Timestamp;
use crate::domain::quoted::Quoted;
use crate::domain::secret::Secret;
use crate::transport::{Client, Endpoint, Http2, Proxy};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// No receiver has more to say than this; what is longer is not read.
const ANSWER_MAX: usize = 4 * 1024;
/// A receiver that asks for more time is believed up to this.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(6);

const EVENT: HeaderName = HeaderName::from_static("x-sproxy-event");
const DELIVERY: HeaderName = HeaderName::from_static("x-sproxy-delivery");
const TIMESTAMP: HeaderName = HeaderName::from_static("x-sproxy-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("x-sproxy-signature");
const SENDER: HeaderValue = HeaderValue::from_static(concat!("sproxy/", env!("CARGO_PKG_VERSION")));

/// Somebody who is told. Its `Debug` form has neither URL nor secret.
pub struct Receiver {
    pub(super) name: String,
    pub(super) host: String,
    pub(super) format: AlertFormat,
    pub(super) events: Vec<EventKind>,
    path: Uri,
    secret: Option<Secret>,
    timeout: Duration,
    client: Client,
}

/// What is sent.
pub(super) struct Message<'m> {
    pub(super) kind: &'m str,
    /// The event's id.
    pub(super) id: String,
    /// The event, JSON.
    pub(super) stored: &'m str,
}

/// What came of one try.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    pub duration: Duration,
    /// Why it failed; `None`: the receiver has it.
    pub error: Option<String>,
    /// Sending it again as it is would be of no use, as the receiver says.
    pub is_refused: bool,
    /// When the receiver wants to be asked again.
    pub retry_after: Option<Duration>,
}

impl Receiver {
    /// # Errors
    /// In words: a URL, proxy or CA file that cannot be used.
    pub(super) fn new(config: &AlertConfig) -> Result<Self, String> {
        let url: Uri = config.url.expose().parse().map_err(|_| "the URL cannot be used".to_owned())?;
        let path = url.path_and_query().cloned().map_or_else(Uri::default, Uri::from);
        let client = Client::new(&Endpoint {
            proxy: config.proxy.as_ref().map(|proxy| Proxy::parse(proxy.expose())).transpose()?,
            ca_file: config.ca_file.clone(),
            url,
            http2: Http2::No,
            connect_timeout: CONNECT_TIMEOUT.min(config.timeout),
            answer_timeout: config.timeout,
            idle_timeout: config.timeout,
            total_timeout: config.timeout,
            queue_timeout: config.timeout,
            // The lane's, and those of tests that admins ask for.
            max_connections: 4,
            http2_connections: 1,
        })?;
        Ok(Self {
            name: config.name.clone(),
            host: config.host.clone(),
            format: config.format,
            events: config.events.clone(),
            path,
            secret: config.secret.clone(),
            timeout: config.timeout,
            client,
        })
    }

    pub(super) fn is_signed(&self) -> bool {
        self.secret.is_some()
    }

    pub(super) fn wants(&self, kind: EventKind) -> bool {
        self.events.contains(&kind)
    }

    pub(super) fn close_idle(&self) {
        self.client.close_idle();
    }

    /// How long one try may take at most.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Sends it once. Redirects are not followed: they would lead an event to where nobody wanted it.
    pub(super) async fn send(&self, message: &Message<'_>, now: Timestamp) -> Attempt {
        let began = Instant::now();
        let sent = match self.request(message, now) {
            Ok(request) => timeout(self.timeout, self.exchange(request, now)).await.unwrap_or_else(|_| {
                Answered::failed(format!("no answer within {}", humantime::format_duration(self.timeout)))
            }),
            Err(reason) => Answered { is_refused: true, ..Answered::failed(reason) },
        };
        let Answered { status, error, is_refused, retry_after } = sent;
        let error = error.map(|error| self.without_secrets(&error));
        Attempt { status, duration: began.elapsed(), error, is_refused, retry_after }
    }

    fn request(&self, message: &Message<'_>, now: Timestamp) -> Result<Request<Bytes>, String> {
        let body = format::encode(self.format, message.stored)?;
        let value = |text: &str| HeaderValue::from_str(text).map_err(|error| error.to_string());
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, SENDER);
        headers.insert(EVENT, value(message.kind)?);
        headers.insert(DELIVERY, value(&message.id)?);
        headers.insert(TIMESTAMP, value(&now.to_string())?);
        if let Some(secret) = &self.secret {
            let signature = mac::sign(secret.expose().as_bytes(), &body);
            headers.insert(SIGNATURE, value(&format!("sha256={signature}"))?);
        }
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.path.clone();
        *request.headers_mut() = headers;
        Ok(request)
    }

    async fn exchange(&self, request: Request<Bytes>, now: Timestamp) -> Answered {
        let (head, body) = match self.client.request(request).await {
            Ok(answer) => answer,
            Err(error) => return Answered::failed(error.to_string()),
        };
        let status = head.status;
        // Read, so that the connection can be used again, and for what it says of a refusal. A receiver that has answered
        // with success has the event, whatever becomes of the rest.
        let told = body.read_whole(ANSWER_MAX).await.unwrap_or_default();
        if status.is_success() {
            return Answered {
                status: Some(status.as_u16()),
                error: None,
                is_refused: false,
                retry_after: None,
            };
        }
        let told = String::from_utf8_lossy(&told);
        let told = told.trim();
        let error = match told {
            _ if status.is_redirection() => format!("answered {status}: redirects are not followed"),
            "" => format!("answered {status}"),
            told => format!("answered {status}: {}", Quoted(told)),
        };
        let passes = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
        Answered {
            status: Some(status.as_u16()),
            error: Some(error),
            is_refused: !status.is_server_error() && !passes.contains(&status),
            retry_after: retry_after(&head.headers, now),
        }
    }

    /// A receiver may repeat what it was asked for.
    fn without_secrets(&self, text: &str) -> String {
        let path = self.path.to_string();
        let mut hidden = vec![path.as_str()];
        hidden.extend(self.path.query());
        hidden.extend(self.path.path().split('/'));
        hidden.extend(self.secret.as_ref().map(Secret::expose));
        // Short pieces of a path are words.
        hidden
            .into_iter()
            .filter(|part| part.len() > 7)
            .fold(text.to_owned(), |text, part| text.replace(part, "***"))
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("name", &self.name).field("host", &self.host).finish_non_exhaustive()
    }
}

struct Answered {
    status: Option<u16>,
    error: Option<String>,
    is_refused: bool,
    retry_after: Option<Duration>,
}

impl Answered {
    fn failed(error: String) -> Self {
        Self { status: None, error: Some(error), is_refused: false, retry_after: None }
    }
}

/// Seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if let Ok(seconds) = text.parse::<u64>() {
        Duration::from_secs(seconds)
    } else {
        let at = httpdate::parse_http_date(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
        Timestamp::from_micros(i64::try_from(at.as_micros()).ok()?).since(now)
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_says_in_seconds_or_by_a_date_when_it_wants_to_be_asked_again() {
        let now: Timestamp = "2026-11-29T10:00:00Z".parse().expect("a time");
        for (text, wait) in [
            ("120", Some(120)),
            ("Sun, 29 Nov 2026 10:01:00 GMT", Some(60)),
            ("Sun, 29 Nov 2026 09:00:00 GMT", Some(0)),
            ("99999999", Some(RETRY_AFTER_MAX.as_secs())),
            ("soon", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]);
            assert_eq!(retry_after(&headers, now).map(|wait| wait.as_secs()), wait, "{text}");
        }
    }
}
