//! Signed assertions (RFC 7523): JWTs by which a program with a private RSA key asks others for a token. RS256, which is
//! what they all take.

use std::fmt;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

/// A private key that cannot be read or refuses to sign. Says nothing of the key.
#[derive(Debug, thiserror::Error)]
#[error("the private key cannot be used: {0}")]
pub struct BadKey(String);

/// A private key, and its name for those who verify.
pub struct AssertionKey {
    key: EncodingKey,
    header: Header,
}

impl fmt::Debug for AssertionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AssertionKey(kid {:?})", self.header.kid)
    }
}

impl AssertionKey {
    /// An RSA key in PEM, PKCS#8 or PKCS#1.
    ///
    /// # Errors
    /// [`BadKey`]: it is none.
    pub fn from_pem(pem: &str, kid: Option<String>) -> Result<Self, BadKey> {
        let key = EncodingKey::from_rsa_pem(pem.as_bytes()).map_err(|error| BadKey(error.to_string()))?;
        Ok(Self { key, header: Header { kid, ..Header::new(Algorithm::RS256) } })
    }

    /// The assertion that says `claims`.
    ///
    /// # Errors
    /// [`BadKey`]: it refuses to sign.
    pub fn sign(&self, claims: &impl Serialize) -> Result<String, BadKey> {
        jsonwebtoken::encode(&self.header, claims, &self.key).map_err(|error| BadKey(error.to_string()))
    }
}
