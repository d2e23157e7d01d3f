//! Compressed answers: the meter decodes a copy of its own as the bytes pass, in bounded memory.

use std::io::{self, Write};

use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use crate::metering::json_meter::JsonMeter;
use crate::metering::meter::{End, Meter, MeterResult, NoopMeter, Progress, Stage};

/// Brotli's own buffer; its window (at most 16 MiB, set by the sender) comes on top.
const BROTLI_BUFFER: usize = 4 * 1024;
/// Largest window of zstd in HTTP: 8 MiB (RFC 9659).
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// The meter for a body in `content_encoding`; of several codings on top of one another nothing can be read.
pub fn open(content_encoding: Option<&str>, meter: JsonMeter) -> Box<dyn Meter> {
    let coding = content_encoding.unwrap_or_default().trim().to_ascii_lowercase();
    let decoder = match coding.as_str() {
        "" | "identity" => return Box::new(meter),
        "gzip" | "x-gzip" => Some(Decoder::Gzip(MultiGzDecoder::new(Sink::new(meter)))),
        "deflate" => Some(Decoder::Deflate(Box::new(meter))),
        "br" => {
            Some(Decoder::Brotli(Box::new(brotli::DecompressorWriter::new(Sink::new(meter), BROTLI_BUFFER))))
        }
        "zstd" => zstd(meter),
        _ => None,
    };
    match decoder {
        Some(decoder) => Box::new(Decoded { decoder: Some(decoder), broken: false }),
        None => Box::new(NoopMeter { readable: false }),
    }
}

fn zstd(meter: JsonMeter) -> Option<Decoder> {
    let mut decoder = zstd::stream::write::Decoder::new(Sink::new(meter)).ok()?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).ok()?;
    Some(Decoder::Zstd(Box::new(decoder)))
}

enum Decoder {
    Gzip(MultiGzDecoder<Sink>),
    /// `deflate` whose first byte has not come: it tells zlib (RFC 9110) from the raw form that some send.
    Deflate(Box<JsonMeter>),
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

    /// Detects which form of deflate this is.
    fn recognise(self, first: u8) -> Self {
        const ZLIB_METHOD: u8 = 8;
        match self {
            Self::Deflate(meter) if first & 0x0F == ZLIB_METHOD => {
                Self::Zlib(ZlibDecoder::new(Sink::new(*meter)))
            }
            Self::Deflate(meter) => Self::RawDeflate(DeflateDecoder::new(Sink::new(*meter))),
            other => other,
        }
    }

    fn meter(&mut self) -> &mut JsonMeter {
        match self {
            Self::Gzip(writer) => &mut writer.get_mut().meter,
            Self::Zlib(writer) => &mut writer.get_mut().meter,
            Self::RawDeflate(writer) => &mut writer.get_mut().meter,
            Self::Brotli(writer) => &mut writer.get_mut().meter,
            Self::Zstd(writer) => &mut writer.get_mut().meter,
            Self::Deflate(meter) => meter,
        }
    }
}

fn write_through(writer: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let written = writer.write_all(bytes).and_then(|()| writer.flush());
    if written.is_err() {
        // What was decoded before the error may still be kept back, and comes when more is written.
        let _still_broken = writer.write(b"\0");
    }
    written
}

/// Passes what a decoder writes to the meter.
struct Sink {
    meter: JsonMeter,
}

impl Sink {
    fn new(meter: JsonMeter) -> Self {
        Self { meter }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.meter.feed(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The meter of a compressed answer.
struct Decoded {
    /// `None` only while it is being replaced.
    decoder: Option<Decoder>,
    broken: bool,
}

impl Meter for Decoded {
    fn feed(&mut self, chunk: &[u8]) -> Progress {
        if let Some(first) = chunk.first() {
            self.decoder = self.decoder.take().map(|decoder| decoder.recognise(*first));
        }
        let Some(decoder) = &mut self.decoder else { return Progress::More };
        // A decoder of zstd breaks off where it is given nothing again and again, as HTTP/2 can bring it.
        if !self.broken && !chunk.is_empty() && decoder.write(chunk).is_err() {
            self.broken = true;
            decoder.meter().give_up();
        }
        decoder.meter().progress()
    }

    fn stage(&mut self) -> Stage {
        match &mut self.decoder {
            Some(decoder) => decoder.meter().stage(),
            None => Stage::Content,
        }
    }

    fn result(&mut self, end: End) -> MeterResult {
        match &mut self.decoder {
            Some(decoder) => decoder.meter().result(end),
            None => NoopMeter { readable: false }.result(end),
        }
    }
}
