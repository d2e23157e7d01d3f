//! What can be read of a request's body: itself, or a decoded copy of it where it is compressed. The body goes upstream
//! as it came; the copy has a limit like any body and counts like one, and is gone before the call is sent.

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use tokio::task::yield_now;

use super::decode::{Coding, Decoding};
use super::request_body::BodyPermit;
use crate::dialect::request::{BodyPeek, single_header};
use crate::domain::failure::{Failure, Kind};

/// A body, as far as it can be read.
pub(super) enum Readable {
    /// Not compressed.
    Plain,
    /// Decompressed.
    Copy { text: Vec<u8>, coding: Coding, _room: BodyPermit },
    /// It is compressed in a way that is not known, or broken.
    Unreadable,
}

impl Readable {
    /// Reads `body`. `room` is what the copy may take.
    ///
    /// # Errors
    /// `TooLarge` for a body that is decoded to more than one body may have, `Unavailable` if the gateway holds as much
    /// as it may.
    pub(super) async fn of(body: &Bytes, headers: &HeaderMap, room: BodyPermit) -> Result<Self, Failure> {
        match single_header(headers, &CONTENT_ENCODING) {
            Some(encoding) if is_plain(encoding) => Ok(Self::Plain),
            _ if body.is_empty() => Ok(Self::Plain),
            Some(encoding) => match Coding::of(encoding) {
                // In a box: few bodies are compressed, and all would carry the room for it along.
                Some(coding) => Box::pin(decode(body, coding, room)).await,
                None => Ok(Self::Unreadable),
            },
            None => Ok(Self::Unreadable),
        }
    }

    pub(super) fn peek<'b>(&'b self, body: &'b Bytes) -> BodyPeek<'b> {
        let peek = BodyPeek::read(self.text(body));
        if matches!(self, Self::Unreadable) { peek.unread() } else { peek }
    }

    /// The body as a provider reads it.
    pub(super) fn text<'b>(&'b self, body: &'b Bytes) -> &'b [u8] {
        match self {
            Self::Copy { text, .. } => text,
            Self::Plain | Self::Unreadable => body,
        }
    }

    /// Whether a provider certainly reads the same text.
    pub(super) fn is_exact(&self) -> bool {
        match self {
            Self::Plain => true,
            Self::Copy { coding, .. } => coding.is_unambiguous(),
            Self::Unreadable => false,
        }
    }
}

fn is_plain(encoding: &str) -> bool {
    encoding.is_empty() || encoding.trim().eq_ignore_ascii_case("identity")
}

/// Decodes step by step and lets others have their turn in between: a few bytes can stand for a great many.
async fn decode(body: &Bytes, coding: Coding, mut room: BodyPermit) -> Result<Readable, Failure> {
    let Ok(mut decoding) = Decoding::new(coding, body) else { return Ok(Readable::Unreadable) };
    let mut text = Vec::new();
    loop {
        match decoding.step(&mut text) {
            Ok(0) => break,
            Ok(more) => room.grow(more)?,
            Err(error) => {
                tracing::debug!(%error, "a compressed request cannot be read");
                return Ok(Readable::Unreadable);
            }
        }
        if text.len() > room.body_max() {
            return Err(Failure::new(
                Kind::TooLarge,
                format!(
                    "the request body is larger than {} bytes once it is decoded; the operator can raise \
                     http.max_body_bytes",
                    room.body_max()
                ),
            ));
        }
        yield_now().await;
    }
    Ok(Readable::Copy { text, coding, _room: room })
}
