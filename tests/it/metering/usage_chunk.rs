//! The usage chunk that the gateway asked for disappears, and nothing else changes.

use bytes::Bytes;
use sproxy::dialect::usage_chunk::Remover;

use super::recorded;

/// What passes of a stream that comes in chunks of `size` bytes.
fn passed(body: &[u8], size: usize) -> Vec<u8> {
    let mut remover = Remover::default();
    let mut passed = Vec::new();
    for chunk in body.chunks(size) {
        passed.extend_from_slice(&remover.pass(Bytes::copy_from_slice(chunk)));
    }
    passed.extend_from_slice(&remover.finish());
    passed
}

/// The stream without its event that has usage and no choices.
fn without_usage(body: &str) -> String {
    let kept = |event: &&str| !(event.contains(r#""choices":[]"#) && event.contains(r#""usage":{"#));
    body.split_inclusive("\n\n").filter(kept).collect()
}

#[test]
fn the_usage_chunk_is_removed_at_any_chunk_boundary_and_all_else_passes_unchanged() {
    for name in [
        "openai/chat-stream-usage.sse",
        "openai/completion-stream.sse",
        "openai/chat-stream-azure.sse",
        "openai/chat-stream-no-usage.sse",
        "openai/chat-stream-tools.sse",
        "openai/chat-stream-xai.sse",
        "openai/chat-stream-error.sse",
    ] {
        let body = String::from_utf8(recorded(name)).expect("text");
        let expected = without_usage(&body);
        for size in (1..80).chain([body.len()]) {
            assert_eq!(passed(body.as_bytes(), size), expected.as_bytes(), "{name} in chunks of {size}");
        }
        let crlf = body.replace('\n', "\r\n");
        assert_eq!(
            passed(crlf.as_bytes(), 7),
            expected.replace('\n', "\r\n").as_bytes(),
            "{name} with CR LF"
        );
    }
}

#[test]
fn what_is_the_usage_chunk_does_not_depend_on_where_it_is_cut() {
    const OTHER: &str = "data: {\"choices\":[{\"delta\":{}}]}\n\n";
    for (chunk, is_removed) in [
        (r#"{"choices":[],"usage":{"prompt_tokens":1}}"#, true),
        (r#"{"x":{"usage":null},"choices":[],"usage":{"prompt_tokens":1}}"#, true),
        (r#"{"x":{"choices":[{"index":0}]},"usage":{"prompt_tokens":1}}"#, false),
        (r#"[[],{"usage":{"prompt_tokens":1}},null,null,null]"#, false),
        (r#"{"choices":[],"usage":null}"#, false),
    ] {
        let event = format!("data: {chunk}\n\n");
        let body = format!("{OTHER}{event}{OTHER}");
        let expected = if is_removed { body.replace(&event, "") } else { body.clone() };
        for size in 1..=body.len() {
            let passed = passed(body.as_bytes(), size);
            assert_eq!(String::from_utf8_lossy(&passed), expected, "{chunk} in chunks of {size}");
        }
    }
}

#[test]
fn whole_events_pass_at_once_and_without_a_copy() {
    let mut remover = Remover::default();
    let chunk = Bytes::from_static(b"data: {\"choices\":[{\"delta\":{}}],\"usage\":null}\n\n");
    let passed = remover.pass(chunk.clone());
    assert_eq!(passed.as_ptr(), chunk.as_ptr());
    assert_eq!(passed, chunk);
    assert!(remover.pass(Bytes::from_static(b"data: {\"choices\"")).is_empty(), "it may be the usage chunk");
    assert_eq!(&remover.finish()[..], b"data: {\"choices\"", "the end of a stream lets everything go");
}

#[test]
fn an_event_too_large_to_be_the_usage_chunk_is_not_held_back() {
    let mut remover = Remover::default();
    let piece = Bytes::from(vec![b'x'; 16 * 1024]);
    let mut passed = remover.pass(Bytes::from_static(b"data: {\"b64\":\"")).len();
    for _ in 0..100 {
        passed += remover.pass(piece.clone()).len();
    }
    assert!(passed > 90 * piece.len());
    let rest = remover
        .pass(Bytes::from_static(b"\"}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n\n"));
    assert_eq!(&rest[..], b"\"}\n\n");
}
