//! Taking an input apart.

/// Where a body is cut: a byte that none of what is fuzzed with cuts gives a meaning to.
pub const CUT: u8 = b'|';

/// An input of which a part has been taken.
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// One of these, by the next byte: `a` stands for the first. There has to be one.
    pub fn choice<T: Copy>(&mut self, among: &[T]) -> T {
        let byte = self.0.split_off_first().copied().unwrap_or(b'a');
        among[usize::from(byte.wrapping_sub(b'a')) % among.len()]
    }

    /// What stands before the next line feed.
    pub fn line(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|byte| *byte == b'\n');
        let (line, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest.get(1..).unwrap_or_default();
        line
    }

    /// The next line as text.
    pub fn text_line(&mut self) -> String {
        String::from_utf8_lossy(self.line()).into_owned()
    }

    /// All that is left.
    #[must_use]
    pub fn rest(self) -> &'a [u8] {
        self.0
    }

    /// All that is left, in the pieces that its cuts make.
    #[must_use]
    pub fn pieces(self) -> Vec<&'a [u8]> {
        self.0.split(|byte| *byte == CUT).collect()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// `bytes` in pieces of these lengths, over and over; a length of 0 makes an empty piece.
#[must_use]
pub fn in_pieces(mut bytes: &[u8], lengths: &[usize]) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    let is_finite = lengths.iter().any(|length| *length > 0);
    for length in lengths.iter().cycle().take_while(|_| is_finite) {
        if bytes.is_empty() {
            break;
        }
        let (piece, rest) = bytes.split_at(bytes.len().min(*length));
        pieces.push(piece.to_vec());
        bytes = rest;
    }
    if !bytes.is_empty() {
        pieces.push(bytes.to_vec());
    }
    pieces
}
