//! The control plane over HTTP: asks, follows pages, and turns every refusal into one sentence that says what to do.

use reqwest::header::CONTENT_TYPE;
use reqwest::{ClientBuilder, Method, RequestBuilder, Response, StatusCode, Url};
use serde_json::Value;

use super::error::Error;
use super::http_client::{self, unreachable};
use super::logins::Login;
use super::{output, pinned};

use crate::config::Secret;
use crate::node::LocalAddress;

/// Rows of one page, where many are read.
const PAGE: usize = 500;
/// The largest answer that is read as one piece.
const ANSWER_MAX: usize = 64 << 20;

/// Talks to one node as one principal.
pub struct Client {
    http: reqwest::Client,
    server: Url,
    credential: Credential,
}

/// What a client proves itself with.
enum Credential {
    /// A key, a token, or nothing.
    Fixed(Secret),
    /// Whatever the login has at the moment.
    Login(Login),
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
        Self::build(server, Credential::Fixed(token), http_client::builder(server))
    }

    /// A client of the server that somebody has signed in to.
    ///
    /// # Errors
    /// [`Error::Usage`] when its CA file cannot be used.
    pub fn of_login(login: Login) -> Result<Self, Error> {
        let server = login.server().to_owned();
        let ca_file = login.standing()?.ca_file;
        let http = http_client::trusting(http_client::builder(&server), ca_file.as_deref())?;
        Self::build(&server, Credential::Login(login), http)
    }

    /// A client of the node on this machine.
    ///
    /// # Errors
    /// [`Error::Usage`] when its certificate cannot be read.
    pub fn of_local(node: &LocalAddress, token: Secret) -> Result<Self, Error> {
        let tls = node.tls_cert.as_deref().map(pinned::trusting_only).transpose().map_err(Error::Usage)?;
        let server = node.url();
        let http = http_client::builder(&server).no_proxy();
        let http = match tls {
            Some(tls) => http.tls_backend_preconfigured(tls),
            None => http,
        };
        Self::build(&server, Credential::Fixed(token), http)
    }

    fn build(server: &str, credential: Credential, http: ClientBuilder) -> Result<Self, Error> {
        let url = http_client::parse(server)?;
        let http = http.build().map_err(|reason| unreachable(server, &reason))?;
        Ok(Self { http, server: url, credential })
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

    /// A call of a provider's API, whichever it is of.
    ///
    /// # Errors
    /// See [`Client::get`].
    pub async fn call(&self, path: &[&str], body: &Value) -> Result<Value, Error> {
        self.json(self.send(Method::POST, path, &Query::new(), Some(body)).await?).await
    }

    /// The address of the node.
    #[must_use]
    pub fn server(&self) -> &str {
        self.server.as_str().trim_end_matches('/')
    }

    /// `POST` with a query and without a body.
    ///
    /// # Errors
    /// See [`Client::get`].
    pub async fn post_with(&self, path: &[&str], query: &Query) -> Result<Value, Error> {
        self.json(self.send(Method::POST, path, query, None).await?).await
    }

    /// `POST` of a file.
    ///
    /// # Errors
    /// See [`Client::get`].
    pub async fn post_file(
        &self,
        path: &[&str],
        query: &Query,
        media_type: &str,
        file: Vec<u8>,
    ) -> Result<Value, Error> {
        let request = self.request(Method::POST, path, query).await?.header(CONTENT_TYPE, media_type);
        self.json(self.answer(request.body(file)).await?).await
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
        let mut request = self.request(method, path, query).await?;
        if let Some(body) = body {
            request = request.json(body);
        }
        self.answer(request).await
    }

    async fn request(&self, method: Method, path: &[&str], query: &Query) -> Result<RequestBuilder, Error> {
        let mut url = self.server.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            // Names go in as one segment each, whatever characters they have.
            segments.pop_if_empty().extend(path);
        }
        let token = match &self.credential {
            Credential::Fixed(token) => token.clone(),
            Credential::Login(login) => login.access_token().await?,
        };
        let request = self.http.request(method, url).bearer_auth(token.expose()).query(query);
        // Anthropic's API takes no call without one; nobody else looks at it.
        let is_anthropic = path == ["v1", "messages"];
        Ok(if is_anthropic { request.header("anthropic-version", "2023-06-01") } else { request })
    }

    async fn answer(&self, request: RequestBuilder) -> Result<Response, Error> {
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
            StatusCode::UNAUTHORIZED if matches!(self.credential, Credential::Login(_)) => {
                "; sign in again with `sproxy login`"
            }
            StatusCode::UNAUTHORIZED => {
                "; use --server and --token (or SPROXY_TOKEN), or on the leader's machine --data-dir with its data directory"
            }
            StatusCode::FORBIDDEN => "; use the credential of somebody who may",
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
