//! The lanes: what is asked, by how many, how often.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::servers::{Server, Servers, USERS};

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
    pub model: &'static str,
}

const fn lane(name: &'static str, body: usize, stream: bool, connections: usize) -> Lane {
    let events = if stream { 46 } else { 1 };
    let model = "claude-sonnet-4-5";
    Lane { name, path: "/v1/messages", body, stream, connections, events, delay_ms: 0, model }
}

/// A model that two targets serve: the head of a stream waits for its first content, and a conversation keeps to a
/// target.
const WITH_CHOICE: &str = "claude-haiku-4-5";
const CHAT: &str = "gpt-5-mini";
/// Of text in a stream that nobody has asked for more or less of.
const PIECES: usize = 12;

pub const LANES: &[Lane] = &[
    lane("json 1 KB", 1_000, false, 64),
    lane("sse burst 1 KB", 1_000, true, 64),
    lane("json 110 KB", 110_000, false, 64),
    lane("sse burst 110 KB", 110_000, true, 64),
    Lane { path: "/v1/chat/completions", model: CHAT, ..lane("openai json 1 KB", 1_000, false, 64) },
    Lane { path: "/v1/chat/completions", model: CHAT, ..lane("openai sse 1 KB", 1_000, true, 64) },
    Lane { delay_ms: 5, ..lane("sse paced 5 ms", 1_000, true, 64) },
    lane("json, 1 connection", 1_000, false, 1),
    lane("sse, 1 connection", 1_000, true, 1),
    Lane { model: WITH_CHOICE, ..lane("json, 1 conn., choice", 1_000, false, 1) },
    Lane { model: WITH_CHOICE, ..lane("sse, 1 conn., choice", 1_000, true, 1) },
    Lane { model: WITH_CHOICE, ..lane("sse burst, choice", 1_000, true, 64) },
    // Converted: the answer of the mock has as many pieces of text as it has by itself, since nothing but what is said
    // goes to the other API. nginx passes the same call to the same mock as it is.
    Lane { model: CHAT, ..lane("messages on responses", 1_000, false, 64) },
    Lane { model: CHAT, events: PIECES, ..lane("messages on responses, sse", 1_000, true, 64) },
    Lane { model: CHAT, ..lane("messages on responses 110 KB", 110_000, false, 64) },
    Lane { path: "/v1/chat/completions", ..lane("chat on messages", 1_000, false, 64) },
    Lane { path: "/v1/chat/completions", events: PIECES, ..lane("chat on messages, sse", 1_000, true, 64) },
    Lane { model: CHAT, ..lane("messages on responses, 1 connection", 1_000, false, 1) },
    Lane { model: CHAT, events: PIECES, ..lane("messages on responses, sse, 1 conn.", 1_000, true, 1) },
];

impl Lane {
    /// The whole request, ready to be written.
    /// As the `caller`th of the users whose turn it is.
    pub fn request(&self, server: &Server, caller: usize) -> Vec<u8> {
        let model = self.model;
        let head = format!(
            r#"{{"model":"{model}","max_tokens":1024,"stream":{},"messages":[{{"role":"user","content":""#,
            self.stream
        );
        let tail = r#""}]}"#;
        let filler = "a word or two ".repeat(self.body / 14 + 1);
        let filler = &filler[..self.body.saturating_sub(head.len() + tail.len())];
        let body = format!("{head}{filler}{tail}");
        let key = server.keys.get(caller % server.keys.len().max(1));
        let credential = key.map_or_else(String::new, |key| format!("x-api-key: {key}\r\n"));
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

/// What became of many slow streams at once.
#[derive(serde::Serialize)]
pub struct OpenStreams {
    pub server: &'static str,
    pub count: usize,
    /// Of these, streams that came to their end.
    pub complete: usize,
    pub kb_per_stream: f64,
    pub idle_mb: f64,
    pub before_mb: f64,
    pub open_mb: f64,
    /// Some time after they are gone.
    pub after_mb: f64,
}

/// Memory per open stream: how much a server's resident set grows while streams are open, whether all of them come to
/// their end, and where the memory comes back to.
pub async fn open_streams(servers: &Servers) -> Vec<OpenStreams> {
    let mut rows = Vec::new();
    for server in servers.all.iter().filter(|server| server.name != "direct") {
        rows.push(Box::pin(open_streams_at(server)).await);
    }
    rows
}

async fn open_streams_at(server: &Server) -> OpenStreams {
    let count = STREAMS_MAX.min(descriptors().saturating_sub(2_000) / 2);
    let slow = Lane { delay_ms: 3_000, events: 6, ..lane("open", 1_000, true, 1) };
    // A user may have only a share of the streams, and few together not all of them.
    let requests: Vec<_> = (0..USERS).map(|caller| slow.request(server, caller)).collect();
    let before = server.rss_kb();
    let mut open = Vec::with_capacity(count);
    for turn in 0..count {
        // As a user, an address may have only a share of the connections.
        let caller = turn % requests.len();
        let mut socket = connect_from(caller, server.address).await;
        socket.write_all(&requests[caller]).await.expect("a request");
        open.push(socket);
    }
    let mut begun = Vec::with_capacity(count);
    for mut socket in open {
        let mut text = vec![0; 4096];
        let read = tokio::time::timeout(Duration::from_secs(30), socket.read(&mut text)).await;
        text.truncate(read.ok().and_then(Result::ok).unwrap_or_default());
        begun.push((socket, text));
    }
    let loaded = server.rss_kb();
    let mut complete = 0;
    for (mut socket, mut text) in begun {
        let mut buffer = [0; 16 * 1024];
        // The end of the chunked body.
        while !text.ends_with(b"0\r\n\r\n") {
            let read = tokio::time::timeout(Duration::from_mins(1), socket.read(&mut buffer)).await;
            match read {
                Ok(Ok(read @ 1..)) => text.extend_from_slice(&buffer[..read]),
                _ => break,
            }
        }
        complete += usize::from(text.ends_with(b"0\r\n\r\n"));
    }
    tokio::time::sleep(CALM).await;
    let mb = |kb: u64| kb as f64 / 1024.0;
    OpenStreams {
        server: server.name,
        count,
        complete,
        kb_per_stream: loaded.saturating_sub(before) as f64 / count as f64,
        idle_mb: mb(server.idle_kb),
        before_mb: mb(before),
        open_mb: mb(loaded),
        after_mb: mb(server.rss_kb()),
    }
}

/// From an address of the machine that is the caller's own.
async fn connect_from(caller: usize, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    let own = Ipv4Addr::new(127, 0, 1, u8::try_from(caller + 1).unwrap_or(1));
    socket.bind((own, 0).into()).expect("an address");
    socket.connect(to).await.expect("a connection")
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
