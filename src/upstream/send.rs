//! One attempt: a call goes to a target with the target's own key, and the answer's head comes back.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Uri};

use super::call::{UpstreamRequest, UpstreamResponse};
use super::error::SendError;
use super::health::is_failure;
use super::target::Target;

impl Target {
    /// Sends one request and waits for the answer's head.
    ///
    /// # Errors
    /// As [`SendError`] says.
    pub async fn send(self: &Arc<Self>, request: UpstreamRequest) -> Result<UpstreamResponse, SendError> {
        let counts_for_health = request.counts_for_health;
        let request = self.with_address(request)?;
        self.state.attempts.inc();
        match self.state.client.request(request).await {
            Ok((head, body)) => {
                let failure = is_failure(head.status).then(|| format!("answered {}", head.status));
                self.state.note(counts_for_health, failure);
                Ok(UpstreamResponse { head, body, target: Arc::clone(self) })
            }
            Err(error) => {
                let error = SendError::of(self.name(), &error);
                // That this node's own limits are reached says nothing about the target.
                let tells = counts_for_health && !matches!(error, SendError::Busy { .. });
                self.state.note(tells, Some(error.to_string()));
                Err(error)
            }
        }
    }

    /// The request with the target's own path and key.
    fn with_address(&self, outgoing: UpstreamRequest) -> Result<Request<Bytes>, SendError> {
        let path = self.path(&outgoing.path_and_query).parse::<Uri>();
        let mut request = Request::new(outgoing.body);
        *request.method_mut() = outgoing.method;
        *request.uri_mut() = path.map_err(|e| SendError::Connect {
            target: self.name().to_owned(),
            reason: format!("the path cannot be sent: {e}"),
        })?;
        *request.headers_mut() = outgoing.headers;
        if let Some((name, value)) = &self.credential {
            request.headers_mut().insert(name, value.clone());
        }
        Ok(request)
    }
}
