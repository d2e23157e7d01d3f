//! What the two sides of a conversion promise each other: the way of a request, which sends and meters, and the pairs,
//! each of which knows two APIs.

use std::collections::BTreeSet;
use std::fmt;

use super::events::{Event, EventWriter};
use super::upstream_error::UpstreamError;
use crate::domain::model_traits::ModelTraits;

/// What a request is converted by, beside itself.
#[derive(Clone, Copy, Debug)]
pub struct RequestContext<'c> {
    /// The model that is sent.
    pub model: &'c str,
    pub traits: &'c ModelTraits,
    /// Names the conversation, for prompt caches: at most 64 characters, and nobody's name.
    pub conversation: Option<&'c str>,
    /// How much input it will be, for what an answer says of it before the target has counted.
    pub input_tokens_estimate: u64,
    /// The time, in seconds since 1970, for answers that say when they were made. Nothing in a request depends on it.
    pub now: u64,
}

/// A request in the target's API.
pub struct ConvertedRequest {
    /// Path and query as the target's provider knows them.
    pub path_and_query: String,
    pub body: Vec<u8>,
    /// What only tunes, and has no place there.
    pub dropped: Dropped,
    /// Makes of the answer one in the caller's API.
    pub answer: Box<dyn AnswerConverter>,
}

/// Fields that were left out, by their names in the caller's API: `stop_sequences`, `tools.cache_control`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dropped(BTreeSet<&'static str>);

impl Dropped {
    pub fn add(&mut self, field: &'static str) {
        self.0.insert(field);
    }

    /// Adds the field if the caller has sent it.
    pub fn add_if(&mut self, is_there: bool, field: &'static str) {
        if is_there {
            self.add(field);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().copied()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Why a request cannot be made in the target's API. The caller is told so with 400, and nothing is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotConverted {
    /// It is no request of the caller's API.
    Unreadable(String),
    /// Without this field it would be another request, and with it the target's API has none.
    Unsupported {
        /// By its name in the caller's API.
        field: String,
        /// What the caller may do instead, or why not; a clause without a full stop.
        reason: String,
    },
    /// There is no such call: it is answered with 404, from which clients take that they have to do without.
    NoSuchCall,
}

impl NotConverted {
    pub fn unsupported(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Unsupported { field: field.into(), reason: reason.into() }
    }
}

impl From<serde_json::Error> for NotConverted {
    fn from(error: serde_json::Error) -> Self {
        Self::Unreadable(error.to_string())
    }
}

impl fmt::Display for NotConverted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(reason) => write!(f, "the request cannot be read: {reason}"),
            Self::Unsupported { field, reason } => write!(f, "`{field}` is not possible there: {reason}"),
            Self::NoSuchCall => f.write_str("its API has no such call"),
        }
    }
}

/// Makes of the answer to one request an answer in the caller's API. The meter has read the upstream's own before.
///
/// Either [`Self::document`] is called once, or [`Self::event`] for each event and then [`Self::end`].
pub trait AnswerConverter: Send {
    /// A successful answer that is one document.
    ///
    /// # Errors
    /// It is no such answer; the caller gets an error.
    fn document(&mut self, answer: &[u8]) -> Result<Vec<u8>, NotReadable>;

    /// One event of a successful stream. Whatever is not known is passed over.
    fn event(&mut self, event: &Event<'_>, made: &mut EventWriter);

    /// The stream has ended; an answer that lacks its end gets none here, either, so that nobody takes it for whole.
    fn end(&mut self, made: &mut EventWriter);

    /// Whether the answer is over: what follows is not looked at.
    fn is_over(&self) -> bool;

    /// Ends an answer that has begun with an error, as the caller's API says it in a stream.
    fn fail(&mut self, error: &UpstreamError, made: &mut EventWriter);
}

/// An answer that is not what its API says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotReadable(pub String);

impl From<serde_json::Error> for NotReadable {
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string())
    }
}

impl fmt::Display for NotReadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the provider's answer cannot be read: {}", self.0)
    }
}
