//! Compressed answers: the meter decodes a copy of its own as the bytes pass, in bounded memory.

use std::io::{self, Write};

use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use crate::metering::framing::Plain;
use crate::metering::meter::{End, Meter, Nothing, Progress, Reading};

/// Brotli's own buffer; its window (at most 16 MiB, set by the sender) comes on top.
const BROTLI_BUFFER: usize = 4 * 1024;
/// Largest window of zstd in HTTP: 8 MiB (RFC 9659).
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// The meter for a body in `content_encoding`; of several codings on top of one another nothing can be read.
pub fn open(content_encoding: Option<&str>, plain: Plain) -> Box<dyn Meter> {
    let coding = content_encoding.unwrap_or_default().trim().to_ascii_lowercase();
    let decoder = match coding.as_str() {
        "" | "identity" => return Box::new(plain),
        "gzip" | "x-gzip" => Some(Decoder::Gzip(MultiGzDecoder::new(Sink::new(plain)))),
        "deflate" => Some(Decoder::Deflate(Box::new(plain))),
        "br" => {
            Some(Decoder::Brotli(Box::new(brotli::DecompressorWriter::new(Sink::new(plain), BROTLI_BUFFER))))
        }
        "zstd" => zstd(plain),
        _ => None,
    };
    match decoder {
        Some(decoder) => Box::new(Decoded { decoder: Some(decoder), broken: false }),
        None => Box::new(Nothing { readable: false }),
    }
}

fn zstd(plain: Plain) -> Option<Decoder> {
    let mut decoder = zstd::stream::write::Decoder::new(Sink::new(plain)).ok()?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).ok()?;
    Some(Decoder::Zstd(Box::new(decoder)))
}

enum Decoder {
    Gzip(MultiGzDecoder<Sink>),
    /// `deflate` whose first byte has not come: it tells zlib (RFC 9110) from the raw form that some send.
    Deflate(Box<Plain>),
    Zlib(ZlibDecoder<Sink>),
    RawDeflate(DeflateDecoder<Sink>),
    Brotli(Box<brotli::DecompressorWriter<Sink>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, Sink>>),
}

impl Decoder {
    /// Decodes `bytes`; what comes of them has been metered when this returns.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Gzip(writer) => write_through(writer, bytes),
            Self::Zlib(writer) => write_through(writer, bytes),
            Self::RawDeflate(writer) => write_through(writer, bytes),
            Self::Brotli(writer) => write_through(writer, bytes),
            Self::Zstd(writer) => write_through(writer, bytes),
            Self::Deflate(_) => Ok(()),
        }
    }

    /// Settles which form of deflate this is.
    fn recognise(self, first: u8) -> Self {
        const ZLIB_METHOD: u8 = 8;
        match self {
            Self::Deflate(plain) if first & 0x0F == ZLIB_METHOD => {
                Self::Zlib(ZlibDecoder::new(Sink::new(*plain)))
            }
            Self::Deflate(plain) => Self::RawDeflate(DeflateDecoder::new(Sink::new(*plain))),
            other => other,
        }
    }

    fn plain(&mut self) -> &mut Plain {
        match self {
            Self::Gzip(writer) => &mut writer.get_mut().plain,
            Self::Zlib(writer) => &mut writer.get_mut().plain,
            Self::RawDeflate(writer) => &mut writer.get_mut().plain,
            Self::Brotli(writer) => &mut writer.get_mut().plain,
            Self::Zstd(writer) => &mut writer.get_mut().plain,
            Self::Deflate(plain) => plain,
        }
    }
}

fn write_through(writer: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    writer.write_all(bytes)?;
    writer.flush()
}

/// Hands what a decoder writes to the meter.
struct Sink {
    plain: Plain,
}

impl Sink {
    fn new(plain: Plain) -> Self {
        Self { plain }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.plain.feed(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The meter of a compressed answer.
struct Decoded {
    /// Never none but while it is exchanged.
    decoder: Option<Decoder>,
    broken: bool,
}

impl Meter for Decoded {
    fn feed(&mut self, chunk: &[u8]) -> Progress {
        let Some(first) = chunk.first() else { return Progress::More };
        self.decoder = self.decoder.take().map(|decoder| decoder.recognise(*first));
        let Some(decoder) = &mut self.decoder else { return Progress::More };
        if !self.broken && decoder.write(chunk).is_err() {
            self.broken = true;
            decoder.plain().give_up();
        }
        decoder.plain().progress()
    }

    fn reading(&mut self, end: End) -> Reading {
        match &mut self.decoder {
            Some(decoder) => decoder.plain().reading(end),
            None => Nothing { readable: false }.reading(end),
        }
    }
}
