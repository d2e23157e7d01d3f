//! What shows that a text comes from somebody who knows a secret: HMAC-SHA256 (RFC 2104), in hexadecimal digits.

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign as tag_of};
use subtle::ConstantTimeEq;

use crate::crypto::digest::hex;

/// The signature of `message` as bytes, for protocols that make a key of it.
#[must_use]
pub fn tag(secret: &[u8], message: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(tag_of(&Key::new(HMAC_SHA256, secret), message).as_ref());
    out
}

/// The signature of `message`.
#[must_use]
pub fn sign(secret: &[u8], message: &[u8]) -> String {
    hex(&tag(secret, message))
}

/// Whether `signature` is that of `message`; takes the same time for every wrong one.
#[must_use]
pub fn is_right(secret: &[u8], message: &[u8], signature: &str) -> bool {
    sign(secret, message).as_bytes().ct_eq(signature.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test case 2.
    #[test]
    fn a_signature_is_that_of_the_rfc_and_fits_its_message_only() {
        let (secret, message) = (b"Jefe".as_slice(), b"what do ya want for nothing?".as_slice());
        let signature = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(sign(secret, message), signature);
        assert!(is_right(secret, message, signature));
        assert!(!is_right(secret, b"something else", signature) && !is_right(b"another", message, signature));
        assert!(!is_right(secret, message, ""));
    }
}
