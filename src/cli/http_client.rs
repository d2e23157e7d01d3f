//! How commands reach a server: its address as a value, a client of it, and why it does not answer, in one sentence.

use std::path::Path;
use std::time::Duration;

use reqwest::{Certificate, ClientBuilder, Url};

use super::error::Error;
use crate::domain::network::is_loopback;

/// To a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two pieces of an answer; a whole one may take as long as it has something to say.
const READ_TIMEOUT: Duration = Duration::from_mins(1);

/// The address of a server.
///
/// # Errors
/// [`Error::Usage`] when `server` is no `http` or `https` URL.
pub fn parse(server: &str) -> Result<Url, Error> {
    let url = Url::parse(server).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or_else(|| Error::Usage(format!("--server `{server}` is no URL such as http://127.0.0.1:9000")))
}

/// A client of the server at `server`; whoever finishes it may still change it.
pub fn builder(server: &str) -> ClientBuilder {
    let http = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        // A redirect would carry the token to an address that nobody named.
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("sproxy/", env!("CARGO_PKG_VERSION")));
    if is_local(server) { http.no_proxy() } else { http }
}

/// Trusts the authorities in a PEM file besides the system's.
///
/// # Errors
/// [`Error::Usage`] when the file cannot be used.
pub fn trusting(http: ClientBuilder, ca_file: Option<&Path>) -> Result<ClientBuilder, Error> {
    let Some(file) = ca_file else { return Ok(http) };
    let failed = |reason: String| Error::Usage(format!("--ca-file {}: {reason}", file.display()));
    let pem = std::fs::read(file).map_err(|reason| failed(reason.to_string()))?;
    let authorities = Certificate::from_pem_bundle(&pem).map_err(|reason| failed(reason.to_string()))?;
    if authorities.is_empty() {
        return Err(failed("there is no certificate in it".to_owned()));
    }
    Ok(http.tls_certs_merge(authorities))
}

/// Why a server does not answer.
#[must_use]
pub fn unreachable(server: &str, reason: &reqwest::Error) -> Error {
    // The innermost cause is the one that people know: connection refused, name not known.
    let mut cause: &dyn std::error::Error = reason;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    Error::Unreachable { server: server.trim_end_matches('/').to_owned(), reason: cause.to_string() }
}

/// Whether `server` is this machine's loopback.
#[must_use]
pub fn is_local(server: &str) -> bool {
    let Ok(url) = Url::parse(server) else { return false };
    url.host_str().is_some_and(is_loopback)
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
