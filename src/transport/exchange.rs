//! One request, and its answer as a whole: to whoever gives credentials, and to identity providers.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};

use super::{Client, Endpoint, Http2, Proxy};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// More than any answer of this kind has.
const ANSWER_MAX: usize = 256 * 1024;

/// How such servers are reached.
#[derive(Clone, Debug, Default)]
pub struct Exchange {
    /// For those on the Internet; those of the machine are asked directly.
    pub proxy: Option<Proxy>,
    /// Authorities to trust besides the public ones, as PEM.
    pub ca_file: Option<PathBuf>,
}

impl Exchange {
    /// Sends a request with a whole URL through the proxy, if there is one.
    ///
    /// # Errors
    /// In words; nothing of the request is in them.
    pub async fn send(&self, request: Request<Bytes>) -> Result<(StatusCode, Bytes), String> {
        self.send_by(request, self.proxy.clone()).await
    }

    /// Sends a request with a whole URL to a server of this machine's own network.
    ///
    /// # Errors
    /// As [`Self::send`] says.
    pub async fn send_directly(&self, request: Request<Bytes>) -> Result<(StatusCode, Bytes), String> {
        self.send_by(request, None).await
    }

    /// Over a connection of its own: it is rare, and nothing has to be kept until the next.
    async fn send_by(
        &self,
        request: Request<Bytes>,
        proxy: Option<Proxy>,
    ) -> Result<(StatusCode, Bytes), String> {
        let host = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let endpoint = Endpoint {
            url: request.uri().clone(),
            http2: Http2::No,
            proxy,
            ca_file: self.ca_file.clone(),
            connect_timeout: CONNECT_TIMEOUT,
            answer_timeout: ANSWER_TIMEOUT,
            idle_timeout: ANSWER_TIMEOUT,
            total_timeout: ANSWER_TIMEOUT,
            queue_timeout: ANSWER_TIMEOUT,
            max_connections: 1,
            http2_connections: 1,
        };
        let failed = |reason: String| format!("{host}: {reason}");
        let client = Client::new(&endpoint).map_err(failed)?;
        let (head, body) = client.request(request).await.map_err(|error| failed(error.to_string()))?;
        Ok((head.status, body.read_whole(ANSWER_MAX).await.map_err(failed)?))
    }
}

/// Why an answer with that status has not what was asked for: what its body says, where that is more than the status.
#[must_use]
pub fn refusal(status: StatusCode, told: &str) -> String {
    if status.is_success() { told.to_owned() } else { format!("answered {status}: {told}") }
}
