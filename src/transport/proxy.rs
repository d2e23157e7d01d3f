//! The way out through an HTTP proxy, with credentials if the proxy asks for them: a tunnel (CONNECT) for TLS and for
//! HTTP/2, and else requests that name their whole address (RFC 9112, 3.2.2), for many proxies carry CONNECT to port 443
//! only.

use std::fmt;
use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Uri};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The longest head of a proxy's answer.
const HEAD_MAX: usize = 8 * 1024;

/// A proxy. Its `Debug` form has no credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    host: String,
    port: u16,
    /// `Basic …`
    authorization: Option<String>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Proxy {
    /// The proxy at `http://user:password@host:port`; user and password may be percent-encoded.
    ///
    /// # Errors
    /// Why the text cannot be used, without the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|_| "the proxy is no URL".to_owned())?;
        if uri.scheme_str() != Some("http") {
            return Err("the proxy's URL has to begin with http://".to_owned());
        }
        let authority = uri.authority().ok_or("the proxy's URL names no host")?;
        let credentials = authority.as_str().rsplit_once('@').map(|(credentials, _)| credentials);
        let authorization = credentials.map(|text| format!("Basic {}", STANDARD.encode(decoded(text))));
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { host, port: authority.port_u16().unwrap_or(80), authorization })
    }

    /// `proxy-authorization` of requests that the proxy is to pass on.
    pub(super) fn authorization(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(self.authorization.as_deref()?).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// A connection to the proxy itself.
    pub(super) async fn connect(&self) -> io::Result<TcpStream> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await?;
        tcp.set_nodelay(true)?;
        Ok(tcp)
    }

    /// A connection to `host` and `port`, through the proxy.
    pub(super) async fn tunnel(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let mut tcp = self.connect().await?;
        let there = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let mut request = format!("CONNECT {there} HTTP/1.1\r\nhost: {there}\r\n");
        if let Some(authorization) = &self.authorization {
            request.push_str("proxy-authorization: ");
            request.push_str(authorization);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        tcp.write_all(request.as_bytes()).await?;
        let head = read_head(&mut tcp).await?;
        let status = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let status = String::from_utf8_lossy(status);
        let code = status.split(' ').nth(1).and_then(|code| code.parse::<u16>().ok());
        if code.is_some_and(|code| (200..300).contains(&code)) {
            return Ok(tcp);
        }
        let shown: String = status.chars().filter(|c| !c.is_control()).take(100).collect();
        Err(io::Error::other(self.refusal(&shown)))
    }

    /// What the proxy's own answer is called.
    pub(super) fn refusal(&self, status_line: &str) -> String {
        format!("the proxy {self:?} answered `{status_line}`")
    }
}

/// Byte by byte: what stands behind the head is the other side's, which may speak first.
async fn read_head(tcp: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= HEAD_MAX {
            return Err(io::Error::other("the proxy's answer is too long"));
        }
        head.push(tcp.read_u8().await?);
    }
    Ok(head)
}

fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        let hex = |at: usize| behind.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        if let (b'%', Some(high), Some(low)) = (byte, hex(0), hex(1)) {
            bytes.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
            rest = behind.get(2..).unwrap_or_default();
        } else {
            bytes.push(*byte);
            rest = behind;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_decoded_and_not_printed() {
        let proxy = Proxy::parse("http://al%40ice:p%3Aw@proxy.corp:3128").unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port), ("proxy.corp", 3128));
        let sent = proxy.authorization.clone().unwrap();
        assert_eq!(STANDARD.decode(sent.strip_prefix("Basic ").unwrap()).unwrap(), b"al@ice:p:w");
        assert_eq!(format!("{proxy:?}"), "proxy.corp:3128");
        assert!(Proxy::parse("https://proxy").is_err() && Proxy::parse("proxy:3128").is_err());
    }
}
