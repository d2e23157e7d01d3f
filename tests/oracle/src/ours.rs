//! What sproxy makes of a request, an answer or a stream.

use http::StatusCode;
use serde_json::Value;
use sproxy_foundation::dialect::convert::{
    self, Conversion, ConvertedAnswer, ConvertedRequest, NotConverted, Purpose, RequestContext,
};
use sproxy_foundation::domain::model_traits::ModelTraits;

use crate::pairs::model;
use crate::theirs;

/// The time of every conversion, in seconds since 1970.
pub const NOW: u64 = 1_796_000_000;

fn converted(conversion: Conversion, request: &Value) -> Result<ConvertedRequest, String> {
    let traits = ModelTraits::default();
    let context = RequestContext {
        model: model(conversion.to),
        traits: &traits,
        conversation: None,
        input_tokens_estimate: 0,
        now: NOW,
    };
    let body = request.to_string();
    convert::request(conversion, Purpose::Generate, body.as_bytes(), &context).map_err(|error| match error {
        NotConverted::Unsupported { field, .. } => field,
        other => other.to_string(),
    })
}

/// The target's request.
///
/// # Errors
/// The field that is refused.
pub fn request(conversion: Conversion, request: &Value) -> Result<Value, String> {
    let made = converted(conversion, request)?;
    serde_json::from_slice(&made.body).map_err(|error| error.to_string())
}

/// The caller's answer to a request of its own.
///
/// # Errors
/// Why there is none.
pub fn answer(conversion: Conversion, request: &Value, answer: &Value) -> Result<Value, String> {
    let made = converted(conversion, request)?;
    let mut passing = ConvertedAnswer::new(made.answer, conversion.from, StatusCode::OK, false);
    let text = answer.to_string();
    passing.push(text.as_bytes()).map_err(|error| error.to_string())?;
    let document = passing.finish().map_err(|error| error.to_string())?;
    serde_json::from_slice(&document).map_err(|error| error.to_string())
}

/// What a client has at the end of a stream.
///
/// # Errors
/// Why it has nothing: its events are none of a stream that is whole.
pub fn stream(conversion: Conversion, request: &Value, events: &str) -> Result<Value, String> {
    let made = converted(conversion, request)?;
    let mut passing = ConvertedAnswer::new(made.answer, conversion.from, StatusCode::OK, true);
    let mut said = passing.push(events.as_bytes()).map_err(|error| error.to_string())?.to_vec();
    said.extend_from_slice(&passing.finish().map_err(|error| error.to_string())?);
    let said = String::from_utf8(said).map_err(|error| error.to_string())?;
    theirs::collect(conversion.from, &data(&said))
}

/// The data of a stream's events.
#[must_use]
pub fn data(stream: &str) -> Vec<String> {
    stream.lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_owned).collect()
}
