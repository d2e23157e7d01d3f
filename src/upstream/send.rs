//! One attempt: a call goes to a target with the target's own key, and the answer's head comes back.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use http::{HeaderValue, Request, Uri};

use super::call::{UpstreamRequest, UpstreamResponse};
use super::error::SendError;
use super::health::is_failure;
use super::target::Target;

impl Target {
    /// Sends one request and waits for the answer's head.
    ///
    /// # Errors
    /// As [`SendError`] says.
    pub async fn send(self: &Arc<Self>, call: &UpstreamRequest) -> Result<UpstreamResponse, SendError> {
        let request = self.request(call)?;
        self.attempts.increment();
        match self.client.request(request).await {
            Ok((head, body)) => {
                let failure = is_failure(head.status).then(|| format!("answered {}", head.status));
                self.note(call.counts_for_health, failure);
                Ok(UpstreamResponse { head, body, target: Arc::clone(self) })
            }
            Err(error) => {
                let error = SendError::of(self.name(), &error);
                // That this node's own limits are reached says nothing about the target.
                let tells = call.counts_for_health && !matches!(error, SendError::Busy { .. });
                self.note(tells, Some(error.to_string()));
                Err(error)
            }
        }
    }

    fn request(&self, call: &UpstreamRequest) -> Result<Request<Bytes>, SendError> {
        let path = self.path(&call.path_and_query).parse::<Uri>();
        let body_with_usage = call.body_with_usage.as_ref().filter(|_| self.include_usage());
        let mut request = Request::new(body_with_usage.unwrap_or(&call.body).clone());
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = path.map_err(|e| SendError::Connect {
            target: self.name().to_owned(),
            reason: format!("the path cannot be sent: {e}"),
        })?;
        *request.headers_mut() = call.headers.clone();
        if body_with_usage.is_some() {
            // What the caller has not asked for is taken out of the answer again, and has to be found in the clear.
            request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            // Whatever the caller's body is coded in, this one is not.
            request.headers_mut().remove(CONTENT_ENCODING);
        }
        if let Some((name, value)) = &self.credential {
            request.headers_mut().insert(name, value.clone());
        }
        Ok(request)
    }
}
