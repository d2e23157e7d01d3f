//! Signed tokens (RFC 7519) of somebody else, such as an identity provider, and the keys that they are signed with
//! (RFC 7517). What a token says is for the caller to judge.

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Map, Value};

/// With keys that are public. A signature that everybody can make who can check it is none, and "none" is none either.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];
/// Longer than any token with groups that a browser brings through a proxy's headers; what is longer is refused unread.
const TOKEN_MAX: usize = 64 * 1024;

/// Why a token says nothing.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("it is no signed token")]
    NotAToken,
    #[error("it is signed with {0}, which is not accepted")]
    Algorithm(String),
    /// None of the keys has its name: there may be newer ones.
    #[error("it is signed with a key that is not known")]
    UnknownKey,
    #[error("its signature is wrong")]
    Signature,
}

/// The keys of somebody who signs. Keys of kinds that nobody here understands are left out.
#[derive(Debug, Default)]
pub struct Keys(Vec<Jwk>);

impl Keys {
    /// Reads a key set; `None` if it is none.
    #[must_use]
    pub fn read(set: &Value) -> Option<Self> {
        let keys = set.get("keys")?.as_array()?.iter();
        let readable = keys.filter_map(|key| serde_json::from_value::<Jwk>(key.clone()).ok());
        let signing = readable.filter(|key| {
            !matches!(key.common.public_key_use, Some(PublicKeyUse::Encryption | PublicKeyUse::Other(_)))
        });
        Some(Self(signing.collect()))
    }

    /// What a token says, if one of these keys has signed it.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn verify(&self, token: &str) -> Result<Map<String, Value>, Error> {
        if token.len() > TOKEN_MAX {
            return Err(Error::NotAToken);
        }
        let header = decode_header(token).map_err(|error| match error.kind() {
            ErrorKind::Json(_) | ErrorKind::InvalidAlgorithmName => {
                Error::Algorithm("something unknown".to_owned())
            }
            _ => Error::NotAToken,
        })?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(Error::Algorithm(format!("{:?}", header.alg)));
        }
        let named = self.0.iter().filter(|key| header.kid.is_none() || key.common.key_id == header.kid);
        let candidates: Vec<DecodingKey> = named.filter_map(|key| DecodingKey::from_jwk(key).ok()).collect();
        let mut validation = Validation::new(header.alg);
        // Times are compared with the node's clock, and the rest with what was asked, by the caller.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let mut refused = Error::UnknownKey;
        for key in &candidates {
            match decode::<Map<String, Value>>(token, key, &validation) {
                Ok(verified) => return Ok(verified.claims),
                Err(error) if matches!(error.kind(), ErrorKind::Json(_)) => return Err(Error::NotAToken),
                Err(_) => refused = Error::Signature,
            }
        }
        Err(refused)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::json;

    use super::*;
    use crate::crypto::token::{Signer, new_private_key};

    fn signed(header: &Header, private: &[u8]) -> String {
        encode(header, &json!({"sub": "alice"}), &EncodingKey::from_ed_der(private)).expect("signed")
    }

    fn header(kid: Option<&str>) -> Header {
        Header { kid: kid.map(str::to_owned), ..Header::new(Algorithm::EdDSA) }
    }

    fn jwk(private: &[u8], kid: &str) -> Value {
        let public = Signer::new(private).expect("a key").public().0;
        json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "use": "sig", "x": URL_SAFE_NO_PAD.encode(public)})
    }

    #[test]
    fn a_token_counts_if_one_of_the_keys_has_signed_it_by_an_accepted_algorithm() {
        let (one, other) = (new_private_key().expect("a key"), new_private_key().expect("a key"));
        let odd = json!({"kty": "new", "kid": "c"});
        let keys = Keys::read(&json!({"keys": [odd, jwk(&one, "a"), jwk(&other, "b")]})).expect("keys");
        for kid in [Some("a"), None] {
            assert_eq!(keys.verify(&signed(&header(kid), &one)).expect("right")["sub"], "alice");
        }
        assert_eq!(keys.verify(&signed(&header(Some("b")), &one)), Err(Error::Signature));
        assert_eq!(keys.verify(&signed(&header(Some("c")), &one)), Err(Error::UnknownKey));
        assert_eq!(keys.verify(&signed(&header(Some("d")), &one)), Err(Error::UnknownKey));
        let token = signed(&header(Some("a")), &one);
        let (rest, signature) = token.rsplit_once('.').expect("three parts");
        assert_eq!(keys.verify(&format!("{rest}.")), Err(Error::Signature));
        let claims = URL_SAFE_NO_PAD.encode(r#"{"sub":"mallory"}"#);
        let head = rest.split('.').next().expect("a head");
        assert_eq!(keys.verify(&format!("{head}.{claims}.{signature}")), Err(Error::Signature));
        for alg in ["none", "HS256", "RS1"] {
            let head = URL_SAFE_NO_PAD.encode(json!({"alg": alg, "kid": "a"}).to_string());
            assert!(matches!(keys.verify(&format!("{head}.{claims}.")), Err(Error::Algorithm(_))), "{alg}");
        }
        for nothing in ["", "a.b", "a.b.c", &"a".repeat(TOKEN_MAX + 1)] {
            assert!(keys.verify(nothing).is_err());
        }
        assert!(Keys::read(&json!({})).is_none() && Keys::read(&json!([])).is_none());
    }
}
