//! `/v1/metrics`, `/v1/logs`, `/v1/traces`: Claude Code, once it has signed in at a gateway, sends its own telemetry there
//! and nowhere else, and reports an error for each batch that is not taken. It is taken and not looked at: it may hold what
//! people wrote, and the books are made of what the gateway itself sees.

use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;

use crate::domain::failure::{Failure, Kind};
use crate::http::input::Caller;
use crate::http::problem::ApiResult;

/// The largest batch that is read to its end.
const BATCH_MAX: usize = 4 << 20;

/// Takes a batch of OTLP and forgets it.
pub async fn take(_: Caller, request: Request) -> ApiResult<Response> {
    let is_json = request
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    let mut body = request.into_body().into_data_stream();
    let mut read = 0_usize;
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|_| Failure::new(Kind::Invalid, "the body could not be read"))?;
        read = read.saturating_add(piece.len());
        if read > BATCH_MAX {
            return Err(Failure::new(Kind::TooLarge, format!("a batch may have {BATCH_MAX} bytes")).into());
        }
    }
    // An empty message, in the encoding that was asked in.
    let (kind, empty) = if is_json { ("application/json", "{}") } else { ("application/x-protobuf", "") };
    Ok(([(CONTENT_TYPE, HeaderValue::from_static(kind))], empty).into_response())
}
