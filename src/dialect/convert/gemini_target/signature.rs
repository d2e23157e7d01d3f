//! The signatures of Gemini's parts on their way through a caller of another API, and what stands for one that is lost.
//! <https://ai.google.dev/gemini-api/docs/thought-signatures>

use serde::{Deserialize, Serialize};

use super::super::api::Api;
use super::super::carrier;

/// Google's own word for a call that another model has made, or whose signature is lost.
pub const BYPASS: &str = "skip_thought_signature_validator";
/// The first generation of models that refuse calls without a signature.
const WANTED_SINCE: u32 = 3;

/// A signature, and the part that it has to come back with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    pub of: Of,
    /// None for thoughts without one, which cannot be sent back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// The call's id, where what carries the signature does not stand before the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// The thought's text, where it does not stand beside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// Which part a signature came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Of {
    /// The thought itself.
    Thought,
    /// The text that follows.
    Text,
    /// The call that follows.
    Call,
    /// An empty one.
    Empty,
}

impl Carried {
    #[must_use]
    pub fn new(of: Of, signature: Option<String>) -> Self {
        Self { of, signature, call: None, text: None }
    }

    /// As what callers keep.
    #[must_use]
    pub fn pack(&self) -> String {
        carrier::pack(Api::Gemini, self)
    }

    /// What a caller has kept; none of another provider's.
    #[must_use]
    pub fn unpack(kept: &str) -> Option<Self> {
        carrier::unpack(Api::Gemini, kept)
    }
}

/// Whether a model refuses calls without a signature.
#[must_use]
pub fn wants_signatures(model: &str) -> bool {
    generation(model).is_some_and(|generation| generation >= WANTED_SINCE)
}

/// The generation of a Gemini model: 3 of `gemini-3.1-pro`. Of those that are named without one it is the newest.
#[must_use]
pub fn generation(model: &str) -> Option<u32> {
    let name = model.rsplit('/').next().unwrap_or_default();
    let behind = name.strip_prefix("gemini-")?;
    let digits = behind.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    Some(digits.parse().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_since_the_third_generation_want_signatures() {
        for (model, wants) in [
            ("gemini-3-pro-preview", true),
            ("gemini-3.1-flash-lite", true),
            ("publishers/google/models/gemini-4-pro", true),
            ("gemini-flash-latest", true),
            ("gemini-2.5-pro", false),
            ("gemma-3-27b-it", false),
        ] {
            assert_eq!(wants_signatures(model), wants, "{model}");
        }
    }

    #[test]
    fn a_signature_comes_back_as_it_was() {
        let carried = Carried::new(Of::Call, Some("CtQB+/=".to_owned()));
        assert_eq!(Carried::unpack(&carried.pack()), Some(carried));
        assert_eq!(Carried::unpack("ErUB"), None);
    }
}
