//! Percent-encoding (RFC 3986, section 2), as strict as signatures need it.

use std::fmt::Write as _;

/// `bytes` with everything but RFC 3986's unreserved characters encoded, in upper-case digits; the bytes of `keep` stay
/// as they are.
#[must_use]
pub fn encode(bytes: &[u8], keep: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + bytes.len() / 4);
    for byte in bytes {
        let is_plain = byte.is_ascii_alphanumeric() || b"-_.~".contains(byte) || keep.contains(byte);
        if is_plain && byte.is_ascii() {
            text.push(char::from(*byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// The bytes that `text` stands for. A percent sign without two digits stands for itself, and so does a plus sign.
#[must_use]
pub fn decode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let digit = |at: usize| behind.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        let value = digit(0).zip(digit(1)).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        if let (b'%', Some(value)) = (first, value) {
            bytes.push(value);
            rest = behind.get(2..).unwrap_or_default();
        } else {
            bytes.push(*first);
            rest = behind;
        }
    }
    bytes
}

/// A body of `application/x-www-form-urlencoded`.
#[must_use]
pub fn form(fields: &[(&str, &str)]) -> String {
    let fields = fields.iter().map(|(name, value)| {
        [encode(name.as_bytes(), b""), "=".to_owned(), encode(value.as_bytes(), b"")].concat()
    });
    fields.collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded_to_the_same_bytes() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&all, b"")), all);
        assert_eq!(encode("a/b:ü ~%".as_bytes(), b"/"), "a/b%3A%C3%BC%20~%25");
        assert_eq!(decode("%4a%4A+%zz%4"), b"JJ+%zz%4");
        assert_eq!(form(&[("a b", "1&2"), ("c", "")]), "a%20b=1%262&c=");
    }
}
