//! The documents of a stream begin alike. The bytes up to the first piece of content are remembered, so that
//! the next document can be taken up from there with one comparison.

/// Longest prefix that is remembered.
const LENGTH_MAX: usize = 512;

/// The prefix of a document, with at most one number in it that may differ (a sequence number, a time).
#[derive(Debug)]
pub struct PrefixCache {
    /// What comes before and behind the number, in one piece.
    bytes: [u8; LENGTH_MAX],
    len: usize,
    /// Index of the number in `bytes`.
    number_at: Option<usize>,
}

impl PrefixCache {
    pub fn empty() -> Self {
        Self { bytes: [0; LENGTH_MAX], len: 0, number_at: None }
    }

    /// What comes behind the prefix, if `bytes` begin this way.
    pub fn strip<'b>(&self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        let known = self.bytes.get(..self.len).filter(|known| !known.is_empty())?;
        let Some(number_at) = self.number_at else { return bytes.strip_prefix(known) };
        let (before, behind) = known.split_at_checked(number_at)?;
        let number = bytes.strip_prefix(before)?;
        let end = number.iter().position(|byte| !byte.is_ascii_digit()).filter(|end| *end > 0)?;
        number.get(end..)?.strip_prefix(behind)
    }

    /// Remembers `prefix`, in which the digits of a number stand at `number`.
    pub fn learn(&mut self, prefix: &[u8], number: Option<(usize, usize)>) {
        let (before, behind) = match number {
            Some((start, end)) => (prefix.get(..start), prefix.get(end..)),
            None => (Some(prefix), None),
        };
        let (before, behind) = (before.unwrap_or_default(), behind.unwrap_or_default());
        self.len = 0;
        if let Some((first, rest)) = self.bytes.split_at_mut_checked(before.len())
            && let Some(second) = rest.get_mut(..behind.len())
        {
            first.copy_from_slice(before);
            second.copy_from_slice(behind);
            self.len = before.len() + behind.len();
            self.number_at = number.map(|(start, _)| start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_document_may_differ_in_the_number_alone() {
        let mut cache = PrefixCache::empty();
        assert_eq!(cache.strip(b"{\"n\":12,\"delta\":\"x"), None);
        cache.learn(b"{\"n\":12,\"delta\":\"", Some((5, 7)));
        assert_eq!(cache.strip(b"{\"n\":12,\"delta\":\"x"), Some(&b"x"[..]));
        assert_eq!(cache.strip(b"{\"n\":9999,\"delta\":\"y"), Some(&b"y"[..]));
        for other in
            ["{\"n\":,\"delta\":\"y", "{\"n\":12", "{\"n\":12,\"other\":\"y", "{\"m\":12,\"delta\":\"y", ""]
        {
            assert_eq!(cache.strip(other.as_bytes()), None, "{other}");
        }
        cache.learn(&[b'x'; LENGTH_MAX + 1], None);
        assert_eq!(cache.strip(&[b'x'; LENGTH_MAX + 1]), None, "too long to be remembered");
    }
}
