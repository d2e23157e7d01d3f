//! What a caller of a WebSocket proves itself with: it is kept, since each call over the connection proves itself again.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue, header};

use crate::websocket::drop_handshake;

/// What a caller proves itself with, as it came.
#[derive(Clone, Debug)]
pub struct Proof {
    pub(super) headers: HeaderMap,
    pub(super) query: Option<String>,
}

impl From<(HeaderMap, Option<Cow<'_, str>>)> for Proof {
    fn from((headers, query): (HeaderMap, Option<Cow<'_, str>>)) -> Self {
        Self { headers, query: query.map(Cow::into_owned) }
    }
}

/// The headers of a call that a message asks for.
pub(super) fn headers_of_call(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    drop_handshake(&mut headers);
    headers.remove(header::UPGRADE);
    headers.remove(header::CONNECTION);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers
}
