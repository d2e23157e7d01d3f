//! Random text for credentials, and the digest under which a credential is kept.

use aws_lc_rs::digest::{SHA256, digest};

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Characters of base 62 that carry 256 bits: 43 × log2(62) = 256.03.
pub const CHARS_FOR_256_BITS: usize = 43;

/// The operating system has no randomness to give.
#[derive(Debug, thiserror::Error)]
#[error("no randomness from the operating system: {0}")]
pub struct NoRandomness(#[from] getrandom::Error);

/// `count` characters of `0-9 A-Z a-z`, each equally likely.
///
/// # Errors
/// [`NoRandomness`].
pub fn random(count: usize) -> Result<String, NoRandomness> {
    random_of(ALPHABET, count)
}

/// `count` characters of an alphabet of ASCII, each equally likely.
///
/// # Errors
/// [`NoRandomness`].
pub fn random_of<const N: usize>(alphabet: &[u8; N], count: usize) -> Result<String, NoRandomness> {
    // What lies above the largest multiple of N in a byte would favour the first letters.
    let fair = 256 - 256 % N;
    let mut text = String::with_capacity(count);
    let mut bytes = [0_u8; 64];
    while text.len() < count {
        getrandom::fill(&mut bytes)?;
        let fair = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < fair);
        text.extend(fair.map(|byte| char::from(alphabet[byte % N])).take(count - text.len()));
    }
    Ok(text)
}

/// `value` in six characters of base 62, enough for 32 bits.
#[must_use]
pub fn six_letters(value: u32) -> [u8; 6] {
    let mut rest = value;
    let mut letters = [b'0'; 6];
    for place in letters.iter_mut().rev() {
        *place = ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    letters
}

/// SHA-256 of a credential: the only form in which one is kept.
#[must_use]
pub fn sha256(credential: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, credential).as_ref());
    out
}
