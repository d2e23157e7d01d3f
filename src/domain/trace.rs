//! Where a call stands in its caller's trace: the header `traceparent` of <https://www.w3.org/TR/trace-context/>.

use std::fmt;

/// The caller's side of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    pub trace_id: u128,
    /// The caller's span.
    pub span_id: u64,
    /// Whether the caller records its own span.
    pub is_sampled: bool,
}

impl TraceParent {
    /// Reads a header's value; none if it is not one that says something.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let [version, trace_id, span_id, flags] =
            [(); 4].map(|()| parts.next()).map(Option::unwrap_or_default);
        // Later versions may have more behind it, this one has not.
        let is_known = match hex(version, 2)? {
            0xff => false,
            0 => parts.next().is_none(),
            _ => true,
        };
        let (trace_id, span_id) = (hex(trace_id, 32)?, u64::try_from(hex(span_id, 16)?).ok()?);
        let flags = hex(flags, 2)?;
        (is_known && trace_id != 0 && span_id != 0).then_some(Self {
            trace_id,
            span_id,
            is_sampled: flags & 1 == 1,
        })
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.is_sampled))
    }
}

/// A number of exactly so many digits, which are lower case.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (text.len() == digits && is_hex).then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_the_recommendation_allows_is_read_and_nothing_else() {
        let parsed = TraceParent::parse(TEXT).unwrap();
        assert_eq!(parsed.trace_id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!((parsed.span_id, parsed.is_sampled), (0x00f0_67aa_0ba9_02b7, true));
        assert_eq!(parsed.to_string(), TEXT);
        assert!(!TraceParent::parse(&TEXT.replace("-01", "-00")).unwrap().is_sampled);
        assert!(
            TraceParent::parse(&format!("{}-more", TEXT.replacen("00", "01", 1))).is_some(),
            "a later version"
        );
        for wrong in [
            "",
            "00",
            &TEXT.replacen("00", "ff", 1),
            &TEXT.to_uppercase(),
            &format!("{TEXT}-more"),
            &TEXT[1..],
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceParent::parse(wrong), None, "{wrong}");
        }
    }
}
