//! One attempt: a call goes to a target with one of the target's own keys, and the answer's head comes back.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Uri};

use super::authorize::Sent;
use super::call::{UpstreamRequest, UpstreamResponse};
use super::error::SendError;
use super::failure::FailureReason;
use super::key::{InFlight, Key};
use super::target::Target;
use crate::domain::failure::{Failure, Kind};
use crate::domain::provider::Provider;
use crate::transport::Opened;

impl Target {
    /// Sends one request and waits for the answer's head.
    ///
    /// # Errors
    /// As [`SendError`] says.
    pub(super) async fn send(
        self: &Arc<Self>,
        request: UpstreamRequest,
        key: &Arc<Key>,
    ) -> Result<UpstreamResponse, SendError> {
        let dialect = request.dialect;
        let mut request = self.with_address(request)?;
        let sent = self.authorize(&mut request, key, dialect).await?;
        let in_flight = self.count_attempt(key);
        match self.state.client.request(request).await {
            Ok((head, body)) => {
                if FailureReason::of_status(head.status).is_some_and(FailureReason::is_of_target) {
                    self.state.note_failure(format!("answered {}", head.status));
                }
                if let (Some(source), Some(sent)) = (key.source(), &sent) {
                    source.answered(sent, head.status, &head.headers);
                }
                Ok(UpstreamResponse { head, body, target: Arc::clone(self), in_flight })
            }
            Err(error) => {
                let error = SendError::of(self.name(), &error);
                self.state.note_failure(error.to_string());
                Err(error)
            }
        }
    }

    /// Begins a call: it is counted, and the key is in use until it ends.
    pub(super) fn count_attempt(&self, key: &Arc<Key>) -> InFlight {
        self.state.attempts.inc();
        key.state.attempts.inc();
        key.state.begin()
    }

    /// Asks for a WebSocket, by a request without a body.
    ///
    /// # Errors
    /// As [`SendError`] says.
    pub(super) async fn open_websocket(
        &self,
        request: UpstreamRequest,
        key: &Arc<Key>,
    ) -> Result<Opened, SendError> {
        let dialect = request.dialect;
        let mut request = self.with_address(request)?;
        self.authorize(&mut request, key, dialect).await?;
        let opened = self.state.client.open_websocket(request).await;
        let trouble = match &opened {
            Ok(Opened::Refused { head, .. }) => {
                let is_its = FailureReason::of_status(head.status).is_some_and(FailureReason::is_of_target);
                is_its.then(|| format!("answered {}", head.status))
            }
            Ok(Opened::Upgraded { .. }) => None,
            Err(error) => Some(SendError::of(self.name(), error).to_string()),
        };
        if let Some(trouble) = trouble {
            self.state.note_failure(trouble);
        }
        opened.map_err(|error| SendError::of(self.name(), &error))
    }

    /// Adds what the request proves itself with.
    async fn authorize(
        &self,
        request: &mut Request<Bytes>,
        key: &Key,
        dialect: Provider,
    ) -> Result<Option<Sent>, SendError> {
        let Some(source) = key.source() else {
            if let Some((name, value)) = key.credential(dialect) {
                request.headers_mut().insert(name, value.clone());
            }
            return Ok(None);
        };
        // In a box: calls with a key of their own need not carry the room for it along.
        let sent = Box::pin(source.authorize(request, self.signing.as_ref(), &*self.state.clock)).await;
        sent.map(Some).map_err(|reason| {
            self.state.note_failure(reason.clone());
            SendError::NoCredentials { target: self.name().to_owned(), reason }
        })
    }

    /// Asks the target itself, with a key that is not refused, rather than for a caller.
    ///
    /// # Errors
    /// As [`SendError`] says.
    pub async fn ask(self: &Arc<Self>, request: UpstreamRequest) -> Result<UpstreamResponse, SendError> {
        let refused = self.state.cooldowns.refused_keys();
        let accepted = self.keys().iter().find(|key| !refused.contains(&key.id));
        match accepted.or(self.keys().first()) {
            Some(key) => self.send(request, key).await,
            None => Err(SendError::NoTarget { provider: self.provider(), model: None }),
        }
    }

    /// The request with the target's own path.
    fn with_address(&self, outgoing: UpstreamRequest) -> Result<Request<Bytes>, SendError> {
        let path = self.path(&outgoing.path_and_query, outgoing.dialect).parse::<Uri>();
        let mut request = Request::new(outgoing.body);
        *request.method_mut() = outgoing.method;
        // Such as one that is too long. It says nothing about the target.
        *request.uri_mut() = path.map_err(|error| {
            let reason = format!("the path cannot be sent to target {}: {error}", self.name());
            SendError::NotPrepared(Failure::new(Kind::Invalid, reason))
        })?;
        *request.headers_mut() = outgoing.headers;
        Ok(request)
    }
}
