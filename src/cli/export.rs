//! Passing an export through to standard output, up to a number of rows.

use std::io::{self, Write};

use super::error::Error;

/// Counts rows that pass. A line break inside quotes belongs to a CSV field and ends no row; JSON has none inside.
pub struct Rows {
    left: Option<usize>,
    quoted: bool,
}

impl Rows {
    /// Lets `limit` rows pass; none: all.
    #[must_use]
    pub fn new(limit: Option<usize>) -> Self {
        Self { left: limit, quoted: false }
    }

    /// As much of `piece` as belongs to rows that may pass.
    pub fn pass<'p>(&mut self, piece: &'p [u8]) -> &'p [u8] {
        let Some(left) = &mut self.left else { return piece };
        for (at, byte) in piece.iter().enumerate() {
            match byte {
                _ if *left == 0 => return &piece[..at],
                b'"' => self.quoted = !self.quoted,
                b'\n' if !self.quoted => *left -= 1,
                _ => {}
            }
        }
        piece
    }
}

/// Writes to standard output as it is.
pub fn write(bytes: &[u8]) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(Error::Output)
}

#[cfg(test)]
mod tests {
    use super::Rows;

    #[test]
    fn a_row_ends_outside_quotes_only_wherever_the_pieces_are_cut() {
        let csv = b"model,cost\n\"two\nlines\",1\nplain,2\n";
        for cut in 0..csv.len() {
            let mut rows = Rows::new(Some(2));
            let mut passed = rows.pass(&csv[..cut]).to_vec();
            passed.extend_from_slice(rows.pass(&csv[cut..]));
            assert_eq!(passed, b"model,cost\n\"two\nlines\",1\n", "cut at {cut}");
            assert!(rows.pass(b"more").is_empty());
        }
    }
}
