//! The control plane over HTTP: asks, follows pages, and turns every refusal into one sentence that says what to do.

use std::time::Duration;

use reqwest::{Method, Response, StatusCode, Url};
use serde_json::Value;

use super::error::Error;
use super::{output, pinned};

use crate::config::Secret;
use crate::node::LocalAddress;

/// To a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two pieces of an answer; a whole one may take as long as it has something to say.
const READ_TIMEOUT: Duration = Duration::from_mins(1);
/// Rows of one page, where many are read.
const PAGE: usize = 500;
/// The largest answer that is read as one piece.
const ANSWER_MAX: usize = 64 << 20;

/// Talks to one node as one principal.
pub struct Client {
    http: reqwest::Client,
    server: Url,
    token: Secret,
}

/// The rows of a list, or the first of them.
pub struct Listed {
    pub rows: Vec<Value>,
    /// Whether the list goes on.
    pub there_are_more: bool,
}

impl Listed {
    /// Says on standard error that the list goes on, if it does: a list that only ends is taken for a whole one.
    pub fn warn_if_cut(&self, to_see_more: &str) {
        if self.there_are_more {
            output::note(&format!("the first {}; there are more: {to_see_more}", self.rows.len()));
        }
    }
}

/// A query: names and values.
pub type Query = Vec<(&'static str, String)>;

impl Client {
    /// A client of the node at `server`.
    ///
    /// # Errors
    /// [`Error::Usage`] when `server` is no `http` or `https` URL.
    pub fn new(server: &str, token: Secret) -> Result<Self, Error> {
        Self::build(server, token, |http| if is_local(server) { http.no_proxy() } else { http })
    }

    /// A client of the node on this machine.
    ///
    /// # Errors
    /// [`Error::Usage`] when its certificate cannot be read.
    pub fn of_local(node: &LocalAddress, token: Secret) -> Result<Self, Error> {
        let tls = node.tls_cert.as_deref().map(pinned::trusting_only).transpose().map_err(Error::Usage)?;
        Self::build(&node.url(), token, |http| match tls {
            Some(tls) => http.no_proxy().tls_backend_preconfigured(tls),
            None => http.no_proxy(),
        })
    }

    fn build(
        server: &str,
        token: Secret,
        set: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
    ) -> Result<Self, Error> {
        let wrong = || Error::Usage(format!("--server `{server}` is no URL such as http://127.0.0.1:9000"));
        let url =
            Url::parse(server).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let url = url.ok_or_else(wrong)?;
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            // A redirect would carry the token to an address that nobody named.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("sproxy/", env!("CARGO_PKG_VERSION")));
        let http = set(http).build().map_err(|reason| unreachable(server, &reason))?;
        Ok(Self { http, server: url, token })
    }

    /// `GET`, a JSON answer.
    ///
    /// # Errors
    /// The node's refusal, or that it cannot be reached; so for every method here.
    pub async fn get(&self, path: &[&str], query: &Query) -> Result<Value, Error> {
        self.json(self.send(Method::GET, path, query, None).await?).await
    }

    /// `POST`; an answer without a body is null.
    ///
    /// # Errors
    /// See [`Client::get`].
    pub async fn post(&self, path: &[&str], body: Option<&Value>) -> Result<Value, Error> {
        self.json(self.send(Method::POST, path, &Query::new(), body).await?).await
    }

    /// `POST` with a query and without a body.
    ///
    /// # Errors
    /// See [`Client::get`].
    pub async fn post_with(&self, path: &[&str], query: &Query) -> Result<Value, Error> {
        self.json(self.send(Method::POST, path, query, None).await?).await
    }

    /// `PATCH`.
    ///
    /// # Errors
    /// See [`Client::get`].
    pub async fn patch(&self, path: &[&str], body: &Value) -> Result<Value, Error> {
        self.json(self.send(Method::PATCH, path, &Query::new(), Some(body)).await?).await
    }

    /// `DELETE`; an answer without a body is null.
    ///
    /// # Errors
    /// See [`Client::get`].
    pub async fn delete(&self, path: &[&str]) -> Result<Value, Error> {
        self.delete_with(path, &Query::new()).await
    }

    /// `DELETE` with a query.
    ///
    /// # Errors
    /// See [`Client::get`].
    pub async fn delete_with(&self, path: &[&str], query: &Query) -> Result<Value, Error> {
        self.json(self.send(Method::DELETE, path, query, None).await?).await
    }

    /// `GET`, an answer that is read while it comes.
    ///
    /// # Errors
    /// See [`Client::get`].
    pub async fn stream(&self, path: &[&str], query: &Query) -> Result<Stream, Error> {
        let answer = self.send(Method::GET, path, query, None).await?;
        Ok(Stream { answer, server: self.server.to_string() })
    }

    /// A list, page after page, until `limit` rows are there or no more come.
    ///
    /// # Errors
    /// See [`Client::get`].
    pub async fn list(&self, path: &[&str], query: &Query, limit: usize) -> Result<Listed, Error> {
        let mut rows = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut query = query.clone();
            query.push(("limit", PAGE.min(limit - rows.len()).max(1).to_string()));
            query.extend(cursor.map(|cursor| ("cursor", cursor)));
            let mut page = self.get(path, &query).await?;
            let items = page.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take);
            rows.append(&mut items.ok_or_else(|| self.not_sproxy())?);
            cursor = page.get("next_cursor").and_then(Value::as_str).map(str::to_owned);
            if cursor.is_none() || rows.len() >= limit {
                let there_are_more = cursor.is_some() || rows.len() > limit;
                rows.truncate(limit);
                return Ok(Listed { rows, there_are_more });
            }
        }
    }

    /// A whole list.
    ///
    /// # Errors
    /// See [`Client::get`].
    pub async fn all(&self, path: &[&str], query: &Query) -> Result<Vec<Value>, Error> {
        Ok(self.list(path, query, usize::MAX).await?.rows)
    }

    async fn send(
        &self,
        method: Method,
        path: &[&str],
        query: &Query,
        body: Option<&Value>,
    ) -> Result<Response, Error> {
        let mut url = self.server.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            // Names go in as one segment each, whatever characters they have.
            segments.pop_if_empty().extend(path);
        }
        let mut request = self.http.request(method, url).bearer_auth(self.token.expose()).query(query);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(|reason| unreachable(self.server.as_str(), &reason))?;
        if answer.status().is_success() { Ok(answer) } else { Err(self.refusal(answer).await) }
    }

    async fn json(&self, answer: Response) -> Result<Value, Error> {
        let bytes = self.whole(answer).await?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(|_| self.not_sproxy())
    }

    async fn whole(&self, mut answer: Response) -> Result<Vec<u8>, Error> {
        let mut whole = Vec::new();
        while let Some(piece) =
            answer.chunk().await.map_err(|reason| unreachable(self.server.as_str(), &reason))?
        {
            if whole.len() + piece.len() > ANSWER_MAX {
                return Err(Error::Refused(format!(
                    "the answer of {} is larger than {ANSWER_MAX} bytes",
                    self.server
                )));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole)
    }

    /// A refusal (RFC 9457) as one sentence.
    async fn refusal(&self, answer: Response) -> Error {
        let status = answer.status();
        let body = self.whole(answer).await.unwrap_or_default();
        let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
        let said = ["detail", "title"].iter().find_map(|field| problem.get(*field)?.as_str());
        let said = said.map_or_else(|| format!("{} answered {status}", self.server), str::to_owned);
        let hint = match status {
            StatusCode::UNAUTHORIZED => {
                "; use --server and --token (or SPROXY_TOKEN), or on the leader's machine --data-dir with its data directory"
            }
            StatusCode::FORBIDDEN => "; use the credential of an admin",
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                "; try again in a moment, or ask the leader with --server"
            }
            _ => "",
        };
        Error::Refused(format!("{said}{hint}"))
    }

    fn not_sproxy(&self) -> Error {
        Error::Refused(format!("{} does not answer like an sproxy node: check --server", self.server))
    }
}

/// An answer on its way.
pub struct Stream {
    answer: Response,
    server: String,
}

impl Stream {
    /// The next piece; none at the end.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when the answer breaks off.
    pub async fn piece(&mut self) -> Result<Option<bytes::Bytes>, Error> {
        self.answer.chunk().await.map_err(|reason| unreachable(&self.server, &reason))
    }
}

fn unreachable(server: &str, reason: &reqwest::Error) -> Error {
    // The innermost cause is the one that people know: connection refused, name not known.
    let mut cause: &dyn std::error::Error = reason;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    Error::Unreachable { server: server.trim_end_matches('/').to_owned(), reason: cause.to_string() }
}

/// Whether `server` is this machine's loopback.
pub(super) fn is_local(server: &str) -> bool {
    let Ok(url) = Url::parse(server) else { return false };
    let host = url.host_str().unwrap_or("").trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::is_local;

    #[test]
    fn only_loopback_is_local() {
        for server in ["http://127.0.0.1:9000", "http://localhost", "https://[::1]:9000"] {
            assert!(is_local(server), "{server}");
        }
        for server in ["http://sp-1:9000", "http://10.0.0.1", "http://localhost.example.com", "nonsense"] {
            assert!(!is_local(server), "{server}");
        }
    }
}
