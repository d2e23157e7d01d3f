//! Connections at the doors: what they may keep waiting, what a caller hears that is refused, and the log beside it.

mod connections;
mod half_closed;
mod leaving;
mod log;
mod no_room;
mod refusals;
mod waiting;

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::DEADLINE;

/// A caller whose every byte is the test's own.
struct Raw(TcpStream);

impl Raw {
    async fn connect(to: SocketAddr) -> Self {
        let socket = TcpStream::connect(to).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Self(socket)
    }

    /// Connects and sends.
    async fn sending(to: SocketAddr, bytes: impl AsRef<[u8]>) -> Self {
        let mut raw = Self::connect(to).await;
        raw.send(bytes).await;
        raw
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads until what has come contains `end`; what has come by then.
    async fn read_until(&mut self, end: &str) -> String {
        let mut bytes = Vec::new();
        let reading = async {
            while memchr::memmem::find(&bytes, end.as_bytes()).is_none() {
                let read = self.0.read_buf(&mut bytes).await.unwrap();
                assert!(read > 0, "the node closed after {:?}", String::from_utf8_lossy(&bytes));
            }
        };
        let came = timeout(DEADLINE, reading).await.is_ok();
        assert!(came, "no {end:?} in {:?}", String::from_utf8_lossy(&bytes));
        String::from_utf8(bytes).unwrap()
    }

    /// Reads until the node closes; a reset is an end as well.
    async fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let reading = async { while self.0.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {} };
        assert!(timeout(DEADLINE, reading).await.is_ok(), "the node keeps the connection");
        bytes
    }
}

/// What a caller of HTTP/1.1 sends with a body of so many bytes, without the body.
fn head(method: &str, path: &str, key: &str, length: usize) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: node\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    )
}
