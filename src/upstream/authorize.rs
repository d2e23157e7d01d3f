//! What a request proves itself with: a header that never changes, a signature, or a token that is exchanged.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, InvalidHeaderValue};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};

use super::credentials::{CredentialSource, CredentialStatus, aws_source, gcp_source};
use crate::cloud::aws_credentials::AwsCredentials;
use crate::cloud::credentials::CloudCredentials;
use crate::cloud::gcp::AccessToken;
use crate::cloud::sigv4::{Signer, UnsignedRequest};
use crate::domain::clock::Clock;
use crate::transport::Exchange;

/// The project that pays for a person's calls.
const USER_PROJECT: HeaderName = HeaderName::from_static("x-goog-user-project");

/// Where signatures of a target are good.
pub(super) struct SigningScope {
    pub(super) region: String,
    pub(super) service: &'static str,
    /// The value of `host`.
    pub(super) host: String,
}

/// Credentials that end, and are exchanged while the node runs.
pub(super) enum CloudSource {
    Aws(CredentialSource<AwsCredentials>),
    Gcp { tokens: CredentialSource<AccessToken>, user_project: Option<HeaderValue> },
}

/// What a request was sent with.
pub(super) enum Sent {
    Aws(Arc<AwsCredentials>),
    Gcp(Arc<AccessToken>),
}

impl CloudSource {
    /// `name` is the target's, for logs.
    pub(super) fn new(
        name: &str,
        credentials: CloudCredentials,
        exchange: Exchange,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        match credentials {
            CloudCredentials::Aws(source) => Self::Aws(aws_source(name, source, exchange, Arc::clone(clock))),
            CloudCredentials::Gcp(credentials) => Self::Gcp {
                user_project: credentials
                    .quota_project()
                    .and_then(|project| HeaderValue::from_str(project).ok()),
                tokens: gcp_source(name, credentials, exchange, Arc::clone(clock)),
            },
        }
    }

    /// Makes `request` one that its target accepts. Nothing of it may change afterwards.
    ///
    /// # Errors
    /// There are no credentials now; why, in words.
    pub(super) async fn authorize(
        &self,
        request: &mut Request<Bytes>,
        scope: Option<&SigningScope>,
        clock: &dyn Clock,
    ) -> Result<Sent, String> {
        match self {
            Self::Aws(source) => {
                let credentials = source.get().await.map_err(|error| error.to_string())?;
                let scope = scope.ok_or("no region is known to sign for")?;
                sign(request, scope, &credentials, clock).map_err(|error| error.to_string())?;
                Ok(Sent::Aws(credentials))
            }
            Self::Gcp { tokens, user_project } => {
                let token = tokens.get().await.map_err(|error| error.to_string())?;
                let value = HeaderValue::from_str(&format!("Bearer {}", token.text.expose()));
                let mut value = value.map_err(|error| error.to_string())?;
                value.set_sensitive(true);
                request.headers_mut().insert(AUTHORIZATION, value);
                if let Some(project) = user_project {
                    request.headers_mut().insert(USER_PROJECT, project.clone());
                }
                Ok(Sent::Gcp(token))
            }
        }
    }

    /// An answer says that what was sent is not accepted any more: others are had for the next request.
    pub(super) fn answered(&self, sent: &Sent, status: StatusCode, headers: &HeaderMap) {
        match (self, sent) {
            (Self::Aws(source), Sent::Aws(sent)) if is_expired(status, headers) => source.reject(sent),
            (Self::Gcp { tokens, .. }, Sent::Gcp(sent)) if status == StatusCode::UNAUTHORIZED => {
                tokens.reject(sent);
            }
            _ => {}
        }
    }

    /// Has new ones exchanged if it is time to, so that no request has to wait. Idempotent; the caller ticks it.
    pub(super) fn refresh(&self) {
        match self {
            Self::Aws(source) => source.refresh(),
            Self::Gcp { tokens, .. } => tokens.refresh(),
        }
    }

    pub(super) fn status(&self) -> CredentialStatus {
        match self {
            Self::Aws(source) => source.status(),
            Self::Gcp { tokens, .. } => tokens.status(),
        }
    }
}

fn sign(
    request: &mut Request<Bytes>,
    scope: &SigningScope,
    credentials: &AwsCredentials,
    clock: &dyn Clock,
) -> Result<(), InvalidHeaderValue> {
    let signer = Signer { credentials, region: &scope.region, service: scope.service };
    let unsigned = UnsignedRequest {
        method: request.method(),
        host: &scope.host,
        path: request.uri().path(),
        query: request.uri().query(),
        headers: request.headers(),
        body: request.body(),
    };
    let added = signer.sign(&unsigned, clock.now())?;
    request.headers_mut().extend(added);
    Ok(())
}

/// Whether AWS says that the credentials themselves are at fault, and not what they may be used for.
fn is_expired(status: StatusCode, headers: &HeaderMap) -> bool {
    const OF_CREDENTIALS: [&str; 4] =
        ["ExpiredToken", "UnrecognizedClient", "InvalidClientTokenId", "InvalidSignature"];
    let said = headers.get("x-amzn-errortype").and_then(|said| said.to_str().ok()).unwrap_or_default();
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
        && OF_CREDENTIALS.iter().any(|kind| said.starts_with(kind))
}
