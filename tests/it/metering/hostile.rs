//! What no provider should send: garbage, giant events, deep nesting, broken compression.

use std::io::Write;

use sproxy::dialect::Billing;
use sproxy::domain::tokens::Estimate;
use sproxy::domain::usage::TokenSource;
use sproxy::metering::{AnswerHead, End, open};

use super::{content_type, exact, meter, read, read_until, recorded, tokens};
use crate::harness::Dice;

/// Pieces that lead a parser astray more often than random bytes do.
const PIECES: [&[u8]; 24] = [
    b"data: ",
    b"event: error\n",
    b"\n",
    b"\n\n",
    b"\r",
    b"\r\n",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\",
    b":",
    b",",
    b"\"usage\"",
    b"\"output_tokens\"",
    b"99999999999999999999999",
    b"-1.5e3",
    b"null",
    b"true",
    b"[DONE]",
    b"\"type\":\"message_stop\"",
    b"\xFF\xFE\x00",
    b" ",
];

#[test]
fn garbage_never_panics_and_reads_the_same_in_any_chunks() {
    for seed in 0..800 {
        let mut dice = Dice::new(seed);
        let body: Vec<u8> =
            (0..dice.below(60)).flat_map(|_| PIECES[dice.below(PIECES.len())].to_vec()).collect();
        let kind = ["text/event-stream", "application/json", "application/x-ndjson", ""][dice.below(4)];
        let whole = read(meter(kind, None), [&body[..]]);
        let bytewise = read(meter(kind, None), body.chunks(1));
        assert_eq!(whole, bytewise, "seed {seed}: {:?}", String::from_utf8_lossy(&body));
        for coding in ["gzip", "deflate", "br", "zstd"] {
            read(meter(kind, Some(coding)), body.chunks(7));
        }
    }
}

#[test]
fn damaged_answers_read_the_same_in_any_chunks() {
    let names =
        ["anthropic/stream-thinking-tools.sse", "openai/chat-stream-usage.sse", "gemini/stream-array.json"];
    for seed in 0..150 {
        let mut dice = Dice::new(seed);
        let name = names[dice.below(names.len())];
        let mut body = recorded(name);
        for _ in 0..=dice.below(4) {
            let at = dice.below(body.len());
            match dice.below(3) {
                0 => body[at] = u8::try_from(dice.below(256)).expect("a byte"),
                1 => drop(body.remove(at)),
                _ => body.insert(at, b"\"{}[]\\\n:,"[dice.below(9)]),
            }
        }
        let whole = read(meter(content_type(name), None), [&body[..]]);
        let split = body.split_at(dice.below(body.len()));
        assert_eq!(whole, read(meter(content_type(name), None), [split.0, split.1]), "seed {seed}");
        assert_eq!(whole, read(meter(content_type(name), None), body.chunks(1)), "seed {seed}");
    }
}

#[test]
fn one_broken_event_costs_the_stream_nothing_but_itself() {
    let mut body = b"data: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"broken off\n\n".to_vec();
    body.extend(recorded("anthropic/stream-text.sse"));
    let expected = exact(Some("claude-sonnet-4-5-20250929"), [25, 15, 0, 0, 0, 0]);
    assert_eq!(read(meter("text/event-stream", None), [&body[..]]), expected);
    let mut lines = b"{\"model\": nonsense\n".to_vec();
    lines.extend(recorded("ollama/chat.ndjson"));
    let expected = exact(Some("llama3.2"), [26, 282, 0, 0, 0, 0]);
    assert_eq!(read(meter("application/x-ndjson", None), [&lines[..]]), expected);
}

#[test]
fn an_event_of_any_size_is_read_without_being_kept() {
    let mut meter = meter("text/event-stream", None);
    meter.feed(b"data: {\"type\":\"image\",\"b64\":\"");
    for _ in 0..500 {
        meter.feed(&[b'A'; 16_384]);
    }
    meter.feed(b"\",\"usage\":{\"input_tokens\":5,\"output_tokens\":6}}\n\n");
    assert_eq!(meter.result(End::Body).tokens, tokens([5, 6, 0, 0, 0, 0]));
}

#[test]
fn a_large_embeddings_answer_is_metered_while_it_passes() {
    let mut body = b"{\"object\":\"list\",\"data\":[".to_vec();
    for index in 0..500 {
        body.extend(format!("{{\"index\":{index},\"embedding\":[").into_bytes());
        body.extend(b"-0.0123456,1.5e-05, ".repeat(200));
        body.extend(b"0.5]},");
    }
    body.extend(b"{}],\"model\":\"m\",\"usage\":{\"prompt_tokens\":12345,\"total_tokens\":12345}}");
    assert_eq!(
        read(meter("application/json", None), body.chunks(1_000)),
        exact(Some("m"), [12_345, 0, 0, 0, 0, 0])
    );
}

#[test]
fn depth_without_end_is_waded_through() {
    let mut body = b"{\"content\":".to_vec();
    body.extend(b"[{\"content\":".repeat(100_000));
    body.extend(b"1");
    body.extend(b"}]".repeat(100_000));
    body.extend(b",\"usage\":{\"input_tokens\":1,\"output_tokens\":2}}");
    assert_eq!(read(meter("application/json", None), [&body[..]]).tokens, tokens([1, 2, 0, 0, 0, 0]));
}

#[test]
fn counts_that_cannot_be_are_left_out_and_parts_never_exceed_their_whole() {
    let body = br#"{"usage":{"prompt_tokens":10,"completion_tokens":-4,"total_tokens":1e30,
        "prompt_tokens_details":{"cached_tokens":99}}}"#;
    let (result, _) = read_until(body, "application/json", End::Body);
    assert_eq!(result.tokens, tokens([10, 0, 10, 0, 0, 0]));
    let body = br#"{"usage":{"input_tokens":99999999999999999999999999,"output_tokens":7}}"#;
    assert_eq!(read_until(body, "application/json", End::Body).0.tokens.output, 7);
}

#[test]
fn the_last_snapshot_of_each_field_holds_and_nothing_is_summed() {
    let body = b"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n\n\
        data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":5}}\n\n\
        data: {\"choices\":[],\"usage\":{\"completion_tokens\":6}}\n\n\
        data: {\"choices\":[],\"usage\":null}\n\ndata: [DONE]\n\n";
    assert_eq!(read_until(body, "text/event-stream", End::Body).0.tokens, tokens([7, 6, 0, 0, 0, 0]));
}

#[test]
fn broken_compression_is_admitted_and_what_was_read_before_holds() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let body = recorded("anthropic/stream-text.sse");
    let half = memchr::memmem::find(&body, b"event: message_delta").expect("in the fixture");
    gzip.write_all(body.get(..half).expect("in range")).expect("compress");
    gzip.flush().expect("flush");
    let mut meter = meter("text/event-stream", Some("gzip"));
    meter.feed(gzip.get_ref());
    meter.feed(&[0xFF; 64]);
    let result = meter.result(End::Body);
    assert!(!result.readable);
    assert_eq!((result.source, result.tokens.input), (TokenSource::Estimated, 25));
}

#[test]
fn unknown_codings_errors_and_binary_answers_count_nothing() {
    let head = AnswerHead {
        billing: Billing::Inference,
        status: 200,
        content_type: Some("application/json"),
        content_encoding: None,
        estimate: Estimate::of_input(9),
    };
    let body = recorded("openai/chat.json");
    for (head, readable) in [
        (AnswerHead { content_encoding: Some("gzip, br"), ..head }, false),
        (AnswerHead { content_encoding: Some("exi"), ..head }, false),
        (AnswerHead { status: 429, ..head }, true),
        (AnswerHead { billing: Billing::Untracked, ..head }, true),
        (AnswerHead { billing: Billing::Unbilled, ..head }, true),
        (AnswerHead { content_type: Some("audio/mpeg"), ..head }, true),
    ] {
        let result = read(open(&head), [&body[..]]);
        assert_eq!((result.tokens, result.source), (tokens([0; 6]), TokenSource::None), "{head:?}");
        assert_eq!(result.readable, readable, "{head:?}");
    }
    let (html, _) = read_until(b"<html>not an answer</html>", "text/html", End::Body);
    assert_eq!((html.source, html.readable), (TokenSource::None, false));
}
