//! Taking the usage chunk out of a stream: what passes is the input without exactly that event, however it is cut.

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use sproxy::dialect::usage_chunk::Remover;

use super::input::Input;

/// More than a line that is looked at may have.
const LINE_MAX: usize = 64 * 1024;

/// The stream, in pieces.
pub fn check(input: &[u8]) {
    let pieces = Input::new(input).pieces();
    let body = pieces.concat();
    if body.len() > LINE_MAX {
        return;
    }
    let expected = without_usage(&body);
    for (how, passed) in [
        ("in one piece", passed([&*body])),
        ("in pieces", passed(pieces.iter().copied())),
        ("byte by byte", passed(body.chunks(1))),
    ] {
        assert!(
            passed == expected,
            "{how}: {:?} instead of {:?}",
            String::from_utf8_lossy(&passed),
            String::from_utf8_lossy(&expected)
        );
    }
}

fn passed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut remover = Remover::default();
    let mut passed = Vec::new();
    for piece in pieces {
        passed.extend_from_slice(&remover.pass(Bytes::copy_from_slice(piece)));
    }
    passed.extend_from_slice(&remover.finish());
    passed
}

/// The same by the letter: lines, then events, of the whole.
fn without_usage(body: &[u8]) -> Vec<u8> {
    let mut kept = Vec::new();
    // Whether a line of the event is kept, and whether one was taken out, of which nothing else is left.
    let (mut has_kept, mut is_empty) = (false, false);
    for (line, end) in lines(body) {
        if line.is_empty() && !end.is_empty() {
            if !is_empty {
                kept.extend_from_slice(end);
            }
            (has_kept, is_empty) = (false, false);
            continue;
        }
        if !end.is_empty() && line.strip_prefix(b"data:").is_some_and(is_usage) {
            is_empty = !has_kept;
            continue;
        }
        if !line.starts_with(b":") {
            (has_kept, is_empty) = (true, false);
        }
        kept.extend_from_slice(line);
        kept.extend_from_slice(end);
    }
    kept
}

/// Each line with what ends it, which the last one may lack.
fn lines(mut body: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut lines = Vec::new();
    while !body.is_empty() {
        let length = body.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(body.len());
        let (line, rest) = body.split_at(length);
        let end = if rest.starts_with(b"\r\n") { 2 } else { rest.len().min(1) };
        let (end, rest) = rest.split_at(end);
        lines.push((line, end));
        body = rest;
    }
    lines
}

/// An object with usage, without choices, and without anything else that a caller may be waiting for. A choice that comes
/// first, wherever, lets the line pass before its end is there.
fn is_usage(data: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Chunk {
        usage: Option<IgnoredAny>,
        choices: Option<Vec<IgnoredAny>>,
        r#type: Option<IgnoredAny>,
        delta: Option<IgnoredAny>,
        error: Option<IgnoredAny>,
    }
    let is_object = data.trim_ascii_start().starts_with(b"{");
    let text = String::from_utf8_lossy(data);
    let behind_choices =
        text.split_once("\"choices\"").map(|(_, behind)| behind.replace([' ', '\t', '\x0C'], ""));
    is_object
        && !behind_choices.is_some_and(|behind| behind.starts_with(":[{"))
        && serde_json::from_slice::<Chunk>(data).is_ok_and(|chunk| {
            let has_choices = chunk.choices.is_some_and(|choices| !choices.is_empty());
            let says_more = chunk.r#type.is_some() || chunk.delta.is_some() || chunk.error.is_some();
            chunk.usage.is_some() && !has_choices && !says_more
        })
}
