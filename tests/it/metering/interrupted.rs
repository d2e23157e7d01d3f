//! Answers that break off: what was reported holds, the rest is estimated from what passed.

use sproxy::domain::usage::TokenSource;
use sproxy::metering::{End, Progress};

use super::{REQUEST_ESTIMATE, content_type, read_until, recorded, tokens};

fn position(body: &[u8], text: &str) -> usize {
    memchr::memmem::find(body, text.as_bytes()).expect("in the fixture")
}

#[test]
fn a_stream_is_complete_from_its_final_event_on_and_never_before() {
    for (name, last) in [
        ("anthropic/stream-text.sse", r#"{"type":"message_stop"}"#),
        ("anthropic/stream-thinking-tools.sse", r#"{"type":"message_stop"}"#),
        ("openai/chat-stream-usage.sse", "[DONE]"),
        ("openai/chat-stream-no-usage.sse", "[DONE]"),
        ("openai/responses-stream.sse", "\n\n"),
        ("openai/responses-stream-incomplete.sse", "\n\n"),
        ("ollama/chat.ndjson", "\n"),
    ] {
        let body = recorded(name);
        let whole = read_until(&body, content_type(name), End::ClientGone).0;
        assert!(whole.complete, "{name}");
        let end = memchr::memmem::rfind(&body, last.as_bytes()).expect("a final event");
        let end = if last.trim().is_empty() { end } else { end + last.len() };
        for cut in 0..=body.len() {
            let (result, progress) =
                read_until(body.get(..cut).expect("in range"), content_type(name), End::ClientGone);
            assert_eq!(result.complete, cut >= end, "{name} cut at {cut}");
            assert_eq!(progress == Progress::Final, cut >= end, "{name} cut at {cut}");
            if result.complete {
                assert_eq!(result, whole, "{name} cut at {cut}");
            }
        }
    }
}

#[test]
fn a_cut_anywhere_never_counts_more_than_was_reported_or_passed() {
    for name in ["anthropic/stream-thinking-tools.sse", "openai/responses-stream.sse", "gemini/stream.sse"] {
        let body = recorded(name);
        let mut before = 0;
        for cut in 0..=body.len() {
            let (result, _) =
                read_until(body.get(..cut).expect("in range"), content_type(name), End::UpstreamCut);
            assert!(result.tokens.output >= before, "{name}: output shrinks at {cut}");
            before = result.tokens.output;
        }
    }
}

#[test]
fn input_reported_at_the_start_is_kept_and_output_estimated_from_content_alone() {
    let name = "anthropic/stream-thinking-tools.sse";
    let body = recorded(name);
    let cut = position(&body, "event: message_delta");
    let (result, _) = read_until(body.get(..cut).expect("in range"), content_type(name), End::ClientGone);
    // 50 bytes of thinking, 15 of text, 54 of tool arguments (an escape is one byte): not the signature
    assert_eq!(result.tokens, tokens([21_472, 30, 18_000, 1_000, 2_000, 0]));
    assert_eq!(result.source, TokenSource::Estimated);
    assert!(!result.complete);
}

#[test]
fn what_repeats_the_deltas_of_a_responses_stream_is_not_counted_again() {
    let name = "openai/responses-stream.sse";
    let body = recorded(name);
    let cut = position(&body, "event: response.completed");
    let (result, _) = read_until(body.get(..cut).expect("in range"), content_type(name), End::ClientGone);
    // 23 bytes of reasoning summary, 18 of arguments, 15 of text
    assert_eq!(result.tokens, tokens([REQUEST_ESTIMATE, 14, 0, 0, 0, 0]));
}

#[test]
fn gemini_reports_with_every_chunk_so_a_cut_between_chunks_needs_no_estimate() {
    let name = "gemini/stream.sse";
    let body = recorded(name);
    let second = position(&body, "\r\n\r\n") + 4;
    let (result, _) = read_until(body.get(..second).expect("in range"), content_type(name), End::ClientGone);
    assert_eq!(result.tokens, tokens([1_100, 128, 1_024, 0, 0, 128]));
    assert_eq!((result.source, result.complete), (TokenSource::Reported, false));
    let (whole, _) = read_until(&body, content_type(name), End::ClientGone);
    assert!(whole.complete, "the last chunk says why the model stopped");
}

#[test]
fn who_hangs_up_before_any_content_pays_for_the_input_and_who_is_cut_off_does_not() {
    let name = "openai/chat-stream-no-usage.sse";
    let gone = read_until(b"", content_type(name), End::ClientGone).0;
    assert_eq!(gone.tokens, tokens([REQUEST_ESTIMATE, 0, 0, 0, 0, 0]));
    assert_eq!(gone.source, TokenSource::Estimated);
    let cut = read_until(b"", content_type(name), End::UpstreamCut).0;
    assert_eq!((cut.tokens, cut.source), (tokens([0; 6]), TokenSource::None));
}

#[test]
fn a_json_answer_is_final_with_its_last_bracket() {
    for name in
        ["openai/chat.json", "anthropic/message.json", "gemini/stream-array.json", "openai/embeddings.json"]
    {
        let body = recorded(name);
        let end = body.trim_ascii_end().len();
        for cut in 0..=body.len() {
            let (result, progress) =
                read_until(body.get(..cut).expect("in range"), content_type(name), End::ClientGone);
            assert_eq!(progress == Progress::Final, cut >= end, "{name} cut at {cut}");
            assert_eq!(
                result.complete,
                cut >= end || name.starts_with("gemini") && result.complete,
                "{name}"
            );
        }
    }
}
