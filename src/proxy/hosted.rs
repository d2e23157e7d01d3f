//! Makes of the answer of a model's host the one that the provider itself would have given.

use bytes::BytesMut;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};

use super::read_rest::{in_clear, read_rest};
use crate::cloud::bedrock_events::AnthropicEvents;
use crate::cloud::hosting::HostedAnswer;
use crate::transport::Translate;
use crate::upstream::UpstreamResponse;

/// The answer as the provider's own. One that cannot be read stays as it is.
pub(super) async fn as_own(mut response: UpstreamResponse, answer: HostedAnswer) -> UpstreamResponse {
    let status = response.head.status;
    if let Some(events) = answer.events(status, &response.head.headers) {
        response.body.translate_by(Box::new(OwnEvents(events)));
        set_kind(&mut response.head.headers, "text/event-stream; charset=utf-8");
    } else if answer.is_read_whole(status) {
        let (text, error) = read_rest(&mut response.body).await;
        let is_whole = error.is_none() && response.body.exact_len() == Some(0);
        let clear = in_clear(&response.head.headers, &text);
        let own = answer.body(status, &response.head.headers, &clear).filter(|_| is_whole);
        if own.is_some() {
            response.head.headers.remove(CONTENT_ENCODING);
            set_kind(&mut response.head.headers, "application/json");
        }
        let text = own.unwrap_or_else(|| text.clone());
        response.body.put_back(text, error);
    }
    response
}

fn set_kind(headers: &mut HeaderMap, kind: &'static str) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.remove(CONTENT_LENGTH);
}

/// The host's frames as the events of the provider.
struct OwnEvents(AnthropicEvents);

impl Translate for OwnEvents {
    fn push(&mut self, bytes: &[u8], made: &mut BytesMut) -> Result<(), String> {
        self.0.push(bytes, made).map_err(|error| error.to_string())
    }

    fn finish(&self) -> Result<(), String> {
        self.0.finish().map_err(|error| error.to_string())
    }
}
