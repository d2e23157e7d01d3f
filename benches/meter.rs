//! How fast answers are metered: bytes per second per dialect, next to what any meter has to do at least (find
//! the line ends) and to what meters commonly do (parse every event).
//!
//! `cargo bench --bench meter` prints a table and writes `target/bench-meter.json`. Each figure is the best of
//! several rounds in one run: what is asked is the code's own cost, not the machine's weather.

#![allow(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::format_collect,
    reason = "a benchmark prints its table, in figures for people, from texts made once"
)]

use std::hint::black_box;
use std::io::Write;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use sproxy::dialect::Billing;
use sproxy::dialect::request::BodyPeek;
use sproxy::dialect::usage_chunk::Remover;
use sproxy::domain::tokens::Estimate;
use sproxy::metering::{AnswerHead, End, open};

/// Chunks as they come from a socket under load.
const CHUNK: usize = 16 * 1024;
/// Events of a stream.
const EVENTS: usize = 10_000;
const ROUNDS: usize = 15;

fn main() {
    let mut results = Vec::new();
    println!(
        "{:34} {:>9} {:>10} {:>10} {:>10} {:>9} {:>9}",
        "answer", "ns/event", "meter MB/s", "lines MB/s", "serde MB/s", "of lines", "of serde"
    );
    for stream in &STREAMS {
        let (name, body) = (stream.name, stream.bytes());
        let meter = best(|| metered(&body, "text/event-stream", None));
        let lines = best(|| memchr::memchr_iter(b'\n', &body).count());
        let serde = best(|| parsed(&body));
        let rate = |time: Duration| body.len() as f64 / time.as_secs_f64() / 1e6;
        let per_event = meter.as_secs_f64() * 1e9 / EVENTS as f64;
        println!(
            "{name:34} {per_event:>9.0} {:>10.0} {:>10.0} {:>10.0} {:>9.3} {:>8.1}x",
            rate(meter),
            rate(lines),
            rate(serde),
            rate(meter) / rate(lines),
            rate(meter) / rate(serde)
        );
        results.push(json!({"answer": name, "ns_per_event": per_event, "meter_mb_per_s": rate(meter),
            "lines_mb_per_s": rate(lines), "serde_mb_per_s": rate(serde)}));
    }
    println!(
        "\n{:34} {:>9} {:>10} {:>10} {:>9}",
        "other work on the way", "µs", "MB/s", "lines MB/s", "of lines"
    );
    for (name, size, lines, time) in other_work() {
        let rate = |time: Duration| size as f64 / time.as_secs_f64() / 1e6;
        let micros = time.as_secs_f64() * 1e6;
        println!(
            "{name:34} {micros:>9.1} {:>10.0} {:>10.0} {:>9.3}",
            rate(time),
            rate(lines),
            rate(time) / rate(lines)
        );
        results.push(
            json!({"work": name, "micros": micros, "mb_per_s": rate(time), "lines_mb_per_s": rate(lines)}),
        );
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench-meter.json");
    match std::fs::write(path, json!({"bench": "meter", "results": results}).to_string()) {
        Ok(()) => println!("\n{path}"),
        Err(error) => println!("\n{path}: {error}"),
    }
}

/// The shortest of several runs.
fn best<T>(mut work: impl FnMut() -> T) -> Duration {
    (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            black_box(work());
            begun.elapsed()
        })
        .min()
        .unwrap_or_default()
}

fn metered(body: &[u8], content_type: &str, content_encoding: Option<&str>) -> u64 {
    let mut meter = open(&AnswerHead {
        billing: Billing::Inference,
        status: 200,
        content_type: Some(content_type),
        content_encoding,
        estimate: Estimate::of_input(0),
    });
    for chunk in body.chunks(CHUNK) {
        meter.feed(chunk);
    }
    meter.result(End::Body).tokens.total()
}

/// What a meter does that parses every event, into no more than it needs.
fn parsed(body: &[u8]) -> u64 {
    #[derive(Deserialize)]
    struct Usage {
        output_tokens: Option<u64>,
        completion_tokens: Option<u64>,
    }
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(borrow)]
        model: Option<&'a str>,
        usage: Option<Usage>,
    }
    let data = body.split(|byte| *byte == b'\n').map(|line| line.strip_prefix(b"data: ").unwrap_or(line));
    data.filter(|data| data.starts_with(b"{"))
        .filter_map(|data| serde_json::from_slice::<Event<'_>>(data).ok())
        .map(|event| {
            let output = event.usage.and_then(|usage| usage.output_tokens.or(usage.completion_tokens));
            output.unwrap_or(0) + event.model.map_or(0, |model| model.len() as u64)
        })
        .sum()
}

/// A stream of a dialect: its first event, the event that is repeated (with `WORD` and a `NUMBER` that grows), its end.
struct Stream {
    name: &'static str,
    first: &'static str,
    event: &'static str,
    last: &'static str,
}

const STREAMS: [Stream; 5] = [
    Stream {
        name: "anthropic text deltas",
        first: r#"data: {"type":"message_start","message":{"model":"claude-sonnet-5-5","usage":{"input_tokens":25,"output_tokens":1}}}"#,
        event: "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"WORD\"}}",
        last: "data: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":15}}\n\ndata: {\"type\":\"message_stop\"}",
    },
    Stream {
        name: "openai chat chunks",
        first: "",
        event: r#"data: {"id":"chatcmpl-CfQ2JqUr9vT1dZ","object":"chat.completion.chunk","created":1795392000,"model":"gpt-6.1-sol","service_tier":"default","system_fingerprint":null,"choices":[{"index":0,"delta":{"content":"WORD"},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"NUMBER"}"#,
        last: "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":12}}\n\ndata: [DONE]",
    },
    Stream {
        name: "openai responses deltas",
        first: r#"data: {"type":"response.created","response":{"model":"gpt-6.1-sol","usage":null}}"#,
        event: "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":NUMBER,\"item_id\":\"msg_67ccd2bf17f0819081ff3bb2cf6508e60bb6a6b452d3795b\",\"output_index\":0,\"content_index\":0,\"delta\":\"WORD\",\"logprobs\":[],\"obfuscation\":\"x8aPq\"}",
        last: r#"data: {"type":"response.completed","response":{"usage":{"input_tokens":9,"output_tokens":12}}}"#,
    },
    Stream {
        name: "gemini chunks",
        first: "",
        event: r#"data: {"candidates":[{"content":{"parts":[{"text":"WORD and some more of it, as Gemini sends longer pieces"}],"role":"model"},"index":0}],"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":NUMBER,"totalTokenCount":NUMBER,"promptTokensDetails":[{"modality":"TEXT","tokenCount":9}]},"modelVersion":"gemini-3.8-flash","responseId":"k3QkadyKL9mG7M8P"}"#,
        last: "",
    },
    Stream {
        name: "ollama lines",
        first: "",
        event: r#"{"model":"llama3.2","created_at":"2026-11-22T10:00:00.NUMBERZ","message":{"role":"assistant","content":"WORD"},"done":false}"#,
        last: r#"{"model":"llama3.2","done":true,"prompt_eval_count":9,"eval_count":12}"#,
    },
];

impl Stream {
    fn bytes(&self) -> Vec<u8> {
        let words =
            ["The", " quick", " brown", " fox\\n", " jumps", " over", " \\\"the", " lazy", " dog", "."];
        let event = |at: usize| {
            let word = words.get(at % words.len()).copied().unwrap_or_default();
            self.event.replace("WORD", word).replace("NUMBER", &at.to_string()) + "\n\n"
        };
        let events: String = (0..EVENTS).map(event).collect();
        format!("{}\n\n{events}{}\n\n", self.first, self.last).into_bytes()
    }
}

/// Name, bytes, time to find the line ends of as many bytes, time.
fn other_work() -> Vec<(&'static str, usize, Duration, Duration)> {
    let lines = |body: &[u8]| best(|| memchr::memchr_iter(b'\n', body).count());
    let request = request();
    let scanned = best(|| BodyPeek::read(&request).max_tokens);
    let embeddings = embeddings();
    let embedded = best(|| metered(&embeddings, "application/json", None));
    let [anthropic, chat, ..] = &STREAMS;
    let (text, chat) = (anthropic.bytes(), chat.bytes());
    let removed = best(|| {
        let mut remover = Remover::default();
        let chat = Bytes::copy_from_slice(&chat);
        (0..chat.len())
            .step_by(CHUNK)
            .map(|at| remover.pass(chat.slice(at..chat.len().min(at + CHUNK))).len())
            .sum::<usize>()
    });
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let gzipped = gzip.write_all(&text).and_then(|()| gzip.finish()).unwrap_or_default();
    let unzipped = best(|| metered(&gzipped, "text/event-stream", Some("gzip")));
    vec![
        ("request of a coding agent, 110 KB", request.len(), lines(&request), scanned),
        ("embeddings, 1 MB of numbers", embeddings.len(), lines(&embeddings), embedded),
        ("chat chunks, usage chunk removed", chat.len(), lines(&chat), removed),
        ("anthropic deltas, gzip", text.len(), lines(&text), unzipped),
    ]
}

/// What a coding agent sends: a long system prompt, tools with their schemas, a conversation.
fn request() -> Vec<u8> {
    let prose = "You are an agent.\nRead files before you change them; say \"done\" when done.\n".repeat(400);
    let tool = json!({"name": "edit", "description": "Changes a file.\nFails if \"old\" is not unique.",
        "input_schema": {"type": "object", "properties": {"path": {"type": "string", "description": "Where"},
        "old": {"type": "string"}, "new": {"type": "string"}}, "required": ["path", "old", "new"]}});
    let turn = json!({"role": "user", "content": [{"type": "text", "text": "fn main() {\n    println!(\"hi\");\n}\n".repeat(8)}]});
    let body = json!({"model": "claude-sonnet-5-5", "messages": vec![turn; 136], "system": [{"type": "text", "text": prose}],
        "tools": vec![tool; 100], "max_tokens": 32_000, "stream": true});
    body.to_string().into_bytes()
}

fn embeddings() -> Vec<u8> {
    let vector: String = (0..1_536).map(|at| format!("-0.0{at:06},")).collect();
    let data: String = (0..64)
        .map(|at| format!("{{\"object\":\"embedding\",\"index\":{at},\"embedding\":[{vector}0.5]}},"))
        .collect();
    format!("{{\"object\":\"list\",\"data\":[{data}{{}}],\"model\":\"m\",\"usage\":{{\"prompt_tokens\":5,\"total_tokens\":5}}}}").into_bytes()
}
