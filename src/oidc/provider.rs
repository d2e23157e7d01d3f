//! The identity provider itself: what it says of itself (OpenID Connect Discovery 1.0), its keys, and its tokens.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::{Mutex, Semaphore};
use url::form_urlencoded::{Serializer, byte_serialize};

use super::Error;
use crate::config::OidcConfig;
use crate::crypto::jwt::{self, Keys};
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::secret::Secret;
use crate::transport::{Exchange, Proxy};

/// How long what the provider says of itself, and its keys, are taken for true.
const FRESH: Duration = Duration::from_hours(1);
/// Between two looks for a key that nobody knows: whoever sends tokens does not decide how often the provider is asked.
const KEYS_AGAIN: Duration = Duration::from_mins(1);
/// Between two attempts to reach a provider that cannot be: whoever wants to sign in meanwhile is told so at once.
const METADATA_AGAIN: Duration = Duration::from_secs(5);
/// Questions to it at a time; whoever comes beyond them waits.
const AT_ONCE: usize = 16;
/// What clocks may differ by.
const SKEW: Duration = Duration::from_mins(1);
/// The grant was used, revoked or has expired, or its person may not sign in any more (RFC 6749, section 5.2).
const INVALID_GRANT: &str = "invalid_grant";

/// What a provider says of itself, as far as it matters here.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Metadata {
    issuer: String,
    pub(super) authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    userinfo_endpoint: Option<String>,
    pub(super) end_session_endpoint: Option<String>,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
    /// Its answers say whose they are (RFC 9207).
    #[serde(default, rename = "authorization_response_iss_parameter_supported")]
    pub(super) names_itself: bool,
}

/// What a provider gives for a code or a refresh token.
#[allow(clippy::struct_field_names, reason = "so they are called in the answer")]
#[derive(Clone, Deserialize)]
pub(super) struct Granted {
    pub(super) access_token: String,
    pub(super) id_token: Option<String>,
    pub(super) refresh_token: Option<String>,
}

/// An error of the token endpoint.
#[derive(Deserialize)]
struct Refusal {
    error: String,
    error_description: Option<String>,
}

/// Something that was fetched, and when.
struct Fetched<T> {
    what: Arc<T>,
    at: Timestamp,
}

/// What a provider has said of itself.
#[derive(Default)]
struct KnownMetadata {
    fetched: Option<Fetched<Metadata>>,
    /// When it was asked in vain, and why.
    in_vain: Option<(Timestamp, String)>,
}

pub(super) struct Provider {
    issuer: String,
    client_id: String,
    client_secret: Secret,
    exchange: Exchange,
    clock: Arc<dyn Clock>,
    places: Semaphore,
    metadata: Mutex<KnownMetadata>,
    keys: Mutex<Option<Fetched<Keys>>>,
}

impl Provider {
    pub(super) fn new(config: &OidcConfig, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let proxy = config.proxy.as_ref().map(|proxy| Proxy::parse(proxy.expose())).transpose()?;
        Ok(Self {
            issuer: config.issuer.clone(),
            client_id: config.client_id.clone(),
            client_secret: config.client_secret.clone(),
            exchange: Exchange { proxy, ca_file: config.ca_file.clone() },
            clock,
            places: Semaphore::new(AT_ONCE),
            metadata: Mutex::default(),
            keys: Mutex::default(),
        })
    }

    /// What the provider says of itself; what it said before, while it cannot be reached.
    pub(super) async fn metadata(&self) -> Result<Arc<Metadata>, Error> {
        let mut known = self.metadata.lock().await;
        let now = self.clock.now();
        if let Some(fetched) = known.fetched.as_ref().filter(|fetched| now < fetched.at.plus(FRESH)) {
            return Ok(Arc::clone(&fetched.what));
        }
        let lately = known.in_vain.as_ref().filter(|(at, _)| now < at.plus(METADATA_AGAIN));
        let failed = match lately {
            Some((_, reason)) => Error::Unreachable(reason.clone()),
            None => match self.fetch_metadata().await {
                Ok(metadata) => {
                    let what = Arc::new(metadata);
                    let fetched = Some(Fetched { what: Arc::clone(&what), at: now });
                    *known = KnownMetadata { fetched, in_vain: None };
                    return Ok(what);
                }
                Err(error) => {
                    if let Error::Unreachable(reason) = &error {
                        known.in_vain = Some((now, reason.clone()));
                    }
                    error
                }
            },
        };
        known.fetched.as_ref().map(|fetched| Arc::clone(&fetched.what)).ok_or(failed)
    }

    async fn fetch_metadata(&self) -> Result<Metadata, Error> {
        let url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let metadata: Metadata = serde_json::from_value(self.get(&url, None).await?)
            .map_err(|error| Error::Wrong(format!("{url}: {error}")))?;
        if metadata.issuer != self.issuer {
            let text = format!("{url} is of `{}`: write that as auth.oidc.issuer", metadata.issuer);
            return Err(Error::Wrong(text));
        }
        let Metadata { authorization_endpoint, token_endpoint, jwks_uri, .. } = &metadata;
        let others = metadata.userinfo_endpoint.iter().chain(&metadata.end_session_endpoint);
        for endpoint in [authorization_endpoint, token_endpoint, jwks_uri].into_iter().chain(others) {
            self.check_endpoint(endpoint)?;
        }
        Ok(metadata)
    }

    /// What an address with TLS names has it as well.
    fn check_endpoint(&self, endpoint: &str) -> Result<(), Error> {
        let uri = endpoint.parse::<Uri>().ok().filter(|uri| uri.host().is_some());
        let scheme = uri.as_ref().and_then(Uri::scheme_str);
        match scheme {
            Some("https") => Ok(()),
            Some("http") if self.issuer.starts_with("http://") => Ok(()),
            _ => Err(Error::Wrong(format!("it names `{endpoint}`, which is no https address"))),
        }
    }

    /// Tokens for the code that a browser brought.
    pub(super) async fn redeem_code(
        &self,
        code: &str,
        redirect_uri: &str,
        verifier: &str,
    ) -> Result<Granted, Error> {
        self.grant(&[
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect_uri),
            ("code_verifier", verifier),
        ])
        .await
    }

    /// Tokens for a refresh token: the provider's word that its person may still sign in.
    pub(super) async fn refresh(&self, refresh_token: &str) -> Result<Granted, Error> {
        self.grant(&[("grant_type", "refresh_token"), ("refresh_token", refresh_token)]).await
    }

    async fn grant(&self, fields: &[(&str, &str)]) -> Result<Granted, Error> {
        let metadata = self.metadata().await?;
        let (id, secret) = (self.client_id.as_str(), self.client_secret.expose());
        let methods = &metadata.token_endpoint_auth_methods_supported;
        let offers = |method: &str| methods.iter().any(|offered| offered == method);
        // Every provider knows the first (RFC 6749, section 2.3.1), some but the second.
        let by_body = !offers("client_secret_basic") && offers("client_secret_post");
        let mut fields = fields.to_vec();
        let mut request = Request::new(Bytes::new());
        if by_body {
            fields.extend([("client_id", id), ("client_secret", secret)]);
        } else {
            let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
            let pair = STANDARD.encode(format!("{}:{}", encoded(id), encoded(secret)));
            request.headers_mut().insert(AUTHORIZATION, header(&format!("Basic {pair}"))?);
        }
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri(&metadata.token_endpoint)?;
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert(CONTENT_TYPE, form_type);
        *request.body_mut() = Serializer::new(String::new()).extend_pairs(fields).finish().into();
        let (status, body) = self.send(request).await?;
        if status.is_success() {
            return serde_json::from_slice(&body)
                .map_err(|_| Error::Wrong("its tokens cannot be read".to_owned()));
        }
        match serde_json::from_slice::<Refusal>(&body) {
            Ok(refusal) if refusal.error == INVALID_GRANT => {
                Err(Error::refused(&refusal.error, refusal.error_description.as_deref()))
            }
            // It does not know this gateway, say: no word about the person.
            Ok(refusal) => {
                let description = refusal.error_description.unwrap_or_default();
                Err(Error::Wrong(format!("its token endpoint says {}: {description}", refusal.error)))
            }
            Err(_) => Err(Error::Unreachable(format!("its token endpoint answers {status}"))),
        }
    }

    /// What it says about the person of an access token. `None`: it has no place to ask.
    pub(super) async fn userinfo(&self, access_token: &str) -> Result<Option<Map<String, Value>>, Error> {
        let metadata = self.metadata().await?;
        let Some(endpoint) = &metadata.userinfo_endpoint else { return Ok(None) };
        match self.get(endpoint, Some(access_token)).await? {
            Value::Object(claims) => Ok(Some(claims)),
            _ => Err(Error::Wrong("what it says of you cannot be read".to_owned())),
        }
    }

    /// What an ID token says, which has to be of this provider, for this gateway and, where a nonce is asked for, of this
    /// very sign-in (OpenID Connect Core 1.0, sections 3.1.3.7 and 12.2).
    pub(super) async fn id_claims(
        &self,
        token: &str,
        nonce: Option<&str>,
    ) -> Result<Map<String, Value>, Error> {
        let claims = self.claims(token).await?;
        let wrong = |what: &str| Err(Error::Wrong(format!("the ID token {what}")));
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let audiences = claims.get("aud").and_then(Value::as_array).map_or(1, Vec::len);
        // With several, it has to say which of them it was made for.
        if text("azp").map_or(audiences > 1, |azp| azp != self.client_id) {
            return wrong("was made for another application");
        }
        self.demand_unexpired(&claims)?;
        if nonce.is_some() && text("nonce") != nonce {
            return wrong("is of another sign-in");
        }
        Ok(claims)
    }

    /// Refuses what a token says whose time is over.
    pub(super) fn demand_unexpired(&self, claims: &Map<String, Value>) -> Result<(), Error> {
        let now = self.clock.now();
        if seconds(claims, "exp").is_none_or(|at| at.plus(SKEW) <= now) {
            return Err(Error::Wrong("its token has expired".to_owned()));
        }
        Ok(())
    }

    /// What a signed token says that has to be of this provider, for this gateway, and made by now.
    pub(super) async fn claims(&self, token: &str) -> Result<Map<String, Value>, Error> {
        let claims = self.verify(token).await?;
        let wrong = |what: &str| Err(Error::Wrong(format!("its token {what}")));
        if claims.get("iss").and_then(Value::as_str) != Some(&self.issuer) {
            return wrong("is of somebody else");
        }
        let is_for_us = match claims.get("aud") {
            Some(Value::String(aud)) => *aud == self.client_id,
            Some(Value::Array(aud)) => aud.iter().any(|aud| aud.as_str() == Some(&self.client_id)),
            _ => false,
        };
        if !is_for_us {
            return wrong("is for another application");
        }
        let now = self.clock.now();
        let is_early = |name| seconds(&claims, name).is_some_and(|at| now.plus(SKEW) < at);
        if !claims.contains_key("iat") || is_early("iat") || is_early("nbf") {
            return wrong("is of a time to come: compare the clocks of the two machines");
        }
        Ok(claims)
    }

    async fn verify(&self, token: &str) -> Result<Map<String, Value>, Error> {
        let verified = match self.keys(false).await?.verify(token) {
            // The provider may have new ones.
            Err(jwt::Error::UnknownKey | jwt::Error::Signature) => self.keys(true).await?.verify(token),
            verified => verified,
        };
        verified.map_err(|error| Error::Wrong(format!("its token is not accepted: {error}")))
    }

    /// Its keys, as they were in the last hour, or `newer` ones if nobody has looked for them a moment ago.
    async fn keys(&self, newer: bool) -> Result<Arc<Keys>, Error> {
        let mut known = self.keys.lock().await;
        let (now, fresh) = (self.clock.now(), if newer { KEYS_AGAIN } else { FRESH });
        if let Some(fetched) = known.as_ref().filter(|fetched| now < fetched.at.plus(fresh)) {
            return Ok(Arc::clone(&fetched.what));
        }
        let fetched = match self.fetch_keys().await {
            Ok(keys) => Fetched { what: Arc::new(keys), at: now },
            // The ones from before are better than none, and it is not asked at every token.
            Err(error) => {
                let before = known.as_ref().map(|fetched| Arc::clone(&fetched.what)).ok_or(error)?;
                Fetched { what: before, at: now }
            }
        };
        let keys = Arc::clone(&fetched.what);
        *known = Some(fetched);
        Ok(keys)
    }

    async fn fetch_keys(&self) -> Result<Keys, Error> {
        let url = &self.metadata().await?.jwks_uri;
        let set = self.get(url, None).await?;
        Keys::read(&set).ok_or_else(|| Error::Wrong(format!("{url} holds no keys")))
    }

    async fn get(&self, url: &str, access_token: Option<&str>) -> Result<Value, Error> {
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = uri(url)?;
        if let Some(token) = access_token {
            request.headers_mut().insert(AUTHORIZATION, header(&format!("Bearer {token}"))?);
        }
        let (status, body) = self.send(request).await?;
        if !status.is_success() {
            return Err(Error::Unreachable(format!("{url} answers {status}")));
        }
        serde_json::from_slice(&body).map_err(|_| Error::Wrong(format!("{url} holds no JSON")))
    }

    async fn send(&self, mut request: Request<Bytes>) -> Result<(StatusCode, Bytes), Error> {
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
        let _place = self.places.acquire().await.map_err(|error| Error::Unreachable(error.to_string()))?;
        self.exchange.send(request).await.map_err(Error::Unreachable)
    }
}

/// `url` with fields in its query, beside those that it has.
pub(super) fn with_query(url: &str, fields: &[(&str, &str)]) -> String {
    let query = Serializer::new(String::new()).extend_pairs(fields).finish();
    let glue = if url.contains('?') { '&' } else { '?' };
    format!("{url}{glue}{query}")
}

/// A time in whole or broken seconds since the epoch.
fn seconds(claims: &Map<String, Value>, name: &str) -> Option<Timestamp> {
    let value = claims.get(name)?;
    #[allow(
        clippy::cast_possible_truncation,
        reason = "a broken second is of no interest, and `as` keeps within bounds"
    )]
    let seconds = value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds as i64))?;
    Some(Timestamp::from_micros(seconds.saturating_mul(1_000_000)))
}

fn uri(url: &str) -> Result<Uri, Error> {
    url.parse().map_err(|_| Error::Wrong(format!("`{url}` is no address")))
}

fn header(text: &str) -> Result<HeaderValue, Error> {
    let mut value =
        HeaderValue::from_str(text).map_err(|_| Error::Wrong("its token has odd letters".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}
