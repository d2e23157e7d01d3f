//! Whose manners an answer has: the words of its errors, and its headers.

use crate::domain::provider::Provider;

/// An API, by who serves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Api {
    /// The dialect's own provider.
    Own(Provider),
    /// AWS Bedrock's `InvokeModel`.
    Bedrock,
    /// Anthropic's models at Google's Vertex AI.
    Vertex,
}
