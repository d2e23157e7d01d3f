//! The words of the mock: filler of a given size in a given number of pieces.

/// Repeated to the length needed.
const FILLER: &str = "This is the mock provider: every word of this answer is made up, and none of it costs \
anything. It goes on for as long as the caller has asked for, piece after piece, in plain sentences. ";
/// Bytes of text per output token, as for real text; and the longest text, whatever the count says.
const BYTES_PER_TOKEN: u64 = 4;
const TEXT_MAX: u64 = 32 * 1024;

/// Text worth `tokens`, in `pieces` (at least one byte each).
pub fn pieces(tokens: u64, pieces: usize) -> Vec<String> {
    let bytes =
        usize::try_from(tokens.saturating_mul(BYTES_PER_TOKEN).min(TEXT_MAX)).unwrap_or(0).max(pieces);
    let mut filler = FILLER.chars().cycle();
    (0..pieces)
        .map(|piece| {
            let length = (piece + 1) * bytes / pieces - piece * bytes / pieces;
            filler.by_ref().take(length).collect()
        })
        .collect()
}
