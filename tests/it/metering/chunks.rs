//! However an answer is cut, the meter tells the same of it at the same place, and nothing behind its final event counts:
//! its record is settled there.

use std::io::Write;

use sproxy::domain::usage::TokenSource;
use sproxy::metering::{End, Meter, MeterResult, Progress, Stage};

use super::{content_type, meter, recorded, tokens};
use crate::harness::Dice;

/// What a meter has told of an answer: its result at its final event, if it has one; and at the end of its body.
#[derive(Debug, PartialEq)]
struct Told {
    settled: Option<MeterResult>,
    ended: MeterResult,
    stage: Stage,
}

fn told<'a>(mut meter: Box<dyn Meter>, pieces: impl IntoIterator<Item = &'a [u8]>) -> Told {
    let mut settled = None;
    for piece in pieces {
        if meter.feed(piece) == Progress::Final {
            settled.get_or_insert_with(|| meter.result(End::Body));
        }
    }
    Told { settled, ended: meter.result(End::Body), stage: meter.stage() }
}

fn fixtures() -> Vec<String> {
    let root = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut names = Vec::new();
    for dialect in ["anthropic", "openai", "gemini", "ollama"] {
        for file in std::fs::read_dir(root.join(dialect)).expect("fixtures") {
            names.push(format!("{dialect}/{}", file.expect("a file").file_name().to_string_lossy()));
        }
    }
    names
}

fn coded(coding: &str, text: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::fast();
    let mut coded = Vec::new();
    match coding {
        "gzip" => flate2::write::GzEncoder::new(&mut coded, level).write_all(text).expect("compress"),
        "deflate" => flate2::write::ZlibEncoder::new(&mut coded, level).write_all(text).expect("compress"),
        "br" => brotli::CompressorWriter::new(&mut coded, 4096, 3, 18).write_all(text).expect("compress"),
        "zstd" => coded = zstd::encode_all(text, 1).expect("compress"),
        _ => coded = text.to_vec(),
    }
    coded
}

#[test]
fn pieces_with_nothing_in_them_are_nothing() {
    let nothing = [&[][..]; 40];
    for name in fixtures() {
        let (body, kind) = (recorded(&name), content_type(&name));
        for coding in ["identity", "gzip", "deflate", "br", "zstd"] {
            let bytes = coded(coding, &body);
            let (first, second) = bytes.split_at(bytes.len() / 2);
            let encoding = Some(coding).filter(|coding| *coding != "identity");
            let expected = told(meter(kind, encoding), [first, second]);
            let pieces = [first].into_iter().chain(nothing).chain([second]);
            assert_eq!(told(meter(kind, encoding), pieces), expected, "{name} {coding}");
        }
    }
}

#[test]
fn every_recorded_answer_reads_the_same_in_any_chunks_and_any_coding() {
    for name in fixtures() {
        let body = recorded(&name);
        let kind = content_type(&name);
        let expected = told(meter(kind, None), [&*body]);
        for coding in ["identity", "gzip", "deflate", "br", "zstd"] {
            let coded = coded(coding, &body);
            for seed in 0..5 {
                let mut dice = Dice::new(seed);
                let longest = dice.one_of(&[1, 3, 30, 300, 3_000]);
                let pieces = dice.pieces(&coded, longest);
                assert_eq!(told(meter(kind, Some(coding)), pieces), expected, "{name} {coding} {seed}");
            }
        }
    }
}

#[test]
fn what_an_answer_says_does_not_depend_on_where_it_is_cut() {
    let delta = r#"data: {"error":0,"n":1,"choices":[{"delta":{"content":"a"}}]}"#;
    let tier = |tier: &str| {
        format!(r#"data: {{"service_tier":"{tier}","choices":[{{"delta":{{"content":"a"}}}}]}}"#)
    };
    let long = "m".repeat(700);
    for (what, kind, body) in [
        ("a number that begins to be an error", "text/event-stream", format!("{delta}\n\n{}\n\n", delta.replace(":0", ":7"))),
        (
            "a term that is what it was before",
            "text/event-stream",
            format!("{0}\n\n{0}\n\n{1}\n\n{0}\n\n", tier("flex"), tier("default")),
        ),
        (
            "a name longer than any",
            "application/json",
            format!(r#"{{"model":"{long}","usage":{{"input_tokens":1,"output_tokens":2}}}}"#),
        ),
        (
            "a count with more digits than any",
            "application/json",
            format!(r#"{{"usage":{{"input_tokens":{}5,"output_tokens":2}}}}"#, "0".repeat(300)),
        ),
        ("an end that goes on", "text/event-stream", format!("{delta}\n\ndata: [DONE] or not\n\n{delta}\n\n")),
        (
            "events behind the last one",
            "text/event-stream",
            "data: {\"type\":\"message_stop\"}\n\ndata: {\"usage\":{\"input_tokens\":5,\"output_tokens\":5}}\n\n".to_owned(),
        ),
        (
            "elements behind the last one",
            "application/json",
            r#"[{"type":"message_stop"},{"usage":{"input_tokens":5,"output_tokens":5}}]"#.to_owned(),
        ),
        (
            "a document behind a whole one",
            "application/json",
            "{\"usage\":{\"input_tokens\":5,\"output_tokens\":5}}\n{\"usage\":{\"input_tokens\":9,\"output_tokens\":9}}".to_owned(),
        ),
    ] {
        let body = body.as_bytes();
        let expected = told(meter(kind, None), [body]);
        assert_eq!(told(meter(kind, None), body.chunks(1)), expected, "{what}, byte by byte");
        let lines = body.split_inclusive(|byte| *byte == b'\n');
        assert_eq!(told(meter(kind, None), lines), expected, "{what}, line by line");
        for at in 0..body.len() {
            let (one, two) = body.split_at(at);
            assert_eq!(told(meter(kind, None), [one, two]), expected, "{what}, cut at {at}");
        }
        assert!(expected.settled.is_none_or(|settled| settled == expected.ended), "{what}");
    }
}

#[test]
fn every_line_of_an_answer_announced_as_lines_is_read() {
    let body = b"{\"usage\":{\"input_tokens\":5}}\n{\"usage\":{\"output_tokens\":9}}\n";
    for pieces in [vec![&body[..]], body.split_inclusive(|byte| *byte == b'\n').collect()] {
        let told = told(meter("application/x-ndjson", None), pieces);
        assert_eq!(told.settled, None, "no line is known to be the last");
        assert_eq!(
            (told.ended.tokens, told.ended.source),
            (tokens([5, 9, 0, 0, 0, 0]), TokenSource::Reported)
        );
    }
}

#[test]
fn compression_that_breaks_behind_the_final_event_breaks_nothing() {
    let body = recorded("openai/chat-stream-usage.sse");
    for coding in ["gzip", "deflate", "zstd"] {
        let mut coded = coded(coding, &body);
        let last = coded.len() - 1;
        if coding != "zstd" {
            // The checksum.
            coded[last] ^= 0xFF;
        }
        coded.extend_from_slice(b"and something else");
        let whole = told(meter("text/event-stream", Some(coding)), [&*coded]);
        let bytewise = told(meter("text/event-stream", Some(coding)), coded.chunks(1));
        assert_eq!(bytewise, whole, "{coding}");
        assert_eq!(whole.settled.as_ref(), Some(&whole.ended), "{coding}");
        assert!(whole.ended.readable, "{coding}");
    }
}
