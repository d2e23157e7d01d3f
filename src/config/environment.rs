//! The environment's variables, as a value: a test brings its own.

use std::collections::BTreeMap;
use std::ffi::OsString;

/// Variables by name. Values may be secrets, so it does not print itself.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, OsString>);

impl Environment {
    /// The environment of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self(
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value))).collect(),
        )
    }

    /// A variable's text; `None` if it is not set, blank, or not UTF-8.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.to_str().map(str::trim).filter(|text| !text.is_empty())
    }

    /// The variables that are configuration: path of the setting, name, and the text as it is (`None` if it is not
    /// UTF-8). Only names with the double underscore are meant; `SPROXY_TOKEN` and the like are not.
    pub(super) fn settings(&self) -> impl Iterator<Item = (Vec<String>, &str, Option<&str>)> {
        self.0.iter().filter_map(|(name, value)| {
            let path = name.strip_prefix("SPROXY_").filter(|path| path.contains("__"))?;
            let path = path.to_ascii_lowercase().split("__").map(str::to_owned).collect();
            Some((path, name.as_str(), value.to_str()))
        })
    }
}

impl Environment {
    /// The names that have one underscore where a setting's have two: name, setting's key, right name.
    pub(super) fn near_misses<'k>(
        &self,
        keys: impl Iterator<Item = (&'k str, &'k str)>,
    ) -> Vec<(String, String, String)> {
        let near = keys.filter_map(|(section, key)| {
            let (section, key) = (section.to_ascii_uppercase(), key.to_ascii_uppercase());
            let name = format!("SPROXY_{section}_{key}");
            self.get(&name)?;
            let setting = format!("{section}.{key}").to_ascii_lowercase();
            Some((name, setting, format!("SPROXY_{section}__{key}")))
        });
        near.collect()
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Environment {
    fn from_iter<T: IntoIterator<Item = (&'a str, &'a str)>>(variables: T) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect())
    }
}
