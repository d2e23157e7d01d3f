//! Small HTTP proxies, which lead to one place whatever they are asked for.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, copy, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A proxy that carries CONNECT and nothing else; it ends with this value.
pub struct ConnectProxy {
    pub address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

impl Drop for ConnectProxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl ConnectProxy {
    /// Leads everything to `place`; refuses with 407 what does not bring `authorization`, where that is asked for.
    pub async fn start(place: SocketAddr, authorization: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&heads);
        let serving = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(carry(socket, place, authorization, Arc::clone(&seen)));
            }
        });
        Self { address, heads, serving }
    }

    /// The heads of all requests so far.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn carry(
    mut socket: TcpStream,
    place: SocketAddr,
    authorization: Option<&'static str>,
    seen: Arc<Mutex<Vec<String>>>,
) -> Option<()> {
    let head = read_head(&mut socket).await?;
    seen.lock().unwrap().push(head.clone());
    let line = authorization.map(|value| format!("proxy-authorization: {value}\r\n"));
    if line.is_some_and(|line| !head.contains(&line)) {
        socket
            .write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
            .await
            .ok()?;
        return None;
    }
    let mut there = TcpStream::connect(place).await.ok()?;
    socket.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.ok()?;
    copy_bidirectional(&mut socket, &mut there).await.ok()?;
    Some(())
}

/// A small HTTP proxy that passes requests on, to one place whatever they name, and carries no CONNECT: what most of them
/// do for what is not TLS (squid carries it to port 443 only).
pub struct ForwardProxy {
    pub address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Drop for ForwardProxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl ForwardProxy {
    /// Leads everything to `place`; refuses with 407 what does not bring `authorization`.
    pub async fn start(place: SocketAddr, authorization: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (heads, connections) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicUsize>::default());
        let (seen, accepted) = (Arc::clone(&heads), Arc::clone(&connections));
        let serving = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(forward(socket, place, authorization, Arc::clone(&seen)));
            }
        });
        Self { address, heads, connections, serving }
    }

    /// The heads of all requests so far.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn forward(
    socket: TcpStream,
    place: SocketAddr,
    authorization: &'static str,
    seen: Arc<Mutex<Vec<String>>>,
) -> Option<()> {
    let (mut from_caller, to_caller) = socket.into_split();
    let (from_place, mut to_place) = TcpStream::connect(place).await.ok()?.into_split();
    let mut way_back = Some((from_place, to_caller));
    loop {
        let head = read_head(&mut from_caller).await?;
        seen.lock().unwrap().push(head.clone());
        let (line, headers) = head.split_once("\r\n").unwrap();
        let (method, target) = line.strip_suffix(" HTTP/1.1").unwrap().split_once(' ').unwrap();
        let credentials = format!("proxy-authorization: {authorization}\r\n");
        let origin = target.strip_prefix("http://").filter(|_| headers.contains(&credentials));
        let Some(origin) = origin else {
            let refusal = if headers.contains(&credentials) {
                "403 Forbidden"
            } else {
                "407 Proxy Authentication Required\r\nproxy-authenticate: Basic realm=\"corp\""
            };
            let answer = format!("HTTP/1.1 {refusal}\r\ncontent-length: 0\r\n\r\n");
            way_back?.1.write_all(answer.as_bytes()).await.ok()?;
            return None;
        };
        // RFC 9112, 3.2.1: the origin gets the path alone. RFC 9110, 11.7.2: the credentials are the proxy's.
        let path = &origin[origin.find('/').unwrap()..];
        let head = format!("{method} {path} HTTP/1.1\r\n{}", headers.replace(&credentials, ""));
        let length = headers.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next());
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        from_caller.read_exact(&mut body).await.ok()?;
        to_place.write_all(&[head.as_bytes(), &body].concat()).await.ok()?;
        if let Some((mut from_place, mut to_caller)) = way_back.take() {
            tokio::spawn(async move { copy(&mut from_place, &mut to_caller).await });
        }
    }
}

async fn read_head(from: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(from.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}
