//! The answer of a call that its target takes in another API than the caller's: made one in the caller's, behind the meter.

use http::HeaderValue;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};

use crate::dialect::convert::{AnswerConverter, Conversion, ConvertedAnswer, status_in};

/// How an answer is made one in the caller's API.
pub(super) struct Converter {
    apis: Conversion,
    answer: Box<dyn AnswerConverter>,
}

impl Converter {
    pub(super) fn new(apis: Conversion, answer: Box<dyn AnswerConverter>) -> Self {
        Self { apis, answer }
    }

    /// Makes the head the caller's, and begins with the body.
    pub(super) fn begin(self, head: &mut http::response::Parts, is_stream: bool) -> ConvertedAnswer {
        let Self { apis, answer } = self;
        let is_stream = is_stream && head.status.is_success();
        let converted = ConvertedAnswer::new(answer, apis.from, head.status, is_stream);
        head.status = status_in(apis.from, head.status);
        let kind = if is_stream { "text/event-stream; charset=utf-8" } else { "application/json" };
        head.headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        head.headers.remove(CONTENT_LENGTH);
        head.headers.remove(CONTENT_ENCODING);
        converted
    }
}
