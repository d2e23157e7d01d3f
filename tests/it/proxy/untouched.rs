//! Any bytes in any pieces pass both ways as they came, however they are framed (with a length, in chunks, until the
//! connection closes, in frames of HTTP/2), whatever they call themselves, compressed or not, and each call is booked.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::{Arc, Mutex};

use serde_json::json;

use super::{clients, started};
use crate::harness::frames::{Connection, FrameServer};
use crate::harness::{Answer, Dice, Node, Scripted, Setup, until};

/// Calls that no event is taken out of the answer of, by path and body; `STREAM` is where the body says whether it wants
/// a stream.
const CALLS: [(&str, &str); 5] = [
    ("/v1/messages", r#"{"model":"claude-sonnet-4-5","max_tokens":9,"stream":STREAM,"messages":[]}"#),
    (
        "/v1/chat/completions",
        r#"{"model":"gpt-5","stream":STREAM,"stream_options":{"include_usage":true},"messages":[]}"#,
    ),
    ("/v1/responses", r#"{"model":"gpt-5","stream":STREAM,"input":"Hi"}"#),
    ("/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", r#"{"contents":[],"x":STREAM}"#),
    ("/api/chat", r#"{"model":"llama3.2","stream":STREAM,"messages":[]}"#),
];
const KINDS: [&str; 6] = [
    "text/event-stream",
    "application/json",
    "application/x-ndjson",
    "text/event-stream; charset=utf-8",
    "application/octet-stream",
    "",
];
const RECORDED: [&str; 8] = [
    "anthropic/stream-thinking-tools.sse",
    "anthropic/message.json",
    "openai/chat-stream-usage.sse",
    "openai/responses-stream.sse",
    "openai/embeddings.json",
    "gemini/stream.sse",
    "gemini/stream-array.json",
    "ollama/chat.ndjson",
];
/// What leads readers astray, but for errors, which would keep the target from the calls that follow.
const PIECES: [&str; 16] = [
    "data: ",
    "data:",
    "event: x\n",
    "\n",
    "\n\n",
    "\r\n",
    "{",
    "}",
    "[DONE]",
    "\"usage\":{",
    "\"choices\":[]",
    "\"",
    "\\",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n\n",
    ": comment\n\n",
    "\u{FEFF}",
];

/// An answer of a provider.
#[derive(Clone, Debug)]
struct Sent {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Sent {
    /// Every other one is what a provider would send, so that the target passes for healthy.
    fn number(number: usize, dice: &mut Dice) -> Self {
        let is_recorded = number.is_multiple_of(2);
        let name = RECORDED[number / 2 % RECORDED.len()];
        let text = match dice.below(4) {
            _ if is_recorded => {
                std::fs::read(format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
            }
            0 => {
                let length = dice.below(3_000);
                dice.bytes(length)
            }
            1 => {
                let length = dice.below(9_000);
                dice.bytes(7).repeat(length)
            }
            2 => (0..dice.below(60)).flat_map(|_| dice.one_of(&PIECES).bytes()).collect(),
            _ => Vec::new(),
        };
        let kind = match name.rsplit_once('.').unwrap().1 {
            _ if !is_recorded => dice.one_of(&KINDS),
            "sse" => "text/event-stream",
            "ndjson" => "application/x-ndjson",
            _ => "application/json",
        };
        let coding = dice.one_of(&["", "", "gzip", "deflate", "br", "zstd"]);
        // Sometimes it is not what it calls itself.
        let is_true = is_recorded || dice.below(3) > 0;
        let body = if is_true { coded(coding, &text) } else { text };
        let status = if is_recorded { 200 } else { dice.one_of(&[200, 200, 200, 201, 400, 413, 422]) };
        let mut headers = Vec::new();
        for (header, value) in [("content-type", kind), ("content-encoding", coding)] {
            if !value.is_empty() {
                headers.push((header, value.to_owned()));
            }
        }
        Self { status, headers, body }
    }

    /// As it stands on a connection of HTTP/1.1 that closes behind it.
    fn http1(&self, dice: &mut Dice) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} Some\r\nconnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        let mut bytes;
        match dice.below(3) {
            0 => {
                bytes = format!("{head}content-length: {}\r\n\r\n", self.body.len()).into_bytes();
                bytes.extend(&self.body);
            }
            1 => {
                bytes = format!("{head}\r\n").into_bytes();
                bytes.extend(&self.body);
            }
            _ => {
                bytes = format!("{head}transfer-encoding: chunked\r\n\r\n").into_bytes();
                let longest = dice.one_of(&[1, 20, 500, 40_000]);
                for piece in dice.pieces(&self.body, longest) {
                    // Of a few chunks: a body may have so much of them and no more.
                    let extension = if longest < 500 { "" } else { dice.one_of(&["", ";a=b"]) };
                    bytes.extend(format!("{:x}{extension}\r\n", piece.len()).bytes());
                    bytes.extend(piece);
                    bytes.extend(b"\r\n");
                }
                bytes.extend(b"0\r\n\r\n");
            }
        }
        bytes
    }

    /// Answers a request of HTTP/2 with it.
    async fn http2(&self, connection: &mut Connection, stream: u32, dice: &mut Dice) -> Option<()> {
        let headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        connection.head(stream, self.status, &headers).await?;
        let longest = dice.one_of(&[1, 20, 500, 16_384]);
        let pieces = if self.body.len() > 3_000 {
            self.body.chunks(16_384).collect()
        } else {
            dice.pieces(&self.body, longest)
        };
        if dice.below(4) == 0 {
            // One of a few: a connection may have a hundred of them.
            connection.data(stream, b"", false).await?;
        }
        for piece in pieces {
            connection.data(stream, piece, false).await?;
        }
        connection.data(stream, b"", true).await
    }

    fn came(&self, answer: &Answer, what: &str) {
        assert_eq!(answer.status, self.status, "{what}");
        for name in ["content-type", "content-encoding"] {
            let sent = self.headers.iter().find(|(header, _)| *header == name);
            assert_eq!(answer.header(name), sent.map_or("", |(_, value)| value), "{what}");
        }
        assert!(answer.complete, "{what}");
        assert!(answer.body == self.body, "{what}: {} bytes of {}", answer.body.len(), self.body.len());
    }
}

fn coded(coding: &str, text: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::fast();
    let mut coded = Vec::new();
    match coding {
        "gzip" => flate2::write::GzEncoder::new(&mut coded, level).write_all(text).unwrap(),
        "deflate" => flate2::write::ZlibEncoder::new(&mut coded, level).write_all(text).unwrap(),
        "br" => brotli::CompressorWriter::new(&mut coded, 4096, 3, 18).write_all(text).unwrap(),
        "zstd" => coded = zstd::encode_all(text, 1).unwrap(),
        _ => coded.extend(text),
    }
    coded
}

/// A request's body with space where JSON takes it and members that nobody knows.
fn laid_out(body: &str, dice: &mut Dice) -> String {
    let stream = dice.one_of(&["true", "false"]);
    let space = dice.one_of(&["", " ", "\n\t", "\r\n  "]);
    let more = format!(r#""x-{}":[1.0,1e3,"\u00e9é\/"],{space}"#, dice.below(99));
    let body = body.replace("STREAM", stream).replace(':', &format!("{space}:{space}"));
    format!("{space}{{{space}{more}{}{space}", &body[1..])
}

async fn call(client: &reqwest::Client, node: &Node, key: &str, path: &str, body: String) -> Answer {
    let request =
        client.post(node.url(path)).header("x-api-key", key).header("content-type", "application/json");
    Answer::read(request.body(body).send().await.unwrap()).await
}

async fn booked(node: &Node, calls: usize) {
    until("a record of each call", async || (node.usage().await.len() == calls).then_some(())).await;
}

#[tokio::test]
async fn any_bytes_pass_in_any_pieces_over_http_1() {
    let (provider, node, key): (Scripted, _, _) = started().await;
    let clients = clients();
    let calls = 160;
    for number in 0..calls {
        let mut dice = Dice::new(number as u64);
        let sent = Sent::number(number, &mut dice);
        let bytes = sent.http1(&mut dice);
        let longest = dice.one_of(&[7, 300, 100_000]);
        let longest = if bytes.len() > 5_000 { 100_000 } else { longest };
        for piece in dice.pieces(&bytes, longest) {
            provider.write(piece);
        }
        provider.close();
        let (version, client) = &clients[dice.below(2)];
        let (path, body) = dice.one_of(&CALLS);
        let body = laid_out(body, &mut dice);
        let answer = call(client, &node, &key, path, body.clone()).await;
        let what = format!("{number} {path} to {version}: {:?}", sent.headers);
        sent.came(&answer, &what);
        let asked = provider.requests().pop().unwrap();
        assert_eq!(String::from_utf8(asked.body).unwrap(), body, "{what}");
    }
    booked(&node, calls).await;
}

#[tokio::test]
async fn any_bytes_pass_in_any_pieces_over_http_2() {
    let todo: Arc<Mutex<VecDeque<(Sent, u64)>>> = Arc::default();
    let next = Arc::clone(&todo);
    let server = FrameServer::start(false, move |mut connection| {
        let next = Arc::clone(&next);
        async move {
            connection.settings(&[]).await?;
            loop {
                let stream = connection.request().await?;
                let (sent, seed) = next.lock().unwrap().pop_front()?;
                sent.http2(&mut connection, stream, &mut Dice::new(seed)).await?;
            }
        }
    })
    .await;
    let node = Setup::with_targets(&server.target("frames", "")).start().await;
    let key = node.user_with_key("alice").await;
    let clients = clients();
    let calls = 160;
    for number in 0..calls {
        let mut dice = Dice::new(1_000 + number as u64);
        let sent = Sent::number(number, &mut dice);
        todo.lock().unwrap().push_back((sent.clone(), dice.roll()));
        let (version, client) = &clients[dice.below(2)];
        let (path, body) = dice.one_of(&CALLS[1..3]);
        let answer = call(client, &node, &key, path, laid_out(body, &mut dice)).await;
        sent.came(&answer, &format!("{number} {path} to {version}: {:?}", sent.headers));
    }
    booked(&node, calls).await;
    assert!(node.usage().await.iter().all(|row| row["outcome"] != json!("refused")));
}
