//! Every recorded answer, whole, split at every byte, with other line ends, compressed.

use std::io::Write;

use sproxy::domain::usage::TokenSource;
use sproxy::metering::{End, MeterResult};

use super::{REQUEST_ESTIMATE, content_type, counts, exact, meter, read, read_until, recorded, tokens};

const SONNET: Option<&str> = Some("claude-sonnet-4-5-20250929");
const OPUS: Option<&str> = Some("claude-opus-4-5-20251101");
const GPT: Option<&str> = Some("gpt-5.1-2025-11-13");
const CODEX: Option<&str> = Some("gpt-5.1-codex");
const GEMINI: Option<&str> = Some("gemini-3-pro-preview");
const LLAMA: Option<&str> = Some("llama3.2");

/// Each answer, and what it comes to.
fn all() -> Vec<(&'static str, MeterResult)> {
    let estimated = |model, counts| MeterResult { source: TokenSource::Estimated, ..exact(model, counts) };
    let failed = |result| MeterResult { error_event: true, ..result };
    let unfinished = |result| MeterResult { complete: false, ..result };
    let nothing = |model| MeterResult { source: TokenSource::None, ..exact(model, [0; 6]) };
    vec![
        ("anthropic/message.json", exact(SONNET, [42_795, 503, 40_000, 500, 200, 0])),
        ("anthropic/message-tool-use.json", exact(OPUS, [412, 89, 0, 0, 0, 17])),
        ("anthropic/message-refusal.json", exact(SONNET, [564, 22, 0, 0, 0, 0])),
        ("anthropic/stream-text.sse", exact(SONNET, [25, 15, 0, 0, 0, 0])),
        ("anthropic/stream-thinking-tools.sse", exact(OPUS, [21_472, 189, 18_000, 1_000, 2_000, 64])),
        ("anthropic/stream-cache-at-end.sse", exact(Some("glm-4.6"), [1_000, 6, 880, 0, 0, 0])),
        // 16 bytes of text, none of the error
        ("anthropic/stream-error.sse", failed(unfinished(estimated(SONNET, [1_000, 4, 100, 0, 0, 0])))),
        ("anthropic/stream-compaction.sse", exact(Some("claude-opus-5"), [203_000, 4_500, 0, 0, 0, 0])),
        ("openai/chat.json", exact(GPT, [2_006, 300, 1_920, 0, 0, 192])),
        ("openai/chat-refusal.json", exact(Some("gpt-4o-2024-08-06"), [81, 11, 0, 0, 0, 0])),
        ("openai/chat-cache-write.json", exact(Some("gpt-5.6-sol"), [5_000, 17, 3_000, 1_500, 0, 0])),
        ("openai/chat-stream-usage.sse", exact(GPT, [2_006, 300, 1_920, 0, 0, 192])),
        // 12 and 20 bytes of text
        ("openai/chat-stream-no-usage.sse", estimated(GPT, [REQUEST_ESTIMATE, 8, 0, 0, 0, 0])),
        ("openai/chat-stream-tools.sse", exact(Some("deepseek-reasoner"), [640, 58, 512, 0, 0, 40])),
        ("openai/chat-stream-error.sse", failed(estimated(GPT, [REQUEST_ESTIMATE, 2, 0, 0, 0, 0]))),
        ("openai/chat-stream-azure.sse", exact(GPT, [9, 2, 0, 0, 0, 0])),
        ("openai/chat-stream-xai.sse", exact(Some("grok-4"), [30, 102, 0, 0, 0, 100])),
        ("openai/completion.json", exact(Some("gpt-3.5-turbo-instruct"), [5, 7, 0, 0, 0, 0])),
        ("openai/completion-stream.sse", exact(Some("gpt-3.5-turbo-instruct"), [5, 2, 0, 0, 0, 0])),
        ("openai/responses.json", exact(CODEX, [8_123, 345, 7_936, 0, 0, 256])),
        ("openai/responses-failed.json", failed(nothing(CODEX))),
        ("openai/responses-stream.sse", exact(CODEX, [8_123, 345, 7_936, 0, 0, 256])),
        ("openai/responses-stream-incomplete.sse", exact(CODEX, [8_123, 345, 7_936, 0, 0, 256])),
        ("openai/responses-stream-failed.sse", failed(nothing(CODEX))),
        ("openai/embeddings.json", exact(Some("text-embedding-3-small"), [8, 0, 0, 0, 0, 0])),
        ("gemini/generate.json", exact(GEMINI, [1_400, 552, 1_024, 0, 0, 512])),
        ("gemini/stream.sse", exact(GEMINI, [1_100, 265, 1_024, 0, 0, 256])),
        ("gemini/stream-array.json", exact(GEMINI, [1_100, 265, 1_024, 0, 0, 256])),
        ("gemini/stream-function-call.sse", exact(Some("gemini-2.5-flash"), [64, 95, 0, 0, 0, 77])),
        ("gemini/blocked.json", exact(Some("gemini-2.5-flash"), [7, 0, 0, 0, 0, 0])),
        ("gemini/embed.json", exact(None, [6, 0, 0, 0, 0, 0])),
        ("ollama/chat.ndjson", exact(LLAMA, [26, 282, 0, 0, 0, 0])),
        ("ollama/chat.json", exact(LLAMA, [26, 282, 0, 0, 0, 0])),
        ("ollama/chat-thinking-tools.ndjson", exact(LLAMA, [26, 282, 0, 0, 0, 0])),
        ("ollama/generate.ndjson", exact(LLAMA, [26, 282, 0, 0, 0, 0])),
        // Ollama leaves the prompt's count out when it had the prompt cached
        ("ollama/generate-prompt-cached.ndjson", estimated(LLAMA, [REQUEST_ESTIMATE, 282, 0, 0, 0, 0])),
        ("ollama/chat-error.ndjson", failed(unfinished(estimated(LLAMA, [REQUEST_ESTIMATE, 3, 0, 0, 0, 0])))),
        ("ollama/embed.json", exact(Some("all-minilm"), [8, 0, 0, 0, 0, 0])),
    ]
}

#[test]
fn every_recorded_answer_is_covered() {
    let root = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let covered: Vec<_> = all().into_iter().map(|(name, _)| root.join(name)).collect();
    for dialect in ["anthropic", "openai", "gemini", "ollama"] {
        for file in std::fs::read_dir(root.join(dialect)).expect("fixtures") {
            let path = file.expect("a file").path();
            assert!(covered.contains(&path), "{} is not in the table", path.display());
        }
    }
}

#[test]
fn whole_answers_are_counted_exactly() {
    for (name, expected) in all() {
        assert_eq!(read(meter(content_type(name), None), [&recorded(name)[..]]), expected, "{name}");
    }
}

#[test]
fn a_split_at_any_byte_changes_nothing() {
    for (name, expected) in all() {
        let body = recorded(name);
        for at in 0..=body.len() {
            let (one, two) = body.split_at(at);
            assert_eq!(read(meter(content_type(name), None), [one, two]), expected, "{name} split at {at}");
        }
        assert_eq!(read(meter(content_type(name), None), body.chunks(1)), expected, "{name} byte by byte");
    }
}

#[test]
fn line_ends_of_any_kind_change_nothing() {
    for (name, expected) in all() {
        let text = String::from_utf8(recorded(name)).expect("text").replace("\r\n", "\n");
        let mut forms = vec![text.clone(), text.replace('\n', "\r\n")];
        if content_type(name).starts_with("text/event-stream") {
            forms.push(text.replace('\n', "\r"));
            // one line end too few, as some servers send it
            forms.push(text.replace("\n\n", "\n"));
        }
        for body in forms {
            let body = body.as_bytes();
            assert_eq!(read(meter(content_type(name), None), [body]), expected, "{name}");
            assert_eq!(
                read(meter(content_type(name), None), body.chunks(1)),
                expected,
                "{name} byte by byte"
            );
        }
    }
}

#[test]
fn a_missing_or_wrong_content_type_changes_nothing() {
    for (name, expected) in all() {
        for content_type in ["", "text/plain", "application/json", "text/event-stream"] {
            assert_eq!(read(meter(content_type, None), [&recorded(name)[..]]), expected, "{name}");
        }
    }
}

#[test]
fn compressed_answers_are_decoded_whatever_their_chunks() {
    for (name, expected) in all() {
        let body = recorded(name);
        for (coding, compressed) in compressed(&body) {
            let kind = content_type(name);
            assert_eq!(read(meter(kind, Some(coding)), [&compressed[..]]), expected, "{name} {coding}");
            assert_eq!(
                read(meter(kind, Some(coding)), compressed.chunks(1)),
                expected,
                "{name} {coding} byte by byte"
            );
        }
    }
}

fn compressed(body: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let level = flate2::Compression::best();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), level);
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), level);
    let mut raw = flate2::write::DeflateEncoder::new(Vec::new(), level);
    let mut brotli = brotli::CompressorWriter::new(Vec::new(), 4096, 9, 22);
    for writer in [&mut gzip as &mut dyn Write, &mut zlib, &mut raw, &mut brotli] {
        writer.write_all(body).expect("compress");
    }
    vec![
        ("gzip", gzip.finish().expect("gzip")),
        ("deflate", zlib.finish().expect("zlib")),
        ("deflate", raw.finish().expect("deflate")),
        ("br", brotli.into_inner()),
        ("zstd", zstd::stream::encode_all(body, 19).expect("zstd")),
    ]
}

#[test]
fn events_are_metered_as_soon_as_a_compressed_stream_flushes_them() {
    let body = recorded("anthropic/stream-text.sse");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&body).expect("compress");
    gzip.flush().expect("flush");
    let mut meter = meter("text/event-stream", Some("gzip"));
    meter.feed(gzip.get_ref());
    let result = counts(meter.result(End::ClientGone));
    assert_eq!(result, exact(SONNET, [25, 15, 0, 0, 0, 0]));
}

#[test]
fn an_answer_of_another_dialect_is_read_by_what_it_is() {
    let (result, _) = read_until(&recorded("openai/chat.json"), "application/json", End::Body);
    assert_eq!(result.tokens, tokens([2_006, 300, 1_920, 0, 0, 192]));
}
