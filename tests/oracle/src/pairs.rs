//! Which pairs are compared, and what of them.

use sproxy_foundation::dialect::convert::{Api, Conversion};

/// What is converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Request,
    /// A whole answer.
    Answer,
    Stream,
    /// Which fields a request of ours has that its API's description does not.
    Fields,
}

impl What {
    pub const ALL: [Self; 4] = [Self::Request, Self::Answer, Self::Stream, Self::Fields];
}

impl What {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Answer => "answer",
            Self::Stream => "stream",
            Self::Fields => "fields",
        }
    }
}

/// A short name of an API.
#[must_use]
pub fn name(api: Api) -> &'static str {
    match api {
        Api::Messages => "messages",
        Api::Responses => "responses",
        Api::Chat => "chat",
        Api::Gemini => "gemini",
    }
}

/// A comparison's name, as in `differences.toml`: `messages to chat, request`.
#[must_use]
pub fn comparison(conversion: Conversion, what: What) -> String {
    format!("{} to {}, {}", name(conversion.from), name(conversion.to), what.as_str())
}

/// The model that is sent to a target of this API.
#[must_use]
pub fn model(api: Api) -> &'static str {
    match api {
        Api::Messages => "claude-opus-4-7",
        Api::Responses | Api::Chat => "gpt-5.6",
        Api::Gemini => "gemini-3-pro-preview",
    }
}
