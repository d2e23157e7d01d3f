//! Secrets that have to be read again, and are kept where others might look: AES-256-GCM, under a key that is made of a
//! secret of the operator's.

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};

use crate::crypto::mac;

/// Bytes of the nonce before what is sealed.
const NONCE: usize = 12;

/// It cannot be opened: it was sealed with another secret or for another purpose, or is damaged.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("sealed with another secret, or damaged")]
pub struct NotOurs;

/// The operating system gives no randomness.
#[derive(Debug, thiserror::Error)]
#[error("nothing can be encrypted: no randomness from the operating system")]
pub struct NotSealed;

/// Seals `text` with a secret, for one purpose.
///
/// # Errors
/// [`NotSealed`].
pub fn seal(secret: &[u8], purpose: &str, text: &[u8]) -> Result<Vec<u8>, NotSealed> {
    let mut sealed = text.to_vec();
    let key = RandomizedNonceKey::new(&AES_256_GCM, &mac::tag(secret, purpose.as_bytes()));
    let key = key.map_err(|_| NotSealed)?;
    let nonce =
        key.seal_in_place_append_tag(Aad::from(purpose.as_bytes()), &mut sealed).map_err(|_| NotSealed)?;
    Ok([nonce.as_ref().as_slice(), &sealed].concat())
}

/// What was sealed.
///
/// # Errors
/// [`NotOurs`].
pub fn open(secret: &[u8], purpose: &str, sealed: &[u8]) -> Result<Vec<u8>, NotOurs> {
    let (nonce, text) = sealed.split_first_chunk::<NONCE>().ok_or(NotOurs)?;
    let key = RandomizedNonceKey::new(&AES_256_GCM, &mac::tag(secret, purpose.as_bytes()));
    let (key, mut text) = (key.map_err(|_| NotOurs)?, text.to_vec());
    let nonce = Nonce::from(nonce);
    let opened = key.open_in_place(nonce, Aad::from(purpose.as_bytes()), &mut text).map_err(|_| NotOurs)?;
    Ok(opened.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_with_its_secret_for_its_purpose_and_undamaged_alone() {
        let sealed = seal(b"secret", "tokens", b"refresh me").expect("sealed");
        assert_ne!(seal(b"secret", "tokens", b"refresh me").expect("sealed"), sealed, "never the same twice");
        assert!(!sealed.windows(7).any(|bytes| bytes == b"refresh"));
        assert_eq!(open(b"secret", "tokens", &sealed).expect("ours"), b"refresh me");
        assert_eq!(open(b"another", "tokens", &sealed), Err(NotOurs));
        assert_eq!(open(b"secret", "cookies", &sealed), Err(NotOurs));
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert_eq!(open(b"secret", "tokens", &damaged), Err(NotOurs), "{at}");
            assert_eq!(open(b"secret", "tokens", &sealed[..at]), Err(NotOurs), "{at}");
        }
    }
}
