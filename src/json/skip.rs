//! Getting over JSON that nobody asks about, fast and at any chunk boundary.

use memchr::memchr2;

use crate::json::block::{BLOCK, Before, brackets};

/// Bytes looked at together when there is no structure in sight (arrays of numbers, white space).
const LANES: usize = 32;
/// Most containers are short: the first bytes are read one by one, and only then whole blocks.
const NEAR: usize = 48;

/// A container that is being skipped; it may end in a later chunk.
#[derive(Clone, Copy, Debug)]
pub struct Skip {
    depth: u64,
    before: Before,
}

impl Skip {
    /// Behind the opening bracket of a container.
    #[must_use]
    pub fn inside() -> Self {
        Self { depth: 1, before: Before::default() }
    }

    /// Takes bytes up to and including the bracket that closes the container. Returns how many it took; the
    /// container has ended if [`Self::is_over`].
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        let (near, far) = bytes.split_at(NEAR.min(bytes.len()));
        let mut taken = self.bytewise(near);
        let (blocks, _) = far.as_chunks::<BLOCK>();
        for block in blocks {
            if self.is_over() || !self.whole(block) {
                break;
            }
            taken += BLOCK;
        }
        if !self.is_over() {
            taken += self.bytewise(bytes.get(taken..).unwrap_or_default());
        }
        taken
    }

    /// Takes a block, unless the container may end in it.
    fn whole(&mut self, block: &[u8; BLOCK]) -> bool {
        if !self.before.in_text && !self.before.escaped && !has_structure(block) {
            return true;
        }
        let (brackets, before) = brackets(block, self.before);
        let closed = u64::from(brackets.close.count_ones());
        if closed >= self.depth {
            return false;
        }
        self.depth = self.depth - closed + u64::from(brackets.open.count_ones());
        self.before = before;
        true
    }

    fn bytewise(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() && self.depth > 0 {
            if std::mem::take(&mut self.before.escaped) {
                at += 1;
                continue;
            }
            let rest = bytes.get(at..).unwrap_or_default();
            let found = if self.before.in_text { special(rest) } else { structure(rest) };
            let Some(found) = found else { return bytes.len() };
            at += found + 1;
            match rest.get(found) {
                Some(b'"') => self.before.in_text = !self.before.in_text,
                Some(b'\\') => self.before.escaped = true,
                Some(b'{' | b'[') => self.depth += 1,
                _ => self.depth -= 1,
            }
        }
        at
    }

    /// Whether the closing bracket has passed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.depth == 0
    }
}

/// A string that is being skipped; it may end in a later chunk.
#[derive(Clone, Copy, Debug)]
pub struct SkipString {
    escaped: bool,
    over: bool,
}

impl SkipString {
    /// Behind the opening quote of a string.
    #[must_use]
    pub fn inside() -> Self {
        Self { escaped: false, over: false }
    }

    /// Takes bytes up to and including the closing quote; returns how many.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        if self.escaped && !bytes.is_empty() {
            self.escaped = false;
            at = 1;
        }
        while let Some(found) = bytes.get(at..).and_then(special) {
            at += found + 1;
            if bytes.get(at - 1) == Some(&b'"') {
                self.over = true;
                return at;
            }
            if at == bytes.len() {
                self.escaped = true;
                return at;
            }
            at += 1;
        }
        bytes.len()
    }

    /// Whether the closing quote has passed.
    #[must_use]
    pub fn is_over(self) -> bool {
        self.over
    }
}

/// The first quote or backslash. Most strings are short, so the first bytes are looked at eight at a time, where
/// a call of the vectorised search would cost more than it saves.
#[inline]
#[must_use]
pub fn special(bytes: &[u8]) -> Option<usize> {
    let (words, _) = bytes.as_chunks::<8>();
    let mut at = 0;
    for word in words.iter().take(NEAR_WORDS) {
        let word = u64::from_le_bytes(*word);
        let found = zeros(word ^ QUOTES) | zeros(word ^ BACKSLASHES);
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    memchr2(b'"', b'\\', bytes.get(at..)?).map(|found| at + found)
}

const NEAR_WORDS: usize = 4;
const QUOTES: u64 = u64::from_le_bytes([b'"'; 8]);
const BACKSLASHES: u64 = u64::from_le_bytes([b'\\'; 8]);

/// The top bit of each byte that is zero; above the lowest of them there may be false ones.
fn zeros(word: u64) -> u64 {
    word.wrapping_sub(u64::from_le_bytes([0x01; 8])) & !word & u64::from_le_bytes([0x80; 8])
}

/// The first quote, bracket or backslash.
fn structure(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    for lanes in bytes.chunks(LANES) {
        if has_structure(lanes) {
            return lanes.iter().position(|&byte| is_structure(byte)).map(|found| at + found);
        }
        at += lanes.len();
    }
    None
}

/// Without an early exit inside: that is what lets the compiler look at all bytes at once.
fn has_structure(bytes: &[u8]) -> bool {
    bytes.iter().fold(false, |found, &byte| found | is_structure(byte))
}

/// Square and curly brackets differ in one bit.
fn is_structure(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\') || matches!(byte | 0x20, b'{' | b'}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_skipped_to_its_own_end_at_any_split() {
        let members = r#""a\"]}":[{"b":"\\"},"[[[",-1.5e3, [1,2,[3]]],"c":"\\\"}","#.repeat(5);
        let inside = format!("{members}\"z\":{{}}}}");
        let (body, end) = (format!("{inside} and the rest, some of which {{ is a bracket"), inside.len());
        let body = body.as_bytes();
        for split in 0..=body.len() {
            let (one, two) = body.split_at(split);
            let mut skip = Skip::inside();
            let mut taken = skip.feed(one);
            if !skip.is_over() {
                assert_eq!(taken, one.len());
                taken += skip.feed(two);
            }
            assert!(skip.is_over());
            assert_eq!(taken, end, "split at {split}");
        }
    }

    #[test]
    fn what_is_no_json_ends_at_the_same_place_at_any_split() {
        let body = [r#"[1]\],\[\"{\\}","a\]"#, "]}"].concat().repeat(9);
        let body = body.as_bytes();
        let mut whole = Skip::inside();
        let end = (whole.feed(body), whole.is_over());
        for size in [1, 7, 63, 64, 65] {
            let mut skip = Skip::inside();
            let pieces = body.chunks(size);
            let taken = pieces.map(|piece| if skip.is_over() { 0 } else { skip.feed(piece) }).sum();
            assert_eq!((taken, skip.is_over()), end, "in chunks of {size}");
        }
    }
}
