//! What `[auth.ldap]` holds once it has been read.

use std::path::PathBuf;
use std::time::Duration;

use super::oidc_section::WhenRefused;
use crate::domain::group_mapping::GroupMapping;
use crate::domain::secret::Secret;

/// What stands for the name that was typed.
pub(super) const USERNAME: &str = "{username}";

/// `[auth.ldap]`
#[derive(Clone, Debug)]
pub struct LdapConfig {
    /// `ldaps://…`, or `ldap://…` with `start_tls` or on this machine.
    pub url: String,
    pub start_tls: bool,
    /// Who looks people up. Empty: anybody may.
    pub bind_dn: String,
    pub bind_password: Option<Secret>,
    /// Below which people are.
    pub base_dn: String,
    /// Who of them may sign in; `{username}` stands for what was typed.
    pub user_filter: String,
    /// What new users are called.
    pub username_attribute: String,
    /// What never changes of an entry.
    pub id_attribute: String,
    /// The names of the groups that an entry is a member of.
    pub groups_attribute: String,
    /// What the directory's groups mean here.
    pub mapping: GroupMapping,
    pub create_users: bool,
    pub link_by_name: bool,
    pub when_refused: WhenRefused,
    /// How often the directory is asked about a person.
    pub check_interval: Duration,
    /// How long a question may take.
    pub timeout: Duration,
    pub ca_file: Option<PathBuf>,
}

impl LdapConfig {
    /// The filter of people for whoever has typed `name`, which is escaped.
    #[must_use]
    pub fn filter_for(&self, name: &str) -> String {
        self.user_filter.replace(USERNAME, name)
    }
}
