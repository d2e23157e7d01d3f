//! What `[auth.oidc]` holds once it has been read.

use std::path::PathBuf;
use std::time::Duration;

use crate::domain::group_mapping::GroupMapping;
use crate::domain::secret::Secret;

/// What becomes of somebody whom the provider does not let in any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenRefused {
    /// Sessions end; API keys work on.
    SignOut,
    /// Nothing works until the provider lets them in again.
    Disable,
}

impl WhenRefused {
    pub(super) const ALL: [(&str, Self); 2] = [("sign-out", Self::SignOut), ("disable", Self::Disable)];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, one)| *one == self).map_or("", |(name, _)| name)
    }
}

/// `[auth.oidc]`
#[derive(Clone, Debug)]
pub struct OidcConfig {
    /// The provider's URL, as it says it itself.
    pub issuer: String,
    pub client_id: String,
    pub client_secret: Secret,
    /// What people call it.
    pub name: String,
    pub scopes: Vec<String>,
    /// The claim that new users are called by.
    pub username_claim: String,
    pub groups_claim: String,
    /// What the provider's groups mean here.
    pub mapping: GroupMapping,
    pub create_users: bool,
    pub link_by_name: bool,
    pub when_refused: WhenRefused,
    /// How often the provider is asked about a person.
    pub check_interval: Duration,
    pub proxy: Option<Secret>,
    pub ca_file: Option<PathBuf>,
}
