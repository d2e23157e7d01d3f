//! A provider whose every byte is the test's own: it reads requests and writes what it is told, piece by piece.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// What the provider does next with the connection it answers on.
#[derive(Clone, Debug)]
pub enum Move {
    /// Writes these bytes.
    Write(Vec<u8>),
    /// Writes these bytes, which complete the answer: what follows belongs to the next request.
    Complete(Vec<u8>),
    /// Closes the connection.
    Close,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Request {
    /// Request line and headers.
    pub head: String,
    pub body: Vec<u8>,
}

/// A provider that answers under a test's control.
pub struct Scripted {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    moves: mpsc::UnboundedSender<Move>,
    serving: JoinHandle<()>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Scripted {
    /// Serves one connection after the other; moves are made in order, by whichever connection is open.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (moves, mut todo) = mpsc::unbounded_channel();
        let seen = Arc::clone(&requests);
        let serving = tokio::spawn(async move {
            let mut next = None;
            while let Ok((mut socket, _)) = listener.accept().await {
                socket.set_nodelay(true).unwrap();
                while serve(&mut socket, &seen, &mut todo, &mut next).await.is_some() {}
            }
        });
        Self { address, requests, moves, serving }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Writes bytes when a request has been read.
    pub fn write(&self, bytes: impl Into<Vec<u8>>) -> &Self {
        self.moves.send(Move::Write(bytes.into())).unwrap();
        self
    }

    /// A whole JSON answer.
    pub fn answer_json(&self, body: &str) -> &Self {
        self.complete(format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    /// The same on a connection that closes after it: targets share no connections, and this provider serves one at a time.
    pub fn answer_json_and_close(&self, body: &str) -> &Self {
        self.write(format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
        .close()
    }

    /// The head of a stream of events.
    pub fn begin_stream(&self) -> &Self {
        self.write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    }

    /// One chunk of a chunked body.
    pub fn chunk(&self, bytes: &str) -> &Self {
        self.write(format!("{:x}\r\n{bytes}\r\n", bytes.len()))
    }

    /// The end of a chunked body.
    pub fn end(&self) -> &Self {
        self.complete("0\r\n\r\n")
    }

    fn complete(&self, bytes: impl Into<Vec<u8>>) -> &Self {
        self.moves.send(Move::Complete(bytes.into())).unwrap();
        self
    }

    /// Closes the connection.
    pub fn close(&self) -> &Self {
        self.moves.send(Move::Close).unwrap();
        self
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

/// Reads a request, then makes moves as long as there are any and the caller stays; none at the connection's end.
async fn serve(
    socket: &mut TcpStream,
    seen: &Mutex<Vec<Request>>,
    todo: &mut mpsc::UnboundedReceiver<Move>,
    next: &mut Option<Move>,
) -> Option<()> {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    let head_end = loop {
        if let Some(at) = memchr::memmem::find(&bytes, b"\r\n\r\n") {
            break at + 4;
        }
        read(socket, &mut buffer, &mut bytes).await?;
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let length = head.to_ascii_lowercase();
    let length =
        length.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next()?.parse().ok());
    while bytes.len() < head_end + length.unwrap_or(0) {
        read(socket, &mut buffer, &mut bytes).await?;
    }
    seen.lock().unwrap().push(Request { head, body: bytes.split_off(head_end) });
    // A further request means that the answer was complete; its bytes are read by the next call.
    let mut peeked = [0];
    loop {
        let made = tokio::select! {
            biased;
            made = async { next.take() }, if next.is_some() => made?,
            made = todo.recv() => made?,
            peeked = socket.peek(&mut peeked) => return (peeked.ok()? > 0).then_some(()),
        };
        match made {
            Move::Write(bytes) => socket.write_all(&bytes).await.ok()?,
            Move::Complete(bytes) => {
                socket.write_all(&bytes).await.ok()?;
                break;
            }
            Move::Close => return None,
        }
    }
    // Bytes that nobody has asked for would make a caller give the connection up.
    while next.is_none() {
        tokio::select! {
            made = todo.recv() => match made? {
                Move::Close => return None,
                made => *next = Some(made),
            },
            peeked = socket.peek(&mut peeked) => return (peeked.ok()? > 0).then_some(()),
        }
    }
    (socket.peek(&mut peeked).await.ok()? > 0).then_some(())
}

async fn read(socket: &mut TcpStream, buffer: &mut [u8], bytes: &mut Vec<u8>) -> Option<()> {
    let read = socket.read(buffer).await.ok().filter(|read| *read > 0)?;
    bytes.extend_from_slice(&buffer[..read]);
    Some(())
}
