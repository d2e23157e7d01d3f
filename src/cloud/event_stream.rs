//! The frames of `application/vnd.amazon.eventstream`, in which AWS streams answers.
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html>
//!
//! A frame is: its length and that of its headers (4 bytes each, big endian), the CRC of these 8; headers; payload; the
//! CRC of everything before.

use bytes::{Buf, Bytes, BytesMut};

/// The most that AWS sends in one frame is a payload of 16 MB and headers of 128 KB.
pub const FRAME_MAX: usize = 16 * 1024 * 1024 + 128 * 1024 + OVERHEAD;
const PRELUDE: usize = 12;
const CRC: usize = 4;
/// A frame without headers and payload.
const OVERHEAD: usize = PRELUDE + CRC;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    headers: Vec<(String, HeaderValue)>,
    pub payload: Bytes,
}

/// A header's value. Only texts are of use to anybody here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderValue {
    Text(String),
    /// A number, a truth value, bytes, a time or an id, as it was written.
    Other(Bytes),
}

/// Bytes that are no frames. Nothing can be read behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    #[error("the checksum of a frame's beginning is wrong")]
    PreludeChecksum,
    #[error("the checksum of a frame is wrong")]
    Checksum,
    #[error("a frame says that it is {0} bytes long")]
    Length(usize),
    #[error("the headers of a frame cannot be read")]
    Headers,
    #[error("the stream ends within a frame")]
    Truncated,
}

/// Makes messages of bytes, however these are cut.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    frame_max: usize,
    failed: Option<BadFrame>,
}

impl Message {
    /// The header of that name, if it is a text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|(key, value)| match value {
            HeaderValue::Text(text) if key == name => Some(text.as_str()),
            HeaderValue::Text(_) | HeaderValue::Other(_) => None,
        })
    }

    #[must_use]
    pub fn headers(&self) -> &[(String, HeaderValue)] {
        &self.headers
    }
}

impl Decoder {
    /// A frame of more than `frame_max` bytes is an error, so that no more than that waits here.
    #[must_use]
    pub fn new(frame_max: usize) -> Self {
        Self { buffer: BytesMut::new(), frame_max, failed: None }
    }

    /// Takes bytes. [`Self::next_message`] has to be called until it has none before there are more.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next message that is there as a whole.
    ///
    /// # Errors
    /// [`BadFrame`], and from then on always the same.
    pub fn next_message(&mut self) -> Result<Option<Message>, BadFrame> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        let read = self.read();
        if let Err(failed) = read {
            self.failed = Some(failed);
            self.buffer = BytesMut::new();
        }
        read
    }

    /// Says whether the stream may end here.
    ///
    /// # Errors
    /// [`BadFrame::Truncated`] within a frame, and what was wrong before.
    pub fn finish(&self) -> Result<(), BadFrame> {
        match self.failed {
            Some(failed) => Err(failed),
            None if self.buffer.is_empty() => Ok(()),
            None => Err(BadFrame::Truncated),
        }
    }

    fn read(&mut self) -> Result<Option<Message>, BadFrame> {
        let Some(prelude) = self.buffer.first_chunk::<PRELUDE>() else { return Ok(None) };
        let [length, headers, checksum] = [0, 4, 8].map(|at| {
            let bytes = prelude.get(at..).and_then(<[u8]>::first_chunk).copied();
            u32::from_be_bytes(bytes.unwrap_or_default())
        });
        if crc32fast::hash(prelude.get(..8).unwrap_or_default()) != checksum {
            return Err(BadFrame::PreludeChecksum);
        }
        let (length, headers) = (length as usize, headers as usize);
        if length < OVERHEAD || length > self.frame_max || headers > length - OVERHEAD {
            return Err(BadFrame::Length(length));
        }
        if self.buffer.len() < length {
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(length);
        let checksum = frame.split_off(length - CRC).get_u32();
        if crc32fast::hash(&frame) != checksum {
            return Err(BadFrame::Checksum);
        }
        frame.advance(PRELUDE);
        let head = frame.split_to(headers).freeze();
        let headers = read_headers(head).ok_or(BadFrame::Headers)?;
        Ok(Some(Message { headers, payload: frame.freeze() }))
    }
}

fn read_headers(mut bytes: Bytes) -> Option<Vec<(String, HeaderValue)>> {
    let mut headers = Vec::new();
    while !bytes.is_empty() {
        let name_length = usize::from(bytes.try_get_u8().ok()?);
        let name = take(&mut bytes, name_length)?;
        let name = std::str::from_utf8(&name).ok()?.to_owned();
        let kind = bytes.try_get_u8().ok()?;
        let length = match kind {
            0 | 1 => 0,
            2 => 1,
            3 => 2,
            4 => 4,
            5 | 8 => 8,
            6 | 7 => usize::from(bytes.try_get_u16().ok()?),
            9 => 16,
            _ => return None,
        };
        let value = take(&mut bytes, length)?;
        let value = match kind {
            7 => HeaderValue::Text(std::str::from_utf8(&value).ok()?.to_owned()),
            _ => HeaderValue::Other(value),
        };
        headers.push((name, value));
    }
    Some(headers)
}

fn take(bytes: &mut Bytes, length: usize) -> Option<Bytes> {
    (bytes.len() >= length).then(|| bytes.split_to(length))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A frame, by the letter of the format.
    pub(in crate::cloud) fn frame(headers: &[u8], payload: &[u8]) -> Vec<u8> {
        let length = OVERHEAD + headers.len() + payload.len();
        let mut frame = Vec::new();
        frame.extend(u32::try_from(length).expect("short").to_be_bytes());
        frame.extend(u32::try_from(headers.len()).expect("short").to_be_bytes());
        frame.extend(crc32fast::hash(&frame).to_be_bytes());
        frame.extend(headers);
        frame.extend(payload);
        frame.extend(crc32fast::hash(&frame).to_be_bytes());
        frame
    }

    fn decode(pieces: &[&[u8]], frame_max: usize) -> Result<Vec<Message>, BadFrame> {
        let mut decoder = Decoder::new(frame_max);
        let mut messages = Vec::new();
        for piece in pieces {
            decoder.feed(piece);
            while let Some(message) = decoder.next_message()? {
                messages.push(message);
            }
        }
        decoder.finish()?;
        Ok(messages)
    }

    const TYPED: &[u8] =
        b"\x01t\x00\x01f\x01\x01b\x02\x07\x01s\x03\x00\x07\x01i\x04\0\0\0\x07\x01l\x05\0\0\0\0\0\0\0\x07\
        \x01y\x06\0\x02ab\x01x\x07\0\x03abc\x01m\x08\0\0\0\0\0\0\0\x07\x01u\x090123456789abcdef";

    #[test]
    fn messages_are_the_same_however_their_bytes_are_cut() {
        let mut bytes = frame(TYPED, b"{\"bytes\":\"\"}");
        bytes.extend(frame(b"", b""));
        bytes.extend(frame(b"\x05:type\x07\0\x05chunk", &[7; 300]));
        let whole = decode(&[&bytes], FRAME_MAX).expect("frames");
        assert_eq!(whole.len(), 3);
        assert_eq!(whole[0].headers().len(), 10);
        assert_eq!((whole[0].text("x"), whole[0].text("y"), whole[0].text("z")), (Some("abc"), None, None));
        assert_eq!(whole[2].text(":type"), Some("chunk"));
        for split in 0..=bytes.len() {
            let (one, two) = bytes.split_at(split);
            assert_eq!(decode(&[one, two], FRAME_MAX).as_ref(), Ok(&whole), "split at {split}");
        }
        let each: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(decode(&each, FRAME_MAX), Ok(whole));
    }

    #[test]
    fn every_changed_bit_is_seen() {
        let good = frame(b"\x05:type\x07\0\x05chunk", b"payload");
        for at in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[at / 8] ^= 1 << (at % 8);
            assert!(decode(&[&bytes], FRAME_MAX).is_err(), "bit {at}");
        }
    }

    #[test]
    fn what_is_no_frame_or_too_long_a_one_is_refused_for_good() {
        let good = frame(b"", &[7; 100]);
        assert_eq!(decode(&[&good], good.len()).map(|messages| messages.len()), Ok(1));
        assert_eq!(decode(&[&good], good.len() - 1), Err(BadFrame::Length(good.len())));
        for length in 0..good.len() {
            let expected = if length == 0 { Ok(Vec::new()) } else { Err(BadFrame::Truncated) };
            assert_eq!(decode(&[&good[..length]], FRAME_MAX), expected);
        }
        assert_eq!(decode(&[b"HTTP/1.1 502 Bad Gateway"], FRAME_MAX), Err(BadFrame::PreludeChecksum));
        for headers in
            [&b"\x05a"[..], b"\x01a", b"\x01a\x0a", b"\x01a\x07\0\x05abc", b"\x01\xFF\x00", b"\x01a\x09abc"]
        {
            assert_eq!(decode(&[&frame(headers, b"")], FRAME_MAX), Err(BadFrame::Headers), "{headers:?}");
        }
        // The length of the headers is more than the frame has room for.
        let mut bytes = Vec::from([0, 0, 0, 16, 0, 0, 0, 1]);
        bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
        assert_eq!(decode(&[&bytes], FRAME_MAX), Err(BadFrame::Length(16)));
        let mut decoder = Decoder::new(FRAME_MAX);
        decoder.feed(b"no frame at all");
        for _ in 0..2 {
            assert_eq!(decoder.next_message(), Err(BadFrame::PreludeChecksum));
            decoder.feed(&good);
        }
        assert_eq!(decoder.finish(), Err(BadFrame::PreludeChecksum));
    }
}
