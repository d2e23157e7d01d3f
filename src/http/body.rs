//! The body of any answer of this server.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::stall::Tracked;
use crate::proxy;

/// The body of an answer of either plane.
pub enum Body {
    Data(proxy::Body),
    Control(axum::body::Body),
    /// Either of them, over HTTP/2.
    Tracked(Tracked<Box<Self>>),
}

/// Why a body ended early, for hyper to close the connection on.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Data(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Control(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Tracked(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Data(body) => body.is_end_stream(),
            Self::Control(body) => body.is_end_stream(),
            Self::Tracked(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Data(body) => body.size_hint(),
            Self::Control(body) => body.size_hint(),
            Self::Tracked(body) => body.size_hint(),
        }
    }
}
