//! The load: keep-alive connections that write a prepared request, read the answer to its end, and do it again.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::lanes::Lane;
use crate::servers::Server;

/// What a load has met.
#[derive(Default)]
pub struct Load {
    /// Sorted.
    pub latencies_us: Vec<f64>,
    pub errors: u64,
    pub elapsed: Duration,
}

impl Load {
    pub fn percentile(&self, percent: f64) -> f64 {
        let at = (self.latencies_us.len() as f64 * percent / 100.0) as usize;
        self.latencies_us.get(at.min(self.latencies_us.len().saturating_sub(1))).copied().unwrap_or_default()
    }
}

pub async fn run(server: &Server, lane: &Lane, duration: Duration) -> Load {
    let request: std::sync::Arc<[u8]> = lane.request(server, 0).into();
    let started = Instant::now();
    let clients: Vec<_> = (0..lane.connections)
        .map(|_| tokio::spawn(client(server.address, request.clone(), started + duration)))
        .collect();
    let mut load = Load::default();
    for client in clients {
        let (latencies, errors) = client.await.expect("a client");
        load.latencies_us.extend(latencies);
        load.errors += errors;
    }
    load.elapsed = started.elapsed();
    load.latencies_us.sort_by(f64::total_cmp);
    load
}

async fn client(
    address: std::net::SocketAddr,
    request: std::sync::Arc<[u8]>,
    until: Instant,
) -> (Vec<f64>, u64) {
    let (mut latencies, mut errors) = (Vec::new(), 0);
    let mut socket = None;
    let mut buffer = vec![0; 64 * 1024];
    while Instant::now() < until {
        let open = match &mut socket {
            Some(open) => open,
            none => {
                let fresh = TcpStream::connect(address).await.expect("a connection");
                fresh.set_nodelay(true).expect("a socket option");
                none.insert(fresh)
            }
        };
        let begun = Instant::now();
        match exchange(open, &request, &mut buffer).await {
            Some(200) => latencies.push(begun.elapsed().as_secs_f64() * 1e6),
            Some(_) => errors += 1,
            None => {
                errors += 1;
                socket = None;
            }
        }
    }
    (latencies, errors)
}

/// One request and its answer; the status, or none if the connection broke.
async fn exchange(socket: &mut TcpStream, request: &[u8], buffer: &mut [u8]) -> Option<u16> {
    socket.write_all(request).await.ok()?;
    let mut filled = 0;
    let head_end = loop {
        filled += some(socket.read(&mut buffer[filled..]).await)?;
        if let Some(at) = memchr::memmem::find(&buffer[..filled], b"\r\n\r\n") {
            break at + 4;
        }
    };
    let head = std::str::from_utf8(&buffer[..head_end]).ok()?.to_ascii_lowercase();
    let status = head.get(9..12)?.parse().ok()?;
    let length =
        head.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next()?.parse::<usize>().ok());
    if let Some(length) = length {
        let mut left = length.checked_sub(filled - head_end)?;
        while left > 0 {
            left = left.checked_sub(some(socket.read(buffer).await)?)?;
        }
    } else {
        let mut tail = [0; 5];
        keep_tail(&mut tail, &buffer[head_end..filled]);
        while &tail != b"0\r\n\r\n" {
            let read = some(socket.read(buffer).await)?;
            keep_tail(&mut tail, &buffer[..read]);
        }
    }
    Some(status)
}

fn some(read: std::io::Result<usize>) -> Option<usize> {
    read.ok().filter(|read| *read > 0)
}

fn keep_tail(tail: &mut [u8; 5], bytes: &[u8]) {
    let joined: Vec<u8> = tail.iter().chain(&bytes[bytes.len().saturating_sub(5)..]).copied().collect();
    tail.copy_from_slice(&joined[joined.len() - 5..]);
}
