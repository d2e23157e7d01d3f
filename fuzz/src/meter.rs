//! The meter on answers that are not compressed: the event decoder and the scanner behind it.
//!
//! However an answer is cut, the meter tells the same of it; nor does it matter which line ends a stream has, whether it
//! has comments, or how a document is laid out.

use sproxy::dialect::Billing;
use sproxy::domain::tokens::Estimate;
use sproxy::domain::usage::TokenSource;
use sproxy::metering::{AnswerHead, MeterResult};

use super::input::Input;
use super::json::{laid_out, parsed};
use super::reading::{Seen, read, read_alike};

/// Content types, told apart by the meter or not.
pub const KINDS: [Option<&str>; 6] = [
    Some("text/event-stream; charset=utf-8"),
    Some("application/json"),
    Some("application/x-ndjson"),
    None,
    Some("text/plain"),
    Some("audio/mpeg"),
];

const PROMPT: Estimate = Estimate { input: 1_111, output_later: 0, is_deferred: false };
const DEFERRED: Estimate = Estimate { input: 1_111, output_later: 5_000, is_deferred: true };

/// What is known of an answer before it comes; most are of calls that cost something.
const CALLS: [(Billing, u16, Estimate); 8] = [
    (Billing::Inference, 200, PROMPT),
    (Billing::Inference, 200, Estimate { input: 0, output_later: 0, is_deferred: false }),
    (Billing::Inference, 201, DEFERRED),
    (Billing::Inference, 200, Estimate { output_later: 5_000, ..PROMPT }),
    (Billing::Inference, 429, PROMPT),
    (Billing::Deferred, 200, PROMPT),
    (Billing::Untracked, 200, PROMPT),
    (Billing::Unbilled, 200, PROMPT),
];

/// The head of an answer whose form and coding are these.
#[must_use]
pub fn head<'a>(content_type: Option<&'a str>, content_encoding: Option<&'a str>) -> AnswerHead<'a> {
    AnswerHead { billing: Billing::Inference, status: 200, content_type, content_encoding, estimate: PROMPT }
}

/// A letter for the call, one for the content type, and the body.
pub fn check(input: &[u8]) {
    let mut input = Input::new(input);
    let (billing, status, estimate) = input.choice(&CALLS);
    let content_type = input.choice(&KINDS);
    let pieces = input.pieces();
    let head = AnswerHead { billing, status, estimate, ..head(content_type, None) };
    let seen = read_alike(&head, &pieces);
    let result = seen.whole();
    if status != 200 && status != 201 || billing != Billing::Inference || content_type == Some("audio/mpeg") {
        assert_eq!(result, &MeterResult { complete: true, ..MeterResult::nothing() });
        return;
    }
    let body = pieces.concat();
    let begins = body.iter().find(|byte| !b" \n\r\t\xEF\xBB\xBF".contains(byte));
    if matches!(begins, Some(b'{' | b'[')) {
        // Where lines are announced, a line end ends a document.
        if content_type != Some("application/x-ndjson") && parsed(&body).is_some() {
            let other = read(&head, [&*laid_out(&body)]);
            same_but_for_layout(result, other.whole());
        }
    } else {
        of_events(&head, &body, &seen);
    }
}

/// Space within JSON says nothing. But it is content where the model has written it: arguments of a tool.
fn same_but_for_layout(one: &MeterResult, other: &MeterResult) {
    let but_for_estimates = |result: &MeterResult| {
        if result.source == TokenSource::Reported {
            return result.clone();
        }
        MeterResult { tokens: MeterResult::nothing().tokens, steps: Vec::new(), ..result.clone() }
    };
    assert_eq!(but_for_estimates(one), but_for_estimates(other), "laid out in another way");
}

fn of_events(head: &AnswerHead<'_>, body: &[u8], seen: &Seen) {
    if body.contains(&b'\r') {
        return;
    }
    let with = |end: &[u8]| {
        let lines: Vec<&[u8]> = body.split(|byte| *byte == b'\n').collect();
        lines.join(end)
    };
    for end in [&b"\r\n"[..], b"\r"] {
        assert_eq!(&read(head, [&*with(end)]), seen, "with other line ends");
    }
    // Comments between events, but for blank lines before the first.
    let mut commented = Vec::new();
    let mut has_begun = false;
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        commented.extend_from_slice(line);
        has_begun |= !line.trim_ascii().is_empty();
        if has_begun && line == b"\n" {
            commented.extend_from_slice(b": keep-alive\n\n");
        }
    }
    assert_eq!(&read(head, [&*commented]), seen, "with comments between");
}
