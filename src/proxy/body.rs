//! The body of what the data plane answers: bytes of our own, or an answer on its way through.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::aborted::Aborted;
use super::metered_body::MeteredBody;
use crate::transport::ResponseBody;

/// A body on its way to a caller.
pub enum Body {
    /// The gateway's own words; none once they are said.
    Own(Option<Bytes>),
    /// A provider's answer, metered.
    Metered(Box<MeteredBody>),
    /// An answer that costs nothing and is in no book.
    Relayed(Box<ResponseBody>),
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::Own(Some(text.into()))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        match self.get_mut() {
            Self::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Metered(tap) => tap.poll_piece(cx).map(|piece| piece.map(|bytes| bytes.map(Frame::data))),
            Self::Relayed(answer) => answer.poll_piece(cx).map(|piece| {
                piece
                    .map(|bytes| bytes.map(Frame::data).map_err(|error| Aborted::BrokeOff(error.to_string())))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Self::Metered(tap) => tap.is_over(),
            Self::Relayed(answer) => answer.exact_len() == Some(0),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Metered(tap) => hint(tap.exact_len()),
            Self::Relayed(answer) => hint(answer.exact_len()),
        }
    }
}

fn hint(len: Option<u64>) -> SizeHint {
    len.map_or_else(SizeHint::default, SizeHint::with_exact)
}
