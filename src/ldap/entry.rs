//! An entry of the directory, and who that is here.

use std::collections::HashMap;

use ldap3::{SearchEntry, ldap_escape};

use crate::accounts::ExternalPerson;
use crate::config::LdapConfig;
use crate::crypto::digest::hex;
use crate::domain::user::Identity;

/// The issuer of whoever is known by an entry.
pub(super) const ISSUER: &str = Identity::LDAP;
/// Before an id that is no text, in hexadecimal digits.
const BINARY: &str = "hex:";

pub(super) struct Entry {
    pub(super) dn: String,
    texts: HashMap<String, Vec<String>>,
    binaries: HashMap<String, Vec<Vec<u8>>>,
}

impl From<SearchEntry> for Entry {
    fn from(entry: SearchEntry) -> Self {
        // Names of attributes are the same in capitals (RFC 4512, section 2.5).
        Self {
            dn: entry.dn,
            texts: entry
                .attrs
                .into_iter()
                .map(|(name, values)| (name.to_ascii_lowercase(), values))
                .collect(),
            binaries: entry
                .bin_attrs
                .into_iter()
                .map(|(name, values)| (name.to_ascii_lowercase(), values))
                .collect(),
        }
    }
}

impl Entry {
    /// Who it is. `None`: somebody who may not sign in.
    ///
    /// # Errors
    /// In words, for an entry that lacks what it has to have.
    pub(super) fn person(&self, config: &LdapConfig) -> Result<Option<ExternalPerson>, String> {
        let missing = |name: &str| format!("the entry has no {name}: see auth.ldap");
        let subject = self.id(&config.id_attribute).ok_or_else(|| missing(&config.id_attribute))?;
        let name = self.texts(&config.username_attribute).first();
        let name = name.ok_or_else(|| missing(&config.username_attribute))?.clone();
        let groups: Vec<&str> = self.texts(&config.groups_attribute).iter().map(String::as_str).collect();
        let mapped = config.mapping.judge(&groups, is_same_name);
        Ok(mapped.map(|mapped| ExternalPerson {
            identity: Identity { issuer: ISSUER.to_owned(), subject },
            name,
            group: mapped.group,
            is_admin: mapped.is_admin,
        }))
    }

    fn texts(&self, name: &str) -> &[String] {
        self.texts.get(&name.to_ascii_lowercase()).map_or(&[], Vec::as_slice)
    }

    /// A GUID of Active Directory is sixteen bytes, which may happen to be text.
    fn id(&self, name: &str) -> Option<String> {
        if let Some(id) = self.texts(name).first() {
            let is_plain = id.bytes().all(|byte| byte.is_ascii_graphic());
            return Some(if is_plain { id.clone() } else { format!("{BINARY}{}", hex(id.as_bytes())) });
        }
        let id = self.binaries.get(&name.to_ascii_lowercase())?.first()?;
        Some(format!("{BINARY}{}", hex(id)))
    }
}

/// The filter that finds an entry by its id.
pub(super) fn filter_of(attribute: &str, subject: &str) -> String {
    let value = match subject.strip_prefix(BINARY) {
        Some(digits) => {
            let escaped = digits.as_bytes().chunks(2).flat_map(|pair| [b"\\", pair].concat());
            String::from_utf8_lossy(&escaped.collect::<Vec<u8>>()).into_owned()
        }
        None => ldap_escape(subject).into_owned(),
    };
    format!("({attribute}={value})")
}

/// Names of groups are the same in capitals, and with spaces between their parts.
fn is_same_name(one: &str, other: &str) -> bool {
    let parts = |name: &str| -> Vec<String> {
        name.split(',').map(|part| part.trim().to_ascii_lowercase()).collect()
    };
    parts(one) == parts(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_finds_its_entry_again_whatever_it_is_made_of() {
        let entry = |values: Vec<u8>| Entry {
            dn: String::new(),
            texts: HashMap::new(),
            binaries: HashMap::from([("objectguid".to_owned(), vec![values])]),
        };
        let id = entry(vec![0, 40, 255]).id("objectGUID").expect("an id");
        assert_eq!(filter_of("objectGUID", &id), r"(objectGUID=\00\28\ff)");
        let text = Entry {
            dn: String::new(),
            texts: HashMap::from([("entryuuid".to_owned(), vec!["2a(b)*".to_owned()])]),
            binaries: HashMap::new(),
        };
        let id = text.id("entryUUID").expect("an id");
        assert_eq!(filter_of("entryUUID", &id), r"(entryUUID=2a\28b\29\2a)");
        assert_eq!(text.id("other"), None);
    }

    #[test]
    fn groups_have_the_same_name_however_it_is_written() {
        assert!(is_same_name("cn=devs,ou=groups,dc=example", "CN=Devs, OU=Groups, DC=Example"));
        assert!(!is_same_name("cn=devs,dc=example", "cn=devs2,dc=example"));
    }
}
