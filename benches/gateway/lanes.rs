//! The lanes: what is asked, by how many, how often.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::servers::{Server, Servers};

/// One kind of load.
pub struct Lane {
    pub name: &'static str,
    pub path: &'static str,
    /// Bytes of the request body.
    pub body: usize,
    pub stream: bool,
    pub connections: usize,
    /// Events of one answer.
    pub events: usize,
    pub delay_ms: u64,
}

const fn lane(name: &'static str, body: usize, stream: bool, connections: usize) -> Lane {
    let events = if stream { 46 } else { 1 };
    Lane { name, path: "/v1/messages", body, stream, connections, events, delay_ms: 0 }
}

pub const LANES: &[Lane] = &[
    lane("json 1 KB", 1_000, false, 64),
    lane("sse burst 1 KB", 1_000, true, 64),
    lane("json 110 KB", 110_000, false, 64),
    lane("sse burst 110 KB", 110_000, true, 64),
    Lane { path: "/v1/chat/completions", ..lane("openai json 1 KB", 1_000, false, 64) },
    Lane { path: "/v1/chat/completions", ..lane("openai sse 1 KB", 1_000, true, 64) },
    Lane { delay_ms: 5, ..lane("sse paced 5 ms", 1_000, true, 64) },
    lane("json, 1 connection", 1_000, false, 1),
    lane("sse, 1 connection", 1_000, true, 1),
];

impl Lane {
    /// The whole request, ready to be written.
    pub fn request(&self, server: &Server) -> Vec<u8> {
        let model = if self.path.contains("chat") { "gpt-5-mini" } else { "claude-sonnet-4-5" };
        let head = format!(
            r#"{{"model":"{model}","max_tokens":1024,"stream":{},"messages":[{{"role":"user","content":""#,
            self.stream
        );
        let tail = r#""}]}"#;
        let filler = "a word or two ".repeat(self.body / 14 + 1);
        let filler = &filler[..self.body.saturating_sub(head.len() + tail.len())];
        let body = format!("{head}{filler}{tail}");
        let credential = server.key.as_ref().map_or_else(String::new, |key| format!("x-api-key: {key}\r\n"));
        format!(
            "POST {} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\nanthropic-version: 2023-06-01\r\n\
             mock-events: {}\r\nmock-delay-ms: {}\r\n{credential}content-length: {}\r\n\r\n{body}",
            self.path,
            self.events,
            self.delay_ms,
            body.len()
        )
        .into_bytes()
    }
}

/// Open streams at most; fewer where the system gives fewer descriptors, of which a node needs two for each.
const STREAMS_MAX: usize = 10_000;
/// How long a node has to give memory back that its callers have left.
const CALM: Duration = Duration::from_secs(30);

/// Memory per open stream: how much a node's resident set grows while streams are open, and where it comes back to.
pub async fn open_streams(servers: &Servers) -> String {
    let Some(server) = servers.all.iter().find(|server| server.name == "sproxy buffered") else {
        return String::new();
    };
    let count = STREAMS_MAX.min(descriptors().saturating_sub(2_000) / 2);
    let slow = Lane { delay_ms: 2_000, events: 10, ..lane("open", 1_000, true, 1) };
    let request = slow.request(server);
    let before = server.rss_kb();
    let mut open = Vec::with_capacity(count);
    for _ in 0..count {
        let mut socket = TcpStream::connect(server.address).await.expect("a connection");
        socket.write_all(&request).await.expect("a request");
        open.push(socket);
    }
    let mut flowing = 0;
    for socket in &mut open {
        let mut buffer = [0; 4096];
        let read = tokio::time::timeout(Duration::from_secs(10), socket.read(&mut buffer)).await;
        flowing += usize::from(matches!(read, Ok(Ok(1..))));
    }
    let loaded = server.rss_kb();
    drop(open);
    tokio::time::sleep(CALM).await;
    let mb = |kb: u64| kb as f64 / 1024.0;
    format!(
        "resident {:.1} MB idle after the start, {:.1} MB after the load above; {count} open streams, of which {flowing} \
         flow: {:.1} MB, {:.1} KB for each; {:.1} MB {CALM:?} after they are gone",
        mb(server.idle_kb),
        mb(before),
        mb(loaded),
        loaded.saturating_sub(before) as f64 / count as f64,
        mb(server.rss_kb()),
    )
}

/// How many descriptors this process, and so each of its children, may have.
fn descriptors() -> usize {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _stays_as_it_is = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile)
        .current
        .map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}
