//! What has to be known when a browser comes back from the provider. It is kept in a cookie of that very browser: nobody
//! else can finish what it began, and nothing is kept here for those who never come back.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;

use crate::crypto::secret_text::{CHARS_FOR_256_BITS, random, sha256};
use crate::oidc::Error;

/// A sign-in that a browser has begun.
#[derive(Clone, PartialEq, Eq)]
pub struct Begun {
    /// Comes back with the browser.
    pub(super) state: String,
    /// Comes back in the ID token.
    pub(super) nonce: String,
    /// Shows the provider that the code is redeemed by who asked for it (RFC 7636).
    pub(super) verifier: String,
}

impl std::fmt::Debug for Begun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Begun(***)")
    }
}

impl Begun {
    pub(super) fn new() -> Result<Self, Error> {
        let text = || random(CHARS_FOR_256_BITS).map_err(|error| Error::Accounts(error.into()));
        Ok(Self { state: text()?, nonce: text()?, verifier: text()? })
    }

    /// As it is kept in a cookie.
    #[must_use]
    pub fn as_cookie(&self) -> String {
        [self.state.as_str(), &self.nonce, &self.verifier].join(".")
    }

    /// `None` for a cookie that is none of ours.
    #[must_use]
    pub fn of_cookie(text: &str) -> Option<Self> {
        let is_ours =
            |part: &&str| part.len() == CHARS_FOR_256_BITS && part.bytes().all(|b| b.is_ascii_alphanumeric());
        let parts: Vec<&str> = text.split('.').filter(is_ours).collect();
        let [state, nonce, verifier] = parts.as_slice() else { return None };
        let [state, nonce, verifier] = [state, nonce, verifier].map(|part| (*part).to_owned());
        Some(Self { state, nonce, verifier })
    }

    pub(super) fn is_state(&self, state: &str) -> bool {
        self.state.as_bytes().ct_eq(state.as_bytes()).into()
    }

    pub(super) fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(sha256(self.verifier.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_out_of_its_cookie_and_out_of_no_other() {
        let begun = Begun::new().expect("randomness");
        assert_eq!(Begun::of_cookie(&begun.as_cookie()), Some(begun.clone()));
        assert!(begun.is_state(&begun.state) && !begun.is_state(&begun.nonce) && !begun.is_state(""));
        for bad in ["", "a.b.c", &begun.state, &format!("{}.x", begun.as_cookie()[1..].to_owned())] {
            assert_eq!(Begun::of_cookie(bad), None, "{bad}");
        }
    }

    /// RFC 7636, appendix B.
    #[test]
    fn a_challenge_is_that_of_the_rfc() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_owned();
        let begun = Begun { state: String::new(), nonce: String::new(), verifier };
        assert_eq!(begun.challenge(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }
}
