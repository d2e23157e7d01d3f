//! Where a value came from, and what is wrong with it.

use std::fmt;

use figment::Figment;
use figment::value::Tag;

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The setting, such as `http.listen` or `targets[0].url`.
    pub key: String,
    /// Where its value came from.
    pub origin: String,
    /// What is wrong, and what would be right.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.key, self.origin, self.reason)
    }
}

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "{count} problem{} in the configuration:", if count == 1 { "" } else { "s" })?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

/// The origin of a value, in words: a file, an environment variable, a flag.
pub(super) fn origin(figment: &Figment, tag: Tag, key: &str) -> String {
    let Some(metadata) = figment.get_metadata(tag) else { return "not set".to_owned() };
    match (&metadata.source, metadata.name.as_ref()) {
        (Some(figment::Source::File(path)), _) => path.display().to_string(),
        (_, name) if name.contains("environment") => {
            format!("SPROXY_{}", key.replace('.', "__").to_uppercase())
        }
        (_, name) => name.to_owned(),
    }
}
