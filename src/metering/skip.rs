//! Getting over JSON that nobody asks about, fast and at any chunk boundary.

use memchr::memchr2;

/// Bytes looked at together when there is no structure in sight (arrays of numbers, white space).
const BLOCK: usize = 32;

/// A container that is being skipped; it may end in a later chunk.
#[derive(Clone, Copy, Debug)]
pub struct Skip {
    depth: u64,
    text: Option<Text>,
}

impl Skip {
    /// Behind the opening bracket of a container.
    #[must_use]
    pub fn inside() -> Self {
        Self { depth: 1, text: None }
    }

    /// Takes bytes up to and including the bracket that closes the container. Returns how many it took; the
    /// container has ended if [`Self::is_over`].
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() && self.depth > 0 {
            let rest = bytes.get(at..).unwrap_or_default();
            if let Some(text) = &mut self.text {
                at += text.feed(rest);
                if text.is_over() {
                    self.text = None;
                }
                continue;
            }
            let Some(found) = structure(rest) else { return bytes.len() };
            at += found + 1;
            match rest.get(found) {
                Some(b'"') => self.text = Some(Text::inside()),
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
pub struct Text {
    escaped: bool,
    over: bool,
}

impl Text {
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
        while let Some(found) = bytes.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
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

/// The first quote or bracket.
fn structure(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    for block in bytes.chunks(BLOCK) {
        // No early exit inside a block: that is what lets the compiler look at all of it at once.
        if block.iter().fold(false, |found, &byte| found | is_structure(byte)) {
            return block.iter().position(|&byte| is_structure(byte)).map(|found| at + found);
        }
        at += block.len();
    }
    None
}

/// Square and curly brackets differ in one bit.
fn is_structure(byte: u8) -> bool {
    byte == b'"' || matches!(byte | 0x20, b'{' | b'}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_skipped_to_its_own_end_at_any_split() {
        let body =
            br#""a\"]}":[{"b":"\\"},"[[[",-1.5e3, [1,2,[3]]]} and the rest, 32 bytes and more of it {"#;
        let end = body.iter().position(|b| *b == b' ').expect("a blank") + 1;
        let end = end + body.get(end..).expect("more").iter().position(|b| *b == b'}').expect("an end") + 1;
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
}
