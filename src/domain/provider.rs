//! Providers, by the dialect of their API. This names them; what each dialect is stands in
//! [`dialect`](crate::dialect).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Writes the enum, its list and its names from one list, so that none of them can lack a provider.
macro_rules! providers {
    ($($(#[$doc:meta])* $Provider:ident = $name:literal,)+) => {
        /// An API dialect. Configuration, logs and the API know it by its name in lower case.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Provider {
            $($(#[$doc])* #[serde(rename = $name)] $Provider,)+
        }

        impl Provider {
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$Provider),+];

            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$Provider => $name,)+
                }
            }
        }
    };
}

providers! {
    /// Anthropic Messages.
    Anthropic = "anthropic",
    /// `OpenAI` Chat Completions, Responses, Completions, Embeddings, and the servers compatible with them.
    Openai = "openai",
    /// Google Gemini (`v1beta`).
    Gemini = "gemini",
    /// Ollama (`/api`).
    Ollama = "ollama",
}

impl Provider {
    /// All names, for people to choose from: `anthropic, openai, gemini or ollama`.
    #[must_use]
    pub fn choices() -> String {
        one_of(&Self::ALL.map(Self::as_str))
    }
}

/// `a, b or c`.
#[must_use]
pub fn one_of(names: &[&str]) -> String {
    match names.split_last() {
        Some((last, others @ [_, ..])) => format!("{} or {last}", others.join(", ")),
        _ => names.concat(),
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no dialect.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no provider: use {choices}", choices = Provider::choices())]
pub struct NotAProvider(pub String);

impl FromStr for Provider {
    type Err = NotAProvider;

    fn from_str(text: &str) -> Result<Self, NotAProvider> {
        Self::ALL.into_iter().find(|p| p.as_str() == text).ok_or_else(|| NotAProvider(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_told_every_name() {
        assert_eq!(one_of(&["a", "b", "c"]), "a, b or c");
        assert_eq!(one_of(&["a"]), "a");
        let error = "claude".parse::<Provider>().unwrap_err();
        assert_eq!(error.to_string(), format!("`claude` is no provider: use {}", Provider::choices()));
        assert!(Provider::ALL.iter().all(|provider| Provider::choices().contains(provider.as_str())));
    }
}
