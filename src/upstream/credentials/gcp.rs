//! Access tokens of Google's cloud.

use std::sync::Arc;
use std::time::Duration;

use super::source::{CredentialSource, Lease};
use crate::cloud::gcp::{AccessToken, GcpCredentials, read_token};
use crate::domain::clock::Clock;
use crate::transport::{Exchange, refusal};

/// The machine's own server gives out the same token until five minutes before its end; asking earlier than that brings
/// nothing new.
const EARLY: Duration = Duration::from_secs(225);

/// A source of tokens for these credentials; `name` is the target's, for logs.
#[must_use]
pub fn gcp_source(
    name: &str,
    credentials: Arc<GcpCredentials>,
    exchange: Exchange,
    clock: Arc<dyn Clock>,
) -> CredentialSource<AccessToken> {
    let asked = Arc::new((credentials, exchange, Arc::clone(&clock)));
    CredentialSource::new(name, EARLY, clock, move || {
        let asked = Arc::clone(&asked);
        async move {
            let (credentials, exchange, clock) = &*asked;
            let token = fetch(credentials, exchange, &**clock).await?;
            Ok(Lease { expires_at: Some(token.expires_at), value: token })
        }
    })
}

async fn fetch(
    credentials: &GcpCredentials,
    exchange: &Exchange,
    clock: &dyn Clock,
) -> Result<AccessToken, String> {
    // Its time runs from before it was made, which is the safe side.
    let at = clock.now();
    let request = credentials.token_request(at).map_err(|error| error.to_string())?;
    let host = request.uri().host().unwrap_or_default().to_owned();
    let (status, body) = match credentials {
        GcpCredentials::Metadata { .. } => exchange.send_directly(request).await?,
        GcpCredentials::ServiceAccount(_) | GcpCredentials::AuthorizedUser(_) => {
            exchange.send(request).await?
        }
    };
    match read_token(&body, at) {
        Ok(token) if status.is_success() => Ok(token),
        Ok(_) => Err(format!("{host} answered {status}")),
        Err(told) => Err(format!("{host}: {}", refusal(status, &told))),
    }
}
