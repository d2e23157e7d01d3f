//! Who may call: everyone's credentials in memory, and every change to users, groups and keys.

pub mod attempts;
mod authenticate;
pub mod directory;
pub mod error;

use std::sync::Arc;

pub use authenticate::Authenticator;
pub use error::Error;

use crate::domain::clock::Timestamp;
use crate::domain::principal::Principal;

/// Users, groups and keys of this node. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    authenticator: Arc<Authenticator>,
}

impl Accounts {
    /// Who a caller is, by API key or access token. In memory: never waits, never asks a database.
    ///
    /// # Errors
    /// Whatever is wrong with the credential; see [`Error`].
    pub fn authenticate(&self, credential: &str, now: Timestamp) -> Result<Principal, Error> {
        self.authenticator.authenticate(credential, now)
    }

    /// As [`Accounts::authenticate`], and the local admin token too; for the control plane only.
    ///
    /// # Errors
    /// Whatever is wrong with the credential; see [`Error`].
    pub fn authenticate_operator(&self, credential: &str, now: Timestamp) -> Result<Principal, Error> {
        self.authenticator.authenticate_operator(credential, now)
    }
}
