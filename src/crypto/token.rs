//! Access tokens: short-lived JWTs (RFC 7519) signed with Ed25519 (RFC 8037). A private key stays with the leader that
//! made it; every node has the public keys and verifies alone. `kid` names the key, so keys can be rotated.

use std::fmt;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use crate::crypto::secret_text::sha256;
use crate::domain::clock::Timestamp;
use crate::domain::ids::{Jti, UserId};

const ISSUER: &str = "sproxy";

/// Around a private key in PEM (RFC 7468).
const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";
/// Characters of a line in PEM.
const PEM_LINE: usize = 64;

/// Why a token could not be made or is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a token of ours: malformed, another algorithm, an unknown key or a wrong signature.
    #[error("not a valid access token")]
    NotValid,
    /// Expired at that time.
    #[error("the access token expired at {0}")]
    Expired(Timestamp),
    /// A key cannot be made or read.
    #[error("the signing key cannot be used: {0}")]
    Key(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claims {
    pub user: UserId,
    pub jti: Jti,
    /// The login it descends from: the family of its refresh token.
    pub session: Jti,
    /// When it was issued, to the microsecond: revocation compares against it.
    pub issued_at: Timestamp,
    /// Refused from this moment on.
    pub expires_at: Timestamp,
}

/// The claims as encoded. `iat` and `exp` are whole seconds by RFC 7519; `iat_us` is exact.
#[derive(Serialize, Deserialize)]
struct Written {
    iss: String,
    sub: UserId,
    jti: Jti,
    sid: Jti,
    iat: i64,
    exp: i64,
    iat_us: i64,
}

/// Signs tokens. Only the leader has one.
pub struct Signer {
    header: Header,
    key: EncodingKey,
    public: PublicKey,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer(kid {})", self.public.kid())
    }
}

/// The half of a key that verifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// The key's name: the first 8 bytes of its SHA-256, in hexadecimal digits.
    #[must_use]
    pub fn kid(&self) -> String {
        let digest = sha256(&self.0);
        let start = digest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        format!("{start:016x}")
    }

    /// SHA-256 of the key, to tell it by, in the form of OpenSSH.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", STANDARD_NO_PAD.encode(sha256(&self.0)))
    }
}

/// A new private key as PKCS#8.
///
/// # Errors
/// [`Error::Key`] without randomness.
pub fn new_private_key() -> Result<Vec<u8>, Error> {
    let pair = Ed25519KeyPair::generate().map_err(|_| Error::Key("no randomness".to_owned()))?;
    let document = pair.to_pkcs8v1().map_err(|_| Error::Key("cannot be written as PKCS#8".to_owned()))?;
    Ok(document.as_ref().to_vec())
}

/// A private key in PKCS#8 as text, the way other programs keep one.
#[must_use]
pub fn to_pem(pkcs8: &[u8]) -> String {
    let encoded = STANDARD.encode(pkcs8);
    let mut pem = format!("{PEM_BEGIN}\n");
    for line in encoded.as_bytes().chunks(PEM_LINE) {
        pem.extend(line.iter().copied().map(char::from));
        pem.push('\n');
    }
    pem + PEM_END + "\n"
}

/// A private key in PKCS#8 out of its text; `None` if that is none.
#[must_use]
pub fn from_pem(pem: &str) -> Option<Vec<u8>> {
    let (_, begun) = pem.split_once(PEM_BEGIN)?;
    let (body, _) = begun.split_once(PEM_END)?;
    STANDARD.decode(body.split_ascii_whitespace().collect::<String>()).ok()
}

impl Signer {
    /// A signer from a key in PKCS#8.
    ///
    /// # Errors
    /// [`Error::Key`] when the bytes are no Ed25519 key.
    pub fn new(pkcs8: &[u8]) -> Result<Self, Error> {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|reason| Error::Key(reason.to_string()))?;
        let bytes = pair.public_key().as_ref().try_into();
        let public = PublicKey(bytes.map_err(|_| Error::Key("its public half is not 32 bytes".to_owned()))?);
        let header = Header { kid: Some(public.kid()), ..Header::new(Algorithm::EdDSA) };
        Ok(Self { header, key: EncodingKey::from_ed_der(pkcs8), public })
    }

    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// The token that says `claims`.
    ///
    /// # Errors
    /// [`Error::Key`] when the key refuses to sign.
    pub fn sign(&self, claims: &Claims) -> Result<String, Error> {
        let written = Written {
            iss: ISSUER.to_owned(),
            sub: claims.user,
            jti: claims.jti,
            sid: claims.session,
            iat: claims.issued_at.as_secs(),
            exp: claims.expires_at.as_secs(),
            iat_us: claims.issued_at.as_micros(),
        };
        jsonwebtoken::encode(&self.header, &written, &self.key).map_err(|e| Error::Key(e.to_string()))
    }
}

/// Verifies tokens, with however many public keys are in force.
#[derive(Default)]
pub struct Verifier {
    keys: Vec<(String, PublicKey, DecodingKey)>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|(kid, _, _)| kid)).finish()
    }
}

impl Verifier {
    /// A verifier for tokens of any of `keys`.
    #[must_use]
    pub fn new(keys: &[PublicKey]) -> Self {
        Self { keys: keys.iter().map(|key| (key.kid(), *key, DecodingKey::from_ed_der(&key.0))).collect() }
    }

    /// The keys in force.
    pub fn keys(&self) -> impl Iterator<Item = PublicKey> + '_ {
        self.keys.iter().map(|(_, key, _)| *key)
    }

    /// What a token says, if one of the keys signed it and it has not expired at `now`.
    ///
    /// # Errors
    /// [`Error::NotValid`] and [`Error::Expired`].
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, Error> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| Error::NotValid)?;
        let kid = header.kid.ok_or(Error::NotValid)?;
        let (_, _, key) = self.keys.iter().find(|(known, _, _)| *known == kid).ok_or(Error::NotValid)?;
        let mut rules = Validation::new(Algorithm::EdDSA);
        rules.set_issuer(&[ISSUER]);
        // The library would ask the system for the time; here the caller brings it.
        rules.validate_exp = false;
        let said = jsonwebtoken::decode::<Written>(token, key, &rules).map_err(|_| Error::NotValid)?.claims;
        let expires_at = Timestamp::from_micros(said.exp.saturating_mul(1_000_000));
        if now >= expires_at {
            return Err(Error::Expired(expires_at));
        }
        let issued_at = Timestamp::from_micros(said.iat_us);
        Ok(Claims { user: said.sub, jti: said.jti, session: said.sid, issued_at, expires_at })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn signer() -> Signer {
        Signer::new(&new_private_key().expect("a key")).expect("a signer")
    }

    fn claims() -> Claims {
        let issued_at: Timestamp = "2026-11-22T10:00:00.5Z".parse().expect("a time");
        let expires_at = "2026-11-22T11:00:00Z".parse().expect("a time");
        Claims { user: UserId::new(), jti: Jti::new(), session: Jti::new(), issued_at, expires_at }
    }

    #[test]
    fn a_signed_token_says_what_was_signed_until_it_expires() {
        let (signer, claims) = (signer(), claims());
        let token = signer.sign(&claims).expect("signed");
        let verifier = Verifier::new(&[signer.public()]);
        assert_eq!(verifier.verify(&token, claims.issued_at).expect("valid"), claims);
        let late = verifier.verify(&token, claims.expires_at).expect_err("expired");
        assert!(matches!(late, Error::Expired(_)));
        assert!(verifier.verify(&token, claims.expires_at.minus(Duration::from_secs(1))).is_ok());
    }

    #[test]
    fn a_private_key_is_the_same_as_text() {
        let key = new_private_key().expect("a key");
        let pem = to_pem(&key);
        assert!(pem.lines().all(|line| line.len() <= PEM_LINE), "{pem}");
        assert_eq!(from_pem(&pem).as_ref(), Some(&key));
        assert_eq!(from_pem(&pem.replace('\n', "\r\n")).as_ref(), Some(&key));
        for bad in [
            "",
            "no key",
            &pem[..pem.len() - 9],
            &pem.replace("PRIVATE", "PUBLIC"),
            &pem.replacen('M', "*", 1),
        ] {
            assert_eq!(from_pem(bad), None, "{bad}");
        }
    }

    #[test]
    fn after_a_rotation_tokens_of_both_keys_hold_until_the_old_key_is_dropped() {
        let (old, new, claims) = (signer(), signer(), claims());
        let token = old.sign(&claims).expect("signed");
        assert!(Verifier::new(&[new.public(), old.public()]).verify(&token, claims.issued_at).is_ok());
        assert!(Verifier::new(&[new.public()]).verify(&token, claims.issued_at).is_err());
    }

    #[test]
    fn a_changed_token_another_algorithm_and_garbage_are_refused() {
        let (signer, claims) = (signer(), claims());
        let verifier = Verifier::new(&[signer.public()]);
        let token = signer.sign(&claims).expect("signed");
        let mut parts: Vec<&str> = token.split('.').collect();
        let unsigned = format!("{}.{}.", parts[0], parts[1]);
        let header = Header { kid: Some(signer.public().kid()), ..Header::new(Algorithm::HS256) };
        let body = serde_json::json!({"iss": "sproxy", "sub": claims.user, "exp": 9_999_999_999_u64});
        let by_secret = EncodingKey::from_secret(&signer.public().0);
        let confused = jsonwebtoken::encode(&header, &body, &by_secret).expect("encoded");
        let other = super::tests::signer().sign(&claims).expect("signed");
        let other_body = other.split('.').nth(1).expect("a body").to_owned();
        parts[1] = &other_body[..other_body.len() - 4];
        for bad in [&parts.join("."), &unsigned, &confused, "", "a.b.c", "..."] {
            assert!(matches!(verifier.verify(bad, claims.issued_at), Err(Error::NotValid)), "{bad}");
        }
    }
}
