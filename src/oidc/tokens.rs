//! What is kept of a person's session at the provider, encrypted under the client's secret: whoever has a copy of the
//! database has no token of anybody's.

use serde::{Deserialize, Serialize};

use super::provider::Granted;
use crate::crypto::sealed::{self, NotSealed};
use crate::domain::secret::Secret;

const PURPOSE: &str = "sproxy: tokens of an identity provider";

#[derive(Default, Serialize, Deserialize)]
pub(super) struct Tokens {
    /// To ask about the person again. Not every provider gives one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refresh_token: Option<String>,
    /// To sign out at the provider without being asked who one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id_token: Option<String>,
}

impl From<Granted> for Tokens {
    fn from(granted: Granted) -> Self {
        Self { refresh_token: granted.refresh_token, id_token: granted.id_token }
    }
}

impl Tokens {
    /// What is missing is as it was before.
    pub(super) fn or(self, before: Self) -> Self {
        Self {
            refresh_token: self.refresh_token.or(before.refresh_token),
            id_token: self.id_token.or(before.id_token),
        }
    }

    pub(super) fn seal(&self, secret: &Secret) -> Result<Vec<u8>, NotSealed> {
        let text = serde_json::to_vec(self).map_err(|_| NotSealed)?;
        sealed::seal(secret.expose().as_bytes(), PURPOSE, &text)
    }

    pub(super) fn open(secret: &Secret, sealed: &[u8]) -> Option<Self> {
        let text = sealed::open(secret.expose().as_bytes(), PURPOSE, sealed).ok()?;
        serde_json::from_slice(&text).ok()
    }
}
