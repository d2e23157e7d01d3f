//! One attempt: a call goes to a target over a connection that is idle, or a new one, and the answer's head comes back.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, HOST};
use http::response::Parts;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use tokio::time::timeout;

use super::answer::{Answer, AnswerBody, exclusive, multiplexed};
use super::call::Outgoing;
use super::connect::Link;
use super::error::SendError;
use super::line::{Failed, Line};
use super::target::{InFlight, Target};

impl Target {
    /// Sends one request and waits for the answer's head. A connection that had been idle and turns out to be
    /// closed is replaced once: nobody can have read the request.
    ///
    /// # Errors
    /// As [`SendError`] says.
    pub async fn send(self: &Arc<Self>, outgoing: &Outgoing) -> Result<Answer, SendError> {
        let in_flight = self.enter()?;
        let tells_health = outgoing.tells_health;
        match self.exchange(outgoing).await {
            Ok((head, body)) => {
                if tells_health {
                    self.health.answered();
                }
                Ok(Answer::new(head, body, Arc::clone(self), in_flight))
            }
            Err(failure) => {
                if tells_health {
                    self.health.failed(self.clock.now());
                }
                Err(failure)
            }
        }
    }

    fn enter(&self) -> Result<InFlight, SendError> {
        let in_flight = InFlight(Arc::clone(&self.in_flight));
        if self.in_flight.fetch_add(1, Ordering::Relaxed) >= self.max_connections {
            return Err(SendError::Busy { target: self.name().to_string(), limit: self.max_connections });
        }
        Ok(in_flight)
    }

    async fn exchange(&self, outgoing: &Outgoing) -> Result<(Parts, AnswerBody), SendError> {
        if let Some(sender) = self.shared.sender() {
            // In a box, as below.
            return Box::pin(self.exchange_on_shared(sender, outgoing)).await;
        }
        while let Some(line) = self.parked.take().await {
            match line.exchange(self.request(outgoing, Shape::Origin)?).await {
                Err(Failed::Broken { error, unread: true }) => {
                    tracing::debug!(target = self.name(), %error, "an idle connection was closed");
                }
                answered => return self.received(answered),
            }
        }
        // In a box: most calls find a connection, and would carry the room for opening one along.
        Box::pin(self.exchange_on_new(outgoing)).await
    }

    async fn exchange_on_new(&self, outgoing: &Outgoing) -> Result<(Parts, AnswerBody), SendError> {
        match self.dialer.dial().await {
            Err(reason) => Err(SendError::Connect { target: self.name().to_string(), reason }),
            Ok(Link::Exclusive(stream)) => {
                let line = Line::open(stream, self.answer_timeout).await;
                let line = line.map_err(|e| self.broken(&e, true))?;
                let answer = line.exchange(self.request(outgoing, Shape::Origin)?).await;
                self.received(answer)
            }
            Ok(Link::Multiplexed(stream)) => {
                let sender = self.shared.open(stream).await.map_err(|e| self.broken(&e, true))?;
                self.exchange_on_shared(sender, outgoing).await
            }
        }
    }

    async fn exchange_on_shared(
        &self,
        mut sender: SendRequest<Full<Bytes>>,
        outgoing: &Outgoing,
    ) -> Result<(Parts, AnswerBody), SendError> {
        let sending = sender.send_request(self.request(outgoing, Shape::Absolute)?);
        let answer = timeout(self.answer_timeout, sending).await.map_err(|_| self.late())?;
        answer.map(multiplexed).map_err(|e| self.broken(&e, false))
    }

    /// An answer's head and body, or why there is none.
    fn received(
        &self,
        answered: Result<(Response<Incoming>, Box<Line>), Failed>,
    ) -> Result<(Parts, AnswerBody), SendError> {
        answered.map(|answer| exclusive(answer, Arc::clone(&self.parked))).map_err(|failed| match failed {
            Failed::Broken { error, .. } => self.broken(&error, false),
            Failed::Late => self.late(),
        })
    }

    fn late(&self) -> SendError {
        SendError::Timeout { target: self.name().to_string(), limit: self.answer_timeout }
    }

    fn broken(&self, error: &hyper::Error, unread: bool) -> SendError {
        let unread = unread || error.is_canceled();
        SendError::Broken { target: self.name().to_string(), reason: error.to_string(), unread }
    }

    fn request(&self, outgoing: &Outgoing, shape: Shape) -> Result<Request<Full<Bytes>>, SendError> {
        let path = self.path(&outgoing.path_and_query);
        let uri: Result<Uri, _> = match shape {
            Shape::Origin => path.parse(),
            Shape::Absolute => {
                let scheme = if self.dialer.is_tls() { "https" } else { "http" };
                let host = self.host.to_str().unwrap_or_default();
                format!("{scheme}://{host}{path}").parse()
            }
        };
        let asking = outgoing.asking.as_ref().filter(|_| self.include_usage());
        let mut request = Request::new(Full::new(asking.unwrap_or(&outgoing.body).clone()));
        *request.method_mut() = outgoing.method.clone();
        *request.uri_mut() = uri.map_err(|e| SendError::Connect {
            target: self.name().to_string(),
            reason: format!("the path cannot be sent: {e}"),
        })?;
        *request.headers_mut() = outgoing.headers.clone();
        if asking.is_some() {
            // What the caller has not asked for is taken out of the answer again, and has to be found in the clear.
            request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if matches!(shape, Shape::Origin) {
            request.headers_mut().insert(HOST, self.host.clone());
        }
        if let Some((name, value)) = &self.credential {
            request.headers_mut().insert(name, value.clone());
        }
        Ok(request)
    }
}

/// How a request names its target: HTTP/1.1 in origin form beside a `host` header, HTTP/2 in absolute form.
#[derive(Clone, Copy)]
enum Shape {
    Origin,
    Absolute,
}
