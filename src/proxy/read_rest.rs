//! What is left of a short body, such as a refusal's, read before anything is passed on.

use std::borrow::Cow;
use std::future::poll_fn;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use tokio::time::timeout;

use super::decode::{Coding, Decoding};

use crate::transport::{BodyError, ResponseBody};

/// Of the body of a failed attempt so much is read, so that its connection can be used again.
const REST_MAX: usize = 64 * 1024;
const REST_TIME_MAX: Duration = Duration::from_millis(500);

/// Of what it says so much is looked at.
const TEXT_MAX: usize = 256 * 1024;

/// What the beginning of a body says, in the clear, as far as it can be decoded.
pub(super) fn in_clear<'t>(headers: &HeaderMap, text: &'t [u8]) -> Cow<'t, [u8]> {
    let encoding = headers.get(CONTENT_ENCODING).map_or(Ok(""), |encoding| encoding.to_str());
    let encoding = match encoding {
        Ok("" | "identity") => return Cow::Borrowed(text),
        Ok(encoding) => Coding::of(encoding),
        Err(_) => None,
    };
    let mut clear = Vec::new();
    if let Some(mut decoding) = encoding.and_then(|coding| Decoding::new(coding, text).ok()) {
        // What is cut off fails at its end, and has said something before.
        while clear.len() < TEXT_MAX && decoding.step(&mut clear).is_ok_and(|added| added > 0) {}
    }
    Cow::Owned(clear)
}

/// Reads what is left of a short body, and what broke it off.
pub(super) async fn read_rest(body: &mut ResponseBody) -> (Bytes, Option<BodyError>) {
    let mut text = BytesMut::new();
    let mut error = None;
    let reading = async {
        while let Some(piece) = poll_fn(|cx| body.poll_piece(cx)).await {
            match piece {
                Ok(piece) => text.extend_from_slice(&piece),
                Err(broken) => {
                    error = Some(broken);
                    break;
                }
            }
            if text.len() > REST_MAX {
                break;
            }
        }
    };
    let _in_time = timeout(REST_TIME_MAX, reading).await;
    (text.freeze(), error)
}
