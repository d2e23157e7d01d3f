//! Compresses answers on request, event by event, so that each can be read as soon as it arrives.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

use crate::mock::steering::Encoding;

/// `frames` compressed as one body; every frame is flushed, so that it decodes without the next.
pub fn compress(encoding: Encoding, frames: &[Vec<u8>]) -> io::Result<Vec<Vec<u8>>> {
    match encoding {
        Encoding::Gzip => compress_each(
            GzEncoder::new(Vec::new(), Compression::fast()),
            frames,
            GzEncoder::get_mut,
            GzEncoder::finish,
        ),
        Encoding::Deflate => compress_each(
            ZlibEncoder::new(Vec::new(), Compression::fast()),
            frames,
            ZlibEncoder::get_mut,
            ZlibEncoder::finish,
        ),
        Encoding::Brotli => compress_each(
            brotli::CompressorWriter::new(Vec::new(), 4096, 4, 18),
            frames,
            brotli::CompressorWriter::get_mut,
            |encoder| Ok(encoder.into_inner()),
        ),
        Encoding::Zstd => compress_each(
            zstd::stream::write::Encoder::new(Vec::new(), 1)?,
            frames,
            zstd::stream::write::Encoder::get_mut,
            zstd::stream::write::Encoder::finish,
        ),
    }
}

fn compress_each<E: Write>(
    mut encoder: E,
    frames: &[Vec<u8>],
    written: impl Fn(&mut E) -> &mut Vec<u8>,
    finish: impl FnOnce(E) -> io::Result<Vec<u8>>,
) -> io::Result<Vec<Vec<u8>>> {
    let mut compressed = Vec::with_capacity(frames.len() + 1);
    for frame in frames {
        encoder.write_all(frame)?;
        encoder.flush()?;
        compressed.push(std::mem::take(written(&mut encoder)));
    }
    let end = finish(encoder)?;
    match compressed.last_mut() {
        Some(last) => last.extend_from_slice(&end),
        None => compressed.push(end),
    }
    Ok(compressed)
}
