//! API keys: `sk-sp-`, 43 random characters of base 62 (256 bits), and 6 of CRC-32. The checksum lets garbage be
//! refused without a look-up, and lets secret scanners tell a key from text that looks like one.

use std::fmt;

use crate::crypto::secret_text::{self, CHARS_FOR_256_BITS, NoRandomness};

const PREFIX: &str = "sk-sp-";
const CHECKSUM_CHARS: usize = 6;
const BODY_END: usize = PREFIX.len() + CHARS_FOR_256_BITS;
const KEY_LEN: usize = BODY_END + CHECKSUM_CHARS;
/// `sk-sp-` and six random characters: enough to recognise a key in a list, useless for guessing it.
const SHOWN_LEN: usize = PREFIX.len() + 6;

/// SHA-256 of a key: what the database keeps.
pub type Digest = [u8; 32];

/// A key at the moment of its creation, the only time that its text exists here.
pub struct NewKey {
    /// The key itself, for its owner's eyes.
    pub text: String,
    /// Its first characters, stored to recognise it.
    pub prefix: String,
    /// Stored to check it.
    pub digest: Digest,
}

impl fmt::Debug for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewKey({}***)", self.prefix)
    }
}

///
/// # Errors
/// [`NoRandomness`].
pub fn generate() -> Result<NewKey, NoRandomness> {
    let mut text = format!("{PREFIX}{}", secret_text::random(CHARS_FOR_256_BITS)?);
    let checksum = secret_text::six_letters(crc32fast::hash(text.as_bytes()));
    text.extend(checksum.iter().map(|letter| char::from(*letter)));
    Ok(NewKey { prefix: text[..SHOWN_LEN].to_owned(), digest: secret_text::sha256(text.as_bytes()), text })
}

/// Whether `credential` claims to be an API key of ours, well-formed or not.
#[must_use]
pub fn looks_like(credential: &str) -> bool {
    credential.starts_with(PREFIX)
}

/// The digest of a well-formed key; `None` for everything else, without hashing it.
#[must_use]
pub fn digest(credential: &str) -> Option<Digest> {
    let bytes = credential.as_bytes();
    if bytes.len() != KEY_LEN || !looks_like(credential) {
        return None;
    }
    let (body, checksum) = bytes.split_at(BODY_END);
    let intact = secret_text::six_letters(crc32fast::hash(body)) == *checksum;
    intact.then(|| secret_text::sha256(bytes))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_new_key_reads_back_to_the_digest_that_is_kept() {
        let key = generate().expect("randomness");
        assert!(key.text.starts_with("sk-sp-") && key.text.len() == KEY_LEN);
        assert_eq!(digest(&key.text), Some(key.digest));
        assert!(key.text.starts_with(&key.prefix) && key.prefix.len() == SHOWN_LEN);
    }

    #[test]
    fn any_changed_character_is_refused_by_the_checksum() {
        let key = generate().expect("randomness").text;
        for at in 0..key.len() {
            let mut changed = key.clone().into_bytes();
            changed[at] = if changed[at] == b'x' { b'y' } else { b'x' };
            let changed = String::from_utf8(changed).expect("ascii");
            assert_eq!(digest(&changed), None, "changed at {at}");
        }
        for garbage in ["", "sk-sp-", "sk-ant-api03-abc", &key[1..], &format!("{key}x"), "sk-sp-äöü"] {
            assert_eq!(digest(garbage), None);
        }
    }

    #[test]
    fn keys_do_not_repeat_and_their_debug_form_hides_them() {
        let keys: Vec<_> = (0..200).map(|_| generate().expect("randomness")).collect();
        assert_eq!(keys.iter().map(|k| k.text.as_str()).collect::<HashSet<_>>().len(), keys.len());
        assert!(!format!("{:?}", keys[0]).contains(&keys[0].text));
    }
}
