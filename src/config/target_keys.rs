//! `keys` of a target: several keys of one provider.

use std::collections::BTreeSet;

use figment::value::{Dict, Value};

use super::sections::{Auth, KeyConfig};
use super::table::{ProblemReported, Reading, Table};
use crate::cloud::credentials::CloudCredentials;
use crate::domain::secret::Secret;

const KNOWN: [&str; 5] = ["name", "api_key", "api_key_env", "api_key_file", "weight"];
/// The share of a key that names none.
const WEIGHT: u32 = 100;
/// Keys of one target.
const KEYS_MAX: usize = 256;

/// The keys of the target whose settings are `target`; none where it has one key, or no key.
pub(super) fn read(target: &Table<'_>, reading: &Reading<'_>, auth: Auth) -> Vec<KeyConfig> {
    let entries = match target.value("keys") {
        None => return Vec::new(),
        Some(Value::Array(_, entries)) => entries,
        Some(_) => {
            target.wrong("keys", "has to be a list such as [{ name = \"org-a\", api_key_env = \"KEY_A\" }]");
            return Vec::new();
        }
    };
    if !entries.is_empty()
        && ["api_key", "api_key_env", "api_key_file"].iter().any(|way| target.optional(way).is_some())
    {
        target.wrong("keys", "stands beside api_key: give one of them");
    }
    if entries.len() > KEYS_MAX {
        target.wrong("keys", format!("are more than {KEYS_MAX}"));
    }
    let weights = entries.iter().map(|entry| entry.find_ref("weight").and_then(Value::to_u128));
    if !entries.is_empty() && weights.clone().all(|weight| weight == Some(0)) {
        target.wrong("keys", "have all no weight: none of them would be used");
    }
    let mut names = BTreeSet::new();
    entries
        .iter()
        .enumerate()
        .filter_map(|(at, entry)| {
            let Value::Dict(tag, settings) = entry else {
                target.wrong(
                    "keys",
                    "has to be a list of tables: { name = \"org-a\", api_key_env = \"KEY_A\" }",
                );
                return None;
            };
            let table = Table::new(reading, format!("{}[{at}]", target.path("keys")), settings, *tag);
            let key = key(&table, settings, auth)?;
            if !names.insert(key.name.clone()) {
                table.wrong("name", format!("`{}` is there twice", key.name));
            }
            Some(key)
        })
        .collect()
}

fn key(table: &Table<'_>, settings: &Dict, auth: Auth) -> Option<KeyConfig> {
    table.check_keys(&KNOWN);
    let name = table.text("name");
    if name.is_empty() {
        table.wrong("name", "has to be set: records, metrics and lists of targets say it");
    }
    let weight = if settings.contains_key("weight") { table.number("weight", 0, 1_000_000) } else { WEIGHT };
    let Ok(given) = api_key(table, auth) else { return None };
    let Some(api_key) = given else {
        table.wrong("api_key", "has to be set, as api_key, api_key_env or api_key_file");
        return None;
    };
    Some(KeyConfig { name, api_key, weight })
}

/// The key that `table` gives, of a kind that `auth` can do with.
pub(super) fn api_key(table: &Table<'_>, auth: Auth) -> Result<Option<Secret>, ProblemReported> {
    let given = match auth {
        Auth::Gcp => table.secret_text("api_key")?,
        _ => table.secret("api_key")?,
    };
    let Some(given) = given else { return Ok(None) };
    let text = given.secret.expose();
    let checked = match auth {
        Auth::SigV4 => CloudCredentials::of_aws_key(text).map(drop).map_err(|error| error.reason),
        Auth::Gcp => CloudCredentials::of_gcp_file(text).map(drop).map_err(|error| error.reason),
        _ => http::HeaderValue::from_str(text)
            .map(drop)
            .map_err(|_| "cannot be sent in a header: use visible ASCII characters".to_owned()),
    };
    if let Err(reason) = checked {
        table.wrong(&given.key, reason);
        return Err(ProblemReported);
    }
    Ok(Some(given.secret))
}
