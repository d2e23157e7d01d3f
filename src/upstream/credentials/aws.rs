//! Credentials of AWS.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};

use super::source::{CredentialSource, Lease};
use crate::cloud::aws_credentials::{
    AwsCredentials, AwsSource, Container, ContainerToken, Instance, WebIdentity, read_json, read_sts,
};
use crate::domain::clock::Clock;
use crate::transport::{Exchange, refusal};

/// Agents give out new ones at least five minutes before the old ones end, AWS's own clients ask ten to fifteen minutes
/// before.
const EARLY: Duration = Duration::from_mins(10);

/// A source of credentials; `name` is the target's, for logs.
#[must_use]
pub fn aws_source(
    name: &str,
    source: AwsSource,
    exchange: Exchange,
    clock: Arc<dyn Clock>,
) -> CredentialSource<AwsCredentials> {
    let asked = Arc::new((source, exchange));
    CredentialSource::new(name, EARLY, clock, move || {
        let asked = Arc::clone(&asked);
        async move {
            let (source, exchange) = &*asked;
            let credentials = fetch(source, exchange).await?;
            Ok(Lease { expires_at: credentials.expires_at, value: credentials })
        }
    })
}

async fn fetch(source: &AwsSource, exchange: &Exchange) -> Result<AwsCredentials, String> {
    match source {
        AwsSource::Static(credentials) => Ok(credentials.clone()),
        AwsSource::WebIdentity(identity) => of_web_identity(identity, exchange).await,
        AwsSource::Container(container) => of_container(container, exchange).await,
        AwsSource::Instance(instance) => of_instance(instance, exchange).await,
    }
}

async fn of_web_identity(identity: &WebIdentity, exchange: &Exchange) -> Result<AwsCredentials, String> {
    let request = identity.request(&read(&identity.token_file).await?);
    let host = host(&request);
    let (status, body) = exchange.send(request).await?;
    made(&host, status, read_sts(&body))
}

async fn of_container(container: &Container, exchange: &Exchange) -> Result<AwsCredentials, String> {
    let token = match &container.token {
        ContainerToken::None => None,
        ContainerToken::Text(token) => Some(token.expose().to_owned()),
        ContainerToken::File(path) => Some(read(path).await?),
    };
    let request = container.request(token.as_deref()).map_err(|error| error.to_string())?;
    let host = host(&request);
    let (status, body) = exchange.send_directly(request).await?;
    made(&host, status, read_json(&body))
}

async fn of_instance(instance: &Instance, exchange: &Exchange) -> Result<AwsCredentials, String> {
    let text = async |request: Request<Bytes>| {
        let host = host(&request);
        let (status, body) = exchange.send_directly(request).await?;
        match std::str::from_utf8(&body) {
            Ok(text) if status.is_success() && !text.trim().is_empty() => Ok(text.trim().to_owned()),
            // What it says may be the token.
            _ => Err(format!("{host} answered {status}")),
        }
    };
    let words = |error: crate::cloud::machine::BadCredentials| error.to_string();
    let token = text(instance.token_request().map_err(words)?).await?;
    let roles = text(instance.role_request(&token).map_err(words)?).await?;
    let role = roles.lines().next().unwrap_or_default();
    let request = instance.credentials_request(&token, role).map_err(words)?;
    let host = host(&request);
    let (status, body) = exchange.send_directly(request).await?;
    made(&host, status, read_json(&body))
}

fn made(
    host: &str,
    status: StatusCode,
    read: Result<AwsCredentials, String>,
) -> Result<AwsCredentials, String> {
    match read {
        Ok(credentials) if status.is_success() => Ok(credentials),
        Ok(_) => Err(format!("{host} answered {status}")),
        Err(told) => Err(format!("{host}: {}", refusal(status, &told))),
    }
}

fn host(request: &Request<Bytes>) -> String {
    request.uri().host().unwrap_or_default().to_owned()
}

async fn read(path: &Path) -> Result<String, String> {
    tokio::fs::read_to_string(path).await.map_err(|error| format!("{}: {error}", path.display()))
}
