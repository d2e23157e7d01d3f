//! The meter against recorded provider answers: whatever way the bytes arrive, the counts are the same.

mod answers;
mod chunks;
mod hostile;
mod interrupted;
mod money;
pub mod outside;
mod table;
mod usage_chunk;

use std::path::PathBuf;

use sproxy::dialect::Billing;
use sproxy::domain::terms::Terms;
use sproxy::domain::tokens::Estimate;
use sproxy::domain::usage::{TokenSource, Tokens};
use sproxy::metering::{AnswerHead, End, Meter, MeterResult, Progress, open};

/// What the request is worth as input in all these tests, where the answer does not tell.
const REQUEST_ESTIMATE: u64 = 1_111;

/// A recorded answer of `tests/fixtures`.
fn recorded(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The content type under which a provider sends an answer of this name.
fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').expect("an extension").1 {
        "sse" => "text/event-stream; charset=utf-8",
        "ndjson" => "application/x-ndjson",
        _ => "application/json",
    }
}

fn meter(content_type: &str, content_encoding: Option<&str>) -> Box<dyn Meter> {
    open(&AnswerHead {
        billing: Billing::Inference,
        status: 200,
        content_type: Some(content_type),
        content_encoding,
        estimate: Estimate::of_input(REQUEST_ESTIMATE),
    })
}

/// The result of an answer that came in these chunks and to its end.
fn read<'a>(mut meter: Box<dyn Meter>, chunks: impl IntoIterator<Item = &'a [u8]>) -> MeterResult {
    for chunk in chunks {
        meter.feed(chunk);
    }
    counts(meter.result(End::Body))
}

/// A result without its terms and steps, which have tests of their own.
fn counts(result: MeterResult) -> MeterResult {
    MeterResult { terms: Terms::default(), steps: Vec::new(), ..result }
}

/// The result of an answer of which only these bytes came.
fn read_until(bytes: &[u8], content_type: &str, end: End) -> (MeterResult, Progress) {
    let mut meter = meter(content_type, None);
    let progress = meter.feed(bytes);
    (meter.result(end), progress)
}

/// Input, output, read from cache, written to it for 5 minutes, for 1 hour, reasoning.
fn tokens(counts: [u64; 6]) -> Tokens {
    let [input, output, cache_read, cache_write, cache_write_1h, reasoning] = counts;
    Tokens { input, output, cache_read, cache_write, cache_write_1h, reasoning }
}

/// A whole, successful answer with exact counts.
fn exact(model: Option<&str>, counts: [u64; 6]) -> MeterResult {
    MeterResult {
        tokens: tokens(counts),
        steps: Vec::new(),
        terms: Terms::default(),
        source: TokenSource::Reported,
        model: model.map(str::to_owned),
        error_event: false,
        complete: true,
        readable: true,
    }
}
