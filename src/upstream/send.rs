//! One attempt: a call goes to a target with one of the target's own keys, and the answer's head comes back.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Uri};

use super::call::{UpstreamRequest, UpstreamResponse};
use super::error::SendError;
use super::failure::FailureReason;
use super::key::Key;
use super::target::Target;
use crate::domain::failure::{Failure, Kind};

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
        let request = self.with_address(request, key)?;
        self.state.attempts.inc();
        key.state.attempts.inc();
        let in_flight = key.state.begin();
        match self.state.client.request(request).await {
            Ok((head, body)) => {
                if FailureReason::of_status(head.status).is_some_and(FailureReason::is_of_target) {
                    self.state.note_failure(format!("answered {}", head.status));
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

    /// The request with the target's own path and key.
    fn with_address(&self, outgoing: UpstreamRequest, key: &Key) -> Result<Request<Bytes>, SendError> {
        let path = self.path(&outgoing.path_and_query, outgoing.dialect).parse::<Uri>();
        let mut request = Request::new(outgoing.body);
        *request.method_mut() = outgoing.method;
        // Such as one that is too long. It says nothing about the target.
        *request.uri_mut() = path.map_err(|error| {
            let reason = format!("the path cannot be sent to target {}: {error}", self.name());
            SendError::NotPrepared(Failure::new(Kind::Invalid, reason))
        })?;
        *request.headers_mut() = outgoing.headers;
        if let Some((name, value)) = key.credential(outgoing.dialect) {
            request.headers_mut().insert(name, value.clone());
        }
        Ok(request)
    }
}
