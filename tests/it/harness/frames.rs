//! An HTTP/2 server that plays each frame by hand, in clear or over TLS with ALPN: limits on streams, refusals, GOAWAY,
//! windows, silence. The test says, in an async function, what happens on each connection.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;

pub const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

pub const NO_ERROR: u32 = 0;
pub const REFUSED_STREAM: u32 = 7;
pub const CANCEL: u32 = 8;

/// `SETTINGS_MAX_CONCURRENT_STREAMS`
pub const MAX_STREAMS: u16 = 3;
/// `SETTINGS_INITIAL_WINDOW_SIZE`
pub const INITIAL_WINDOW: u16 = 4;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// A frame as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// Whether it is the last of a request.
    pub fn ends_request(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }
}

/// One connection, in the test's hand.
pub struct Connection {
    /// Counts from 0, in the order in which they were accepted.
    pub number: usize,
    socket: Box<dyn Socket>,
}

/// A server of such connections; it ends with this value.
pub struct FrameServer {
    pub address: SocketAddr,
    is_tls: bool,
    accepted: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Drop for FrameServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The directory of certificates for tests.
pub fn pki() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tls"))
}

/// A TLS server's side with the tests' certificate for `localhost`, offering these protocols.
pub fn acceptor(protocols: &[&[u8]]) -> TlsAcceptor {
    let certificates =
        CertificateDer::pem_file_iter(pki().join("node.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(pki().join("node.key")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

impl FrameServer {
    /// Serves each connection with `play`; it is closed when that ends.
    pub async fn start<P>(is_tls: bool, play: impl Fn(Connection) -> P + Send + 'static) -> Self
    where
        P: Future<Output = Option<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&accepted);
        let tls = is_tls.then(|| acceptor(&[b"h2"]));
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                tcp.set_nodelay(true).unwrap();
                let socket: Box<dyn Socket> = match &tls {
                    None => Box::new(tcp),
                    Some(tls) => match tls.accept(tcp).await {
                        Ok(stream) => Box::new(stream),
                        Err(_) => continue,
                    },
                };
                let number = counter.fetch_add(1, Ordering::Relaxed);
                let mut connection = Connection { number, socket };
                if connection.greet().await.is_some() {
                    connections.spawn(play(connection));
                }
            }
        });
        Self { address, is_tls, accepted, serving }
    }

    /// Connections so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// A `[[targets]]` entry for it, with `more` lines.
    pub fn target(&self, name: &str, more: &str) -> String {
        let (scheme, port) = (if self.is_tls { "https" } else { "http" }, self.address.port());
        let version = if self.is_tls {
            format!("ca_file = \"{}\"", pki().join("ca.pem").display())
        } else {
            "http2_only = true".to_owned()
        };
        format!(
            "[[targets]]\nname = \"{name}\"\nprovider = \"openai\"\nurl = \"{scheme}://localhost:{port}\"\n\
             api_key = \"upstream-secret\"\n{version}\n{more}\n"
        )
    }
}

impl Connection {
    async fn greet(&mut self) -> Option<()> {
        let mut preface = [0; PREFACE.len()];
        self.socket.read_exact(&mut preface).await.ok()?;
        (preface == PREFACE).then_some(())
    }

    /// The next frame; none at the connection's end.
    pub async fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.socket.read_exact(&mut head).await.ok()?;
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(len).unwrap()];
        self.socket.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// The next frame that says something: SETTINGS and PING are acknowledged, windows are widened, on the way.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            let frame = self.read().await?;
            match frame.kind {
                SETTINGS if frame.flags & ACK == 0 => self.write(SETTINGS, ACK, 0, &[]).await?,
                PING if frame.flags & ACK == 0 => self.write(PING, ACK, 0, &frame.payload).await?,
                SETTINGS | PING | WINDOW_UPDATE => {}
                DATA if frame.payload.is_empty() => return Some(frame),
                DATA => {
                    let len = u32::try_from(frame.payload.len()).unwrap().to_be_bytes();
                    self.write(WINDOW_UPDATE, 0, 0, &len).await?;
                    return Some(frame);
                }
                _ => return Some(frame),
            }
        }
    }

    /// The stream of the next request that has wholly arrived.
    pub async fn request(&mut self) -> Option<u32> {
        loop {
            let frame = self.next().await?;
            if frame.ends_request() {
                return Some(frame.stream);
            }
        }
    }

    pub async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Option<()> {
        self.write_all(&framed(kind, flags, stream, payload)).await
    }

    async fn write_all(&mut self, frames: &[u8]) -> Option<()> {
        self.socket.write_all(frames).await.ok()?;
        self.socket.flush().await.ok()
    }

    pub async fn settings(&mut self, settings: &[(u16, u32)]) -> Option<()> {
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        self.write(SETTINGS, 0, 0, &payload).await
    }

    /// The head of an answer: its status and further headers, which are written out plainly.
    pub async fn head(&mut self, stream: u32, status: u16, headers: &[(&str, &str)]) -> Option<()> {
        let mut block = Vec::new();
        literal(&mut block, ":status", &status.to_string());
        for (name, value) in headers {
            literal(&mut block, name, value);
        }
        self.write(HEADERS, END_HEADERS, stream, &block).await
    }

    pub async fn data(&mut self, stream: u32, bytes: &[u8], is_last: bool) -> Option<()> {
        self.write(DATA, if is_last { END_STREAM } else { 0 }, stream, bytes).await
    }

    /// So many frames with the same bytes.
    pub async fn data_again_and_again(&mut self, stream: u32, bytes: &[u8], times: usize) -> Option<()> {
        self.write_all(&framed(DATA, 0, stream, bytes).repeat(times)).await
    }

    /// A whole JSON answer.
    pub async fn answer_json(&mut self, stream: u32, body: &str) -> Option<()> {
        self.head(stream, 200, &[("content-type", "application/json")]).await?;
        self.data(stream, body.as_bytes(), true).await
    }

    pub async fn reset(&mut self, stream: u32, reason: u32) -> Option<()> {
        self.write(RST_STREAM, 0, stream, &reason.to_be_bytes()).await
    }

    pub async fn go_away(&mut self, last_stream: u32, reason: u32) -> Option<()> {
        let mut payload = last_stream.to_be_bytes().to_vec();
        payload.extend(reason.to_be_bytes());
        self.write(GOAWAY, 0, 0, &payload).await
    }

    /// Reads until the other side closes.
    pub async fn until_closed(&mut self) -> Option<()> {
        while self.next().await.is_some() {}
        None
    }
}

fn framed(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![len[1], len[2], len[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// RFC 7541, 6.2.2: a literal without indexing, with a new name, nothing compressed.
fn literal(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    for text in [name, value] {
        block.push(u8::try_from(text.len()).ok().filter(|len| *len < 127).expect("a short text"));
        block.extend(text.as_bytes());
    }
}
