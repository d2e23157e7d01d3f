//! The APIs that calls can be converted between, and which conversions there are.

use std::fmt;

use crate::domain::provider::Provider;

/// An API in which a model is asked to go on with a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Api {
    /// Anthropic's Messages: `/v1/messages`.
    Messages,
    /// `OpenAI`'s Responses: `/v1/responses`.
    Responses,
    /// `OpenAI`'s Chat Completions: `/v1/chat/completions`.
    Chat,
    /// Gemini's `generateContent` and `streamGenerateContent`.
    Gemini,
}

/// What a call wants of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// An answer.
    Generate,
    /// The number of tokens that a request would have.
    CountTokens,
}

impl Api {
    pub const ALL: [Self; 4] = [Self::Messages, Self::Responses, Self::Chat, Self::Gemini];

    /// The API of a call by its dialect and path (without a query); none if it is not one that is converted.
    #[must_use]
    pub fn of_call(dialect: Provider, path: &str) -> Option<(Self, Purpose)> {
        match (dialect, path) {
            (Provider::Anthropic, "/v1/messages") => Some((Self::Messages, Purpose::Generate)),
            (Provider::Anthropic, "/v1/messages/count_tokens") => {
                Some((Self::Messages, Purpose::CountTokens))
            }
            (Provider::Openai, "/v1/responses") => Some((Self::Responses, Purpose::Generate)),
            (Provider::Openai, "/v1/chat/completions") => Some((Self::Chat, Purpose::Generate)),
            _ => None,
        }
    }

    /// The dialect that it belongs to.
    #[must_use]
    pub fn dialect(self) -> Provider {
        match self {
            Self::Messages => Provider::Anthropic,
            Self::Responses | Self::Chat => Provider::Openai,
            Self::Gemini => Provider::Gemini,
        }
    }

    /// Its name in the books.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Messages => "anthropic-messages",
            Self::Responses => "openai-responses",
            Self::Chat => "openai-chat",
            Self::Gemini => "gemini",
        }
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A call in one API, made in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conversion {
    /// The caller's.
    pub from: Api,
    /// The target's.
    pub to: Api,
}

/// Every conversion that there is; of several from one API the first is the better one.
pub const CONVERSIONS: [Conversion; 7] = [
    Conversion { from: Api::Messages, to: Api::Responses },
    Conversion { from: Api::Messages, to: Api::Chat },
    Conversion { from: Api::Messages, to: Api::Gemini },
    Conversion { from: Api::Responses, to: Api::Messages },
    Conversion { from: Api::Responses, to: Api::Chat },
    Conversion { from: Api::Chat, to: Api::Messages },
    Conversion { from: Api::Chat, to: Api::Gemini },
];
