//! The meter on compressed answers: those that are right say what the text in them says, and those that are broken say
//! nothing wrong.

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use sproxy::metering::MeterResult;

use super::input::{Input, in_pieces};
use super::meter::{KINDS, head};
use super::reading::{read, read_alike};

/// Content codings that the meter reads.
pub const READ_CODINGS: [&str; 5] = ["gzip", "deflate", "br", "zstd", "identity"];
/// The same, and one that it does not.
const CODINGS: [&str; 6] = ["gzip", "deflate", "br", "zstd", "identity", "gzip, br"];

/// How the body's bytes are to be taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Body {
    /// They are compressed first.
    Text,
    /// The same, in deflate's raw form.
    Raw,
    /// The same, cut off or followed by something else.
    Damaged,
    /// As they are.
    Bytes,
}

/// A letter for the coding, one for how the body is taken, one for the content type, and the body.
pub fn check(input: &[u8]) {
    let mut input = Input::new(input);
    let coding = input.choice(&CODINGS);
    let taken = input.choice(&[Body::Text, Body::Raw, Body::Damaged, Body::Bytes]);
    let content_type = input.choice(&KINDS);
    let pieces = input.pieces();
    let plain = head(content_type, None);
    let packed = head(content_type, Some(coding));
    let text = pieces.concat();
    let lengths: Vec<usize> = pieces.iter().map(|piece| piece.len() % 97).collect();
    let body = match taken {
        Body::Raw if coding == "deflate" => raw(&text),
        Body::Text | Body::Raw | Body::Damaged => coded(coding, &text),
        Body::Bytes => text.clone(),
    };
    if coding == "gzip, br" && content_type != Some("audio/mpeg") {
        let seen = read_alike(&packed, &pieces);
        assert_eq!(
            seen.whole(),
            &MeterResult { complete: true, readable: false, ..MeterResult::nothing() },
            "two codings are not read"
        );
        return;
    }
    match taken {
        Body::Text | Body::Raw => {
            let cut = in_pieces(&body, &lengths);
            let cut: Vec<&[u8]> = cut.iter().map(Vec::as_slice).collect();
            assert_eq!(read_alike(&packed, &cut), read(&plain, [&*text]), "{coding} says what is in it");
        }
        Body::Damaged => {
            // At the place where the first cut is, so that it can be anywhere.
            let at = body.len().min(lengths.first().copied().unwrap_or(0));
            let (kept, _) = body.split_at(at);
            let appended = [&*body, b"\x00\xFFbehind"].concat();
            for damaged in [kept, &appended] {
                read(&packed, [damaged]);
                read(&packed, damaged.chunks(1));
            }
            // What was whole before it was cut off or went on is in no doubt.
            let seen = read(&packed, [kept, &body[at..]]);
            assert_eq!(seen, read(&plain, [&*text]));
        }
        Body::Bytes => {
            let whole = read(&packed, [&*body]);
            let cut = read(&packed, pieces.iter().copied());
            let bytewise = read(&packed, body.chunks(1));
            if coding == "identity" {
                assert!(whole == cut && whole == bytewise);
            }
            if whole.whole().readable && cut.whole().readable && bytewise.whole().readable {
                assert_eq!(whole, cut, "in pieces");
                assert_eq!(whole, bytewise, "byte by byte");
            }
        }
    }
}

/// `text` in this coding; of more than one, or of none, itself.
#[must_use]
pub fn coded(coding: &str, text: &[u8]) -> Vec<u8> {
    match coding {
        "gzip" => written(GzEncoder::new(Vec::new(), Compression::fast()), text, GzEncoder::finish),
        "deflate" => written(ZlibEncoder::new(Vec::new(), Compression::fast()), text, ZlibEncoder::finish),
        "br" => {
            let mut coded = Vec::new();
            let mut encoder = brotli::CompressorWriter::new(&mut coded, 4096, 1, 16);
            encoder.write_all(text).expect("memory takes it");
            drop(encoder);
            coded
        }
        "zstd" => zstd::encode_all(text, 1).expect("memory takes it"),
        _ => text.to_vec(),
    }
}

fn raw(text: &[u8]) -> Vec<u8> {
    written(DeflateEncoder::new(Vec::new(), Compression::fast()), text, DeflateEncoder::finish)
}

fn written<W: Write>(mut encoder: W, text: &[u8], finish: impl Fn(W) -> std::io::Result<Vec<u8>>) -> Vec<u8> {
    encoder.write_all(text).expect("memory takes it");
    finish(encoder).expect("memory takes it")
}
