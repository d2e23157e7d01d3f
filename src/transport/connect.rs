//! Dialling: TCP without Nagle, TLS with rustls, HTTP version by ALPN.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Http2;
use super::proxy::Proxy;

/// Opens connections to one address.
pub(super) struct Dialer {
    host: String,
    port: u16,
    proxy: Option<Proxy>,
    limit: Duration,
    /// Over TLS the version is negotiated; in clear, HTTP/2 has to be known beforehand.
    http2: Http2,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// A fresh connection, by what is spoken on it.
pub(super) enum Connected {
    /// HTTP/1.1: one exchange at a time.
    Http1(MaybeTlsStream),
    /// HTTP/2: many exchanges.
    Http2(MaybeTlsStream),
}

/// A connection in clear or under TLS.
pub(super) enum MaybeTlsStream {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Dialer {
    pub(super) fn new(
        uri: &Uri,
        limit: Duration,
        http2: Http2,
        ca_file: Option<&Path>,
        proxy: Option<Proxy>,
    ) -> Result<Self, String> {
        let host = uri.host().ok_or("the URL names no host")?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let is_tls = uri.scheme_str() == Some("https");
        let tls = is_tls.then(|| tls(&host, http2, ca_file)).transpose()?;
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        Ok(Self { host, port, proxy, limit, http2, tls })
    }

    pub(super) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The proxy that passes requests on, where there is one and no tunnel is needed. HTTP/2 without TLS has to be
    /// known beforehand, and of a proxy nobody knows it.
    pub(super) fn forwarder(&self) -> Option<&Proxy> {
        self.proxy.as_ref().filter(|_| self.tls.is_none() && self.http2 != Http2::Only)
    }

    /// A new connection, or the reason why none can be opened.
    pub(super) async fn dial(&self) -> Result<Connected, String> {
        let connected = timeout(self.limit, self.connect()).await;
        connected
            .map_err(|_| format!("no connection within {}", humantime::format_duration(self.limit)))?
            .map_err(|e| e.to_string())
    }

    /// A new connection for a protocol that begins as HTTP/1.1: straight through, or through a tunnel of the proxy.
    pub(super) async fn dial_http1(&self) -> Result<MaybeTlsStream, String> {
        let connected = timeout(self.limit, self.connect_http1()).await;
        connected
            .map_err(|_| format!("no connection within {}", humantime::format_duration(self.limit)))?
            .map_err(|e| e.to_string())
    }

    async fn connect_http1(&self) -> io::Result<MaybeTlsStream> {
        let tcp = match &self.proxy {
            Some(proxy) => proxy.tunnel(&self.host, self.port).await?,
            None => TcpStream::connect((self.host.as_str(), self.port)).await?,
        };
        tcp.set_nodelay(true)?;
        let Some((connector, name)) = &self.tls else { return Ok(MaybeTlsStream::Clear(tcp)) };
        let mut config = ClientConfig::clone(connector.config());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let tls = TlsConnector::from(Arc::new(config)).connect(name.clone(), tcp).await?;
        Ok(MaybeTlsStream::Tls(Box::new(tls)))
    }

    async fn connect(&self) -> io::Result<Connected> {
        let tcp = match &self.proxy {
            Some(proxy) if self.forwarder().is_some() => proxy.connect().await?,
            Some(proxy) => proxy.tunnel(&self.host, self.port).await?,
            None => TcpStream::connect((self.host.as_str(), self.port)).await?,
        };
        tcp.set_nodelay(true)?;
        let Some((connector, name)) = &self.tls else {
            let stream = MaybeTlsStream::Clear(tcp);
            let known = self.http2 == Http2::Only;
            return Ok(if known { Connected::Http2(stream) } else { Connected::Http1(stream) });
        };
        let tls = connector.connect(name.clone(), tcp).await?;
        let multiplexed = tls.get_ref().1.alpn_protocol() == Some(b"h2");
        let stream = MaybeTlsStream::Tls(Box::new(tls));
        Ok(if multiplexed { Connected::Http2(stream) } else { Connected::Http1(stream) })
    }
}

/// How other servers are recognised: by the public authorities, and those in a file.
///
/// # Errors
/// In words: the file cannot be read, or holds something else.
pub fn tls_config(ca_file: Option<&Path>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = ca_file {
        let unreadable = |e: &dyn std::fmt::Display| format!("CA file {}: {e}", path.display());
        for certificate in CertificateDer::pem_file_iter(path).map_err(|e| unreadable(&e))? {
            let certificate = certificate.map_err(|e| unreadable(&e))?;
            roots.add(certificate).map_err(|e| unreadable(&e))?;
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

fn tls(
    host: &str,
    http2: Http2,
    ca_file: Option<&Path>,
) -> Result<(TlsConnector, ServerName<'static>), String> {
    let mut config = tls_config(ca_file)?;
    config.alpn_protocols = match http2 {
        Http2::No => vec![b"http/1.1".to_vec()],
        Http2::Offered => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        Http2::Only => vec![b"h2".to_vec()],
    };
    let name = ServerName::try_from(host.to_owned()).map_err(|e| format!("`{host}`: {e}"))?;
    Ok((TlsConnector::from(Arc::new(config)), name))
}

impl AsyncRead for MaybeTlsStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for MaybeTlsStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Clear(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Clear(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Self::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Clear(tcp) => tcp.is_write_vectored(),
            Self::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
