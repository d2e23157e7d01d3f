//! What a server is asked for a session: `/auth`, and its device login (RFC 8628) where it has one.

use std::path::Path;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::cli::error::Error;
use crate::cli::http_client::{self, is_local, unreachable};

/// How this program is called where clients have names.
const CLIENT_ID: &str = "sproxy-cli";
const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// The largest answer that is read.
const ANSWER_MAX: usize = 1 << 20;
/// To the end of an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Asks one server, without a credential.
pub struct SignIn {
    http: reqwest::Client,
    server: String,
    url: Url,
}

/// The tokens of a session.
#[derive(Deserialize)]
pub struct Tokens {
    pub access_token: String,
    pub refresh_token: String,
    /// Seconds.
    pub expires_in: u64,
}

/// Where a server signs devices in (RFC 8414).
#[derive(Debug, Deserialize)]
pub struct Metadata {
    device_authorization_endpoint: String,
    token_endpoint: String,
    #[serde(default)]
    grant_types_supported: Vec<String>,
}

/// What a person does at a browser for this device.
#[derive(Deserialize)]
pub struct DeviceAuthorization {
    device_code: String,
    pub user_code: String,
    pub verification_uri: String,
    pub verification_uri_complete: Option<String>,
    /// Seconds.
    pub expires_in: u64,
    /// Seconds between two questions.
    interval: Option<u64>,
}

impl DeviceAuthorization {
    /// How long to wait between two questions (RFC 8628, 3.2).
    pub fn interval(&self) -> Duration {
        Duration::from_secs(self.interval.unwrap_or(5).clamp(1, 60))
    }
}

/// How a device login stands.
pub enum Poll {
    Granted(Tokens),
    Pending,
    /// Asked too often: five seconds more from here on (RFC 8628, 3.5).
    SlowDown,
    Denied,
    Expired,
}

/// Why there are no tokens.
pub enum Refusal {
    /// The server does not know the session, or not any more.
    Over,
    /// Everything else, which may be better later.
    Failed(Error),
}

impl SignIn {
    /// # Errors
    /// [`Error::Usage`] for a server that is no URL, or a CA file that cannot be used.
    pub fn at(server: &str, ca_file: Option<&Path>) -> Result<Self, Error> {
        let url = http_client::parse(server)?;
        let http = http_client::trusting(http_client::builder(server), ca_file)?.timeout(ANSWER_TIMEOUT);
        let http = http.build().map_err(|reason| unreachable(server, &reason))?;
        Ok(Self { http, server: server.to_owned(), url })
    }

    /// A session for a password.
    pub async fn login(&self, user: &str, password: &str) -> Result<Tokens, Error> {
        let body = json!({ "username": user, "password": password });
        let answer = self.send(self.to(&["auth", "login"]).json(&body)).await?;
        self.read(self.accepted(answer).await?).await
    }

    /// The next tokens of a session. The same call may be repeated with the same key when its answer was lost.
    pub async fn refresh(&self, refresh_token: &str, idempotency_key: &str) -> Result<Tokens, Refusal> {
        let body = json!({ "refresh_token": refresh_token, "idempotency_key": idempotency_key });
        let answer = self.send(self.to(&["auth", "refresh"]).json(&body)).await.map_err(Refusal::Failed)?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            return Err(Refusal::Over);
        }
        let answer = self.accepted(answer).await.map_err(Refusal::Failed)?;
        self.read(answer).await.map_err(Refusal::Failed)
    }

    /// Ends a session.
    pub async fn logout(&self, refresh_token: &str) -> Result<(), Error> {
        let body = json!({ "refresh_token": refresh_token });
        let answer = self.send(self.to(&["auth", "logout"]).json(&body)).await?;
        self.accepted(answer).await.map(drop)
    }

    /// Who an access token is of.
    pub async fn whoami(&self, access_token: &str) -> Result<String, Error> {
        let request = self.http.request(Method::GET, self.path(&["me"])).bearer_auth(access_token);
        let answer = self.send(request).await?;
        let me: Value = self.read(self.accepted(answer).await?).await?;
        me.get("name").and_then(Value::as_str).map(str::to_owned).ok_or_else(|| self.not_sproxy())
    }

    /// Where the server signs devices in; none if it does not.
    pub async fn metadata(&self) -> Result<Option<Metadata>, Error> {
        let path = self.path(&[".well-known", "oauth-authorization-server"]);
        let answer = self.send(self.http.get(path)).await?;
        if matches!(answer.status(), StatusCode::NOT_FOUND | StatusCode::UNAUTHORIZED) {
            return Ok(None);
        }
        let metadata: Metadata = self.read(self.accepted(answer).await?).await?;
        if !metadata.grant_types_supported.iter().any(|grant| grant == DEVICE_GRANT) {
            return Ok(None);
        }
        for endpoint in [&metadata.device_authorization_endpoint, &metadata.token_endpoint] {
            self.check_endpoint(endpoint)?;
        }
        Ok(Some(metadata))
    }

    /// Begins a device login.
    pub async fn authorize_device(&self, metadata: &Metadata) -> Result<DeviceAuthorization, Error> {
        let form = form(&[("client_id", CLIENT_ID)]);
        let answer = self.send(self.post_form(&metadata.device_authorization_endpoint, form)).await?;
        self.read(self.accepted(answer).await?).await
    }

    /// Asks how a device login stands.
    pub async fn poll_device(
        &self,
        metadata: &Metadata,
        device: &DeviceAuthorization,
    ) -> Result<Poll, Error> {
        let fields = [
            ("grant_type", DEVICE_GRANT),
            ("device_code", device.device_code.as_str()),
            ("client_id", CLIENT_ID),
        ];
        let answer = self.send(self.post_form(&metadata.token_endpoint, form(&fields))).await?;
        if answer.status().is_success() {
            return Ok(Poll::Granted(self.read(answer).await?));
        }
        let status = answer.status();
        let refused: Value = serde_json::from_slice(&self.whole(answer).await?).unwrap_or_default();
        match refused.get("error").and_then(Value::as_str) {
            Some("authorization_pending") => Ok(Poll::Pending),
            Some("slow_down") => Ok(Poll::SlowDown),
            Some("access_denied") => Ok(Poll::Denied),
            Some("expired_token") => Ok(Poll::Expired),
            // A node that restarts, or one whose leader is away.
            _ if status.is_server_error() => Ok(Poll::Pending),
            _ => Err(self.refusal(status, &refused)),
        }
    }

    /// The codes go where the server says; never from a server under TLS to one in clear.
    fn check_endpoint(&self, endpoint: &str) -> Result<(), Error> {
        let url = Url::parse(endpoint).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let url = url.ok_or_else(|| self.not_sproxy())?;
        if url.scheme() == "http" && self.url.scheme() == "https" && !is_local(endpoint) {
            return Err(Error::Refused(format!(
                "{} would sign you in at {endpoint}, which is not encrypted: ask your administrator to set \
                 http.public_url to the https address",
                self.server
            )));
        }
        Ok(())
    }

    fn to(&self, path: &[&str]) -> RequestBuilder {
        self.http.request(Method::POST, self.path(path))
    }

    fn post_form(&self, endpoint: &str, form: String) -> RequestBuilder {
        let request = self.http.request(Method::POST, endpoint);
        request.header("content-type", "application/x-www-form-urlencoded").body(form)
    }

    fn path(&self, path: &[&str]) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Error> {
        request.send().await.map_err(|reason| unreachable(&self.server, &reason))
    }

    async fn accepted(&self, answer: Response) -> Result<Response, Error> {
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let body = self.whole(answer).await.unwrap_or_default();
        Err(self.refusal(status, &serde_json::from_slice(&body).unwrap_or_default()))
    }

    async fn read<T: DeserializeOwned>(&self, answer: Response) -> Result<T, Error> {
        serde_json::from_slice(&self.whole(answer).await?).map_err(|_| self.not_sproxy())
    }

    async fn whole(&self, mut answer: Response) -> Result<Vec<u8>, Error> {
        let mut whole = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(|reason| unreachable(&self.server, &reason))? {
            if whole.len() + piece.len() > ANSWER_MAX {
                return Err(self.not_sproxy());
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole)
    }

    /// RFC 9457, or RFC 6749 (5.2), as one sentence.
    fn refusal(&self, status: StatusCode, body: &Value) -> Error {
        let mut fields = ["detail", "error_description", "title", "error"].iter();
        let said = fields.find_map(|field| body.get(*field)?.as_str());
        Error::Refused(said.map_or_else(|| format!("{} answered {status}", self.server), str::to_owned))
    }

    fn not_sproxy(&self) -> Error {
        Error::Refused(format!("{} does not answer like an sproxy node: check --server", self.server))
    }
}

fn form(fields: &[(&str, &str)]) -> String {
    let encoded = |text: &str| -> String {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let one = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
        text.bytes().map(one).collect()
    };
    let pairs = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value)));
    pairs.collect::<Vec<_>>().join("&")
}
