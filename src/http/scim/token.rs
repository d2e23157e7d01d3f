//! What a directory proves itself with. It opens SCIM and nothing else, and nothing else opens SCIM.

use std::fmt;

use subtle::ConstantTimeEq;

use crate::crypto::secret_text::sha256;
use crate::domain::secret::Secret;

/// The SHA-256 of `auth.scim.token`.
#[derive(Clone)]
pub struct ScimToken([u8; 32]);

impl ScimToken {
    #[must_use]
    pub fn new(token: &Secret) -> Self {
        Self(sha256(token.expose().as_bytes()))
    }

    /// Whether `credential` is the token.
    #[must_use]
    pub fn is(&self, credential: &str) -> bool {
        self.0.ct_eq(&sha256(credential.as_bytes())).into()
    }
}

impl fmt::Debug for ScimToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScimToken(***)")
    }
}
