//! The first bytes of a connection, read before any protocol gets it: they tell HTTP/1.1 from HTTP/2, and a caller that
//! does not send them holds nothing.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// What an HTTP/2 caller sends first (RFC 9113, 3.4); its SETTINGS frame follows.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD: usize = 9;
const SETTINGS: u8 = 4;
/// The largest first frame that is waited for; hyper refuses larger ones.
const FRAME_MAX: usize = 16_384;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP/1.1 or 1.0.
    Http1,
    /// HTTP/2, with prior knowledge or agreed on in TLS.
    Http2,
}

/// Reads until the protocol of a connection is certain, and for HTTP/2 until its preface is complete. `None` if it
/// ended.
///
/// # Errors
/// What the socket says.
pub(super) async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Option<(Protocol, Bytes)>> {
    let mut bytes = BytesMut::with_capacity(1_024);
    loop {
        if let Some(protocol) = judge(&bytes) {
            return Ok(Some((protocol, bytes.freeze())));
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    }
}

/// The protocol of a connection that began with `bytes`; `None` if more bytes are needed.
fn judge(bytes: &[u8]) -> Option<Protocol> {
    let length = bytes.len().min(PREFACE.len());
    if bytes[..length] != PREFACE[..length] {
        return Some(Protocol::Http1);
    }
    let frame = bytes.get(PREFACE.len()..)?;
    let [high, middle, low, kind, ..] = *frame.get(..FRAME_HEAD)? else { return None };
    let payload = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
    // What is no SETTINGS frame is a mistake that HTTP/2 itself answers.
    let wanted = if kind == SETTINGS && payload <= FRAME_MAX { FRAME_HEAD + payload } else { FRAME_HEAD };
    (frame.len() >= wanted).then_some(Protocol::Http2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_1_shows_with_the_first_byte_that_differs_and_http_2_with_its_settings() {
        assert_eq!(judge(b""), None);
        assert_eq!(judge(b"G"), Some(Protocol::Http1));
        assert_eq!(judge(b"P"), None, "POST or PRI");
        assert_eq!(judge(b"PO"), Some(Protocol::Http1));
        assert_eq!(judge(b"PRI * HTTP/2.1"), Some(Protocol::Http1));
        let mut bytes = PREFACE.to_vec();
        bytes.extend([0, 0, 6, SETTINGS, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0]);
        for length in 0..bytes.len() {
            assert_eq!(judge(&bytes[..length]), None, "{length} bytes");
        }
        bytes.push(100);
        assert_eq!(judge(&bytes), Some(Protocol::Http2));
    }

    #[test]
    fn a_first_frame_that_is_none_of_settings_is_not_waited_for() {
        let mut bytes = PREFACE.to_vec();
        bytes.extend([0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0]);
        assert_eq!(judge(&bytes), Some(Protocol::Http2));
    }
}
