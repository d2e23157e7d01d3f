//! Providers: the API dialects that the gateway speaks.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An API dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// Anthropic Messages.
    Anthropic,
    /// `OpenAI` Chat Completions, Responses, Completions, Embeddings, and the servers compatible with them.
    Openai,
    /// Google Gemini (`v1beta`).
    Gemini,
    /// Ollama (`/api`).
    Ollama,
}

impl Provider {
    /// Every dialect.
    pub const ALL: [Self; 4] = [Self::Anthropic, Self::Openai, Self::Gemini, Self::Ollama];

    /// The name used in configuration, logs and the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::Openai => "openai",
            Self::Gemini => "gemini",
            Self::Ollama => "ollama",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text names no dialect.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no provider: use anthropic, openai, gemini or ollama")]
pub struct NotAProvider(pub String);

impl FromStr for Provider {
    type Err = NotAProvider;

    fn from_str(text: &str) -> Result<Self, NotAProvider> {
        Self::ALL.into_iter().find(|p| p.as_str() == text).ok_or_else(|| NotAProvider(text.to_owned()))
    }
}
