//! Tables within a section, such as `[auth.oidc]`, with defaults of their own.

use figment::value::{Dict, Tag, Value};

use super::table::{Reading, Table};

/// What such a table may hold.
pub(super) struct Nested {
    /// Where it is, such as `auth.oidc`.
    pub(super) path: &'static str,
    /// TOML; `defaults.toml` documents the same.
    pub(super) defaults: &'static str,
    /// Settings without a default.
    pub(super) own: &'static [&'static str],
}

impl Nested {
    /// Reads it with `read`, which is given the table and its tag. None: it is not there, or no table, which has been noted.
    pub(super) fn read<T>(
        &self,
        written: Option<&Value>,
        reading: &Reading<'_>,
        read: impl FnOnce(&Table<'_>, Tag) -> Option<T>,
    ) -> Option<T> {
        let (tag, written) = match written? {
            Value::Dict(tag, written) => (*tag, written),
            other => {
                let reason = format!("has to be a table: write [{}]", self.path);
                reading.wrong(self.path, other.tag(), reason);
                return None;
            }
        };
        let mut settings: Dict = toml::from_str(self.defaults).unwrap_or_default();
        let known: Vec<String> =
            self.own.iter().map(ToString::to_string).chain(settings.keys().cloned()).collect();
        settings.extend(written.clone());
        let table = Table::new(reading, self.path, &settings, tag);
        table.check_keys(&known.iter().map(String::as_str).collect::<Vec<_>>());
        read(&table, tag)
    }
}

#[cfg(test)]
impl Nested {
    /// Holds `defaults.toml` to it: every key and every default, but for those that stand there as `examples`.
    pub(super) fn assert_told(&self, examples: &[&str]) {
        let heading = format!("# [{}]\n", self.path);
        let told = super::layers::DEFAULTS.split_once(&heading).expect("the section").1;
        let told = told.split_once("\n\n").map_or(told, |(told, _)| told);
        let told: Vec<&str> = told.lines().map(|line| line.trim_start_matches("# ")).collect();
        let told: Dict = toml::from_str(&told.join("\n")).expect("TOML once it is no comment");
        let defaults: Dict = toml::from_str(self.defaults).expect("TOML");
        for (key, value) in &defaults {
            let is_example = examples.contains(&key.as_str());
            assert!(told.get(key) == Some(value) || is_example && told.contains_key(key), "{key}");
        }
        for key in told.keys() {
            assert!(defaults.contains_key(key) || self.own.contains(&key.as_str()), "{key}");
        }
    }
}
