//! JSON's structure, 64 bytes at a time: where strings are, and the brackets outside of them, as bit masks. Bit 0 is
//! the first byte. The method is that of Langdale and Lemire, "Parsing Gigabytes of JSON per Second" (2019).

use wide::u8x16;

/// Bytes scanned at once.
pub const BLOCK: usize = 64;

/// State that a block inherits from the bytes before it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Before {
    /// The block begins inside a string.
    pub in_text: bool,
    /// The block's first byte is escaped.
    pub escaped: bool,
}

/// The brackets of a block that are no part of a string, and not escaped: outside of strings nothing is, in JSON, but it
/// has to come to the same however it is cut.
#[derive(Clone, Copy, Debug)]
pub struct Brackets {
    /// `{` and `[`.
    pub open: u64,
    /// `}` and `]`.
    pub close: u64,
}

/// The brackets of `block`, and what the next block depends on.
#[inline]
pub fn brackets(block: &[u8; BLOCK], before: Before) -> (Brackets, Before) {
    let marks = marks(block);
    let (escaped, escapes_next) = escaped(marks.backslash, before.escaped);
    let quotes = marks.quote & !escaped;
    let text = running_parity(quotes) ^ if before.in_text { u64::MAX } else { 0 };
    let other = !(text | escaped);
    let brackets = Brackets { open: marks.open & other, close: marks.close & other };
    (brackets, Before { in_text: text >> (BLOCK - 1) == 1, escaped: escapes_next })
}

/// Which bytes are escaped by a backslash before them, and whether the byte behind the block is.
fn escaped(backslash: u64, first_is_escaped: bool) -> (u64, bool) {
    const EVEN: u64 = 0x5555_5555_5555_5555;
    if backslash == 0 {
        return (u64::from(first_is_escaped), false);
    }
    // A backslash that is itself escaped escapes nothing. Runs of backslashes are told apart by where they begin:
    // adding the beginnings at even places to the runs carries through each such run to its end.
    let backslash = backslash & !u64::from(first_is_escaped);
    let follows = backslash << 1 | u64::from(first_is_escaped);
    let odd_starts = backslash & !EVEN & !follows;
    let (even_carries, overflow) = odd_starts.overflowing_add(backslash);
    let escaped = (EVEN ^ (even_carries << 1)) & follows;
    (escaped, overflow)
}

/// Each bit becomes the parity of all bits up to and including it.
fn running_parity(bits: u64) -> u64 {
    let mut parity = bits;
    for shift in [1, 2, 4, 8, 16, 32] {
        parity ^= parity << shift;
    }
    parity
}

/// Where the bytes stand that structure consists of.
struct Marks {
    quote: u64,
    backslash: u64,
    open: u64,
    close: u64,
}

fn marks(block: &[u8; BLOCK]) -> Marks {
    let mut marks = Marks { quote: 0, backslash: 0, open: 0, close: 0 };
    let (parts, _) = block.as_chunks::<16>();
    for (index, part) in parts.iter().enumerate() {
        let part = u8x16::new(*part);
        // square and curly brackets differ in this one bit
        let curly = part | u8x16::splat(0x20);
        let shift = index * 16;
        marks.quote |= equal(part, b'"') << shift;
        marks.backslash |= equal(part, b'\\') << shift;
        marks.open |= equal(curly, b'{') << shift;
        marks.close |= equal(curly, b'}') << shift;
    }
    marks
}

fn equal(part: u8x16, wanted: u8) -> u64 {
    u64::from(part.simd_eq(u8x16::splat(wanted)).to_bitmask())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reproducible blocks that are dense in structure.
    fn blocks() -> impl Iterator<Item = [u8; BLOCK]> {
        let mut state = 1_u64;
        (0..20_000).map(move |_| {
            std::array::from_fn(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                b"\\\\\\\\\"\"{}[]ab,\xFF\x5C "[usize::try_from(state >> 60).expect("small")]
            })
        })
    }

    #[test]
    fn marks_stand_where_the_bytes_do() {
        for block in blocks() {
            let marks = marks(&block);
            for (index, byte) in block.iter().enumerate() {
                assert_eq!(marks.quote >> index & 1 == 1, *byte == b'"');
                assert_eq!(marks.backslash >> index & 1 == 1, *byte == b'\\');
                assert_eq!(marks.close >> index & 1 == 1, matches!(byte, b'}' | b']'));
            }
        }
    }

    #[test]
    fn strings_and_escapes_hide_brackets_as_reading_byte_by_byte_says() {
        let mut before = Before::default();
        let (mut in_text, mut escaped) = (false, false);
        for block in blocks() {
            let (found, next) = brackets(&block, before);
            for (index, &byte) in block.iter().enumerate() {
                let is_escaped = std::mem::take(&mut escaped);
                match byte {
                    b'\\' => escaped = !is_escaped,
                    b'"' if !is_escaped => in_text = !in_text,
                    _ => {}
                }
                let open = !in_text && !is_escaped && matches!(byte, b'{' | b'[');
                assert_eq!(found.open >> index & 1 == 1, open, "{block:?} at {index}");
            }
            assert_eq!((next.in_text, next.escaped), (in_text, escaped), "{block:?}");
            before = next;
        }
    }
}
