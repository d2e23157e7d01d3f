//! Compressed requests: what has to be read of one is read in a decoded copy, made piece by piece so that its size can
//! be watched. Unlike an answer's meter this wants the whole: a copy that is cut off or followed by something else is
//! no copy of what a provider will read.

use std::io::{self, Read};

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// Brotli's own buffer; its window (at most 16 MiB, set by the sender) comes on top.
const BROTLI_BUFFER: usize = 4 * 1024;
/// Largest window of zstd in HTTP: 8 MiB (RFC 9659).
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// Bytes that one step adds at most.
pub const STEP: usize = 64 * 1024;

/// How a request's body is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// gzip (RFC 1952), any number of members.
    Gzip,
    /// zlib (RFC 9110 calls it deflate), or the raw form that some send.
    Deflate,
    /// Brotli (RFC 7932).
    Brotli,
    /// Zstandard (RFC 8878).
    Zstd,
}

impl Coding {
    /// The one coding that a `content-encoding` names; none if it is not known, or several lie upon each other.
    #[must_use]
    pub fn of(content_encoding: &str) -> Option<Self> {
        let is = |name: &str| content_encoding.trim().eq_ignore_ascii_case(name);
        match () {
            () if is("gzip") || is("x-gzip") => Some(Self::Gzip),
            () if is("deflate") => Some(Self::Deflate),
            () if is("br") => Some(Self::Brotli),
            () if is("zstd") => Some(Self::Zstd),
            () => None,
        }
    }

    /// Whether every reader makes the same of it. Two forms go by the name of deflate, and a text can be both.
    #[must_use]
    pub fn is_unambiguous(self) -> bool {
        self != Self::Deflate
    }
}

/// A body that is being decoded.
pub struct Decoding<'b>(Box<dyn Read + Send + 'b>);

impl<'b> Decoding<'b> {
    /// Begins with `body`.
    ///
    /// # Errors
    /// The decoder cannot be set up.
    pub fn new(coding: Coding, body: &'b [u8]) -> io::Result<Self> {
        const ZLIB_METHOD: u8 = 8;
        let is_zlib = body.first().is_some_and(|first| first & 0x0F == ZLIB_METHOD);
        Ok(Self(match coding {
            Coding::Gzip => Box::new(MultiGzDecoder::new(body)),
            Coding::Deflate if is_zlib => Box::new(ZlibDecoder::new(body)),
            Coding::Deflate => Box::new(DeflateDecoder::new(body)),
            Coding::Brotli => Box::new(brotli::Decompressor::new(body, BROTLI_BUFFER)),
            Coding::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(body)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
        }))
    }

    /// Adds at most `STEP` bytes to `text`, and says how many; 0 at the end.
    ///
    /// # Errors
    /// The body is broken or ends too early.
    pub fn step(&mut self, text: &mut Vec<u8>) -> io::Result<usize> {
        (&mut self.0).take(STEP as u64).read_to_end(text)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn decode(coding: Coding, body: &[u8]) -> io::Result<Vec<u8>> {
        let mut decoding = Decoding::new(coding, body)?;
        let mut text = Vec::new();
        while decoding.step(&mut text)? > 0 {}
        Ok(text)
    }

    #[test]
    fn every_coding_is_decoded_in_steps_and_a_part_of_one_is_an_error() {
        let text = b"{\"model\":\"m\"}".repeat(20_000);
        let level = flate2::Compression::fast();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), level);
        gzip.write_all(&text).unwrap();
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), level);
        zlib.write_all(&text).unwrap();
        let mut raw = flate2::write::DeflateEncoder::new(Vec::new(), level);
        raw.write_all(&text).unwrap();
        let mut brotli = Vec::new();
        brotli::CompressorWriter::new(&mut brotli, 4096, 5, 22).write_all(&text).unwrap();
        for (coding, body) in [
            (Coding::Gzip, gzip.finish().unwrap()),
            (Coding::Deflate, zlib.finish().unwrap()),
            (Coding::Deflate, raw.finish().unwrap()),
            (Coding::Brotli, brotli),
            (Coding::Zstd, zstd::encode_all(&text[..], 1).unwrap()),
        ] {
            assert!(decode(coding, &body).unwrap() == text, "{coding:?}");
            assert!(decode(coding, &body[..body.len() - 5]).is_err(), "{coding:?} cut off");
        }
        assert!(decode(Coding::Gzip, b"{\"model\":\"m\"}").is_err() && decode(Coding::Zstd, b"{}").is_err());
    }

    #[test]
    fn one_known_coding_is_read_and_nothing_else() {
        assert_eq!(Coding::of(" GZip "), Some(Coding::Gzip));
        assert_eq!(Coding::of("br"), Some(Coding::Brotli));
        for other in ["", "identity", "gzip, gzip", "compress", "zstd;q=1"] {
            assert_eq!(Coding::of(other), None, "{other}");
        }
    }
}
