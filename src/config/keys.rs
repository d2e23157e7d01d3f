//! Which settings there are, and what was probably meant by one that there is not.

use std::collections::{BTreeMap, BTreeSet};

use figment::value::{Dict, Value};

/// Settings that may also be given as `…_env` and `…_file`.
const SECRETS: [(&str, &str); 3] = [("cluster", "secret"), ("store", "url"), ("upstream", "proxy")];
/// Sections whose keys are not fixed: who reads them checks them.
const OPEN: [&str; 5] = ["alerts", "capabilities", "models", "prices", "targets"];

/// Tables within sections, whose keys whoever reads them checks.
const NESTED: [(&str, &str); 3] = [("auth", "ldap"), ("auth", "oidc"), ("auth", "scim")];

/// The settings of each section.
pub(super) struct Known(BTreeMap<String, BTreeSet<String>>);

impl Known {
    /// The settings that the defaults name.
    pub(super) fn of(defaults: &Dict) -> Self {
        let sections = defaults.iter().filter_map(|(section, settings)| {
            let Value::Dict(_, settings) = settings else { return None };
            Some((section.clone(), settings.keys().cloned().collect()))
        });
        let mut known: BTreeMap<String, BTreeSet<String>> = sections.collect();
        for (section, secret) in SECRETS {
            let settings = known.entry(section.to_owned()).or_default();
            settings.extend(["env", "file"].map(|way| format!("{secret}_{way}")));
        }
        for (section, table) in NESTED {
            known.entry(section.to_owned()).or_default().insert(table.to_owned());
        }
        Self(known)
    }

    /// Removes unknown settings from a layer; returns key and reason of each.
    pub(super) fn take_unknown(&self, layer: &mut Dict) -> Vec<(String, String)> {
        let mut unknown = Vec::new();
        layer.retain(|section, value| match (self.0.get(section), value) {
            _ if OPEN.contains(&section.as_str()) => true,
            (Some(known), Value::Dict(_, settings)) => {
                settings.retain(|key, _| {
                    let is_known = known.contains(key);
                    if !is_known {
                        unknown.push(self.no_such(&format!("{section}.{key}")));
                    }
                    is_known
                });
                true
            }
            (Some(_), _) => {
                unknown.push((section.clone(), format!("has to be a section: write [{section}]")));
                false
            }
            (None, Value::Dict(_, settings)) if !settings.is_empty() => {
                unknown.extend(settings.keys().map(|key| self.no_such(&format!("{section}.{key}"))));
                false
            }
            (None, value) => {
                let is_section = matches!(value, Value::Dict(..));
                let names = self.0.keys().map(String::as_str).chain(OPEN);
                let what = if is_section { "section" } else { "setting" };
                unknown.push((section.clone(), format!("there is no such {what}{}", hint(section, names))));
                false
            }
        });
        unknown
    }

    /// Section and key of every setting.
    pub(super) fn settings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|(section, keys)| keys.iter().map(move |key| (section.as_str(), key.as_str())))
    }

    fn no_such(&self, key: &str) -> (String, String) {
        let all =
            self.0.iter().flat_map(|(section, keys)| keys.iter().map(move |key| format!("{section}.{key}")));
        let all: Vec<String> = all.collect();
        (key.to_owned(), no_such(key, all.iter().map(String::as_str)))
    }
}

/// The message for an unknown setting, with the one that was probably meant.
pub(super) fn no_such<'k>(key: &str, known: impl Iterator<Item = &'k str>) -> String {
    format!("there is no such setting{}", hint(key, known))
}

fn hint<'k>(key: &str, known: impl Iterator<Item = &'k str>) -> String {
    let nearest = known.map(|known| (distance(key, known), known)).min();
    nearest
        .filter(|(distance, _)| *distance <= 3 && *distance * 2 <= key.len())
        .map_or_else(String::new, |(_, meant)| format!("; did you mean `{meant}`?"))
}

/// Edits between two words (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
        for (j, y) in b.bytes().enumerate() {
            let least = (row[j] + 1).min(row[j + 1] + 1).min(diagonal + usize::from(x != y));
            diagonal = std::mem::replace(&mut row[j + 1], least);
        }
    }
    row.last().copied().unwrap_or(0)
}
